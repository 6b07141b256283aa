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

    from render.ply import PlyRows

MAX_SH_DEGREE = 3


@dataclass(frozen=True)
class Gaussians:
    """``n`` Gaussians in the world frame, as the rasterizer wants them (no logarithms, no logits).

    Gaussians that were loaded from a ``.ply`` remember its rows (:attr:`source`) through indexing, moving
    and :meth:`with_values`, so that :meth:`save` keeps the bits of what did not change and unknown
    attributes.

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
    opacities: Float[Tensor, " n"]
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
                f"Gaussians.sh must have shape [{n}, k, 3] with k in {degrees} "
                f"(degrees 0 to {MAX_SH_DEGREE}), found {list(self.sh.shape)}."
            )

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: Bool[Tensor, " n"] | Int[Tensor, " m"] | slice) -> Gaussians:
        """Keep a subset: a mask, indices or a slice.

        Raises:
            InputError: a mask has another length than the Gaussians.
        """
        if not isinstance(index, (Tensor, slice)):
            index = torch.as_tensor(index)
        if isinstance(index, Tensor) and index.dtype == torch.bool and index.shape != (len(self),):
            raise InputError(f"A mask over these Gaussians must have shape [{len(self)}], found {list(index.shape)}.")
        subset = Gaussians(**{f.name: getattr(self, f.name)[index] for f in fields(self)})
        return subset if self.source is None else subset.with_source(self.source[index])

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return round(self.sh.shape[1] ** 0.5) - 1

    @property
    def device(self) -> torch.device:
        """Where the Gaussians live."""
        return self.means.device

    @property
    def source(self) -> PlyRows | None:
        """The rows of the ``.ply`` that these Gaussians came from, in their order; none if new."""
        return self.__dict__.get("_source")

    def with_source(self, source: PlyRows | None) -> Gaussians:
        """The same Gaussians, remembering the rows of a file (one per Gaussian).

        Raises:
            InputError: the number of rows differs.
        """
        if source is not None and len(source) != len(self):
            raise InputError(f"{len(self)} Gaussians cannot come from {len(source)} rows of a file.")
        copied = replace(self)
        # Not a field: who walks the fields finds tensors, and ``dataclasses.replace`` starts without a
        # source.
        object.__setattr__(copied, "_source", source)
        return copied

    def with_values(self, **values: Tensor) -> Gaussians:
        """Replace some fields of the same Gaussians in the same order; unknown attributes stay."""
        return replace(self, **values).with_source(self.source)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        """Move or cast all arrays."""
        return self.with_values(**{f.name: getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self)})

    def detach(self) -> Gaussians:
        """The same values outside the autograd graph."""
        return self.with_values(**{f.name: getattr(self, f.name).detach() for f in fields(self)})

    def with_sh_degree(self, degree: int) -> Gaussians:
        """Drop the coefficients above ``degree``, or append zeros up to it.

        Raises:
            InputError: ``degree`` is not 0, 1, 2 or 3.
        """
        if not 0 <= degree <= MAX_SH_DEGREE:
            raise InputError(f"Expected an SH degree from 0 to {MAX_SH_DEGREE}, found {degree}.")
        missing = (degree + 1) ** 2 - self.sh.shape[1]
        kept = self.sh[:, : (degree + 1) ** 2]
        return self.with_values(sh=torch.nn.functional.pad(kept, (0, 0, 0, max(missing, 0))))

    @staticmethod
    def load(path: str | Path) -> Gaussians:
        """Read a standard 3DGS ``.ply``; see :func:`render.ply.load_gaussians`."""
        from render.ply import load_gaussians

        return load_gaussians(path)

    def save(self, path: str | Path) -> None:
        """Write a standard 3DGS ``.ply``; see :func:`render.ply.save_gaussians`."""
        from render.ply import save_gaussians

        save_gaussians(path, self)
