"""Means and differences of figures as cells of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.probing.comparison import Difference, Interval
    from training.probing.scores import Figure

GAPS = (
    "means over the seeds; in brackets the 95 % interval of a paired bootstrap over {}, ± half of Student's 95 % "
    "interval over the seeds"
)


def mean_cell(interval: Interval, figure: Figure) -> str:
    """A mean and half of its interval: ``84.10 ± 3.20``; of a single value the value alone."""
    return f"{interval.mean * figure.factor:.{figure.digits}f}{_half(interval, figure)}"


def gap_cell(gap: Difference, figure: Figure) -> str:
    """A difference, its interval over groups and half of that over seeds: ``+1.50 [+0.80, +2.20] ± 0.40``."""
    low, high = gap.over_groups.low, gap.over_groups.high
    mean = _signed(gap.over_groups.mean, figure)
    over = "" if low is None or high is None else f" [{_signed(low, figure)}, {_signed(high, figure)}]"
    return f"{mean}{over}{_half(gap.over_seeds, figure)}"


def _signed(value: float, figure: Figure) -> str:
    return f"{value * figure.factor:+.{figure.digits}f}"


def _half(interval: Interval, figure: Figure) -> str:
    if interval.high is None:
        return ""
    return f" ± {(interval.high - interval.mean) * figure.factor:.{figure.digits}f}"
