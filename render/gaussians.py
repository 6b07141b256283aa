"""The one container of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MAX_SH_DEGREE = 3


@dataclass(frozen=True)
class Gaussians:
    """``n`` Gaussians in the world frame, as the rasterizer wants them (no logarithms, no logits).

    Attributes:
        means: Centres, in the scene's unit; ``[n, 3]`` float.
        quats: Rotations, wxyz, of any positive length (normalized where they are used); ``[n, 4]`` float.
        scales: Standard deviations along the rotated axes, in the scene's unit, linear; ``[n, 3]`` float.
        opacities: In (0, 1); ``[n]`` float.
        sh: Spherical-harmonics coefficients, ``k = (degree + 1)^2``; ``[n, k, 3]`` float.

    Raises:
        InputError: a shape does not fit.
    """

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, "n"]
    sh: Float[Tensor, "n k 3"]

    def __post_init__(self) -> None:
        n = len(self.means)
        for name, shape in (("means", (n, 3)), ("quats", (n, 4)), ("scales", (n, 3)), ("opacities", (n,))):
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise InputError(f"Gaussians.{name} must have shape {list(shape)}, found {list(found)}.")
        degrees = [(d + 1) ** 2 for d in range(MAX_SH_DEGREE + 1)]
        if self.sh.ndim != 3 or len(self.sh) != n or self.sh.shape[1] not in degrees or self.sh.shape[2] != 3:
            raise InputError(
                f"Gaussians.sh must have shape [{n}, k, 3] with k in {degrees} (degrees 0 to {MAX_SH_DEGREE}), "
                f"found {list(self.sh.shape)}."
            )

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: Bool[Tensor, "n"] | Int[Tensor, "m"] | slice) -> Gaussians:
        """Keep a subset: a mask, indices or a slice."""
        if not isinstance(index, (Tensor, slice)):
            index = torch.as_tensor(index)
        return Gaussians(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return int(self.sh.shape[1] ** 0.5) - 1

    @property
    def device(self) -> torch.device:
        """Where the Gaussians live."""
        return self.means.device

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        """Move or cast all arrays."""
        return Gaussians(**{f.name: getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self)})

    def detach(self) -> Gaussians:
        """The same values outside the autograd graph."""
        return Gaussians(**{f.name: getattr(self, f.name).detach() for f in fields(self)})

    def with_sh_degree(self, degree: int) -> Gaussians:
        """Drop the coefficients above ``degree``."""
        return replace(self, sh=self.sh[:, : (degree + 1) ** 2])

    @staticmethod
    def load(path: str | Path) -> Gaussians:
        """Read a standard 3DGS ``.ply``; see :mod:`render.ply`."""
        from render.ply import load_gaussians

        return load_gaussians(path)

    def save(self, path: str | Path) -> None:
        """Write a standard 3DGS ``.ply``; see :mod:`render.ply`."""
        from render.ply import save_gaussians

        save_gaussians(path, self)
