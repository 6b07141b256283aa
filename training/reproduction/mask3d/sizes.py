"""How much memory and disk a reproduction takes."""

from __future__ import annotations

from collections.abc import Sequence

from training.reproduction.mask3d.plan import LEARN, TEST, Plan, Row

BASE = 1_400_000_000  # bytes of a process with its libraries and a network that is trained
PIXEL = 14  # bytes of a photo's files
ENCODER = 14_000_000  # bytes of a file
LOG = 1_000_000  # bytes of what a training says
KEPT = 7  # bytes of a pixel in memory: colours, and the depth in float32


def memory_needed(plan: Plan) -> int:
    """Bytes that a process needs at most, about."""
    return BASE + _photos(plan) * KEPT * plan.width * plan.height


def disk_needed(plan: Plan, rows: Sequence[Row], seeds: int) -> int:
    """Bytes of the folder, about."""
    counts = [(row, len(row.of(range(seeds)))) for row in rows]
    pretrained = sum(count for row, count in counts if row.masking is not None)
    trainings = pretrained + sum(count * len(row.measured) for row, count in counts)
    return _photos(plan) * PIXEL * plan.width * plan.height + pretrained * ENCODER + trainings * LOG


def _photos(plan: Plan) -> int:
    return sum(plan.parts(split)[1] * plan.form(split).views for split in (LEARN, TEST))
