"""A capture with depth: ``transforms.json`` with ``depth_file_path``, as nerfstudio writes it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from render.errors import InputError
from render.views import read_photo
from training.probing.data.files import MILLIMETRES, read_depth
from training.probing.photos import ProbeData, ProbePhoto

TRANSFORMS = "transforms.json"
HELD_OUT = 3  # one of so many photos is measured: the last ones
GROUPS = 7  # consecutive photos of the capture resemble each other: so many groups


def recognised(path: Path) -> bool:
    """Whether a folder holds such a capture."""
    file = path / TRANSFORMS
    return file.is_file() and "depth_file_path" in file.read_text(encoding="utf-8", errors="replace")


def read_rgbd(path: Path, *, held_out: int = HELD_OUT) -> ProbeData:
    """Depth of the photos of one capture.  Photos are taken in order: the first are learned from, the last measured.

    Layout: ``transforms.json`` with ``file_path`` and ``depth_file_path`` for each frame, the depth a 16-bit PNG in
    units of ``depth_unit_scale_factor`` metres (0.001 without), 0 = not known.  The last third of the frames, by
    their files' names, is measured, in seven groups of consecutive ones: fewer than a bootstrap over groups asks for,
    whose percentile interval of 95 % then covers about 87 %; shorter groups of one room would hardly be independent.

    Args:
        path: The capture.
        held_out: One of so many photos is measured.

    Raises:
        InputError: it has no depth, or is damaged.
    """
    try:
        content: dict[str, Any] = json.loads((path / TRANSFORMS).read_text(encoding="utf-8"))
        frames = sorted(
            (str(frame["file_path"]), str(frame["depth_file_path"]))
            for frame in content["frames"]
            if frame.get("depth_file_path")
        )
        metres = float(content.get("depth_unit_scale_factor", MILLIMETRES))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path / TRANSFORMS} is damaged or missing ({type(error).__name__}: {error}).") from error
    first = len(frames) - max(1, len(frames) // held_out)
    if first < 1:
        raise InputError(f"Expected at least two frames with depth_file_path in {path / TRANSFORMS}.")

    def photo(index: int) -> ProbePhoto:
        image, depth = (path / file for file in frames[index])
        group = f"part {(index - first) * GROUPS // (len(frames) - first) + 1}" if index >= first else "train"
        read = partial(read_depth, depth, metres)
        return ProbePhoto(image.stem, group, partial(read_photo, image), depth=read)

    photos = [photo(index) for index in range(len(frames))]
    return ProbeData(path.resolve().name, photos[:first], photos[first:])
