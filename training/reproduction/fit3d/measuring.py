"""Rows of the tables: features, heads on them, and how much views disagree."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent
from render.spacing import evenly_spaced
from training.probing.kept import KeptMaps, Maps, beside, describe_photos, stacked
from training.probing.photos import Task
from training.probing.running import run_probe
from training.probing.scores import Scores
from training.probing.settings import ProbeSettings
from training.probing.sources import Described, SideBySide
from training.reproduction.fit3d.data import ROOMS, Measured
from training.reproduction.fit3d.lifting import lifted
from training.reproduction.fit3d.places import Places, measured
from training.reproduction.fit3d.plan import Plan, Row
from training.reproduction.packing import packed

if TYPE_CHECKING:
    from training.finetuning.scenes import TunedScenes
    from training.finetuning.transport import Transport
    from training.probing.photos import ProbeData
    from training.probing.sources import FeatureSource
    from uplift.encoders.base import TrainableEncoder

SHOWN = 4  # test photos that predictions are kept of


def measure(
    out: Path,
    plan: Plan,
    encoder: str,
    of: Measured,
    rows: Sequence[Row],
    seeds: Sequence[int],
    *,
    progress: Progress = silent,
) -> None:
    """Measure rows for every seed: a fine-tuned network has heads of its own seed; what is measured is kept.

    Args:
        out: Folder of the reproduction.
        plan: Its sizes.
        encoder: A name of the plan's encoders.
        of: The photos.
        rows: Whose fine-tunings are there.
        seeds: Of fine-tunings and heads.
        progress: Told of photos and steps.

    Raises:
        InputError: something is missing, or what is there was made with other settings.
    """
    places = Places(out, plan)
    left = {row: missing_seeds(places, encoder, of, row, seeds) for row in rows}
    if not any(left.values()):
        return
    station = _Station(places, encoder, of, progress)
    for row, missing in left.items():
        for together in [[seed] for seed in missing] if row.kind == "tuned" else [missing] if missing else []:
            began = time.perf_counter()
            maps = station.maps(row, together[0])
            found = {task: station.probe(row, task, maps, together) for task in row.tasks if task in of.tasks}
            known = station.inconsistencies(maps)
            spent = (time.perf_counter() - began) / len(together)
            for place, seed in enumerate(together):
                scores = {task: packed(one, place) for task, one in found.items()}
                figures = {"scores": scores, "inconsistency": known, "seconds": spent}
                places.store(row.tuning, of.digest).put(measured(encoder, of.name, row, seed), figures)


def missing_seeds(places: Places, encoder: str, of: Measured, row: Row, seeds: Sequence[int]) -> list[int]:
    """The seeds whose figures of a row are not there yet.

    Raises:
        InputError: those that are there are damaged, or were made with other settings.
    """
    store = places.store(row.tuning, of.digest)
    return [seed for seed in seeds if store.get(measured(encoder, of.name, row, seed)) is None]


class _Station:
    """Features of one encoder and one kind of data, and what is measured with them."""

    def __init__(self, places: Places, name: str, of: Measured, progress: Progress) -> None:
        self._places, self._name, self._of, self._progress = places, name, of, progress
        self._data: ProbeData = of.read(places)
        self._photos = [*self._data.train, *self._data.test]
        self._encoder: TrainableEncoder = places.encoder(name)
        self._whole = "depth" in of.tasks
        self._settings = ProbeSettings(steps=places.plan.probe_steps, batch=places.plan.probe_batch)
        self._transports: dict[str, Transport] = {}
        self._original = self._kept_original()

    def maps(self, row: Row, seed: int) -> list[Maps]:
        """The features of a row: the original's, and what stands beside them; or one alone."""
        if row.kind == "original":
            return [self._original]
        if row.kind == "twice":
            return [self._original, self._original]
        if row.kind == "lifted":
            return [self._original, self._lifted()]
        if row.tuning is None:
            raise InputError(f"The row {row.name} needs a fine-tuning, found none.")
        from uplift.encoders.finetuned import PREFIX, make_finetuned

        assembly = "alone" if row.assembly == "concatenated" else row.assembly
        file = self._places.tuned_file(self._name, row.tuning, seed)
        weights = self._places.weights(self._name)
        tuned = make_finetuned(f"{PREFIX}{file}@{assembly}", weights, torch.device("cpu"))
        found = self._described(tuned)
        return [self._original, found] if row.assembly == "concatenated" else [found]

    def probe(self, row: Row, task: Task, maps: Sequence[Maps], seeds: Sequence[int]) -> Scores:
        """Fit heads and measure them; what the first seed's heads say of some photos is written down."""
        parts = [KeptMaps(row.title, one) for one in maps]
        source: FeatureSource = parts[0] if len(parts) == 1 else SideBySide(parts, row.title)
        shown = show_indices(len(self._data.test)) if self._of.name == ROOMS and seeds[0] == 0 else []
        result = run_probe(
            self._data, task, source, seeds=seeds, settings=self._settings, show=shown, progress=self._progress
        )
        if shown:
            with atomic_file(self._places.told(self._name, row, task)) as temporary:
                told: dict[str, Any] = {str(index): values for index, values in result.told.items()}
                np.savez_compressed(temporary, **told)
        return result.scores

    def inconsistencies(self, maps: Sequence[Maps]) -> dict[str, dict[str, float]]:
        """Multi-view inconsistency in every test room: of what stands beside the original, and of both together."""
        if self._of.name != ROOMS:
            return {}
        found = {"own": self._inconsistency(maps[-1])}
        return {**found, "assembled": self._inconsistency(beside(*maps)) if len(maps) > 1 else found["own"]}

    def _inconsistency(self, maps: Maps) -> dict[str, float]:
        from training.finetuning.measures import inconsistency

        rooms: dict[str, list[str]] = {}
        for photo in self._data.test:
            rooms.setdefault(photo.group, []).append(photo.name)
        self._transports = self._transports or self._read_transports()
        # Without patches that several views see there is nothing to measure, whatever the features.
        known = {room: names for room, names in rooms.items() if bool(self._transports[room].mask().any())}
        return {
            room: inconsistency(stacked(maps, room, names), self._transports[room]) for room, names in known.items()
        }

    def _read_transports(self) -> dict[str, Transport]:
        scenes = self._scenes("test")
        names = [scene.path.resolve().name for scene in scenes.scenes]
        return {name: scenes.transport(index) for index, name in enumerate(names)}

    def _scenes(self, split: str) -> TunedScenes:
        from training.finetuning.scenes import TunedScenes

        return TunedScenes([room.scene for room in self._places.room_scenes(split)], self._encoder)

    def _lifted(self) -> Maps:
        return {
            key: one
            for split in ("train", "test")
            for key, one in lifted(self._original, self._scenes(split), self._progress).items()
        }

    def _described(self, encoder: TrainableEncoder) -> Maps:
        return describe_photos(encoder, self._photos, whole=self._whole, progress=self._progress)

    def _kept_original(self) -> Maps:
        """The original's features: several jobs need them, so they are kept on disk."""
        path = self._places.out / "maps" / f"{self._name}-{self._of.name}.safetensors"
        photos = [[photo.group, photo.name] for photo in self._photos]
        of = self._of.digest or asdict(self._places.plan.form)
        digest = _digest([self._encoder.fingerprint(), of, photos])
        return _read_maps(path, digest) or _written_maps(path, digest, self._described(self._encoder))


