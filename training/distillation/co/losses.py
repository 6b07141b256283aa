"""How far a student is from its teachers, and which of them a photo listens to (DUNE, equation 1; UNIC)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.distillation.co.settings import DROP
from uplift.encoders.base import Tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

COSINE, SMOOTH = 0.5, 0.5  # weights of both parts of the loss
STREAM = 1  # the draws of an item's seed that decide who is dropped; crops have others


def token_loss(told: Float[Tensor, "... d"], wanted: Float[Tensor, "... d"]) -> Float[Tensor, "..."]:
    """Half of one minus the cosine and half of the mean smooth-l1 distance, of every token; in full precision."""
    with torch.autocast(told.device.type, enabled=False):
        told, wanted = told.to(torch.float32), wanted.to(torch.float32)
        apart = 1 - functional.cosine_similarity(told, wanted, dim=-1)
        return COSINE * apart + SMOOTH * functional.smooth_l1_loss(told, wanted, reduction="none").mean(-1)


def distillation_loss(told: Tokens, wanted: Tokens) -> Float[Tensor, " b"]:
    """The loss of every photo for one teacher: a mean over patches, and that of the global token; half of each.

    Args:
        told: By a projector.
        wanted: By the teacher, standardized, on the same grid; without a global token patches count alone.
    """
    kinds = [token_loss(told.patches, wanted.patches).mean((1, 2))]
    if told.cls is not None and wanted.cls is not None:
        kinds.append(token_loss(told.cls, wanted.cls))
    return torch.stack(kinds).mean(0)


def drawn(seed: int, teachers: int, drop: float = DROP) -> Bool[np.ndarray, " t-1"]:
    """Which teachers of a photo stay beside the worst, in their order; a function of the item's seed alone."""
    return np.random.default_rng([STREAM, seed]).random(teachers - 1) >= drop


def kept(
    losses: Float[np.ndarray, "b t"], allowed: Bool[np.ndarray, "b t"], seeds: Sequence[int], drop: float = DROP
) -> Bool[np.ndarray, "b t"]:
    """Teacher dropping (UNIC): of each photo the teacher with the largest loss stays, each other one by chance.

    Wherever several teachers may teach a photo, whatever the sharing, and of generic photos too: the texts do not say
    how dropping and sharing go together, and a photo that several projectors get is the same case in all of them.

    Args:
        losses: Of every photo and teacher; those that are not allowed count for nothing.
        allowed: The teachers that a photo may listen to, one at least.
        seeds: Of the items.
        drop: How often another teacher is dropped.
    """
    result = np.zeros_like(allowed)
    for row, (values, may, seed) in enumerate(zip(losses, allowed, seeds, strict=True)):
        known = np.flatnonzero(may)
        worst = known[np.argmax(values[known])]
        others = known[known != worst]
        result[row, worst] = True
        result[row, others] = drawn(seed, len(may), drop)[: len(others)]
    return result


def scale_of(allowed: Bool[np.ndarray, "b t"], seeds: Sequence[int], drop: float = DROP) -> float:
    """What each kept loss of a batch weighs in the mean over its photos: coefficients then add up to 1 (UNIC).

    With ``K`` pairs of photo and teacher kept of ``B`` photos each counts ``1 / K``, which is ``B / K`` in a mean over
    photos; so the loss has one scale whatever is dropped or shared.  How many teachers a photo keeps does not depend on
    which one is the worst, hence this is known before any loss is, and the same in every process that works on a part
    of the batch.

    Args:
        allowed: The teachers that each photo of the whole batch may listen to, one at least.
        seeds: Of the items.
        drop: How often another teacher is dropped.
    """
    stay = sum(
        1 + int(drawn(seed, allowed.shape[1], drop)[: count - 1].sum())
        for seed, count in zip(seeds, allowed.sum(1), strict=True)
    )
    return len(allowed) / stay
