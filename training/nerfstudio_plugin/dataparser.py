"""nerfstudio's parser of ``transforms.json``, without Open3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio
from torch import Tensor

from render.errors import InputError


class CaptureParser(Nerfstudio):
    """``nerfstudio-data`` whose seed points are read by plyfile.

    Open3D needs graphics and USB libraries of the system, which a plain machine does not have.
    """

    def _load_3D_points(  # noqa: N802  nerfstudio's name
        self, ply_file_path: Path, transform_matrix: Tensor, scale_factor: float
    ) -> dict[str, Tensor] | None:
        points, colours = read_points(ply_file_path)
        if len(points) == 0:
            return None
        moved = points @ transform_matrix[:3, :3].T + transform_matrix[:3, 3]
        return {"points3D_xyz": moved * scale_factor, "points3D_rgb": colours}


def read_points(path: Path) -> tuple[Tensor, Tensor]:
    """Read a point cloud: positions ``[p, 3]`` float32 and colours ``[p, 3]`` uint8, grey where it has none.

    Raises:
        InputError: the file is missing, or not a PLY with x, y and z.
    """
    from plyfile import PlyData, PlyParseError

    if not path.is_file():
        raise InputError(f"transforms.json names the sparse points {path}, which are absent.")
    try:
        vertices = PlyData.read(path)["vertex"].data
        points = np.stack([vertices[axis] for axis in "xyz"], 1).astype(np.float32)
    except (PlyParseError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a PLY of points: {error}.") from error
    names = ("red", "green", "blue")
    if set(names) <= set(vertices.dtype.names):
        colours = np.stack([vertices[name] for name in names], 1)
        if colours.dtype != np.uint8:  # Open3D's convention: floating-point colours lie in [0, 1]
            colours = (colours * 255).round().clip(0, 255).astype(np.uint8)
    else:
        colours = np.full(points.shape, 128, np.uint8)
    return torch.from_numpy(points), torch.from_numpy(colours)
