"""What teachers say of whole photos: computed once, and kept on disk for all trainings."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from training.distillation.co.remembered import Known, Remembered
from training.distillation.co.seeing import Seen, alike
from training.distillation.co.teachers import Teacher, full_precision, on_grid
from training.locking import try_to_lock
from uplift.encoders.base import Tokens
from uplift.field import HALF_MAX, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from jaxtyping import Float

KEPT_BYTES = 1 << 30  # that are kept in memory; the others are read whenever they are needed
TOGETHER = 8  # photos that a teacher sees at once
LOCKS = ".locks"  # folder of a teacher's locks: one for each first letter of a file's name
LOOK = 0.2  # seconds between tries of a lock
YOUNG = 60.0  # seconds: an unfinished file may still be written
UNSAFE = re.compile(r"[^\w.-]")  # what folders on some system may not be called

Reader = Callable[[Sequence[int]], list[Seen]]
"""What is seen of photos, by their numbers."""
View = Callable[[int], str]
"""Tells a photo's file, when it changed, and how it is seen; "" where that is not known."""


def _nobody(_: int) -> str:
    return ""


class Outputs:
    """What teachers say of photos on the student's grid, in half precision where that holds the values.

    Files are named by what is seen and by whom, so that trainings in one process or in several may share a folder.
    Each appears complete or not at all.
    """

    def __init__(self, folder: str | Path | None, *, keep: int = KEPT_BYTES) -> None:
        """Set up; nothing is computed yet.

        Args:
            folder: Of the files; None = what finds no room in memory is computed again.
            keep: Bytes that may be kept in memory.
        """
        self.folder, self.most = None if folder is None else Path(folder), keep
        self._kept: dict[str, Tokens] = {}
        self._left = keep
        self._remembered = Remembered(self.folder)

    def get(self, teacher: Teacher, seen: Seen, grid: tuple[int, int]) -> Tokens:
        """What a teacher says of a photo, before mirroring: patches ``[gh, gw, d]``, global ``[d]`` or None.

        On the CPU, float16, or float32 where values are beyond its range.

        Raises:
            InputError: values are not finite.
            OSError: the disk is full, or the folder cannot be written.
        """
        name = _name(teacher, seen.digest, grid)
        found = self._kept.get(name) or self._read(name)
        if found is None:  # nobody described it yet, or its file is gone or damaged
            (found,) = self._described(teacher, [seen], [name], grid)
        self._keep(name, found)
        return found

    def prepare(
        self,
        wanted: Sequence[tuple[Teacher, Sequence[int]]],
        read: Reader,
        nodes: Callable[[Seen], tuple[int, int]],
        *,
        view: View = _nobody,
        first: float = 0.0,
        what: str = "what teachers say",
        progress: Progress = silent,
    ) -> None:
        """Let teachers describe the photos of which there are no files yet, together with other processes.

        What is missing is cut into sixteen parts by the names of the files.  A process that works on one holds its
        lock, which ends with the process, and the others go on with other parts; so each photo is described once, by
        whoever comes first.

        Args:
            wanted: For each teacher, numbers of photos.
            read: Sees photos.
            nodes: The student's grid on what is seen.
            view: Of photos by their numbers: those whose files were read before are not opened to find out what there
                is of them.
            first: The part of the parts to begin with, from 0 to below 1; processes that start together differ.
            what: As progress calls it.
            progress: Told of every photo and teacher.

        Raises:
            InputError: values are not finite.
            OSError: the disk is full, or the folder cannot be written.
        """
        if self.folder is None:
            return
        missing = self._missing(wanted, self._found_out(wanted, read, nodes, view, what, progress))
        parts = [(teacher, part) for teacher, parts in missing for part in sorted(parts.items())]
        begin = int(first * len(parts))
        waiting = deque(parts[begin:] + parts[:begin])
        total, done, refused = sum(len(numbers) for _, (_, numbers) in parts), 0, 0
        while waiting:
            teacher, (letter, numbers) = waiting.popleft()
            with _lock_of(self.folder / _folder(teacher) / LOCKS / letter) as mine:
                if not mine:
                    waiting.append((teacher, (letter, numbers)))
                    refused += 1
                    if refused >= len(waiting):  # all are in other hands
                        progress(done, total, f"{what} (waiting for another process)")
                        time.sleep(LOOK)
                    continue
                refused = 0
                _clean(self.folder / _folder(teacher), letter)
                for start in range(0, len(numbers), TOGETHER):
                    some = numbers[start : start + TOGETHER]
                    self._describe(teacher, read(some), nodes)
                    done += len(some)
                    progress(done, total, what)

    def _found_out(
        self,
        wanted: Sequence[tuple[Teacher, Sequence[int]]],
        read: Reader,
        nodes: Callable[[Seen], tuple[int, int]],
        view: View,
        what: str,
        progress: Progress,
    ) -> dict[int, Known]:
        """What is seen of all photos; those that are not remembered are read."""
        everyone = sorted({number for _, numbers in wanted for number in numbers})
        views = {number: view(number) for number in everyone}
        found = {number: known for number in everyone if (known := self._remembered.get(views[number])) is not None}
        others = [number for number in everyone if number not in found]
        for start in range(0, len(others), TOGETHER):
            progress(start, len(others), f"{what} (looking for what is there)")
            some = others[start : start + TOGETHER]
            new = {number: Known(seen.digest, nodes(seen)) for number, seen in zip(some, read(some), strict=True)}
            self._remembered.add({views[number]: known for number, known in new.items()})
            found |= new
        return found

    def _missing(
        self, wanted: Sequence[tuple[Teacher, Sequence[int]]], known: Mapping[int, Known]
    ) -> list[tuple[Teacher, Mapping[str, list[int]]]]:
        """For each teacher the photos without a file, by the first letter of its name."""
        found: list[tuple[Teacher, Mapping[str, list[int]]]] = []
        for teacher, numbers in wanted:
            parts: dict[str, list[int]] = {}
            for number in numbers:
                digest, grid = known[number]
                if not self._is_there(_name(teacher, digest, grid)):
                    parts.setdefault(digest[0], []).append(number)
            if parts:
                found.append((teacher, parts))
        return found

    def _describe(self, teacher: Teacher, seen: Sequence[Seen], nodes: Callable[[Seen], tuple[int, int]]) -> None:
        """Describe photos of which there is still no file."""
        for rows in alike(seen):
            grid = nodes(seen[rows[0]])
            names = {row: _name(teacher, seen[row].digest, grid) for row in rows}
            some = [row for row in rows if not self._is_there(names[row])]
            if some:
                told = self._described(teacher, [seen[row] for row in some], [names[row] for row in some], grid)
                for row, one in zip(some, told, strict=True):
                    self._keep(names[row], one)

    @torch.no_grad()
    def _described(
        self, teacher: Teacher, seen: Sequence[Seen], names: Sequence[str], grid: tuple[int, int]
    ) -> list[Tokens]:
        """What a teacher says of photos of one size, written."""
        with full_precision():
            told = on_grid(teacher.describe(torch.stack([one.pixels for one in seen])), grid)
        found = []
        for index, name in enumerate(names):
            cls = None if told.cls is None else _stored(told.cls[index], teacher.name)
            found.append(Tokens(_stored(told.patches[index], teacher.name), cls))
            if self.folder is not None:
                tensors = {"patches": found[-1].patches, **({} if cls is None else {"whole": cls})}
                write_safetensors(self.folder / name, tensors, {"teacher": teacher.name})
        return found

    def _is_there(self, name: str) -> bool:
        return name in self._kept or (self.folder is not None and (self.folder / name).is_file())

    def _read(self, name: str) -> Tokens | None:
        """None where there is no whole file."""
        if self.folder is None:
            return None
        try:
            tensors, _ = read_safetensors(self.folder / name)
            return Tokens(tensors["patches"], tensors.get("whole"))
        except (InputError, KeyError):
            return None

    def _keep(self, name: str, tokens: Tokens) -> None:
        size = sum(one.nbytes for one in tokens if one is not None)
        if name not in self._kept and size <= self._left:
            self._left -= size
            self._kept[name] = tokens


