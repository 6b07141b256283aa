"""``fit3d render``: pictures of a scene from the cameras of its photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, UInt8

    from render.gaussians import Gaussians
    from render.progress import Progress
    from render.scene import Scene
    from render.views import View

WRITTEN = (".png", ".npy")


@dataclass(frozen=True)
class Render:
    """Render a scene from the cameras of its photos, into a new folder of PNG files.

    Pictures have the size of the undistorted photos.  Depth is also written as numbers: VIEW.npy holds the
    depth along the camera's z axis in the scene's unit, float32, 0 where nothing is.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    out: Path
    """Folder to write; it must not exist, or be empty."""
    what: Literal["rgb", "depth", "pca", "relevancy", "selection"] = "rgb"
    """rgb: the colours; depth: distances; pca: the features of --field as colours; relevancy: where the features
    of --field are like --text; selection: the scores of --selection, outlined where it ends."""
    field: str | None = None
    """Which field pca and relevancy show; may be left out where the scene has a single one."""
    text: str | None = None
    """What relevancy looks for."""
    weights: Path | None = None
    """File with the weights of the field's encoder, for relevancy."""
    selection: str | None = None
    """Which selection to show."""
    view: str | None = None
    """Render this view alone: a photo's file name without its extension."""
    overwrite: bool = False
    """Replace the folder if it exists."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Render all views, or one."""
        from app.scenes import gaussians_of, refuse_existing, refuse_to_replace_others
        from render.devices import resolve_device
        from render.files import atomic_folder
        from render.scene import Scene

        self._check()
        refuse_existing(self.out, self.overwrite)
        refuse_to_replace_others(self.out, WRITTEN)
        device = resolve_device(self.device)
        scene = Scene.open(self.scene)
        views = [scene.view(self.view)] if self.view is not None else list(scene.views)
        gaussians = gaussians_of(scene).to(device)
        draw, note = self._painter(scene, gaussians)
        with progress_bars() as progress, atomic_folder(self.out, self.overwrite) as folder:
            if self.what == "depth":
                note = _write_depths(gaussians, views, folder, progress)
            else:
                _write_pictures(views, draw, folder, progress)
        wrote(self.out)
        if note:
            say(note)

    def _check(self) -> None:
        """Raise InputError for options that do not go with what is rendered."""
        from render.errors import InputError

        users = {
            "field": ("pca", "relevancy"),
            "text": ("relevancy",),
            "weights": ("relevancy",),
            "selection": ("selection",),
        }
        for option, whats in users.items():
            if getattr(self, option) is not None and self.what not in whats:
                shown = " or ".join(f"--what {what}" for what in whats)
                raise InputError(f"--{option} is shown by {shown}, found --what {self.what}; leave --{option} out.")
        for what, option in (("relevancy", "text"), ("selection", "selection")):
            if self.what == what and not getattr(self, option):
                raise InputError(f"--what {what} needs --{option}.")

    def _painter(self, scene: Scene, gaussians: Gaussians) -> tuple[Callable[[View], UInt8[np.ndarray, "h w 3"]], str]:
        """What draws a view, and what there is to say about it."""
        from app.pictures import pca_colours, render_colours, render_heat, render_rgb
        from app.scenes import choose_field, load_field, load_selection
        from uplift.selection import BOUNDARY

        if self.what == "selection":
            selection = load_selection(scene, self.selection or "")
            scores = selection.scores.to(gaussians.device)
            note = f"red is inside, the white line is where {self.selection} ends"
            return lambda view: render_heat(gaussians, view.camera, scores, outline=BOUNDARY), note
        if self.what == "relevancy":
            heat, note = self._relevancy(scene, gaussians)
            return lambda view: render_heat(gaussians, view.camera, heat), note
        if self.what == "pca":
            field = load_field(scene, choose_field(scene, self.field))
            colours = pca_colours(field).to(gaussians.device)
            return lambda view: render_colours(gaussians, view.camera, colours), ""
        return lambda view: render_rgb(gaussians, view.camera), ""

    def _relevancy(self, scene: Scene, gaussians: Gaussians) -> tuple[Float[torch.Tensor, " n"], str]:
        """Relevancies of the Gaussians, stretched to [0, 1], and what the colours mean."""
        from app.pictures import stretched
        from app.scenes import choose_field, load_field
        from uplift.search import Searcher

        field = load_field(scene, choose_field(scene, self.field))
        values = Searcher(gaussians, field, weights=self.weights).relevancy(self.text or "")
        heat, low, high = stretched(values, field.weights)
        return heat, f"colours run from a relevancy of {low:.3f} (blue) to {high:.3f} (red)"


def _write_pictures(
    views: list[View], draw: Callable[[View], UInt8[np.ndarray, "h w 3"]], folder: Path, progress: Progress
) -> None:
    from app import pictures

    for done, view in enumerate(views):
        progress(done, len(views), "rendering")
        pictures.save_picture(folder / f"{view.name}.png", draw(view))
    progress(len(views), len(views), "rendering")


def _write_depths(gaussians: Gaussians, views: list[View], folder: Path, progress: Progress) -> str:
    """Numbers first, since the range of the colours is that of all views; says what the colours mean."""
    import numpy as np

    from app.pictures import colour_depth, depth_range, render_depth, save_picture

    some = []
    for done, view in enumerate(views):
        progress(done, len(views), "rendering")
        depth = render_depth(gaussians, view.camera)
        np.save(folder / f"{view.name}.npy", depth)
        some.append(depth[::8, ::8])
    progress(len(views), len(views), "rendering")
    limits = depth_range(some)
    for view in views:
        depth = np.load(folder / f"{view.name}.npy")
        save_picture(folder / f"{view.name}.png", colour_depth(depth, limits))
    return f"colours run from {limits[0]:.4g} (warm) to {limits[1]:.4g} (cold), in the scene's unit"
