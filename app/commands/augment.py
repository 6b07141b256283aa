"""``fit3d augment``: augmentations that are learned, and what augmentations are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from app.commands.augment_evaluate import AugmentEvaluate
from app.commands.augment_search import AugmentSearch


@dataclass(frozen=True)
class Augment:
    """Search for a policy of data augmentation, or train with policies and measure what they are worth."""

    what: (
        Annotated[AugmentSearch, tyro.conf.subcommand("search")]
        | Annotated[AugmentEvaluate, tyro.conf.subcommand("evaluate")]
    )

    def run(self) -> None:
        """Train and write."""
        self.what.run()