def _clean(folder: Path, letter: str) -> None:
    """Delete what processes left that were killed while they wrote, of files that begin with a letter.

    Whoever holds the letter's lock is alone with them, but for a training that makes a damaged file again: what is
    younger than a minute may be its own.
    """
    for left in folder.glob(f".{letter}*"):
        with suppress(FileNotFoundError):
            if left.is_file() and time.time() - left.stat().st_mtime > YOUNG:
                left.unlink()


def _folder(teacher: Teacher) -> str:
    return f"{UNSAFE.sub('_', teacher.name)[-40:]}-{teacher.fingerprint[:16]}"


def _name(teacher: Teacher, digest: str, grid: tuple[int, int]) -> str:
    """Of a file, below the folder of all."""
    return f"{_folder(teacher)}/{digest[:32]}-{grid[0]}x{grid[1]}.safetensors"


@contextmanager
def _lock_of(path: Path) -> Iterator[bool]:
    """Whether the lock is this process's; it is given back in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        yield try_to_lock(file)


def _stored(values: Float[Tensor, " *s d"], name: str) -> Tensor:
    """Values in half precision where that holds them, on the CPU, with memory of their own."""
    largest = float(values.abs().amax())
    if not largest < torch.inf:
        raise InputError(f"What {name} says of a photo is not finite, found {largest:g}: it cannot teach.")
    return values.to("cpu", torch.float16 if largest <= HALF_MAX else torch.float32).clone(
        memory_format=torch.contiguous_format
    )
