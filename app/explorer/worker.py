"""One thread for a scene's long computations: the latest counts, progress is seen, and a person can cancel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from render.progress import Progress

T = TypeVar("T")
Done: TypeAlias = Callable[[Any], None]


class Cancelled(Exception):  # noqa: N818  not an error
    """The work was cancelled, by a person or by newer work of the same name."""


class Busy(NamedTuple):
    """What is being computed.

    Attributes:
        name: Of the work.
        done: Steps done,
        total: of so many; 0 until the first are reported.
        what: The step's name.
        seconds: Since the work began.
    """

    name: str
    done: int
    total: int
    what: str
    seconds: float


@dataclass(frozen=True, eq=False)
class _Running:
    name: str
    number: int
    began: float
    done: int = 0
    total: int = 0
    what: str = ""


class ComputeWorker:
    """Does one work after the other, in one thread.

    Works have names; a new one replaces those of its name that have not begun, and interrupts the one that is
    running (or lets it finish, for sliders that shall answer while they are dragged).  Every work has a number;
    what was replaced is dropped without a word.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="explorer-compute")
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}  # the newest of each name that has work to do
        self._stopped: dict[str, int] = {}  # up to which number a person cancelled
        self._interrupted: set[int] = set()
        self._count = 0
        self._running: _Running | None = None
        self._closed = False
        self._thread = 0

    @property
    def busy(self) -> Busy | None:
        """What is being computed now, None while idle."""
        running = self._running
        if running is None:
            return None
        return Busy(running.name, running.done, running.total, running.what, time.monotonic() - running.began)

    @property
    def waiting(self) -> int:
        """How many works are computed or wait for that."""
        return len(self._numbers)

    def awaits(self, name: str) -> bool:
        """Whether work of a name is computed or waits for that."""
        return name in self._numbers

    def submit(self, name: str, work: Callable[[Progress], T], done: Done, *, interrupt: bool = True) -> int:
        """Queue some work.

        Args:
            name: Work of one name replaces older work of that name.
            work: Called in the worker's thread with a ``progress`` that raises :class:`Cancelled` when the work
                shall end.
            done: Called in the worker's thread with the result, or with the exception that the work raised;
                :class:`Cancelled` if a person cancelled.  Not called if newer work of the name took its place.
            interrupt: Whether running work of that name is interrupted; else it ends and is delivered.

        Returns:
            The number of the work; numbers grow.

        Raises:
            RuntimeError: the worker is closed.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("The compute worker is closed.")
            self._count += 1
            number = self._count
            self._numbers[name] = number
            running = self._running
            if interrupt and running is not None and running.name == name:
                self._interrupted.add(running.number)
            # Submitted under the lock, so that works are queued in the order of their numbers.
            future: Future[T] = self._executor.submit(self._run, name, number, work)
            future.add_done_callback(partial(self._deliver, name, number, done))
        return number

    def cancel(self, name: str | None = None) -> None:
        """Cancel the work of a name, or all: what is queued does not begin, what runs ends at its next report."""
        with self._lock:
            names = list(self._numbers) if name is None else [name]
            self._stopped |= {one: self._count for one in names if one in self._numbers}

    def close(self) -> None:
        """Cancel everything and wait until the thread has ended; nothing is delivered any more."""
        with self._lock:
            self._closed = True
        self._executor.shutdown(wait=threading.get_ident() != self._thread, cancel_futures=True)

    def _run(self, name: str, number: int, work: Callable[[Progress], T]) -> T:
        running = _Running(name, number, time.monotonic())

        def progress(done: int, total: int, what: str) -> None:
            self._check(name, number)
            self._running = replace(running, done=done, total=total, what=what)

        self._thread = threading.get_ident()
        with self._lock:
            waiting = self._closed or self._numbers.get(name) != number
        if waiting:
            raise Cancelled(f"Newer work took the place of {name}.")
        self._running = running
        try:
            self._check(name, number)
            return work(progress)
        finally:
            self._running = None

    def _check(self, name: str, number: int) -> None:
        with self._lock:
            ended = self._closed or number in self._interrupted or self._stopped.get(name, 0) >= number
        if ended:
            raise Cancelled(f"{name} was cancelled.")

    def _deliver(self, name: str, number: int, done: Done, future: Future[T]) -> None:
        """Hand over a result, unless nobody waits for it."""
        with self._lock:
            replaced = self._numbers.get(name) != number
            if not replaced:  # and older work of the name is over, as they are done in turn
                del self._numbers[name]
                self._stopped.pop(name, None)
            interrupted = number in self._interrupted
            self._interrupted.discard(number)
            if self._closed or future.cancelled():
                return
        error = future.exception()
        if replaced and (interrupted or isinstance(error, Cancelled)):
            return
        done(future.result() if error is None else error)
