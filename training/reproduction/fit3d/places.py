"""Where everything of a reproduction lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from render.errors import InputError
from training.finetuning.export import FILE
from training.probing.photos import Task
from training.reproduction.fit3d.plan import Plan, Row, Tuning
from training.rooms.writing import room_name

if TYPE_CHECKING:
    from render.scene import Scene
    from training.rooms.reading import RoomScene
    from uplift.encoders.base import TrainableEncoder
    from uplift.evaluation.store import FigureStore

WEAK = "weak"
BASE = "tiny-dino"
WEIGHTS = f"{BASE}.safetensors"


@dataclass(frozen=True)
class Places:
    """The folder of a reproduction.

    Attributes:
        out: The folder.
        plan: What is made in it.
    """

    out: Path
    plan: Plan

    def rooms(self, split: str) -> Path:
        """The folder of the rooms of a split."""
        return self.out / "rooms" / split

    def room_folders(self, split: str) -> list[Path]:
        """The folders of the rooms of the plan, train or test; others that lie beside them do not belong to it."""
        plan = self.plan
        first, count = (plan.first_room, plan.rooms) if split == "train" else (plan.first_test_room, plan.test_rooms)
        return [self.rooms(split) / room_name(split, first + i) for i in range(count)]

    def room_scenes(self, split: str) -> list[RoomScene]:
        """The rooms of the plan.

        Raises:
            InputError: one is missing or damaged.
        """
        from training.rooms.reading import RoomScene

        return [RoomScene.open(folder) for folder in self.room_folders(split)]

    def scenes(self, of: str) -> list[Scene]:
        """The scenes of a tuning, see :class:`Tuning`.

        Raises:
            InputError: one is missing.
        """
        from render.scene import Scene

        folders = self.room_folders("train")
        if of != "rooms":
            folders = folders[: self.plan.learned_rooms]
        if of not in ("rooms", "few"):
            folders = [self.learned(int(of)) / "scenes" / folder.name for folder in folders]
        return [Scene.open(folder) for folder in folders]

    def learned(self, dimension: int) -> Path:
        """Where ``ns-train fit3d`` learns features of so many channels."""
        return self.out / "learned" / str(dimension)

    @property
    def weak(self) -> Path:
        """The folder of the weak encoder's training."""
        return self.out / "encoders" / WEAK

    def weights(self, encoder: str) -> Path | None:
        """The file of an encoder's weights; None = the bundled ones."""
        return self.weak / WEIGHTS if encoder == WEAK else None

    def encoder(self, name: str) -> TrainableEncoder:
        """An encoder of the plan: the bundled network, or the weak one.

        Raises:
            InputError: there is no such encoder, or the weak one is not made yet.
        """
        from uplift.encoders import load_encoder
        from uplift.encoders.finetuned import trainable

        if name == WEAK and not (self.weak / WEIGHTS).is_file():
            raise InputError(f"The weak encoder is not at {self.weak / WEIGHTS} yet; give the command again.")
        return trainable(load_encoder(BASE if name == WEAK else name, self.weights(name), "cpu"))

    def tuned(self, encoder: str, tuning: Tuning, seed: int) -> Path:
        """The folder of a fine-tuning."""
        return self.out / "tuned" / encoder / f"{tuning.name}-{seed}"

    def tuned_file(self, encoder: str, tuning: Tuning, seed: int) -> Path:
        """What a fine-tuning made."""
        return self.tuned(encoder, tuning, seed) / FILE

    def told(self, encoder: str, row: Row, task: Task) -> Path:
        """What the first seed's heads of a row said of the photos that are shown."""
        return self.out / "told" / encoder / f"{row.name}-{task}.npz"

    def store(self, tuning: Tuning | None = None, data: str | None = None) -> FigureStore:
        """All figures.  They are kept apart from what is large, so that they can be read without it.

        Args:
            tuning: Of the figures that are asked for, which may depend on more than others, see :meth:`Plan.identity`.
            data: Digest of photos that they are of; None = of rooms, which follow from the plan.
        """
        from uplift.evaluation.store import FigureStore

        folder, of = self.out / "figures", {} if data is None else {"data": data}
        advice = f"give another folder, or delete {folder} to measure again"
        return FigureStore(folder, self.plan.identity(tuning) | of, advice=advice)


def measured(encoder: str, data: str, row: Row, seed: int) -> str:
    """The name of the figures of a row, data and seed in the store."""
    return f"measured/{encoder}/{data}/{row.name}/{seed}"


def targets_made(encoder: str, tuning: Tuning) -> str:
    """The name of what making the targets of a fine-tuning took, in the store."""
    return f"costs/targets/{encoder}/{tuning.name}"


def tuned(encoder: str, tuning: Tuning, seed: int) -> str:
    """The name of the figures of a fine-tuning in the store."""
    return f"tuned/{encoder}/{tuning.name}/{seed}"
