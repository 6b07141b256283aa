"""Random numbers of many photos at once, each a function of the photo's seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64, UInt64

# The constants of splitmix64 (Steele, Lea and Flood 2014), a generator that can start anywhere at no cost.
STRIDE = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
BITS = 53  # of a number in [0, 1)


def uniform_numbers(seeds: Sequence[int] | Int64[Tensor, " b"], count: int) -> Float64[Tensor, "b count"]:
    """Numbers in [0, 1), so many for each seed.

    Args:
        seeds: Of the photos, any integers of 64 bits.
        count: Of numbers for each.
    """
    states = _mixed(_as_unsigned(seeds))[:, None] + STRIDE * np.arange(1, count + 1, dtype=np.uint64)
    return torch.from_numpy((_mixed(states) >> np.uint64(64 - BITS)).astype(np.float64) * 2.0**-BITS)


def item_seeds(seed: int, step: int, items: Sequence[int] | Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
    """Seeds of items of a step of a training: a function of these three alone."""
    start = _mixed(_mixed(_as_unsigned([seed])) ^ _as_unsigned([step]) * STRIDE)
    return torch.from_numpy(_mixed(start ^ _as_unsigned(items) * STRIDE).view(np.int64).copy())


def _as_unsigned(numbers: Sequence[int] | Tensor) -> UInt64[np.ndarray, " b"]:
    return np.asarray(numbers.cpu() if isinstance(numbers, Tensor) else numbers, dtype=np.int64).view(np.uint64)


def _mixed(states: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Each number to another, one to one, so that near ones come apart."""
    states = (states ^ (states >> np.uint64(30))) * FIRST
    states = (states ^ (states >> np.uint64(27))) * SECOND
    return states ^ (states >> np.uint64(31))
