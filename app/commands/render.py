"""``fit3d render``: pictures of a scene from the cameras of its photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import progress_bars, say, wrote

if TYPE_CHECKING:
    from render.gaussians import Gaussians
    from render.progress import Progress
    from render.views import View

WRITTEN = {".png", ".npy"}


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
    what: Literal["rgb", "depth", "pca"] = "rgb"
    """rgb: the colours; depth: distances; pca: the features of --field as colours."""
    field: str | None = None
    """Which field pca shows; may be left out where the scene has a single one."""
    view: str | None = None
    """Render this view alone: a photo's file name without its extension."""
    overwrite: bool = False
    """Replace the folder if it exists."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Render all views, or one."""
        import torch

        from app.pictures import pca_colours
        from app.scenes import choose_field, gaussians_of, load_field, refuse_existing
        from render.devices import resolve_device
        from render.errors import InputError
        from render.files import atomic_folder
        from render.scene import Scene

        if self.field is not None and self.what != "pca":
            raise InputError(f"--field is shown by --what pca, found --what {self.what}; leave --field out.")
        refuse_existing(self.out, self.overwrite)
        _refuse_to_replace_others(self.out)
        device = resolve_device(self.device)
        scene = Scene.open(self.scene)
        views = [scene.view(self.view)] if self.view is not None else list(scene.views)
        gaussians = gaussians_of(scene).to(device)
        colours: torch.Tensor | None = None
        if self.what == "pca":
            field = load_field(scene, choose_field(scene, self.field))
            colours = pca_colours(field).to(device)
        with progress_bars() as progress, atomic_folder(self.out, self.overwrite) as folder:
            if self.what == "depth":
                near, far = _write_depths(gaussians, views, folder, progress)
            else:
                _write_colours(gaussians, views, colours, folder, progress)
        wrote(self.out)
        if self.what == "depth":
            say(f"colours run from {near:.4g} (warm) to {far:.4g} (cold), in the scene's unit")


def _refuse_to_replace_others(out: Path) -> None:
    """Only folders of pictures are replaced: what else lies there was not made by this command."""
    from render.errors import InputError
    from render.readers.capture import name_some

    others = sorted(p.name for p in out.iterdir() if p.is_dir() or p.suffix not in WRITTEN) if out.is_dir() else []
    if others:
        raise InputError(
            f"{out} holds more than rendered pictures ({name_some(others, 1)}) and is not replaced; "
            "choose another folder."
        )


def _write_colours(gaussians: Gaussians, views: list[View], colours: object, folder: Path, progress: Progress) -> None:
    import torch

    from app.pictures import render_colours, render_rgb, save_picture

    for done, view in enumerate(views):
        progress(done, len(views), "rendering")
        if isinstance(colours, torch.Tensor):
            image = render_colours(gaussians, view.camera, colours)
        else:
            image = render_rgb(gaussians, view.camera)
        save_picture(folder / f"{view.name}.png", image)
    progress(len(views), len(views), "rendering")


def _write_depths(gaussians: Gaussians, views: list[View], folder: Path, progress: Progress) -> tuple[float, float]:
    """Numbers first, since the range of the colours is that of all views."""
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
    return limits
