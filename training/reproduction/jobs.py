"""Jobs in processes of their own, a few at a time: each on one thread, with its own peak of memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, TypeAlias

from render.errors import InputError
from render.progress import Progress, silent

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

EVERY = 20  # of the words of a job, so many are told
MOST_FAILED = 3  # with no job done between them: what ails them then ails the others too, such as a full disk
FAILURES = (OSError, MemoryError, RuntimeError)  # of a job, beside bad input; anything else is a mistake in the program
Failure: TypeAlias = tuple[str, Exception]  # the name of a job, and what it failed for


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        name: As progress calls it.
        run: A function of a module; takes the arguments and the keyword ``progress``.
        arguments: That can be pickled.
        after: Names of jobs before it in the list that it waits for.
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()


def run_jobs(jobs: Sequence[Job], processes: int, progress: Progress = silent) -> None:
    """Do jobs, so many at a time; with one process, here and one after the other.

    A job that fails keeps no other from being done but those that wait for it, so that one training that diverges does
    not cost a night.  Where ``MOST_FAILED`` jobs fail with none done between them, no more are begun: what all of them
    need is missing then, and each would find that out anew.

    Args:
        jobs: In the order in which they are begun, but for those that still wait for others.
        processes: At a time, each with one thread.
        progress: Told what every job tells, as ``JOB: WHAT``.

    Raises:
        InputError: of the first job that failed, after the others; with what others failed for.
        ChildProcessError: the first job that failed did so otherwise, or was killed.
    """
    queue = _Queue(jobs)
    if processes <= 1:
        _run_here(queue, progress)
    else:
        _run_beside(queue, processes, progress)
    queue.complain()


class _Queue:
    """Jobs that wait, and how those ended that were begun."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = list(jobs)
        self._open = {job.name for job in jobs}  # neither done nor failed
        self._failures: list[Failure] = []
        self._in_a_row = 0

    def next(self) -> Job | None:
        """The first job that waits for nothing; None where there is none, or where no more are begun."""
        if self._in_a_row >= MOST_FAILED:
            return None
        failed = {name for name, _ in self._failures}
        for job in self._waiting:
            if not any(name in self._open or name in failed for name in job.after):
                self._waiting.remove(job)
                return job
        return None

    def end(self, job: Job, failure: Exception | None = None) -> None:
        """Note that a job was done, or what it failed for."""
        self._open.discard(job.name)
        if failure is None:
            self._in_a_row = 0
        else:
            self._failures.append((job.name, failure))
            self._in_a_row += 1

    def complain(self) -> None:
        """Raise the first failure, if there is one, and say what else is not done."""
        if not self._failures:
            return
        (_, first), *others = self._failures
        if not others and not self._waiting:
            raise first
        said = [str(first), *(f"{name} failed too: {error}" for name, error in others)]
        if self._waiting:
            said.append(f"Not begun: {', '.join(job.name for job in self._waiting)}.")
        kind = InputError if isinstance(first, InputError) else ChildProcessError
        raise kind(" ".join(said)) from first


def _run_here(queue: _Queue, progress: Progress) -> None:
    with _one_thread():
        while (job := queue.next()) is not None:
            try:
                job.run(*job.arguments, progress=_named(job.name, progress))
            except (InputError, *FAILURES) as error:
                queue.end(job, error)
            else:
                queue.end(job)


def _run_beside(queue: _Queue, processes: int, progress: Progress) -> None:
    running: dict[Connection, tuple[Job, BaseProcess]] = {}
    try:
        while True:
            while len(running) < processes and (job := queue.next()) is not None:
                connection, process = _start(job)
                running[connection] = (job, process)
            if not running:
                return
            ready = wait(list(running))
            for connection in [one for one in running if one in ready]:
                job, process = running[connection]
                try:
                    over = _listen(job, connection, process, progress)
                except (InputError, ChildProcessError) as error:
                    process.join()
                    queue.end(job, error)
                    del running[connection]
                else:
                    if over:
                        queue.end(job)
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
    except FAILURES as error:
        connection.send(f"{type(error).__name__}: {error}")
    connection.close()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
