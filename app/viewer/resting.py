"""Inputs that report every key: what they mean is done once a person stops typing."""

from __future__ import annotations

import threading
from collections.abc import Callable

REST = 0.7  # seconds without a key


class Resting:
    """Calls something once it has not been asked for a while.

    Args:
        act: What to call, on a thread of its own.
        seconds: How long nobody must have asked.
    """

    def __init__(self, act: Callable[[], object], seconds: float = REST) -> None:
        self._act, self._seconds = act, seconds
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def waiting(self) -> bool:
        """Whether somebody asked and nothing was called yet."""
        timer = self._timer
        return timer is not None and not timer.finished.is_set()

    def ask(self) -> None:
        """Begin to wait, or to wait again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(self._seconds, self._act)
            self._timer.daemon = True
            self._timer.start()

    def cancel(self) -> None:
        """Forget that anybody asked."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
