"""Figures of ``fit3d probe`` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.result_tables import ResultTable

if TYPE_CHECKING:
    from training.probing.comparison import Difference, Interval
    from training.probing.running import ProbeResult
    from training.probing.scores import Figure


def figure_table(title: str, results: Sequence[ProbeResult]) -> ResultTable:
    """Sources down, figures across: means over the seeds and half their 95 % intervals.

    Args:
        title: Above the table.
        results: Of the sources, all for one task.
    """
    from training.probing.comparison import interval_over_seeds
    from training.probing.scores import FIGURES, figures_of

    first = results[0]
    kinds = FIGURES[first.task]
    rows = []
    for result in results:
        found = figures_of(result.scores)
        rows.append([result.source, *(_mean(interval_over_seeds(found[name]), kind) for name, kind in kinds.items())])
    note = f"means over {len(first.seeds)} seeds; ± half of the 95 % interval over them" if len(first.seeds) > 1 else ""
    return ResultTable(title, ["features", *(kind.title for kind in kinds.values())], rows, note)


def difference_table(title: str, results: Sequence[ProbeResult]) -> ResultTable:
    """How much larger figures are than those of the first source.

    Args:
        title: Above the table.
        results: Of the sources, all for one task; at least two.
    """
    from training.probing.comparison import compare
    from training.probing.scores import FIGURES

    first, *others = results
    kinds = FIGURES[first.task]
    rows = [
        [other.source, *(_gap(compare(other.scores, first.scores, name), kind) for name, kind in kinds.items())]
        for other in others
    ]
    groups = len(first.scores.groups)
    note = f"in brackets the 95 % interval of a paired bootstrap over {groups} groups of photos"
    return ResultTable(title, ["features", *(kind.title for kind in kinds.values())], rows, note)


def _mean(interval: Interval, kind: Figure) -> str:
    mean = f"{interval.mean * kind.factor:.{kind.digits}f}"
    if interval.high is None:
        return mean
    return f"{mean} ± {(interval.high - interval.mean) * kind.factor:.{kind.digits}f}"


def _gap(difference: Difference, kind: Figure) -> str:
    found = difference.over_groups
    mean = f"{found.mean * kind.factor:+.{kind.digits}f}"
    if found.low is None or found.high is None:
        return mean
    return f"{mean} [{found.low * kind.factor:+.{kind.digits}f}, {found.high * kind.factor:+.{kind.digits}f}]"
