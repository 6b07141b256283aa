"""Tables of figures that go to the terminal and into a Markdown file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from render.files import atomic_file

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class ResultTable:
    """Words in rows and columns.

    Attributes:
        title: Above the table.
        columns: Their headings, the first of the rows' names.
        rows: As many cells as columns each.
        note: Below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def rich(self) -> Table:
        """For the terminal."""
        from rich.table import Table

        table = Table(title=self.title, title_justify="left", caption=self.note or None, caption_justify="left")
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a file."""

        def line(cells: Sequence[str]) -> str:
            return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

        rule = line(["---", *["---:" for _ in self.columns[1:]]])
        lines = [f"### {self.title}", "", line(self.columns), rule, *map(line, self.rows)]
        return "\n".join([*lines, "", *([self.note, ""] if self.note else [])])


def write_markdown(path: str | Path, title: str, tables: Sequence[ResultTable]) -> None:
    """Write tables below a title."""
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join([f"# {title}", "", *(table.markdown() for table in tables)]), encoding="utf-8")


def spread(values: Sequence[float | None], *, factor: float = 100, digits: int = 1) -> str:
    """Mean and standard deviation: ``84.1 ± 3.2``; of a single value the mean alone, of none a hyphen.

    Args:
        values: None is left out.
        factor: What they are multiplied with; 100 for percent.
        digits: After the point.
    """
    known = np.array([value for value in values if value is not None], float) * factor
    if known.size == 0:
        return "-"
    mean = f"{known.mean():.{digits}f}"
    return mean if known.size == 1 else f"{mean} ± {known.std(ddof=1):.{digits}f}"
