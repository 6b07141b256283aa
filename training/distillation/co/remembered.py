"""Which pixels are seen of photo files that have not changed, so that these need not be opened to find out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import NamedTuple

FILE = "seen.jsonl"


class Known(NamedTuple):
    """What is known of a photo that is seen whole.

    Attributes:
        digest: Hash of the pixels.
        grid: The student's grid on them.
    """

    digest: str
    grid: tuple[int, int]


class Remembered:
    """What is known of photos by how they are seen, in a file to which processes add lines.

    A line is written at once and is short, so that lines of several processes do not mix; one that is damaged is
    passed over, and its photo opened again.
    """

    def __init__(self, folder: Path | None) -> None:
        """Read what is there.

        Args:
            folder: Of the file; None = nothing outlives this object.
        """
        self._path, self._lock = None if folder is None else folder / FILE, Lock()
        self._known: dict[str, Known] = {}
        if self._path is not None and self._path.is_file():
            for line in self._path.read_text(errors="replace").splitlines():
                try:
                    name, digest, rows, columns = json.loads(line)
                    self._known[str(name)] = Known(str(digest), (int(rows), int(columns)))
                except (ValueError, TypeError):
                    continue

    def get(self, view: str) -> Known | None:
        """What is known of a photo.

        Args:
            view: Tells the file, when it last changed, and how it is seen; "" = nothing is known of it.
        """
        return self._known.get(_name(view)) if view else None

    def add(self, found: Mapping[str, Known]) -> None:
        """Remember photos, by their views.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        new = {_name(view): known for view, known in found.items() if view}
        with self._lock:
            new = {name: known for name, known in new.items() if name not in self._known}
            self._known |= new
        if self._path is not None and new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                for name, known in new.items():
                    file.write(f"{json.dumps([name, known.digest, *known.grid])}\n".encode())


def _name(view: str) -> str:
    return hashlib.sha256(view.encode()).hexdigest()[:32]
