"""Work for the tests of many scenes; importable by the workers of a Ray cluster."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from training.fleet import Outcome, SceneJob, Settings, Slot
from training.fleet.commands import environment, run_command

SLEEP = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"


def jobs_in(folder: Path, count: int, need: int = 1) -> list[SceneJob]:
    """Scenes that need nothing but memory."""
    return [SceneJob(f"scene-{i}", folder / f"scene-{i}", folder, Settings(), need) for i in range(count)]


def sleeps_at_first(job: SceneJob, slot: Slot) -> Outcome:
    """The first attempt at ``scene-0`` waits for ever, in a command; all else is done at once."""
    attempts = job.out / f"{job.name}.attempts"
    count = len(attempts.read_text().split()) if attempts.exists() else 0
    with attempts.open("a") as file:
        file.write(f"{os.getpid()} ")
    if job.name == "scene-0" and count == 0:
        command = [sys.executable, "-c", SLEEP, str(job.out / "child")]
        run_command(command, job.out / "log", environment(slot.threads), slot.stop)
    return Outcome(job.name, ("fit",), cause=f"{slot.threads} threads")


def written(path: Path, seconds: float = 30.0) -> str:
    """What a file says, once it says something."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.02)
    raise TimeoutError(f"{path} was not written")


def ended(process: int, seconds: float = 20.0) -> bool:
    """Whether a process ends within some seconds."""
    import psutil

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False
