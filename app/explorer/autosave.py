"""A session's document kept on disk after edits, in ``SCENE/session/autosave.npz``: a crash loses little."""

from __future__ import annotations

import logging
import threading
import time

from app.explorer.document import Document
from app.explorer.packing import Packer, load_document
from app.scenes import fingerprint
from render.errors import InputError
from render.scene import Scene

log = logging.getLogger(__name__)

FOLDER, NAME = "session", "autosave.npz"
QUIET = 0.5  # seconds without an edit after which the document is written,
LATEST = 5.0  # and how long a busy person can put that off


class Autosave:
    """Writes the latest document in a thread of its own, some time after it changed.

    Args:
        scene: The scene, in whose folder it is kept.
        quiet: Seconds without an edit after which it is written.
        latest: Seconds after an edit when it is written in any case.
    """

    def __init__(self, scene: Scene, *, quiet: float = QUIET, latest: float = LATEST) -> None:
        self.path = scene.path / FOLDER / NAME
        self._gaussians = fingerprint(scene.gaussians)
        self._n = len(scene.gaussians)
        self._quiet, self._latest = quiet, latest
        self._pending: Document | None = None
        self._writing = False
        self._first = self._last = 0.0  # when the oldest and the newest unwritten edit were made
        self._closed = self._warned = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._packer = Packer()

    def read(self) -> Document | None:
        """The document that an earlier session left; None if there is none.

        A damaged file, and one that belongs to other Gaussians, is set aside with a warning.
        """
        if not self.path.is_file():
            return None
        try:
            return load_document(self.path, self._n, self._gaussians)
        except InputError as error:
            self._set_aside(str(error))
            return None

    def changed(self, document: Document) -> None:
        """Have a document written soon; returns at once."""
        now = time.monotonic()
        with self._wake:
            if self._closed:
                return
            if self._pending is None:
                self._first = now
            self._pending, self._last = document, now
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="autosave", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def flush(self) -> None:
        """Write what is not written yet, now, and wait for it."""
        with self._wake:
            self._last = self._first = -self._latest
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._pending is None and not self._writing)

    def close(self) -> None:
        """Write what is not written yet, and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while True:
            document = self._next()
            if document is None:
                return
            try:
                self._write(document)
            finally:
                with self._wake:
                    self._writing = False
                    self._wake.notify_all()

    def _next(self) -> Document | None:
        """Wait until a document is due; None at the end."""
        with self._wake:
            while True:
                if self._pending is None:
                    if self._closed:
                        return None
                    self._wake.wait()
                    continue
                left = min(self._last + self._quiet, self._first + self._latest) - time.monotonic()
                if left <= 0 or self._closed:
                    document, self._pending, self._writing = self._pending, None, True
                    return document
                self._wake.wait(left)

    def _write(self, document: Document) -> None:
        """Write a document; a folder that cannot be written is told of once, and work goes on."""
        try:
            self._packer.save(self.path, document, self._gaussians)
        except (OSError, InputError, MemoryError) as error:
            if not self._warned:
                why = str(error) or type(error).__name__
                log.warning("The session cannot be kept in %s (%s); save selections by hand.", self.path, why)
            self._warned = True
        else:
            self._warned = False

    def _set_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.stem}-set-aside{self.path.suffix}")
        try:
            self.path.replace(aside)
        except OSError as error:
            log.warning("The kept session is not used (%s), and cannot be set aside: %s", why, error)
        else:
            log.warning("The kept session is not used (%s); it lies now at %s.", why, aside)
