"""Some of many, evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

A = TypeVar("A")


def evenly_spaced(count: int, most: int) -> list[int]:
    """So many of ``count`` places at most, the first and the last among them; of one the first alone.

    Args:
        count: How many places there are, from 0.
        most: How many to choose, from 0.
    """
    chosen: list[int] = np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
    return chosen


def evenly(items: Sequence[A], most: int | None) -> list[A]:
    """So many of the items at most, evenly spaced, one at least where there are any; None = all."""
    return [items[i] for i in evenly_spaced(len(items), len(items) if most is None else max(1, most))]
