"""Photos with depth, one at a time and without poses, from whatever folder has them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from render.errors import InputError
from render.spacing import evenly_spaced
from render.views import read_photo
from training.distillation.specific.reading import PHOTO_MEMORY
from training.probing.data import layout_of, open_data
from training.probing.data.files import MILLIMETRES, PHOTOS, photos_in, read_depth, read_lines
from training.probing.data.rgbd import recognised as is_capture
from training.probing.data.rooms import opened, room_photos
from training.probing.data.rooms import recognised as has_rooms
from training.probing.data.scannet import INNER, LISTS
from training.probing.photos import ProbePhoto, resized

if TYPE_CHECKING:
    from jaxtyping import Float32

COLOUR_FOLDERS = ("color", "images", "rgb", "photos")
DEPTH_FOLDERS = ("depth", "depths")
DEPTH_ENDINGS = ("_depth", "-depth", ".depth")  # of a depth map that lies beside its photo
COMPARED = 8  # frames that tell these from others of the same names


class Frame(NamedTuple):
    """A photo and its depth, pixel by pixel.

    Attributes:
        photo: ``[h, w, 3]`` uint8.
        depth: Metres along the viewing direction, 0 = not known; ``[h, w]`` float32.
    """

    photo: np.ndarray
    depth: np.ndarray


class Frames:
    """Frames, read when they are asked for, and kept at the size that crops are taken from.

    Args:
        photos: All have a depth.
        side: Pixels that the shorter side keeps at most: larger frames are shrunk to it; None = never.
        memory: Bytes of frames that are kept; the others are read whenever they are needed.

    Raises:
        InputError: there are none, or a photo has no depth.
    """

    def __init__(self, photos: Sequence[ProbePhoto], *, side: int | None = None, memory: int = PHOTO_MEMORY) -> None:
        if not photos:
            raise InputError("A pretraining needs photos with depth, found none.")
        lacking = next((photo.name for photo in photos if photo.depth is None), None)
        if lacking is not None:
            raise InputError(f"A pretraining needs photos with depth, found none of {lacking}.")
        self.photos, self.side = list(photos), side
        self._kept: dict[int, Frame] = {}
        self._left = memory

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def fingerprint(self) -> str:
        """Hash of the frames' names in order, of their side, and of what evenly spaced ones show."""
        digest = hashlib.sha256(str(self.side).encode())
        for photo in self.photos:
            digest.update(f"{photo.group}/{photo.name};".encode())
        for index in evenly_spaced(len(self), COMPARED):
            for values in self[index]:
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def check_depth(self) -> None:
        """Raise InputError if evenly spaced frames know the depth of no pixel."""
        chosen = evenly_spaced(len(self), COMPARED)
        if not any(known(self[index].depth).any() for index in chosen):
            raise InputError(
                f"Expected depth of some pixels, found none in {len(chosen)} of {len(self)} photos, such as "
                f"{self.photos[0].name}: 0 means that it is not known."
            )

    def __getitem__(self, index: int) -> Frame:
        """A frame; InputError if a file of it is missing or damaged, or its depth has another form than the photo."""
        if index not in self._kept:
            frame = self._read(self.photos[index])
            size = frame.photo.nbytes + frame.depth.nbytes
            if size > self._left:
                return frame
            self._left -= size
            self._kept[index] = frame
        return self._kept[index]

    def _read(self, photo: ProbePhoto) -> Frame:
        import cv2

        if photo.depth is None:
            raise InputError(f"{photo.name} has no depth.")
        image = photo.image() if self.side is None else resized(photo.image, self.side)
        depth = photo.depth()
        height, width = image.shape[:2]
        if abs(width * depth.shape[0] / (height * depth.shape[1]) - 1) > 0.05:
            raise InputError(
                f"Expected photo and depth of {photo.name} to show the same, found {width / height:.2f} and "
                f"{depth.shape[1] / depth.shape[0]:.2f} times as wide as high; align them."
            )
        if depth.shape != (height, width):
            # A mean over a border between things, or with a hole, would be the depth of nothing.
            depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return Frame(image, np.ascontiguousarray(depth, np.float32))


def open_frames(folders: Iterable[Path], *, every: int = 1, unit: float = MILLIMETRES) -> list[ProbePhoto]:
    """The frames of folders, one after the other.

    A folder is one of:

    - rooms of ``fit3d rooms``, or one of them; where it has the splits ``train`` and ``test``, those of ``train``;
    - a capture with ``depth_file_path`` in its ``transforms.json``;
    - frames that ScanNet's tools export: ``SCENE/color/NAME.jpg`` and ``SCENE/depth/NAME.png``; where
      ``scannetv2_train.txt`` lies beside them, the scenes that it lists;
    - photos and depth maps: ``images/NAME.jpg`` (or ``color``, ``rgb``, ``photos``) and ``depths/NAME.png`` (or
      ``depth``), or all in one folder, the depth as ``NAME_depth.png``;
    - any other data with depth that ``fit3d probe`` reads, of which the training photos are taken.

    Args:
        folders: The folders.
        every: Of a room, capture or scene only every so-many-th frame (the text: every 25th).
        unit: What a value of 1 means in 16-bit depth maps of single folders, in metres.

    Raises:
        InputError: a folder is none of these, or a number is out of its range.
    """
    if every < 1 or not unit > 0:
        raise InputError(f"Expected every 1st frame or fewer and a unit above 0, found {every} and {unit:g}.")
    found: list[ProbePhoto] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"Expected a folder of photos with depth at {folder}, found none.")
        read = next((read for recognised, read in _readers() if recognised(folder)), _probed)
        found += _thinned(read(folder, unit), every)
    if not found:
        raise InputError("A pretraining needs photos with depth, found none.")
    return found


