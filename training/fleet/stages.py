"""Which commands a scene still needs: copy photos, fit Gaussians, import them, lift features."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.errors import InputError
from render.readers import read_capture
from render.scene import GAUSSIANS, TRANSFORMS
from training.fleet.fits import MODELS, fit_arguments, is_fitted
from training.fleet.jobs import EncoderChoice, SceneJob
from training.fleet.records import Record
from training.fleet.sources import RUN_FILE, kind_of

COPY, FIT, IMPORT, LIFT = "copy", "fit", "import", "lift"
AGAIN = "pass --overwrite to make it again, or give another --out"


@dataclass(frozen=True)
class Stage:
    """One command for a scene.

    Attributes:
        name: copy, fit, import, or lift and the name of the field.
        command: Name of the program, and arguments.
        makes: The file or folder that is there afterwards.
        fingerprint: Of everything that the result depends on.
        resumed_from: Step from which an interrupted fit goes on.
    """

    name: str
    command: tuple[str, ...]
    makes: Path
    fingerprint: str
    resumed_from: int | None = None


def pending(job: SceneJob) -> list[Stage]:
    """The stages that are not done yet, in order.

    Raises:
        InputError: the source cannot be read, or something was made with other settings or by somebody else, and
            may not be replaced.
    """
    record = Record.load(job.record, str(job.source))
    origin, making = _making(job)
    stages = [] if making and _is_done(making[-1], record, job) else [s for s in making if not _is_done(s, record, job)]
    for choice in job.settings.encoders:
        stage = _lift(job, choice, origin)
        if stages or not _is_done(stage, record, job):
            stages.append(stage)
    return stages


def _making(job: SceneJob) -> tuple[str, list[Stage]]:
    """What the scene's Gaussians depend on, and the stages that make them."""
    source, settings, kind = job.source, job.settings, kind_of(job.source)
    if job.in_place:
        return _file_hash(source / GAUSSIANS), []
    if kind == "run" or (kind == "output" and not settings.refit):
        if settings.refit:
            raise InputError(f"{source} is a run of ns-train; name the folder of its photos to fit them again.")
        origin = _digest(IMPORT, _run_key(source) if kind == "run" else _capture_key(source))
        return origin, [_import(job, source, origin)]
    key = _capture_key(source)
    stages, data = [], source
    if kind in ("colmap", "output"):
        data = job.copy
        copying = ("python", "-m", "training.fleet.copying", str(source), str(data))
        stages.append(Stage(COPY, copying, data / TRANSFORMS, _digest(COPY, key)))
    learned = None if settings.learned is None else [settings.learned.name, settings.learned.fingerprint]
    origin = _digest(FIT, key, settings.method, settings.training, learned)
    arguments, step = fit_arguments(job, data, origin)
    return origin, [
        *stages,
        Stage(FIT, ("ns-train", *arguments), job.run / MODELS, origin, step),
        _import(job, job.run, origin),
    ]


def _import(job: SceneJob, source: Path, origin: str) -> Stage:
    command = ("fit3d", "import", str(source), str(job.scene), "--overwrite")  # what may not be replaced ended before
    return Stage(IMPORT, command, job.scene / TRANSFORMS, origin)


def _lift(job: SceneJob, choice: EncoderChoice, origin: str) -> Stage:
    settings, path = job.settings, job.scene / "fields" / f"{choice.field}.safetensors"
    arguments = ["--encoder", choice.name, "--name", choice.field, "--device", settings.device, "--overwrite"]
    arguments += [] if choice.weights is None else ["--weights", str(choice.weights)]
    arguments += settings.lifting
    fingerprint = _digest(LIFT, origin, choice.name, choice.fingerprint, settings.lifting)
    return Stage(f"{LIFT} {choice.field}", ("fit3d", "lift", str(job.scene), *arguments), path, fingerprint)


def _is_done(stage: Stage, record: Record, job: SceneJob) -> bool:
    """Whether a stage's result is there, made with these settings.

    A field that somebody lifted by hand is left as it is.
    """
    if not stage.makes.exists():
        return False
    done = record.stages.get(stage.name)
    if stage.name == FIT:
        return is_fitted(job, stage.fingerprint)
    if done is not None and done.fingerprint == stage.fingerprint:
        return True
    begun = record.begun.get(stage.name) == stage.fingerprint  # killed before it could be written down
    if begun or job.settings.overwrite or stage.name == COPY:
        return False
    if done is None and stage.name.startswith(LIFT) and job.in_place:
        return True
    how = "is there already" if done is None else "was made of other photos or with other settings"
    raise InputError(f"{stage.makes} {how}; {AGAIN}.")


def _capture_key(source: Path) -> str:
    """Hash of poses and intrinsics, and of names and sizes of photos."""
    capture = read_capture(source)
    photos = [[photo.name, photo.stat().st_size if photo.is_file() else None] for photo in capture.photos]
    extra = [] if capture.gaussians is None else [_file_hash(capture.gaussians)]
    return _digest(capture.transforms, photos, *extra)


def _run_key(run: Path) -> str:
    """Hash of a run's settings and of its latest checkpoint's name and size."""
    checkpoints = sorted((run / MODELS).glob("step-*.ckpt"))
    return _digest(_file_hash(run / RUN_FILE), [[c.name, c.stat().st_size] for c in checkpoints[-1:]])


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
