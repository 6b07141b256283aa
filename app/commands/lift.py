"""``fit3d lift``: features of a 2D encoder onto the Gaussians of a scene."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from app.console import duration, progress_bars, say, size, wrote

if TYPE_CHECKING:
    from render.camera import Camera
    from render.gaussians import Gaussians
    from render.views import View
    from uplift.encoders.base import Encoder


@dataclass(frozen=True)
class Lift:
    """Lift the features of a 2D encoder onto the Gaussians of a scene, from all its photos.

    Says first how much memory and time that takes.  Writes SCENE/fields/NAME.safetensors; until that file
    is complete the scene stays as it was.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    encoder: str
    """Name of the encoder: rgb, dense-descriptors (an unknown name lists all)."""
    weights: Path | None = None
    """File with the encoder's weights, for encoders that have any."""
    name: str | None = None
    """Name of the field; by default the encoder's."""
    refine: int = 0
    """Steps of f += D^-1 W^T (F - W f) after the weighted mean: sharper features, more time."""
    hold_out: int | None = None
    """Leave every so many-th photo out, and say how well the field renders those."""
    overwrite: bool = False
    """Replace a field of that name."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Lift and save."""
        from app.scenes import gaussians_of, refuse_existing
        from render.devices import resolve_device
        from render.errors import InputError
        from render.scene import Scene
        from uplift.encoders import load_encoder
        from uplift.encoders.base import fit_encoder
        from uplift.hold_out import held_out_error, split_views
        from uplift.lifting import lift

        if self.refine < 0:
            raise InputError(f"--refine takes a number of steps, 0 or more, found {self.refine}.")
        device = resolve_device(self.device)
        encoder = load_encoder(self.encoder, self.weights, device)
        scene = Scene.open(self.scene)
        path = scene.field_path(self.name or self.encoder)
        refuse_existing(path, self.overwrite)
        gaussians = gaussians_of(scene).to(device)
        scene.require_photos()
        views, held = (scene.views, []) if self.hold_out is None else split_views(scene.views, self.hold_out)
        if encoder.licence:
            say(f"{encoder.name}: the weights are licensed under {encoder.licence}")
        with progress_bars() as progress:
            fit_encoder(encoder, views, progress)
            announce(gaussians, views, encoder, self.refine)
            field = lift(gaussians, views, encoder, refine=self.refine, progress=progress)
            error = held_out_error(gaussians, field, held, encoder, progress=progress) if held else None
            field.save(path)
        seen = float((field.weights > 0).float().mean())
        say(f"{len(field)} Gaussians x {field.dimension} dimensions; {seen:.1%} of the Gaussians were seen")
        if error is not None:
            peak = f", PSNR {error.psnr:.2f} dB" if self.encoder == "rgb" else ""
            say(f"{len(held)} held-out photos: {error.explained:.1%} of the variance explained{peak}")
        wrote(path)


def announce(gaussians: Gaussians, views: list[View], encoder: Encoder, refine: int) -> None:
    """Print what lifting will need; the time comes from encoding and lifting one view."""
    from render.rasterizer import rasterize
    from uplift.lifting import lift, lift_memory

    view = next((v for v in views if bool(rasterize(gaussians, v.camera).alpha.any())), views[0])
    start = time.perf_counter()
    one = encoder.encode(view.image())
    encoding = time.perf_counter() - start
    height, width = view.camera.height, view.camera.width
    grid = None if one.shape[:2] == (height, width) else (one.shape[0], one.shape[1])
    largest = max(((v.camera.height, v.camera.width) for v in views), key=lambda s: s[0] * s[1])
    memory = lift_memory(len(gaussians), one.shape[2], largest, grid, views=len(views), refine=refine)
    say(f"lifting {len(views)} views onto {len(gaussians)} Gaussians, {one.shape[2]} dimensions")
    say(f"memory: about {size(memory)} beside the scene and the encoder{_shortage(memory)}")
    # A single Gaussian first, so that compiling the kernels is not taken for work.
    lift(_before(view.camera).to(gaussians.device), [view], [one])
    start = time.perf_counter()
    lift(gaussians, [view], [one])
    lifting = time.perf_counter() - start
    say(f"time: about {duration(len(views) * (encoding + lifting * (1 + 2 * refine)))}")


def _before(camera: Camera) -> Gaussians:
    """One Gaussian in the middle of a camera's image."""
    import torch

    from render.gaussians import Gaussians

    mean = camera.centre + camera.world_to_camera[2, :3]
    quat, scale = torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.1)
    return Gaussians(mean[None], quat, scale, torch.full((1,), 0.9), torch.zeros(1, 1, 3))


def _shortage(memory: int) -> str:
    import psutil

    free = psutil.virtual_memory().available
    return "" if memory < free else f", but only {size(free)} are free: this may fail"
