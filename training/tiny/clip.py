"""``tiny-clip``: a small CLIP trained on crops, points and captions of rooms.

As CLIP (Radford et al. 2021): images and captions of a batch are to find each other.  Images are crops around things,
and single points of larger pieces of photos, whose features go through the same projection, so that the model names
pixels and not only whole images (compare Rao et al. 2022, DenseCLIP).  In a small world many captions of a batch are
true of an image, and one caption of many images, so the targets are all that is true (as in supervised contrastive
learning, Khosla et al. 2020), not only what was drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from training.rooms.captions import describe, describe_crop, vocabulary
from training.rooms.words import SHAPE_NOUNS, SYNONYMS, ThingWords
from training.tiny.bpe import learn_merges
from training.tiny.card import About, Recipe
from training.tiny.crops import CropSampler
from training.tiny.finding import share_found
from training.tiny.images import RoomImages, normalised
from training.tiny.pieces import PieceSampler
from training.tiny.task import TinyTask
from uplift.encoders.tiny_clip import (
    NAME,
    PREPROCESSING,
    WORD,
    TinyClipEncoder,
    TinyTokenizer,
    build_tiny_clip,
    dense_features,
    most_merges,
)
from uplift.relevancy import CANONICAL

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.random import Generator

    from training.augmentation import Augmentation

PLAIN, CANON = 0.4, 0.12  # how often a caption is the bare noun, and one of the canonical phrases
SAID = 0.4  # how often each attribute may be said in short captions
ARTICLE = 0.5
SHARPEST = 30.0  # largest factor of the cosines: features stay apart by angles that relevancies can use
JITTER = 0.4  # of brightness and contrast; colours are words here
VALIDATED = 10  # rooms
PIECE = 224  # pixels, the sides of pieces
CROPS, POINTS = 4, 48  # crops of a batch for each piece, points of a piece
NAMES = tuple(
    sorted((name for name in (*SHAPE_NOUNS, *chain(*SYNONYMS.values())) if " " in name), key=len, reverse=True)
)
# Words without which a caption says the same.
FILLERS = frozenset({"a", "an", "and", "the", "of", *CANONICAL})
ABOUT = About(
    title="A CLIP of a small convolutional tower with two blocks of attention and a transformer of 2 layers for texts, "
    "64 channels, for text queries where another CLIP cannot be had; its features of single pixels live in the same "
    "space.",
    training="Points of photos, and crops around things (8-55 % of the photo's height, off-centre and with what is "
    "beside them), with captions of the thing there: its class or another word for it, attributes, sometimes its "
    'neighbour; some are called "object", "things", "stuff" or "texture". All captions that are true of an image are '
    "positives.",
    limits=(
        "anything that does not look like a synthetic room: it has never seen a photograph",
        "words that its captions do not have; it warns of them",
        "whole sentences, relations, counting, and things smaller than about a twentieth of the photo's height",
    ),
)
RECIPE = Recipe(ABOUT, steps=5200, batch=8, rate=2e-3)


class ClipTask(TinyTask):
    """Trains ``tiny-clip``; see the module."""

    name = NAME

    def __init__(
        self,
        images: RoomImages,
        validation: RoomImages,
        *,
        batch: int = RECIPE.batch,
        seed: int = 0,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(augmentation)
        torch.manual_seed(seed)
        self.photos = batch
        self._validation = validation.of_rooms(VALIDATED)
        self.tokenizer = caption_tokenizer()
        self.model = build_tiny_clip().to(device, memory_format=torch.channels_last)
        self._crops = CropSampler(images, int(self.model.visual.image_size[0]))
        self._pieces = PieceSampler(images, PIECE)

    def trained(self) -> Iterable[nn.Parameter]:
        """The model's."""
        return self.model.parameters()

    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        """The model, its merges and its words."""
        return self.model, self.tokenizer.metadata()

    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002  Task's
        """Two captions for every crop and every marked thing, a short one and one that may say more."""
        self.model.train()
        crops = self._crops.draw(random, CROPS * self.photos)
        pieces = self._pieces.draw(random, self.photos, POINTS)
        things = [*crops.main, *pieces.things]
        captions = [short_caption(words, random) for words in things]
        captions += [
            str(random.choice(CANONICAL)) if random.random() < CANON else self._long_caption(shares, random)
            for shares in (*crops.shares, *([(words, 1.0)] for words in pieces.things))
        ]
        kinds = list(dict.fromkeys(captions))
        places = {caption: index for index, caption in enumerate(kinds)}
        columns = torch.tensor([places[caption] for caption in captions], device=self.device)
        whole = self.model.encode_image(self._pixels(self.coloured(random, crops.images, JITTER)), normalize=True)
        features = dense_features(self.model, self._pixels(self.coloured(random, pieces.images, JITTER)))
        grid = 2 * torch.from_numpy(pieces.points).to(self.device)[:, None] - 1
        points = torch.nn.functional.grid_sample(
            features.float().permute(0, 3, 1, 2), grid, align_corners=False, padding_mode="border"
        )
        points = torch.nn.functional.normalize(points[:, :, 0].transpose(1, 2).flatten(0, 1), dim=1)
        images = torch.cat([whole.float(), points])
        texts = self.model.encode_text(self.tokenizer(kinds).to(self.device), normalize=True).float()[columns]
        logits = self.model.logit_scale.exp() * images @ texts.T
        rows = np.concatenate([np.arange(len(crops.main)), len(crops.main) + pieces.shown.reshape(-1)])
        true = [torch.from_numpy(found[rows]).to(self.device) for found in truths(captions, things)]
        loss = caption_loss(logits, *true)
        right = true[0].gather(1, logits.detach().argmax(1)[:, None])[:, 0].float()
        figures = {"crops": float(right[: len(whole)].mean()), "points": float(right[len(whole) :].mean())}
        return loss, figures | {"scale": float(self.model.logit_scale.detach().exp())}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:  # noqa: ARG002  Task's
        """Keep the temperature in bounds."""
        self.model.logit_scale.clamp_(0, math.log(SHARPEST))

    def validate(self) -> dict[str, float]:
        """How often the most relevant pixel of a text lies on the right thing, in single photos of unseen rooms."""
        model = build_tiny_clip()  # an encoder freezes what it is given
        model.load_state_dict(self.model.state_dict())
        return share_found(TinyClipEncoder(model.to(self.device), self.tokenizer), self._validation)

    def _long_caption(self, shares: Sequence[tuple[ThingWords, float]], random: Generator) -> str:
        """What the crop shows, unless that is longer than the model reads."""
        caption = describe_crop(shares, random)
        fits = len(caption.split()) <= self.tokenizer.context - 2  # every word is one token
        return caption if fits else short_caption(shares[0][0], random)

    def _pixels(self, images: Float[np.ndarray, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
        return normalised(images, PREPROCESSING["mean"], PREPROCESSING["std"], self.device)


def caption_tokenizer() -> TinyTokenizer:
    """Merges by which every word of the captions becomes one token, and those words."""
    words = {word for text in (*vocabulary(), *CANONICAL, *FILLERS) for word in WORD.findall(text.lower())}
    return TinyTokenizer(learn_merges(words, most_merges()), words)


def short_caption(words: ThingWords, random: Generator) -> str:
    """A thing's noun, or the noun with few of its attributes: as people search."""
    if random.random() < PLAIN:
        words = ThingWords(words.category, words.shape if words.shape in SHAPE_NOUNS else "")
    else:
        dropped = [name for name in ("shape", "colour", "material", "pattern", "size") if random.random() > SAID]
        words = replace(words, **dict.fromkeys(dropped, ""))
    return describe(words, random, article=bool(random.random() < ARTICLE))


def truths(
    captions: Sequence[str], things: Sequence[ThingWords]
) -> tuple[Bool[np.ndarray, "b m"], Bool[np.ndarray, "b m"]]:
    """Which captions are true of which crops.

    A caption is true of a thing if all its words may be said of it; beside that, of the crop that it was made for.

    Args:
        captions: ``m``, a multiple of ``b``: caption ``j`` was made for crop ``j % b``.
        things: What the ``b`` crops show.

    Returns:
        What a crop is to find: a caption without content, such as "object", only where it was made for that crop,
        so that it stands for what is true of everything.  What a caption is to find: such a one finds all.
    """
    needed, said = [_content(caption) for caption in captions], [_sayable(words) for words in things]
    index = {word: i for i, word in enumerate(sorted(set().union(*needed, *said)))}
    needs, has = (np.zeros((len(sets), len(index)), np.float32) for sets in (needed, said))
    for table, sets in ((needs, needed), (has, said)):
        for row, found in enumerate(sets):
            table[row, [index[word] for word in found]] = 1
    by_words = (1 - has) @ needs.T == 0
    own = np.arange(len(captions))[None] % len(things) == np.arange(len(things))[:, None]
    empty = np.array([not found for found in needed])
    # Equal captions are equally true.
    _, kinds = np.unique(captions, return_inverse=True)
    same = (own.astype(np.float32) @ (kinds[:, None] == kinds[None]).astype(np.float32)) > 0
    return (by_words & ~empty) | same, by_words | same


def caption_loss(
    logits: Float[Tensor, "b m"], for_crops: Bool[Tensor, "b m"], for_captions: Bool[Tensor, "b m"]
) -> Tensor:
    """CLIP's loss with several positives: cross entropies of rows and columns against all that is true.

    With one caption for each crop and nothing else true it is open_clip's ``ClipLoss``.
    """

    def entropy(scores: Tensor, true: Tensor) -> Tensor:
        targets = true.float() / true.sum(1, keepdim=True).clamp_min(1)
        return -(targets * scores.log_softmax(1)).sum(1).mean()

    return (entropy(logits, for_crops) + entropy(logits.T, for_captions.T)) / 2


def _content(text: str) -> frozenset[str]:
    """Words of a caption without fillers; "red and white" is one word, for it is not red."""
    return frozenset(WORD.findall(_joined(text))) - FILLERS


def _sayable(words: ThingWords) -> frozenset[str]:
    texts = [words.category, *SYNONYMS.get(words.category, ())]
    texts += [words.shape, words.colour, words.material, words.pattern, words.size]
    return frozenset(word for text in texts for word in WORD.findall(_joined(text))) - FILLERS


def _joined(text: str) -> str:
    """Names of several words and pairs of colours made one word each: a table lamp is no table."""
    text = text.lower().replace(" and ", "and")
    for name in NAMES:
        text = text.replace(name, name.replace(" ", ""))
    return text
