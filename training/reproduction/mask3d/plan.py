"""What is trained, and at which size.

Nine pretrainings and 20 fine-tunings for each seed.
Time of one thread in bf16 beside another one on a processor of two threads, measured, in milliseconds:

===============================================  =====
a step of Mask3D, 16 frames of 72x96               140
of MAE                                             125
20 % of the colours and no depth                   110
20 % and 80 %, 50 % and 20 %, 50 % and 50 %        187
100 % and no depth                                 218
a step of a fine-tuning, 8 crops of 80x80          175
===============================================  =====

A seed's four pretrainings of main rows take 580 s, its five others of table 8 980 s, its fine-tunings 1580 s (one is
72 s, on CamVid 60 s, the one of as many steps as both 265 s): 9420 s of three seeds.  Making rooms and beginning jobs
is 700 s more: 10120 s, 84 minutes of two cores.  What is asked for apart (the other orders, other rates, colours told
too, four cells) is about 2350 s a seed: an hour more of two cores.

What is short teaches nothing: after 600 steps Mask3D's frozen features told classes no better than MAE's (a linear
head: 4.9 and 5.2 points of mIoU, one seed), after 1800 better (7.1 and 6.6).  A fine-tuning whose head is as slow as
its encoder (``head_gain`` 1) told little more than floors and walls after 250 steps, whatever came before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from render.errors import InputError
from training.pretraining.mask3d.settings import MAE, SHAPES, Masking, Numbers
from training.pretraining.segmentation import HEAD_GAIN, NEW_BLOCKS, NEW_WIDTH, TuningNumbers
from training.rooms.writing import VERSION, RoomFormat

ARCHITECTURE, BUILT = "plain-vit", "4 blocks of 192 channels, patches of 8 pixels"  # each patch is embedded by itself
SHAPE = replace(SHAPES["small"], width=NEW_WIDTH, blocks=NEW_BLOCKS)  # a network without pretraining has such a decoder
LEARN, TEST = "train", "test"  # splits of the rooms


@dataclass(frozen=True)
class Setting:
    """What networks are fine-tuned for.

    Attributes:
        title: In tables.
        share: Of the labelled photos that are learned from.
        outside: They show CamVid's streets, which no pretraining saw, instead of rooms.
    """

    title: str
    share: float = 1.0
    outside: bool = False


PHOTOS = ("rooms", "test_rooms", "first_room", "first_test_room", "views", "test_views", "width", "height")
"""What the photos of rooms depend on."""
TUNING = (
    "every",
    "tune_steps",
    "longer_steps",
    "tune_batch",
    "tune_rate",
    "tune_weight_decay",
    "head_gain",
    "side",
    "camvid_photos",
)
"""What no pretraining depends on."""
FEW, ALL, CAMVID = "rooms-20", "rooms-100", "camvid"
CELL_SEEDS = 3  # at most, of rows beside the main ones
LONGER = 1100  # steps of a fine-tuning, for as many of a pretraining, which take a fifth less time
SETTINGS: Mapping[str, Setting] = {
    FEW: Setting("unseen rooms (20 % of the labels)", 0.2),
    ALL: Setting("unseen rooms (all labels)"),
    CAMVID: Setting("CamVid", outside=True),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Sizes of a reproduction of Mask3D (Hou et al. 2023).

    As in the text the labelled photos are some of those of the pretraining (there every 100th and every 25th frame of
    ScanNet, sections 4.1 and 4.2), here one of each room: in the same steps 80 of them are seen 40 times and a fifth
    of them 200 times (the text: 80 times), so that labels are short, not steps alone; those that are measured show
    other rooms.  The text pretrains for 100 epochs on some hundred thousand frames, here it is 18 of 960; AdamW does
    in hundreds of steps what SGD needs many for.  All rows have the same rates: those that small networks have by
    default, none was searched for; a network from nothing is fine-tuned at others too.

    Attributes:
        rooms: To pretrain on, and to learn classes in.
        test_rooms: To measure in, of the split test.
        first_room: Number of the first room of the split train; bundled encoders have seen those below 1000.
        first_test_room: Number of the first test room.
        views: Photos of a room.
        test_views: Photos of a test room.
        every: Every so-many-th photo of a room has labels.
        width: Of a photo in pixels.
        height: Of a photo in pixels.
        size: Height and width of what a pretraining sees of a photo, in pixels: 108 patches, on average as large there
            as they are in the photo.
        steps: Of a pretraining.
        batch: Frames of a step.
        rate: Of AdamW.
        weight_decay: Of AdamW.
        tune_steps: Of a fine-tuning, with few labels and with all of them.
        longer_steps: More of a fine-tuning, as many as a pretraining has.
        tune_batch: Photos of a step.
        tune_rate: Of AdamW.
        tune_weight_decay: Of AdamW.
        head_gain: Of a fine-tuning's head, see :class:`TuningNumbers`.
        side: Pixels of the crops that are learned from, and of the shorter side of photos that are measured.
        camvid_photos: Of CamVid at most so many photos to learn from and so many to measure; None = all.

    Raises:
        InputError: a number is too small.
    """

    rooms: int = 80
    test_rooms: int = 40
    first_room: int = 1000
    first_test_room: int = 20
    views: int = 12
    test_views: int = 4
    every: int = 12
    width: int = 128
    height: int = 96
    size: tuple[int, int] = (72, 96)
    steps: int = 1100
    batch: int = 16
    rate: float = 1e-3
    weight_decay: float = 0.05
    tune_steps: int = 400
    longer_steps: int = LONGER
    tune_batch: int = 8
    tune_rate: float = 5e-4
    tune_weight_decay: float = 0.05
    head_gain: float = HEAD_GAIN
    side: int = 80
    camvid_photos: int | None = None

    def __post_init__(self) -> None:
        least = {"rooms": 1, "test_rooms": 2, "first_room": 0, "first_test_room": 0, "views": 1, "test_views": 1}
        least |= {"every": 1, "steps": 1, "tune_steps": 1, "longer_steps": 1, "tune_batch": 1, "batch": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"Expected {name.replace('_', ' ')} from {lowest}, found {getattr(self, name)}.")

    def form(self, split: str) -> RoomFormat:
        """What the folder of a room holds."""
        return RoomFormat(self.views if split == LEARN else self.test_views, self.width, self.height, "none")

    def parts(self, split: str) -> tuple[int, int]:
        """Number of the first room of a split, and how many there are."""
        return {LEARN: (self.first_room, self.rooms), TEST: (self.first_test_room, self.test_rooms)}[split]

    def shortened(self, factor: float) -> Plan:
        """The same with so many times the steps.

        Raises:
            InputError: the factor is not above 0.
        """
        if not factor > 0:
            raise InputError(f"Expected an effort above 0, found {factor:g}.")
        steps, tune_steps, longer_steps = (
            max(1, round(factor * one)) for one in (self.steps, self.tune_steps, self.longer_steps)
        )
        return replace(self, steps=steps, tune_steps=tune_steps, longer_steps=longer_steps)

    def numbers(self, row: Row, frames: int) -> Numbers:
        """How long a row is pretrained, on what and how fast."""
        steps = row.times * self.steps
        return Numbers(
            size=self.size,
            augment="crops",
            batch=self.batch,
            epochs=steps * self.batch / frames,
            rate=self.rate,
            weight_decay=self.weight_decay,
        )

    def tuning(self, row: Row, photos: int) -> TuningNumbers:
        """How a network is fine-tuned on so many photos; the steps do not depend on them."""
        steps = self.tune_steps + (self.longer_steps if row.longer else 0)
        return TuningNumbers(
            side=self.side,
            batch=self.tune_batch,
            epochs=steps * self.tune_batch / photos,
            rate=row.rate * self.tune_rate,
            weight_decay=self.tune_weight_decay,
            head_gain=self.head_gain,
        )

    @property
    def precision(self) -> str:
        """In which this machine trains, see :class:`Schedule`: figures of another precision are not mixed with its."""
        import torch

        from training.loop.processes import resolve_precision

        return resolve_precision("auto", torch.device("cpu"))

    def photos_identity(self) -> dict[str, Any]:
        """What the photos of rooms depend on: JSON values."""
        return {name: value for name, value in asdict(self).items() if name in PHOTOS} | {"room_version": VERSION}

    def pretraining_identity(self) -> dict[str, Any]:
        """What figures of pretrainings depend on: JSON values."""
        return {name: value for name, value in self.identity().items() if name not in TUNING}

    def identity(self) -> dict[str, Any]:
        """What figures of fine-tunings depend on: JSON values."""
        network = {"architecture": ARCHITECTURE, "shape": SHAPE.json(), "precision": self.precision}
        return {**asdict(self), **self.photos_identity(), **network}


