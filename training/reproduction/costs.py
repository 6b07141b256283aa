"""What stages take: seconds that a log tells, and the memory of processes."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
from pathlib import Path

UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of what the system counts
STATUS, PEAK = Path("/proc/self/status"), "VmHWM:"  # where Linux says what this program alone took


def peak_of_job() -> int | None:
    """The largest memory of this process until now, in bytes; None where it is not a job's own and did other things."""
    return None if multiprocessing.parent_process() is None else _own_peak()


def peak_of_all() -> int:
    """The largest memory of this process, and of those that it has ended, in bytes."""
    return max(_own_peak(), _peak(resource.RUSAGE_CHILDREN))


def last_logged(folder: Path, name: str) -> float:
    """What the log of a training said last of something; ``seconds`` leave interruptions out."""
    from training.loop import LOG

    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    return float([line[name] for line in lines if name in line][-1])


def _own_peak() -> int:
    """In bytes; what ``getrusage`` says on Linux is at least what the process took that began this one."""
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(PEAK))
    except (OSError, StopIteration):
        return _peak(resource.RUSAGE_SELF)
    return int(line.split()[1]) * 1024


def _peak(who: int) -> int:
    return resource.getrusage(who).ru_maxrss * UNIT
