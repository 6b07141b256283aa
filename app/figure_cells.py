"""Means and differences of figures as cells of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from training.probing.comparison import Difference, Interval
    from training.probing.scores import Figure


def mean_cell(interval: Interval, figure: Figure) -> str:
    """A mean and half of its interval: ``84.10 ± 3.20``; of a single value the value alone."""
    return f"{interval.mean * figure.factor:.{figure.digits}f}{_half(interval, figure)}"


def gap_cell(gap: Difference, figure: Figure) -> str:
    """A difference, its interval over groups and half of that over seeds: ``+1.50 [+0.80, +2.20] ± 0.40``."""
    low, high = gap.over_groups.low, gap.over_groups.high
    mean = _signed(gap.over_groups.mean, figure)
    over = "" if low is None or high is None else f" [{_signed(low, figure)}, {_signed(high, figure)}]"
    return f"{mean}{over}{_half(gap.over_seeds, figure)}"


def gap_note(gaps: Iterable[Difference], groups: str) -> str:
    """What the cells of differences show beside the means.

    Args:
        gaps: All differences of a table.
        groups: What photos are grouped by, such as rooms.
    """
    known = list(gaps)
    parts = ["means over the seeds"]
    if any(gap.over_groups.low is not None for gap in known):
        parts.append(f"in brackets the 95 % interval of a paired bootstrap over {groups}")
    if any(gap.over_seeds.high is not None for gap in known):
        parts.append("± half of Student's 95 % interval over the seeds")
    return "; ".join(parts)


def _signed(value: float, figure: Figure) -> str:
    return f"{value * figure.factor:+.{figure.digits}f}"


def _half(interval: Interval, figure: Figure) -> str:
    if interval.high is None:
        return ""
    return f" ± {(interval.high - interval.mean) * figure.factor:.{figure.digits}f}"
