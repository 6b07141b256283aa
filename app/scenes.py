"""What several commands do with a scene folder: open what is needed, refuse what is not there."""

from __future__ import annotations

from pathlib import Path

from render.errors import InputError
from render.gaussians import Gaussians
from render.scene import Scene
from uplift.field import FeatureField


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise InputError, before any work is done, if ``path`` holds something that must not be replaced."""
    if overwrite or not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    raise InputError(f"{path} exists and is not overwritten; choose another name or pass --overwrite.")


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
