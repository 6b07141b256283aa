"""``fit3d rooms``: furnished rooms, made up and photographed, as scene folders with maps and words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from app.console import duration, progress_bars, say, wrote

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import numpy as np
    from jaxtyping import UInt8

    from render.progress import Progress
    from training.rooms.writing import RoomFormat

PICTURE_COLUMNS = 4
PICTURE_TILE = 320  # pixels
PICTURE_VIEWS = 6  # cameras tried for the picture of a room


@dataclass(frozen=True)
class Rooms:
    """Make up furnished rooms and write each as a scene folder: photos, poses, depth, normals, classes, instances,
    captions and text queries with their answers.

    Room number N of a split is the same on every call, and no room belongs to two splits.  Folders that are
    whole already are kept, so that an interrupted command can be given again.
    """

    out: tyro.conf.Positional[Path | None] = None
    """Folder that gets one scene folder for each room, such as OUT/test-00000; left out with --picture."""
    split: Literal["train", "val", "test"] = "train"
    """Which rooms: models are trained on train, chosen on val and reported on test."""
    scenes: int = 8
    """How many rooms."""
    first: int = 0
    """Number of the first room."""
    views: int = 24
    """How many photos of each room."""
    width: int = 224
    """Width of the photos in pixels."""
    height: int = 224
    """Height of the photos in pixels."""
    gaussians: Literal["none", "sampled"] = "sampled"
    """sampled: Gaussians drawn on the surfaces, in seconds; none: photos alone, to be fitted with
    ns-train fit3d-small --data OUT/test-00000."""
    count: int = 60_000
    """About how many Gaussians."""
    processes: int | None = None
    """How many rooms are made at a time; by default one for each core."""
    picture: Path | None = None
    """Write only a sheet with one photo of each room to this PNG or JPEG file, and no scene folder."""
    overwrite: bool = False
    """Make rooms again that are whole already, or replace the picture."""

    def run(self) -> None:
        """Write the rooms, or a picture of them."""
        form = self._format()
        if self.picture is not None:
            self._draw(self.picture)
        elif self.out is not None:
            self._fill(self.out, form)

    def _fill(self, out: Path, form: RoomFormat) -> None:
        import time

        from app.scenes import refuse_existing
        from training.rooms.reading import is_whole_room
        from training.rooms.writing import room_name

        began = time.perf_counter()
        folders = {i: out / room_name(self.split, i) for i in range(self.first, self.first + self.scenes)}
        missing = [i for i, folder in folders.items() if self.overwrite or not is_whole_room(folder, form)]
        for index in missing:
            refuse_existing(folders[index], self.overwrite)
        with progress_bars() as progress:
            self._write(missing, folders, form, progress)
        kept = len(folders) - len(missing)
        wrote(out)
        say(
            f"{len(missing)} {self.split} rooms in {duration(time.perf_counter() - began)}"
            + (f", {kept} kept that were whole already" if kept else "")
        )

    def _format(self) -> RoomFormat:
        from render.errors import InputError
        from training.rooms.writing import RoomFormat

        if self.scenes < 1 or self.first < 0:
            raise InputError(f"Expected --scenes from 1 and --first from 0, found {self.scenes} and {self.first}.")
        if (self.out is None) == (self.picture is None):
            raise InputError("Expected either a folder for the rooms or --picture FILE.")
        if self.processes is not None and self.processes < 1:
            raise InputError(f"Expected --processes from 1, found {self.processes}.")
        return RoomFormat(self.views, self.width, self.height, self.gaussians, self.count)

    def _write(self, missing: Sequence[int], folders: dict[int, Path], form: RoomFormat, progress: Progress) -> None:
        what = "making rooms"
        progress(0, len(missing), what)
        with _workers(self.processes, len(missing)) as pool:
            if pool is None:
                for done, index in enumerate(missing):
                    _write_one(folders[index], self.split, index, form, None)
                    progress(done + 1, len(missing), what)
                return
            from concurrent.futures import as_completed

            waiting = [pool.submit(_write_one, folders[i], self.split, i, form, 1) for i in missing]
            for done, future in enumerate(as_completed(waiting)):
                future.result()
                progress(done + 1, len(missing), what)

    def _draw(self, picture: Path) -> None:
        from app.pictures import check_picture_name, save_picture
        from app.scenes import refuse_existing

        check_picture_name(picture)
        refuse_existing(picture, self.overwrite)
        indices = range(self.first, self.first + self.scenes)
        tiles: list[UInt8[np.ndarray, "h w 3"]] = []
        with progress_bars() as progress, _workers(self.processes, len(indices)) as pool:
            run = map if pool is None else pool.map
            for tile in run(_portrait, [self.split] * len(indices), indices):
                tiles.append(tile)
                progress(len(tiles), len(indices), "drawing rooms")
        save_picture(picture, _sheet(tiles))
        wrote(picture)


@contextmanager
def _workers(processes: int | None, jobs: int) -> Iterator[Executor | None]:
    """A pool of processes, or none where one process does it all."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from render.machine import cores

    count = min(processes or cores(), jobs)
    if count <= 1:
        yield None
        return
    # A forked child would inherit locks of threads that it does not have.
    pool = ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """What a worker process does first."""
    import threading

    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End with the command: killed, it could not tell its workers, which would draw on for what is queued."""
    import multiprocessing
    import os

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _write_one(folder: Path, split: str, index: int, form: RoomFormat, threads: int | None) -> None:
    from training.rooms.writing import write_room

    write_room(folder, split, index, form, threads=threads, overwrite=True)


def _portrait(split: str, index: int) -> UInt8[np.ndarray, "h w 3"]:
    """The photo of a room that shows the most things."""
    import numpy as np

    from training.rooms.cameras import room_cameras
    from training.rooms.layout import build_room
    from training.rooms.rendering import RoomRenderer

    renderer = RoomRenderer(build_room(split, index), threads=1)
    cameras = room_cameras(
        renderer.room, PICTURE_VIEWS, PICTURE_TILE, PICTURE_TILE * 3 // 4, 1,
        surfaces=renderer.surfaces, caster=renderer.caster,
    )  # fmt: skip
    images = [renderer.render(camera) for camera in cameras]
    return max(images, key=lambda image: (np.bincount(image.instances.ravel() + 1) > 60).sum()).rgb


def _sheet(tiles: Sequence[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Tiles in rows of four with thin white gaps."""
    import numpy as np

    gap = 4
    height, width = tiles[0].shape[:2]
    columns = min(PICTURE_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = tile
    return sheet
