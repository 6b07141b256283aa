"""Readers of posed photos: nerfstudio's transforms.json, COLMAP models, output folders of 3DGS."""

from __future__ import annotations

from pathlib import Path

from render.errors import InputError
from render.readers.capture import Capture, name_some
from render.readers.colmap import find_models, read_colmap
from render.readers.inria import is_output, read_inria
from render.readers.transforms import read_transforms

__all__ = ["Capture", "detect", "read_capture", "read_colmap", "read_inria", "read_transforms"]

WANTED = (
    "a transforms.json (nerfstudio), a COLMAP model (sparse/0), "
    "or cameras.json and point_cloud/ (3D Gaussian splatting)"
)


def detect(path: str | Path) -> str:
    """The format of a capture: ``transforms``, ``colmap`` or ``inria``.

    nerfstudio leaves the COLMAP project that it worked from in ``colmap/``; that one does not count beside a
    ``transforms.json``.

    Raises:
        InputError: there is none, or several; the candidates are named.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix == ".json" and path.name != "cameras.json":
            return "transforms"
        raise InputError(f"Expected a folder with {WANTED}, found the file {path}.")
    if not path.is_dir():
        raise InputError(f"Expected a folder with {WANTED}; {path} does not exist.")
    found: dict[str, Path] = {}
    if (path / "transforms.json").is_file():
        found["transforms"] = path / "transforms.json"
    if is_output(path):
        found["inria"] = path / "cameras.json"
    models = find_models(path)
    if models and not ("transforms" in found and "colmap" in models[0].relative_to(path).parts):
        found["colmap"] = models[0]
    if len(found) > 1:
        named = ", ".join(str(file) for file in found.values())
        raise InputError(f"{path} contains several descriptions of a capture: {named}; name one of them.")
    if not found:
        there = name_some(sorted(p.name for p in path.iterdir())) or "nothing"
        raise InputError(f"Expected {WANTED} in {path}, found {there}.")
    return next(iter(found))


def read_capture(path: str | Path) -> Capture:
    """Read a capture in whatever format it is; see :func:`detect`.

    Raises:
        InputError: as :func:`detect` and the readers of the formats.
    """
    kind = detect(path)
    if kind == "transforms":
        return read_transforms(path)
    return read_colmap(path) if kind == "colmap" else read_inria(path)
