"""What teachers say of whole photos: computed once, and kept on disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from training.distillation.co.teachers import Teacher, on_grid
from uplift.encoders.base import Tokens
from uplift.field import HALF_MAX, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from jaxtyping import UInt8

KEPT_BYTES = 2 << 30  # that are kept in memory; the others are read whenever they are needed
UNSAFE = re.compile(r"[^\w.-]")  # what folders on some system may not be called


class Outputs:
    """What teachers say of photos on the student's grid, in half precision.

    Files are named by what is seen and by whom, so that several trainings and several processes may share a folder.
    """

    def __init__(self, folder: str | Path, teachers: Sequence[Teacher], *, keep: int = KEPT_BYTES) -> None:
        """Set up; nothing is computed yet.

        Args:
            folder: Of the files.
            teachers: Who says it.
            keep: Bytes that may be kept in memory.
        """
        self._teachers = list(teachers)
        self._folders = [
            Path(folder) / f"{UNSAFE.sub('_', one.name)[-40:]}-{one.fingerprint()[:16]}" for one in teachers
        ]
        self._kept: dict[Path, Tokens] = {}
        self._left = keep

    def prepare(self, teacher: int, pixels: UInt8[Tensor, "b 3 h w"], grid: tuple[int, int]) -> None:
        """Compute what a teacher says of photos of one size, unless all of it is there.

        Raises:
            InputError: values do not fit half precision.
            OSError: the disk is full, or the folder cannot be written.
        """
        paths = [self._path(teacher, one, grid) for one in pixels]
        if all(self._found(path) is not None for path in paths):
            return
        told = on_grid(self._teachers[teacher].describe(pixels), grid)
        for index, path in enumerate(paths):
            one = Tokens(told.patches[index], None if told.cls is None else told.cls[index])
            self._keep(path, self._write(path, one, self._teachers[teacher].name))

    def get(self, teacher: int, pixels: UInt8[Tensor, "3 h w"], grid: tuple[int, int]) -> Tokens:
        """What a teacher says of a photo: patches ``[gh, gw, d]``, global ``[d]`` or None; float16 on the CPU.

        Raises:
            InputError: see :meth:`prepare`.
            OSError: see :meth:`prepare`.
        """
        path = self._path(teacher, pixels, grid)
        found = self._found(path)
        if found is None:  # the folder was emptied meanwhile
            self.prepare(teacher, pixels[None], grid)
            found = self._found(path)
        if found is None:
            raise OSError(f"{path} was written and cannot be read; see whether the disk is full.")
        return found

    def _path(self, teacher: int, pixels: UInt8[Tensor, "3 h w"], grid: tuple[int, int]) -> Path:
        digest = hashlib.sha256(f"{list(pixels.shape)} {grid}".encode())
        digest.update(pixels.contiguous().numpy().data)
        return self._folders[teacher] / f"{digest.hexdigest()[:32]}.safetensors"

    def _found(self, path: Path) -> Tokens | None:
        """Kept or read; None where there is no whole file."""
        kept = self._kept.get(path)
        if kept is not None:
            return kept
        try:
            tensors, _ = read_safetensors(path)
            found = Tokens(tensors["patches"], tensors.get("whole"))
        except (InputError, KeyError):
            return None
        self._keep(path, found)
        return found

    def _keep(self, path: Path, tokens: Tokens) -> None:
        size = sum(one.nbytes for one in tokens if one is not None)
        if path not in self._kept and size <= self._left:
            self._left -= size
            self._kept[path] = tokens

    @staticmethod
    def _write(path: Path, tokens: Tokens, name: str) -> Tokens:
        largest = max(float(one.abs().amax()) for one in tokens if one is not None)
        if not largest <= HALF_MAX:
            raise InputError(
                f"What {name} says must be finite and at most {HALF_MAX:.0f} (half precision) to be kept, found "
                f"{largest:g}; choose --augment crops, which keeps nothing."
            )
        halved = Tokens(*(None if one is None else one.to("cpu", torch.float16).contiguous() for one in tokens))
        tensors = {"patches": halved.patches, **({} if halved.cls is None else {"whole": halved.cls})}
        write_safetensors(path, tensors, {"teacher": name})
        return halved
