"""``fit3d distill``: small encoders from large ones, or one from several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from app.commands.distill_co import DistillCo
from app.commands.distill_task import DistillTask


@dataclass(frozen=True)
class Distill:
    """Let an encoder learn from several others, or from one for a task."""

    what: Annotated[DistillCo, tyro.conf.subcommand("co")] | Annotated[DistillTask, tyro.conf.subcommand("task")]

    def run(self) -> None:
        """Train and write."""
        self.what.run()