def show_indices(count: int) -> list[int]:
    """The test photos that are shown, evenly spaced."""
    return evenly_spaced(count, SHOWN)


def read_told(path: Path) -> dict[int, np.ndarray]:
    """What heads said of the photos that are shown, by index; nothing where it cannot be read."""
    try:
        with np.load(path) as archive:
            return {int(name): archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError):
        return {}


def _digest(parts: Any) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read_maps(path: Path, digest: str) -> Maps | None:
    from uplift.field import read_safetensors

    try:
        tensors, header = read_safetensors(path)
        keys = [(str(group), str(name)) for group, name in header["keys"]]
        if header["digest"] != digest:
            return None
        return {
            key: Described(*pair)
            for key, pair in zip(keys, zip(tensors["patches"], tensors["whole"], strict=True), strict=True)
        }
    except (InputError, KeyError, TypeError, ValueError):
        return None  # computed again


def _written_maps(path: Path, digest: str, maps: Maps) -> Maps:
    """Keep maps on disk if all have one size."""
    from uplift.field import write_safetensors

    if len({one.patches.shape for one in maps.values()}) == 1:
        tensors = {"patches": [one.patches for one in maps.values()], "whole": [one.whole for one in maps.values()]}
        header = {"digest": digest, "keys": [list(key) for key in maps]}
        write_safetensors(path, {name: torch.stack(parts) for name, parts in tensors.items()}, header)
    return maps
