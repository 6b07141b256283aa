"""The figures of ``fit3d reproduce mask3d`` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from app.task_distillation_tables import HOW_SURE
from training.probing.scores import FIGURES
from training.reproduction.mask3d.plan import (
    ALL,
    BOTH,
    CELLS,
    FURTHER_CELLS,
    MAE_MAE,
    MAE_MASK3D,
    MASK3D,
    MASK3D_MAE,
    OF_MAE,
    PURE,
    SCRATCH,
    SETTINGS,
    Row,
)
from training.reproduction.mask3d.results import CHOSEN
from training.reproduction.verdicts import VERDICTS

if TYPE_CHECKING:
    from training.reproduction.mask3d.results import Answer, Question, Results

MIOU = FIGURES["segmentation"][CHOSEN]
MAIN = (SCRATCH, OF_MAE, MASK3D, MAE_MAE, MAE_MASK3D)
ORDERS = (BOTH, MASK3D_MAE, MAE_MASK3D)
VARIES = (
    "every seed has its own pretraining (weights, frames, crops, masks) and its own fine-tuning (head, photos, crops; "
    "the decoder where none was pretrained), so intervals over seeds are of both; rooms and labels are the same"
)


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: what was trained, rows, comparisons and verdicts, costs."""
    measured = {one.row for one in found.found}
    tables = [_trained_table(found), _row_table("Fine-tuned networks (tables 1, 7, 9, 15; figure 5)", MAIN, found)]
    tables.append(_cell_table(found))
    if BOTH in measured:
        tables.append(_row_table("Orders (table 16)", ORDERS, found))
    for question in found.summary():
        tables.append(_answer_table(question, [answer for answer in found.answers if answer.question == question]))
    tables.append(_summary_table(found))
    return [*tables, cost_table(found.costs)] if found.costs else tables


def _trained_table(found: Results) -> ResultTable:
    """What rows were shown and told, and how long."""
    plan, rows = found.plan, []
    for one in found.found:
        row, masking = one.row, one.row.masking
        if masking is None:
            rows.append([row.title, "-", "-", "-", "0"])
            continue
        kept = f"{100 * masking.colour:g} % / {100 * masking.depth:g} %"
        told = {"both": "depth and colours", "colour": "hidden colours"}.get(masking.reconstruct, masking.reconstruct)
        begins = "random weights" if row.after is None else row.after.title
        rows.append([row.title, begins, kept, told, str(row.visits * plan.steps * plan.batch)])
    columns = ["row", "begins as", "kept colours / depth", "tells", "frames seen in all"]
    note = (
        f"4 blocks of 192 channels, patches of 8 pixels; pretrained on {plan.rooms} rooms of {plan.views} photos in "
        f"steps of {plan.batch} crops of {plan.size[0]}x{plan.size[1]}; one photo in {plan.every} has labels; "
        f"fine-tuned with the decoder in {plan.tune_steps} steps of {plan.tune_batch} crops of {plan.side}x{plan.side} "
        "pixels; rates are the same for all rows and were not searched for; measured in "
        f"{plan.test_rooms} other rooms of {plan.test_views} photos"
    )
    return ResultTable("What is trained", columns, rows, note)


def _row_table(title: str, rows: Sequence[Row], found: Results) -> ResultTable:
    of = {one.row: one for one in found.found}
    names = [name for name in found.settings if any(name in of[row].scores for row in rows if row in of)]
    cells = [
        [row.title, *(mean_cell(of[row].interval(n), MIOU) if n in of[row].scores else "-" for n in names)]
        for row in rows
        if row in of
    ]
    columns = ["pretraining", *(f"{SETTINGS[name].title}: {MIOU.title}" for name in names)]
    return ResultTable(title, columns, cells, _means(found))


def _cell_table(found: Results) -> ResultTable:
    """Table 8, the text's figures beside those that were found."""
    of = {one.row: one for one in found.found if ALL in one.scores}
    rows = []
    for row in sorted({MASK3D, *CELLS, *FURTHER_CELLS} & set(of), key=_kept):
        colour, depth = _kept(row)
        name = " (pure depth prediction)" if row == PURE else " (Mask3D)" if row == MASK3D else ""
        text = "-" if row.text is None else f"{row.text:.1f}"
        rows.append([f"{100 * colour:g} % / {100 * depth:g} %{name}", mean_cell(of[row].interval(ALL), MIOU), text])
    columns = ["kept colours / depth", f"{SETTINGS[ALL].title}: {MIOU.title}", "the text, on ScanNet"]
    return ResultTable("Masking ratios (table 8)", columns, rows, _means(found))


def _answer_table(question: Question, answers: Sequence[Answer]) -> ResultTable:
    """A row for each pair and setting."""
    rows = [
        [
            f"{answer.one.title} against {answer.other.title}",
            SETTINGS[answer.setting].title,
            gap_cell(answer.better, MIOU),
            answer.verdict,
        ]
        for answer in answers
    ]
    gaps = gap_note([answer.better for answer in answers], "rooms (of CamVid stretches of a drive)")
    longer = "; frames seen differ" if any(answer.one.visits != answer.other.visits for answer in answers) else ""
    note = f"better by so many points of mIoU; {gaps}; {HOW_SURE}; the text: {question.claimed}{longer}"
    return ResultTable(question.text, ["pair", "measured on", "better by", "verdict"], rows, note)


def _summary_table(found: Results) -> ResultTable:
    rows = [
        [question.text, question.claimed, *(str(counts[verdict]) for verdict in VERDICTS)]
        for question, counts in found.summary().items()
    ]
    note = (
        f"comparisons by pair and setting; {HOW_SURE}; they share rows, so that these counts are no votes; CamVid has "
        "few stretches, of which a bootstrap says less than of rooms"
    )
    return ResultTable("Verdicts", ["question", "the text", *VERDICTS], rows, note)


def _kept(row: Row) -> tuple[float, float]:
    return (0.0, 0.0) if row.masking is None else (row.masking.colour, row.masking.depth)


def _means(found: Results) -> str:
    seeds = len(found.seeds)
    note = (
        f"means over {seeds} seeds ± half of Student's 95 % interval over them; {VARIES}" if seeds > 1 else "one seed"
    )
    return f"{note}; not finished, hence left out: {', '.join(found.missing)}" if found.missing else note
