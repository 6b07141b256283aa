"""Numbers of trainings: those of the text, and those for small networks and few photos (sections 4.4.1, B.1.2).

The text has numbers for ViT-S and for ViT-L and ViT-g; other transformers have those of the nearer one, by their width.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

from render.errors import InputError
from training.distillation.specific.augmentation import Augment, Recipe
from training.distillation.specific.models import LARGE, SMALL, Goal, ModelSpec
from training.loop import Schedule
from training.loop.schedule import Optimizer, Precision

Scale: TypeAlias = Literal["small", "paper"]
"""Numbers for a processor, tens of steps to thousands; or those of the text."""
Family: TypeAlias = Literal["domainnet", "fine-grained", "segmentation"]
"""Rows of table B.2: photos of many kinds, photos of kinds that are much alike, pixels."""
Procedure: TypeAlias = Literal["probing", "tuning", "convolutional"]
"""A head alone, a whole transformer (by labels, by a teacher, or both), a convolutional network."""

# Table B.2: learning rates and weight decays.
GRIDS: dict[tuple[Family, Procedure], tuple[tuple[float, ...], tuple[float, ...]]] = {
    ("domainnet", "probing"): ((1e-4, 2e-4, 4e-4), (0.0,)),
    ("domainnet", "tuning"): ((1e-5, 2e-5, 4e-5), (0.025, 0.05, 0.1)),
    ("domainnet", "convolutional"): ((0.1,), (5e-4,)),
    ("fine-grained", "probing"): ((1e-3, 2e-3, 4e-3), (0.5, 1.0, 2.0, 4.0, 8.0)),
    ("fine-grained", "tuning"): ((1e-5, 2e-5, 4e-5), (0.025, 0.05, 0.1)),
    ("fine-grained", "convolutional"): ((0.01, 0.02, 0.04), (0.005, 0.01)),
    ("segmentation", "probing"): ((8e-3,), (0.0,)),
    ("segmentation", "tuning"): ((1e-5, 2e-5, 4e-5), (0.001, 0.01, 0.1)),
    ("segmentation", "convolutional"): ((0.01, 0.02, 0.04, 0.08), (1e-4, 1e-3, 1e-2)),
}
# The text chose its grid after a coarse one by powers of ten; with a hundredth of its steps whole transformers want the
# next power, and so do heads for photos of many kinds.
FASTER: dict[tuple[Family, Procedure], float] = {
    ("domainnet", "probing"): 10.0,
    ("domainnet", "tuning"): 10.0,
    ("fine-grained", "tuning"): 10.0,
    ("segmentation", "tuning"): 10.0,
}
BATCHES: dict[Scale, dict[Goal, int]] = {
    "paper": {"classification": 128, "segmentation": 16},
    "small": {"classification": 64, "segmentation": 8},
}
PROBING_BATCH = 32  # of a segmentation, in the text
# Of a ViT-L that is tuned (B.1.2).  Rates are reduced "accordingly": here by the same factor as the batch.
LARGE_BATCHES: dict[Goal, int] = {"classification": 32, "segmentation": 8}
LARGE_EPOCHS: dict[Procedure, int] = {"probing": 20, "tuning": 50}
EPOCHS: dict[Scale, dict[Goal, dict[Procedure, int]]] = {
    "paper": {
        "classification": {"probing": 30, "tuning": 80, "convolutional": 200},
        "segmentation": {"probing": 30, "tuning": 80, "convolutional": 200},
    },
    "small": {
        "classification": {"probing": 20, "tuning": 8, "convolutional": 16},
        "segmentation": {"probing": 40, "tuning": 20, "convolutional": 40},
    },
}
SIDES: dict[Goal, int] = {"classification": 224, "segmentation": 560}
SMALL_SIDES: dict[Goal, int] = {"classification": 96, "segmentation": 176}  # at most
SIXTEEN = 16  # small sides are multiples of it, of as many patches as there are
TINY_SCALE = 0.4  # the least part of a crop of photos below 64 pixels, which show nothing at 0.08
CLIP = 3.0  # largest norm of a gradient
WARM = 0.05  # part of the steps in which the rate rises
MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How long and how fast a network is trained.

    Attributes:
        rate: Learning rate after the warm-up; it falls along half a cosine.
        weight_decay: Of matrices.
        batch: Photos of a step.
        epochs: How often a photo is seen on average.
        optimizer: AdamW, or SGD with momentum for convolutional networks.

    Raises:
        InputError: a number is out of its range.
    """

    rate: float
    weight_decay: float
    batch: int
    epochs: float
    optimizer: Optimizer = "adamw"

    def __post_init__(self) -> None:
        if not (0 < self.rate < math.inf and 0 <= self.weight_decay < math.inf and self.batch > 1 and self.epochs > 0):
            raise InputError(
                "Expected a rate and epochs above 0, a weight decay of at least 0 and a batch of at least 2, found "
                f"{self.rate:g}, {self.epochs:g}, {self.weight_decay:g} and {self.batch}."
            )

    def steps(self, photos: int) -> int:
        """Steps of all epochs."""
        return max(1, round(self.epochs * photos / self.batch))

    def schedule(self, photos: int, *, seed: int, precision: Precision = "auto") -> Schedule:
        """As the training loop takes it; the text names a cosine, no warm-up and no clipping, which cost nothing."""
        return Schedule(
            steps=self.steps(photos),
            rate=self.rate,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            momentum=MOMENTUM,
            warmup=WARM,
            clip=CLIP,
            seed=seed,
            precision=precision,
            validate_every=0,
            picture_every=0,
        )

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def procedure_of(spec: ModelSpec) -> Procedure:
    """What of a network is trained."""
    if spec.convolutional:
        return "convolutional"
    return "probing" if spec.frozen else "tuning"


