"""Jobs: a network is pretrained, and fine-tuned for everything that it is measured by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from render.errors import InputError
from render.progress import Progress, silent
from training.loop import CHECKPOINT
from training.reproduction.costs import last_logged, peak_of_job
from training.reproduction.jobs import Job
from training.reproduction.mask3d.places import Places, pretrained, tuned
from training.reproduction.mask3d.plan import ARCHITECTURE, SETTINGS, SHAPE, TEST, Row
from training.reproduction.mask3d.preparing import data_of, frames_of
from training.reproduction.packing import packed

if TYPE_CHECKING:
    from training.pretraining.mask3d.running import Start
    from training.probing.photos import ProbeData
    from uplift.encoders.base import TrainableEncoder

DEVICE = "cpu"
AGAIN = 1000  # added to the seed of what goes on from an earlier pretraining: else it would see the same crops again


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
    left = {(row, seed) for row in rows for seed in seeds if _is_left(places, row, seed, rows)}
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
    places.store(row).put(pretrained(row, seed), {"validation": figures, **spent})
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

    began, device, folder = time.perf_counter(), torch.device(DEVICE), places.tuning(row, setting, seed)
    share = SETTINGS[setting].share
    encoder: TrainableEncoder
    if row.masking is None:
        encoder = make_blank(ARCHITECTURE, device, seed=seed)
    else:
        encoder = trainable(load_encoder(f"mask3d:{places.encoder(row, seed)}", device=device))
    scores = fine_tune(
        encoder,
        decoder_of(encoder, "new" if row.masking is None else "pretrained", seed=seed),
        data,
        folder,
        scale="small",
        numbers=places.plan.tuning(max(1, round(share * len(data.train)))),
        share=share,
        seed=seed,
        device=DEVICE,
        progress=progress,
    )
    spent = {"training": last_logged(folder, "seconds"), "seconds": time.perf_counter() - began, "peak": peak_of_job()}
    places.store(row, setting).put(tuned(row, setting, seed), {"scores": packed(scores, 0), **spent})
    (folder / CHECKPOINT).unlink(missing_ok=True)
