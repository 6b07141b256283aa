"""``fit3d segment``: an object of a scene, selected by what a person marks in a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import progress_bars, say, size, wrote

if TYPE_CHECKING:
    from render.gaussians import Gaussians
    from render.progress import Progress
    from render.scene import Scene
    from uplift.graph import NeighbourGraph
    from uplift.prompts import Prompt
    from uplift.selection import Selection


@dataclass(frozen=True)
class Segment:
    """Select an object by scribbles, a mask, clicks or a box in a photo.

    Everything is in pixels of the photo files as they are.  Writes SCENE/selections/NAME.npz, and prints what
    was chosen (method, bandwidths, threshold) and why; all of it can be set.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    name: str
    """Name of the selection."""
    view: tuple[str, ...]
    """The photo that was marked: its file name without extension.  Several, with a file of --scribbles or --mask for
    each."""
    field: str | None = None
    """Field whose features tell the object from the rest; may be left out where the scene has a single one."""
    scribbles: tuple[Path, ...] = ()
    """RGBA PNG of the photo's size: red = object, blue = background, transparent elsewhere."""
    mask: tuple[Path, ...] = ()
    """PNG of the photo's size: 255 = object, everything else is background."""
    click: tuple[tuple[int, int], ...] = ()
    """Column and row of pixels on the object, counted from 0: X Y X Y ..."""
    background_click: tuple[tuple[int, int], ...] = ()
    """Column and row of pixels on the background."""
    box: tuple[int, int, int, int] | None = None
    """X0 Y0 X1 Y1 around the object."""
    method: Literal["auto", "random-walker", "diffusion"] | None = None
    """How marks spread over the neighbour graph; by default auto."""
    neighbours: int = 16
    """Of each Gaussian in that graph."""
    bandwidth: float | None = None
    """Of the similarity of features along the graph; by default chosen."""
    threshold: float | None = None
    """Score from which a Gaussian is inside; by default chosen."""
    unary: Literal["auto", "yes", "no"] | None = None
    """Whether scores are multiplied by how much a feature alone looks like the object; by default auto."""
    unary_bandwidth: float | None = None
    """Of that likeness; by default chosen."""
    sam: str | None = None
    """File with Segment Anything's weights, or tiny-sam for the bundled ones: select by its masks in every photo
    instead of by features."""
    largest: bool = False
    """Keep the largest connected part alone."""
    overwrite: bool = False
    """Replace a selection of that name."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Select and save."""
        from app.scenes import choose_field, gaussians_of, refuse_existing, save_selection
        from app.selections import report
        from render.devices import resolve_device
        from render.scene import Scene

        self._check()
        device = resolve_device(self.device)
        scene = Scene.open(self.scene)
        refuse_existing(scene.selection_path(self.name), self.overwrite)
        prompts = self._prompts(scene)
        gaussians = gaussians_of(scene).to(device)
        with progress_bars() as progress:
            if self.sam is not None:
                selection, graph = self._by_masks(scene, gaussians, prompts, progress)
            else:
                selection, graph = self._by_features(
                    scene, gaussians, choose_field(scene, self.field), prompts, progress
                )
        if self.largest:
            selection = selection.largest_component(graph).with_about(**selection.about)
        path = save_selection(scene, self.name, selection)
        report(self.name, selection, graph)
        wrote(path)

    def _check(self) -> None:
        """Raise InputError unless there is one kind of marks, a file for each view, and no option is ignored."""
        from app.scenes import check_positive
        from render.errors import InputError

        self._check_options()
        check_positive(
            {
                "--threshold": self.threshold,
                "--bandwidth": self.bandwidth,
                "--unary-bandwidth": self.unary_bandwidth,
                "--neighbours": self.neighbours,
            }
        )
        given = {"--scribbles": self.scribbles, "--mask": self.mask, "--click": self.click, "--box": self.box}
        used = [option for option, value in given.items() if value]
        if len(used) != 1:
            raise InputError(f"Give one of {', '.join(given)}, found {' and '.join(used) or 'none of them'}.")
        if self.background_click and not self.click:
            raise InputError("--background-click goes with --click; scribbles mark background in blue.")
        expected = len(given[used[0]] or ()) if used[0] in ("--scribbles", "--mask") else 1
        if len(self.view) != expected:
            raise InputError(
                f"Expected one --view for each file of --scribbles or --mask, and one for clicks or a box, found "
                f"{len(self.view)} views and {expected} to be marked."
            )

    def _check_options(self) -> None:
        """Raise InputError for options that do not go with the way of selecting."""
        from render.errors import InputError

        of_features = ("field", "method", "bandwidth", "unary", "unary_bandwidth")
        given = [f"--{name.replace('_', '-')}" for name in of_features if getattr(self, name) is not None]
        if self.sam is not None and given:
            raise InputError(f"--sam selects by masks instead of by features; leave {' and '.join(given)} out.")
        if self.method == "diffusion" and self.unary in ("yes", "no"):
            raise InputError(f"--method diffusion always has a unary term; leave --unary {self.unary} out.")
        if self.unary == "no" and self.unary_bandwidth is not None:
            raise InputError("--unary no leaves the unary term out; leave --unary-bandwidth out too.")

    def _prompts(self, scene: Scene) -> list[Prompt]:
        """What was marked, brought to the undistorted views."""
        import numpy as np

        from uplift.prompts import Prompt, box_on_photo, clicks_on_photo, read_mask, read_scribbles

        views = [scene.view(name) for name in self.view]
        if self.scribbles:
            return [read_scribbles(path, view) for path, view in zip(self.scribbles, views, strict=True)]
        if self.mask:
            return [read_mask(path, view) for path, view in zip(self.mask, views, strict=True)]
        view = views[0]
        if self.box is not None:
            return [Prompt.from_box(view, box_on_photo(view, self.box))]
        positive, negative = (clicks_on_photo(view, np.array(xy)) for xy in (self.click, self.background_click))
        return [Prompt.from_clicks(view, positive, negative)]

    def _by_features(
        self, scene: Scene, gaussians: Gaussians, name: str, prompts: Sequence[Prompt], progress: Progress
    ) -> tuple[Selection, NeighbourGraph]:
        from app.scenes import load_field
        from uplift.graph import graph_memory
        from uplift.segmentation import Segmenter

        field = load_field(scene, name)
        segmenter = Segmenter(scene, field, name=name, neighbours=self.neighbours, gaussians=gaussians)
        if not scene.graph_path(f"{name}-{segmenter.neighbours}").is_file():
            say(f"memory: about {size(graph_memory(len(gaussians), segmenter.neighbours))} for the neighbour graph")
        segmenter.prepare(progress)
        selection = segmenter.select(
            prompts,
            method=self.method,
            bandwidth=self.bandwidth,
            threshold=self.threshold,
            unary=self.unary or "auto",
            unary_bandwidth=self.unary_bandwidth,
        )
        return selection, segmenter.graph

    def _by_masks(
        self, scene: Scene, gaussians: Gaussians, prompts: Sequence[Prompt], progress: Progress
    ) -> tuple[Selection, NeighbourGraph]:
        from uplift.encoders.sam import load_sam
        from uplift.graph import knn_graph
        from uplift.maps import default_map_folder
        from uplift.sam_masks import SamSegmenter

        scene.require_photos()
        predictor = load_sam(self.sam, device=gaussians.device)
        segmenter = SamSegmenter(gaussians, predictor, views=scene.views, cache=default_map_folder())
        selection = segmenter.select(prompts, threshold=self.threshold, progress=progress)
        return selection, knn_graph(gaussians, self.neighbours, progress=progress)
