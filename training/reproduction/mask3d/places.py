"""Where everything of a reproduction lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.loop import PICTURES
from training.pretraining.mask3d.export import FILE
from training.reproduction.mask3d.plan import SETTINGS, Plan, Row
from training.rooms.writing import room_name

if TYPE_CHECKING:
    from training.rooms.reading import RoomScene
    from uplift.evaluation.store import FigureStore


TUNED = "tuned"  # the folder of fine-tunings, and of their figures among the others


@dataclass(frozen=True)
class Places:
    """The folder of a reproduction.

    Attributes:
        out: The folder.
        plan: What is made in it.
        camvid: Folder of CamVid; None = it is left out.
        digest: Of CamVid's files: figures of other photos are not mixed with those of it.
    """

    out: Path
    plan: Plan
    camvid: Path | None = None
    digest: str | None = None

    @property
    def settings(self) -> list[str]:
        """Names of the settings whose photos are there."""
        return [name for name, one in SETTINGS.items() if self.camvid is not None or not one.outside]

    def measured(self, row: Row) -> list[str]:
        """Names of the settings that a row is fine-tuned for."""
        return [name for name in self.settings if name in row.measured]

    def folders(self, split: str) -> list[Path]:
        """The folders of the rooms of the plan; others that lie beside them do not belong to it."""
        first, count = self.plan.parts(split)
        return [self.out / "photos" / split / room_name(split, first + i) for i in range(count)]

    def rooms(self, split: str) -> list[RoomScene]:
        """Rooms with all that is true of them.

        Raises:
            InputError: one is missing or damaged.
        """
        from training.rooms.reading import RoomScene

        return [RoomScene.open(folder) for folder in self.folders(split)]

    def pretraining(self, row: Row, seed: int) -> Path:
        """The folder of a pretraining."""
        return self.out / "pretrained" / row.name / f"seed-{seed}"

    def encoder(self, row: Row, seed: int) -> Path:
        """What a pretraining made."""
        return self.pretraining(row, seed) / FILE

    def picture(self, row: Row, seed: int) -> Path:
        """Kept colours, kept depth, what is told and what is true of photos, at the end of a pretraining of depth."""
        return self.pretraining(row, seed) / PICTURES / f"depth-{row.times * self.plan.steps:06d}.png"

    def tuning(self, row: Row, setting: str, seed: int) -> Path:
        """The folder of a fine-tuning."""
        return self.out / TUNED / row.name / setting / f"seed-{seed}"

    def store(self, row: Row | None = None, setting: str | None = None) -> FigureStore:
        """All figures.  They are kept apart from what is large, so that they can be read without it.

        Args:
            row: Of the figures that are asked for; None = of the photos.
            setting: What is fine-tuned for; None = figures of a pretraining.
        """
        from uplift.evaluation.store import FigureStore

        folder = self.out / "figures"
        of: dict[str, Any] = {} if row is None else {"row": row.identity()}
        advice = f"give another folder, or delete {self.out} to begin anew"
        if row is None:
            return FigureStore(folder, self.plan.photos_identity(), advice=advice)
        if setting is None:
            return FigureStore(folder, self.plan.pretraining_identity() | of, advice=advice)
        if SETTINGS[setting].outside:
            of["camvid"] = self.digest
        advice = f"give another folder, or delete {folder / TUNED} and {self.out / TUNED} to fine-tune again"
        return FigureStore(folder, self.plan.identity() | of, advice=advice)


def made(split: str, index: int) -> str:
    """The name of what making the photos of a room took, in the store."""
    return f"costs/photos/{split}/{index}"


def pretrained(row: Row, seed: int) -> str:
    """The name of the figures of a pretraining, in the store."""
    return f"pretrained/{row.name}/seed-{seed}"


def tuned(row: Row, setting: str, seed: int) -> str:
    """The name of the figures of a fine-tuning, in the store."""
    return f"{TUNED}/{row.name}/{setting}/seed-{seed}"
