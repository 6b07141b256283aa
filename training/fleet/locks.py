"""One at a time works on a scene: a lock that commands hold too, so that it outlives a worker that was killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from render.errors import InputError
from training.fleet.commands import Stopped
from training.locking import try_to_lock

LOOK = 0.1  # seconds between tries
PATIENCE = 120.0  # seconds: a keeper ends its command within 5, a file server forgets a machine that is gone within 90


@contextmanager
def locked(path: Path, stop: threading.Event | None = None, patience: float = PATIENCE) -> Iterator[int]:
    """Hold a file's exclusive lock; wait until who holds it lets go.  File systems without locks guard nothing.

    Yields:
        The file's descriptor.  A process that inherits it holds the lock as well, until it ends.

    Args:
        path: The file; it is made and stays, since a file that is removed could be locked twice.
        stop: Set by another thread to wait no longer.
        patience: Seconds to wait at most.

    Raises:
        Stopped: ``stop`` was set before the lock was there.
        InputError: somebody else holds it for longer.
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    with path.open("a") as file:
        while True:
            if stop is not None and stop.is_set():
                raise Stopped
            if try_to_lock(file):
                break
            if time.monotonic() > until:
                raise InputError(
                    f"Another fit3d command works on this scene ({path} is locked); let it finish, and give this "
                    "one again."
                )
            time.sleep(LOOK)
        yield file.fileno()
