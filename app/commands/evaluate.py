"""``fit3d evaluate``: the benchmarks of LUDVIG, own masks of a capture, and the demo scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from app.commands.evaluate_benchmarks import EvaluateLerf, EvaluateNvos, EvaluateSpinNerf
from app.commands.evaluate_own import EvaluateCapture, EvaluateDemo


@dataclass(frozen=True)
class Evaluate:
    """Measure on the benchmarks of LUDVIG, on own masks or on the demo scene."""

    what: (
        Annotated[EvaluateNvos, tyro.conf.subcommand("nvos")]
        | Annotated[EvaluateSpinNerf, tyro.conf.subcommand("spin-nerf")]
        | Annotated[EvaluateLerf, tyro.conf.subcommand("lerf")]
        | Annotated[EvaluateCapture, tyro.conf.subcommand("capture")]
        | Annotated[EvaluateDemo, tyro.conf.subcommand("demo")]
    )

    def run(self) -> None:
        """Measure, print and write."""
        self.what.run()
