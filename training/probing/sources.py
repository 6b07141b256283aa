"""Where a probe's features come from: encoders, several side by side, maps that are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly
from training.probing.photos import ProbePhoto
from uplift.encoders.base import DerivedEncoder, Encoder, Image, TrainableEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

    from uplift.maps import FeatureMapCache

MAPS = "maps:"  # begins the name of a folder with maps that were written before
LAYERS = 4  # of the network that a DPT head reads


class Described(NamedTuple):
    """What is known of a photo.

    Attributes:
        patches: ``[gh, gw, c]`` float32 on the CPU.
        whole: Of the whole photo, the [CLS] token or the mean of the patches; ``[c]``.
    """

    patches: Tensor
    whole: Tensor


class FeatureSource(ABC):
    """Describes photos.

    Attributes:
        name: As tables call it.
    """

    name: str

    @abstractmethod
    def describe(self, photo: ProbePhoto, *, whole: bool = True) -> Described:
        """Features of a photo; the mean of the patches stands for the whole where ``whole`` is not asked for."""

    @abstractmethod
    def layers(self, photo: ProbePhoto) -> list[Described]:
        """Features of a photo after four evenly spaced blocks, for a DPT head.

        Raises:
            InputError: there is one layer alone.
        """

    def fit(self, photos: Sequence[ProbePhoto], progress: Progress = silent) -> None:  # noqa: B027  most need none
        """Adapt to photos of the training, whatever needs it."""


class EncoderSource(FeatureSource):
    """Maps of an encoder, kept on disk; of whole photos its [CLS] token, or the mean of the patches without.

    Args:
        encoder: The encoder.
        cache: Where maps are kept, of encoders with weights; None = computed again every time.
        patch: Finer maps are averaged to so many pixels.
        name: As tables call it; None = as the encoder is called.
    """

    def __init__(
        self, encoder: Encoder, cache: FeatureMapCache | None = None, *, patch: int = 8, name: str | None = None
    ) -> None:
        self.name = name or encoder.name
        self.encoder, self.patch = encoder, patch
        # Whatever has no weights is computed as quickly as it is read.
        self.cache = cache if encoder.weights_hash() is not None else None
        self._has_whole: bool | None = None

    def fit(self, photos: Sequence[ProbePhoto], progress: Progress = silent) -> None:
        """Fit an encoder that needs it (a PCA) to evenly spaced photos; changed in place."""
        _fit(self.encoder, photos, progress)

    @torch.no_grad()
    def describe(self, photo: ProbePhoto, *, whole: bool = True) -> Described:
        """Features of a photo, from disk or computed."""
        image = photo.image()
        height, width = image.shape[:2]
        patches = self._get(self.encoder, image, photo.lasting)
        size = (min(patches.shape[0], -(-height // self.patch)), min(patches.shape[1], -(-width // self.patch)))
        if size != tuple(patches.shape[:2]):
            patches = nn.functional.adaptive_avg_pool2d(patches.permute(2, 0, 1), size).permute(1, 2, 0)
        found = self._whole(image, photo.lasting) if whole else None
        return Described(patches, patches.mean((0, 1)) if found is None else found)

    @torch.no_grad()
    def layers(self, photo: ProbePhoto) -> list[Described]:
        """Features of a photo after four evenly spaced blocks; the photo is seen at once."""
        if not isinstance(self.encoder, TrainableEncoder):
            raise InputError(
                f"A DPT head reads {LAYERS} layers of a vision transformer, and {self.name} gives one map alone; use "
                "the linear head, or an encoder such as tiny-dino or dinov2-small."
            )
        stored = self._get(_Layers(self.encoder), photo.image(), photo.lasting)
        parts = stored.split(stored.shape[2] // LAYERS, dim=2)
        return [Described(part[:-1], part[-1, 0]) for part in parts]

    def _whole(self, image: Image, lasting: bool) -> Float[Tensor, " c"] | None:
        if self._has_whole is None:
            self._has_whole = self.encoder.encode_global(image) is not None
        return self._get(_Whole(self.encoder), image, lasting)[0, 0] if self._has_whole else None

    def _get(self, encoder: Encoder, image: Image, lasting: bool) -> Float[Tensor, "gh gw c"]:
        if self.cache is None or not lasting:
            return encoder.encode(image).detach().cpu().float()
        return self.cache.get(image, encoder)


class SideBySide(FeatureSource):
    """Features of several sources in one: their channels are put side by side (FiT3D's feature assembly, 3.3).

    Maps of another grid are interpolated to that of the first.
    """

    def __init__(self, sources: Sequence[FeatureSource], name: str | None = None) -> None:
        if not sources:
            raise InputError("Features are put together from at least one source, found none.")
        self.sources = list(sources)
        self.name = name or " + ".join(source.name for source in sources)

    def fit(self, photos: Sequence[ProbePhoto], progress: Progress = silent) -> None:
        """Adapt each source to photos of the training."""
        for source in self.sources:
            source.fit(photos, progress)

    def describe(self, photo: ProbePhoto, *, whole: bool = True) -> Described:
        """Features of a photo."""
        return _joined([source.describe(photo, whole=whole) for source in self.sources])

    def layers(self, photo: ProbePhoto) -> list[Described]:
        """Features of a photo after four blocks of each source."""
        parts = [source.layers(photo) for source in self.sources]
        return [_joined(list(of_layer)) for of_layer in zip(*parts, strict=True)]


class GivenSource(FeatureSource):
    """Maps that somebody else made, such as lifted features that were rendered.

    Args:
        name: As tables call it.
        read: From a photo to its map ``[gh, gw, c]``.
    """

    def __init__(self, name: str, read: Callable[[ProbePhoto], Float[Tensor, "gh gw c"]]) -> None:
        self.name, self._read = name, read

    def describe(self, photo: ProbePhoto, *, whole: bool = True) -> Described:  # noqa: ARG002  there is the mean alone
        """The map of a photo; the mean of its patches stands for the whole."""
        if not photo.lasting:
            raise InputError(
                f"{self.name} has maps of the photos as they are; photos that are augmented need an encoder."
            )
        patches = self._read(photo).detach().cpu().float()
        if patches.ndim != 3:
            raise InputError(
                f"Expected a map [gh, gw, c] of {photo.name} from {self.name}, found {list(patches.shape)}."
            )
        return Described(patches, patches.mean((0, 1)))

    def layers(self, photo: ProbePhoto) -> list[Described]:
        """The map of a photo in the place of every layer."""
        return [self.describe(photo)] * LAYERS


def open_source(
    text: str,
    weights: Mapping[str, Path] | None = None,
    device: str = "auto",
    *,
    cache: FeatureMapCache | None = None,
    patch: int = 8,
) -> FeatureSource:
    """A source by its name: an encoder, ``maps:FOLDER``, or several with a + between them.

    Args:
        text: Such as ``tiny-dino``, ``tiny-dino+tiny-dino``, ``tiny-dino+fit3d:runs/a/encoder.safetensors@alone``.
            ``maps:FOLDER`` reads ``FOLDER/GROUP/NAME.npy``, arrays ``[gh, gw, c]``.
        weights: Files by the name of an encoder.
        device: Where encoders compute.
        cache: Where maps are kept.
        patch: Finer maps are averaged to so many pixels.

    Raises:
        InputError: an encoder cannot be had, or there is no such folder.
    """
    from uplift.encoders import load_encoder

    names = [part.strip() for part in text.split("+")]
    if not all(names):
        raise InputError(f"Expected names of encoders with a + between them, found {text!r}.")
    opened: dict[str, FeatureSource] = {}
    for name in names:
        if name in opened:
            continue
        if name.startswith(MAPS):
            opened[name] = GivenSource(name, _reader(Path(name.removeprefix(MAPS))))
        else:
            encoder = load_encoder(name, (weights or {}).get(name), device)
            opened[name] = EncoderSource(encoder, cache, patch=patch, name=name)
    return opened[names[0]] if len(names) == 1 else SideBySide([opened[name] for name in names], text)


class _Whole(Encoder):
    """An encoder's feature of the whole photo as a map of one node, so that a cache keeps it."""

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.dimension, self._of = f"{encoder.name} whole", encoder.dimension, encoder

    def encode(self, image: Image) -> Float[Tensor, "1 1 c"]:
        found = self._of.encode_global(image)
        if found is None:
            raise InputError(f"{self._of.name} has no feature of the whole photo.")
        return found[None, None]

    def settings(self) -> dict[str, Any]:
        return {"of": self._of.fingerprint()}


class _Layers(Encoder):
    """Four layers of a network side by side as one map; its last row repeats the [CLS] tokens, or the means."""

    def __init__(self, encoder: TrainableEncoder) -> None:
        self.name, self.dimension, self._of = f"{encoder.name} layers", LAYERS * encoder.dimension, encoder

    def encode(self, image: Image) -> Float[Tensor, "gh1 gw c"]:
        layers = self._of.layers(self._of.pixels(image)[None], LAYERS)
        patches = torch.cat([layer.patches[0] for layer in layers], -1)
        whole = torch.cat([layer.whole[0] for layer in layers])
        return torch.cat([patches, whole.expand(1, patches.shape[1], -1)])

    def settings(self) -> dict[str, Any]:
        return {"of": self._of.fingerprint(), "layers": LAYERS}


def _joined(parts: Sequence[Described]) -> Described:
    grid = tuple(parts[0].patches.shape[:2])
    patches = torch.cat([_on_grid(part.patches, grid) for part in parts], -1)
    return Described(patches, torch.cat([part.whole for part in parts]))


def _on_grid(patches: Float[Tensor, "a b c"], grid: tuple[int, ...]) -> Float[Tensor, "gh gw c"]:
    if tuple(patches.shape[:2]) == grid:
        return patches
    sized = nn.functional.interpolate(patches.permute(2, 0, 1)[None], grid, mode="bilinear", antialias=True)
    return sized[0].permute(1, 2, 0)


def _fit(encoder: Encoder, photos: Sequence[ProbePhoto], progress: Progress) -> None:
    if encoder.fitted:
        return
    if isinstance(encoder, DerivedEncoder):
        _fit(encoder.inner, photos, progress)
    chosen = evenly(photos, max(1, encoder.photos_to_fit))
    encoder.fit([photo.image() for photo in chosen], progress)


def _reader(folder: Path) -> Callable[[ProbePhoto], Tensor]:
    if not folder.is_dir():
        raise InputError(f"Expected a folder of maps at {folder}, found none.")

    def read(photo: ProbePhoto) -> Tensor:
        file = folder / photo.group / f"{photo.name}.npy"
        try:
            return torch.from_numpy(np.load(file, allow_pickle=False).astype(np.float32))
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"Expected the map of a photo, [gh, gw, c], at {file}, found none ({error}).") from error

    return read
