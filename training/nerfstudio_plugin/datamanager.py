"""Photos, seeds and feature maps for the fit3d methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datamanagers.full_images_datamanager import (
    FullImageDatamanager,
    FullImageDatamanagerConfig,
)
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.datasets.base_dataset import InputDataset
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from training.capture import check_capture, sightings
from training.nerfstudio_plugin.cameras import to_camera
from training.nerfstudio_plugin.dataparser import CaptureParser
from training.nerfstudio_plugin.targets import FeatureTargets
from training.seeding import SeedView, pixel_seeds
from uplift.maps import default_map_folder

if TYPE_CHECKING:
    from jaxtyping import UInt8

NO_ENCODER = "none"


@dataclass
class Fit3DDataManagerConfig(FullImageDatamanagerConfig):
    """Full undistorted photos, seed points, and the feature maps to learn."""

    _target: type = field(default_factory=lambda: Fit3DDataManager)
    encoder: str = NO_ENCODER
    """Whose features are learned: a name that `fit3d lift --encoder` knows, or none."""
    encoder_weights: Path | None = None
    """Local file of the encoder's weights; None = the encoder's own."""
    feature_cache: Path | None = None
    """Folder of the feature maps, keyed by image content, encoder and settings; None = the user's cache."""
    seed_pixels: int = 20_000
    """Pixels that become Gaussians at the start, at the depth of the sparse points around them."""
    seed: int = 0
    """Seed of the choice of those pixels."""


class Fit3DDataManager(FullImageDatamanager[InputDataset]):
    """nerfstudio's full-image data manager, plus seeds and feature maps.

    Raises:
        InputError: photos are listed but absent, or poses are not rigid; before anything is read.
    """

    config: Fit3DDataManagerConfig

    def __init__(self, config: Fit3DDataManagerConfig, *args: Any, **kwargs: Any) -> None:
        data = Path(config.data if config.data is not None else config.dataparser.data)
        if kwargs.get("test_mode", "val") == "val":
            check_capture(data)
        if type(config.dataparser) is NerfstudioDataParserConfig:
            config.dataparser._target = CaptureParser
        self.prepared = False
        super().__init__(config, *args, **kwargs)

    def setup_train(self) -> None:
        """Place seeds and compute feature maps, when a training begins."""
        if self.test_mode != "val" or self.prepared:
            return
        self.prepared = True
        metadata = self.train_dataparser_outputs.metadata
        if self.config.seed_pixels > 0 and metadata.get("points3D_xyz") is not None:
            self._add_seeds(metadata)
        if self.targets is not None:
            self.train_dataset.metadata["encoder"] = self._encoder_info(self.targets)

    @cached_property
    def targets(self) -> FeatureTargets | None:
        """The feature maps, or None without an encoder; fitted to the training photos when first asked for."""
        if self.config.encoder == NO_ENCODER:
            return None
        folder = self.config.feature_cache or default_map_folder()
        return FeatureTargets(
            self.config.encoder,
            self.config.encoder_weights,
            folder,
            self._photos,
            device=self.device,
            progress=_report,
        )

    def next_train(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """The next training camera, its photo and its feature map."""
        camera, batch = super().next_train(step)
        return camera, self._with_features(camera, batch)

    def next_eval_image(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """A held-out camera, its photo and its feature map."""
        camera, batch = super().next_eval_image(step)
        return camera, self._with_features(camera, batch)

    @property
    def fixed_indices_eval_dataloader(self) -> list[tuple[Cameras, dict[str, Any]]]:
        """All held-out cameras with their photos and feature maps."""
        return [(camera, self._with_features(camera, batch)) for camera, batch in super().fixed_indices_eval_dataloader]

    @property
    def _photos(self) -> list[UInt8[Tensor, "h w 3"]]:
        return [_pixels(data["image"]) for data in self.cached_train]

    def _with_features(self, camera: Cameras, batch: dict[str, Any]) -> dict[str, Any]:
        if self.targets is None:
            return batch
        features = self.targets.map_of(_pixels(batch["image"])).to(self.device)
        return {
            **batch,
            "feature_map": features,
            "feature_fingerprint": self.targets.fingerprint,
            "camera": camera,
        }

    def _encoder_info(self, targets: FeatureTargets) -> dict[str, Any]:
        mean = targets.prepare(self._photos)
        encoder = targets.encoder
        return {
            "name": encoder.name,
            "dimension": encoder.dimension,
            "fingerprint": targets.fingerprint,
            "licence": encoder.licence,
            "state": {name: tensor.cpu() for name, tensor in encoder.state().items()},
            "mean": mean,
        }

    def _add_seeds(self, metadata: dict[str, Any]) -> None:
        points = metadata["points3D_xyz"].float()
        photos = self._photos  # undistorting changes the cameras, so it comes first
        cameras = self.train_dataset.cameras
        seen = self._sightings(len(points))
        views = [SeedView(to_camera(cameras[i : i + 1]), photo.cpu(), seen[i]) for i, photo in enumerate(photos)]
        generator = torch.Generator().manual_seed(self.config.seed)
        positions, colours = pixel_seeds(points, views, self.config.seed_pixels, generator=generator)
        metadata["points3D_xyz"] = torch.cat([points, positions])
        metadata["points3D_rgb"] = torch.cat([metadata["points3D_rgb"], colours])
        CONSOLE.log(f"Seeds: {len(points)} sparse points and {len(positions)} pixels.")

    def _sightings(self, points: int) -> Sequence[Tensor | None]:
        names = [Path(name) for name in self.train_dataset.image_filenames]
        return sightings(Path(self.config.dataparser.data), names, points)


def _pixels(image: Tensor) -> UInt8[Tensor, "h w 3"]:
    if image.dtype != torch.uint8:
        image = (image * 255).round().to(torch.uint8)
    return image[..., :3]


def _report(done: int, total: int, what: str) -> None:
    if done == total:
        CONSOLE.log(f"{what}: {total} photos")
