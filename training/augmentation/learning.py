"""Training of a classifier with an augmentation: the pretraining of a search, and the evaluation of what it found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from render.errors import InputError
from training.augmentation.applying import Augmentation
from training.augmentation.photos import Squares
from training.distillation.specific.measuring import figures_on
from training.distillation.specific.models import TaskModel
from training.distillation.specific.norms import SharedBatchNorm
from training.loop import Schedule, Task
from training.loop.schedule import Precision
from training.probing.photos import ProbePhoto

if TYPE_CHECKING:
    from numpy.random import Generator

Scale: TypeAlias = Literal["small", "paper"]
"""Numbers for a processor and some thousand small photos, or those of tables A.4 and A.5."""
MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class LearningNumbers:
    """How long and how fast a network is trained (table A.5).

    Attributes:
        epochs: How often a photo is seen on average.
        batch: Photos of a step.
        rate: Learning rate, which falls to 0 along half a cosine.
        weight_decay: Of convolutions and matrices.

    Raises:
        InputError: a number is out of its range.
    """

    epochs: float = 200
    batch: int = 128
    rate: float = 0.1
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if not self.epochs > 0 or self.batch < 2 or not self.rate > 0 or not self.weight_decay >= 0:
            raise InputError(
                "Expected epochs and a rate above 0, a batch of 2 or more and a weight decay of 0 or more, found "
                f"{self.epochs:g}, {self.rate:g}, {self.batch} and {self.weight_decay:g}."
            )

    def steps(self, photos: int) -> int:
        """Steps of a training."""
        return max(1, round(self.epochs * photos / self.batch))

    def schedule(self, photos: int, *, seed: int, precision: Precision = "auto") -> Schedule:
        """Of the training loop."""
        return sgd(self.steps(photos), self.rate, self.weight_decay, seed=seed, precision=precision)

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


LEARNING: dict[Scale, LearningNumbers] = {
    "paper": LearningNumbers(),
    "small": LearningNumbers(epochs=20, batch=64, rate=0.05),
}
"""Table A.5 for CIFAR, and what takes minutes on a processor."""


class Item(NamedTuple):
    """One photo of a batch.

    Attributes:
        photo: Its index.
        seed: Of its square and its augmentation.
    """

    photo: int
    seed: int


class Learning(Task):
    """A network learns the classes of photos, each of which has an augmentation of its own in every step.

    Attributes:
        network: What is trained.
    """

    name = "augment-learn"

    def __init__(
        self,
        network: TaskModel,
        photos: Squares,
        augmentation: Augmentation,
        *,
        batch: int,
        held: Sequence[ProbePhoto] = (),
        classes: Sequence[str] = (),
    ) -> None:
        """Set up.

        Args:
            network: As it begins; it is changed.
            photos: It learns from.
            augmentation: Of them.
            batch: Photos of a step.
            held: Photos that its accuracy is measured on in the end.
            classes: Names of the classes.

        Raises:
            InputError: there are fewer photos than a batch has.
        """
        super().__init__()
        if batch > len(photos):
            raise InputError(f"A batch of {batch} needs as many photos, found {len(photos)}; choose a smaller batch.")
        self.network = network
        self._began_as = network.fingerprint()
        self._photos, self._augmentation, self._batch = photos, augmentation, batch
        self._held, self._classes = list(held), tuple(classes)
        # Such a norm is over the photos of all processes, but over one part of what a process accumulates.
        self.cuttable = not any(isinstance(module, SharedBatchNorm) for module in network.modules())

    def batch(self, random: Generator) -> Sequence[Item]:
        """Different photos."""
        chosen = random.choice(len(self._photos), self._batch, replace=False)
        seeds = random.integers(2**62, size=self._batch)
        return [Item(int(photo), int(seed)) for photo, seed in zip(chosen, seeds, strict=True)]

    def forward(self, items: Sequence[Item], progress: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        """Cross-entropy, a mean over the items."""
        photos, seeds = [item.photo for item in items], [item.seed for item in items]
        # The network alone computes in another precision, photos are changed in full.
        with torch.autocast(self.device.type, enabled=False):
            pixels = self._augmentation(self._photos.pixels(photos, seeds).to(self.device), seeds)
        targets = self._photos.targets(photos).to(self.device)
        logits = self.network(pixels).float()
        right = float((logits.detach().argmax(1) == targets).float().mean())
        return functional.cross_entropy(logits, targets), {"accuracy": right}

    def trained(self) -> Iterable[nn.Parameter]:
        """All parameters of the network."""
        return self.network.parameters()

    def validate(self) -> dict[str, float]:
        """Accuracy on photos that are not trained on."""
        return figures_on(self.network, self._held, self._classes) if self._held else {}

    def identity(self) -> dict[str, Any]:
        """Network, photos, augmentation."""
        return {
            "network": self.network.spec.json(),
            "began_as": self._began_as,
            "photos": self._photos.fingerprint,
            "augmentation": self._augmentation.title,
            "batch": self._batch,
        }


def sgd(steps: int, rate: float, weight_decay: float, *, seed: int, precision: Precision) -> Schedule:
    """Gradient descent with momentum whose rate falls to 0 along half a cosine, without a warm-up."""
    return Schedule(
        steps=steps,
        rate=rate,
        weight_decay=weight_decay,
        optimizer="sgd",
        momentum=MOMENTUM,
        warmup=0.0,
        final_rate=0.0,
        clip=None,
        seed=seed,
        precision=precision,
        validate_every=0,
        picture_every=0,
    )
