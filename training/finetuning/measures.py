"""How far features are from those that several views agree on, and blurs that go as far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.finetuning.transport import Transport

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

WIDEST = 2.0  # standard deviations of a blur, in sides of the grid
HALVINGS = 24  # of the interval in which the width of a blur is looked for


def inconsistency(features: Float[Tensor, "p c"], transport: Transport) -> float:
    """Multi-view inconsistency ``|F - M F| / |F - mean F|`` over the patches that several views see.

    0 = all views say the same of the same place; about 1 = they agree on nothing.  It is small too where features
    are blurred within their views, and it does not change with their scale.
    """
    mask = transport.mask().to(features.device)
    if not bool(mask.any()):
        return float("nan")
    seen = features[mask]
    moved = (seen - transport.apply(features)[mask]).abs().mean()
    return float(moved / (seen - seen.mean(0)).abs().mean().clamp_min(1e-12))


def blurred(features: Float[Tensor, "gh gw c"], width: float) -> Float[Tensor, "gh gw c"]:
    """A map blurred by a Gaussian of standard deviation ``width`` patches; weights sum to 1 at borders too."""
    rows, columns = (_blur(length, width).to(features) for length in features.shape[:2])
    return torch.einsum("yi,xj,ijc->yxc", rows, columns, features)


def matching_width(
    maps: Sequence[Float[Tensor, "gh gw c"]],
    masks: Sequence[Bool[Tensor, "gh gw"]],
    distance: float,
) -> float:
    """The width of the blur that moves maps by ``distance`` on average, over the patches of the masks.

    The distance grows with the width, which is found by halving; where no blur goes so far, the widest is taken.
    """

    def moved(width: float) -> float:
        total = sum(float(((blurred(f, width) - f).abs().mean(-1) * m).sum()) for f, m in zip(maps, masks, strict=True))
        return total / max(1, sum(int(m.sum()) for m in masks))

    low, high = 0.0, WIDEST * max(max(f.shape[:2]) for f in maps)
    if moved(high) <= distance:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) < distance else (low, middle)
    return (low + high) / 2


def _blur(length: int, width: float) -> Float[Tensor, "n n"]:
    apart = np.arange(length)[:, None] - np.arange(length)
    weights = np.exp(-0.5 * (apart / max(width, 1e-3)) ** 2)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True))
