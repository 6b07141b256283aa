"""CLIP through open_clip (Radford et al. 2021, Cherti et al. 2023): an image pyramid, and text in the same space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from uplift.encoders._downloads import impatient_hub, out_of_reach
from uplift.encoders.base import Encoder, Image, as_image
from uplift.encoders.checkpoints import hash_of
from uplift.encoders.windows import interpolation, node_positions

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from open_clip import CLIP

PREFIX = "clip:"
PROJECT = "https://github.com/mlfoundations/open_clip"
# LERF (Kerr et al. 2023): seven sizes of crops between these parts of the photo's height, half overlapping.
SMALLEST, LARGEST, SCALES, OVERLAP = 0.05, 0.5, 7, 0.5
PIXELS_PER_BATCH = 64 * 224 * 224  # of the crops that the network sees at once
TEXTS_PER_BATCH = 256
LICENCES = {
    "openai": "MIT",
    "laion": "MIT",
    "datacomp": "MIT",
    "commonpool": "MIT",
    "webli": "Apache-2.0",
    "metaclip": "CC-BY-NC-4.0",
    "dfn": "Apple's research licence",
}
UNKNOWN_LICENCE = "unknown, see the page of the model"


class ClipEncoder(Encoder):
    """Multi-scale CLIP features of a photo (LUDVIG 5.4.2), and of texts.

    Crops of seven sizes, from 0.05 to 0.5 of the photo's height and half overlapping, are resized to the model's
    input and embedded; embeddings have length 1.  Those of each size are interpolated from the centres of their
    crops to one grid, and the sizes are averaged.  The grid is as fine as the smallest crops are apart.

    Attributes:
        scales: Sides of the crops as parts of the photo's height.
        overlap: Part of a crop that the next one shows again, at least.
    """

    def __init__(
        self,
        name: str,
        model: CLIP,
        *,
        licence: str | None = None,
        scales: Sequence[float] | None = None,
        overlap: float = OVERLAP,
        tokenize: Callable[[list[str]], Tensor] | None = None,
    ) -> None:
        """Make an encoder of a model.

        Args:
            name: As the registry calls it.
            model: Of open_clip.
            licence: Of its weights.
            scales: Sides of the crops as parts of the photo's height; None = LERF's seven.
            overlap: Part of a crop that the next one shows again, at least.
            tokenize: Makes tokens ``[q, length]`` of texts; None = open_clip's tokenizer of the model that is named.

        Raises:
            InputError: scales or overlap are out of range.
        """
        self.scales = tuple(float(s) for s in (np.linspace(SMALLEST, LARGEST, SCALES) if scales is None else scales))
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales) or not 0 <= overlap < 1:
            raise InputError(
                f"Crops take parts between 0 and 1 of the photo's height and overlap by 0 to 1 of their size, found "
                f"the scales {list(self.scales)} and the overlap {overlap}."
            )
        self.name = name
        self.licence = licence
        self.overlap = float(overlap)
        self._tokenize = tokenize
        self._model = model.eval().requires_grad_(False)
        self._hash = hash_of(model)
        self._device = next(model.parameters()).device
        preprocessing: dict[str, Any] = model.visual.preprocess_cfg
        self._mean, self._std = (
            torch.tensor(preprocessing[key], device=self._device)[:, None, None] for key in ("mean", "std")
        )
        self._interpolation = str(preprocessing.get("interpolation", "bicubic"))
        size = model.visual.image_size
        self._size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        with torch.no_grad():
            self.dimension = int(self._embed(torch.zeros(1, 3, *self._size, device=self._device)).shape[1])

    @torch.no_grad()
    def encode(self, image: Image) -> Float[Tensor, "gh gw c"]:
        """The averaged pyramid of a photo ``[h, w, 3]`` uint8."""
        array = as_image(image)
        height, width = array.shape[:2]
        pixels = torch.from_numpy(array).to(self._device).permute(2, 0, 1)
        sides = [max(1, min(round(scale * height), height, width)) for scale in self.scales]
        step = max(2.0, min(sides) * (1 - self.overlap))
        gh, gw = max(1, round(height / step)), max(1, round(width / step))
        total = torch.zeros(gh, gw, self.dimension, device=self._device)
        for side in sides:
            ys, xs = (crop_starts(length, side, self.overlap) for length in (height, width))
            embedded = torch.cat([self._embed(batch) for batch in self._crops(pixels, side, ys, xs)])
            grid = embedded.reshape(len(ys), len(xs), -1)
            rows, columns = (
                torch.from_numpy(_between(node_positions(nodes, length), starts, side)).to(grid)
                for nodes, length, starts in ((gh, height, ys), (gw, width, xs))
            )
            total += torch.einsum("yi,xj,ijc->yxc", rows, columns, grid)
        return total / len(sides)

    @torch.no_grad()
    def encode_global(self, image: Image) -> Float[Tensor, " c"]:
        """The embedding of a whole photo ``[h, w, 3]`` uint8, resized to the model's input; of length 1."""
        pixels = torch.from_numpy(as_image(image)).to(self._device).permute(2, 0, 1)[None].to(torch.float32) / 255
        mode = "bilinear" if self._interpolation == "bilinear" else "bicubic"
        resized = torch.nn.functional.interpolate(pixels, self._size, mode=mode, antialias=True).clamp(0, 1)
        return self._embed((resized - self._mean) / self._std)[0]

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "q c"]:
        """Embeddings of texts, of length 1, float32 on the model's device.

        Raises:
            InputError: no texts, or the tokenizer's files are out of reach.
        """
        if isinstance(texts, str) or not texts:
            raise InputError(f"CLIP embeds a list of texts, found {texts!r}.")
        tokenize = self._tokenize or _tokenizer(_model_and_tag(self.name)[0])
        parts = [
            self._model.encode_text(tokenize(list(texts[start : start + TEXTS_PER_BATCH])).to(self._device))
            for start in range(0, len(texts), TEXTS_PER_BATCH)
        ]
        return torch.nn.functional.normalize(torch.cat(parts).to(torch.float32), dim=-1)

    def weights_hash(self) -> str:
        """SHA-256 of the weights."""
        return self._hash

    def options(self) -> dict[str, Any]:
        """Scales and overlap of the crops."""
        return {"scales": list(self.scales), "overlap": self.overlap}

    def settings(self) -> dict[str, Any]:
        """Crops and preprocessing."""
        return self.options() | {
            "size": list(self._size),
            "mean": self._mean.flatten().tolist(),
            "std": self._std.flatten().tolist(),
            "interpolation": self._interpolation,
        }

    def _crops(
        self, pixels: UInt8[Tensor, "3 h w"], side: int, ys: list[int], xs: list[int]
    ) -> Iterator[Float[Tensor, "b 3 mh mw"]]:
        """All crops of one size in row-major order, resized and normalised, a few at a time."""
        count = max(1, PIXELS_PER_BATCH // max(side * side, self._size[0] * self._size[1]))
        corners = [(y, x) for y in ys for x in xs]
        for start in range(0, len(corners), count):
            some = corners[start : start + count]
            crops = torch.stack([pixels[:, y : y + side, x : x + side] for y, x in some]).to(torch.float32) / 255
            if (side, side) != self._size:
                mode = "bilinear" if self._interpolation == "bilinear" else "bicubic"
                crops = torch.nn.functional.interpolate(crops, self._size, mode=mode, antialias=True).clamp(0, 1)
            yield (crops - self._mean) / self._std

    def _embed(self, crops: Float[Tensor, "b 3 mh mw"]) -> Float[Tensor, "b c"]:
        embedded = self._model.encode_image(crops).to(torch.float32)
        return torch.nn.functional.normalize(embedded, dim=-1)


def crop_starts(length: int, side: int, overlap: float) -> list[int]:
    """First pixels of crops that cover ``length`` pixels evenly from border to border, overlapping enough."""
    count = 1 + math.ceil((length - side) / max(1.0, side * (1 - overlap)))
    return [int(start) for start in np.linspace(0, length - side, count).round()]


def _between(positions: Float[np.ndarray, " m"], starts: list[int], side: int) -> Float[np.ndarray, "m k"]:
    """Matrix that interpolates from the centres of crops to ``positions``, constant beyond the outer centres."""
    if len(starts) == 1:
        return np.ones((len(positions), 1))
    centres = np.asarray(starts) + side / 2
    indices = np.interp(positions, centres, np.arange(len(starts)))
    return interpolation(indices, 0.0, 1.0, len(starts))


@cache
def _tokenizer(model: str) -> Any:
    import open_clip

    try:
        with impatient_hub():
            return open_clip.get_tokenizer(model)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise InputError(
            f"The tokenizer of {model} could not be loaded ({error}); it is downloaded once with the model, "
            "so run this once with a network."
        ) from error


def _model_and_tag(name: str) -> tuple[str, str | None]:
    """``clip:MODEL/PRETRAINED`` taken apart; ``PRETRAINED`` may be left out where a file of weights is given."""
    model, _, tag = name.removeprefix(PREFIX).partition("/")
    return model, tag or None


def make_clip(name: str, weights: Path | None, device: torch.device, **options: Any) -> ClipEncoder:
    """The encoder ``clip:MODEL/PRETRAINED``, from a file of weights or open_clip's own download.

    Raises:
        InputError: unknown model or pretrained tag, weights of another model, or the download is out of reach.
    """
    import open_clip

    model, tag = _model_and_tag(name)
    tags = _known_tags(model)
    if tag is not None and tag not in tags and weights is None:
        raise InputError(f"open_clip has no weights {tag!r} for {model}; it has {', '.join(tags) or 'none'}.")
    if tag is None and weights is None:
        raise InputError(
            f"{name} says which model, but not which weights: name them as {PREFIX}{model}/PRETRAINED with one of "
            f"{', '.join(tags) or 'none known'}, or pass --weights FILE."
        )
    published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    path = str(_downloaded(name, published) if weights is None else weights)
    preprocessing = {key: published[key] for key in ("mean", "std", "interpolation") if key in published}
    try:
        made = open_clip.create_model(
            model,
            pretrained=path,
            force_quick_gelu=bool(published.get("quick_gelu", False)),
            force_preprocess_cfg=preprocessing or None,
            pretrained_text=False,
        )
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, TypeError, UnpicklingError) as error:
        raise _wrong_weights(name, path, error) from error
    return ClipEncoder(name, made.to(device), licence=_licence(tag), **options)


