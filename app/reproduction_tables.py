"""The figures of ``fit3d reproduce fit3d`` as tables, and what any reproduction costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.console import size
from app.figure_cells import gap_cell, gap_note, mean_cell
from app.result_tables import ResultTable
from training.probing.scores import FIGURES, Figure

if TYPE_CHECKING:
    from training.probing.comparison import Difference
    from training.reproduction.fit3d.results import Found, RowFound

COLUMNS = {
    **FIGURES["segmentation"],
    **FIGURES["depth"],
    "inconsistency": Figure("inconsistency, alone", 1, 3, False),
    "inconsistency_assembled": Figure("inconsistency, assembled", 1, 3, False),
}
POINTS = Figure("points", 100, 2, True)
INCONSISTENCY = (
    "multi-view inconsistency |F - M F| / |F - mean F|: alone = of what stands beside the original, assembled = of "
    "both together"
)
NAMES = {
    "fine-tuned": "original + fine-tuned",
    "twice": "original twice",
    "blurred": "blurred targets",
    "lifted": "original + rendered lifted",
}
ROOMS, KITCHEN = "rooms", "rgbd_kitchen"
DATA = {ROOMS: "unseen rooms", "camvid": "CamVid (out of domain)", KITCHEN: "a kitchen (out of domain)"}


def tables_of(found: Found) -> list[ResultTable]:
    """All tables: rows, differences and claims of every encoder, other data, ablations, costs."""
    tables = []
    for encoder, data in found.tables:
        title = f"{encoder} on {DATA.get(data, data)}"
        tables.append(_row_table(title, found.tables[encoder, data], len(found.seeds)))
        named = {f"{NAMES[a]} - {NAMES[b]}": gap for (a, b), gap in found.differences(encoder, data).items()}
        tables.append(_gap_table(f"{title}: differences", named, data))
    tables.append(_claim_table(found))
    tables += [_row_table(title, rows, len(found.seeds)) for title, rows in found.ablations.items()]
    if found.ablations:
        tables.append(_gap_table("Differences between choices", found.further_differences(), ROOMS))
    return [*tables, cost_table(found.costs)] if found.costs else tables


def _row_table(title: str, rows: Sequence[RowFound], seeds: int) -> ResultTable:
    figures = [row.figures() for row in rows]
    names = [name for name in COLUMNS if any(name in of for of in figures)]
    cells = [
        [row.row.title, *(mean_cell(of[name], COLUMNS[name]) if name in of else "-" for name in names)]
        for row, of in zip(rows, figures, strict=True)
    ]
    note = f"means over {seeds} seeds ± half of the 95 % interval over them" if seeds > 1 else "one seed"
    if "inconsistency" in names:
        note += f"; {INCONSISTENCY}"
    return ResultTable(title, ["features", *(COLUMNS[name].title for name in names)], cells, note)


def _gap_table(title: str, gaps: Mapping[str, Mapping[str, Difference]], data: str) -> ResultTable:
    names = [name for name in COLUMNS if any(name in gap for gap in gaps.values())]
    rows = [
        [asked, *(gap_cell(gap[name], COLUMNS[name]) if name in gap else "-" for name in names)]
        for asked, gap in gaps.items()
    ]
    differences = [difference for gap in gaps.values() for difference in gap.values()]
    note = gap_note(differences, "rooms" if data == ROOMS else "groups of photos")
    if data == KITCHEN:
        note += ", which with seven groups of one video covers about 87 %"
    return ResultTable(title, ["difference", *(COLUMNS[name].title for name in names)], rows, note)


def _claim_table(found: Found) -> ResultTable:
    rows = []
    for encoder in dict.fromkeys(encoder for encoder, _ in found.tables):
        for claim in found.claims(encoder):
            value, met = gap_cell(claim.found, POINTS), "yes" if claim.met else "no"
            rows.append([f"{encoder}: {claim.text}", f"{100 * claim.asked:.1f}", value, met])
    note = (
        "in points, the inconsistency in percent of itself; intervals over rooms in brackets and over seeds after ±; "
        "met = the mean is as large as asked, and both intervals lie above zero (never with a single seed)"
    )
    return ResultTable("Claims", ["claim", "asked", "found", "met"], rows, note)


def cost_table(costs: Mapping[str, Mapping[str, float]]) -> ResultTable:
    """Seconds and peak memory of stages.

    Args:
        costs: ``seconds`` and, where it is known, bytes at the ``peak`` of every stage.
    """
    rows = [
        [stage, f"{cost['seconds']:.1f}", size(cost["peak"]) if "peak" in cost else "-"]
        for stage, cost in costs.items()
    ]
    note = (
        "seconds of one process on one thread, where several run beside each other; peak of that process, - where "
        "stages shared one (--processes 1)"
    )
    return ResultTable("Costs", ["stage", "seconds", "peak memory"], rows, note)
