"""``tiny-dino``: self-distillation of a small ViT on photos of rooms.

A student learns to say of a patch what a slowly following teacher (a moving average of the student, as in DINO, Caron
et al. 2021, and MoCo v3, Chen et al. 2021) says of patches of another photo that show the same place of the room or one
near it, told apart from all else that the other photo shows and from patches of other rooms.  What is near in space is
mostly of one thing, so features come to group things (as Isola et al. 2016, learning from co-occurrences; nearness in
metres is known from depth and pose).  Some patches are hidden from the student (as iBOT, Zhou et al. 2022), and whole
crops are matched too.  Heads and the loss on whole crops are lightly's.  No label is used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from render.spacing import evenly_spaced
from training.tiny.card import About, Recipe
from training.tiny.images import RoomImages, normalised
from training.tiny.pairs import Pairs, PairSampler
from training.tiny.patches import BATCH, measure_patches
from training.tiny.task import TinyTask
from uplift.encoders.tiny_dino import CROP, MEAN, PATCH, STD, WIDTH, build_tiny_dino, tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.random import Generator

    from training.augmentation import Augmentation

HIDDEN, OUTPUT = 512, 128  # of the heads
FIRST_MOMENTUM, LAST_MOMENTUM = 0.985, 0.9975
TEMPERATURE, WHOLE_TEMPERATURE = 0.15, 0.2
SAMPLED = 32  # patches of a crop that the loss looks at, and that stand for it where others are told from it
REACH = 0.25  # metres: patches so far apart still belong together, at most; drawn for each pair
FOOTPRINT = 0.35  # of the extents of two patches: what lies so close is the same place
LEAST = 0.1  # part of the weight of the same place below which a patch does not belong to another
MEMORY = 2048  # whole crops that others are told from
MASKED, MOST_MASKED = 0.5, 0.5  # part of the crops with hidden patches, and of their patches at most
WEIGHTS = {"patches": 1.0, "whole": 0.3}
STATISTICS = 96  # photos over which tokens are standardized
GRID = CROP // PATCH
ABOUT = About(
    title="A ViT of 5 blocks and width 256 with patches of 8 pixels and a convolutional stem, for dense features where "
    "DINOv2 cannot be had.",
    training="Self-distillation without labels: a student tells what its moving average says of the patches of another "
    "photo that show the same place of a room or one near it (depth and pose say which) from what it says of others; "
    "some patches are hidden from it, and whole crops are matched too.",
    limits=(
        "anything that does not look like a synthetic room: it has never seen a photograph",
        "classes by name: it knows no words, take tiny-clip",
        "things smaller than a patch or two, and borders: features of near things run into each other, so "
        "dense-descriptors tells near patches of different things apart better",
    ),
)
RECIPE = Recipe(ABOUT, steps=2200, batch=8, rate=1.2e-3)


class DinoTask(TinyTask):
    """Trains ``tiny-dino``; see the module."""

    name = "tiny-dino"

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
        from lightly.loss import NTXentLoss

        super().__init__(augmentation)
        torch.manual_seed(seed)
        self.photos = batch
        self._images, self._validation = images, validation
        self._sampler = PairSampler(images, side=CROP, patch=PATCH)
        self.student, self.teacher = _Network(), _Network()
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self._whole = NTXentLoss(temperature=WHOLE_TEMPERATURE, memory_bank_size=(MEMORY, OUTPUT))
        self.to(device)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The crops that the loss on whole crops remembers, which lightly keeps out of its state."""
        memory = self._whole.memory_bank
        return {"bank": memory.bank, "bank_ptr": memory.bank_ptr}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Remember them again."""
        for name, values in state.items():
            getattr(self._whole.memory_bank, name).copy_(values)

    def trained(self) -> Iterable[nn.Parameter]:
        """The student."""
        return self.student.parameters()

    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002  Task's
        """Both losses of a batch of pairs."""
        pairs = self._sampler.draw(random, self.photos)
        seen, told = (self._pixels(self.coloured(random, pairs.crops, strength)) for strength in (1.0, 0.5))
        masks = torch.from_numpy(_masks(random, len(pairs.crops))).to(self.device)
        near = belonging(pairs, random.uniform(0, REACH, self.photos)).to(self.device)
        with torch.no_grad():
            whole_told, patches_told = self.teacher(told)
            answers = _each(self.teacher.head, patches_told.flatten(1, 2))
            whole_answers = self.teacher.whole_head(whole_told).float().roll(self.photos, 0)
        whole, patches = self.student(seen, masks)
        # Patches that belong to some of the other crop come first, the others are not counted.
        chosen = (torch.rand(near.shape[:2], device=self.device) + near.any(2)).topk(SAMPLED, 1).indices
        guesses = _each(self.student.guess, _taken(patches.flatten(1, 2), chosen))
        whole_guesses = self.student.guess_whole(whole).float()
        losses = {
            "patches": contrast(guesses, answers, _taken(near, chosen)),
            "whole": self._whole(whole_guesses, whole_answers),
        }
        total = sum((WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros((), device=self.device))
        spread = float(patches_told.float().flatten(0, 2).std(0).mean())
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
        few = self._images.photos[evenly_spaced(len(self._images), STATISTICS)]
        batches = [few[i : i + BATCH] for i in range(0, len(few), BATCH)]
        seen = torch.cat([tokens(model, self._pixels(b.astype(np.float32) / 255))[1].flatten(0, 2) for b in batches])
        mean, deviation = seen.mean(0), seen.std(0).clamp(min=1e-4)
        model.norm.bias.copy_((model.norm.bias - mean) / deviation)
        model.norm.weight.div_(deviation)
        return model, {}

    @torch.no_grad()
    def _encode(self, photos: np.ndarray) -> Float[Tensor, "b gh gw c"]:
        with torch.autocast(self.device.type, torch.bfloat16):
            return tokens(self.teacher.backbone, self._pixels(photos.astype(np.float32) / 255))[1].float()

    def _pixels(self, images: Float[np.ndarray, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
        return normalised(images, MEAN, STD, self.device)


def belonging(pairs: Pairs, reach: Float[np.ndarray, " b"]) -> Float[Tensor, "n m m"]:
    """How far each patch of each crop belongs to each patch of its pair's other crop.

    Args:
        pairs: Pairs of crops.
        reach: How far apart patches of a pair may lie, in metres; 0 = the same place.

    Returns:
        Weights that fall from 1 like a Gaussian of the distance in the room, 0 where it is large or not known.
    """
    points, extents = torch.from_numpy(pairs.points), torch.from_numpy(pairs.extents)
    b = len(points) // 2
    squared = torch.cdist(points, points.roll(b, 0)) ** 2
    deviation = FOOTPRINT * (extents[:, :, None] + extents.roll(b, 0)[:, None])
    radius = torch.from_numpy(reach).float().repeat(2)[:, None, None] / 2
    weights = torch.exp(-squared / (2 * (deviation**2 + radius**2)).clamp(min=1e-8))
    known = (extents > 0)[:, :, None] & (extents > 0).roll(b, 0)[:, None]
    return torch.where(known & (weights >= LEAST), weights, 0.0)


def contrast(
    guesses: Float[Tensor, "n q k"], answers: Float[Tensor, "n m k"], near: Float[Tensor, "n q m"]
) -> Float[Tensor, ""]:
    """Cross-entropy of which patches a patch belongs to.

    Args:
        guesses: Of some patches of every crop, of length 1; crop ``i`` and crop ``i + n / 2`` are a pair.
        answers: To all patches of every crop, of length 1.
        near: How far each guess belongs to each patch of the pair's other crop; guesses without any are left out.

    Returns:
        The mean over the guesses, told from all of the other crop and from as many patches of each crop of other
        pairs as there are guesses.
    """
    n, q, _ = guesses.shape
    pair = (torch.arange(n, device=guesses.device) % (n // 2)).repeat_interleave(q)
    drawn = torch.randint(answers.shape[1], (n, q), device=guesses.device)
    others = guesses.flatten(0, 1) @ _taken(answers, drawn).flatten(0, 1).T
    others = others.masked_fill(pair[:, None] == pair, -math.inf).reshape(n, q, -1)
    own = guesses @ answers.roll(n // 2, 0).transpose(1, 2)
    logits = torch.cat([own, others], 2).float() / TEMPERATURE
    total = near.sum(2)
    wanted = (near * own).sum(2) / TEMPERATURE / total.clamp(min=1e-6)
    counted = total > 0
    return ((logits.logsumexp(2) - wanted) * counted).sum() / counted.sum().clamp(min=1)


class _Network(nn.Module):
    """The ViT, the token of hidden patches, and the heads of patches and of whole crops.

    The heads' batch norms set patches of a network that is still random apart, which lets the training take off.
    """

    def __init__(self) -> None:
        from lightly.models.modules.heads import BYOLPredictionHead, MoCoProjectionHead

        super().__init__()
        self.backbone = build_tiny_dino()
        for block in self.backbone.blocks:
            # Backwards through so few tokens, PyTorch's fused attention takes three times as long on a CPU.
            block.attn.fused_attn = False
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


def _taken(values: Float[Tensor, "n m c"], rows: Tensor) -> Float[Tensor, "n q c"]:
    """The rows ``[n, q]`` of each of the arrays."""
    return values.gather(1, rows[..., None].expand(-1, -1, values.shape[2]))


def _each(head: Callable[[Tensor], Tensor], patches: Float[Tensor, "n m c"]) -> Float[Tensor, "n m k"]:
    """What a head says of all patches, in single precision and of length 1."""
    return functional.normalize(head(patches.flatten(0, 1)).float(), dim=1).reshape(*patches.shape[:2], -1)


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
