"""The loop that trains a small encoder: AdamW, one cosine, checkpoints to go on from, a log of JSON lines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.random import Generator

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"
STEPS_BEFORE, SECONDS_BEFORE = "steps_before", "seconds_before"  # in the log of a training that started from another


class Task(Protocol):
    """What is trained."""

    name: str

    def modules(self) -> Mapping[str, nn.Module]:
        """Everything with a state that a checkpoint keeps, the teacher of a self-distillation among it."""
        ...

    def trained(self) -> Iterable[nn.Module]:
        """The modules whose parameters the optimizer changes."""
        ...

    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a new batch and figures for the log; ``progress`` runs from 0 to 1.

        All randomness comes from ``random`` or torch's global generator (seeded anew at every step): a resumed
        training then sees the batches that an uninterrupted one would have seen.
        """
        ...

    def after_step(self, progress: float) -> None:
        """What follows the optimizer's step, such as a moving average of the weights."""
        ...

    def validate(self) -> dict[str, float]:
        """Figures on rooms that are not trained on."""
        ...

    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        """The model whose weights travel, and text that travels in their file."""
        ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a training goes.

    Attributes:
        steps: Optimizer steps.
        rate: Learning rate after the warm-up; it falls along a cosine to a hundredth.
        weight_decay: AdamW's, on matrices alone (no biases, norms, tokens).
        warmup: Part of the steps in which the rate rises.
        clip: Largest norm of the gradient.
        seed: Of weights, batches and dropout.
        save_every: Seconds between checkpoints.
        log_every: Steps that a line of the log averages.
        validate_every: Steps between validations.
    """

    steps: int
    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    clip: float = 3.0
    seed: int = 0
    save_every: float = 180.0
    log_every: int = 25
    validate_every: int = 500

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        angle = math.pi * (step - warm) / max(1, self.steps - warm)
        return self.rate * (0.01 + 0.99 * (1 + math.cos(angle)) / 2)


def train(
    task: Task,
    schedule: Schedule,
    out: str | Path,
    *,
    start: str | Path | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Train, or go on with a training that was interrupted: the checkpoint in ``out`` is found by itself.

    On a CPU the forward pass runs in bfloat16 where the processor multiplies in it, in float32 elsewhere.

    Args:
        task: What is trained; its modules are on their device.
        schedule: Steps, rates, seed.
        out: Folder for ``checkpoint.pt`` and ``log.jsonl``.
        start: ``checkpoint.pt`` of a finished training whose networks this one takes over, with a schedule and an
            optimizer of its own; None = from nothing.
        progress: Told after every step.

    Returns:
        The figures of the last validation.

    Raises:
        InputError: the checkpoint cannot be read, or is of another training.
        RuntimeError: the loss is no longer finite.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    modules, parameters = task.modules(), [p for module in task.trained() for p in module.parameters()]
    optimizer = torch.optim.AdamW(_groups(parameters, schedule.weight_decay), lr=schedule.rate, betas=(0.9, 0.98))
    done, elapsed = _restore(out / CHECKPOINT, task, schedule, modules, optimizer)
    log = _Log(out / LOG, done)
    if start is not None and not done:
        log.write(0, _begin_at(Path(start), task, modules))
    device = parameters[0].device
    began = saved = time.monotonic()
    figures: dict[str, float] = {}
    for step in range(done, schedule.steps):
        part = step / schedule.steps
        random = np.random.default_rng([schedule.seed, step])
        torch.manual_seed(int(random.integers(2**62)))
        rate = schedule.rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=_half_is_quick(device)):
            loss, values = task.step(random, part)
        if not torch.isfinite(loss):
            raise RuntimeError(
                f"The loss of {task.name} is {float(loss.detach())} at step {step}; the checkpoint before is kept."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimizer.step()
        task.after_step(part)
        last = step + 1 == schedule.steps
        log.add({"loss": float(loss.detach()), "gradient": float(norm), **values})
        now = time.monotonic()
        if (step + 1) % schedule.log_every == 0 or last:
            log.write(step + 1, {"rate": rate, "seconds": elapsed + now - began})
        if (step + 1) % schedule.validate_every == 0 or last:
            figures = task.validate()
            log.write(step + 1, {f"val_{name}": value for name, value in figures.items()})
        if now - saved > schedule.save_every or last:
            spent = elapsed + time.monotonic() - began
            _save(out / CHECKPOINT, task, schedule, modules, optimizer, step + 1, spent)
            saved = time.monotonic()
        progress(step + 1, schedule.steps, task.name)
    return figures or task.validate()


def _half_is_quick(device: torch.device) -> bool:
    """Whether matrices in bfloat16 are multiplied faster than in float32."""
    if device.type != "cpu":
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "AVX512" in torch.backends.cpu.get_cpu_capability()


def _groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in parameters if p.requires_grad and p.ndim >= 2 and min(p.shape) > 1]
    known = {id(p) for p in matrices}
    others = [p for p in parameters if p.requires_grad and id(p) not in known]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _identity(task: Task, schedule: Schedule) -> dict[str, Any]:
    """What a checkpoint must agree with to be gone on from."""
    return {"name": task.name, "steps": schedule.steps, "seed": schedule.seed, "rate": schedule.rate}


def _save(
    path: Path,
    task: Task,
    schedule: Schedule,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    done: int,
    elapsed: float,
) -> None:
    state = {
        "task": _identity(task, schedule),
        "step": done,
        "elapsed": elapsed,
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimizer": optimizer.state_dict(),
    }
    with atomic_file(path) as temporary:
        torch.save(state, temporary)


def _restore(
    path: Path,
    task: Task,
    schedule: Schedule,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
) -> tuple[int, float]:
    """The steps done and the seconds they took; 0 without a checkpoint."""
    if not path.is_file():
        return 0, 0.0
    with _readable(path, task):
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["task"]
        expected = _identity(task, schedule)
        if found != expected:
            raise InputError(
                f"{path} belongs to another training: expected {expected}, found {found}; choose another folder, or "
                "delete that file to begin anew."
            )
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"]), float(state["elapsed"])


def _begin_at(path: Path, task: Task, modules: Mapping[str, nn.Module]) -> dict[str, float]:
    """Take over the networks of another training of the task; says what that took."""
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path} to start from.")
    with _readable(path, task):
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["task"]["name"] != task.name:
            raise InputError(f"{path} is a checkpoint of {state['task']['name']}, expected one of {task.name}.")
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        return {STEPS_BEFORE: int(state["step"]), SECONDS_BEFORE: float(state["elapsed"])}


@contextmanager
def _readable(path: Path, task: Task) -> Iterator[None]:
    """Turn what a damaged checkpoint raises into one sentence."""
    try:
        yield
    except (UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a checkpoint of {task.name} ({error}); delete it to begin anew, or choose another file."
        ) from error


class _Log:
    """Means of what the steps say, one JSON object a line; lines after the checkpoint are dropped on resuming."""

    def __init__(self, path: Path, done: int) -> None:
        self._path, self._values = path, list[dict[str, float]]()
        lines = path.read_text().splitlines() if path.is_file() else []
        kept = [line for line in lines if line.strip() and json.loads(line)["step"] <= done]
        with atomic_file(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))

    def add(self, values: Mapping[str, float]) -> None:
        """Remember the figures of a step."""
        self._values.append(dict(values))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line: the means since the last one, and ``values``."""
        names = dict.fromkeys(name for found in self._values for name in found)
        means = {name: float(np.mean([v[name] for v in self._values if name in v])) for name in names}
        self._values.clear()
        line = {"step": step} | {name: float(f"{value:.5g}") for name, value in (means | dict(values)).items()}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def save_weights(model: nn.Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model's state in half precision as safetensors; integers keep their type.

    Args:
        model: The model.
        path: File to write.
        metadata: Text that travels in the file.
    """
    from safetensors.torch import save_file

    state: dict[str, Tensor] = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    with atomic_file(path) as temporary:
        save_file(state, temporary, metadata=dict(metadata or {}))
