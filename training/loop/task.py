"""What a training trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray
    from numpy.random import Generator


class Task(nn.Module, ABC):
    """Networks, what a batch of theirs is, and its loss.

    Everything that is trained, and everything else that later steps depend on (a teacher, a memory), is a submodule,
    a buffer or in ``get_extra_state``: that is what checkpoints keep and several processes have alike.  What can be
    read or computed again (photos, targets, a frozen original) is not: keep it out of the module, in a tuple or a
    plain object, and put it on :attr:`device` when it is needed.

    Randomness is a function of the seed, the step and the item alone: :meth:`batch` draws from the generator that it
    is given (seeds of items among it, where :meth:`forward` draws more), never from numpy's or Python's global one.
    Torch's global generator is seeded anew at every step, differently for every process.

    Attributes:
        name: Of what is trained, in checkpoints and messages.
        coupled: Whether items of a batch have to be seen together (a contrast with each other, batch norm), so that
            the loss is no mean over items: such a task runs in one process and does not accumulate gradients.
        cuttable: Whether a process may see its share of a batch in parts one after the other, which gradients that
            accumulate ask for; not where a batch norm is over all processes, but over one part alone.
        partly: Whether some trained parameters may get no gradient in some step; several processes look for them.
    """

    name: str
    coupled: bool = False
    cuttable: bool = True
    partly: bool = False

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.parameters()).device

    @abstractmethod
    def batch(self, random: Generator) -> Sequence[Any]:
        """Draw the batch of a step: a small description of every item (indices, flips, boxes, seeds).

        Every process draws the same whole batch and works on its share, so nothing is read here.  The number of items
        is the same in every step.
        """

    @abstractmethod
    def forward(self, items: Sequence[Any], progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss, a mean over the items, and figures for the log, means too.

        Args:
            items: Some of a batch.
            progress: Part of the steps that are done, from 0 to 1.
        """

    @abstractmethod
    def trained(self) -> Iterable[nn.Parameter]:
        """The parameters that the optimizer changes; all others do not require gradients."""

    def count(self, items: Sequence[Any]) -> int:
        """Photos of a batch, for the figure of photos a second."""
        return len(items)

    def begin(self, progress: float) -> None:
        """Called once before the first step, after the state of a checkpoint was taken over."""

    def after_step(self, progress: float) -> None:
        """What follows the optimizer's step, such as a moving average of the weights; in every process."""

    def validate(self) -> dict[str, float]:
        """Figures on what is not trained on; in the main process, without gradients, in evaluation mode."""
        return {}

    def pictures(self) -> dict[str, UInt8[ndarray, "h w 3"]]:
        """Pictures of fixed photos by name; in the main process, without gradients, in evaluation mode."""
        return {}

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be gone on from, beside name and schedule: JSON values by name."""
        return {}
