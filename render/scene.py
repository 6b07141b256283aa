"""A scene on disk: posed photos, Gaussians, feature fields and selections in one folder."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from render.camera import Camera
from render.conventions import opencv_to_opengl
from render.errors import InputError
from render.files import atomic_folder
from render.gaussians import Gaussians
from render.ply import Points, save_points
from render.progress import Progress, silent
from render.readers import detect
from render.readers.capture import DISTORTION, INTRINSICS, Capture, inside, name_some, read_poses, view_names
from render.readers.transforms import ATTACHED, read_transforms
from render.views import View, photo_size

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray

TRANSFORMS = "transforms.json"
GAUSSIANS = "gaussians.ply"
POINTS = "sparse_pc.ply"
SPLITS = ("train_filenames", "val_filenames", "test_filenames")


class Scene:
    """A scene folder; everything large is read when it is asked for.

    Attributes:
        path: The folder.
        capture: The posed photos as they were read, with ``transforms`` and the sparse points.
        views: The photos in the order of ``transforms.json``.
    """

    def __init__(self, path: Path, capture: Capture, gaussians: Path) -> None:
        self.path = path
        self.capture = capture
        self.views: list[View] = capture.views
        self._gaussians_path = gaussians
        self._gaussians: Gaussians | None = None
        self._by_name = {view.name: view for view in capture.views}
        self._lock = threading.Lock()

    @staticmethod
    def open(path: str | Path, *, gaussians: str | Path | None = None) -> Scene:
        """Open a scene folder, or a folder with ``transforms.json`` and photos that has no Gaussians yet.

        Photos are not looked for: :meth:`check` and :meth:`require_photos` do that.

        Args:
            path: The folder.
            gaussians: A ``.ply`` in the frame of ``transforms.json``; by default ``gaussians.ply`` in the
                folder.

        Raises:
            InputError: no such folder, no ``transforms.json``, or frames that cannot be used (poses with
                NaN or that are not rigid, missing intrinsics, photos outside the folder).
        """
        path = Path(path)
        if path.name == TRANSFORMS and path.is_file():
            path = path.parent
        if not path.is_dir():
            raise InputError(f"Expected a scene folder at {path}, found {'a file' if path.exists() else 'nothing'}.")
        if not (path / TRANSFORMS).is_file():
            kind = detect(path)
            raise InputError(
                f"{path} is not a scene folder but a capture in the format {kind}; make a scene of it with "
                f"`fit3d import {path} SCENE`."
            )
        capture = read_transforms(path, confined=True)
        return Scene(path, capture, path / GAUSSIANS if gaussians is None else Path(gaussians))

    @property
    def gaussians(self) -> Gaussians:
        """The Gaussians in the order of their file; read once.

        Raises:
            InputError: the scene has none yet, or their file is damaged.
        """
        with self._lock:
            if self._gaussians is None:
                self._require_gaussians()
                self._gaussians = Gaussians.load(self._gaussians_path)
            return self._gaussians

    @property
    def gaussians_path(self) -> Path:
        """The ``.ply`` of the Gaussians; it may not exist."""
        return self._gaussians_path

    @property
    def fields(self) -> dict[str, Path]:
        """The feature fields on disk now: name -> file."""
        return _files(self.path / "fields", ".safetensors")

    @property
    def selections(self) -> dict[str, Path]:
        """The selections on disk now: name -> file."""
        return _files(self.path / "selections", ".npz")

    def view(self, name: str) -> View:
        """The view of this name: the photo's file name without extension.

        Raises:
            InputError: there is none; the names are listed.
        """
        if name not in self._by_name:
            raise InputError(
                f"{self.path} has no view {name!r}; a view is named after its photo without extension: "
                f"{name_some(self._by_name)}."
            )
        return self._by_name[name]

    def field_path(self, name: str) -> Path:
        """The file of a feature field; it need not exist.

        Raises:
            InputError: the name is not a plain file name.
        """
        return self.path / "fields" / f"{_plain(name)}.safetensors"

    def selection_path(self, name: str) -> Path:
        """The file of a selection; it need not exist.

        Raises:
            InputError: the name is not a plain file name.
        """
        return self.path / "selections" / f"{_plain(name)}.npz"

    def graph_path(self, name: str) -> Path:
        """The file of a field's neighbour graph; it need not exist.

        Raises:
            InputError: the name is not a plain file name.
        """
        return self.path / "graphs" / f"{_plain(name)}.safetensors"

    def points(self) -> Points | None:
        """The sparse points in the frame of the scene; none if it has none.

        Raises:
            InputError: ``transforms.json`` names a file that is missing or damaged.
        """
        return None if self.capture.points is None else self.capture.points()

    def check(self) -> list[str]:
        """What is missing or does not fit, one sentence each; empty if all is well.

        Poses and intrinsics were checked when the scene was opened.
        """
        problems = [
            self._missing(self.views),
            self._misfits(),
            *map(_problem, (self._require_gaussians, self.points)),
        ]
        return [problem for problem in problems if problem]

    def require_photos(self, views: Iterable[View] | None = None) -> None:
        """Make sure that photos are there before long work starts.

        Args:
            views: Those that will be needed; by default all.

        Raises:
            InputError: photos are missing: the first five and their number.
        """
        problem = self._missing(self.views if views is None else list(views))
        if problem:
            raise InputError(problem)

    def _require_gaussians(self) -> None:
        if not self._gaussians_path.is_file():
            raise InputError(
                f"{self.path} has no Gaussians yet: expected {self._gaussians_path}; fit them with "
                f"`ns-train fit3d-small --data {self.path}` and `fit3d import RUN SCENE`, "
                "or import a scene that has them."
            )

    def _missing(self, views: Sequence[View]) -> str | None:
        missing = [view.path for view in views if view.path is not None and not view.path.is_file()]
        if not missing:
            return None
        names = [path.relative_to(self.path) if path.is_relative_to(self.path) else path for path in missing]
        return (
            f"{len(missing)} of {len(views)} photos that {self.path / TRANSFORMS} lists are missing: "
            f"{name_some(names)}; copy them there, or remove their frames."
        )

    def _misfits(self) -> str | None:
        present = [view for view in self.views if view.path is not None and view.path.is_file()]
        sizes = [(view, photo_size(view.path)) for view in present if view.path is not None]
        wrong = [f"{view.name} ({size[0]}x{size[1]})" for view, size in sizes if size != view.photo_size]
        if not wrong:
            return None
        return (
            f"{len(wrong)} of {len(self.views)} photos do not have the size that {self.path / TRANSFORMS} "
            f"states: {name_some(wrong)}; correct w, h and the intrinsics."
        )


def frame_of(camera: Camera, file_path: str) -> dict[str, Any]:
    """The entry of ``transforms.json`` for a photo without lens distortion."""
    K = camera.K.tolist()
    return {
        "file_path": file_path,
        "fl_x": K[0][0],
        "fl_y": K[1][1],
        "cx": K[0][2],
        "cy": K[1][2],
        "w": camera.width,
        "h": camera.height,
        "transform_matrix": opencv_to_opengl(camera.world_to_camera).tolist(),
    }


def write_scene(
    path: str | Path,
    gaussians: Gaussians | Path | None,
    transforms: Mapping[str, Any],
    photos: Sequence[Path | UInt8[ndarray, "h w 3"]],
    *,
    points: Points | None = None,
    attachments: Mapping[str, Path] | None = None,
    finish: Callable[[Path], None] | None = None,
    overwrite: bool = False,
    link: bool = False,
    progress: Progress = silent,
) -> None:
    """Write a scene folder; all or nothing.

    Args:
        path: The folder to make.
        gaussians: In the frame of ``transforms``; a ``.ply`` is checked and copied byte for byte; none for a
            capture without Gaussians.
        transforms: The content of a ``transforms.json``.  Photos keep their relative paths where those stay
            in the folder; paths of masks and depths stay only if ``attachments`` has their files.
        photos: For every frame its file, copied byte for byte, or its pixels, written as PNG.
        points: Sparse points, written as ``sparse_pc.ply``.
        attachments: Further files: relative path in the scene -> file to copy.
        finish: Called with the unfinished folder, for what else belongs into it (fields).
        overwrite: Replace a scene that exists, with its fields and selections.
        link: Share photo files with where they come from instead of copying them, where the file system can: for
            scenes that come and go.
        progress: Told of every photo.

    Raises:
        InputError: photos are missing (the first five and their number), a pose is not rigid, the folder
            exists and ``overwrite`` is false, it is not a scene, or what is copied lies in it.
    """
    path = Path(path)
    attachments = dict(attachments or {})
    files = [photo for photo in photos if isinstance(photo, Path)]
    _check_sources(path, [*files, *attachments.values(), *([gaussians] if isinstance(gaussians, Path) else [])])
    if overwrite and path.is_dir() and any(path.iterdir()) and not (path / TRANSFORMS).is_file():
        raise InputError(f"{path} is not a scene folder (no {TRANSFORMS}) and is not overwritten; choose another name.")
    if isinstance(gaussians, Path):
        Gaussians.load(gaussians)
    content, names = _scene_transforms(transforms, photos, attachments, path)
    content.pop("ply_file_path", None)
    with atomic_folder(path, overwrite=overwrite) as folder:
        for done, (photo, name) in enumerate(zip(photos, names, strict=True)):
            progress(done, len(photos), "writing photos")
            _write_photo(folder / name, photo, link)
        for name, file in attachments.items():
            _copy(file, folder / name)
        if points is not None:
            save_points(folder / POINTS, points)
            content["ply_file_path"] = POINTS
        (folder / TRANSFORMS).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if isinstance(gaussians, Path):
            _copy(gaussians, folder / GAUSSIANS)
        elif gaussians is not None:
            gaussians.save(folder / GAUSSIANS)
        if finish is not None:
            finish(folder)
        progress(len(photos), len(photos), "writing photos")


def _check_sources(path: Path, files: Sequence[Path]) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} photos and files to copy are missing: {name_some(missing)}; "
            "copy them there, or leave them out."
        )
    target = path.resolve()
    within = [file for file in files if file.resolve().is_relative_to(target)]
    if within:
        raise InputError(
            f"{path} contains what the scene is made of ({name_some(within, 1)}); choose another folder for the scene."
        )


def _scene_transforms(
    transforms: Mapping[str, Any],
    photos: Sequence[Path | UInt8[ndarray, "h w 3"]],
    attachments: Mapping[str, Path],
    where: Path,
) -> tuple[dict[str, Any], list[str]]:
    """The transforms to write, and the relative path of every photo."""
    frames = transforms["frames"]
    if len(frames) != len(photos):
        raise InputError(f"Expected one photo per frame, found {len(photos)} photos and {len(frames)} frames.")
    read_poses(frames, where=where)
    names = _photo_names([frame["file_path"] for frame in frames], photos, where)
    renamed = {frame["file_path"]: name for frame, name in zip(frames, names, strict=True)}
    content = {key: value for key, value in transforms.items() if key != "frames"}
    for split in SPLITS:
        if split in content:
            content[split] = [renamed.get(name, name) for name in content[split]]
    content["frames"] = [
        {**{k: v for k, v in frame.items() if k not in ATTACHED or v in attachments}, "file_path": name}
        for frame, name in zip(frames, names, strict=True)
    ]
    return _hoist(content), names


def _photo_names(listed: Sequence[str], photos: Sequence[Path | UInt8[ndarray, "h w 3"]], where: Path) -> list[str]:
    names = []
    for name, photo in zip(listed, photos, strict=True):
        relative = PurePosixPath(name.replace("\\", "/"))
        relative = PurePosixPath(*[part for part in relative.parts if part != "."])
        if not inside(name):
            relative = PurePosixPath("images") / relative.name
        suffix = photo.suffix if isinstance(photo, Path) else ".png"
        if relative.suffix != suffix:
            bare = isinstance(photo, Path) and relative.name == photo.stem
            relative = relative.with_name(relative.name + suffix) if bare else relative.with_suffix(suffix)
        names.append(str(relative))
    if len(set(names)) == len(names):
        return names
    unique = view_names([Path(name) for name in listed], where=where)
    return [f"images/{view}{PurePosixPath(name).suffix}" for view, name in zip(unique, names, strict=True)]


def _hoist(transforms: dict[str, Any]) -> dict[str, Any]:
    """State once for all frames what all frames share: nerfstudio reads the camera model only there."""
    frames = transforms["frames"]
    groups: list[tuple[str, ...]] = [*((key,) for key in INTRINSICS), (*DISTORTION, "distortion_params")]
    shared: dict[str, Any] = {}
    for group in groups:
        values = [{key: frame[key] for key in group if key in frame} for frame in frames]
        # nerfstudio takes distortion from one place only, so that its coefficients move together.
        if all(value == values[0] for value in values):
            shared.update(values[0])
    kept = [{key: value for key, value in frame.items() if key not in shared} for frame in frames]
    return {**transforms, **shared, "frames": kept}


def _write_photo(file: Path, photo: Path | UInt8[ndarray, "h w 3"], link: bool) -> None:
    if isinstance(photo, Path):
        if not (link and _linked(photo, file)):
            _copy(photo, file)
        return
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    # More effort takes three times as long to make photos a sixth smaller.
    Image.fromarray(photo).save(file, compress_level=1)


def _linked(source: Path, target: Path) -> bool:
    """Make a hard link; says whether that is possible: not to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    found = folder.glob(f"*{suffix}") if folder.is_dir() else []
    # Hidden ones are being written, or were when the machine stopped.
    return {file.stem: file for file in sorted(found) if not file.name.startswith(".")}


def _plain(name: str) -> str:
    if not name or name.startswith(".") or any(character in name for character in '/\\:*?"<>|\0'):
        raise InputError(f"Expected a name without slashes, leading dots or special characters, found {name!r}.")
    return name


def _problem(check: Callable[[], object]) -> str | None:
    try:
        check()
    except InputError as error:
        return str(error)
    return None
