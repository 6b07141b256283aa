"""Runs one command, ends it when whoever asked for it is gone, and tells what it cost.

A program of its own, of the standard library alone: ``python _keeper.py LOG COMMAND...``.  It is small, so that the
peak memory that the kernel reports is the command's and not inherited from a large parent; and it outlives a parent
that was killed for as long as it takes to end the command, which nobody else would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 5.0  # seconds between asking the command to end and ending it
NOT_STARTED = 127
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the command with its output in LOG; write a line of JSON when it has ended."""
    log, *command = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a parent in the background may have left it ignored
    began = time.perf_counter()
    with open(log, "ab") as output:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_keeper,
            )
        except OSError as error:
            output.write(f"{command[0]} cannot be started: {error.strerror}\n".encode())
            print(json.dumps({"code": NOT_STARTED, "seconds": 0.0, "cpu": 0.0, "peak": 0}))  # noqa: T201
            return 0
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: threading.Thread(target=_end, args=(child.pid, ended)).start())
    threading.Thread(target=_watch, args=(child.pid, ended), daemon=True).start()
    _, status, usage = os.wait4(child.pid, 0)
    ended.set()
    _signal(child.pid, signal.SIGKILL)  # what it may have left behind
    report = {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    print(json.dumps(report), flush=True)  # noqa: T201  this is the answer to the parent
    return 0


def _watch(group: int, ended: threading.Event) -> None:
    """Wait until the parent closes its end of the pipe, on purpose or by dying."""
    while os.read(0, 1024):
        pass
    _end(group, ended)


def _end(group: int, ended: threading.Event) -> None:
    """Ask first, as Ctrl-C does, so that half-written files are removed."""
    _signal(group, signal.SIGINT)
    if not ended.wait(GRACE):
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left of it


def _end_with_keeper() -> None:
    """Linux: the command ends even if this process is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
