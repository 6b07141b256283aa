"""Libraries that others import where they find them, and that nothing here needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(name: str) -> Iterator[None]:
    """Let imports find no library of that name, unless it was imported before.

    That holds for all threads of the process until the context ends.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what Python takes for a module that is not there
    try:
        yield
    finally:
        sys.modules.pop(name, None)
