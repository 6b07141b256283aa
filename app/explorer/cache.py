"""What is drawn again and again, kept until it takes too much memory."""

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

    def __init__(self, limit: int = LIMIT) -> None:
        """Keep at most ``limit`` bytes of tensors, and at least the value asked for last."""
        self.limit = limit
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors that are kept."""
        with self._lock:
            return sum(map(_bytes, self._values.values()))

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made where it is not there; who asks for the same while it is made waits."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            self._keep(key, value)
        return value

    def _keep(self, key: Hashable, value: object) -> None:
        with self._lock:
            self._values[key] = value
            total = sum(map(_bytes, self._values.values()))
            while total > self.limit and len(self._values) > 1:
                total -= _bytes(self._values.popitem(last=False)[1])


def _bytes(value: object) -> int:
    """Bytes of a tensor, or of the tensors of a tuple or record."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    parts = value if isinstance(value, tuple) else vars(value).values() if hasattr(value, "__dict__") else ()
    return sum(map(_bytes, parts))
