"""Commands in processes of their own: with a log, with what they cost, and never left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from render.errors import InputError

KEEPER = Path(__file__).with_name("_keeper.py")
LOOK = 0.2  # seconds between looks whether to stop
TAIL = 16_384  # bytes of a log that are looked at for the cause of a failure
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
FRAME = " ─│╭╮╰╯━┃"


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        code: Its exit code; negative = the signal that ended it.
        seconds: From start to end.
        cpu: Seconds of all processors.
        peak: Largest memory of a process of it, in bytes; what lies on a GPU is not counted.
    """

    code: int
    seconds: float
    cpu: float
    peak: int


class Stopped(Exception):  # noqa: N818  not an error: somebody wanted it
    """The command was ended because the work was stopped."""


def program(name: str) -> str:
    """The path of a program that is installed with this one.

    Raises:
        InputError: it is not installed here.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise InputError(f"Expected the program {name} beside {sys.executable}, found none; install fit3d there.")
    return found


def environment(threads: int | None = None, devices: str | None = None) -> dict[str, str]:
    """The variables that a command starts with: this process's, plain output, and its share of the machine.

    Args:
        threads: How many threads it may use.
        devices: The GPUs it may see, as CUDA_VISIBLE_DEVICES says it.
    """
    values = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "160"}
    if threads is not None:
        values |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    if devices is not None:
        values["CUDA_VISIBLE_DEVICES"] = devices
    return values


def run_command(
    command: Sequence[str],
    log: Path,
    variables: Mapping[str, str],
    stop: threading.Event | None = None,
    *,
    held: Sequence[int] = (),
) -> Cost:
    """Run a command; its output is appended to ``log``.

    It ends with this process, however that ends.

    Args:
        command: Program and arguments.
        log: The file; its folder is made.
        variables: Its environment.
        stop: Set by another thread to end the command.
        held: Descriptors of locked files, which stay locked until the command has ended even if this process is killed.

    Raises:
        Stopped: ``stop`` was set.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    keeper = subprocess.Popen(
        [sys.executable, "-I", str(KEEPER), str(log.resolve()), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(variables),
        start_new_session=True,  # Ctrl-C reaches this process alone, which then decides
        pass_fds=held,  # the keeper's alone: the command does not inherit them
    )
    assert keeper.stdin is not None  # noqa: S101  for the type checker
    assert keeper.stdout is not None  # noqa: S101
    try:
        while keeper.poll() is None and not (stop is not None and stop.is_set()):
            try:
                keeper.wait(LOOK)
            except subprocess.TimeoutExpired:
                continue
    finally:
        keeper.stdin.close()
        answer = keeper.stdout.read()
        keeper.stdout.close()
        keeper.wait()
    if stop is not None and stop.is_set():
        raise Stopped
    if not answer:  # the keeper itself was killed, which takes the command along
        return Cost(keeper.returncode or -9, 0.0, 0.0, 0)
    return Cost(**json.loads(answer))


def last_lines(log: Path, count: int = 3) -> list[str]:
    """The last lines of a log that say something, without colours and frames."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        text = file.read().decode("utf-8", "replace")
    lines = [ESCAPES.sub("", line).strip(FRAME + "\t\r") for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line][-count:]


def cause(cost: Cost, log: Path) -> str:
    """Why a command failed, in one line."""
    lines = last_lines(log)
    if cost.code < 0:
        killed = f"ended by signal {-cost.code}"
        return f"{killed}, as a machine does that runs out of memory" if cost.code == -9 else killed
    return f"exit code {cost.code}: {' / '.join(lines) if lines else 'without a word'}"
