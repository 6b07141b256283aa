"""``fit3d reproduce``: measures a paper's claims at small scale, from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from app.commands.reproduce_dune import ReproduceDune
from app.commands.reproduce_fit3d import ReproduceFit3d
from app.commands.reproduce_mask3d import ReproduceMask3D
from app.commands.reproduce_slack import ReproduceSlack
from app.commands.reproduce_task_distillation import ReproduceTaskDistillation


@dataclass(frozen=True)
class Reproduce:
    """Measure what a paper claims, at a size for a small machine, from nothing: data, encoders, tables, figures.

    Given again, the command goes on where it was interrupted; what is done is kept, and more seeds add to it.
    """

    paper: (
        Annotated[ReproduceFit3d, tyro.conf.subcommand("fit3d")]
        | Annotated[ReproduceDune, tyro.conf.subcommand("dune")]
        | Annotated[ReproduceTaskDistillation, tyro.conf.subcommand("task-distillation")]
        | Annotated[ReproduceMask3D, tyro.conf.subcommand("mask3d")]
        | Annotated[ReproduceSlack, tyro.conf.subcommand("slack")]
    )

    def run(self) -> None:
        """Make what is missing, measure, print and write."""
        self.paper.run()
