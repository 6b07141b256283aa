"""What the trainings of the tiny encoders have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from training.loop import Schedule, Task

if TYPE_CHECKING:
    from numpy.random import Generator

BETAS = (0.9, 0.98)  # AdamW's: a short training from nothing should not remember its first gradients


class TinyTask(Task):
    """A training on photos of rooms whose batch is drawn as one.

    Pairs of photos, prompts and captions are drawn together and told from each other, so a batch is one item: the
    generator that all of it is drawn from.

    Attributes:
        photos: Photos, pairs or crops of a step.
    """

    coupled = True
    photos: int

    @abstractmethod
    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a new batch and figures for the log; all is drawn from ``random`` or torch's generator."""

    @abstractmethod
    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        """The model whose weights travel, and text that travels in their file."""

    @abstractmethod
    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that the optimizer changes."""

    def batch(self, random: Generator) -> list[Generator]:
        """The generator itself."""
        return [random]

    def forward(self, items: Sequence[Generator], progress: float) -> tuple[Tensor, dict[str, float]]:
        """See :meth:`step`."""
        return self.step(items[0], progress)

    def count(self, items: Sequence[Generator]) -> int:  # noqa: ARG002  Task's
        """Photos, pairs or crops."""
        return self.photos

    def identity(self) -> dict[str, Any]:
        """The size of a batch."""
        return {"batch": self.photos}


def schedule_of(*, steps: int, rate: float, seed: int = 0) -> Schedule:
    """The schedule of a tiny encoder's training: AdamW with a warm-up and half a cosine."""
    return Schedule(steps=steps, rate=rate, seed=seed, betas=BETAS)
