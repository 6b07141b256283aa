"""Running a compiled kernel over ranges of work on all of torch's threads."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch

from render.rasterizer._simd import is_compiled

log = logging.getLogger(__name__)

CHUNKS_PER_THREAD = 8  # work is uneven: a thread that is done takes the next chunk

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()
_announced = False
_threads: int | None = None


@contextmanager
def kernels_alone_on_all_threads() -> Iterator[None]:
    """Leave torch's own operations one thread, and the kernels those that torch had.

    OpenMP's threads spin while they wait: on a busy machine many small torch operations then cost six times
    the time.
    """
    global _threads
    before, outer = torch.get_num_threads(), _threads
    _threads = outer or before
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _threads = outer


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rasterizer")
        return _pool


def _forget_workers() -> None:
    """In a forked child the pool's threads do not exist, and its lock may be held by nobody."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_workers)


def _announce_compilation() -> None:
    """Say once, and before it happens, that the kernels have to be compiled."""
    global _announced
    if not _announced and not is_compiled():
        log.warning("Compiling the CPU rasterizer: about half a minute in all, once per machine.")
    _announced = True


def for_ranges(kernel: Callable[..., Any], total: int, *args: Any, block: int = 1) -> None:
    """Call ``kernel(start, stop, *args)`` so that the ranges cover ``0 .. total`` once.

    Kernels write disjoint outputs, so the result has the same bits at any number of threads
    (``torch.get_num_threads()``, or see :func:`kernels_alone_on_all_threads`).  Ranges start at multiples of ``block``.
    """
    threads = _threads or torch.get_num_threads()
    _announce_compilation()
    chunk = max(block, -(-total // (threads * CHUNKS_PER_THREAD * block)) * block)
    if threads == 1 or chunk >= total:
        kernel(0, total, *args)
        return
    starts = itertools.count(0, chunk)  # next() is atomic

    def work() -> None:
        while (start := next(starts)) < total:
            kernel(start, min(start + chunk, total), *args)

    others = [_workers().submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        # Helpers that never got a thread have nothing left to do; the others still write until they are done.
        running = [future for future in others if not future.cancel()]
        wait(running)
    for future in running:
        future.result()
