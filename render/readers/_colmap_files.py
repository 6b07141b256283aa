"""Whether the files of a binary COLMAP model are whole.

pycolmap reads past the end of a truncated file: it invents points, or never returns.  So the records are
walked first, by their lengths alone.  Layouts: COLMAP's documentation, "Output format".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from render.errors import InputError

COUNT = struct.Struct("<Q")
SMALL_COUNT = struct.Struct("<I")
CAMERA_MODEL = struct.Struct("<i")
Step = Callable[[bytes, int], int]


def check_model(folder: Path) -> None:
    """Make sure that every binary file of a model ends where its last record ends.

    Raises:
        InputError: a file is truncated, or has more than its records.
    """
    steps: dict[str, Step] = {
        "cameras": _camera_step(),
        "images": _image,
        "points3D": _point,
        "frames": _frame,
        "rigs": _rig,
    }
    for name, step in steps.items():
        file = folder / f"{name}.bin"
        if file.is_file():
            _walk(file, step)


def _walk(file: Path, step: Step) -> None:
    data = file.read_bytes()
    position, records = COUNT.size, 0
    try:
        (records,) = COUNT.unpack_from(data)
        for _ in range(records):
            position = step(data, position)
            if position > len(data):
                break
        whole = position == len(data)
    except (struct.error, ValueError):
        whole = False
    if not whole:
        raise InputError(
            f"{file} cannot be read: it is truncated or damaged ({len(data)} bytes for {records} records); "
            "copy it again."
        )


def _camera_step() -> Step:
    import pycolmap

    parameters: dict[int, int] = {}

    def count(model: int) -> int:
        if model not in parameters:
            camera = pycolmap.Camera.create_from_model_id(1, pycolmap.CameraModelId(model), 1.0, 1, 1)
            parameters[model] = len(camera.params)
        return parameters[model]

    def step(data: bytes, position: int) -> int:
        (model,) = CAMERA_MODEL.unpack_from(data, position + 4)
        return position + 24 + 8 * count(model)

    return step


def _image(data: bytes, position: int) -> int:
    # Id, pose, camera; the name ends with a zero; then the keypoints.
    end = data.index(b"\0", position + 64) + 1
    (keypoints,) = COUNT.unpack_from(data, end)
    return end + 8 + 24 * int(keypoints)


def _point(data: bytes, position: int) -> int:
    (track,) = COUNT.unpack_from(data, position + 43)
    return position + 51 + 8 * int(track)


def _frame(data: bytes, position: int) -> int:
    (sensors,) = SMALL_COUNT.unpack_from(data, position + 64)
    return position + 68 + 16 * int(sensors)


def _rig(data: bytes, position: int) -> int:
    (sensors,) = SMALL_COUNT.unpack_from(data, position + 4)
    position += 8 + (8 if sensors else 0)
    for _ in range(1, int(sensors)):
        posed = data[position + 8 : position + 9] == b"\1"
        position += 9 + (56 if posed else 0)
        if position > len(data):
            break
    return position
