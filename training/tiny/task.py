"""What the trainings of the tiny encoders have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from training.augmentation import Augmentation
from training.loop import Schedule, Task
from training.tiny.images import jittered

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float32, UInt8
    from numpy.random import Generator

BETAS = (0.9, 0.98)  # AdamW's: a short training from nothing should not remember its first gradients


class TinyTask(Task):
    """A training on photos of rooms whose batch is drawn as one.

    Pairs of photos, prompts and captions are drawn together and told from each other, so a batch is one item: the
    generator that all of it is drawn from.

    Attributes:
        photos: Photos, pairs or crops of a step.
        augmentation: What the colours of crops go through; None = they are jittered.
    """

    coupled = True
    photos: int
    augmentation: Augmentation | None

    def __init__(self, augmentation: Augmentation | None = None) -> None:
        """Set up.

        Args:
            augmentation: What the colours of crops go through in the place of jitter.  Nothing of it moves pixels: what
                is learned of them (depths, masks, points of the room) would stay.

        Raises:
            InputError: it does nothing else than to move and hide pixels.
        """
        super().__init__()
        self.augmentation = None if augmentation is None else augmentation.still()

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
        """The size of a batch, and the augmentation that was asked for."""
        own = {} if self.augmentation is None else {"augmentation": self.augmentation.title}
        return {"batch": self.photos, **own}

    def coloured(
        self, random: Generator, images: UInt8[np.ndarray, "b s s 3"], strength: float
    ) -> Float32[np.ndarray, "b s s 3"]:
        """Crops as the network sees them, in [0, 1]: after the augmentation, or jittered.

        Args:
            random: Of all choices.
            images: The crops.
            strength: Of the jitter, see :func:`jittered`.
        """
        if self.augmentation is None:
            return jittered(random, images, strength)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        seeds = random.integers(2**62, size=len(images)).tolist()
        return self.augmentation(pixels, seeds).permute(0, 2, 3, 1).contiguous().numpy()


def schedule_of(*, steps: int, rate: float, seed: int = 0) -> Schedule:
    """The schedule of a tiny encoder's training: AdamW with a warm-up and half a cosine."""
    return Schedule(steps=steps, rate=rate, seed=seed, betas=BETAS)
