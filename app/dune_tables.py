"""The figures of ``fit3d reproduce dune`` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.figure_cells import mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from training.probing.scores import Figure
from training.reproduction.dune.measuring import MEASURES
from training.reproduction.dune.plan import AGNOSTIC, FULL, LANGUAGE, SPECIALIST, TEACHERS
from training.reproduction.verdicts import VERDICTS

if TYPE_CHECKING:
    from training.probing.comparison import Interval
    from training.reproduction.dune.comparing import Answer, Found
    from training.reproduction.dune.lessons import Lesson, Trend
    from training.reproduction.dune.results import Results

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
COMPONENTS, PARTS = Figure("components", 1, 1, False), Figure("correlation", 1, 3, True)
UNITS = {"components": COMPONENTS, "correlation": PARTS}
PHOTOS = (
    "TP, LP, SP = transformer, ladder and simple projectors; classes and depth by linear heads, projected = through "
    f"the projector of {AGNOSTIC}, decoder = the specialist's, fine-tuned; the decoder is measured in wide views, the "
    "specialist's own domain, all else in whole rooms, which is the kind of the generic photos, texts too, though "
    f"{LANGUAGE} learned from close-ups"
)
FAIRNESS = (
    f"± does not cover {SPECIALIST}, which is trained once, and is 0 where nothing depends on a seed; linear heads see "
    "256, 64 and 192 channels of the teachers, 192 of students; two teachers learned from photos of 224 pixels, "
    f"students from photos like those that are measured; a student is as large as {SPECIALIST} and half of {AGNOSTIC}, "
    "the paper's is a third of its teachers"
)
HOW_SURE = (
    "better or worse = both 95 % intervals, over rooms (paired bootstrap) and over seeds (Student's), lie on one side "
    "of zero (never with a single seed); not told apart is not as good: at worst = the lower end of both in percent of "
    "the other's figure"
)
COUNTS = (
    "comparisons by pair and measure; of those without a difference one in twenty to fifty ends otherwise by chance, "
    "and several are of the same features (classes, texts), so that these counts are no votes"
)
HELD = (
    "cosine between patches as projectors and as teachers tell them, of photos that no student saw, in rooms that it "
    "did see; standardized by each student's own statistics, and of other photos where it learned from others: only "
    "nearly alike between rows"
)
CHANNELS = (
    "of what the teacher says / of what the student's projector makes of it; standardized, of all kinds of photos "
    "together; a teacher cannot need more than it has channels"
)
TOGETHER = (
    "how much the losses of two teachers change together from step to step; a batch that is hard moves losses over the "
    "same photos together, so that full sharing must show more of it than no sharing, where they are over other photos"
)
SINGLE = (
    "of the photos that are drawn half are a single teacher's own, of three teachers a third, and one is never dropped"
)


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: rows, comparisons and verdicts, analyses, costs."""
    known = {one.name: one for one in [*found.teachers, *found.students]}
    note = f"means over {len(found.seeds)} seeds ± half of the 95 % interval" if len(found.seeds) > 1 else "one seed"
    if found.missing:
        note = f"{note}; not finished, hence left out: {'; '.join(found.missing)}"
    tables = []
    for title, names in TABLES.items():
        beside = f"; {FAIRNESS}" if TEACHERS[0] in names else ""
        rows = [known[name] for name in names if name in known]
        tables.append(_row_table(title, rows, f"{note}; {PHOTOS}{beside}"))
    answers = found.answers()
    titles = {one.name: one.title for one in known.values()}
    for question in dict.fromkeys(answer.question for answer in answers):
        tables.append(_answer_table([answer for answer in answers if answer.question == question], titles))
    tables.append(_summary_table(found))
    tables += [_cosine_table(found.lessons), _component_table(found.lessons)]
    if any(lesson.aligned for lesson in found.lessons):
        tables.append(_correlation_table(found.lessons))
    trends = found.trends()
    if trends:
        tables.append(_trend_table(trends))
    return [*tables, cost_table(found.costs)] if found.costs else tables


def _row_table(title: str, rows: Sequence[Found], note: str) -> ResultTable:
    figures = [row.figures() for row in rows]
    cells = [
        [row.title, *(mean_cell(of[name], measure.figure) if name in of else "-" for name, measure in MEASURES.items())]
        for row, of in zip(rows, figures, strict=True)
    ]
    return ResultTable(title, ["features", *(measure.figure.title for measure in MEASURES.values())], cells, note)


