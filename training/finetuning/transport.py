"""Features of all views' patches, to the Gaussians and back to the patches, as one sparse matrix.

Lifting is ``f = D^-1 A F`` (LUDVIG eq. 5.3), where ``A = [W_1^T U_1 ... W_v^T U_v]`` takes the maps of all views to the
Gaussians and ``D`` holds its row sums.  Rendering on the grid of patches is ``S A^T f``: what the patch's pixels show,
divided by the light that the Gaussians there hold back.  Both are linear, hence

    ``M = S A^T D^-1 A``

is computed once from Gaussians and cameras alone, and ``M F`` are the 3D-aware features (FiT3D, section 3.1) of any
network in any state, without rendering.  Rows of ``M`` are non-negative and sum to 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import lifting_matrix
from render.rasterizer._types import sparse_csr
from uplift.encoders.windows import interpolation
from uplift.field import read_safetensors, write_safetensors

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FORMAT = 1
FOLDER = "transports"  # of a scene
DROPPED = 0.01  # of the sum of a row: its smallest entries, which are most of them
LEAST_COVERAGE = 0.5  # of the light: a patch that shows less of the scene has no target
LEAST_FROM_OTHERS = 0.1  # of a row: where less comes from other views, no other view sees the place
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Transport:
    """The matrix of a scene and what belongs to its ``p`` patches, view by view in row-major order.

    Attributes:
        grids: Patches ``(gh, gw)`` of every view.
        matrix: ``M``, sparse CSR; ``[p, p]`` float32, rows sum to 1, or to 0 where a patch shows no Gaussian.
        coverage: Part of the light that the Gaussians hold back; ``[p]`` in [0, 1].
        others: Part of a row's sum that comes from other views; ``[p]`` in [0, 1].
    """

    grids: tuple[tuple[int, int], ...]
    matrix: Tensor
    coverage: Float[Tensor, " p"]
    others: Float[Tensor, " p"]

    def __post_init__(self) -> None:
        p = sum(gh * gw for gh, gw in self.grids)
        shapes = [list(t.shape) for t in (self.matrix, self.coverage, self.others)]
        if shapes != [[p, p], [p], [p]]:
            raise InputError(f"A transport between {p} patches has shapes [[{p}, {p}], [{p}], [{p}]], found {shapes}.")

    def __len__(self) -> int:
        return len(self.coverage)

    def rows(self, view: int) -> slice:
        """The patches of a view."""
        start = sum(gh * gw for gh, gw in self.grids[:view])
        return slice(start, start + self.grids[view][0] * self.grids[view][1])

    def mask(self) -> Bool[Tensor, " p"]:
        """Patches with a target: they show the scene, and another view shows the same place (FiT3D, beta)."""
        return (self.coverage >= LEAST_COVERAGE) & (self.others >= LEAST_FROM_OTHERS)

    def apply(self, features: Float[Tensor, "p c"]) -> Float[Tensor, "p c"]:
        """``M F``: features of all patches as the Gaussians would show them; zero where a patch shows none.

        Raises:
            InputError: there is not one row for each patch.
        """
        if features.ndim != 2 or len(features) != len(self):
            raise InputError(f"Expected features of {len(self)} patches, found {list(features.shape)}.")
        return torch.sparse.mm(self.matrix.to(features.device), features.to(torch.float32))

    def own_view(self) -> Transport:
        """The same without what comes from other views: a blur within each view, as wide as the Gaussians make it."""
        matrix = _to_scipy(self.matrix).tocoo()
        view = np.repeat(np.arange(len(self.grids)), [gh * gw for gh, gw in self.grids])
        kept = view[matrix.row] == view[matrix.col]
        entries = (matrix.data[kept], (matrix.row[kept], matrix.col[kept]))
        own = scipy.sparse.csr_matrix(entries, shape=matrix.shape)
        return replace(self, matrix=_to_torch(_with_unit_rows(own)))

    def save(self, path: str | Path, fingerprint: str) -> None:
        """Write a safetensors file, entries as fp16 (rows are scaled to sum to 1 when they are read)."""
        tensors = {
            "offsets": self.matrix.crow_indices().to(torch.int64),
            "columns": self.matrix.col_indices().to(torch.int32),
            "entries": self.matrix.values().to(torch.float16),
            "coverage": self.coverage.contiguous(),
            "others": self.others.contiguous(),
        }
        header = {"format": FORMAT, "grids": [list(grid) for grid in self.grids], "fingerprint": fingerprint}
        write_safetensors(path, {name: tensor.cpu() for name, tensor in tensors.items()}, header)

    @staticmethod
    def load(path: str | Path, fingerprint: str | None = None) -> Transport:
        """Read what :meth:`save` wrote.

        Args:
            path: The file.
            fingerprint: Of Gaussians, cameras and grids that it must belong to; None = not checked.

        Raises:
            InputError: no such file, damaged, or of other Gaussians, cameras or grids.
        """
        tensors, header = read_safetensors(path)
        if header.get("format") != FORMAT or (fingerprint is not None and header.get("fingerprint") != fingerprint):
            raise InputError(f"{path} belongs to other Gaussians, cameras or grids; delete it.")
        try:
            grids = tuple((int(gh), int(gw)) for gh, gw in header["grids"])
            parts = [tensors[name].numpy() for name in ("entries", "columns", "offsets")]
            p = len(tensors["coverage"])
            parts[0] = parts[0].astype(np.float32)
            matrix = scipy.sparse.csr_matrix(tuple(parts), shape=(p, p))
            matrix.check_format(full_check=True)
            return Transport(grids, _to_torch(_with_unit_rows(matrix)), tensors["coverage"], tensors["others"])
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it.") from error


@torch.no_grad()
def compute_transport(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    grids: Sequence[tuple[int, int]],
    *,
    dropped: float = DROPPED,
    progress: Progress = silent,
) -> Transport:
    """The transport of a scene: one pass over its views to lift, another to render.

    The lifting matrices of all views are held (some 6 entries for every Gaussian that a view shows), the rows of the
    result are thinned out view by view.

    Args:
        gaussians: The scene; where they are, its matrices are computed.
        cameras: Of the views.
        grids: Patches ``(gh, gw)`` of every view.
        dropped: Part of every row that its smallest entries may make up together; they are left out and the rest is
            scaled up, which moves no feature by more than twice that part of the features' range.
        progress: Told of every view, twice.

    Raises:
        InputError: no views, as many grids as cameras are expected, or no view sees a Gaussian.
    """
    if not cameras or len(cameras) != len(grids) or not 0 <= dropped < 1:
        raise InputError(
            f"A transport needs views, a grid for each, and 0 <= dropped < 1; found {len(cameras)} views, {len(grids)} "
            f"grids and dropped={dropped}."
        )
    total, what = 2 * len(cameras), "carrying patches to Gaussians and back"
    lifts = []
    for done, (camera, grid) in enumerate(zip(cameras, grids, strict=True)):
        progress(done, total, what)
        lifts.append(_to_scipy(lifting_matrix(gaussians, camera, grid).cpu()))
    everything = scipy.sparse.hstack(lifts, format="csr")
    weights = np.asarray(everything.sum(1)).ravel()
    if not (weights > 0).any():
        raise InputError(
            f"None of the {len(cameras)} views sees any of the {len(gaussians)} Gaussians; check that the poses and "
            "the Gaussians are in the same frame."
        )
    everything = _scaled(everything, _inverse(weights))
    view = np.repeat(np.arange(len(grids)), [gh * gw for gh, gw in grids])
    blocks, coverage, others = [], [], []
    for index, (camera, grid) in enumerate(zip(cameras, grids, strict=True)):
        progress(len(cameras) + index, total, what)
        rows = (lifts[index].T.tocsr() @ everything).tocsr()
        light = np.asarray(rows.sum(1)).ravel()
        coverage.append(light / pixels_of_nodes(camera, grid))
        foreign = rows.data * (view[rows.indices] != index)
        others.append(_row_sums(foreign, rows.indptr) * _inverse(light))
        blocks.append(_thinned(_scaled(rows, _inverse(light)), dropped))
    progress(total, total, what)
    matrix = scipy.sparse.vstack(blocks, format="csr")
    sides = [torch.from_numpy(np.concatenate(part).clip(0, 1).astype(np.float32)) for part in (coverage, others)]
    return Transport(tuple((int(gh), int(gw)) for gh, gw in grids), _to_torch(matrix), sides[0], sides[1])


def cached_transport(
    folder: str | Path,
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    grids: Sequence[tuple[int, int]],
    *,
    progress: Progress = silent,
) -> Transport:
    """The transport of a scene from its folder, computed and kept there if it is not there, or not readable.

    Args:
        folder: The scene's; the file is ``transports/GHxGW-HASH.safetensors`` in it.
        gaussians: The scene.
        cameras: Of the views.
        grids: Patches of every view.
        progress: Told while it is computed.

    Raises:
        InputError: as :func:`compute_transport`.
        OSError: the folder cannot be written.
    """
    fingerprint = transport_fingerprint(gaussians, cameras, grids)
    gh, gw = grids[0] if grids else (0, 0)
    path = Path(folder) / FOLDER / f"{gh}x{gw}-{fingerprint[:12]}.safetensors"
    if path.is_file():
        try:
            return Transport.load(path, fingerprint)
        except InputError:
            pass  # computed again, and replaced
    # A file holds half precision: the first use and the later ones must see the same numbers.
    compute_transport(gaussians, cameras, grids, progress=progress).save(path, fingerprint)
    return Transport.load(path, fingerprint)


def transport_fingerprint(gaussians: Gaussians, cameras: Sequence[Camera], grids: Sequence[tuple[int, int]]) -> str:
    """Hash of all that a transport is made of: geometry and opacities (no colours), cameras, grids."""
    digest = hashlib.sha256(f"{FORMAT} {DROPPED} {[tuple(grid) for grid in grids]}".encode())
    tensors = [gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities]
    for camera in cameras:
        digest.update(f"{camera.width}x{camera.height}".encode())
        tensors += [camera.K, camera.world_to_camera]
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def pixels_of_nodes(camera: Camera, grid: tuple[int, int]) -> Float[np.ndarray, " p"]:
    """``U^T 1``: how many pixels each node of a grid stands for, in row-major order."""
    shares = []
    for nodes, length in zip(grid, (camera.height, camera.width), strict=True):
        matrix = interpolation(np.arange(length) + 0.5, length / nodes / 2, length / nodes, nodes)
        shares.append(matrix.sum(0))
    return np.outer(shares[0], shares[1]).ravel()


def _thinned(rows: Any, dropped: float) -> Any:
    """A matrix whose rows sum to 1 without the smallest entries of each, which make up at most ``dropped`` of it."""
    counts = np.diff(rows.indptr)
    row = np.repeat(np.arange(rows.shape[0]), counts)
    # Entries are at most 1, so that this sorts them within their rows, and faster than by two keys.
    order = np.argsort(row + 0.5 * rows.data.astype(np.float64))
    ordered = rows.data[order].astype(np.float64)
    running = np.cumsum(ordered)
    before = np.concatenate([[0.0], running])[rows.indptr[:-1]]
    # Sums of all entries of the row up to this one, the smallest first.
    kept = np.zeros(len(order), dtype=bool)
    kept[order] = running - np.repeat(before, counts) > dropped
    thin = scipy.sparse.csr_matrix((rows.data[kept], (row[kept], rows.indices[kept])), shape=rows.shape)
    return _with_unit_rows(thin)


def _with_unit_rows(matrix: Any) -> Any:
    return _scaled(matrix, _inverse(np.asarray(matrix.sum(1)).ravel()))


def _scaled(matrix: Any, factors: Float[np.ndarray, " n"]) -> Any:
    """A matrix whose rows are multiplied by factors."""
    scaled = matrix.data * np.repeat(factors, np.diff(matrix.indptr)).astype(matrix.dtype)
    return scipy.sparse.csr_matrix((scaled, matrix.indices, matrix.indptr), shape=matrix.shape)


def _inverse(sums: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > TINY)


def _row_sums(data: Float[np.ndarray, " m"], offsets: np.ndarray) -> Float[np.ndarray, " n"]:
    running = np.concatenate([[0.0], np.cumsum(data, dtype=np.float64)])
    return running[offsets[1:]] - running[offsets[:-1]]


def _to_scipy(matrix: Tensor) -> Any:
    parts = (matrix.values(), matrix.col_indices(), matrix.crow_indices())
    return scipy.sparse.csr_matrix(tuple(part.cpu().numpy() for part in parts), shape=tuple(matrix.shape))


def _to_torch(matrix: Any) -> Tensor:
    matrix.sort_indices()
    parts = [torch.from_numpy(part) for part in (matrix.indptr.astype(np.int64), matrix.indices, matrix.data)]
    return sparse_csr(parts[0], parts[1], parts[2].to(torch.float32), matrix.shape)
