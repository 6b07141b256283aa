"""The figures of ``fit3d reproduce task-distillation`` as tables, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from render.files import atomic_file
from training.distillation.specific.study import (
    ALONE,
    ALONE_MIXED,
    BY_PROBED,
    BY_TUNED,
    HEAD,
    MIXED,
    MIXED_IN_TASK,
    MIXED_NO_LABELS,
    NO_LABELS,
    PROBED,
    RESNET,
    TUNED,
    VIT,
)
from training.reproduction.task_distillation.results import BLENDS, TRUE_LABELS
from training.reproduction.verdicts import VERDICTS

if TYPE_CHECKING:
    from training.reproduction.task_distillation.results import Answer, Found, Question, Results

TITLES: Mapping[str, str] = {
    PROBED: "teacher, probed",
    TUNED: "teacher, fine-tuned",
    HEAD: "probed",
    ALONE: "labels alone",
    ALONE_MIXED: "labels alone, mixed images",
    BY_PROBED: "probed teacher",
    BY_TUNED: "fine-tuned teacher",
    MIXED: "probed teacher, mixed images",
    MIXED_IN_TASK: "probed teacher, mixed images in the task too",
    NO_LABELS: "probed teacher alone",
    MIXED_NO_LABELS: "probed teacher alone, mixed images",
}
STUDENTS: Mapping[str, str] = {VIT: "ViT", RESNET: "ResNet"}
PROBING, OF_VIT, OF_RESNET, EACH_LOSS, LOSSES = (
    "Probing and fine-tuning (table 4.1)",
    "A pretrained transformer as student (table 4.2)",
    "A ResNet from scratch as student (table 4.3)",
    "Mixed images in each loss (table 4.5)",
    "Losses (table 4.6)",
)
TABLES: Mapping[str, tuple[str, ...]] = {
    PROBING: (PROBED, TUNED, f"{VIT}-{HEAD}", f"{VIT}-{ALONE}"),
    OF_VIT: tuple(f"{VIT}-{line}" for line in (HEAD, ALONE, BY_TUNED, BY_PROBED, MIXED)),
    OF_RESNET: tuple(f"{RESNET}-{line}" for line in (ALONE, BY_TUNED, BY_PROBED, MIXED)),
    EACH_LOSS: tuple(
        f"{student}-{line}" for student in STUDENTS for line in (ALONE, ALONE_MIXED, MIXED, MIXED_IN_TASK)
    ),
    LOSSES: tuple(
        f"{student}-{line}" for student in STUDENTS for line in (ALONE, NO_LABELS, MIXED_NO_LABELS, BY_PROBED, MIXED)
    ),
}
"""Rows of each table, by its title; one without rows is left out."""
OWN: Mapping[str, str] = {EACH_LOSS: MIXED_IN_TASK, LOSSES: NO_LABELS}  # a table is about the students that have this
NOTES: Mapping[str, str] = {
    PROBING: "of CIFAR-10 the teachers see photos enlarged, the student as they are",
    OF_VIT: BLENDS,
    OF_RESNET: BLENDS,
    EACH_LOSS: f"{BLENDS}; {TRUE_LABELS}",
}
SHARED = (
    "comparisons share lines and teachers, so they are not independent; of few groups, such as CamVid's, and few seeds "
    "most remain not told apart"
)
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
    tables = [_network_table(found.studies)]
    known = {name for study in found.studies for name in study.lines}
    for title, lines in TABLES.items():
        shown = [line for line in lines if line in known]
        if title in OWN:
            shown = [line for line in shown if f"{_who(line)}-{OWN[title]}" in known]
        if shown:
            tables.append(_line_table(title, shown, found))
    for question in found.summary():
        answers = [answer for answer in found.answers if answer.question == question]
        tables.append(_answer_table(question, answers, found.studies))
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
        students = (f"{student}-{line}" for student in study.study.students for line in (HEAD, ALONE))
        for name in [one for one in (PROBED, TUNED, *students) if one in study.lines]:
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
    tried = ", ".join(
        f"{study.study.name}, {what} {' or '.join(f'{rate:g}' for rate in rates)}"
        for study in studies
        for what, rates in study.study.rates.items()
    )
    notes = [
        photos,
        "all other lines of a student are trained as that with labels alone is",
        "rates are the best for a student with labels alone, on photos that are in no figure here, and teachers have "
        f"the same; tried were {tried}",
        "teachers have other seeds than their students",
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
    note = "; ".join([note, *([NOTES[title]] if title in NOTES else [])])
    return ResultTable(title, ["line", *_columns(found.studies)], rows, note)


def _answer_table(question: Question, answers: Sequence[Answer], found: Sequence[Found]) -> ResultTable:
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
    notes = ["by how many points it is better", gaps, HOW_SURE]
    known = {study.study.name: study.gap() for study in found}
    told = [f"{name} {points.factor * gap:+.{points.digits}f}" for name, gap in known.items() if gap is not None]
    if question.of_gap and told:
        notes.append(f"points that the teacher tells more when it is fine-tuned: {', '.join(told)}")
    notes += [question.said] if question.said else []
    return ResultTable(question.text, ["pair", *studies], rows, "; ".join([*notes, f"the text: {question.claimed}"]))


def _summary_table(found: Results) -> ResultTable:
    rows = [
        [question.text, question.claimed, *(str(counts[verdict]) for verdict in VERDICTS)]
        for question, counts in found.summary().items()
    ]
    note = f"comparisons by pair and data set; the text's word is that of most of its data; {SHARED}; {HOW_SURE}"
    if found.missing:
        note += f"; left out, for seeds of them are missing: {', '.join(found.missing)}"
    return ResultTable("Verdicts", ["question", "the text", *VERDICTS], rows, note)
