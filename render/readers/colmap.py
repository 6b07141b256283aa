"""COLMAP models, binary or text, read with pycolmap."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.conventions import opencv_to_opengl
from render.errors import InputError
from render.ply import Points
from render.readers._colmap_files import check_model
from render.readers.capture import FISHEYE_MODELS, Capture, build_views, scale_to_photo

if TYPE_CHECKING:
    from numpy.typing import NDArray

# COLMAP's order of parameters -> nerfstudio's names.
PARAMETERS = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fl_x", "fl_y", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "OPENCV_FISHEYE": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
}


def is_model(folder: Path) -> bool:
    """Whether a folder contains a COLMAP model itself."""
    return any(
        (folder / f"cameras.{kind}").is_file() and (folder / f"images.{kind}").is_file() for kind in ("bin", "txt")
    )


def find_models(folder: Path) -> list[Path]:
    """The models of a COLMAP project: the folder, ``sparse`` or ``colmap/sparse`` in it, or folders in
    these."""
    for parent in (folder, folder / "sparse", folder / "colmap" / "sparse"):
        if is_model(parent):
            return [parent]
        models = sorted(child for child in parent.iterdir() if is_model(child)) if parent.is_dir() else []
        if models:
            return models
    return []


def read_colmap(path: str | Path, *, images: str | Path | None = None) -> Capture:
    """Read a COLMAP model: ``path`` is the model or the project around ``sparse/0``.

    Args:
        path: The folder.
        images: The folder of the photos; by default ``images`` beside the model or its ``sparse`` folder.

    Returns:
        The registered photos, sorted by name, in the frame of the model.

    Raises:
        InputError: no model or several (they are named), a damaged model, no registered photo, a camera
            model that is not supported, or what :func:`render.readers.capture.build_views` raises.
    """
    path = Path(path)
    models = find_models(path)
    if len(models) != 1:
        found = f"several: {', '.join(map(str, models))}; name one of them" if models else "none"
        raise InputError(f"Expected one COLMAP model (cameras.bin, ...) in {path}, found {found}.")
    model = models[0]
    folder = Path(images) if images is not None else find_images(model)
    reconstruction = _load(model)
    registered = (reconstruction.image(i) for i in reconstruction.reg_image_ids())
    listed = sorted(registered, key=lambda image: image.name)
    if not listed:
        raise InputError(f"The COLMAP model {model} has no registered photo; run the mapper again.")
    photos = [folder / image.name for image in listed]
    frames = [
        scale_to_photo(_frame(reconstruction, image, model), photo) for image, photo in zip(listed, photos, strict=True)
    ]
    transforms = {"frames": frames}
    points = partial(_points, model) if reconstruction.num_points3D() else None
    return Capture(transforms, photos, build_views(transforms, photos, where=model), points)


def find_images(model: Path) -> Path:
    """The folder ``images`` that belongs to a model; the likeliest one if none exists."""
    model = model.resolve()
    candidates = [parent / "images" for parent in (model, *list(model.parents)[:3])]
    depth = 2 if model.parent.name == "sparse" else 1 if model.name == "sparse" else 0
    return next((folder for folder in candidates if folder.is_dir()), candidates[depth])


def _load(model: Path) -> Any:
    import pycolmap

    check_model(model)
    try:
        return pycolmap.Reconstruction(str(model))
    except (ValueError, RuntimeError, OSError, IndexError, MemoryError) as error:
        reason = str(error).strip()
        raise InputError(f"The COLMAP model {model} cannot be read ({reason}); copy it again.") from error


def _frame(reconstruction: Any, image: Any, model: Path) -> dict[str, Any]:
    camera = reconstruction.camera(image.camera_id)
    name = camera.model.name
    if name not in PARAMETERS:
        raise InputError(
            f"The COLMAP model {model} uses the camera model {name}, which is not supported (supported: "
            f"{', '.join(PARAMETERS)}); run `colmap image_undistorter` and read its result."
        )
    values = dict(zip(PARAMETERS[name], map(float, camera.params), strict=True))
    if "f" in values:
        focal = values.pop("f")
        values = {"fl_x": focal, "fl_y": focal, **values}
    pose = np.eye(4)
    pose[:3] = image.cam_from_world().matrix()
    return {
        "file_path": f"images/{image.name}",
        "camera_model": "OPENCV_FISHEYE" if name in FISHEYE_MODELS else "OPENCV",
        **values,
        "w": int(camera.width),
        "h": int(camera.height),
        "transform_matrix": opencv_to_opengl(torch.from_numpy(pose)).tolist(),
    }


def _points(model: Path) -> Points:
    points = _load(model).points3D.values()
    positions: NDArray[np.float32] = np.array([p.xyz for p in points], np.float32).reshape(-1, 3)
    colours: NDArray[np.uint8] = np.array([p.color for p in points], np.uint8).reshape(-1, 3)
    return Points(torch.from_numpy(positions), torch.from_numpy(colours))
