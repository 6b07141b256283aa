"""The figures of ``fit3d reproduce task-distillation`` as tables, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from render.files import atomic_file
from training.distillation.specific.study import (
    ALONE,
    BY_PROBED,
    BY_TUNED,
    MIXED,
    MIXED_IN_TASK,
    MIXED_NO_LABELS,
    NO_LABELS,
    PROBED,
    TUNED,
)
from training.reproduction.verdicts import VERDICTS

if TYPE_CHECKING:
    from training.reproduction.task_distillation.results import Answer, Found, Question, Results

TITLES: Mapping[str, str] = {
    PROBED: "teacher, probed",
    TUNED: "teacher, fine-tuned",
    ALONE: "labels alone",
    BY_PROBED: "probed teacher",
    BY_TUNED: "fine-tuned teacher",
    MIXED: "probed teacher, mixed images",
    MIXED_IN_TASK: "probed teacher, mixed images in the task too",
    NO_LABELS: "probed teacher alone",
    MIXED_NO_LABELS: "probed teacher alone, mixed images",
}
STUDENTS: Mapping[str, str] = {"vit": "ViT", "resnet": "ResNet"}
TABLES: Mapping[str, tuple[str, ...]] = {
    "Probing and fine-tuning (table 4.1)": (PROBED, TUNED, f"vit-{ALONE}"),
    "A pretrained transformer as student (table 4.2)": tuple(
        f"vit-{line}" for line in (ALONE, BY_TUNED, BY_PROBED, MIXED)
    ),
    "A ResNet from scratch as student (table 4.3)": tuple(
        f"resnet-{line}" for line in (ALONE, BY_TUNED, BY_PROBED, MIXED)
    ),
    "Mixed images in each loss (table 4.5)": tuple(
        f"{student}-{line}" for student in STUDENTS for line in (BY_PROBED, MIXED, MIXED_IN_TASK)
    ),
    "Losses (table 4.6)": tuple(
        f"{student}-{line}" for student in STUDENTS for line in (ALONE, NO_LABELS, MIXED_NO_LABELS, BY_PROBED, MIXED)
    ),
}
"""Rows of each table, by its title; one without a row of its own is left out."""
OWN: Mapping[str, str] = {"Losses (table 4.6)": NO_LABELS}  # a line that a table is there for
HOW_SURE = (
    "better or worse = both 95 % intervals, over photos and over seeds, lie on one side of zero (never with a single "
    "seed); of comparisons without a difference one in twenty to fifty ends so by chance"
)
INCHES, DOTS = (6.2, 0.36), 120  # of a data set's half of the picture: across, and down for every line


def title_of(line: str) -> str:
    """A line in words."""
    if line in TITLES:
        return TITLES[line]
    student, _, manner = line.partition("-")
    return f"{STUDENTS[student]}, {TITLES[manner]}"


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: networks, rows, comparisons and verdicts, costs."""
    known = {name for study in found.studies for name in study.lines}
    tables = [_network_table(found.studies)]
    for title, lines in TABLES.items():
        if title not in OWN or any(line.endswith(OWN[title]) for line in known):
            tables.append(_line_table(title, [line for line in lines if line in known], found))
    for question in found.summary():
        tables.append(_answer_table(question, [answer for answer in found.answers if answer.question == question]))
    return [*tables, _summary_table(found), cost_table(found.costs())]


