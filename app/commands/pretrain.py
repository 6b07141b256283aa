"""``fit3d pretrain``: encoders that learn from photos with depth and without labels, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from app.commands.pretrain_detect import PretrainDetect
from app.commands.pretrain_mask3d import PretrainMask3D
from app.commands.pretrain_segment import PretrainSegment


@dataclass(frozen=True)
class Pretrain:
    """Pretrain a vision transformer without labels, and fine-tune it for tasks that tell what that is worth."""

    what: (
        Annotated[PretrainMask3D, tyro.conf.subcommand("mask3d")]
        | Annotated[PretrainSegment, tyro.conf.subcommand("segment")]
        | Annotated[PretrainDetect, tyro.conf.subcommand("detect")]
    )

    def run(self) -> None:
        """Train and write."""
        self.what.run()
