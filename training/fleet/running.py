"""All that one scene needs, one command after the other."""

from __future__ import annotations

import shutil

from render.errors import InputError
from training.fleet.commands import Stopped, cause, environment, program, run_command
from training.fleet.fits import begin_fit
from training.fleet.jobs import Outcome, SceneJob, Slot
from training.fleet.locks import locked
from training.fleet.records import Done, Record
from training.fleet.stages import FIT, pending


def fit_scene(job: SceneJob, slot: Slot) -> Outcome:
    """Do what is not done yet; a stage that is done is written down at once.

    Nobody else works on the scene meanwhile: what a worker left that was killed is waited for.

    Raises:
        Stopped: the slot's ``stop`` was set.
    """
    try:
        with locked(job.lock, slot.stop) as held:
            return _fit_alone(job, slot, held)
    except (InputError, OSError) as error:
        return Outcome(job.name, failed="waiting", cause=str(error))


def _fit_alone(job: SceneJob, slot: Slot, held: int) -> Outcome:
    """All stages, while the scene is locked."""
    done: list[str] = []
    name, log = "reading", None
    try:
        record = Record.load(job.record, str(job.source))
        for stage in pending(job):
            if slot.stop is not None and slot.stop.is_set():
                raise Stopped
            name, log = stage.name, job.logs / f"{stage.name.replace(' ', '-')}.log"
            variables = environment(slot.threads, slot.devices)
            if name == FIT:
                begin_fit(job, stage.fingerprint)
            record = record.with_begun(name, stage.fingerprint)
            record.save(job.record)
            cost = run_command([program(stage.command[0]), *stage.command[1:]], log, variables, slot.stop, held=[held])
            if cost.code != 0 or not stage.makes.exists():
                return Outcome(job.name, tuple(done), name, cause(cost, log), log)
            figures = Done(stage.fingerprint, cost.seconds, cost.cpu, cost.peak, stage.resumed_from)
            record = record.with_stage(name, figures)
            record.save(job.record)
            done.append(name)
        if not job.settings.keep_runs:
            shutil.rmtree(job.runs, ignore_errors=True)
        shutil.rmtree(job.copy, ignore_errors=True)
    except (InputError, OSError) as error:
        return Outcome(job.name, tuple(done), name, str(error), log)
    return Outcome(job.name, tuple(done))
