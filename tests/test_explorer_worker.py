"""The explorer's compute worker: the latest counts, results and errors arrive once, cancelling and closing work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.explorer.worker import Cancelled, ComputeWorker
from render.errors import InputError
from render.progress import Progress


@pytest.fixture
def worker() -> Iterator[ComputeWorker]:
    made = ComputeWorker()
    yield made
    made.close()


class Work:
    """Work that begins, waits for a sign while it reports progress, and ends."""

    def __init__(self, result: object = "result", *, reports: bool = True) -> None:
        self.result = result
        self.reports = reports
        self.begun, self.go, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, progress: Progress) -> object:
        self.begun.set()
        try:
            end = time.monotonic() + 30
            while not self.go.wait(0.001):
                assert time.monotonic() < end
                if self.reports:
                    progress(1, 3, "waiting")
        finally:
            self.ended.set()
        return self.result


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def flush(worker: ComputeWorker) -> None:
    """Wait until all that was queued before is over."""
    over = threading.Event()
    worker.submit("flush", lambda _: None, lambda _: over.set())
    assert over.wait(30)


def test_results_arrive_in_the_order_of_the_works(worker: ComputeWorker) -> None:
    got: list[Any] = []
    numbers = [worker.submit(f"work {index}", lambda _, i=index: i, got.append) for index in range(5)]  # type: ignore[misc]
    flush(worker)
    assert got == [0, 1, 2, 3, 4]
    assert numbers == sorted(numbers)


def test_exceptions_arrive_as_they_were_raised(worker: ComputeWorker) -> None:
    got: list[Any] = []

    def fail(progress: Progress) -> None:
        progress(0, 1, "failing")
        raise InputError("it cannot be done")

    def break_down(_: Progress) -> float:
        return 1 / 0

    worker.submit("a", fail, got.append)
    worker.submit("b", break_down, got.append)
    worker.submit("c", lambda _: "fine", got.append)
    flush(worker)
    assert [type(one) for one in got] == [InputError, ZeroDivisionError, str]
    assert str(got[0]) == "it cannot be done"


def test_newer_work_of_a_name_interrupts_the_older_and_only_its_result_arrives(worker: ComputeWorker) -> None:
    got: list[Any] = []
    old = Work("old")
    worker.submit("scribble", old, got.append)
    old.begun.wait(30)
    worker.submit("scribble", lambda _: "new", got.append)
    flush(worker)
    assert old.ended.is_set()
    assert got == ["new"]


def test_a_result_that_comes_too_late_is_dropped(worker: ComputeWorker) -> None:
    got: list[Any] = []
    old = Work("old", reports=False)  # it never notices that it was interrupted
    worker.submit("scribble", old, got.append)
    old.begun.wait(30)
    worker.submit("scribble", lambda _: "new", got.append)
    old.go.set()
    flush(worker)
    assert got == ["new"]


def test_waiting_work_of_a_name_is_replaced_and_never_begins(worker: ComputeWorker) -> None:
    got: list[Any] = []
    first, second = Work("first"), Work("second")
    worker.submit("other", first, got.append)
    first.begun.wait(30)
    worker.submit("slider", second, got.append)
    worker.submit("slider", lambda _: "third", got.append)
    first.go.set()
    flush(worker)
    assert got == ["first", "third"]
    assert not second.begun.is_set()


def test_a_slider_answers_while_it_is_dragged(worker: ComputeWorker) -> None:
    got: list[Any] = []
    first = Work("first")
    worker.submit("slider", first, got.append, interrupt=False)
    first.begun.wait(30)
    for index in range(5):
        worker.submit("slider", lambda _, i=index: i, got.append, interrupt=False)  # type: ignore[misc]
    first.go.set()
    flush(worker)
    assert got == ["first", 4]


def test_cancelling_ends_what_runs_and_says_so(worker: ComputeWorker) -> None:
    got: list[Any] = []
    work, waiting = Work(), Work()
    worker.submit("search", work, got.append)
    worker.submit("scribble", waiting, got.append)
    work.begun.wait(30)
    worker.cancel()
    flush(worker)
    assert [type(one) for one in got] == [Cancelled, Cancelled]
    assert not waiting.begun.is_set()
    worker.submit("search", lambda _: "again", got.append)
    flush(worker)
    assert got[-1] == "again"


def test_names_are_forgotten_when_their_work_is_done(worker: ComputeWorker) -> None:
    got: list[Any] = []
    for index in range(20):
        worker.submit(f"click {index}", lambda _: "done", got.append)
    work, waiting = Work(), Work()
    worker.submit("slider", work, got.append)
    work.begun.wait(30)
    worker.submit("slider", Work("replaced"), got.append, interrupt=False)
    worker.submit("slider", waiting, got.append, interrupt=False)
    worker.cancel()
    flush(worker)
    worker.cancel("a name of a page that has left")
    until(lambda: not worker._numbers)
    assert not worker._stopped
    assert not worker._interrupted
    assert not waiting.begun.is_set()
    assert got[:20] == ["done"] * 20
    assert isinstance(got[-1], Cancelled)
    worker.submit("slider", lambda _: "again", got.append)
    flush(worker)
    assert got[-1] == "again"


def test_cancelling_one_name_leaves_the_others(worker: ComputeWorker) -> None:
    got: list[Any] = []
    work = Work("kept")
    worker.submit("search", work, got.append)
    work.begun.wait(30)
    worker.submit("scribble", lambda _: "cancelled", got.append)
    worker.cancel("scribble")
    work.go.set()
    flush(worker)
    assert got[0] == "kept"
    assert isinstance(got[1], Cancelled)


def test_what_was_done_before_the_cancel_was_noticed_is_told_as_done(worker: ComputeWorker) -> None:
    got: list[Any] = []
    work = Work("done", reports=False)
    worker.submit("search", work, got.append)
    work.begun.wait(30)
    worker.cancel()
    work.go.set()
    flush(worker)
    assert got == ["done"]


def test_the_worker_tells_what_it_does(worker: ComputeWorker) -> None:
    work = Work()
    assert worker.busy is None
    worker.submit("search", work, lambda _: None)
    until(lambda: worker.busy is not None and worker.busy.total == 3)
    busy = worker.busy
    assert busy is not None
    assert (busy.name, busy.done, busy.total, busy.what) == ("search", 1, 3, "waiting")
    assert busy.seconds >= 0
    work.go.set()
    flush(worker)
    until(lambda: worker.busy is None)


def test_closing_in_the_middle_ends_the_work_and_delivers_nothing() -> None:
    worker = ComputeWorker()
    got: list[Any] = []
    work, waiting = Work(), Work()
    worker.submit("a", work, got.append)
    worker.submit("b", waiting, got.append)
    work.begun.wait(30)
    worker.close()
    assert work.ended.is_set()
    assert got == []
    assert not waiting.begun.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit("c", work, got.append)
    worker.close()


def test_work_that_closes_the_worker_does_not_wait_for_itself() -> None:
    worker = ComputeWorker()
    over = threading.Event()

    def close(_: Progress) -> None:
        worker.close()
        over.set()

    worker.submit("a", close, lambda _: None)
    assert over.wait(30)


def test_many_threads_may_submit_at_once(worker: ComputeWorker) -> None:
    got: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=name: worker.submit(n, lambda _: n, got.append))
        for name in map(str, range(40))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    flush(worker)
    assert sorted(got, key=int) == [str(index) for index in range(40)]
