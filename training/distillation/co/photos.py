"""The photos of a co-distillation: where they come from and whose they are (DUNE, section 4.3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from render.errors import InputError
from render.scene import TRANSFORMS
from render.spacing import evenly, evenly_spaced
from render.views import View, read_photo
from training.probing.data.files import PHOTOS
from training.rooms.writing import ROOM
from training.scenes import open_scenes
from uplift.encoders.base import as_image

if TYPE_CHECKING:
    from jaxtyping import UInt8

GENERIC = "generic"  # whose photos are no teacher's own
HELD_OUT = 20  # one photo of so many is validated on
A = TypeVar("A")
KEPT_BYTES = 2 << 30  # of photos that are kept in memory; the others are read whenever they are needed


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo, read when it is asked for.

    Attributes:
        name: Within its source.
        image: Gives ``[h, w, 3]`` uint8.
        size: Bytes of its file; 0 where it has none.
        file: Where that lies, how large it is and when it changed: as long as this stays, so do the pixels.  "" where
            that is not known.
    """

    name: str
    image: Callable[[], UInt8[np.ndarray, "h w 3"]]
    size: int = 0
    file: str = ""

    @staticmethod
    def of_file(name: str, path: Path) -> Photo:
        """A photo that is a file as it is; nothing is read yet."""
        found = path.stat()
        return Photo(
            name, partial(read_photo, path), found.st_size, f"{path.resolve()} {found.st_size} {found.st_mtime_ns}"
        )


@dataclass(frozen=True, eq=False)
class Source:
    """Photos of one kind.

    Attributes:
        owner: The teacher whose data they are, or ``generic``.
        name: Of the folder.
        photos: In order.
    """

    owner: str
    name: str
    photos: Sequence[Photo]


def parse_sources(texts: Sequence[str], teachers: Sequence[str]) -> list[tuple[str, Path]]:
    """Owners and folders of sources that are written ``NAME=FOLDER``.

    Args:
        texts: As a person typed them.
        teachers: The names of the teachers.

    Raises:
        InputError: one is written otherwise, there is none, or a name is no teacher's.
    """
    if not texts:
        raise InputError(
            "Co-distillation needs photos, found none: give them as generic=FOLDER, or NAME=FOLDER for a teacher's own."
        )
    pairs = []
    for text in texts:
        owner, separator, folder = text.partition("=")
        if not separator or not folder:
            raise InputError(f"Photos are given as NAME=FOLDER, with a teacher's name or {GENERIC}; found {text!r}.")
        if owner not in (GENERIC, *teachers):
            raise InputError(
                f"{text} names {owner!r}, which is no teacher; the teachers are {', '.join(teachers)}, and {GENERIC} "
                "stands for photos that are nobody's own."
            )
        pairs.append((owner, Path(folder)))
    return pairs


def open_source(owner: str, folder: Path, *, without: Path | None = None) -> Source:
    """The photos of a scene, of a folder of scenes, or of a folder and all folders in it but hidden ones.

    Args:
        owner: The teacher whose data they are, or ``generic``.
        folder: Where they lie.
        without: A folder whose pictures are no photos, such as that of the training.

    Raises:
        InputError: no such folder, there are no photos, there are scenes and other photos, or scenes deeper down.
    """
    if not folder.is_dir():
        raise InputError(f"Expected a folder of photos or scenes at {folder}, found none.")
    away = None if without is None else without.resolve()
    if away is not None and folder.resolve() not in away.parents:
        away = None

    def counts(path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        return not hidden and (away is None or away not in path.resolve().parents)

    scenes = _scenes_in(folder, counts)
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in PHOTOS and f.is_file() and counts(f))
    loose = [f for f in files if not any(scene == f.parent or scene in f.parents for scene in scenes)]
    if scenes and loose:
        raise InputError(
            f"{folder} holds scenes and, beside them, photos such as {loose[0]}: give folders that hold either, as "
            "sources of their own."
        )
    photos = []
    for scene in open_scenes(scenes):
        scene.require_photos()
        photos += [_of_view(scene.path.name, view) for view in scene.views]
    photos += [Photo.of_file(str(f.relative_to(folder)), f) for f in loose]
    if not photos:
        raise InputError(f"Expected photos ({', '.join(PHOTOS)}) or scenes in {folder}, found none.")
    return Source(owner, folder.resolve().name, photos)


