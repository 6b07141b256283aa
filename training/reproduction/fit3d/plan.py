"""What is measured, and at which size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from render.errors import InputError
from training.finetuning.targets import TargetKind
from training.finetuning.task import Refresh
from training.probing.photos import Task
from training.rooms.writing import RoomFormat
from uplift.encoders.finetuned import Assembly

LEARNED = ("learned_rooms", "learned_steps")  # of the plan: what the ablations with learned features depend on alone
Kind: TypeAlias = Literal["original", "twice", "lifted", "tuned"]
"""Which features stand beside the original's: none, itself, itself lifted and rendered, what fine-tuning made of it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of a reproduction of FiT3D (Yue et al. 2024).

    The paper trains one epoch over 140 000 photos with the rate 1e-5 in batches of 2: 70 000 steps.  What a network
    learns depends on the rate times the steps; three epochs over 1200 photos in batches of 8 are 450 steps, so the rate
    is 1e-3, and falls along half a cosine.  Lifted targets are made again of what every epoch finds: of those of the
    original network, so few steps learn less.  Everything else of the fine-tuning is the paper's: AdamW with weight
    decay 1e-4, mirrored photos.

    Attributes:
        rooms: To fine-tune on and to learn probes from; the paper has 230 scenes.
        first_room: Number of the first; the bundled encoders have seen rooms of the split train below 1000 alone.
        test_rooms: To measure on, of the split test; the paper has 50.
        first_test_room: Number of the first.
        validation_rooms: That the weak encoder's training is watched on.
        views: Photos of a room.
        width: Of a photo in pixels.
        height: Of a photo in pixels.
        gaussians: Of a room, about.
        weak_steps: Of the weak encoder's pretraining; about six minutes on one core.
        epochs: Of a fine-tuning; the paper's 1.
        batch: Photos of a step; the paper's 2.
        rate: Of AdamW; the paper's 1e-5.
        weight_decay: Of AdamW; the paper's.
        decay: Whether the rate stays, as in the paper, or falls.
        probe_steps: Of fitting a head; the paper's 40 000.
        probe_batch: Patches of a step.
        learned_rooms: Of the first rooms, in which ``ns-train fit3d`` learns features.
        learned_steps: Of ``ns-train fit3d``; the paper's 30 000.

    Raises:
        InputError: a number is too small.
    """

    rooms: int = 120
    first_room: int = 1000
    test_rooms: int = 20
    first_test_room: int = 20
    validation_rooms: int = 4
    views: int = 10
    width: int = 160
    height: int = 120
    gaussians: int = 24_000
    weak_steps: int = 300
    epochs: int = 3
    batch: int = 8
    rate: float = 1e-3
    weight_decay: float = 1e-4
    decay: Literal["constant", "cosine"] = "cosine"
    probe_steps: int = 600
    probe_batch: int = 4096
    learned_rooms: int = 12
    learned_steps: int = 2200

    def __post_init__(self) -> None:
        least = {"rooms": 1, "test_rooms": 2, "validation_rooms": 1, "views": 2, "weak_steps": 1, "epochs": 1}
        least |= {"batch": 1, "probe_steps": 1, "probe_batch": 2, "learned_rooms": 1, "learned_steps": 1}
        least |= {"first_room": 0, "first_test_room": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"Expected {name.replace('_', ' ')} from {lowest}, found {getattr(self, name)}.")
        if not self.rate > 0:
            raise InputError(f"Expected a rate above 0, found {self.rate:g}.")

    @property
    def form(self) -> RoomFormat:
        """What the folder of a room holds."""
        return RoomFormat(self.views, self.width, self.height, "sampled", self.gaussians)

    @property
    def learned_epochs(self) -> int:
        """Epochs over the rooms with learned features: as many steps as one epoch, the paper's, over all rooms."""
        return max(1, round(self.rooms / min(self.rooms, self.learned_rooms)))

    @property
    def precision(self) -> str:
        """In which this machine trains, see :class:`Schedule`: figures of another precision are not mixed with its."""
        import torch

        from training.loop.processes import resolve_precision

        return resolve_precision("auto", torch.device("cpu"))

    def identity(self, tuning: Tuning | None = None) -> dict[str, Any]:
        """What figures depend on: JSON values.

        Args:
            tuning: Of the figures, if they are of one.  Settings of ``ns-train fit3d`` are left out for those that do
                not depend on them: they may change, and such figures stay.
        """
        scenes = "rooms" if tuning is None else tuning.scenes
        left_out = {"rooms": LEARNED, "few": LEARNED[1:]}.get(scenes, ())
        found = {name: value for name, value in asdict(self).items() if name not in left_out}
        found |= {} if tuning is None else {"tuning": {**asdict(tuning), "name": None}}
        return {**found, "precision": self.precision}


@dataclass(frozen=True)
class Tuning:
    """One way of fine-tuning.

    Attributes:
        name: Of its folder.
        targets: What is learned.
        epochs: Over the scenes.
        refresh: Whether targets are the original network's throughout, as in the paper, or made again every epoch.
        adapter: Freeze the network and train an adapter on top of it.
        scenes: ``rooms``: all that are trained on; ``few``: the first of them alone; or a number, the dimension of the
            features that ``ns-train fit3d`` learned in scenes that it fitted.
    """

    name: str
    targets: TargetKind
    epochs: int
    refresh: Refresh = "once"
    adapter: bool = False
    scenes: str = "rooms"


@dataclass(frozen=True)
class Row:
    """A row of a table: features that heads are fitted on.

    Attributes:
        name: Of its files.
        title: In tables.
        kind: What stands beside the original's features.
        tuning: What made them, of the kind ``tuned``.
        assembly: How both become one, of the kind ``tuned``.
        tasks: That heads are fitted for.
    """

    name: str
    title: str
    kind: Kind
    tuning: Tuning | None = None
    assembly: Assembly = "concatenated"
    tasks: tuple[Task, ...] = ("segmentation", "depth")


def main_rows(plan: Plan) -> list[Row]:
    """The rows of the main table."""
    tuned = Tuning("lifted", "lifted", plan.epochs, "every-epoch")
    # Blurred once: what is blurred again and again loses all contrast, and would be a control that is easy to beat.
    blurred = Tuning("blurred", "blurred", plan.epochs)
    return [
        Row("original", "original", "original"),
        Row("twice", "original twice", "twice"),
        Row("fine-tuned", "original + fine-tuned", "tuned", tuned),
        Row("blurred", "original + fine-tuned on blurred targets", "tuned", blurred),
        Row("lifted", "original + rendered lifted features", "lifted"),
    ]
