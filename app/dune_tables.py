"""The figures of ``fit3d reproduce dune`` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from training.probing.scores import Figure
from training.reproduction.dune.measuring import MEASURES
from training.reproduction.dune.plan import FULL, TEACHERS
from training.reproduction.verdicts import VERDICTS

if TYPE_CHECKING:
    from training.reproduction.dune.results import Answer, Found, Lesson, Results

TABLES: Mapping[str, tuple[str, ...]] = {
    "Projectors (DUNE, table 1)": ("transformer-whole", "ladder-whole", "simple-full", "ladder-full", FULL.name),
    "Whose photos projectors learn from (DUNE, table 2)": ("transformer-none", "transformer-generic", FULL.name),
    "Teachers and student (DUNE, table 3)": (
        *TEACHERS,
        f"{TEACHERS[-1]}-own",
        *(f"of-{name}" for name in TEACHERS),
        FULL.name,
    ),
}
"""Rows of each table, by its title; those that were not measured are left out."""
COMPONENTS, PARTS = Figure("components", 1, 1, False), Figure("share", 1, 3, True)
HOW_SURE = (
    "better or worse = both 95 % intervals, over rooms and over seeds, lie on one side of zero (never with a single "
    "seed); of comparisons without a difference one in twenty to fifty ends so by chance"
)


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: rows, comparisons and verdicts, analyses, costs."""
    known = {one.name: one for one in [*found.teachers, *found.students]}
    note = f"means over {len(found.seeds)} seeds ± half of the 95 % interval over them" if len(found.seeds) > 1 else ""
    if found.missing:
        note = f"{note or 'one seed'}; not finished, hence left out: {'; '.join(found.missing)}"
    tables = [
        _row_table(title, [known[name] for name in names if name in known], note or "one seed")
        for title, names in TABLES.items()
    ]
    answers = found.answers()
    titles = {one.name: one.title for one in known.values()}
    for question in dict.fromkeys(answer.question for answer in answers):
        tables.append(_answer_table([answer for answer in answers if answer.question == question], titles))
    tables.append(_summary_table(found))
    tables += [_cosine_table(found.lessons), _component_table(found.lessons)]
    if any(lesson.correlations for lesson in found.lessons):
        tables.append(_correlation_table(found.lessons))
    return [*tables, cost_table(found.costs)] if found.costs else tables


def _row_table(title: str, rows: Sequence[Found], note: str) -> ResultTable:
    figures = [row.figures() for row in rows]
    cells = [
        [row.title, *(mean_cell(of[name], measure.figure) if name in of else "-" for name, measure in MEASURES.items())]
        for row, of in zip(rows, figures, strict=True)
    ]
    return ResultTable(title, ["features", *(measure.figure.title for measure in MEASURES.values())], cells, note)


def _answer_table(answers: Sequence[Answer], titles: Mapping[str, str]) -> ResultTable:
    """Of one question: a row for each pair, a column for each measure."""
    rows = []
    for pair in dict.fromkeys((answer.one, answer.other) for answer in answers):
        of = {answer.measure: answer for answer in answers if (answer.one, answer.other) == pair}
        cells = [
            f"{gap_cell(of[name].better, measure.figure)}: {of[name].verdict}" if name in of else "-"
            for name, measure in MEASURES.items()
        ]
        rows.append([" against ".join(titles[name] for name in pair), *cells])
    note = f"by how much it is better; {gap_note([answer.better for answer in answers], 'rooms')}; {HOW_SURE}"
    columns = ["pair", *(measure.figure.title for measure in MEASURES.values())]
    return ResultTable(answers[0].question, columns, rows, note)


def _summary_table(found: Results) -> ResultTable:
    rows = [[question, *(str(counts[verdict]) for verdict in VERDICTS)] for question, counts in found.summary().items()]
    made = "made on the way" if found.specialist else "made before"
    note = f"comparisons by pair and measure; {HOW_SURE}; the specialist {TEACHERS[-1]} was {made}"
    return ResultTable("Verdicts", ["question", *VERDICTS], rows, note)


def _cosine_table(lessons: Sequence[Lesson]) -> ResultTable:
    names = [name for name in TEACHERS if any(name in lesson.cosines for lesson in lessons)]
    rows = [
        [lesson.row.title, *(mean_cell(lesson.cosines[n], PARTS) if n in lesson.cosines else "-" for n in names)]
        for lesson in lessons
    ]
    note = "cosine between patches as projectors and as teachers tell them, of photos that no student saw"
    return ResultTable("How well teachers are imitated", ["student", *names], rows, note)


def _component_table(lessons: Sequence[Lesson]) -> ResultTable:
    names = [name for name in TEACHERS if any(name in lesson.components for lesson in lessons)]
    rows = []
    for lesson in lessons:
        cells = [
            f"{mean_cell(lesson.components[name][0], COMPONENTS)} / {mean_cell(lesson.components[name][1], COMPONENTS)}"
            if name in lesson.components
            else "-"
            for name in names
        ]
        rows.append([lesson.row.title, *cells])
    note = "of what the teacher says / of what the student's projector makes of it"
    title = "Principal components for 90 % of the variance (DUNE, figure 4)"
    return ResultTable(title, ["student", *names], rows, note)


def _correlation_table(lessons: Sequence[Lesson]) -> ResultTable:
    pairs = list(dict.fromkeys(pair for lesson in lessons for pair in lesson.correlations))
    rows = [
        [
            lesson.row.title,
            *(mean_cell(lesson.correlations[p], PARTS) if p in lesson.correlations else "-" for p in pairs),
        ]
        for lesson in lessons
    ]
    note = "how much the losses of two teachers change together from step to step"
    title = "Correlation of loss updates (DUNE, figure 5)"
    return ResultTable(title, ["student", *(" and ".join(pair) for pair in pairs)], rows, note)
