"""What the rasterizers return, and the constants they share."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

# The numerics of gsplat (and of Kerbl et al. 2023), kept by all three implementations.
EPS2D = 0.3  # pixels^2 added to the projected covariance
NEAR, FAR = 0.01, 1e10  # Gaussians with a centre outside this depth range are culled
MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0  # weaker contributions are skipped
MIN_TRANSMITTANCE = 1e-4  # a pixel is finished when less light than this would pass
MAX_SIGMAS = 3.33  # sqrt(2 ln 255): where even an opaque Gaussian falls below MIN_ALPHA


@dataclass(frozen=True)
class Rendering:
    """A rasterized view.

    Attributes:
        values: Blended values (SH colours, or what was passed) over the background; ``[h, w, c]``.
        alpha: Accumulated opacity; ``[h, w]``.
        depth: Expected z depth ``sum(w z) / sum(w)`` in the scene's unit, 0 where alpha is 0; ``[h, w]``.
        means2d: Projected centres in pixels; ``[n, 2]``.  Not a leaf: call ``retain_grad()`` to read
            screen-space gradients; ``means2d.absgrad`` is set in backward if ``absgrad`` was asked for.
        radii: Half sizes in pixels of the box that a Gaussian can touch, 0 if culled; ``[n, 2]`` int32.
    """

    values: Float[Tensor, "h w c"]
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    means2d: Float[Tensor, "n 2"]
    radii: Int[Tensor, "n 2"]


@dataclass(frozen=True)
class Contributions:
    """For every pixel the Gaussians it shows and their alpha-blending weights, front to back (CSR).

    Attributes:
        offsets: Pixel ``y * width + x`` owns entries ``offsets[p]:offsets[p + 1]``; ``[h*w + 1]`` int64.
        ids: Indices of Gaussians; ``[nnz]`` int32.
        weights: ``w_i(d, p)`` of LUDVIG eq. (5.1); ``[nnz]`` float.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    offsets: Int[Tensor, "p"]
    ids: Int[Tensor, "nnz"]
    weights: Float[Tensor, "nnz"]
    width: int
    height: int

    def only(self, pixels: Bool[Tensor, "h w"]) -> Contributions:
        """The same with every other pixel empty."""
        counts = self.offsets.diff()
        kept = torch.repeat_interleave(pixels.flatten(), counts)
        offsets = torch.cat([self.offsets[:1], (counts * pixels.flatten()).cumsum(0)])
        return replace(self, offsets=offsets, ids=self.ids[kept], weights=self.weights[kept])

    def to_sparse(self, n: int) -> Tensor:
        """The rendering matrix W as a sparse CSR tensor ``[h*w, n]``; columns are not sorted within a row."""
        return sparse_csr(self.offsets, self.ids, self.weights, (self.height * self.width, n))


def sparse_csr(offsets: Tensor, columns: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """A CSR tensor without torch's remark, once per process, that CSR is young."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
        return torch.sparse_csr_tensor(offsets, columns.to(torch.int64), weights, size=size, check_invariants=False)
