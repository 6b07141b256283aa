"""A capture of another format as a folder that ``ns-train`` reads: ``python -m training.fleet.copying SOURCE OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

from render.errors import InputError
from render.readers import read_capture
from render.scene import write_scene

BAD_INPUT = 2


def copy_capture(source: Path, out: Path) -> None:
    """Write ``transforms.json``, sparse points and photos (shared, where the file system can) of a capture.

    Raises:
        InputError: it cannot be read, or photos are missing.
    """
    capture = read_capture(source)
    points = None if capture.points is None else capture.points()
    write_scene(out, None, capture.transforms, capture.photos, points=points, overwrite=True, link=True)


if __name__ == "__main__":
    try:
        copy_capture(Path(sys.argv[1]), Path(sys.argv[2]))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_INPUT)
