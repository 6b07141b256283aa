"""``fit3d query``: what a text names, selected in a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

    from render.gaussians import Gaussians
    from render.views import View
    from uplift.graph import NeighbourGraph
    from uplift.search import Searcher
    from uplift.selection import Selection

QUANTILES = (0.01, 0.99)  # of the coordinates: stray Gaussians do not make an object larger
MOST_ROWS = 1_000_000  # that quantiles are taken of; torch refuses more than 16 million


@dataclass(frozen=True)
class Query:
    """Select what one or several texts name, by a field of an encoder that understands text (CLIP).

    Scores are relevancies against canonical phrases, refined along the neighbour graph.  Writes
    SCENE/selections/NAME.npz for each text and prints the threshold, the number of Gaussians and where the top
    object is.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    text: tyro.conf.Positional[tuple[str, ...]]
    """What to look for; several texts at once."""
    name: tuple[str, ...]
    """Name of the selection, one for each text."""
    field: str | None = None
    """Field of a CLIP encoder; may be left out where the scene has a single one."""
    structure: str | None = None
    """Field whose features guide the refinement, such as DINOv2's; by default the text's own."""
    method: Literal["random-walker", "diffusion", "none"] = "random-walker"
    """How relevancies are refined; none: as they are."""
    negatives: tuple[str, ...] = ()
    """What it is not, beside the phrases object, things, stuff and texture."""
    weights: Path | None = None
    """File with the weights of the field's encoder."""
    threshold: float | None = None
    """Score from which a Gaussian is inside; by default chosen, and said."""
    parts: Literal["all", "largest", "best"] = "all"
    """largest: keep the largest connected part; best: the one with the highest score."""
    locate: tuple[str, ...] = ()
    """Views in which to say where it is: pixel of the photo with the highest score."""
    overwrite: bool = False
    """Replace selections of these names."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Search and save."""
        from app.scenes import choose_field, gaussians_of, load_field, refuse_existing, save_selection
        from app.selections import report
        from render.devices import resolve_device
        from render.scene import Scene
        from uplift.search import Searcher

        self._check()
        device = resolve_device(self.device)
        scene = Scene.open(self.scene)
        for name in self.name:
            refuse_existing(scene.selection_path(name), self.overwrite)
        views = [scene.view(name) for name in self.locate]
        gaussians = gaussians_of(scene).to(device)
        field = load_field(scene, choose_field(scene, self.field))
        structure = None if self.structure is None else load_field(scene, choose_field(scene, self.structure))
        with progress_bars() as progress:
            searcher = Searcher(
                gaussians,
                field,
                weights=self.weights,
                structure=structure,
                method="random-walker" if self.method == "none" else self.method,
                progress=progress,
            )
            selections = searcher.select(
                list(self.text),
                diffusion=self.method != "none",
                threshold=self.threshold,
                parts=self.parts,
                negatives=self.negatives,
            )
        graph = searcher.graph
        for text, name, selection in zip(self.text, self.name, selections, strict=True):
            carried = selection.with_unseen(gaussians, field.weights)
            path = save_selection(scene, name, carried)
            report(name, carried, graph)
            scores = searcher.scores(text, diffusion=self.method != "none", negatives=self.negatives)
            _say_top(gaussians, selection, scores, graph)
            self._say_places(searcher, text, views)
            wrote(path)

    def _check(self) -> None:
        from app.scenes import check_positive
        from render.errors import InputError

        if len(self.text) == 0 or len(self.name) != len(self.text):
            raise InputError(f"Give one --name for each text, found {len(self.text)} texts and {len(self.name)} names.")
        if len(set(self.name)) != len(self.name):
            raise InputError(f"Selections need names of their own, found {', '.join(self.name)}.")
        check_positive({"--threshold": self.threshold})

    def _say_places(self, searcher: Searcher, text: str, views: list[View]) -> None:
        for view in views:
            x, y, score = searcher.localize(view, text, negatives=self.negatives)
            say(f"in {view.name}: pixel ({int(x)}, {int(y)}) of the photo, score {score:.3f}")


def _say_top(
    gaussians: Gaussians, selection: Selection, scores: Float[torch.Tensor, " n"], graph: NeighbourGraph
) -> None:
    """Where the connected part with the highest score is, and how large."""
    import torch

    if len(selection) == 0:
        return
    labels = selection.components(graph).labels
    best = labels[torch.where(selection.mask, scores, -1.0).argmax()]
    inside = labels == best
    points = gaussians.means[inside]
    few = points[:: -(-len(points) // MOST_ROWS)]
    low, high = (few.quantile(q, dim=0) for q in QUANTILES)
    centre = ", ".join(f"{value:.3g}" for value in points.median(dim=0).values.tolist())
    extent = " x ".join(f"{value:.3g}" for value in (high - low).tolist())
    say(
        f"top object: {int(inside.sum())} Gaussians, highest score {float(scores[inside].max()):.3f}, "
        f"centre ({centre}), extent {extent} in the scene's unit"
    )
