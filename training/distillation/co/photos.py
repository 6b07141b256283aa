"""The photos of a co-distillation: where they come from and whose they are (DUNE, section 4.3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError
from render.scene import TRANSFORMS
from render.views import View, read_photo
from training.probing.data.files import PHOTOS
from training.scenes import open_scenes
from uplift.encoders.base import as_image

if TYPE_CHECKING:
    from jaxtyping import UInt8

GENERIC = "generic"  # whose photos are no teacher's own
HELD_OUT = 20  # one photo of so many is validated on
KEPT_BYTES = 2 << 30  # of photos that are kept in memory; the others are read whenever they are needed


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo, read when it is asked for.

    Attributes:
        name: Within its source.
        image: Gives ``[h, w, 3]`` uint8.
        size: Bytes of its file; 0 where it has none.
    """

    name: str
    image: Callable[[], UInt8[np.ndarray, "h w 3"]]
    size: int = 0


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
            "Co-distillation needs photos: give --data generic=FOLDER, or NAME=FOLDER for a teacher's own."
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
        InputError: no such folder, or there are no photos.
    """
    if not folder.is_dir():
        raise InputError(f"Expected a folder of photos or scenes at {folder}, found none.")
    if (folder / TRANSFORMS).is_file() or any(folder.glob(f"*/{TRANSFORMS}")):
        photos = []
        for scene in open_scenes([folder]):
            scene.require_photos()
            photos += [_of_view(scene.path.name, view) for view in scene.views]
    else:
        deeper = next(iter(sorted(folder.rglob(TRANSFORMS))), None)
        if deeper is not None:  # its maps of depth and classes are no photos
            raise InputError(
                f"Scenes lie deeper in {folder}, such as {deeper.parent}: give the folder that holds them, "
                f"{deeper.parent.parent}, and others as sources of their own."
            )
        files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in PHOTOS and f.is_file())
        files = [f for f in files if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
        if without is not None and folder.resolve() in without.resolve().parents:
            files = [f for f in files if without.resolve() not in f.resolve().parents]
        photos = [Photo(str(f.relative_to(folder)), partial(read_photo, f), f.stat().st_size) for f in files]
    if not photos:
        raise InputError(f"Expected photos ({', '.join(PHOTOS)}) or scenes in {folder}, found none.")
    return Source(owner, folder.resolve().name, photos)


def thinned(source: Source, most: int | None) -> Source:
    """A source with so many of its photos at most, evenly spaced; None = all."""
    if most is None or len(source.photos) <= most:
        return source
    return replace(source, photos=[source.photos[i] for i in evenly_spaced(len(source.photos), most)])


def evenly_spaced(count: int, most: int) -> list[int]:
    """So many of ``count`` places at most, the first and the last among them; of one the first alone."""
    chosen: list[int] = np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
    return chosen


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
    """

    def __init__(self, sources: Sequence[Source], *, keep: int = KEPT_BYTES) -> None:
        """Put sources together; nothing is read yet.

        Args:
            sources: One at least.
            keep: Bytes of photos that may be kept in memory.
        """
        self.sources = list(sources)
        self.starts = np.cumsum([0, *(len(source.photos) for source in sources)]).tolist()
        self._kept: dict[int, UInt8[np.ndarray, "h w 3"]] = {}
        self._most, self._left, self._lock = keep, keep, Lock()

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
        found = self._kept.get(index)
        if found is None:
            found = self.read(index)
            with self._lock:
                if index not in self._kept and found.nbytes <= self._left:
                    self._left -= found.nbytes
                    self._kept[index] = found
        return found

    def read(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """A photo, read anew and not kept.

        Raises:
            InputError: it cannot be read.
        """
        source = self.source_of(index)
        return as_image(self.sources[source].photos[index - self.starts[source]].image())

    def evenly(self, most: int) -> list[int]:
        """So many photos of every source at most, evenly spaced."""
        spans = zip(self.starts[:-1], self.starts[1:], strict=True)
        return [start + place for start, end in spans for place in evenly_spaced(end - start, most)]

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of the first photo of each source, in pixels; they tell about how large the others are."""
        return [self.image(start).shape[:2] for start in self.starts[:-1]]

    def memory(self) -> int:
        """About how many bytes will be kept, if all are asked for and those of a source are of one size."""
        counts = np.diff(self.starts).tolist()
        needed = sum(3 * h * w * count for (h, w), count in zip(self.sizes, counts, strict=True))
        return min(self._most, needed)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the photos are: owners, names and sizes of files; not where they lie."""
        listed = [[s.owner, s.name, [[photo.name, photo.size] for photo in s.photos]] for s in self.sources]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _of_view(scene: str, view: View) -> Photo:
    size = 0 if view.path is None else view.path.stat().st_size
    return Photo(f"{scene}/{view.name}", view.image, size)
