"""Figures of ``fit3d probe`` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.result_tables import ResultTable

if TYPE_CHECKING:
    from training.probing.running import ProbeResult


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
        rows.append(
            [result.source, *(mean_cell(interval_over_seeds(found[name]), kind) for name, kind in kinds.items())]
        )
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
    gaps = [[compare(other.scores, first.scores, name) for name in kinds] for other in others]
    rows = [
        [other.source, *(gap_cell(gap, kind) for gap, kind in zip(row, kinds.values(), strict=True))]
        for other, row in zip(others, gaps, strict=True)
    ]
    note = gap_note([gap for row in gaps for gap in row], f"{len(first.scores.groups)} groups of photos")
    return ResultTable(title, ["features", *(kind.title for kind in kinds.values())], rows, note)
