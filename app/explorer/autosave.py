"""A session's document kept on disk after edits, in ``SCENE/session/autosave.npz``: a crash loses little."""

from __future__ import annotations

import logging
import threading
import time
from itertools import count
from pathlib import Path
from typing import BinaryIO

from app.explorer.document import Document
from app.explorer.packing import Packer, load_document
from app.scenes import fingerprint
from render.errors import InputError
from render.scene import Scene
from training.locking import try_to_lock

log = logging.getLogger(__name__)

FOLDER, NAME, LOCK = "session", "autosave.npz", "autosave.lock"
QUIET = 0.5  # seconds without an edit after which the document is written,
LATEST = 5.0  # and how long a busy person can put that off


class Autosave:
    """Writes the latest document in a thread of its own, some time after it changed.

    While another one, of this process or another, keeps the same scene's, it says so and does nothing.

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
        self._flushing = 0  # how many wait for it
        self._first = self._last = 0.0  # when the oldest and the newest unwritten edit were made
        self._closed = self._warned = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._packer = Packer()
        self._lock, self.elsewhere = _locked(self.path.with_name(LOCK))
        """Whether another one keeps the scene's, so that this one does nothing."""
        self.begun_anew: str | None = None
        """Why what an earlier session left is not used and where it lies now, in sentences; None if it is used."""
        if self.elsewhere:
            self._closed = True
            log.warning(
                "Another explorer has %s open and keeps its work there; what is done here is not kept, so save "
                "selections by hand.",
                scene.path,
            )

    def read(self) -> Document | None:
        """The document that an earlier session left; None if there is none, or another session keeps its own there.

        A damaged file, and one that belongs to other Gaussians, is set aside with a warning, and never written over.
        """
        if self._closed or not self.path.is_file():
            return None
        try:
            return load_document(self.path, self._n, self._gaussians)
        except InputError as error:
            self.begun_anew = f"{error} {self._set_aside()}"
            log.warning("%s", self.begun_anew)
            log.debug("Why the kept session is not used", exc_info=error)
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
                self._start()
            self._wake.notify_all()

    def flush(self) -> None:
        """Write what is not written yet, now, and wait for it."""
        with self._wake:
            self._flushing += 1
            self._wake.notify_all()
            try:
                self._wake.wait_for(lambda: self._thread is None or (self._pending is None and not self._writing))
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """Write what is not written yet, end the thread, and let others keep theirs."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        while (thread := self._thread) is not None:  # one that failed may have left its work to another
            thread.join()
        if self._lock is not None:
            self._lock.close()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="autosave", daemon=True)
        thread.start()
        self._thread = thread

    def _work(self) -> None:
        try:
            while (document := self._next()) is not None:
                self._write(document)
                with self._wake:
                    self._writing = False
                    self._wake.notify_all()
        finally:
            # A failure that nobody foresaw is shown by Python; what comes later is written all the same.
            with self._wake:
                self._thread, self._writing = None, False
                self._wake.notify_all()
                if self._pending is not None:
                    self._start()

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
                if left <= 0 or self._closed or self._flushing:
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

    def _set_aside(self) -> str:
        """Rename what cannot be used; says what became of it."""
        stem, suffix = f"{self.path.stem}-set-aside", self.path.suffix
        aside, numbers = self.path.with_name(stem + suffix), count(2)
        while aside.exists():
            aside = self.path.with_name(f"{stem}-{next(numbers)}{suffix}")
        try:
            self.path.replace(aside)
        except OSError as error:
            self._closed = True  # rather than to write over it
            why = error.strerror or "the disk reports an error"
            return f"It cannot be set aside ({why}), so what is done now is not kept; save selections by hand."
        return f"The session began anew; what was kept lies at {aside}."


def _locked(path: Path) -> tuple[BinaryIO | None, bool]:
    """Lock a file until it is closed or the process ends, and whether somebody else has locked it.

    Where the folder cannot be written, or its file system knows no locks, work goes on without one.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("ab")
    except OSError:
        return None, False
    try:
        mine = try_to_lock(file)
    except OSError:
        file.close()
        return None, False
    if not mine:
        file.close()
        return None, True
    return file, False