def _answer_table(answers: Sequence[Answer], titles: Mapping[str, str]) -> ResultTable:
    """Of one question: a row for each pair and measure."""
    rows = []
    for answer in answers:
        figure, worst = MEASURES[answer.measure].figure, answer.at_worst
        rows.append(
            [
                f"{titles[answer.one]} - {titles[answer.other]}",
                _by(answer),
                _signed(answer.better.over_groups.mean, figure),
                _ends(answer.better.over_groups, figure),
                _ends(answer.better.over_seeds, figure),
                "-" if worst is None else f"{100 * worst:+.1f} %",
                answer.verdict,
            ]
        )
    note = f"{HOW_SURE}; {SINGLE}" if any(answer.other.startswith("of-") for answer in answers) else HOW_SURE
    columns = ["pair", "by", "better by", "over rooms", "over seeds", "at worst", "verdict"]
    return ResultTable(answers[0].question, columns, rows, note)


def _by(answer: Answer) -> str:
    """The measure; both, where that of the other is another one."""
    mine, its = (MEASURES[name].figure.title for name in (answer.measure, answer.against))
    return mine if mine == its else f"{mine.partition(',')[0]} against {its}"


def _signed(value: float, figure: Figure) -> str:
    return f"{value * figure.factor:+.{figure.digits}f}"


def _ends(interval: Interval, figure: Figure) -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"{_signed(interval.low, figure)} to {_signed(interval.high, figure)}"


def _summary_table(found: Results) -> ResultTable:
    rows = [[question, *(str(counts[verdict]) for verdict in VERDICTS)] for question, counts in found.summary().items()]
    made = "made on the way" if found.specialist else "made before"
    return ResultTable("Verdicts", ["question", *VERDICTS], rows, f"{COUNTS}; the specialist {SPECIALIST} was {made}")


def _trend_table(trends: Sequence[Trend]) -> ResultTable:
    rows = [
        [
            trend.claim,
            trend.of,
            _signed(trend.more.mean, UNITS[trend.unit]),
            _ends(trend.more, UNITS[trend.unit]),
            trend.verdict,
        ]
        for trend in trends
    ]
    note = (
        f"of the student {FULL.title}; holds or the opposite = Student's 95 % interval over the seeds lies on one side "
        "of zero: there are no rooms here, and what is said below figures 4 and 5 counts here too"
    )
    return ResultTable("Claims of figures 4 and 5", ["claim", "of", "more by", "over seeds", "verdict"], rows, note)


def _cosine_table(lessons: Sequence[Lesson]) -> ResultTable:
    names = [name for name in TEACHERS if any(name in lesson.cosines for lesson in lessons)]
    rows = [
        [lesson.row.title, *(mean_cell(lesson.cosines[n], PARTS) if n in lesson.cosines else "-" for n in names)]
        for lesson in lessons
    ]
    return ResultTable("How well teachers are imitated", ["student", *names], rows, HELD)


def _component_table(lessons: Sequence[Lesson]) -> ResultTable:
    channels = {name: len(curves[0]) for lesson in lessons for name, curves in lesson.explained.items()}
    names = [name for name in TEACHERS if name in channels]
    rows = []
    for lesson in lessons:
        needed = lesson.needed
        cells = [
            " / ".join(mean_cell(one, COMPONENTS) for one in needed[name]) if name in needed else "-" for name in names
        ]
        rows.append([lesson.row.title, *cells])
    title = "Principal components for 90 % of the variance (DUNE, figure 4)"
    return ResultTable(title, ["student", *(f"{name}, {channels[name]} channels" for name in names)], rows, CHANNELS)


def _correlation_table(lessons: Sequence[Lesson]) -> ResultTable:
    pairs = list(dict.fromkeys(pair for lesson in lessons for pair in lesson.aligned))
    rows = []
    for lesson in lessons:
        known = lesson.aligned
        rows.append([lesson.row.title, *(mean_cell(known[pair], PARTS) if pair in known else "-" for pair in pairs)])
    title = "Correlation of loss updates (DUNE, figure 5)"
    return ResultTable(title, ["student", *(" and ".join(pair) for pair in pairs)], rows, TOGETHER)
