"""nerfstudio's parser of ``transforms.json``, without Open3D."""

from __future__ import annotations

from pathlib import Path

from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio
from torch import Tensor

from render.ply import load_points


class CaptureParser(Nerfstudio):
    """``nerfstudio-data`` with our reader of seed points.

    Open3D, which nerfstudio reads them with, needs graphics and USB libraries that a plain machine lacks.
    """

    def _load_3D_points(  # noqa: N802  nerfstudio's name
        self, ply_file_path: Path, transform_matrix: Tensor, scale_factor: float
    ) -> dict[str, Tensor] | None:
        points = load_points(ply_file_path)
        if len(points) == 0:
            return None
        moved = points.positions @ transform_matrix[:3, :3].T + transform_matrix[:3, 3]
        return {"points3D_xyz": moved * scale_factor, "points3D_rgb": points.colours}
