"""Gaussians that leave a scene: a standard ``.ply``, and beside it what its coordinates mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from render.errors import InputError
from render.files import atomic_file, atomic_folder
from render.progress import Progress, silent

if TYPE_CHECKING:
    from jaxtyping import Bool

    from render.gaussians import Gaussians
    from render.scene import Scene
    from render.views import View
    from uplift.selection import Selection

NOTE_SUFFIX = ".json"
# Where nerfstudio's tools keep how a capture's own frame became that of transforms.json.
INHERITED = ("applied_transform", "applied_scale")


def note_path(out: Path) -> Path:
    """The note that belongs to an exported file."""
    return out.with_suffix(NOTE_SUFFIX)


def check_export(scene: Scene, out: Path) -> None:
    """Raise InputError unless Gaussians of the scene can be written there."""
    if out.suffix.lower() != ".ply":
        raise InputError(f"Expected a file name that ends in .ply, found {out}.")
    if out.resolve() == scene.gaussians_path.resolve():
        raise InputError(f"{out} is the scene's own file, which its fields and selections need; choose another name.")


def export(scene: Scene, out: Path, keep: Bool[torch.Tensor, " n"], about: Mapping[str, object]) -> list[Path]:
    """Write some Gaussians of a scene, unchanged to the bit, and a note about their frame.

    Args:
        scene: The scene.
        out: The ``.ply`` to write.
        keep: The Gaussians to write.
        about: What the note says besides.

    Returns:
        The two files.

    Raises:
        InputError: nothing would be written.
        OSError: the disk is full, or the folder cannot be written.
    """
    kept = scene.gaussians[keep.cpu()]
    if len(kept) == 0:
        raise InputError(f"No Gaussian is left to be written to {out}.")
    inherited = {key: scene.capture.transforms[key] for key in INHERITED if key in scene.capture.transforms}
    note = {
        "gaussians": len(kept),
        "of": len(scene.gaussians),
        "scene": scene.path.resolve().name,
        "frame": "that of the scene's transforms.json (OpenGL axes); Gaussians are as in its gaussians.ply",
        "scene_to_export": torch.eye(4).tolist(),
        **inherited,
        **about,
    }
    kept.save(out)
    with atomic_file(note_path(out)) as temporary:
        temporary.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return [out, note_path(out)]


def write_masks(
    out: Path,
    views: Sequence[View],
    gaussians: Gaussians,
    selection: Selection,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Write a selection as ``OUT/VIEW.png`` for every view: 255 = selected, at the size of the photo file.

    Args:
        out: Folder; all or nothing is written.
        views: The photos.
        gaussians: What is seen, on the selection's device.
        selection: Of these Gaussians.
        overwrite: Replace a folder that exists.
        progress: Told of every view; raising from it cancels.

    Returns:
        In how many views something of it is seen.

    Raises:
        InputError: the folder exists and ``overwrite`` is false.
        OSError: the disk is full, or the folder cannot be written.
    """
    import numpy as np

    from app.pictures import save_picture

    shown = 0
    with atomic_folder(out, overwrite) as folder:
        for done, view in enumerate(views):
            progress(done, len(views), "rendering masks")
            mask = selection.mask_in(gaussians, view)
            shown += bool(mask.any())
            save_picture(folder / f"{view.name}.png", mask.astype(np.uint8) * 255)
        progress(len(views), len(views), "rendering masks")
    return shown
