"""What the commands of ``fit3d reproduce`` have in common: checks, jobs at a time, memory, and what is written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.console import duration, say, show, size, wrote

if TYPE_CHECKING:
    from app.result_tables import ResultTable

SHARED, DATA = "FIT3D_SHARED", "data"
RESULTS, TABLES = "results.json", "results.md"
MEANINGLESS = "quick: too small to mean anything"


class Spent:
    """What a command takes: time by the clock, and of processors, that of finished processes included."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), _worked()

    def say(self) -> None:
        """Say it, as of now."""
        clock, worked = time.perf_counter() - self._began, _worked() - self._worked
        say(f"{duration(clock)} in all, {duration(worked)} of processors")


def data_folder(given: Path | None) -> Path | None:
    """The folder of data sets: ``--data``, or ``data`` in the folder that :data:`SHARED` names; None = neither."""
    named = os.environ.get(SHARED)
    return given if given is not None else Path(named) / DATA if named else None


def check_given(out: Path, seeds: int, processes: int | None) -> None:
    """Raise InputError unless the folder may be made, and numbers are above 0."""
    from app.scenes import check_folder, check_positive

    check_positive({"--seeds": seeds, "--processes": processes})
    check_folder(out)


def at_once(asked: int | None, needed: int) -> int:
    """How many jobs run at a time: no more than there are cores, unless asked for, or than memory allows.

    Args:
        asked: By the person.
        needed: Bytes of a job.
    """
    from training.fleet import this_machine

    machine = this_machine(gpus=False)
    return max(1, min(asked or machine.threads, machine.memory // needed))


def announce(needed: int, disk: int, processes: int) -> None:
    """Say what a reproduction takes, and warn where one process alone needs more than is free.

    Args:
        needed: Bytes of memory of a job.
        disk: Bytes of the folder.
        processes: Jobs at a time.
    """
    from render.machine import free_memory

    free = free_memory()
    short = "" if processes > 1 or needed < free else f", but only {size(free)} are free: this may fail"
    say(f"memory: about {size(needed)} for each of {processes} processes{short}; disk: about {size(disk)}")


def write_results(
    out: Path, title: str, tables: Sequence[ResultTable], content: Mapping[str, Any], *, quick: bool
) -> None:
    """Print tables, and write them and all figures.

    Args:
        out: Folder of the reproduction.
        title: Above the tables.
        tables: All of them.
        content: The figures as JSON values.
        quick: Whether the tables are to say that they mean nothing.
    """
    from app.result_tables import write_markdown
    from render.files import atomic_file

    for table in tables:
        show(table.rich())
    if quick:
        tables = [replace(table, note=f"{table.note}; {MEANINGLESS}".removeprefix("; ")) for table in tables]
    write_markdown(out / TABLES, title, tables)
    wrote(out / TABLES)
    with atomic_file(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    wrote(out / RESULTS)


def _worked() -> float:
    """Seconds of processors so far, of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])
