"""Jobs in processes of their own, a few at a time: each on one thread, with its own peak of memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from render.errors import InputError
from render.progress import Progress, silent

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

EVERY = 20  # of the words of a job, so many are told


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        name: As progress calls it.
        run: A function of a module; takes the arguments and the keyword ``progress``.
        arguments: That can be pickled.
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...] = ()


def run_jobs(jobs: Sequence[Job], processes: int, progress: Progress = silent) -> None:
    """Do jobs, so many at a time; with one process, here and one after the other.

    Args:
        jobs: In the order in which they are begun; none waits for another.
        processes: At a time, each with one thread.
        progress: Told what every job tells, as ``JOB: WHAT``.

    Raises:
        InputError: of a job; the others are stopped.
        ChildProcessError: a job failed, or was killed.
    """
    if processes <= 1:
        with _one_thread():
            for job in jobs:
                job.run(*job.arguments, progress=_named(job.name, progress))
        return
    waiting = deque(jobs)
    running: dict[Connection, tuple[Job, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.popleft()
                connection, process = _start(job)
                running[connection] = (job, process)
            ready = wait(list(running))
            for connection in [one for one in running if one in ready]:
                job, process = running[connection]
                if _listen(job, connection, process, progress):
                    del running[connection]
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Leave torch one thread: on small networks two take longer, and far more of a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _named(name: str, progress: Progress) -> Progress:
    return lambda done, total, what: progress(done, total, f"{name}: {what}")


def _start(job: Job) -> tuple[Connection, BaseProcess]:
    # A forked child would inherit locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, there), daemon=False)
    process.start()
    there.close()
    return here, process


def _listen(job: Job, connection: Connection, process: BaseProcess, progress: Progress) -> bool:
    """Take what a job says; whether it was the last of it."""
    try:
        said = connection.recv()
    except EOFError:
        process.join()
        if process.exitcode == 0:
            return True
        raise ChildProcessError(
            f"{job.name} ended with exit code {process.exitcode}; give the command again to go on."
        ) from None
    if isinstance(said, InputError):
        raise said
    if isinstance(said, str):
        raise ChildProcessError(f"{job.name} failed: {said}")
    _named(job.name, progress)(*said)
    return False


def _work(job: Job, connection: Connection) -> None:
    """What a process does."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)

    def report(done: int, total: int, what: str) -> None:
        if done == total or done % max(1, total // EVERY) == 0:
            connection.send((done, total, what))

    try:
        job.run(*job.arguments, progress=report)
    except InputError as error:
        connection.send(error)
    except (OSError, MemoryError, RuntimeError) as error:
        connection.send(f"{type(error).__name__}: {error}")
    connection.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
