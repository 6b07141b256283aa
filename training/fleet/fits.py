"""The arguments of ``ns-train`` for a scene, and going on with a fit that was interrupted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from render.errors import InputError
from render.files import atomic_file
from training.fleet.jobs import SceneJob
from training.import_run import CONFIG, read_config

MODELS, PLAN = "nerfstudio_models", "plan.json"
CHECKPOINT = re.compile(r"step-(\d+)\.ckpt")


def fit_arguments(job: SceneJob, data: Path, fingerprint: str) -> tuple[list[str], int | None]:
    """Arguments that fit ``data`` from the start, or from the last checkpoint of an interrupted fit.

    Args:
        job: The scene.
        data: The capture.
        fingerprint: Of the capture and the settings; a run of another one is not gone on with.

    Returns:
        The arguments, and the step to go on from; None = from the start.
    """
    settings, run = job.settings, job.run
    arguments = [settings.method, "--data", str(data), "--output-dir", str(job.runs.parent)]
    arguments += ["--experiment-name", job.name, "--timestamp", run.name, "--vis", "tensorboard"]
    if settings.device != "auto":
        arguments += ["--machine.device-type", settings.device]
    if settings.learned is not None:
        arguments += ["--pipeline.datamanager.encoder", settings.learned.name]
        weights = settings.learned.weights
        arguments += [] if weights is None else ["--pipeline.datamanager.encoder-weights", str(weights)]
    arguments += settings.training
    reached = _reached(job, fingerprint)
    if reached is None:
        return arguments, None
    step, total = reached
    # Of an option that is given twice the last one counts.  nerfstudio counts the steps of this run alone.
    return [*arguments, "--load-dir", str(run / MODELS), "--max-num-iterations", str(total - step)], step


def is_fitted(job: SceneJob, fingerprint: str) -> bool:
    """Whether a run with these settings has its last checkpoint."""
    reached = _reached(job, fingerprint)
    return reached is not None and reached[0] >= reached[1]


def begin_fit(job: SceneJob, fingerprint: str) -> None:
    """Write down what the run will be of; remove one of other settings, or that has no checkpoint."""
    reached = _reached(job, fingerprint)
    if reached is None:
        shutil.rmtree(job.runs, ignore_errors=True)
    content = {"fingerprint": fingerprint, "steps": None if reached is None else reached[1]}
    with atomic_file(job.runs / PLAN) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _reached(job: SceneJob, fingerprint: str) -> tuple[int, int] | None:
    """How many steps are done and how many are planned; None if there is nothing to go on from."""
    steps = [int(m[1]) for p in (job.run / MODELS).glob("step-*.ckpt") if (m := CHECKPOINT.fullmatch(p.name))]
    try:
        plan = json.loads((job.runs / PLAN).read_text("utf-8"))
        if not steps or plan["fingerprint"] != fingerprint:
            return None
        # A run that goes on states only what was left; the first one's plan was kept then.
        total = plan["steps"] or read_config(job.run / CONFIG)["max_num_iterations"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, InputError):
        return None
    return max(steps) + 1, int(total)
