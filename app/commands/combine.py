"""``fit3d combine``: selections made of selections."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.console import progress_bars, wrote

if TYPE_CHECKING:
    from render.scene import Scene
    from uplift.graph import NeighbourGraph
    from uplift.selection import Selection


@dataclass(frozen=True)
class Combine:
    """Make a selection of others: their union, intersection or difference, grown, shrunk, without floaters.

    One of --union, --intersection, --difference, --complement and --of says what to start from.  Then, in this
    order: --grow, --shrink, --without-small, --largest.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    name: str
    """Name of the new selection."""
    union: tuple[str, ...] = ()
    """What is in any of these selections."""
    intersection: tuple[str, ...] = ()
    """What is in all of these selections."""
    difference: tuple[str, ...] = ()
    """What is in the first of these selections and in none of the others."""
    complement: str | None = None
    """What is not in this selection."""
    of: str | None = None
    """This selection as it is."""
    grow: int = 0
    """Add the neighbours in the graph, so many times."""
    shrink: int = 0
    """Take away what has a neighbour outside, so many times."""
    without_small: int = 0
    """Drop connected parts of fewer Gaussians than this."""
    largest: bool = False
    """Keep the largest connected part alone."""
    neighbours: int = 16
    """Neighbours of each Gaussian in the graph."""
    overwrite: bool = False
    """Replace a selection of that name."""

    def run(self) -> None:
        """Combine and save."""
        from app.scenes import gaussians_of, refuse_existing, save_selection
        from app.selections import report
        from render.errors import InputError
        from render.scene import Scene
        from uplift.graph import knn_graph

        given = [self.union, self.intersection, self.difference, self.complement, self.of]
        if sum(map(bool, given)) != 1:
            raise InputError(
                "Give one of --union, --intersection, --difference, --complement and --of, "
                f"found {sum(map(bool, given))} of them."
            )
        if min(self.grow, self.shrink, self.without_small) < 0:
            raise InputError("--grow, --shrink and --without-small take numbers of at least 0.")
        scene = Scene.open(self.scene)
        refuse_existing(scene.selection_path(self.name), self.overwrite)
        gaussians = gaussians_of(scene)
        combined = self._combined(scene)
        graph = None
        # A single Gaussian has no neighbours, and nothing selected has no parts.
        if self._changes or (len(gaussians) > 1 and len(combined)):
            with progress_bars() as progress:
                graph = knn_graph(gaussians, self.neighbours, progress=progress)
        selection = combined if graph is None else self._changed(combined, graph)
        path = save_selection(scene, self.name, selection)
        report(self.name, selection, graph)
        wrote(path)

    @property
    def _changes(self) -> bool:
        return bool(self.grow or self.shrink or self.without_small or self.largest)

    def _combined(self, scene: Scene) -> Selection:
        from app.scenes import load_selection
        from uplift.selection import Selection

        def load(names: tuple[str, ...]) -> list[Selection]:
            return [load_selection(scene, name).with_about(name=name) for name in names]

        if self.union:
            return reduce(Selection.__or__, load(self.union))
        if self.intersection:
            return reduce(Selection.__and__, load(self.intersection))
        if self.difference:
            return reduce(Selection.__sub__, load(self.difference))
        if self.complement is not None:
            return ~load((self.complement,))[0]
        return load((self.of or "",))[0]

    def _changed(self, selection: Selection, graph: NeighbourGraph) -> Selection:
        if self.grow:
            selection = selection.grow(graph, self.grow)
        if self.shrink:
            selection = selection.shrink(graph, self.shrink)
        if self.without_small:
            selection = selection.without_small(graph, self.without_small)
        return selection.largest_component(graph) if self.largest else selection
