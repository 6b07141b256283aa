"""The figures of ``fit3d reproduce`` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.console import size
from app.result_tables import ResultTable

if TYPE_CHECKING:
    from training.probing.comparison import Interval
    from training.reproduction.results import Found, RowFound

# Title, factor and digits of a figure.
COLUMNS = {
    "miou": ("mIoU, %", 100, 2),
    "aacc": ("aAcc, %", 100, 2),
    "rmse": ("RMSE, m", 1, 4),
    "absrel": ("AbsRel", 1, 4),
    "inconsistency": ("inconsistency", 1, 3),
}
NAMES = {
    "fine-tuned": "original + fine-tuned",
    "twice": "original twice",
    "blurred": "blurred targets",
    "lifted": "original + rendered lifted",
}
DATA = {"rooms": "unseen rooms", "camvid": "CamVid (out of domain)", "rgbd_kitchen": "a kitchen (out of domain)"}


def tables_of(found: Found) -> list[ResultTable]:
    """All tables: rows, differences and claims of every encoder, other data, ablations, costs."""
    tables = []
    for encoder, data in found.tables:
        title = f"{encoder} on {DATA.get(data, data)}"
        tables.append(_row_table(title, found.tables[encoder, data], len(found.seeds)))
        tables.append(_gap_table(f"{title}: differences", found, encoder, data))
    tables.append(_claim_table(found))
    tables += [_row_table(title, rows, len(found.seeds)) for title, rows in found.ablations.items()]
    return [*tables, _cost_table(found.costs)] if found.costs else tables


def _row_table(title: str, rows: Sequence[RowFound], seeds: int) -> ResultTable:
    figures = [row.figures() for row in rows]
    names = [name for name in COLUMNS if any(name in of for of in figures)]
    cells = [
        [row.row.title, *(_mean(of[name], name) if name in of else "-" for name in names)]
        for row, of in zip(rows, figures, strict=True)
    ]
    note = f"means over {seeds} seeds ± half of the 95 % interval over them" if seeds > 1 else "one seed"
    if "inconsistency" in names:
        note += "; multi-view inconsistency |F - M F| / |F - mean F| of what stands beside the original"
    return ResultTable(title, ["features", *(COLUMNS[name][0] for name in names)], cells, note)


def _gap_table(title: str, found: Found, encoder: str, data: str) -> ResultTable:
    gaps = found.differences(encoder, data)
    names = [name for name in COLUMNS if any(name in gap for gap in gaps.values())]
    rows = [
        [f"{NAMES[a]} - {NAMES[b]}", *(_gap(gap[name].over_groups, name) if name in gap else "-" for name in names)]
        for (a, b), gap in gaps.items()
    ]
    what = "rooms" if data == "rooms" else "groups of photos"
    note = f"means over the seeds; in brackets the 95 % interval of a paired bootstrap over {what}"
    return ResultTable(title, ["difference", *(COLUMNS[name][0] for name in names)], rows, note)


def _claim_table(found: Found) -> ResultTable:
    rows = []
    for encoder in dict.fromkeys(encoder for encoder, _ in found.tables):
        for claim in found.claims(encoder):
            value = _interval(claim.found, 100, 2, "+")
            rows.append([f"{encoder}: {claim.text}", f"{100 * claim.asked:.1f}", value, "yes" if claim.met else "no"])
    note = "in points; met = the mean is as large as asked and its interval, over rooms, lies above zero"
    return ResultTable("Claims", ["claim", "asked", "found", "met"], rows, note)


def _cost_table(costs: Mapping[str, Mapping[str, float]]) -> ResultTable:
    rows = [[stage, f"{cost['seconds']:.1f}", size(cost["peak"])] for stage, cost in costs.items()]
    note = "seconds of one process on one thread, where several run beside each other; peak of that process"
    return ResultTable("Costs", ["stage", "seconds", "peak memory"], rows, note)


def _mean(interval: Interval, name: str) -> str:
    _, factor, digits = COLUMNS[name]
    mean = f"{interval.mean * factor:.{digits}f}"
    return mean if interval.high is None else f"{mean} ± {(interval.high - interval.mean) * factor:.{digits}f}"


def _gap(interval: Interval, name: str) -> str:
    _, factor, digits = COLUMNS[name]
    return _interval(interval, factor, digits, "+")


def _interval(interval: Interval, factor: float, digits: int, sign: str) -> str:
    mean = f"{interval.mean * factor:{sign}.{digits}f}"
    if interval.low is None or interval.high is None:
        return mean
    return f"{mean} [{interval.low * factor:{sign}.{digits}f}, {interval.high * factor:{sign}.{digits}f}]"