def _downloaded(name: str, published: Mapping[str, Any]) -> str:
    """open_clip's own copy of published weights, downloaded if it is not there yet."""
    import open_clip

    try:
        with impatient_hub():
            return open_clip.download_pretrained(dict(published))
    except (OSError, RuntimeError, ValueError) as error:
        origin, address = str(published.get("hf_hub") or "").strip("/"), str(published.get("url") or "")
        file = Path("open_clip_model.safetensors" if origin else address).name
        where = f"{origin} on the Hugging Face hub" if origin else address
        raise out_of_reach(name, file, f"{where} (see {PROJECT})", error) from error


def _known_tags(model: str) -> list[str]:
    import open_clip

    if model not in open_clip.list_models():
        near = [known for known in open_clip.list_models() if known.lower().startswith(model.lower()[:5])]
        raise InputError(
            f"open_clip has no model {model!r}; it has {', '.join(near[:12]) or 'ViT-B-16, ViT-B-32, ViT-L-14'} and "
            f"others; write clip:MODEL/PRETRAINED, for example clip:ViT-B-16/laion2b_s34b_b88k."
        )
    return open_clip.list_pretrained_tags_by_model(model)


def _wrong_weights(name: str, weights: str, error: BaseException) -> InputError:
    text = " ".join(str(error).split())
    return InputError(
        f"{weights} could not be loaded as {name} ({text[:160]}{'...' if len(text) > 160 else ''}); expected a "
        "checkpoint of open_clip for that model, as safetensors or as torch.load(weights_only=True) accepts."
    )


def _licence(tag: str | None) -> str:
    return next((text for start, text in LICENCES.items() if (tag or "").startswith(start)), UNKNOWN_LICENCE)
