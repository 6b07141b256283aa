"""A task of the training loop that takes no time: fits a line; and a program that trains it and may be killed.

``python -m tests.loop_line OUT`` is what ``torchrun`` and ``accelerate launch`` start, too.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.loop import Schedule, Task, train

SCHEDULE = Schedule(
    steps=60, rate=0.05, save_every=0.0, log_every=10, validate_every=20, picture_every=30, precision="no"
)
ITEMS = 16


class Line(Task):
    """Fits a line to noisy points: items are seeds, of which points and noise are drawn."""

    name = "line"

    def __init__(self, items: int = ITEMS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.register_buffer("followed", torch.zeros(1))  # later steps depend on it
        self.items, self.stop_after, self.seen, self.types = items, -1, 0, set[torch.dtype]()

    def batch(self, random: np.random.Generator) -> list[int]:
        return [int(seed) for seed in random.integers(2**31, size=self.items)]

    def forward(self, items: Sequence[int], progress: float) -> tuple[Tensor, dict[str, float]]:
        if self.seen == self.stop_after:
            raise KeyboardInterrupt
        self.seen += 1
        points = np.stack([np.random.default_rng(seed).normal(size=3) for seed in items]).astype(np.float32)
        x = torch.from_numpy(points).to(self.device)
        y = self.model(x)
        self.types.add(y.dtype)
        error = (y.float() - x.sum(1, keepdim=True) + 1e-3 * self.followed).square()
        figures = {"squared": float(error.detach().mean()), "progress": progress}
        return error.mean(), figures | ({"late": figures["squared"]} if progress > 0.6 else {})

    def trained(self) -> Iterable[nn.Parameter]:
        return self.model.parameters()

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        self.followed.lerp_(self.model[2].bias, 0.1)

    def validate(self) -> dict[str, float]:
        assert not self.training
        x = torch.eye(3, device=self.device)
        return {"error": float((self.model(x) - 1).abs().mean())}

    def pictures(self) -> dict[str, np.ndarray]:
        weight = self.model[0].weight.detach().cpu().numpy()
        return {"weights": (255 / (1 + np.exp(-weight))).astype(np.uint8)[..., None].repeat(3, -1)}

    def identity(self) -> dict[str, Any]:
        return {"items": self.items}


class KilledLine(Line):
    """Ends its own process, as the system may, in the middle of a step."""

    def __init__(self, kill_step: int) -> None:
        super().__init__()
        self.kill_step = kill_step

    def forward(self, items: Sequence[int], progress: float) -> tuple[Tensor, dict[str, float]]:
        if round(progress * SCHEDULE.steps) == self.kill_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(items, progress)


def kill_in_writing(number: int) -> None:
    """Let the process end when half of its ``number``-th checkpoint is written."""
    whole, count = torch.save, 0

    def save(state: Any, path: Path) -> None:
        nonlocal count
        count += 1
        whole(state, path)
        if count == number:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-step", type=int, default=-1)
    parser.add_argument("--kill-writing", type=int, default=0)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--items", type=int, default=ITEMS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.kill_writing:
        kill_in_writing(given.kill_writing)
    task = KilledLine(given.kill_step) if given.kill_step >= 0 else Line(given.items)
    figures = train(task, replace(SCHEDULE, accumulate=given.accumulate), given.out, device="cpu")
    rank = os.environ.get("RANK", "0")
    torch.save({"figures": figures, "state": task.state_dict()}, given.out / f"result-{rank}.pt")


if __name__ == "__main__":
    main()