def _readers() -> Iterator[tuple[Callable[[Path], bool], Callable[[Path, float], list[ProbePhoto]]]]:
    """Whether a folder is of a kind, and how it is read."""
    yield has_rooms, _rooms
    yield is_capture, _capture
    yield lambda folder: bool(_scenes(folder)), _scannet
    yield lambda folder: _folders(folder) is not None, _in_folders
    yield lambda folder: bool(_beside(folder)), _side_by_side


def _thinned(photos: Sequence[ProbePhoto], every: int) -> list[ProbePhoto]:
    """Every so-many-th of each run of photos of one group."""
    kept, group, count = [], None, 0
    for photo in photos:
        count = count + 1 if photo.group == group else 0
        group = photo.group
        if count % every == 0:
            kept.append(photo)
    return kept


def _rooms(folder: Path, unit: float) -> list[ProbePhoto]:  # noqa: ARG001  rooms say it themselves
    return room_photos(opened(folder / "train" if (folder / "train").is_dir() else folder))


def _capture(folder: Path, unit: float) -> list[ProbePhoto]:  # noqa: ARG001  transforms.json says it
    data = open_data(folder, "rgbd")
    return [_of(folder.resolve().name, photo) for photo in [*data.train, *data.test]]


def _of(group: str, photo: ProbePhoto) -> ProbePhoto:
    """The frame in another group: how a probe splits a capture does not matter."""
    return ProbePhoto(photo.name, group, photo.image, depth=photo.depth)


def _scenes(folder: Path) -> list[Path]:
    """ScanNet's scenes in a folder, or the folder itself if it is one."""
    root = folder / INNER if (folder / INNER).is_dir() else folder
    if (folder / LISTS[0]).is_file():
        listed = [root / name for name in read_lines(folder / LISTS[0])]
    else:
        listed = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
    return [scene for scene in listed if all((scene / kind).is_dir() for kind in ("color", "depth"))]


def _scannet(folder: Path, unit: float) -> list[ProbePhoto]:
    return [photo for scene in _scenes(folder) for photo in _pairs(scene / "color", scene / "depth", scene.name, unit)]


def _folders(folder: Path) -> tuple[Path, Path] | None:
    """Where photos and depth maps are."""
    parts = (COLOUR_FOLDERS, DEPTH_FOLDERS)
    found = [next((folder / name for name in names if (folder / name).is_dir()), None) for names in parts]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _in_folders(folder: Path, unit: float) -> list[ProbePhoto]:
    found = _folders(folder)
    return [] if found is None else _pairs(*found, folder.resolve().name, unit)


def _pairs(colours: Path, depths: Path, group: str, unit: float) -> list[ProbePhoto]:
    """Photos with the depth maps of their names; those without are left out.

    Raises:
        InputError: there are no photos, or none has a depth map.
    """
    photos = sorted(photos_in(colours), key=_in_order)
    found = [_pair(photo, depths / f"{photo.stem}.png", group, unit) for photo in photos]
    kept = [photo for photo in found if photo is not None]
    if not kept:
        raise InputError(f"Expected depth maps at {depths}/NAME.png for photos in {colours}, found none.")
    return kept


def _in_order(file: Path) -> tuple[int, str]:
    """Frames are numbered without leading zeros by some tools."""
    return (int(file.stem) if file.stem.isdecimal() else -1, file.stem)


def _beside(folder: Path) -> list[tuple[Path, Path]]:
    """Photos with depth maps in the same folder."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PHOTOS)
    pairs = ((file, file.with_name(f"{file.stem}{ending}.png")) for file in files for ending in DEPTH_ENDINGS)
    return [(file, depth) for file, depth in pairs if depth.is_file()]


def _side_by_side(folder: Path, unit: float) -> list[ProbePhoto]:
    group = folder.resolve().name
    found = [_pair(photo, depth, group, unit) for photo, depth in _beside(folder)]
    return [photo for photo in found if photo is not None]


def _pair(photo: Path, depth: Path, group: str, unit: float) -> ProbePhoto | None:
    if not depth.is_file():
        return None
    return ProbePhoto(photo.stem, group, partial(read_photo, photo), depth=partial(read_depth, depth, unit))


def _probed(folder: Path, unit: float) -> list[ProbePhoto]:  # noqa: ARG001  the layouts say it
    if layout_of(folder) is None:
        raise InputError(
            f"Expected photos with depth at {folder}: rooms, a capture with depth_file_path in its transforms.json, "
            "SCENE/color and SCENE/depth, images/NAME.jpg and depths/NAME.png, or NAME.jpg and NAME_depth.png; found "
            "none of these."
        )
    return list(open_data(folder).for_task("depth").train)


def known(depth: Float32[np.ndarray, "h w"]) -> np.ndarray:
    """Where depth is known: not in a sensor's holes; ``[h, w]`` bool."""
    return np.isfinite(depth) & (depth > 0)
