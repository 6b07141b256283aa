"""How a session's work shares the cores of a machine on which other threads draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from render.rasterizer.threads import kernels_alone_on_all_threads


@contextmanager
def libraries_with_one_thread() -> Iterator[None]:
    """Leave torch and BLAS one thread, and the compiled kernels all.

    The libraries' threads spin while they wait for each other: where something else computes, a small
    factorization takes 1.6 s with two of them and 0.03 s with one.
    """
    with kernels_alone_on_all_threads(), _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    # Imported first: libraries that are loaded later would not be found.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
