"""What several commands do with a scene folder: open what is needed, refuse what is not there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from render.errors import InputError
from render.gaussians import Gaussians
from render.readers.capture import name_some
from render.scene import Scene
from uplift.field import FeatureField
from uplift.selection import Selection

MADE_WITH = "gaussians"  # what a selection's record calls the hash of the centres it belongs to


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise InputError, before any work is done, if ``path`` holds something that must not be replaced."""
    if overwrite or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise InputError(f"{path} exists and is not overwritten; choose another name or pass --overwrite.")


def check_positive(options: Mapping[str, float | None]) -> None:
    """Raise InputError, before any work is done, for an option that is given and not greater than 0."""
    for option, value in options.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{option} must be a number greater than 0, found {value:g}.")


def check_folder(path: Path) -> None:
    """Raise InputError, before any work is done, unless there is a folder or one can be made."""
    there = next((one for one in (path, *path.parents) if one.exists() or one.is_symlink()), None)
    if there is not None and not there.is_dir():
        what = "a file" if there.exists() else "a link to nothing"
        raise InputError(f"Expected a folder at {path}, found {what}{'' if there == path else f' at {there}'}.")


def asked_for(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that are given; the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def gaussians_of(scene: Scene) -> Gaussians:
    """The scene's Gaussians; InputError if there are none to render."""
    gaussians = scene.gaussians
    if len(gaussians) == 0:
        raise InputError(f"{scene.path} has zero Gaussians; fit or import the scene again.")
    return gaussians


def choose_field(scene: Scene, name: str | None) -> str:
    """The name of a field that the scene has; without a name, the scene's single one."""
    known = sorted(scene.fields)
    if not known:
        raise InputError(f"{scene.path} has no fields; make one with: fit3d lift {scene.path} --encoder NAME")
    if name is None:
        if len(known) > 1:
            raise InputError(f"{scene.path} has several fields: {', '.join(known)}; choose with --field.")
        return known[0]
    if name not in scene.fields:
        raise InputError(f"{scene.path} has no field {name!r}; it has {', '.join(known)}.")
    return name


def load_field(scene: Scene, name: str) -> FeatureField:
    """A field of the scene, checked to belong to its Gaussians."""
    return FeatureField.load(scene.fields[name], n=len(scene.gaussians))


def load_selection(scene: Scene, name: str) -> Selection:
    """A selection of the scene, checked to belong to its Gaussians.

    Raises:
        InputError: there is none of that name, or it was made with other Gaussians.
    """
    known = scene.selections
    if name not in known:
        there = f"it has {', '.join(known)}" if known else "it has none yet: make one with fit3d segment or fit3d query"
        raise InputError(f"{scene.path} has no selection {name!r}; {there}.")
    selection = Selection.load(known[name], n=len(scene.gaussians))
    made_with = selection.about.get(MADE_WITH)
    if made_with is not None and made_with != fingerprint(scene.gaussians):
        raise InputError(
            f"The selection {name!r} was made with other Gaussians than {scene.gaussians_path}; make it again."
        )
    return selection


def save_selection(scene: Scene, name: str, selection: Selection) -> Path:
    """Write a selection into the scene; says which file that is."""
    path = scene.selection_path(name)
    selection.with_about(**{MADE_WITH: fingerprint(scene.gaussians)}).save(path)
    return path


def refuse_to_replace_others(out: Path, suffixes: Collection[str]) -> None:
    """Raise InputError if a folder holds more than files of these kinds: those were not made by this command."""
    others = sorted(p.name for p in out.iterdir() if p.is_dir() or p.suffix not in suffixes) if out.is_dir() else []
    if others:
        raise InputError(
            f"{out} holds more than rendered pictures ({name_some(others, 1)}) and is not replaced; "
            "choose another folder."
        )


def fingerprint(gaussians: Gaussians) -> str:
    """Hash of the centres: a selection is of these Gaussians in this order."""
    return hashlib.sha256(gaussians.means.detach().cpu().contiguous().numpy().data).hexdigest()
