"""The captures, scenes and runs that a command line names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from render.errors import InputError
from render.readers.capture import name_some
from render.readers.colmap import find_models
from render.readers.inria import is_output
from render.scene import GAUSSIANS, TRANSFORMS

Kind = Literal["scene", "capture", "colmap", "output", "run"]
RUN_FILE = "config.yml"


def kind_of(folder: Path) -> Kind | None:
    """What a folder is.

    Returns:
        scene (photos and Gaussians), capture (transforms.json and photos), colmap (a COLMAP model and photos),
        output (of 3D Gaussian splatting), run (of ns-train); None if none of these.
    """
    if (folder / TRANSFORMS).is_file():
        return "scene" if (folder / GAUSSIANS).is_file() else "capture"
    if (folder / RUN_FILE).is_file():
        return "run"
    if is_output(folder):
        return "output"
    return "colmap" if find_models(folder) else None


def find_sources(paths: Sequence[Path]) -> dict[str, Path]:
    """Name and folder of every source, in order; a folder of sources stands for those in it.

    Raises:
        InputError: a folder is no source and has none, or two have the same name.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"Expected a folder at {path}, found {'a file' if path.exists() else 'nothing'}.")
        inside = [] if kind_of(path) else [child for child in sorted(path.iterdir()) if _is_source(child)]
        if not inside and kind_of(path) is None:
            raise InputError(
                f"Expected a scene, a capture ({TRANSFORMS} or a COLMAP model, with photos) or a run of ns-train at "
                f"{path}, or folders of these in it; found none."
            )
        found += inside or [path]
    resolved = list(dict.fromkeys(path.resolve() for path in found))
    names = [_name(path) for path in resolved]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        same = [str(path) for path in resolved if _name(path) == twice[0]]
        raise InputError(f"Several scenes would be called {twice[0]}: {name_some(same)}; rename their folders.")
    return dict(zip(names, resolved, strict=True))


def _is_source(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".") and kind_of(folder) is not None


def _name(path: Path) -> str:
    """A run lies in EXPERIMENT/METHOD/TIME: the experiment is what tells scenes apart."""
    return path.parents[1].name if kind_of(path) == "run" and len(path.parents) > 2 else path.name
