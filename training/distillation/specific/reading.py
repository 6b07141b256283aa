"""Photos that are decoded once, and samples that are prepared in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from threading import Barrier, Lock
from typing import TypeVar

import numpy as np
import torch

from training.probing.photos import ProbePhoto

PHOTO_MEMORY = 2 * 10**9  # bytes of decoded photos and class maps
READERS = 8  # threads at most

T = TypeVar("T")
U = TypeVar("U")


class KeptPhotos:
    """Decoded photos and class maps, in memory as far as there is room; the others are read whenever they are needed.

    Several threads may ask at once.  What is given out is not to be changed.

    Args:
        memory: Bytes that may be kept.
    """

    def __init__(self, memory: int = PHOTO_MEMORY) -> None:
        self._memory = self._left = memory
        self._kept: dict[int, np.ndarray] = {}
        self._count = 0
        self._lock = Lock()

    def keeping(self, photos: Sequence[ProbePhoto]) -> list[ProbePhoto]:
        """The same photos, which are read once."""
        return [
            replace(
                photo,
                image=self.once(photo.image),
                classes=None if photo.classes is None else self.once(photo.classes),
            )
            for photo in photos
        ]

    def expected(self, photos: Sequence[ProbePhoto]) -> int:
        """Bytes that photos will take, about: as many as the first one each, and no more than may be kept."""
        if not photos:
            return 0
        first = photos[0]
        values = [first.image(), *([] if first.classes is None else [first.classes()])]
        return min(self._memory, len(photos) * sum(one.nbytes for one in values))

    def once(self, read: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
        """The same function, which is called once if there is room for what it gives."""
        self._count += 1
        return partial(self._value, self._count, read)

    def _value(self, number: int, read: Callable[[], np.ndarray]) -> np.ndarray:
        found = self._kept.get(number)
        if found is None:
            found = read()
            with self._lock:
                if number not in self._kept and found.nbytes <= self._left:
                    self._left -= found.nbytes
                    self._kept[number] = found
        return found


def side_by_side(function: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """What a function says of each item, in their order; worked out in as many threads as torch has, eight at most.

    What is random in the function has to follow from the item.
    """
    given = list(items)
    count = min(READERS, torch.get_num_threads())
    if count < 2 or len(given) < 2:
        return [function(item) for item in given]
    return list(_threads(count).map(function, given))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Threads of this process, in each of which torch's operations have one thread: else all would wait for cores."""
    pool = ThreadPoolExecutor(count, thread_name_prefix="samples")
    together, before = Barrier(count), torch.get_num_threads()

    def alone(_: int) -> None:
        torch.get_num_threads()  # takes over what was said last, which it would else do later
        torch.set_num_threads(1)
        together.wait()  # so that every thread does this once

    list(pool.map(alone, range(count)))
    torch.set_num_threads(before)  # threads that begin later take over what was said last
    return pool
