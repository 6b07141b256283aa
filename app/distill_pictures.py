"""Figures of a co-distillation: explained variance, how losses move together, features in colours (DUNE, 2, 4, 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.pictures import figure_pixels, row_sheet

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from matplotlib.figure import Figure

    from training.distillation.co.analyses import Analyses
    from training.distillation.co.task import CoDistillation

CELL = 240  # pixels, the width of a picture in a sheet
INCHES, DOTS = (6.4, 4.2), 120  # of a plot, and per inch


def explained_plot(analyses: Analyses) -> UInt8[np.ndarray, "h w 3"]:
    """Cumulative explained variance of each teacher (a line) and of its projector (dashed), as figure 4 has it."""
    figure = _figure()
    axes = figure.add_subplot()
    for number, (name, curves) in enumerate(zip(analyses.teachers, analyses.explained, strict=True)):
        for curve, line, title in zip(curves, ("-", "--"), (name, f"student as {name}"), strict=True):
            components = np.arange(1, len(curve) + 1)
            axes.plot(components, curve, line, color=f"C{number}", label=title)
    axes.set_xscale("log")
    axes.set_xlabel("principal components")
    axes.set_ylabel("cumulative explained variance")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure_pixels(figure)


def correlation_plot(analyses: Analyses) -> UInt8[np.ndarray, "h w 3"]:
    """Correlation of the changes of two teachers' losses, a bar for each pair, as figure 5 has it.

    Where there are too few steps for a correlation stands "none".
    """
    pairs = [(i, j) for i in range(len(analyses.teachers)) for j in range(i + 1, len(analyses.teachers))]
    figure = _figure()
    axes = figure.add_subplot()
    heights = [analyses.correlations[i, j] for i, j in pairs]
    axes.bar(range(len(pairs)), np.nan_to_num(heights), color="C0")
    axes.set_xticks(
        range(len(pairs)), [f"{analyses.teachers[i]}\n{analyses.teachers[j]}" for i, j in pairs], fontsize=8
    )
    for place, height in enumerate(heights):
        if np.isnan(height):
            axes.text(place, 0, "none", ha="center", va="bottom", fontsize=8)
    axes.set_ylabel("correlation of loss updates")
    axes.set_ylim(min(-0.05, *np.nan_to_num(heights), 0), 1)
    axes.grid(axis="y", alpha=0.3)
    return figure_pixels(figure)


def panel_picture(task: CoDistillation) -> UInt8[np.ndarray, "h w 3"]:
    """Photos beside PCA colours of teachers, projectors and the student, as figure 2 has it; with titles."""
    from training.distillation.co.showing import panel_titles

    titles = [_short(title) for title in panel_titles([teacher.name for teacher in task.teachers])]
    return row_sheet(titles, task.panels(), cell_width=CELL)


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=INCHES, dpi=DOTS, layout="constrained")


def _short(title: str, most: int = 26) -> str:
    return title if len(title) <= most else f"{title[: most // 2 - 1]}...{title[-(most // 2 - 2) :]}"
