"""Lines of a table: which network is trained how, and by whom it is taught."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from training.augmentation import Augmentation
from training.distillation.specific.augmentation import Augment, Recipe
from training.distillation.specific.losses import Weighting
from training.distillation.specific.mixing import Mixed
from training.distillation.specific.models import Goal, ModelSpec
from training.distillation.specific.settings import Family, Numbers, Scale, numbers_for, recipe_for, side_for
from training.distillation.specific.task import MixedIn
from training.probing.photos import ProbeData

FINE_BLOCKS, BLOCKS = 3, 4  # whose [CLS] tokens heads read, of kinds much alike and of others (B.1.4)
APART = 1000  # seeds of teachers from those of their students: runs of both are independent (4.4.1)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is chosen of a network and of its training; None = as the scale and the data have it.

    Attributes:
        network: See :class:`ModelSpec`.
        weights: A local file that it begins with; None = the encoder's own, or random ones.
        frozen: A head alone is trained: probing.
        scratch: A transformer begins with random weights.
        side: Pixels of what it sees, along each side.
        enlarge: A transformer sees photos enlarged so many times.
        blocks: Classification: of how many last blocks the head reads the [CLS] token.
        least_crop: Classification: the least part of a photo that a crop shows.
        mixup: Classification by transformers: how strongly photos are blended.
        augment: How photos are augmented; with ``standard`` a head alone learns from what it is asked about as a
            teacher.
        augmentation: What photos go through instead of what the recipe has, see :class:`Recipe`.
        rate: Learning rate.
        weight_decay: Of matrices.
        epochs: How often a photo is seen.
        batch: Photos of a step.
    """

    network: str
    weights: Path | None = None
    frozen: bool = False
    scratch: bool = False
    side: int | None = None
    enlarge: int = 1
    blocks: int | None = None
    least_crop: float | None = None
    mixup: float | None = None
    augment: Augment | None = None
    augmentation: Augmentation | None = None
    rate: float | None = None
    weight_decay: float | None = None
    epochs: float | None = None
    batch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table: a network, how it is trained, and by whom it is taught.

    Attributes:
        name: Of its folder.
        spec: The network.
        numbers: How long and how fast it is trained.
        recipe: How photos are augmented.
        weights: A local file that it begins with; None = the encoder's own, or random ones.
        teacher: What teaches it, each seed by the teacher of that seed; None = labels alone.
        weighting: Of labels and teacher.
        mixed: Mixed images; None = there are none.
        mixed_in: Where these teach.
        apart: Added to a seed: a teacher with its student's seed would begin with its weights, if both are the same
            network, see the same photos in the same order, and have learned the labels of just those by heart.
    """

    name: str
    spec: ModelSpec
    numbers: Numbers
    recipe: Recipe
    weights: Path | None = None
    teacher: Row | None = None
    weighting: Weighting = field(default_factory=Weighting)
    mixed: Mixed | None = None
    mixed_in: MixedIn = "distillation"
    apart: int = 0

    def json(self) -> dict[str, Any]:
        """What decides on the result, but for files; JSON values."""
        return {
            "name": self.name,
            "network": self.spec.json(),
            "numbers": self.numbers.json(),
            "recipe": self.recipe.json(),
            "teacher": None if self.teacher is None else self.teacher.name,
            "weighting": None if self.teacher is None else asdict(self.weighting),
            "mixed": "none" if self.mixed is None else self.mixed.source,
            "mixed_in": None if self.mixed is None else self.mixed_in,
            "apart": self.apart,
        }

    def as_written(self) -> dict[str, Any]:
        """:meth:`json` as a file gives it back: lists for tuples."""
        return dict(json.loads(json.dumps(self.json())))

    def lineage(self) -> list[Row]:
        """Its teacher if there is one, that one's, and itself last."""
        return [*([] if self.teacher is None else self.teacher.lineage()), self]

    @property
    def begins_blank(self) -> bool:
        """Whether all weights are random in the beginning."""
        return self.spec.scratch or (self.spec.convolutional and self.weights is None)


def make_row(
    name: str,
    choice: Choice,
    data: ProbeData,
    goal: Goal,
    *,
    family: Family,
    scale: Scale,
    width: int | None = None,
) -> Row:
    """The line of a network, without teacher and mixed images: ``dataclasses.replace`` names these.

    Args:
        name: Of its folder.
        choice: What is chosen; the rest follows from scale, data and text.
        data: The photos, with the names of the classes.
        goal: The task.
        family: Row of table B.2.
        scale: small, or that of the paper.
        width: Channels of the transformer, which the paper's numbers depend on.

    Raises:
        InputError: such a network is not known for the task, or a number is out of its range.
    """
    photo_side = min(data.train[0].image().shape[:2])
    fine = family == "fine-grained"
    spec = ModelSpec(
        name=choice.network,
        goal=goal,
        classes=len(data.classes),
        frozen=choice.frozen,
        scratch=choice.scratch,
        side=choice.side or side_for(goal, scale, photo_side),
        blocks=choice.blocks or (FINE_BLOCKS if fine else BLOCKS),
        mean_patch=not fine,
        enlarge=choice.enlarge,
    )
    recipe = recipe_for(spec, family, scale, photo_side)
    if choice.augment is not None:
        recipe = replace(recipe, augment=choice.augment)
    if choice.least_crop is not None:
        recipe = replace(recipe, scale=choice.least_crop)
    if choice.mixup is not None:
        recipe = replace(recipe, mixup=choice.mixup)
    if choice.augmentation is not None:
        recipe = replace(recipe, augmentation=choice.augmentation)
    numbers = numbers_for(spec, family, scale, width=width)
    wanted: dict[str, Any] = {key: getattr(choice, key) for key in ("rate", "weight_decay", "epochs", "batch")}
    numbers = replace(numbers, **{key: value for key, value in wanted.items() if value is not None})
    return Row(name=name, spec=spec, numbers=numbers, recipe=recipe, weights=choice.weights)
