"""The scenes of a fine-tuning: photos, grids of patches, tokens of whole scenes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import TRANSFORMS, Scene
from training.finetuning.transport import Transport, cached_transport
from training.scenes import PHOTO_BYTES
from uplift.encoders.base import TrainableEncoder, as_image
from uplift.evaluation.store import files_digest

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

BYTES_PER_GAUSSIAN = 100  # of a .ply with few spherical harmonics
PATCHES_AT_ONCE = 8192  # that a network sees where no gradients are needed

Forward: TypeAlias = "Callable[[Tensor], Tensor]"
"""From photos ``[b, 3, h, w]`` with values in [0, 1] to patch tokens ``[b, gh, gw, c]``."""


class TunedScenes:
    """Scenes whose photos an encoder sees.

    Attributes:
        scenes: In the order in which they were given.
        encoder: Says how photos are prepared.
        side: Larger photos are shrunk to so many pixels; None = never.
        grids: Of every scene, the patches ``(gh, gw)`` of its views.
    """

    def __init__(
        self, scenes: Sequence[Scene], encoder: TrainableEncoder, *, side: int | None = None, keep: int = PHOTO_BYTES
    ) -> None:
        """Make sure that photos and Gaussians are there; nothing large is read yet.

        Args:
            scenes: With Gaussians and photos.
            encoder: Says how photos are prepared.
            side: Larger photos are shrunk to so many pixels along their longer side.
            keep: Bytes of photos that may be kept in memory.

        Raises:
            InputError: no scenes, photos or Gaussians are missing, or ``side`` is less than a patch.
        """
        if not scenes:
            raise InputError("Fine-tuning needs scenes, found none.")
        encoder.pixels(np.zeros((encoder.patch, encoder.patch, 3), np.uint8), side)  # refuses a side it cannot see
        for scene in scenes:
            scene.require_photos()
            if not scene.gaussians_path.is_file():
                raise InputError(f"{scene.path} has no Gaussians yet: expected {scene.gaussians_path}.")
        self.scenes, self.encoder, self.side = list(scenes), encoder, side
        cameras = [[view.camera for view in scene.views] for scene in scenes]
        self.grids = [[encoder.grid(c.height, c.width, side) for c in some] for some in cameras]
        self.index = [(scene, view) for scene, grids in enumerate(self.grids) for view in range(len(grids))]
        self._photos: dict[tuple[int, int], UInt8[np.ndarray, "h w 3"]] = {}
        self._left = keep

    def __len__(self) -> int:
        """Views of all scenes."""
        return len(self.index)

    def photo(self, scene: int, view: int) -> UInt8[np.ndarray, "h w 3"]:
        """A photo, kept in memory if there is room."""
        found = self._photos.get((scene, view))
        if found is None:
            found = as_image(self.scenes[scene].views[view].image())
            if found.nbytes <= self._left:
                self._left -= found.nbytes
                self._photos[scene, view] = found
        return found

    def pixels(self, scene: int, view: int) -> Float[Tensor, "3 h w"]:
        """A photo as the network takes it."""
        return self.encoder.pixels(self.photo(scene, view), self.side)

    def gaussians(self, scene: int) -> Gaussians:
        """The Gaussians of a scene on the CPU, read anew: those of many scenes do not fit into memory."""
        return Gaussians.load(self.scenes[scene].gaussians_path)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the scenes are: Gaussians and poses, names and sizes of photos; not where they lie."""
        digest = hashlib.sha256()
        for scene in self.scenes:
            photos = [[view.path.name, view.path.stat().st_size] for view in scene.views if view.path is not None]
            files = files_digest([scene.gaussians_path, scene.path / TRANSFORMS])
            digest.update(json.dumps([files, photos]).encode())
        return digest.hexdigest()

    def transport(self, scene: int, progress: Progress = silent) -> Transport:
        """The transport of a scene, kept in its folder.

        Raises:
            InputError: no view sees a Gaussian.
            OSError: the scene's folder cannot be written.
        """
        one = self.scenes[scene]
        cameras = [view.camera for view in one.views]
        gaussians = self.gaussians(scene).to(self.encoder.device)  # on CUDA gsplat is quicker
        return cached_transport(one.path, gaussians, cameras, self.grids[scene], progress=progress)

    @torch.no_grad()
    def tokens(self, scene: int, forward: Forward) -> Float[Tensor, "p c"]:
        """What a network says of all patches of a scene, view by view; float32 on its device.

        Views of one size are seen several at once.
        """
        parts: list[Tensor | None] = [None] * len(self.grids[scene])
        device = self.encoder.device
        with torch.autocast(device.type, enabled=False):
            for grid in dict.fromkeys(self.grids[scene]):
                alike = [view for view, own in enumerate(self.grids[scene]) if own == grid]
                count = max(1, PATCHES_AT_ONCE // (grid[0] * grid[1]))
                for start in range(0, len(alike), count):
                    some = alike[start : start + count]
                    pixels = torch.stack([self.pixels(scene, view) for view in some])
                    for view, found in zip(some, forward(pixels), strict=True):
                        parts[view] = found.flatten(0, 1).to(torch.float32)
        return torch.cat([part for part in parts if part is not None])


def memory(scenes: TunedScenes, *, rendered: bool = False) -> int:
    """Bytes that photos and targets take in memory during a training, about.

    Args:
        scenes: That are trained on.
        rendered: Gaussians and their features are kept, at about one Gaussian for every 100 bytes of their file, and
            no maps.
    """
    views = [scenes.scenes[scene].views[view].camera for scene, view in scenes.index]
    photos = min(PHOTO_BYTES, sum(3 * camera.height * camera.width for camera in views))
    if not rendered:
        patches = sum(gh * gw for grids in scenes.grids for gh, gw in grids)
        return photos + 2 * patches * scenes.encoder.dimension
    files = sum(scene.gaussians_path.stat().st_size for scene in scenes.scenes)
    return photos + files + files // BYTES_PER_GAUSSIAN * 2 * scenes.encoder.dimension
