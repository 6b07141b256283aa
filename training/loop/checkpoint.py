"""Checkpoints: one file, written whole or not at all, from which a training goes on exactly."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from render.errors import InputError
from render.files import atomic_file
from training.loop.schedule import Schedule
from training.loop.task import Task

if TYPE_CHECKING:
    from torch.amp import GradScaler
    from torch.optim import Optimizer

CHECKPOINT = "checkpoint.pt"
STEPS_BEFORE, SECONDS_BEFORE = "steps_before", "seconds_before"  # in the log of a training that started from another
LAYOUT = 2  # of the file
# What torch raises on files that are not its own, or not whole.
DAMAGED = (UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, AttributeError, EOFError, OSError)


@dataclass
class Position:
    """How far a training is.

    Attributes:
        done: Steps.
        elapsed: Seconds that they took.
        means: What the log has yet to average: weighted sum and sum of weights by name.
    """

    done: int = 0
    elapsed: float = 0.0
    means: dict[str, tuple[float, float]] = field(default_factory=dict)


def identity(task: Task, schedule: Schedule, precision: str) -> dict[str, Any]:
    """What a checkpoint must agree with to be gone on from, as JSON has it."""
    found = {"name": task.name, **task.identity(), **schedule.identity(), "precision": precision}
    return dict(json.loads(json.dumps(found)))


def save(
    path: Path,
    of: dict[str, Any],
    position: Position,
    task: Task,
    optimizer: Optimizer,
    scaler: GradScaler | None,
) -> None:
    """Write a checkpoint in the place of the one before."""
    state = {
        "layout": LAYOUT,
        "identity": json.dumps(of),
        "step": position.done,
        "elapsed": position.elapsed,
        "means": {name: list(value) for name, value in position.means.items()},
        "task": task.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
    }
    with atomic_file(path) as temporary:
        torch.save(state, temporary)


def restore(path: Path, of: dict[str, Any], task: Task, optimizer: Optimizer, scaler: GradScaler | None) -> Position:
    """Take over what a checkpoint holds; without one, the beginning.

    Raises:
        InputError: the file cannot be read, or is of another training.
    """
    if not path.is_file():
        return Position()
    with _readable(path, task):
        state = _read(path)
        _agree(path, of, json.loads(state["identity"]))
        task.load_state_dict(state["task"])
        optimizer.load_state_dict(state["optimizer"])
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])
        means = {name: (float(total), float(weights)) for name, (total, weights) in state["means"].items()}
        return Position(int(state["step"]), float(state["elapsed"]), means)


def refuse_other(path: Path, of: dict[str, Any], task: Task, unknown: Collection[str] = ()) -> None:
    """Read whose a checkpoint is, before anything is prepared.

    Args:
        path: The file, which may be missing.
        of: What it must agree with.
        task: What is trained.
        unknown: Names in ``of`` whose values are not known yet.

    Raises:
        InputError: the file cannot be read, or is of another training.
    """
    if path.is_file():
        with _readable(path, task):
            found = json.loads(_read(path, whole=False)["identity"])
            _agree(path, _without(of, unknown), _without(found, unknown))


def begin_at(path: Path, task: Task) -> dict[str, float]:
    """Take over the networks of another training of the task; says what that took.

    Raises:
        InputError: there is no such file, or it is not a checkpoint of the task.
    """
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path} to start from.")
    with _readable(path, task):
        state = _read(path)
        name = json.loads(state["identity"])["name"]
        if name != task.name:
            raise InputError(f"{path} is a checkpoint of {name}, expected one of {task.name}.")
        task.load_state_dict(state["task"])
        return {STEPS_BEFORE: int(state["step"]), SECONDS_BEFORE: float(state["elapsed"])}


def clean(path: Path) -> None:
    """Delete what a process left that was killed while it wrote."""
    for left in path.parent.glob(f".{path.stem}-*{path.suffix}"):
        left.unlink(missing_ok=True)


def _read(path: Path, *, whole: bool = True) -> dict[str, Any]:
    """The file's content; its tensors are read when they are looked at, unless the whole is needed at once."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=not whole)
    if "modules" in state and "layout" not in state:
        raise InputError(f"{path} was written by an earlier version of fit3d, delete it to begin anew.")
    if state["layout"] != LAYOUT:
        raise InputError(f"{path} has layout {state['layout']}, expected {LAYOUT}; delete it to begin anew.")
    return state


def _agree(path: Path, expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Say what differs, and nothing else."""
    expected, found = _flat(expected), _flat(found)
    differing = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if differing:
        said = [", ".join(f"{name} {of.get(name)}" for name in differing) for of in (expected, found)]
        raise InputError(
            f"{path} belongs to another training: expected {said[0]}, found {said[1]}; choose another folder, or "
            "delete that file to begin anew."
        )


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Values of dictionaries in dictionaries by their path: ``masking.depth``."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def _without(identity: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in identity.items() if name not in names}


@contextmanager
def _readable(path: Path, task: Task) -> Iterator[None]:
    """Turn what a damaged checkpoint raises into one sentence."""
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".: ")
        raise InputError(
            f"{path} is not a checkpoint of {task.name} ({reason}); delete it to begin anew, or choose another file."
        ) from error
