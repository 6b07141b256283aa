"""What a training says: JSON lines, TensorBoard's files, and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from render.errors import InputError
from render.files import atomic_file

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray

LOG, TENSORBOARD, PICTURES = "log.jsonl", "tensorboard", "pictures"


class Means:
    """Means of what steps say, over all steps that say it.

    Attributes:
        values: Weighted sum and sum of weights by name.
    """

    def __init__(self, values: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.values = dict(values or {})

    def add(self, figures: Mapping[str, float], weight: float) -> None:
        """Remember the figures of a step, or of so much of one; what is not finite counts for nothing."""
        for name, value in figures.items():
            if math.isfinite(value):
                total, weights = self.values.get(name, (0.0, 0.0))
                self.values[name] = (total + weight * float(value), weights + weight)

    @classmethod
    def joined(cls, parts: Iterable[Mapping[str, tuple[float, float]]]) -> Means:
        """Those of several processes."""
        means = cls()
        for part in parts:
            for name, (total, weights) in part.items():
                before, weighed = means.values.get(name, (0.0, 0.0))
                means.values[name] = (before + total, weighed + weights)
        return means

    def take(self) -> dict[str, float]:
        """The means; what comes later counts anew."""
        means = {name: total / weights for name, (total, weights) in self.values.items()}
        self.values.clear()
        return means


class Log:
    """``log.jsonl``, TensorBoard's event files, and pictures as PNG files.

    Args:
        out: Folder of the training.
        done: Steps of the checkpoint that it goes on from: what was said of later ones is dropped.

    Raises:
        InputError: ``log.jsonl`` is not the log of a training.
    """

    def __init__(self, out: Path, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._out = out
        kept = _lines_until(out / LOG, done) if done else []
        with atomic_file(out / LOG) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))
        self._board = SummaryWriter(str(out / TENSORBOARD), purge_step=done + 1 if done else 0)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line, and a point of every curve."""
        line = {"step": step} | {name: float(f"{value:.5g}") for name, value in values.items()}
        with (self._out / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

    def draw(self, step: int, pictures: Mapping[str, UInt8[ndarray, "h w 3"]]) -> None:
        """Show pictures in TensorBoard and write ``pictures/NAME-STEP.png``."""
        from PIL import Image

        for name, picture in pictures.items():
            self._board.add_image(name, picture, step, dataformats="HWC")
            with atomic_file(self._out / PICTURES / f"{name}-{step:06d}.png") as temporary:
                Image.fromarray(picture).save(temporary)
        self._board.flush()

    def close(self) -> None:
        """Finish TensorBoard's file."""
        self._board.close()


def _lines_until(path: Path, done: int) -> list[str]:
    """The lines of a log up to a step; the last one may be half written."""
    lines = [line for line in path.read_text().splitlines() if line.strip()] if path.is_file() else []
    kept = []
    for number, line in enumerate(lines, 1):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise InputError(
                f"Line {number} of {path} is not of a training's log; delete the file, or choose another folder."
            ) from error
        if step <= done:
            kept.append(line)
    return kept
