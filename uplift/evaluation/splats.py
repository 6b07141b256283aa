"""Where a benchmark's splats lie: scene folders of fit3d, or outputs of 3D Gaussian splatting."""

from __future__ import annotations

from pathlib import Path

from render.errors import InputError
from render.readers.capture import name_some
from render.readers.inria import is_output, read_inria
from render.scene import TRANSFORMS, Scene

INSIDE = ("", "gs", "output")  # of the folder of a scene


def open_splats(folder: str | Path, name: str, *, images: str | Path | None = None) -> Scene:
    """The splats of one scene of a benchmark.

    They are looked for in ``folder/name``, ``folder/name/gs``, ``folder/name/output`` and
    ``folder/name/output/name``; the first that is a scene folder of fit3d (``transforms.json``, photos,
    ``gaussians.ply``) or an output folder of 3DGS (``cameras.json``, ``point_cloud/iteration_*/point_cloud.ply``)
    counts.  Upper and lower case of ``name`` do not matter.

    Args:
        folder: The folder of all scenes.
        name: The name of the scene.
        images: Photos of a 3DGS output that names no folder of its own; None = ``folder/name/images``.

    Raises:
        InputError: there is none, and where it was looked for; it has no Gaussians, or its photos are missing.
    """
    base = _child(Path(folder), name)
    candidates = [base / inside for inside in INSIDE] + [base / "output" / base.name]
    for candidate in candidates:
        if (candidate / TRANSFORMS).is_file():
            scene = Scene.open(candidate)
            return _checked(scene)
        if is_output(candidate):
            return _checked(_from_output(candidate, base, images))
    raise InputError(
        f"Expected the splats of {name} (a scene folder of fit3d, or an output folder of 3DGS) at "
        f"{name_some([str(path) for path in candidates], len(candidates))}, found none."
    )


def _child(folder: Path, name: str) -> Path:
    """The folder of a name in whatever case it is written."""
    if folder.is_dir():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and child.name.lower() == name.lower():
                return child
    return folder / name


def _from_output(path: Path, base: Path, images: str | Path | None) -> Scene:
    capture = read_inria(path)
    present = all(photo.is_file() for photo in capture.photos)
    instead = Path(images) if images is not None else base / "images"
    if not present and instead.is_dir():
        capture = read_inria(path, images=instead)
    if capture.gaussians is None:
        raise InputError(f"{path} has no Gaussians; expected point_cloud/iteration_*/point_cloud.ply in it.")
    return Scene(path, capture, capture.gaussians)


def _checked(scene: Scene) -> Scene:
    scene.require_photos()
    if len(scene.gaussians) == 0:
        raise InputError(f"{scene.path} has zero Gaussians; fit or import the scene again.")
    return scene
