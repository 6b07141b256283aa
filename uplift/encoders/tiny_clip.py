"""``tiny-clip``: a small CLIP trained on crops and captions of rooms, for where no other weights can be had."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from render.errors import InputError
from uplift.encoders._tiny_tower import COARSE, STRIDE
from uplift.encoders.base import Image, as_image
from uplift.encoders.clip import ClipEncoder
from uplift.encoders.tiny import LICENCE, tiny_file

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from open_clip import CLIP

NAME = "tiny-clip"
MODEL = "fit3d-tiny-clip"  # among the models of open_clip
ENLARGED = 3  # times, a small photo at most: more would only blur
HEIGHTS = (224, 320, 448)  # pixels, of the sizes in which a photo is seen; it was trained on things of such sizes
PREPROCESSING: Mapping[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "interpolation": "bilinear"}
MERGES, WORDS = "merges", "words"  # names of what travels with the weights in the file's metadata
WORD = re.compile(r"[^\W\d_]+")

log = logging.getLogger(__name__)


class TinyTokenizer:
    """open_clip's tokenizer with merges of its own, and the words that its model has seen.

    CLIP's own merges make 49408 tokens, whose embeddings alone would be larger than this model.  Merges and words
    belong to the weights, hence they are kept in the same file.

    Attributes:
        merges: Pairs of tokens in the order in which they are joined, ``"a b"``.
        words: All words of the captions that the model was trained with, lower case.
        context: Tokens of a text, with those of its start and end.
    """

    def __init__(self, merges: Sequence[str], words: Collection[str]) -> None:
        from open_clip import SimpleTokenizer

        self.merges, self.words = tuple(merges), frozenset(words)
        self.context = int(_config()["text_cfg"]["context_length"])
        # The first line is a title; a line break at the end would add a merge of nothing.
        file = io.BytesIO(gzip.compress("\n".join(["merges", *self.merges]).encode()))
        self._tokenizer = SimpleTokenizer(bpe_path=file, context_length=self.context)
        most = int(_config()["text_cfg"]["vocab_size"])
        if self._tokenizer.vocab_size > most:
            raise InputError(
                f"{NAME} has room for {most} tokens, found {self._tokenizer.vocab_size}; learn fewer merges."
            )

    def __call__(self, texts: Sequence[str]) -> Int64[Tensor, "q length"]:
        """Tokens of texts; warns of what :meth:`remarks` remarks."""
        for remark in self.remarks(texts):
            log.warning("%s", remark)
        return self._tokenizer(list(texts))

    def remarks(self, texts: Sequence[str]) -> list[str]:
        """A sentence about words that the model never saw, and one for each text that is too long for it."""
        unknown = dict.fromkeys(w for t in texts for w in WORD.findall(t.lower()) if w not in self.words)
        remarks = []
        if unknown:
            named = ", ".join(repr(word) for word in unknown)
            remarks.append(
                f"{NAME} has never seen the {'word' if len(unknown) == 1 else 'words'} {named}: what it finds for that "
                f"means little; it knows {len(self.words)} words about rooms."
            )
        most = self.context - 2
        long = [text for text in texts if len(self._tokenizer.encode(text)) > most]
        return [*remarks, *(f"{NAME} reads {most} tokens at most and leaves out the end of {text!r}." for text in long)]

    def metadata(self) -> dict[str, str]:
        """What a file of weights must carry beside them."""
        return {MERGES: "\n".join(self.merges), WORDS: " ".join(sorted(self.words))}

    @staticmethod
    def of_metadata(metadata: Mapping[str, str]) -> TinyTokenizer:
        """The tokenizer whose :meth:`metadata` this is.

        Raises:
            KeyError: merges or words are not there.
        """
        return TinyTokenizer(metadata[MERGES].split("\n"), metadata[WORDS].split())


class TinyClipEncoder(ClipEncoder):
    """The model's features of pixels: it was trained to name points, which costs far less than a pyramid of crops.

    A photo is seen in several sizes; features of length 1 are interpolated to the grid of the largest and averaged.

    Attributes:
        heights: Of those sizes, in pixels.
    """

    def __init__(self, model: CLIP, tokenizer: TinyTokenizer, *, heights: Sequence[int] = HEIGHTS) -> None:
        """Make an encoder of a model; InputError if heights are less than 16 pixels."""
        self.heights = tuple(int(height) for height in heights)
        if not self.heights or min(self.heights) < COARSE:
            raise InputError(f"{NAME} sees photos at heights of {COARSE} pixels or more, found {list(self.heights)}.")
        super().__init__(NAME, model, licence=LICENCE, tokenize=tokenizer)
        self._tokenizer = tokenizer

    def remarks(self, texts: Sequence[str]) -> list[str]:
        """What a person who asks for texts should know: a sentence for words that the model never saw, and others."""
        return self._tokenizer.remarks(texts)

    @torch.no_grad()
    def encode(self, image: Image) -> Float[Tensor, "gh gw c"]:
        """The averaged features of a photo ``[h, w, 3]`` uint8."""
        array = as_image(image)
        height, width = array.shape[:2]
        photo = torch.from_numpy(array).to(self._device).permute(2, 0, 1)[None].to(torch.float32) / 255
        heights = [min(size, ENLARGED * height) for size in self.heights]
        gh, gw = (length // STRIDE for length in self._fitted(max(heights), height, width))
        total = torch.zeros(1, self.dimension, gh, gw, device=self._device)
        for size in heights:
            pixels = torch.nn.functional.interpolate(
                photo, self._fitted(size, height, width), mode="bilinear", antialias=True, align_corners=False
            )
            features = dense_features(self._model, (pixels - self._mean) / self._std).to(torch.float32)
            features = torch.nn.functional.normalize(features, dim=-1).permute(0, 3, 1, 2)
            total += torch.nn.functional.interpolate(features, (gh, gw), mode="bilinear", align_corners=False)
        return total[0].permute(1, 2, 0) / len(self.heights)

    def options(self) -> dict[str, Any]:
        """The heights."""
        return {"heights": list(self.heights)}

    @staticmethod
    def _fitted(size: int, height: int, width: int) -> tuple[int, int]:
        """Height and width in which a photo is seen, multiples of what the tower halves."""
        sides = [max(COARSE, round(size * length / height / COARSE) * COARSE) for length in (height, width)]
        return sides[0], sides[1]


def dense_features(model: CLIP, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
    """Features of every eighth pixel in the space of the texts, not yet of length 1.

    Args:
        model: Of :func:`build_tiny_clip`.
        pixels: Normalised, sides multiples of 16.
    """
    visual = model.visual
    found: Tensor = visual.head(visual.trunk.forward_features(pixels).permute(0, 2, 3, 1))
    return found


def build_tiny_clip() -> CLIP:
    """The model with random weights: :class:`TinyTower` for images, and a small transformer for texts."""
    import open_clip

    _register()
    return open_clip.create_model(MODEL, force_preprocess_cfg=dict(PREPROCESSING))


def make_tiny_clip(weights: Path | None, device: torch.device, **options: Any) -> TinyClipEncoder:
    """The encoder ``tiny-clip``.

    Args:
        weights: A file that ``fit3d tiny clip`` wrote; None = the bundled one.
        device: Where it computes.
        options: ``heights`` in which a photo is seen, in pixels.

    Raises:
        InputError: the file is not one of this model.
    """
    import open_clip
    from safetensors import SafetensorError, safe_open

    _register()
    path = weights or tiny_file(NAME)
    try:
        with safe_open(path, "pt") as file:
            tokenizer = TinyTokenizer.of_metadata(file.metadata() or {})
        model = open_clip.create_model(
            MODEL, pretrained=str(path), force_preprocess_cfg=dict(PREPROCESSING), pretrained_text=False
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, UnpicklingError, SafetensorError) as error:
        raise InputError(
            f"{path} does not hold the weights of {NAME} ({' '.join(str(error).split())[:160]}); train them with: "
            "fit3d tiny clip"
        ) from error
    return TinyClipEncoder(model.to(device), tokenizer, **options)


def most_merges() -> int:
    """How many merges the model has tokens for, beside single bytes and the marks of start and end."""
    return int(_config()["text_cfg"]["vocab_size"]) - 2 * 256 - 2


@cache
def _register() -> None:
    """Let open_clip know the model, once a process."""
    import open_clip

    open_clip.add_model_config(_config_file())


@cache
def _config() -> dict[str, Any]:
    config: dict[str, Any] = json.loads(_config_file().read_text(encoding="utf-8"))
    return config


def _config_file() -> Path:
    return Path(__file__).with_name(f"{MODEL}.json")
