"""``fit3d evaluate``: the benchmarks of LUDVIG, own masks of a capture, and rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from app.commands.evaluate_benchmarks import EvaluateLerf, EvaluateNvos, EvaluateSpinNerf
from app.commands.evaluate_own import EvaluateCapture
from app.commands.evaluate_rooms import EvaluateRooms


@dataclass(frozen=True)
class Evaluate:
    """Measure on the benchmarks of LUDVIG, on own masks or on rooms."""

    what: (
        Annotated[EvaluateNvos, tyro.conf.subcommand("nvos")]
        | Annotated[EvaluateSpinNerf, tyro.conf.subcommand("spin-nerf")]
        | Annotated[EvaluateLerf, tyro.conf.subcommand("lerf")]
        | Annotated[EvaluateCapture, tyro.conf.subcommand("capture")]
        | Annotated[EvaluateRooms, tyro.conf.subcommand("rooms")]
    )

    def run(self) -> None:
        """Measure, print and write."""
        self.what.run()
