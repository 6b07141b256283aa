"""Notifications over a page: a few at a time, and none twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import viser

MOST = 3  # at a time; more would lie over what they are about
AGAIN = 1.0  # seconds until the same sentence is shown anew: whoever drags a slider is told once


class Notices:
    """What a page tells; the newest takes the oldest one's place.

    Args:
        client: As viser gives it.
    """

    def __init__(self, client: viser.ClientHandle) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._shown: OrderedDict[tuple[str, str], tuple[viser.NotificationHandle, float]] = OrderedDict()

    def show(self, title: str, text: str, *, seconds: float, color: Literal["red"] | None = None) -> None:
        """Tell something for some seconds.

        A sentence that is there already comes last again: pages do not say which ones a person has closed.
        """
        key = (title, text)
        with self._lock:
            known = self._shown.get(key)
            if known is not None and time.monotonic() - known[1] < AGAIN:
                return
            if known is not None:
                del self._shown[key]
                known[0].remove()
            while len(self._shown) >= MOST:
                _, (oldest, _) = self._shown.popitem(last=False)
                oldest.remove()
            handle = self._client.add_notification(title, text, color=color, auto_close_seconds=seconds)
            self._shown[key] = handle, time.monotonic()
