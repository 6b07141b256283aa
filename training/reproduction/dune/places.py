"""Where everything of a reproduction lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.errors import InputError
from training.distillation.co.export import ENCODER
from training.reproduction.dune.plan import AGNOSTIC, CLOSE, LANGUAGE, SPECIALIST, Plan, Row
from training.rooms.writing import room_name

if TYPE_CHECKING:
    from training.rooms.reading import RoomScene
    from uplift.encoders.base import Encoder
    from uplift.evaluation.store import FigureStore

MEASURED = "measured"  # the folder of figures that are measured, among all figures
MADE = "made"  # what stands for the specialist's weights where the reproduction makes them
TRAINED = f"costs/teachers/{SPECIALIST}"  # the name of what training the specialist took, in the store


@dataclass(frozen=True)
class Places:
    """The folder of a reproduction.

    Attributes:
        out: The folder.
        plan: What is made in it.
        given: Weights of the specialist; None = the bundled ones, or those that are made where none are bundled.
        made_in: The precision that figures were made in, where they are only read; None = what this machine trains in.
    """

    out: Path
    plan: Plan
    given: Path | None = None
    made_in: str | None = None

    @property
    def precision(self) -> str:
        """In which is trained, see :class:`Schedule`: figures of another precision are not mixed with its."""
        import torch

        from training.loop.processes import resolve_precision

        return self.made_in or resolve_precision("auto", torch.device("cpu"))

    def as_made(self) -> Places:
        """The same with the precision that figures which are there were made in, if any are."""
        from uplift.evaluation.store import FIGURES

        file = self.figures / described(AGNOSTIC) / FIGURES
        try:
            found = json.loads(file.read_text(encoding="utf-8"))["settings"]["precision"]
        except (OSError, ValueError, KeyError, TypeError):
            return self  # what is wrong with it is said by whoever reads it whole
        return replace(self, made_in=str(found))

    def photos(self, name: str) -> Path:
        """The folder of photos of the plan: a folder for each room."""
        return self.out / "photos" / name

    def folders(self, name: str) -> list[Path]:
        """The folders of the rooms of the plan; others that lie beside them do not belong to it."""
        split, first, count = self.plan.rooms[name]
        return [self.photos(name) / room_name(split, first + i) for i in range(count)]

    def rooms(self, name: str) -> list[RoomScene]:
        """Rooms with all that is true of them.

        Raises:
            InputError: one is missing or damaged, or the photos are loose.
        """
        from training.rooms.reading import RoomScene

        if name == CLOSE:
            raise InputError("Of close-ups nothing is known but the photos themselves.")
        return [RoomScene.open(folder) for folder in self.folders(name)]

    @property
    def specialist(self) -> Path:
        """The folder of the specialist's training."""
        return self.out / "teachers" / SPECIALIST

    @property
    def outputs(self) -> Path:
        """What teachers say of photos."""
        return self.out / "outputs"

    @property
    def is_specialist_made(self) -> bool:
        """Whether the specialist is neither given nor bundled."""
        from uplift.encoders.tiny import tiny_file

        if self.given is not None:
            return False
        try:
            tiny_file(SPECIALIST)
        except InputError:
            return True
        return False

    def weights(self, teacher: str) -> Path | None:
        """The file of a teacher's weights; None = the bundled ones."""
        if teacher != SPECIALIST:
            return None
        return self.specialist / f"{SPECIALIST}.safetensors" if self.is_specialist_made else self.given

    def teacher(self, name: str) -> Encoder:
        """A teacher.

        Raises:
            InputError: its weights are not there, or are of another network.
        """
        from uplift.encoders import load_encoder

        file = self.weights(name)
        if file is not None and not file.is_file():
            raise InputError(f"The weights of {name} are not at {file} yet; give the command again.")
        return load_encoder(name, file, "cpu")

    def student(self, row: Row, seed: int) -> Path:
        """The folder of a distillation."""
        return self.out / "students" / row.name / str(seed)

    def student_file(self, row: Row, seed: int) -> Path:
        """What a distillation made."""
        return self.student(row, seed) / ENCODER

    def panels(self, row: Row, seed: int) -> Path:
        """Photos beside the colours of features, see :func:`distil`."""
        return self.out / "panels" / row.name / f"{seed}.npz"

    def store(self, row: Row | None = None) -> FigureStore:
        """Figures of what is made: photos, teachers, students.  They are kept apart from what is large, so that they
        can be read without it.

        Args:
            row: The student whose figures are asked for; None = what comes before any.
        """
        # What an interrupted training left beside the figures is of the other settings too.
        folders = "figures, students and teachers"
        return self._store(
            row, self.plan.trained_identity(), f"give another folder, or delete {folders} in {self.out} to begin anew"
        )

    def scores(self, row: Row | None = None) -> FigureStore:
        """Figures of what is measured, which may be measured in another way without any training.

        Args:
            row: The student whose figures are asked for; None = of teachers.
        """
        folder = self.figures / MEASURED
        return self._store(
            row, self.plan.identity(), f"give another folder, or delete {folder}: students are not trained again"
        )

    @property
    def figures(self) -> Path:
        """The folder of all figures."""
        return self.out / "figures"

    def _store(self, row: Row | None, settings: Mapping[str, Any], advice: str) -> FigureStore:
        from uplift.evaluation.store import FigureStore

        of: dict[str, Any] = {} if row is None else {"row": row.identity()}
        of |= {"precision": self.precision, "teachers": self.teacher_identity()}
        return FigureStore(self.figures, {**settings, **of}, advice=advice)

    def teacher_identity(self) -> dict[str, str]:
        """Digests of the teachers' weights."""
        from uplift.encoders.tiny import tiny_file

        digests = {name: _digest(tiny_file(name)) for name in (AGNOSTIC, LANGUAGE)}
        digests[SPECIALIST] = MADE if self.is_specialist_made else _digest(self.given or tiny_file(SPECIALIST))
        return digests


def made(name: str, first: int) -> str:
    """The name of what making photos of some rooms took, in the store."""
    return f"costs/photos/{name}/{first}"


def described(teacher: str) -> str:
    """The name of what describing all photos took, in the store."""
    return f"costs/outputs/{teacher}"


def distilled(row: Row, seed: int) -> str:
    """The name of the figures of a distillation, in the store."""
    return f"distilled/{row.name}/{seed}"


def measured(who: str, seed: int) -> str:
    """The name of the figures of a student or a teacher, in the store."""
    return f"{MEASURED}/{who}/{seed}"


@cache
def _digest(file: Path) -> str:
    from uplift.evaluation.store import files_digest

    return files_digest([file])