def grid_of(spec: ModelSpec, family: Family, scale: Scale, like: Numbers, *, width: int | None = None) -> list[Numbers]:
    """The numbers that a search tries.

    Args:
        spec: What is trained.
        family: Row of table B.2.
        scale: small = the rates that :data:`FASTER` names are multiplied.
        like: Batch, epochs and optimizer.
        width: Channels of the transformer; of large ones that are tuned the paper reduces rates with the batch.
    """
    what = procedure_of(spec)
    rates, decays = GRIDS[family, what]
    faster = FASTER.get((family, what), 1.0) if scale == "small" else 1.0
    if scale == "paper" and what == "tuning" and _large(width):
        faster = LARGE_BATCHES[spec.goal] / BATCHES[scale][spec.goal]
    return [replace(like, rate=float(f"{faster * rate:.6g}"), weight_decay=decay) for rate in rates for decay in decays]


def numbers_for(spec: ModelSpec, family: Family, scale: Scale, *, width: int | None = None) -> Numbers:
    """The middle of the grid.

    Args:
        spec: What is trained.
        family: Row of table B.2.
        scale: paper = batches and epochs of sections 4.4.1 and B.1.2.
        width: Channels of the transformer, which the paper's numbers depend on.
    """
    what = procedure_of(spec)
    batch, epochs = BATCHES[scale][spec.goal], EPOCHS[scale][spec.goal][what]
    if scale == "paper" and spec.goal == "segmentation" and what == "probing":
        batch = PROBING_BATCH
    if scale == "paper" and what != "convolutional" and _large(width):
        epochs = LARGE_EPOCHS[what]
        batch = LARGE_BATCHES[spec.goal] if what == "tuning" else batch
    optimizer: Optimizer = "sgd" if what == "convolutional" else "adamw"
    blank = Numbers(rate=1.0, weight_decay=0.0, batch=batch, epochs=epochs, optimizer=optimizer)
    known = grid_of(spec, family, scale, blank, width=width)
    rates, decays = sorted({one.rate for one in known}), sorted({one.weight_decay for one in known})
    return replace(blank, rate=rates[len(rates) // 2], weight_decay=decays[len(decays) // 2])


def recipe_for(spec: ModelSpec, family: Family, scale: Scale, photo_side: int) -> Recipe:
    """How photos are augmented for a network that is trained (appendix B.1.3).

    Args:
        spec: What is trained; a student's recipe is the one that its teacher sees, too.
        family: Fine-grained heads are probed without crops and Mixup, ResNets for them with crops of 0.4 at least.
        scale: At the small one all heads are probed without augmentation: features are then computed once.
        photo_side: Pixels along the shorter side of the photos.
    """
    what = procedure_of(spec)
    augment: Augment = "standard"
    if what == "probing" and scale == "small":
        augment = "plain"
    elif what == "probing" and family == "fine-grained":
        augment = "centre"
    elif what == "convolutional" and spec.goal == "classification":
        augment = "trivial"
    recipe = Recipe(augment=augment, side=spec.side)
    if photo_side < SMALL or (family == "fine-grained" and what == "convolutional"):
        recipe = replace(recipe, scale=TINY_SCALE)
    return recipe


def _large(width: int | None) -> bool:
    return width is not None and width >= LARGE


def side_for(goal: Goal, scale: Scale, photo_side: int) -> int:
    """Pixels of what networks see, along each side."""
    if scale == "paper":
        return SIDES[goal]
    return max(SIXTEEN, min(SMALL_SIDES[goal], photo_side) // SIXTEEN * SIXTEEN)