def save_plot(path: Path, found: Results) -> None:
    """Write a picture: of every line the mean, its interval over the seeds, and each seed.

    Args:
        path: Of a PNG file.
        found: What was measured.
    """
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys(name for study in found.studies for name in study.lines))[::-1]
    size = (INCHES[0] * len(found.studies), 1 + INCHES[1] * len(lines))
    figure = Figure(figsize=size, dpi=DOTS, layout="constrained")
    plots = figure.subplots(1, len(found.studies), squeeze=False)[0]
    colours = {who: f"C{number}" for number, who in enumerate(dict.fromkeys(_who(line) for line in lines[::-1]))}
    for axes, study in zip(plots, found.studies, strict=True):
        factor = study.figure.factor
        for place, line in enumerate(lines):
            if line not in study.lines:
                continue
            mean, colour = study.interval(line), colours[_who(line)]
            reach = 0.0 if mean.high is None else mean.high - mean.mean
            axes.errorbar(factor * mean.mean, place, xerr=factor * reach, fmt="o", capsize=3, color=colour)
            values = [factor * value for value in study.seeds(line)]
            axes.plot(values, [place] * len(values), "|", color=colour, markersize=11, alpha=0.6)
        axes.set_yticks(range(len(lines)), [title_of(line) for line in lines], fontsize=8)
        axes.set_xlabel(study.figure.title)
        axes.set_title(study.study.name, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _who(line: str) -> str:
    return line.partition("-")[0]


def _columns(studies: Sequence[Found]) -> list[str]:
    return [f"{study.study.name}: {study.figure.title}" for study in studies]


def _network_table(studies: Sequence[Found]) -> ResultTable:
    rows = []
    for study in studies:
        for name in (PROBED, TUNED, *(f"{student}-{ALONE}" for student in study.study.students)):
            row = study.lines[name].row
            numbers, sees = row.numbers, f"{row.spec.side}" + (f" x {row.spec.enlarge}" * (row.spec.enlarge > 1))
            steps = numbers.steps(study.photos[0])
            start = "frozen" if row.spec.frozen else "from scratch" if row.begins_blank else "pretrained"
            cells = [row.spec.name, start, sees, str(steps), str(numbers.batch), f"{numbers.rate:g}"]
            rows.append([f"{study.study.name}: {title_of(name)}", *cells])
    photos = ", ".join(
        f"{study.study.name}: {study.photos[0]} photos to learn from, {study.photos[1]} to measure in {study.groups} "
        "groups"
        for study in studies
    )
    columns = ["line", "network", "begins", "pixels", "steps", "batch", "rate"]
    notes = [photos, "all lines of a student are trained as that alone is"]
    notes += [
        f"{study.study.name}: {title_of(line)} is the fine-tuned teacher once more, for it is the same network"
        for study in studies
        for line in study.lines
        if line.endswith(f"-{ALONE}") and replace(study.lines[line].row, name=TUNED) == study.lines[TUNED].row
    ]
    return ResultTable("Networks", columns, rows, "; ".join(notes))


def _line_table(title: str, lines: Sequence[str], found: Results) -> ResultTable:
    rows = [
        [
            title_of(line),
            *(mean_cell(study.interval(line), study.figure) if line in study.lines else "-" for study in found.studies),
        ]
        for line in lines
    ]
    seeds = len(found.seeds)
    note = f"means over {seeds} seeds ± half of Student's 95 % interval over them" if seeds > 1 else "one seed"
    return ResultTable(title, ["line", *_columns(found.studies)], rows, note)


def _answer_table(question: Question, answers: Sequence[Answer]) -> ResultTable:
    """A row for each pair, a column for each data set."""
    from training.probing.scores import Figure

    points = Figure("", 100, 2, True)
    studies = list(dict.fromkeys(answer.study for answer in answers))
    rows = []
    for pair in dict.fromkeys((answer.one, answer.other) for answer in answers):
        of = {answer.study: answer for answer in answers if (answer.one, answer.other) == pair}
        cells = [f"{gap_cell(of[one].better, points)}: {of[one].verdict}" if one in of else "-" for one in studies]
        rows.append([" against ".join(title_of(line) for line in pair), *cells])
    gaps = gap_note([answer.better for answer in answers], "groups of photos")
    claimed = f"; the text: {question.claimed}" if question.claimed else ""
    note = f"by how many points it is better; {gaps}; {HOW_SURE}{claimed}"
    return ResultTable(question.text, ["pair", *studies], rows, note)


def _summary_table(found: Results) -> ResultTable:
    rows = [
        [question.text, question.claimed or "both", *(str(counts[verdict]) for verdict in VERDICTS)]
        for question, counts in found.summary().items()
    ]
    note = f"comparisons by pair and data set; the text's word is that of most of its data; {HOW_SURE}"
    return ResultTable("Verdicts", ["question", "the text", *VERDICTS], rows, note)
