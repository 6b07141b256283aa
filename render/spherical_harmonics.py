"""Real spherical harmonics as 3D Gaussian splatting uses them, degrees 0 to 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

C0 = 0.28209479177387814
C1 = 0.48860251190292
C2 = (1.0925484305920792, 0.9461746957575601, 0.31539156525252, 0.5462742152960396)
C3 = (
    0.5900435899266435,
    2.890611442640554,
    0.4570457994644658,
    1.865881662950577,
    1.119528997770346,
    1.445305721320277,
)


def sh_basis(directions: Float[Tensor, "*batch 3"], *, degree: int) -> Float[Tensor, "*batch k"]:
    """Values of the ``(degree + 1)^2`` basis functions along unit directions.

    Signs and order are those of Kerbl et al. 2023 (3DGS) and of its ``.ply`` files.
    """
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, C0)]
    if degree >= 1:
        basis += [-C1 * y, C1 * z, -C1 * x]
    if degree >= 2:
        basis += [
            C2[0] * x * y,
            -C2[0] * y * z,
            C2[1] * z * z - C2[2],
            -C2[0] * x * z,
            C2[3] * (x * x - y * y),
        ]
    if degree >= 3:
        basis += [
            -C3[0] * y * (3 * x * x - y * y),
            C3[1] * x * y * z,
            C3[2] * y * (1 - 5 * z * z),
            C3[3] * z * z * z - C3[4] * z,
            C3[2] * x * (1 - 5 * z * z),
            C3[5] * z * (x * x - y * y),
            -C3[0] * x * (x * x - 3 * y * y),
        ]
    return torch.stack(basis, dim=-1)


def sh_to_rgb(
    sh: Float[Tensor, "n k 3"], means: Float[Tensor, "n 3"], camera_centre: Float[Tensor, "3"]
) -> Float[Tensor, "n 3"]:
    """Colours of Gaussians seen from ``camera_centre``: ``max(sh . basis + 0.5, 0)``, differentiable."""
    degree = int(sh.shape[1] ** 0.5) - 1
    directions = torch.nn.functional.normalize(means - camera_centre, dim=-1)
    basis = sh_basis(directions, degree=degree)
    return ((basis[:, :, None] * sh).sum(1) + 0.5).clamp_min(0)
