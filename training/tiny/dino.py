"""``tiny-dino``: self-distillation of a small ViT on photos of rooms.

A student learns to say of a patch what a slowly following teacher says of it (a moving average of the student, as in
DINO, Caron et al. 2021, and MoCo v3, Chen et al. 2021): of patches that the student does not see (as ConMIM, Yi et al.
2023), of the same point of the room in another photo (as DenseCL, Wang et al. 2021, but with correspondences known
from depth and pose), and of whole crops.  What is said must be told apart from what is said of other patches, which is
learned in far fewer steps than clusters are.  Heads and losses are lightly's.  No label is used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from training.tiny.card import About, Recipe
from training.tiny.images import RoomImages, jittered
from training.tiny.pairs import PairSampler
from training.tiny.patches import BATCH, measure_patches
from uplift.encoders.tiny_dino import CROP, MEAN, PATCH, STD, WIDTH, build_tiny_dino, tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.random import Generator

HIDDEN, OUTPUT = 512, 128  # of the heads
FIRST_MOMENTUM, LAST_MOMENTUM = 0.985, 0.9995
TEMPERATURE, WHOLE_TEMPERATURE = 0.15, 0.2
SAMPLED = 768  # patches of a batch that each of the two losses on patches looks at
MEMORY = 2048  # whole crops that others are told from
MASKED, MOST_MASKED = 0.5, 0.5  # part of the crops with hidden patches, and of their patches at most
WEIGHTS = {"masked": 1.0, "dense": 1.0, "whole": 0.3}
STATISTICS = 96  # photos over which tokens are standardized
GRID = CROP // PATCH
ABOUT = About(
    title="A ViT of 6 blocks and width 256 with patches of 8 pixels, for dense features where DINOv2 cannot be had.",
    training="Self-distillation without labels: a student tells what its moving average says of hidden patches, of "
    "patches that show the same point of a room in another photo (depth and pose say which), and of whole crops, from "
    "what it says of others; heads and losses of lightly.",
    limits=(
        "anything that does not look like a synthetic room: it has never seen a photograph",
        "classes by name: it knows no words, take tiny-clip",
        "things smaller than a patch or two",
    ),
)
RECIPE = Recipe(ABOUT, steps=2400, batch=32, rate=1e-3)


class DinoTask:
    """Trains ``tiny-dino``; see the module."""

    name = "tiny-dino"

    def __init__(
        self, images: RoomImages, validation: RoomImages, *, batch: int = 32, seed: int = 0, device: torch.device
    ) -> None:
        from lightly.loss import NTXentLoss

        torch.manual_seed(seed)
        self._batch, self._device = batch, device
        self._images, self._validation = images, validation
        self._sampler = PairSampler(images, side=CROP, patch=PATCH)
        self.student, self.teacher = _Network(), _Network()
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self._patches = NTXentLoss(temperature=TEMPERATURE)
        self._whole = NTXentLoss(temperature=WHOLE_TEMPERATURE, memory_bank_size=(MEMORY, OUTPUT))
        for module in (self.student, self.teacher, self._whole):
            module.to(device)

    def modules(self) -> Mapping[str, nn.Module]:
        """Student, teacher, and the crops that the loss on whole crops remembers."""
        return {"student": self.student, "teacher": self.teacher, "whole": self._whole}

    def trained(self) -> Iterable[nn.Module]:
        """The student."""
        return [self.student]

    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002  Task's
        """The three losses of a batch of pairs."""
        pairs = self._sampler.draw(random, self._batch)
        seen, told = (self._pixels(jittered(random, pairs.crops, strength)) for strength in (1.0, 0.5))
        masks = torch.from_numpy(_masks(random, len(pairs.crops))).to(self._device)
        with torch.no_grad():
            whole_told, patches_told = self.teacher(told)
        whole, patches = self.student(seen, masks)
        dense, there = self._matches(pairs.partner, masks)
        flat = patches_told.flatten(1, 2)
        other = flat.roll(self._batch, 0)  # what the pair's other crop says
        carried = other.gather(1, there.flatten(1)[..., None].expand(-1, -1, other.shape[2])).reshape(patches.shape)
        hidden, shown = (_some(chosen, SAMPLED) for chosen in (masks, dense))
        count = int(hidden.sum())
        with torch.no_grad():
            answers = self.teacher.head(torch.cat([patches_told[hidden], carried[shown]])).float()
            whole_answers = self.teacher.whole_head(whole_told).float().roll(self._batch, 0)
        guesses = self.student.guess(torch.cat([patches[hidden], patches[shown]])).float()
        whole_guesses = self.student.guess_whole(whole).float()
        losses = {
            "masked": self._patches(guesses[:count], answers[:count]),
            "dense": self._patches(guesses[count:], answers[count:]),
            "whole": self._whole(whole_guesses, whole_answers),
        }
        total = sum((WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros((), device=self._device))
        spread = float(flat.float().flatten(0, 1).std(0).mean())
        return total, {name: float(loss.detach()) for name, loss in losses.items()} | {"spread": spread}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """The teacher follows."""
        momentum = LAST_MOMENTUM - (LAST_MOMENTUM - FIRST_MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        for mine, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.lerp_(theirs, 1 - momentum)

    def validate(self) -> dict[str, float]:
        """How well classes are told apart linearly, and things from what is beside them, in unseen rooms."""
        return measure_patches(self._encode, self._validation)

    @torch.no_grad()
    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        """The teacher's network, which is better than the student's; patch tokens have mean 0 and deviation 1.

        The training leaves most of a token alike in all patches, since its heads do not see that; cosines between
        such tokens would all be near 1.  Statistics over training photos are folded into the last norm.
        """
        model = copy.deepcopy(self.teacher.backbone).eval()
        few = self._images.photos[
            np.linspace(0, len(self._images) - 1, min(STATISTICS, len(self._images))).round().astype(int)
        ]
        batches = [few[i : i + BATCH] for i in range(0, len(few), BATCH)]
        seen = torch.cat([tokens(model, self._pixels(b.astype(np.float32) / 255))[1].flatten(0, 2) for b in batches])
        mean, deviation = seen.mean(0), seen.std(0).clamp(min=1e-4)
        model.norm.bias.copy_((model.norm.bias - mean) / deviation)
        model.norm.weight.div_(deviation)
        return model, {}

    @torch.no_grad()
    def _encode(self, photos: np.ndarray) -> Float[Tensor, "b gh gw c"]:
        with torch.autocast(self._device.type, torch.bfloat16):
            return tokens(self.teacher.backbone, self._pixels(photos.astype(np.float32) / 255))[1].float()

    def _pixels(self, images: Float[np.ndarray, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
        pixels = torch.from_numpy(images).to(self._device)
        mean, std = (torch.tensor(values, device=self._device) for values in (MEAN, STD))
        return ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()

    def _matches(self, partner: np.ndarray, masks: Bool[Tensor, "n g g"]) -> tuple[Bool[Tensor, "n g g"], Tensor]:
        """Where the dense loss is taken, for both crops of every pair, and the patch of the pair's other crop.

        The second crops are matched by turning the table round: where several patches of the first fall on one of
        the second, the last one counts.
        """
        b, m = partner.shape
        back = np.full((b, m), -1)
        rows, columns = np.nonzero(partner >= 0)
        back[rows, partner[rows, columns]] = columns
        there = torch.from_numpy(np.concatenate([partner, back])).to(self._device).reshape(masks.shape)
        return there >= 0, there.clamp(min=0)


class _Network(nn.Module):
    """The ViT, the token of hidden patches, and the heads of patches and of whole crops.

    The heads' batch norms set patches of a network that is still random apart, which lets the training take off.
    """

    def __init__(self) -> None:
        from lightly.models.modules.heads import BYOLPredictionHead, MoCoProjectionHead

        super().__init__()
        self.backbone = build_tiny_dino()
        self.hidden = nn.Parameter(torch.zeros(WIDTH))
        self.head, self.whole_head = (
            MoCoProjectionHead(WIDTH, HIDDEN, OUTPUT, num_layers=2, batch_norm=True) for _ in range(2)
        )
        self.predictor, self.whole_predictor = (BYOLPredictionHead(OUTPUT, HIDDEN, OUTPUT) for _ in range(2))

    def guess(self, patches: Float[Tensor, "m c"]) -> Float[Tensor, "m k"]:
        """What the teacher's head will say of patches."""
        found: Tensor = self.predictor(self.head(patches))
        return found

    def guess_whole(self, crops: Float[Tensor, "b c"]) -> Float[Tensor, "b k"]:
        """What the teacher's head will say of whole crops."""
        found: Tensor = self.whole_predictor(self.whole_head(crops))
        return found

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b gh gw"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """[CLS] and patch tokens."""
        return tokens(self.backbone, pixels, mask, self.hidden)


def _some(chosen: Bool[Tensor, "n g g"], most: int) -> Bool[Tensor, "n g g"]:
    """So many of the chosen patches at most, at random."""
    places = chosen.flatten().nonzero()[:, 0]
    kept = torch.zeros(chosen.numel(), dtype=torch.bool, device=chosen.device)
    kept[places[torch.randperm(len(places), device=chosen.device)[:most]]] = True
    return kept.reshape(chosen.shape)


def _masks(random: Generator, count: int) -> Bool[np.ndarray, "count g g"]:
    """Rectangles of hidden patches, in some of the crops."""
    masks = np.zeros((count, GRID, GRID), bool)
    for index in np.flatnonzero(random.random(count) < MASKED):
        mask = masks[index]
        wanted = random.uniform(0.1, MOST_MASKED) * GRID * GRID
        while mask.sum() < wanted:
            h, w = random.integers(2, GRID // 2 + 1, 2)
            y, x = random.integers(0, GRID - h + 1), random.integers(0, GRID - w + 1)
            mask[y : y + h, x : x + w] = True
    return masks
