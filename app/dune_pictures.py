"""Figures of ``fit3d reproduce dune``: features in colours, explained variance, loss updates (DUNE, 2, 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.distill_pictures import explained_plot
from app.pictures import row_sheet
from render.files import atomic_file

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from training.reproduction.dune.lessons import Lesson

CELL = 200  # pixels, the width of a picture in a sheet
INCHES, DOTS = (8.4, 4.2), 120  # of a plot, and per inch
GROUP = 0.85  # of the place of a pair of teachers, which its bars fill


def panels(rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]], teachers: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """Photos beside PCA colours of teachers, of what projectors say, and of the student."""
    from training.distillation.co.showing import panel_titles

    return row_sheet(panel_titles(teachers), rows, cell_width=CELL)


def explained(lesson: Lesson) -> UInt8[np.ndarray, "h w 3"]:
    """Cumulative explained variance of each teacher and of its projector, of the first seed."""
    from training.distillation.co.analyses import Analyses

    names = list(lesson.explained)
    curves = [(np.array(teacher), np.array(projector)) for teacher, projector in lesson.explained.values()]
    return explained_plot(Analyses(names, curves, np.full((len(names), len(names)), np.nan)))


def save_correlations(path: Path, lessons: Sequence[Lesson]) -> None:
    """Write a picture: for each pair of teachers a bar for each student, with the interval over the seeds.

    Args:
        path: Of a PNG file.
        lessons: Of the students; those without a pair of teachers have no bars.
    """
    from matplotlib.figure import Figure

    pairs = list(dict.fromkeys(pair for lesson in lessons for pair in lesson.aligned))
    shown = [lesson for lesson in lessons if lesson.aligned]
    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    axes = figure.add_subplot()
    width = GROUP / max(1, len(shown))
    for number, lesson in enumerate(shown):
        known = [(place, lesson.aligned[pair]) for place, pair in enumerate(pairs) if pair in lesson.aligned]
        places = [place + (number - (len(shown) - 1) / 2) * width for place, _ in known]
        reach = [0.0 if one.high is None else one.high - one.mean for _, one in known]
        axes.bar(places, [one.mean for _, one in known], width, yerr=reach, capsize=2, label=lesson.row.title)
    axes.set_xticks(range(len(pairs)), ["\n".join(pair) for pair in pairs], fontsize=8)
    axes.set_ylabel("correlation of loss updates")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")
