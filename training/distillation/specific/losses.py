"""What a student learns from: labels, and what its teacher says (equations 4.1 to 4.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from render.errors import InputError
from training.probing.photos import VOID

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

ALPHA, TEMPERATURE = 0.5, 2.0  # section 4.4.1


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """How both losses are put together: ``(1 - alpha) task + alpha distillation`` (equation 4.2).

    Attributes:
        alpha: Weight of the distillation; at 1 labels are not used (table 4.6).
        temperature: That divides the logits of both networks.

    Raises:
        InputError: a number is out of its range.
    """

    alpha: float = ALPHA
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or not 0 < self.temperature < math.inf:
            raise InputError(
                "Expected an alpha from 0 to 1 and a temperature above 0, found "
                f"{self.alpha:g} and {self.temperature:g}."
            )


def task_losses(logits: Float[Tensor, "b k *hw"], truth: Shaped[Tensor, "b *khw"]) -> Float[Tensor, " b"]:
    """The cross entropy with what is true, of each item (equation 4.1).

    Args:
        logits: Of photos ``[b, k]``, or of their pixels ``[b, k, h, w]``.
        truth: Of photos the shares of the classes ``[b, k]``; of pixels their class ``[b, h, w]``, 255 = void: such
            pixels add nothing, and the sum is divided by the number of all pixels (as mmsegmentation does), so that
            items with few known pixels weigh less and the loss stays a mean over items.
    """
    if logits.ndim == 2:
        return -(truth * logits.float().log_softmax(1)).sum(1)
    losses = functional.cross_entropy(logits.float(), truth.long(), ignore_index=VOID, reduction="none")
    return losses.mean((1, 2))


def distillation_losses(
    student: Float[Tensor, "b k *hw"],
    teacher: Float[Tensor, "b k *hw"],
    temperature: float = TEMPERATURE,
    inside: Bool[Tensor, "b h w"] | None = None,
) -> Float[Tensor, " b"]:
    """``T^2 KL(teacher || student)`` of the softened predictions, of each item (equations 4.3 and 4.4).

    Equation 4.4 writes the student first, as arguments of a dissimilarity "as proposed by Hinton et al. (2015)".  What
    Hinton et al. minimize is the cross entropy of the student with the teacher's soft targets, whose gradients are
    those of KL(teacher || student): the student has to put mass wherever the teacher does.  The other direction would
    let it pick one of several classes that the teacher thinks possible, which is what soft labels are there to
    prevent.  So the order in the text is taken for that of a loss's arguments (prediction, target), the one that
    ``torch.nn.functional.kl_div`` has as well, and the direction is Hinton's.  ``T^2`` undoes that gradients of
    softened predictions fall with ``1 / T^2``.

    Args:
        student: Logits ``[b, k]``, or of pixels ``[b, k, h, w]``.
        teacher: The same of the teacher.
        temperature: That divides both.
        inside: Pixels of the photo; those that pad a crop add nothing.  Void pixels count: the teacher says something
            of them too, and no label is needed.
    """
    log_student, log_teacher = ((logits.float() / temperature).log_softmax(1) for logits in (student, teacher))
    apart = functional.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    if apart.ndim == 3:
        apart = (apart if inside is None else apart * inside).mean((1, 2))
    return temperature**2 * apart