def _scenes_in(folder: Path, counts: Callable[[Path], bool]) -> list[Path]:
    """The folder, if it is a scene, or the scenes in it; InputError where some lie deeper or are not whole."""
    if (folder / TRANSFORMS).is_file():
        return [folder]
    found = sorted({f.parent for name in (TRANSFORMS, ROOM) for f in folder.rglob(name) if counts(f)})
    scenes = [place for place in found if place.parent == folder and (place / TRANSFORMS).is_file()]
    others = [place for place in found if not any(scene == place or scene in place.parents for scene in scenes)]
    if others:  # their maps of depth and classes are no photos
        if not (others[0] / TRANSFORMS).is_file():
            raise InputError(f"{others[0]} is a room without its {TRANSFORMS}: make it again, or leave it out.")
        raise InputError(
            f"Scenes lie deeper in {folder}, such as {others[0]}: give the folder that holds them, "
            f"{others[0].parent}, and others as sources of their own."
        )
    return scenes


def thinned(source: Source, most: int | None) -> Source:
    """A source with so many of its photos at most, evenly spaced; None = all."""
    if most is None or len(source.photos) <= most:
        return source
    return replace(source, photos=evenly(source.photos, most))


def held_out(source: Source) -> tuple[Source, Source]:
    """A source without every twentieth of its photos, one at least, and those; a single photo is in both."""
    count = len(source.photos)
    if count == 1:
        return source, source
    chosen = set(range(min(HELD_OUT, count) // 2, count, HELD_OUT))
    parts = ([p for i, p in enumerate(source.photos) if (i in chosen) == held] for held in (False, True))
    train, held = (replace(source, photos=photos) for photos in parts)
    return train, held


class Photos:
    """The photos of several sources, numbered one after the other.

    Attributes:
        sources: In the order in which they were given.
        starts: Number of the first photo of each source, and in the end how many there are.
        most: Bytes that may be kept in memory.
    """

    def __init__(self, sources: Sequence[Source], *, keep: int = KEPT_BYTES) -> None:
        """Put sources together; nothing is read yet.

        Args:
            sources: One at least.
            keep: Bytes of photos that may be kept in memory.
        """
        self.sources = list(sources)
        self.starts = np.cumsum([0, *(len(source.photos) for source in sources)]).tolist()
        self._kept: dict[Hashable, Any] = {}
        self.most, self._left, self._lock = keep, keep, Lock()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def source_of(self, index: int) -> int:
        """Which source a photo is of."""
        return int(np.searchsorted(self.starts, index, side="right")) - 1

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """A photo, kept in memory if there is room; several threads may ask.

        Raises:
            InputError: it cannot be read.
        """
        return self.kept(index, lambda: self.read(index), lambda found: found.nbytes)

    def kept(self, name: Hashable, make: Callable[[], A], size: Callable[[A], int]) -> A:
        """What is made of photos, kept in memory if there is room; several threads may ask.

        Args:
            name: By which it is known again.
            make: Makes it, if it is not kept.
            size: Its bytes.
        """
        found = self._kept.get(name)
        if found is None:
            found = make()
            with self._lock:
                if name not in self._kept and size(found) <= self._left:
                    self._left -= size(found)
                    self._kept[name] = found
        return cast(A, found)

    def photo(self, index: int) -> Photo:
        """A photo by its number."""
        source = self.source_of(index)
        return self.sources[source].photos[index - self.starts[source]]

    def read(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """A photo, read anew and not kept.

        Raises:
            InputError: it cannot be read.
        """
        return as_image(self.photo(index).image())

    def evenly(self, most: int) -> list[int]:
        """So many photos of every source at most, evenly spaced."""
        spans = zip(self.starts[:-1], self.starts[1:], strict=True)
        return [start + place for start, end in spans for place in evenly_spaced(end - start, most)]

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the first photo of each source, in pixels; they tell about how large the others are."""
        return [self.read(start).shape[:2] for start in self.starts[:-1]]

    def memory(self) -> int:
        """About how many bytes will be kept, if all are asked for and those of a source are of one size."""
        counts = np.diff(self.starts).tolist()
        needed = sum(3 * h * w * count for (h, w), count in zip(self.sizes, counts, strict=True))
        return min(self.most, needed)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the photos are: owners, names and sizes of files; not where they lie."""
        listed = [[s.owner, s.name, [[photo.name, photo.size] for photo in s.photos]] for s in self.sources]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _of_view(scene: str, view: View) -> Photo:
    name = f"{scene}/{view.name}"
    if view.path is None:
        return Photo(name, view.image)
    found = Photo.of_file(name, view.path)
    # Without its distortion a photo is not what its file alone tells.
    return replace(found, image=view.image, file=found.file if view.lens is None else "")
