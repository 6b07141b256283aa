"""Maps of teachers, projectors and the student as PCA colours (DUNE, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from training.distillation.co.held import Compared
from uplift.pca import PCAColours

if TYPE_CHECKING:
    from jaxtyping import UInt8

PANELS = 4  # photos that are shown


def panel_titles(teachers: Sequence[str]) -> list[str]:
    """What the columns of :func:`panel_rows` show."""
    return ["photo", *(title for name in teachers for title in (name, f"student as {name}")), "student"]


def panel_rows(compared: Sequence[Compared]) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """A row for each photo: the photo, each teacher and beside it the student's projector, and the student.

    A column's colours mean the same in all rows; a projector's are in the basis of its teacher.
    """
    columns: list[list[UInt8[np.ndarray, "gh gw 3"]]] = []
    for teacher in range(len(compared[0].wanted)):
        wanted = [one.wanted[teacher].patches[0] for one in compared]
        basis = _basis(wanted)
        columns.append(_coloured(basis, wanted))
        columns.append(_coloured(basis, [one.told[teacher].patches[0] for one in compared]))
    own = [one.student for one in compared]
    columns.append(_coloured(_basis(own), own))
    return [list(row) for row in zip([one.image for one in compared], *columns, strict=True)]


def _basis(maps: Sequence[Tensor]) -> PCAColours:
    return PCAColours.fit(torch.cat([one.detach().flatten(0, 1).float().cpu() for one in maps]))


def _coloured(basis: PCAColours, maps: Sequence[Tensor]) -> list[UInt8[np.ndarray, "gh gw 3"]]:
    return [(basis.colours(one.detach().cpu()) * 255).round().to(torch.uint8).numpy() for one in maps]
