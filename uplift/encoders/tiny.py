"""The small encoders of fit3d, made by ``fit3d tiny`` from rooms that no test room is among."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from render.errors import InputError

TINY_NAMES = ("tiny-clip", "tiny-depth", "tiny-dino", "tiny-sam")
LICENCE = "that of fit3d: made from its own synthetic rooms"


def tiny_file(name: str) -> Path:
    """Where the bundled weights of a tiny encoder lie.

    Raises:
        InputError: the file is not there.
    """
    # The weights are data of the package `assets`, which is found by name: nothing here depends on its code.
    path = Path(str(importlib.resources.files("assets"))) / "tiny" / f"{name}.safetensors"
    if not path.is_file():
        raise InputError(
            f"The weights of {name} are not at {path}; take them from the project, or train them with "
            f"fit3d tiny {name.removeprefix('tiny-')} and give the file with --weights."
        )
    return path
