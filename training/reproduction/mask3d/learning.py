"""Jobs: a network is pretrained, and fine-tuned for everything that it is measured by."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly
from training.loop import CHECKPOINT, LOG
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.mask3d.places import Places, pretrained, tuned
from training.reproduction.mask3d.plan import ARCHITECTURE, SETTINGS, SHAPE, TEST, Row
from training.reproduction.mask3d.preparing import data_of, drawn, frames_of
from training.reproduction.packing import packed

if TYPE_CHECKING:
    from training.pretraining.mask3d.running import Start
    from training.probing.photos import ProbeData
    from training.probing.scores import Scores
    from uplift.encoders.base import TrainableEncoder

DEVICE = "cpu"
AGAIN = 1000  # added to the seed of what goes on from an earlier pretraining: else it would see the same crops again
KNOWN = 32  # photos at most that were learned from, and are told again
LEARNED = "learned from"  # their group
VALIDATION = "val_"  # begins the names of what the log says of other frames


def training_jobs(
    places: Places, rows: Sequence[Row], seeds: Sequence[int], after: Sequence[str] = (), *, together: bool = False
) -> list[Job]:
    """What is left to train and to measure, seed by seed, so that what is interrupted has whole seeds.

    Args:
        places: Of the reproduction.
        rows: That are measured; each comes after the one that it goes on from.
        seeds: Of the networks.
        after: Names of jobs that all of these wait for.
        together: All seeds of a row in one job, which saves beginning where trainings are short.

    Raises:
        InputError: what is there was made with other settings.
    """
    left = {(row, seed) for row in rows for seed in row.of(seeds) if _is_left(places, row, seed, rows)}
    parts = [seeds] if together else [[seed] for seed in seeds]
    jobs: list[Job] = []
    for some in parts:
        for row in rows:
            of = [seed for seed in some if (row, seed) in left]
            awaited = [] if row.after is None else [seed for seed in some if (row.after, seed) in left]
            if of:
                before = (_name(row.after, awaited),) if row.after is not None and awaited else ()
                jobs.append(Job(_name(row, of), learn, (places, row, of), (*after, *before)))
    return jobs


def learn(places: Places, row: Row, seeds: Sequence[int], *, progress: Progress = silent) -> None:
    """Pretrain networks and fine-tune each for every setting of its row; what is done is kept.

    Args:
        places: Of the reproduction, where the rooms are.
        row: How they are pretrained.
        seeds: Of the networks: of their weights, and of frames, crops and masks, before and after.
        progress: Told of steps and photos.

    Raises:
        InputError: something is missing, or what is there was made with other settings.
        DivergedError: a loss is not finite.
    """
    data: dict[str, ProbeData] = {}
    for seed in seeds:
        if row.masking is not None and not _is_pretrained(places, row, seed):
            _pretrain(places, row, seed, progress)
        for setting in unmeasured(places, row, seed):
            if setting not in data:
                data[setting] = data_of(places, setting)
            _tune(places, row, setting, seed, data[setting], progress)


def unmeasured(places: Places, row: Row, seed: int) -> list[str]:
    """The settings whose figures are not there yet.

    Raises:
        InputError: those that are there are damaged, or were made with other settings.
    """
    names = places.measured(row)
    return [name for name in names if places.store(row, name).get(tuned(row, name, seed)) is None]


def _name(row: Row, seeds: Sequence[int]) -> str:
    return f"{row.name} {', '.join(map(str, seeds))}"


def _is_pretrained(places: Places, row: Row, seed: int) -> bool:
    return places.store(row).get(pretrained(row, seed)) is not None and places.encoder(row, seed).is_file()


def _is_left(places: Places, row: Row, seed: int, rows: Sequence[Row]) -> bool:
    """Whether something of a row is to do: figures, or an encoder that another one goes on from."""
    store = places.store(row)
    if unmeasured(places, row, seed) or (row.masking is not None and store.get(pretrained(row, seed)) is None):
        return True
    awaited = any(_is_left(places, one, seed, rows) for one in rows if one.after == row)
    return awaited and not _is_pretrained(places, row, seed)


def _pretrain(places: Places, row: Row, seed: int, progress: Progress) -> None:
    """Pretrain, or go on where that was interrupted; the checkpoint goes when the encoder is there."""
    from training.pretraining.mask3d.running import pretrain
    from training.probing.data.rooms import room_photos

    if row.masking is None:
        raise InputError(f"{row.title} is not pretrained.")
    frames, folder = frames_of(places), places.pretraining(row, seed)
    figures = pretrain(
        _start(places, row, seed),
        frames,
        folder,
        scale="small",
        numbers=places.plan.numbers(row, len(frames)),
        masking=row.masking,
        shape=SHAPE,
        validation=room_photos(places.rooms(TEST)),
        seed=seed + AGAIN * row.depth,
        device=DEVICE,
        progress=progress,
    )[1]
    spent = {"seconds": last_logged(folder, "seconds"), "peak": peak_of_job()}
    places.store(row).put(pretrained(row, seed), {"early": _early(folder), "validation": figures, **spent})
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _start(places: Places, row: Row, seed: int) -> Start:
    """What a pretraining begins with: weights of a seed, or an encoder of the same seed."""
    from training.pretraining.mask3d.running import from_encoder, from_nothing

    device = torch.device(DEVICE)
    if row.after is None:
        return from_nothing(ARCHITECTURE, device, seed=seed)
    file = places.encoder(row.after, seed)
    if not file.is_file():
        raise InputError(f"The encoder that {row.title} begins with is not at {file} yet; give the command again.")
    return from_encoder(f"mask3d:{file}", None, device)


def _tune(places: Places, row: Row, setting: str, seed: int, data: ProbeData, progress: Progress) -> None:
    """Fine-tune a network with its decoder and measure it; without pretraining both begin with weights of the seed."""
    from training.pretraining.segmentation import decoder_of, fine_tune
    from uplift.encoders import load_encoder
    from uplift.encoders.finetuned import trainable
    from uplift.encoders.untrained import make_blank

    device, folder = torch.device(DEVICE), places.tuning(row, setting, seed)
    before, began = _seconds(folder), time.perf_counter()
    learned = drawn(data.train, SETTINGS[setting].share, seed)
    known = [replace(photo, group=LEARNED) for photo in evenly(learned, KNOWN)]
    encoder: TrainableEncoder
    if row.masking is None:
        encoder = make_blank(ARCHITECTURE, device, seed=seed)
    else:
        encoder = trainable(load_encoder(f"mask3d:{places.encoder(row, seed)}", device=device))
    scores = fine_tune(
        encoder,
        decoder_of(encoder, "new" if row.masking is None else "pretrained", seed=seed),
        replace(data, train=learned, test=[*data.test, *known]),
        folder,
        scale="small",
        numbers=places.plan.tuning(row, len(learned)),
        seed=seed,
        device=DEVICE,
        progress=progress,
    )
    seconds = before + time.perf_counter() - began
    spent = {"training": last_logged(folder, "seconds"), "seconds": seconds, "peak": peak_of_job()}
    told = {"scores": packed(_without(scores, LEARNED), 0), "learned": scores.of_group(LEARNED)}
    places.store(row, setting).put(tuned(row, setting, seed), told | spent)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _without(scores: Scores, group: str) -> Scores:
    """Scores of all groups but one."""
    kept = [place for place, name in enumerate(scores.groups) if name != group]
    return replace(scores, groups=tuple(scores.groups[place] for place in kept), sums=scores.sums[:, kept])


def _lines(folder: Path) -> list[Mapping[str, Any]]:
    """What the log of a training said; nothing where none has begun."""
    log = folder / LOG
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []


def _seconds(folder: Path) -> float:
    """What a training took until it was interrupted; 0 where it was not."""
    return float(max((line["seconds"] for line in _lines(folder) if "seconds" in line), default=0.0))


def _early(folder: Path) -> dict[str, float]:
    """Losses of other frames when they were first asked for, a tenth of a pretraining after its beginning."""
    found = [{name: value for name, value in line.items() if name.startswith(VALIDATION)} for line in _lines(folder)]
    first: dict[str, float] = next((values for values in found if values), {})
    return {name.removeprefix(VALIDATION): float(value) for name, value in first.items()}
