"""What is made once by key and kept: all of it, or the last of it within a number of bytes or of values."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from torch import Tensor

T = TypeVar("T")
LIMIT = 512 << 20  # bytes


class Cache:
    """Values by key, the ones longest unused dropped first; several threads may ask at once.

    Keys may hold objects that are compared by identity (fields, selections): the cache keeps them alive, so that
    no other object can take their place.
    """

    def __init__(self, limit: int | None = LIMIT, *, count: int | None = None) -> None:
        """Keep at most ``limit`` bytes of tensors in ``count`` values, and at least the value asked for last.

        None = as many as there are.
        """
        self.limit, self.count = limit, count
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, threading.Event] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors that are kept."""
        with self._lock:
            return self._nbytes()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not there; who asks for the same while it is made waits.

        What ``make`` raises is raised to who makes; the next one who waits tries again.
        """
        while True:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
                made = self._making.get(key)
                if made is None:
                    made = self._making[key] = threading.Event()
                    break
            made.wait()
        try:
            value = make()
            with self._lock:
                self._values[key] = value
                self._drop()
        finally:
            with self._lock:
                del self._making[key]
            made.set()
        return value

    def latest(self) -> Any:
        """The value that was asked for last; None if there is none."""
        with self._lock:
            return next(reversed(self._values.values()), None)

    def _drop(self) -> None:
        while self.count is not None and len(self._values) > max(1, self.count):
            self._values.popitem(last=False)
        if self.limit is None:
            return
        total = self._nbytes()
        while total > self.limit and len(self._values) > 1:
            total -= _bytes(self._values.popitem(last=False)[1])

    def _nbytes(self) -> int:
        return sum(map(_bytes, self._values.values()))


def _bytes(value: object) -> int:
    """Bytes of a tensor, or of the tensors of a tuple or record."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    parts = value if isinstance(value, tuple) else vars(value).values() if hasattr(value, "__dict__") else ()
    return sum(map(_bytes, parts))
