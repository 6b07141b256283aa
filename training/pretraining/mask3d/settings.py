"""Numbers of masked pretrainings: those of the text, and those for small networks and few frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from render.errors import InputError
from training.loop import Schedule
from training.loop.schedule import Precision

Scale: TypeAlias = Literal["small", "paper"]
"""Numbers for a processor and some thousand frames; or those of section 4.1."""
Reconstruct: TypeAlias = Literal["depth", "colour", "both"]
"""What is told of all patches: depth (Mask3D), colours (MAE), or both (table 10, and "+" in table 16)."""
LossOn: TypeAlias = Literal["all", "hidden"]
"""All patches, or those alone of which the network was not shown what it is to tell."""
Normalize: TypeAlias = Literal["both", "target", "none"]
"""Prediction and target by the mean and deviation of their patch (Mask3D), the target alone (MAE), or neither."""
Augment: TypeAlias = Literal["crops", "flips", "none"]
"""Parts of frames, mirrored half of the time; whole frames, mirrored; or whole frames."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What a network is shown and what it is to tell.

    Attributes:
        colour: Part of the patches whose colours are kept.
        depth: Part of the patches whose depth is kept, at other places as long as there are enough.
        reconstruct: See :data:`Reconstruct`.
        loss_on: See :data:`LossOn`.
        normalize: See :data:`Normalize`.

    Raises:
        InputError: a part is not from 0 to 1, or nothing is kept.
    """

    colour: float = 0.2
    depth: float = 0.2
    reconstruct: Reconstruct = "depth"
    loss_on: LossOn = "all"
    normalize: Normalize = "both"

    def __post_init__(self) -> None:
        if not (0 <= self.colour <= 1 and 0 <= self.depth <= 1) or self.colour + self.depth == 0:
            raise InputError(
                "Expected parts of kept colours and depth from 0 to 1, not both 0, found "
                f"{self.colour:g} and {self.depth:g}."
            )
        full = {"depth": self.depth == 1, "colour": self.colour == 1}
        if self.loss_on == "hidden" and (
            full.get(self.reconstruct) or (self.reconstruct == "both" and all(full.values()))
        ):
            raise InputError(
                "What is shown of all patches is hidden nowhere; choose a loss on all of them (--loss-on all)."
            )

    def counts(self, places: int) -> tuple[int, int]:
        """Patches of a frame whose colours, and whose depth is kept: one at least unless the part is 0."""
        colour, depth = (max(1, round(part * places)) if part else 0 for part in (self.colour, self.depth))
        return colour, depth

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


MAE = Masking(colour=0.25, depth=0.0, reconstruct="colour", loss_on="hidden", normalize="target")
"""He et al. 2022: a quarter of the colours is kept, the others are told."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is there beside the colour encoder.

    Attributes:
        depth_blocks: Of the encoder of depth patches, as wide as that of colours; None = as many as that has.
        width: Channels of the decoder; a multiple of four.
        blocks: Of the decoder.
    """

    depth_blocks: int | None = None
    width: int = 512
    blocks: int = 8

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How long, on what and how fast.

    Attributes:
        size: Height and width of what is seen, in pixels.
        augment: See :data:`Augment`.
        least: Sides of the smallest part that a crop shows, of those of the largest.
        batch: Frames of a step.
        epochs: How often a frame is seen on average.
        rate: Learning rate after the warm-up.
        weight_decay: Of matrices.
        accumulate: Parts in which a process works on its share of a batch.

    Raises:
        InputError: a number is out of its range.
    """

    size: tuple[int, int]
    augment: Augment
    least: float = 0.5
    batch: int
    epochs: float
    rate: float
    weight_decay: float
    accumulate: int = 1

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.batch < 1 or not self.epochs > 0 or not 0 < self.least <= 1:
            raise InputError(
                "Expected a size and a batch of 1 or more, epochs above 0 and a least part above 0 and up to 1, found "
                f"{self.size}, {self.batch}, {self.epochs:g} and {self.least:g}."
            )

    def steps(self, frames: int) -> int:
        """Steps of all epochs."""
        return max(1, round(self.epochs * frames / self.batch))


NUMBERS: dict[Scale, Numbers] = {
    "paper": Numbers(size=(240, 320), augment="none", batch=128, epochs=100, rate=0.1, weight_decay=1e-4, accumulate=2),
    "small": Numbers(size=(96, 128), augment="crops", batch=32, epochs=40, rate=1e-3, weight_decay=0.05),
}
"""Section 4.1, and what takes minutes on a processor.  The text names neither momentum nor weight decay: 0.9 and 1e-4,
as SGD mostly has them."""
SHAPES: dict[Scale, Shape] = {"paper": Shape(), "small": Shape(depth_blocks=2, width=128, blocks=2)}
"""The text does not size its decoder: MAE's for a ViT-B, and a small one."""
STAIR = (0.99, 1000)  # section 4.1: times 0.99 every 1000 steps
MOMENTUM, BETAS, WARM, CLIP = 0.9, (0.9, 0.95), 0.05, 3.0  # betas: MAE's


def schedule_of(scale: Scale, numbers: Numbers, frames: int, *, seed: int, precision: Precision = "auto") -> Schedule:
    """As the training loop takes it: for ``paper`` SGD down a staircase, for ``small`` AdamW, a warm-up and a cosine.

    SGD has one rate for layers whose gradients are of very different sizes, as a transformer's are: what the text does
    in hundred thousands of steps, AdamW has to do in thousands.
    """
    steps = numbers.steps(frames)
    every = max(1, steps // 10)
    if scale == "paper":
        return Schedule(
            steps=steps,
            rate=numbers.rate,
            weight_decay=numbers.weight_decay,
            optimizer="sgd",
            momentum=MOMENTUM,
            warmup=0.0,
            decay="staircase",
            stair=STAIR,
            clip=None,
            seed=seed,
            accumulate=numbers.accumulate,
            precision=precision,
            validate_every=every,
            picture_every=every,
        )
    return Schedule(
        steps=steps,
        rate=numbers.rate,
        weight_decay=numbers.weight_decay,
        betas=BETAS,
        warmup=WARM,
        clip=CLIP,
        seed=seed,
        accumulate=numbers.accumulate,
        precision=precision,
        validate_every=every,
        picture_every=every,
    )
