"""Figures on disk, so that an evaluation goes on where it stopped; masks and heat maps as pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from render.errors import InputError
from render.files import atomic_file

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FIGURES = "figures.json"
OVERWRITE = "choose another folder for the results, or pass --overwrite"


class FigureStore:
    """A folder of results: ``TASK/figures.json`` for every finished task, ``figures.json`` for all.

    Args:
        folder: The folder; it is made.
        settings: JSON values that the figures depend on; figures of others are not mixed with them.
        overwrite: Whether what is there is computed again.
        inputs: JSON values that the figures of one task depend on beside the settings, by task: digests of files.
        advice: What to do about figures that cannot be used, for messages.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        inputs: Mapping[str, Mapping[str, Any]] | None = None,
        advice: str = OVERWRITE,
    ) -> None:
        self.folder = Path(folder)
        self._settings = json.loads(_dumps(dict(settings)))
        self._inputs = json.loads(_dumps(dict(inputs or {})))
        self._overwrite, self._advice = overwrite, advice

    def path(self, task: str) -> Path:
        """The folder of one task."""
        return self.folder / task

    def check(self, tasks: list[str]) -> None:
        """Read what is there, before any work is done.

        Raises:
            InputError: as :meth:`get`.
        """
        for task in tasks:
            self.get(task)

    def get(self, task: str) -> dict[str, Any] | None:
        """The figures of a finished task; None if it is still to do.

        Raises:
            InputError: they were made with other settings, or are damaged.
        """
        file = self.path(task) / FIGURES
        if self._overwrite or not file.is_file():
            return None
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            settings, figures = stored["settings"], stored["figures"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise InputError(f"{file} is damaged ({error}); {self._advice}.") from error
        wanted = self._settings_of(task)
        if settings != wanted:
            differing = sorted(key for key in {*settings, *wanted} if settings.get(key) != wanted.get(key))
            raise InputError(f"{file} was made with other settings ({', '.join(differing)}); {self._advice}.")
        result: dict[str, Any] = figures
        return result

    def put(self, task: str, figures: Mapping[str, Any]) -> None:
        """Write the figures of a task, all at once."""
        self._write(self.path(task) / FIGURES, figures, self._settings_of(task))

    def finish(self, figures: Mapping[str, Any]) -> Path:
        """Write the figures of all tasks; the file."""
        path = self.folder / FIGURES
        self._write(path, figures, self._settings)
        return path

    def _settings_of(self, task: str) -> dict[str, Any]:
        return {**self._settings, **self._inputs.get(task, {})}

    def _write(self, path: Path, figures: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        with atomic_file(path) as temporary:
            content = {"settings": dict(settings), "figures": dict(figures)}
            temporary.write_text(_dumps(content) + "\n", encoding="utf-8")


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of the names and the bytes of files, in this order.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; check that it is a file.") from error
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def plain_name(name: str) -> str:
    """A name as part of a file's: spaces and signs that file systems do not take become hyphens."""
    kept = "".join(c if c.isalnum() or c in "._" else "-" for c in name.strip())
    return "-".join(part for part in kept.split("-") if part) or "unnamed"


def save_mask(path: str | Path, mask: Bool[np.ndarray, "h w"]) -> None:
    """Write a mask as PNG, 255 inside."""
    _save(path, mask.astype(np.uint8) * 255)


def save_heat(path: str | Path, scores: Float[np.ndarray, "h w"], threshold: float) -> None:
    """Write scores as PNG colours (turbo): 0 is dark blue, the threshold is green, twice the threshold dark red."""
    import cv2

    levels = np.clip(scores / (2 * max(threshold, 1e-12)), 0, 1)
    _save(path, cv2.applyColorMap((levels * 255 + 0.5).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1])


def _save(path: str | Path, image: np.ndarray) -> None:
    from PIL import Image

    with atomic_file(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, optimize=True)


def _dumps(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False)
