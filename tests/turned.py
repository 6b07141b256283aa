"""A search for augmentations whose answer is known: bars whose direction is their class, or is none of it.

It is simpler than a real one: there are three transformations, of which an augmentation has one; the upper rate is
chosen for each kind of bars; and held bars that are turned come from elsewhere than those of the training, which no
random split gives.

``python -m tests.turned OUT`` is a short one and an estimate, which may be done in several processes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, distributed, nn

from training.augmentation.estimate import Alignment, align
from training.augmentation.learning import LearningNumbers
from training.augmentation.photos import Squares
from training.augmentation.policy import Policy
from training.augmentation.search import SearchNumbers
from training.augmentation.searching import Search
from training.distillation.specific.models import ModelSpec, TaskModel
from training.distillation.specific.norms import SharedBatchNorm
from training.probing.photos import ProbePhoto
from training.randomness import seeded

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

Kind = Literal["oriented", "turned"]
"""oriented = the class of a bar is its direction; turned = it is its width, and held bars have other directions."""
SIDE = 12
NAMES = ("Identity", "Rotate", "Brightness")
CLASSES = ("first", "second", "third")
LEARNING = LearningNumbers(epochs=30, batch=24)
UPPER: dict[Kind, float] = {
    "oriented": 60.0,
    "turned": 8.0,
}  # gradients are as much smaller where little is told wrongly
STRENGTH = 0.02  # of the anchor, times the upper rate (table A.4)


def numbers(kind: Kind) -> SearchNumbers:
    """Of the search."""
    upper = UPPER[kind]
    return SearchNumbers(
        rounds=2, retrain=4, unrolled=12, repeats=1, batch=24, rate=0.02, upper_rate=upper, anchor=STRENGTH / upper
    )


@cache
def bar(kind: Kind, label: int, seed: int, *, held: bool) -> UInt8[np.ndarray, "12 12 3"]:
    """A bright bar through about the middle."""
    random = np.random.default_rng(seed)
    turn = random.uniform(-0.1, 0.1) * np.pi
    if kind == "oriented":
        turn, width = turn + label * np.pi / 3, 1.6
    else:
        turn, width = (random.uniform(0, np.pi) if held else turn), 0.7 + 1.1 * label
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2 - random.uniform(-1, 1, (2, 1, 1))
    apart = np.abs(np.sin(turn) * x - np.cos(turn) * y)
    grey = 90 + 110 * np.clip(width - apart + 0.5, 0, 1) + random.normal(0, 18, (SIDE, SIDE))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def bars(kind: Kind, count: int, first: int, *, held: bool) -> Squares:
    """So many photos of bars."""
    photos = [
        ProbePhoto(str(i), str(i), partial(bar, kind, i % 3, first + i, held=held), label=i % 3) for i in range(count)
    ]
    return Squares(photos, len(CLASSES), SIDE)


class TinyNet(TaskModel):
    """Two convolutions."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.spec = ModelSpec(name="tiny-net", goal="classification", classes=len(CLASSES), side=SIDE)
        self.trunk = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1, bias=False), SharedBatchNorm(width), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, 2, 1, bias=False), SharedBatchNorm(2 * width), nn.ReLU()),
        )
        self.head = nn.Linear(2 * width, len(CLASSES))

    def features(self, pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        found: Tensor = self.trunk(4 * (pixels - 0.4)).mean((2, 3))
        return found

    def read(self, features: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        found: Tensor = self.head(features)
        return found

    def embedding(self, pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        return self.features(pixels)[:, None, None]


def tiny_net(seed: int) -> TaskModel:
    """A network of random weights."""
    with seeded(seed):
        return TinyNet().eval()


def toy_search(kind: Kind, out: Path, seed: int, **changes: Any) -> Search:
    """A search that has not begun."""
    return Search(
        tiny_net,
        bars(kind, 120, 10_000 * seed, held=False),
        bars(kind, 120, 10_000 * seed + 5_000, held=True),
        out,
        policy=Policy.uniform(NAMES, steps=changes.pop("steps", 1)),
        learning=changes.pop("learning", LEARNING),
        numbers=changes.pop("numbers", None) or numbers(kind),
        flip=False,
        classes=CLASSES,
        seed=seed,
        precision="no",
        device="cpu",
        **changes,
    )


SHORT: dict[str, Any] = {
    "learning": LearningNumbers(epochs=0.5, batch=8),
    "numbers": SearchNumbers(
        rounds=2, retrain=1, unrolled=2, augmentations=3, repeats=2, batch=8, rate=0.05, upper_rate=30.0, anchor=0.1
    ),
    "steps": 2,
}
"""Of a search that is over at once; two transformations follow each other."""


def estimate(rank: int, processes: int) -> Alignment:
    """Of 3 augmentations of 8 photos, of which a process has its part, in double precision."""
    random, mine = torch.Generator().manual_seed(0), slice(rank, None, processes)
    pictures, held = torch.rand(3 + 1, 8, 3, SIDE, SIDE, generator=random, dtype=torch.float64).split((3, 1))
    targets = (torch.arange(8) % len(CLASSES))[mine]
    network = tiny_net(0).double().train()
    seen = pictures[:, mine].flatten(0, 1)
    return align(network, seen, targets, held[0, mine], targets, rate=0.3, shared=processes > 1)


def main() -> None:
    """A short search with one network, one with two, and an estimate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    for members in (1, 2):
        found = toy_search("oriented", given.out / str(members), 3, members=members, **SHORT).run()
        torch.save(found.policy.state_dict(), given.out / f"{members}-{rank}.pt")
    torch.save(estimate(rank, distributed.get_world_size())._asdict(), given.out / f"estimate-{rank}.pt")


if __name__ == "__main__":
    main()
