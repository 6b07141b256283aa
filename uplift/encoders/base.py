"""What every 2D encoder has in common."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import length_hint
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly_spaced
from render.views import View
from uplift.encoders.windows import encode_windows

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

    from uplift.maps import FeatureMapCache

Image: TypeAlias = np.ndarray | Tensor
"""A photo, ``[h, w, 3]`` uint8 RGB."""


class Encoder(ABC):
    """A 2D model that turns a photo into a feature map.

    Preprocessing belongs to the encoder.  Encoders that adapt to a scene (a PCA over its photos) must be
    fitted before they encode; what they learned is their ``state``, saved inside the fields they make.

    Attributes:
        name: The name in the registry.
        dimension: Channels ``c`` of the maps.
        licence: Licence of the weights, None where there are no weights.
        photos_to_fit: How many photos of a scene are enough to fit; 0 if the encoder needs no fitting.
        metric: How features are compared: by the angle between them, or by their distance.
    """

    name: str
    dimension: int
    licence: str | None = None
    photos_to_fit: int = 0
    metric: Literal["cosine", "euclidean"] = "cosine"

    @abstractmethod
    def encode(self, image: Image) -> Float[Tensor, "gh gw c"]:
        """Compute the feature map of a photo ``[h, w, 3]`` uint8: float32, at full size or on a patch grid.

        Node ``(i, j)`` of a grid lies at pixel ``((j + .5) w / gw, (i + .5) h / gh)``.

        Raises:
            InputError: the image has another shape or type, or the encoder must be fitted first.
        """

    def encode_global(self, image: Image) -> Float[Tensor, " c"] | None:  # noqa: ARG002  most have none
        """One feature of the whole photo ``[h, w, 3]`` uint8, such as a [CLS] token; None where there is none."""
        return None

    @property
    def fitted(self) -> bool:
        """Whether ``encode`` may be called."""
        return True

    def fit(self, images: Iterable[Image], progress: Progress = silent) -> None:  # noqa: B027  most need none
        """Adapt to a scene, streaming over its photos; does nothing for encoders that need no fitting."""

    def state(self) -> dict[str, Tensor]:
        """What ``fit`` learned, as tensors by name; empty for encoders that need no fitting."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state`` returned.

        Raises:
            InputError: the tensors are not those of this encoder.
        """
        if state:
            raise InputError(f"The encoder {self.name} has no state, found the tensors {sorted(state)}.")

    def settings(self) -> dict[str, Any]:
        """Whatever changes the maps beside weights and state; JSON values."""
        return {}

    def options(self) -> dict[str, Any]:
        """The settings that ``load_encoder`` takes as ``options`` to make this encoder again; JSON values."""
        return {}

    def weights_hash(self) -> str | None:
        """SHA-256 of the weights, None where there are none."""
        return None

    def fingerprint(self) -> str:
        """Hash of name, settings, weights and state: equal fingerprints mean equal maps."""
        parts = [self.name, self.settings(), *filter(None, [self.weights_hash()])]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        for name, tensor in sorted(self.state().items()):
            digest.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class Tokens(NamedTuple):
    """What a network says of a batch of photos.

    Attributes:
        patches: ``[b, gh, gw, c]``, one for each patch.
        cls: ``[b, c]``, one for each photo; None where the network has no such token.
    """

    patches: Tensor
    cls: Tensor | None

    @property
    def whole(self) -> Tensor:
        """``[b, c]``: of each photo its token, or the mean of its patches where the network has none."""
        return self.patches.mean((1, 2)) if self.cls is None else self.cls


class TrainableEncoder(Encoder):
    """An encoder whose network can be run on batches with gradients: for fine-tuning, distillation and dense heads.

    A photo is seen at once, resized to whole patches by less than a patch along each side, so that the tokens lie
    at the nodes that :meth:`encode` promises.  ``encode`` may blend several windows; where one window holds the
    photo and its sides are multiples of the patch, both give the same.

    Attributes:
        patch: Pixels per token.
        window: Largest side of what ``encode`` lets the network see at once, in pixels; a multiple of ``patch``.
        stride: How far its windows are apart at most, in pixels.
    """

    patch: int
    window: int
    stride: int

    @torch.no_grad()
    def encode(self, image: Image) -> Float[Tensor, "gh gw c"]:
        """Describe a photo ``[h, w, 3]`` uint8, from overlapping windows where it is larger than one."""
        return encode_windows(
            as_image(image),
            lambda pixels: self.tokens(pixels).patches,
            patch=self.patch,
            window=self.window,
            stride=self.stride,
            device=self.device,
        )

    @torch.no_grad()
    def encode_global(self, image: Image) -> Float[Tensor, " c"] | None:
        """The [CLS] token of a photo ``[h, w, 3]`` uint8, shrunk to one window where it is larger; None without."""
        cls = self.tokens(self.pixels(image, self.window)[None]).cls
        return None if cls is None else cls[0]

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network; frozen unless this is a copy that :meth:`copied` made."""

    @abstractmethod
    def tokens(self, pixels: Float[Tensor, "b 3 h w"]) -> Tokens:
        """Tokens of photos with values in [0, 1] and sides that are multiples of the patch; differentiable, float32."""

    @abstractmethod
    def layers(self, pixels: Float[Tensor, "b 3 h w"], count: int = 4, *, normed: bool = True) -> list[Tokens]:
        """Outputs of ``count`` evenly spaced blocks, the last one among them; differentiable, float32.

        Args:
            pixels: Photos with values in [0, 1] and sides that are multiples of the patch.
            count: Of layers.
            normed: Whether the network's last norm is applied to each.

        Raises:
            InputError: the network has fewer blocks.
        """

    @abstractmethod
    def copied(self) -> Self:
        """An encoder of its own, whose network has the same weights and may be trained."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def grid(self, h: int, w: int, side: int | None = None) -> tuple[int, int]:
        """Tokens along each axis of a photo of ``h`` by ``w`` pixels that is shrunk to ``side`` at most."""
        scale = 1.0 if side is None else min(1.0, side / max(h, w))
        rows, columns = (max(1, -(-round(length * scale) // self.patch)) for length in (h, w))
        return rows, columns

    def pixels(self, image: Image, side: int | None = None) -> Float[Tensor, "3 h w"]:
        """A photo ``[h, w, 3]`` uint8 as :meth:`tokens` takes it, on the network's device.

        Args:
            image: The photo.
            side: Larger photos are shrunk until their longer side has about so many pixels; None = never.

        Raises:
            InputError: it is no photo, or ``side`` is less than a patch.
        """
        if side is not None and side < self.patch:
            raise InputError(f"{self.name} sees patches of {self.patch} pixels, found photos of {side} at most.")
        array = as_image(image)
        rows, columns = self.grid(array.shape[0], array.shape[1], side)
        size = (rows * self.patch, columns * self.patch)
        photo = torch.from_numpy(array).to(self.device).permute(2, 0, 1).to(torch.float32) / 255
        if size == array.shape[:2]:
            return photo
        resized = nn.functional.interpolate(photo[None], size, mode="bilinear", antialias=True, align_corners=False)
        return resized[0].clamp(0, 1)


def as_image(image: Image) -> UInt8[np.ndarray, "h w 3"]:
    """Check a photo and return it as a numpy array.

    Raises:
        InputError: it is not ``[h, w, 3]`` uint8, or empty.
    """
    array = image.cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise InputError(
            f"An encoder expects a photo of shape [h, w, 3] uint8, found {list(array.shape)} {array.dtype}."
        )
    return np.ascontiguousarray(array)


class DerivedEncoder(Encoder):
    """An encoder whose maps are computed from those of another one; a cache keeps the maps of that one.

    Attributes:
        inner: The other encoder.
    """

    inner: Encoder

    @abstractmethod
    def derive(self, feature_map: Float[Tensor, "gh gw c"]) -> Float[Tensor, "gh gw k"]:
        """The map that follows from one of the inner encoder."""

    @abstractmethod
    def fit_maps(self, maps: Iterable[Tensor], count: int, progress: Progress = silent) -> None:
        """Adapt to a scene, streaming over ``count`` maps ``[gh, gw, c]`` of the inner encoder."""

    def encode(self, image: Image) -> Float[Tensor, "gh gw k"]:
        """Describe a photo ``[h, w, 3]`` uint8."""
        return self.derive(self.inner.encode(image))

    def fit(self, images: Iterable[Image], progress: Progress = silent) -> None:
        """Adapt to a scene; the inner encoder must be ready to encode."""
        self.fit_maps((self.inner.encode(image) for image in images), length_hint(images, self.photos_to_fit), progress)


def fit_encoder(
    encoder: Encoder, views: Sequence[View], progress: Progress = silent, cache: FeatureMapCache | None = None
) -> None:
    """Fit an encoder to a scene unless it is fitted, on at most ``photos_to_fit`` evenly spaced views.

    Photos are read one after the other, and only those that are used.

    Args:
        encoder: Changed in place.
        views: The scene's photos.
        progress: Called once per photo.
        cache: Where maps that the fit needs are kept, for what encodes the same photos later.
    """
    if encoder.fitted:
        return
    if not views:
        raise InputError(f"The encoder {encoder.name} is fitted to a scene's photos, found no views.")
    chosen = evenly_spaced(len(views), encoder.photos_to_fit)
    count = len(chosen)
    what = f"fitting {encoder.name}"

    def images() -> Iterator[Image]:
        for done, index in enumerate(chosen):
            progress(done, count, what)
            yield views[index].image()

    if isinstance(encoder, DerivedEncoder):
        inner = encoder.inner
        fit_encoder(inner, views, progress, cache)
        encoder.fit_maps((inner.encode(i) if cache is None else cache.get(i, inner) for i in images()), count)
    else:
        encoder.fit(images())
    progress(count, count, what)


def row_batches(rows: Iterable[Float[np.ndarray, "m c"]], minimum: int) -> Iterator[Float[np.ndarray, "m c"]]:
    """Arrays of rows joined until each batch has at least ``minimum`` of them, if there are so many at all."""
    ready: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    for part in rows:
        waiting.append(part)
        if sum(map(len, waiting)) >= minimum:
            if ready:
                yield np.concatenate(ready)
            ready, waiting = waiting, []
    if ready or waiting:
        yield np.concatenate([*ready, *waiting])


def to_device(state: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Detached copies of a state's tensors on a device."""
    return {name: tensor.detach().to(device=device, copy=True) for name, tensor in state.items()}
