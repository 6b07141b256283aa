"""What many scenes took: tables for the terminal, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from app.console import duration, size
from app.result_tables import ResultTable, write_markdown
from render.errors import InputError
from render.files import atomic_file
from training.fleet import Done, Outcome, Record, SceneJob, Settings

if TYPE_CHECKING:
    from rich.table import Table

NOTE = (
    "Time from start to end, seconds of all processors, and largest memory of a process, of the command alone; GPU "
    "memory is not counted.  * went on with an interrupted fit: costs are of the rest."
)


def write_report(
    out: Path, jobs: Sequence[SceneJob], failures: Sequence[Outcome], settings: Settings, *, most: int
) -> list[Table]:
    """Write ``report.md`` and ``report.json`` of all scenes that have records.

    Args:
        out: Folder of the list.
        jobs: The scenes.
        failures: Those that failed.
        settings: What was done.
        most: Rows of the table of scenes in the terminal; with more scenes it is only in the file.

    Returns:
        Tables for the terminal.
    """
    records = {job.name: _record(job) for job in jobs}
    stages = _stages(records)
    summary, scenes = _summary(records, stages), _scenes(records, stages, failures)
    write_markdown(out / "report.md", "Scenes", [summary, scenes])
    content = {
        "settings": asdict(settings),
        "scenes": {job.name: _entry(job, records[job.name]) for job in jobs},
        "failed": {outcome.name: {"stage": outcome.failed, "cause": outcome.cause} for outcome in failures},
    }
    with atomic_file(out / "report.json") as temporary:
        temporary.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    return [table.rich() for table in ([scenes, summary] if len(jobs) <= most else [summary])]


def _record(job: SceneJob) -> Record:
    try:
        return Record.load(job.record, str(job.source))
    except InputError:
        return Record(str(job.source))  # its sentence is among the failures


def _entry(job: SceneJob, record: Record) -> dict[str, object]:
    stages = {
        name: {"seconds": done.seconds, "cpu": done.cpu, "peak": done.peak, "resumed_from": done.resumed_from}
        for name, done in record.stages.items()
    }
    return {"scene": str(job.scene), "source": str(job.source), "stages": stages}


def _stages(records: dict[str, Record]) -> list[str]:
    """All stages in the order in which scenes do them."""
    return list(dict.fromkeys(name for record in records.values() for name in record.stages))


def _summary(records: dict[str, Record], stages: Sequence[str]) -> ResultTable:
    rows = []
    for stage in stages:
        done = [record.stages[stage] for record in records.values() if stage in record.stages]
        rows.append(
            [
                stage,
                str(len(done)),
                duration(median(d.seconds for d in done)),
                duration(max(d.seconds for d in done)),
                duration(median(d.cpu for d in done)),
                size(median(d.peak for d in done)),
                size(max(d.peak for d in done)),
            ]
        )
    columns = ["stage", "scenes", "median time", "longest", "median CPU", "median memory", "largest"]
    return ResultTable("Stages", columns, rows, NOTE)


def _scenes(records: dict[str, Record], stages: Sequence[str], failures: Sequence[Outcome]) -> ResultTable:
    failed = {outcome.name: f"failed at {outcome.failed}" for outcome in failures}
    rows = [
        [name, *(_cell(record.stages.get(stage)) for stage in stages), failed.get(name, "done")]
        for name, record in records.items()
    ]
    return ResultTable("Scenes", ["scene", *stages, "state"], rows)


def _cell(done: Done | None) -> str:
    if done is None:
        return ""
    star = "" if done.resumed_from is None else "*"
    return f"{duration(done.seconds)}{star}, {duration(done.cpu)} CPU, {size(done.peak)}"
