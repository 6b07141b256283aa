"""The figures of ``fit3d reproduce mask3d`` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.figure_cells import gap_cell, gap_note, mean_cell
from app.reproduction_tables import cost_table
from app.result_tables import ResultTable
from app.task_distillation_tables import HOW_SURE
from training.probing.comparison import interval_over_seeds
from training.probing.scores import FIGURES
from training.reproduction.mask3d.joint import FREQUENT as LEAST
from training.reproduction.mask3d.learning import KNOWN
from training.reproduction.mask3d.plan import (
    ALL,
    BOTH,
    BUILT,
    CELL_SEEDS,
    CELLS,
    FAST,
    FURTHER_CELLS,
    LONG,
    MAE_MAE,
    MAE_MASK3D,
    MASK3D,
    MASK3D_MAE,
    MASK3D_MASK3D,
    OF_MAE,
    PURE,
    SCRATCH,
    SETTINGS,
    SLOW,
    Row,
)
from training.reproduction.mask3d.results import CHOSEN, FREQUENT
from training.reproduction.verdicts import VERDICTS

if TYPE_CHECKING:
    from training.reproduction.mask3d.results import Answer, Question, Results

MIOU = FIGURES["segmentation"][CHOSEN]
AACC = FIGURES["segmentation"]["aacc"]
MAIN = (SCRATCH, OF_MAE, MASK3D, MAE_MAE, MASK3D_MASK3D, MAE_MASK3D)
LENGTHS = (SCRATCH, SLOW, FAST, LONG)
ORDERS = (MASK3D_MAE, MAE_MASK3D, BOTH, MASK3D)
VARIES = (
    "every seed has its own pretraining (weights, frames, crops, masks) and its own fine-tuning (head, crops, which "
    "fifth has labels; the decoder where none was pretrained), so intervals over seeds are of both; rooms are the same"
)


def tables_of(found: Results) -> list[ResultTable]:
    """All tables: what was trained, rows, comparisons and verdicts, costs."""
    measured = {one.row for one in found.found}
    tables = [_trained_table(found), _row_table("Fine-tuned networks (tables 1, 7, 9, 15; figure 5)", MAIN, found)]
    tables += [_other_table(found), _learned_table(found)]
    if LONG in measured:
        tables.append(_row_table("Without pretraining", LENGTHS, found))
    tables.append(_cell_table(found))
    if BOTH in measured:
        tables.append(_row_table("Orders, and what is told (tables 10, 16)", ORDERS, found))
    for question in dict.fromkeys(answer.question for answer in found.answers):
        tables.append(_answer_table(question, [answer for answer in found.answers if answer.question == question]))
    tables.append(_summary_table(found))
    return [*tables, cost_table(found.costs)] if found.costs else tables


def _trained_table(found: Results) -> ResultTable:
    """What rows were shown and told, and how long."""
    plan, rows = found.plan, []
    for one in found.found:
        row, masking = one.row, one.row.masking
        if masking is None:
            rows.append([row.title, "-", "-", "-", "0", "-", "-"])
            continue
        kept = f"{100 * masking.colour:g} % / {100 * masking.depth:g} %"
        told = {"both": "depth and colours", "colour": "hidden colours"}.get(masking.reconstruct, masking.reconstruct)
        begins = "random weights" if row.after is None else row.after.title
        spent = found.costs.get(f"pretraining: {row.title}")
        losses = [
            f"{name.removesuffix('_loss')}: {np.mean(one.early[name]):.3f}, {np.mean(values):.3f}"
            for name, values in one.losses.items()
        ]
        seen = str(row.visits * plan.steps * plan.batch)
        rows.append(
            [row.title, begins, kept, told, seen, f"{spent['seconds']:.0f}" if spent else "-", "; ".join(losses) or "-"]
        )
    columns = ["row", "begins as", "kept colours / depth", "tells", "frames seen in all"]
    columns += ["seconds of its pretraining", "loss after a tenth, in the end"]
    note = (
        f"{BUILT}; pretrained on {plan.rooms} rooms of {plan.views} photos in "
        f"steps of {plan.batch} crops of {plan.size[0]}x{plan.size[1]}; one photo in {plan.every} has labels; "
        f"fine-tuned with the decoder in {plan.tune_steps} steps of {plan.tune_batch} crops of {plan.side}x{plan.side} "
        f"pixels, or {plan.tune_steps + plan.longer_steps} where it takes as many as both; rates are the same "
        f"unless said, and were not searched for; measured in {plan.test_rooms} other rooms of {plan.test_views} "
        "photos; rows that begin as another one take over its encoder alone, as from stage I, and go through warm-up "
        "and cosine anew; losses of other rooms can be compared where as much is kept and the same is told"
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


def _other_table(found: Results) -> ResultTable:
    """What is not left to a few pixels of rare classes."""
    of = {one.row: one for one in found.found}
    rows = [
        [
            row.title,
            SETTINGS[name].title,
            mean_cell(of[row].interval(name, "aacc"), AACC),
            mean_cell(of[row].interval(name, FREQUENT), MIOU),
        ]
        for row in MAIN
        if row in of
        for name in found.settings
        if name in of[row].scores
    ]
    frequent = f"{MIOU.title}, of classes with {100 * LEAST:g} % of the pixels or more"
    return ResultTable("Other figures", ["pretraining", "measured on", AACC.title, frequent], rows, _means(found))


def _learned_table(found: Results) -> ResultTable:
    """Whether photos were learned by heart."""
    rows = []
    for one in found.found:
        cells = [
            mean_cell(interval_over_seeds(one.learned[name]), MIOU) if name in one.learned else "-"
            for name in found.settings
        ]
        rows.append([one.row.title, *cells])
    columns = ["pretraining", *(SETTINGS[name].title for name in found.settings)]
    note = f"{MIOU.title}, of at most {KNOWN} of the photos whose labels were learned from; {_means(found)}"
    return ResultTable("Photos that were learned from", columns, rows, note)


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
    note = (
        "here rows begin from nothing, in the text after MAE on other photos; depth that is kept is also told, and "
        "where both shares are 100 % together or more, every patch shows its colours or its depth; all rows of a seed "
        f"are pretrained on the same crops; {_means(found)}"
    )
    return ResultTable("Masking ratios (table 8)", columns, rows, note)


def _answer_table(question: Question, answers: Sequence[Answer]) -> ResultTable:
    """A row for each pair and setting."""
    rows = [
        [
            f"{answer.one.title} against {answer.other.title}",
            SETTINGS[answer.setting].title,
            gap_cell(answer.better, MIOU),
            answer.verdict,
            _gap_of_text(answer),
        ]
        for answer in answers
    ]
    gaps = gap_note([answer.better for answer in answers], "rooms (of CamVid stretches of a drive)")
    unequal = [
        answer.other.title for answer in answers if answer.one.visits != answer.other.visits and answer.other.visits
    ]
    longer = f"; {', '.join(dict.fromkeys(unequal))} saw fewer frames" if unequal else ""
    several = any(answer.better.over_seeds.high is not None for answer in answers)
    told = "; gaps smaller than what stands after ± could not be told" if several else ""
    note = f"better by so many points of mIoU; {gaps}{told}; {HOW_SURE}; the text: {question.claimed}{longer}"
    return ResultTable(
        question.text, ["pair", "measured on", "better by", "verdict", "the text, better by"], rows, note
    )


def _gap_of_text(answer: Answer) -> str:
    one, other = answer.one.text, answer.other.text
    return "-" if one is None or other is None else f"{one - other:+.1f}"


def _summary_table(found: Results) -> ResultTable:
    rows = [
        [question.text, SETTINGS[name].title, question.claimed, *(str(counts[verdict]) for verdict in VERDICTS)]
        for (question, name), counts in found.summary().items()
    ]
    note = (
        f"comparisons by pair; {HOW_SURE}; they share rows, also where photos differ, so that these counts are no "
        f"votes; CamVid has few stretches, of which a bootstrap says less than of rooms, and is seen at "
        f"{found.plan.side} pixels of height, where poles and signs are one pixel wide"
    )
    return ResultTable("Verdicts", ["question", "measured on", "the text", *VERDICTS], rows, note)


def _kept(row: Row) -> tuple[float, float]:
    return (0.0, 0.0) if row.masking is None else (row.masking.colour, row.masking.depth)


def _means(found: Results) -> str:
    seeds = len(found.seeds)
    fewer = f", {CELL_SEEDS} of cells, other rates and orders," if seeds > CELL_SEEDS else ""
    over = f"means over {seeds} seeds{fewer} ± half of Student's 95 % interval over them"
    note = f"{over}; {VARIES}" if seeds > 1 else "one seed"
    return f"{note}; not finished, hence left out: {', '.join(found.missing)}" if found.missing else note
