"""How heads are fitted."""

from __future__ import annotations

from dataclasses import dataclass

from render.errors import InputError
from training.probing.photos import Task

GIGABYTE = 10**9
LEAST = 2  # rows of a step: of a single one a batch norm knows no variance
# At 1e-3, DINOv2's for 40k steps, 600 steps do not say what classes are in the features.
RATES: dict[Task, float] = {"segmentation": 1e-2, "depth": 1e-3, "classification": 1e-2}


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """A linear head: AdamW, a rate that falls to zero along half a cosine."""

    steps: int = 600
    """Optimizer steps."""
    batch: int = 4096
    """Patches of a step (photos, for the classification of photos)."""
    rate: float | None = None
    """Learning rate in the beginning; None = that of the task, found for so few steps: 1e-3 for depth, else 1e-2."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    memory: float = 2.0
    """Gigabytes of features that are learned from at most; of more, every photo gives random patches."""
    patch: int = 8
    """Pixels: finer maps are averaged to it, so that every encoder is asked at the same grid."""
    mean_patch: bool = False
    """Classification of photos: the mean of the patches beside the feature of the whole photo."""

    def __post_init__(self) -> None:
        rate = 1.0 if self.rate is None else self.rate
        if min(self.steps, rate, self.memory, self.patch) <= 0 or self.weight_decay < 0:
            raise InputError(
                "A probe takes steps, rate, memory and patch above 0 and a weight decay of at least 0, found "
                f"{self.steps}, {rate:g}, {self.memory:g}, {self.patch} and {self.weight_decay:g}."
            )
        if self.batch < LEAST:
            raise InputError(f"A linear head takes a batch of at least {LEAST}, found {self.batch}.")

    def rate_of(self, task: Task) -> float:
        """The learning rate in the beginning."""
        return RATES[task] if self.rate is None else self.rate

    @property
    def bytes(self) -> int:
        """The memory in bytes."""
        return int(self.memory * GIGABYTE)


@dataclass(frozen=True, kw_only=True)
class DptSettings:
    """A DPT head (Ranftl et al. 2021) on four layers of the network: AdamW, a rate that falls along half a cosine."""

    steps: int = 300
    """Optimizer steps."""
    batch: int = 8
    """Photos of a step."""
    rate: float = 3e-4
    """Learning rate in the beginning."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    width: int = 64
    """Channels in which the layers are fused; the published head has 256."""
    crop: int = 32
    """Patches along each side of what is learned from at once, at most."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.rate, self.width, self.crop) <= 0 or self.weight_decay < 0:
            raise InputError(
                "A DPT head takes steps, batch, rate, width and crop above 0 and a weight decay of at least 0, found "
                f"{self.steps}, {self.batch}, {self.rate:g}, {self.width}, {self.crop} and {self.weight_decay:g}."
            )