@dataclass(frozen=True)
class Row:
    """How a network is pretrained before it is fine-tuned.

    Attributes:
        name: Of its files.
        title: In tables.
        masking: What it is shown and tells; None = it is not pretrained.
        after: It goes on from the encoder of this row, of the same seed; None = it begins from nothing.
        times: So many times the steps of the others.
        measured: Names of the settings that it is fine-tuned for.
        longer: Its fine-tuning has as many steps as a pretraining and a fine-tuning.
        rate: Of its fine-tuning, in parts of that of the others.
        most: So many seeds at most; None = all.
        text: mIoU of such a network in tables 8 and 10 of the text, in percent.
    """

    name: str
    title: str
    masking: Masking | None = None
    after: Row | None = None
    times: int = 1
    measured: tuple[str, ...] = (FEW, ALL, CAMVID)
    longer: bool = False
    rate: float = 1.0
    most: int | None = None
    text: float | None = None

    @property
    def depth(self) -> int:
        """How many pretrainings come before it."""
        return 0 if self.after is None else 1 + self.after.depth

    @property
    def visits(self) -> int:
        """Times the steps of a pretraining that the network had in the end."""
        own = 0 if self.masking is None else self.times
        return own + (0 if self.after is None else self.after.visits)

    def of(self, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds that it has."""
        return seeds[: self.most]

    def identity(self) -> dict[str, Any]:
        """What makes its figures others than those of another row: JSON values."""
        return {
            "masking": None if self.masking is None else self.masking.json(),
            "after": None if self.after is None else self.after.identity(),
            "times": self.times,
            "longer": self.longer,
            "rate": self.rate,
        }


SCRATCH = Row("scratch", "from nothing")
LONG = Row("scratch-long", "from nothing, fine-tuned for as many steps as both", measured=(ALL,), longer=True)
SLOW = Row("scratch-slow", "from nothing, 0.4 of the rate", measured=(ALL,), rate=0.4, most=CELL_SEEDS)
FAST = Row("scratch-fast", "from nothing, twice the rate", measured=(ALL,), rate=2.0, most=CELL_SEEDS)
OF_MAE = Row("mae", "MAE", MAE)
MASK3D = Row("mask3d", "Mask3D", Masking(), text=66.7)
MAE_MASK3D = Row("mae-mask3d", "MAE -> Mask3D", Masking(), OF_MAE)
MAE_MAE = Row("mae-mae", "MAE -> MAE", MAE, OF_MAE, measured=(FEW, ALL))
MASK3D_MASK3D = Row("mask3d-mask3d", "Mask3D -> Mask3D", Masking(), MASK3D, measured=(FEW, ALL), most=CELL_SEEDS)
BOTH = Row("both", "depth and colours", Masking(reconstruct="both"), measured=(FEW, ALL), most=CELL_SEEDS, text=65.6)
MASK3D_MAE = Row("mask3d-mae", "Mask3D -> MAE", MAE, MASK3D, measured=(FEW, ALL), most=CELL_SEEDS)


def cell(colour: int, depth: int, text: float) -> Row:
    """A row of table 8: percent of the colours and of the depth that are kept, and the text's mIoU."""
    masking = Masking(colour=colour / 100, depth=depth / 100)
    name, title = f"keep-{colour}-{depth}", f"{colour} % / {depth} %"
    return Row(name, title, masking, measured=(ALL,), most=CELL_SEEDS, text=text)


PURE = cell(100, 0, 64.6)
"""Depth is predicted from the whole photo (section 4.5)."""
CELLS = (cell(20, 0, 65.2), cell(20, 80, 65.5), cell(50, 20, 65.9), cell(50, 50, 64.7), PURE)
FURTHER_CELLS = (cell(80, 20, 64.8), cell(80, 50, 64.8), cell(100, 20, 64.8), cell(100, 100, 64.5))


def main_rows() -> list[Row]:
    """Tables 1, 7, 9 and 15, six cells of table 8, and what they are compared with at equal cost.

    MAE that goes on as it began has the steps of one after the other; a network without pretraining is also fine-tuned
    for the time that a pretraining takes.
    """
    return [SCRATCH, LONG, OF_MAE, MASK3D, MAE_MASK3D, MAE_MAE, *CELLS]


def further_rows() -> list[Row]:
    """The other orders of table 16, table 10, other rates of fine-tuning, and the other cells of table 8."""
    return [MASK3D_MASK3D, MASK3D_MAE, BOTH, SLOW, FAST, *FURTHER_CELLS]
