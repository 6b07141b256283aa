"""``fit3d lift``: features of a 2D encoder onto the Gaussians of a scene."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import duration, progress_bars, say, size, wrote

if TYPE_CHECKING:
    import torch

    from render.gaussians import Gaussians
    from render.views import View
    from uplift.encoders.base import Encoder
    from uplift.maps import FeatureMapCache


@dataclass(frozen=True)
class Lift:
    """Lift the features of a 2D encoder onto the Gaussians of a scene, from all its photos.

    Says first how much memory and time that takes.  Writes SCENE/fields/NAME.safetensors; until that file
    is complete the scene stays as it was.  Feature maps of encoders with weights are kept in a cache, so a run
    that was interrupted goes on where it stopped.
    """

    scene: tyro.conf.Positional[Path]
    """Scene folder."""
    encoder: str | None = None
    """Name of the encoder, such as dense-descriptors, dinov2-reg-small or timm:NAME (an unknown name lists all); by
    default DINOv2 where its weights are at hand or can be had, else the bundled tiny-dino."""
    text: bool = False
    """Without --encoder: one that understands text, CLIP where its weights can be had, else the bundled tiny-clip."""
    weights: Path | None = None
    """File with the encoder's weights; without it they are downloaded, for encoders that have any."""
    name: str | None = None
    """Name of the field; by default the encoder's, with the number of dimensions if they are reduced."""
    reduce: int | None = None
    """Reduce the features to so many dimensions, by a PCA over the scene's photos."""
    weight_by_eigenvalues: bool = False
    """With --reduce: multiply each component by its eigenvalue, which favours the first ones."""
    seed: int = 0
    """With --reduce: seed of the choice of pixels that the PCA is fitted to."""
    window: int | None = None
    """Vision transformers: side in pixels of the windows in which they see the photo (840 for DINOv2 and DINOv3)."""
    stride: int | None = None
    """Vision transformers: how far windows are apart at most, in pixels (200 for DINOv2 and DINOv3)."""
    scales: tuple[float, ...] | None = None
    """CLIP: sides of its crops as parts of the photo's height (by default seven from 0.05 to 0.5)."""
    overlap: float | None = None
    """CLIP: part of a crop that its neighbour shows again (0.5)."""
    refine: int = 0
    """Steps of f += D^-1 W^T (F - W f) after the weighted mean: sharper features, more time."""
    keep: int | float | None = None
    """Lift only onto the Gaussians that contribute most to the photos: a fraction such as 0.5, or a number."""
    normalization: Literal["weights", "count"] = "weights"
    """Divide by the blending weights, or (for comparison, as GaussianEditor does) by the number of pixels."""
    hold_out: int | None = None
    """Leave every so many-th photo out, and say how well the field renders those."""
    cache: Path | None = None
    """Folder that keeps feature maps; by default $XDG_CACHE_HOME/fit3d/maps, for encoders with weights only."""
    no_cache: bool = False
    """Keep no feature maps."""
    overwrite: bool = False
    """Replace a field of that name."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""

    def run(self) -> None:
        """Lift and save."""
        from app.scenes import gaussians_of, refuse_existing
        from render.devices import resolve_device
        from render.scene import Scene
        from uplift.encoders.base import fit_encoder
        from uplift.hold_out import held_out_error, split_views
        from uplift.lifting import lift, number_to_keep

        self._check()
        device = resolve_device(self.device)
        encoder = self._encoder(device)
        scene = Scene.open(self.scene)
        path = scene.field_path(self.name or self._default_name(encoder))
        refuse_existing(path, self.overwrite)
        gaussians = gaussians_of(scene).to(device)
        if self.keep is not None:
            number_to_keep(self.keep, len(gaussians))
        scene.require_photos()
        views, held = (scene.views, []) if self.hold_out is None else split_views(scene.views, self.hold_out)
        cache = self._cache(encoder)
        if encoder.licence:
            say(f"{encoder.name}: the licence of the weights is {encoder.licence}")
        with progress_bars() as progress:
            fit_encoder(_source(encoder), views, progress, cache)
            self._announce(gaussians, views, encoder, cache)
            field = lift(
                gaussians,
                views,
                encoder,
                refine=self.refine,
                keep=self.keep,
                normalization=self.normalization,
                cache=cache,
                progress=progress,
            )
            error = held_out_error(gaussians, field, held, encoder, cache=cache, progress=progress) if held else None
            field.save(path)
        seen = float((field.weights > 0).float().mean())
        kept = "" if self.keep is None else f" ({field.metadata['keep']} were kept)"
        say(f"{len(field)} Gaussians x {field.dimension} dimensions; {seen:.1%} of the Gaussians were seen{kept}")
        if error is not None:
            peak = f", PSNR {error.psnr:.2f} dB" if encoder.name == "rgb" else ""
            say(f"{len(held)} held-out photos: {error.explained:.1%} of the variance explained{peak}")
        wrote(path)

    def _check(self) -> None:
        from render.errors import InputError

        if self.encoder is None and self.weights is not None:
            raise InputError(f"--weights {self.weights} needs --encoder NAME, which says whose weights they are.")
        if self.encoder is not None and self.text:
            raise InputError("--text chooses an encoder and --encoder names one; leave one of them out.")
        if self.refine < 0:
            raise InputError(f"--refine takes a number of steps, 0 or more, found {self.refine}.")
        if self.refine and self.normalization == "count":
            raise InputError("--refine steps lead to the weighted mean; they do not go with --normalization count.")
        if self.weight_by_eigenvalues and self.reduce is None:
            raise InputError("--weight-by-eigenvalues needs --reduce N: without a reduction there are no eigenvalues.")
        if self.no_cache and self.cache is not None:
            raise InputError("--cache names a folder and --no-cache wants none; leave one of them out.")

    def _default_name(self, encoder: Encoder) -> str:
        plain = re.sub(r"[^\w.-]", "-", _source(encoder).name)
        return plain if self.reduce is None else f"{plain}-{self.reduce}"

    def _encoder(self, device: torch.device) -> Encoder:
        from app.scenes import asked_for
        from uplift.encoders import default_encoder, load_encoder
        from uplift.reduction import Reduced

        named = {
            "window": self.window,
            "stride": self.stride,
            "scales": self.scales,
            "overlap": self.overlap,
        }
        options = asked_for(named)
        if self.encoder is None:
            encoder, why = default_encoder("text" if self.text else "structure", device, options=options)
            say(why)
        else:
            encoder = load_encoder(self.encoder, self.weights, device, options=options)
        if self.reduce is None:
            return encoder
        return Reduced(encoder, self.reduce, self.weight_by_eigenvalues, self.seed)

    def _cache(self, encoder: Encoder) -> FeatureMapCache | None:
        """Where maps are kept; those of encoders without weights, which are quick, only if that is asked for."""
        from uplift.maps import FeatureMapCache, default_map_folder

        if self.no_cache or (self.cache is None and encoder.weights_hash() is None):
            return None
        return FeatureMapCache(self.cache or default_map_folder())

    def _announce(
        self, gaussians: Gaussians, views: list[View], encoder: Encoder, cache: FeatureMapCache | None
    ) -> None:
        """Print what lifting will need; the time comes from encoding and lifting one view."""
        from render.rasterizer import rasterize
        from uplift.lifting import lift, lift_memory

        view = next((v for v in views if bool(rasterize(gaussians, v.camera).alpha.any())), views[0])
        image, source, channels = view.image(), _source(encoder), encoder.dimension
        found = cache is not None and cache.path(image, source).is_file()
        start = time.perf_counter()
        one = source.encode(image) if cache is None else cache.get(image, source)
        encoding = (time.perf_counter() - start) * (2 if cache is None and source is not encoder else 1)
        height, width = view.camera.height, view.camera.width
        grid = None if one.shape[:2] == (height, width) else (one.shape[0], one.shape[1])
        largest = max(((v.camera.height, v.camera.width) for v in views), key=lambda s: s[0] * s[1])
        memory = lift_memory(
            len(gaussians),
            channels,
            largest,
            grid,
            views=len(views),
            refine=self.refine,
            keep=self.keep,
            normalization=self.normalization,
        )
        reduced = f", reduced from {source.dimension}" if source is not encoder else ""
        say(f"lifting {len(views)} views onto {len(gaussians)} Gaussians, {channels} dimensions{reduced}")
        say(f"memory: about {size(memory)} beside the scene and the encoder{_shortage(memory)}")
        if cache is not None:
            say(f"feature maps: about {size(2 * one.numel() * len(views))}, kept in {cache.folder}")
        # A single Gaussian first, so that compiling the kernels is not taken for work.
        one = one[..., :channels].contiguous()
        lift(_before(view).to(gaussians.device), [view], [one])
        start = time.perf_counter()
        lift(gaussians, [view], [one])
        lifting = time.perf_counter() - start
        assumed = ", if the maps of all photos are kept already" if found else ""
        say(f"time: about {duration(len(views) * (encoding + lifting * (1 + 2 * self.refine)))}{assumed}")


def _source(encoder: Encoder) -> Encoder:
    """The encoder that sees the photos: the one inside where dimensions are reduced."""
    from uplift.encoders.base import DerivedEncoder

    return encoder.inner if isinstance(encoder, DerivedEncoder) else encoder


def _before(view: View) -> Gaussians:
    """One Gaussian in the middle of a view's image."""
    import torch

    from render.gaussians import Gaussians

    mean = view.camera.centre + view.camera.world_to_camera[2, :3]
    quat, scale = torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.1)
    return Gaussians(mean[None], quat, scale, torch.full((1,), 0.9), torch.zeros(1, 1, 3))


def _shortage(memory: int) -> str:
    from render.machine import free_memory

    free = free_memory()
    return "" if memory < free else f", but only {size(free)} are free: this may fail"
