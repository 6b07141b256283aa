"""Training: one loop for all tasks."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from render.errors import InputError
from render.progress import Progress, silent
from training.loop import checkpoint
from training.loop.checkpoint import CHECKPOINT, Position
from training.loop.drawing import draws_of
from training.loop.log import Log, Means
from training.loop.processes import check, make_accelerator, place, resolve_precision, shares
from training.loop.schedule import Schedule
from training.loop.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch.optim import Optimizer


def train(
    task: Task,
    schedule: Schedule,
    out: str | Path,
    *,
    start: str | Path | None = None,
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> dict[str, float]:
    """Train, or go on with a training that was interrupted: the checkpoint in ``out`` is found by itself.

    Started by ``accelerate launch`` or ``torchrun``, every process calls this with an equal task, all see ``out``, and
    the main one writes.  A batch is shared between them, so the result is that of one process but for rounding.

    Args:
        task: What is trained; it is put on the device, and left in evaluation mode.
        schedule: Steps, rates, precision, seed.
        out: Folder for ``checkpoint.pt``, ``log.jsonl``, ``tensorboard/`` and ``pictures/``.
        start: ``checkpoint.pt`` of a finished training whose networks this one takes over, with a schedule and an
            optimizer of its own; None = from nothing.
        device: auto, cpu, cuda or cuda:N.
        progress: Told after every step, in the main process, as ``NAME: loss, rate, photos a second``.

    Returns:
        The figures of the last validation, in every process.

    Raises:
        InputError: the checkpoint cannot be read, or is of another training; the batch cannot be shared.
        DivergedError: the loss is no longer finite.
    """
    training = _Training(task, schedule, Path(out), device, progress)
    try:
        return training.run(None if start is None else Path(start))
    finally:
        training.close()


class DivergedError(RuntimeError):
    """The loss of a training is no longer finite: its rate is too large."""


class _Training:
    """The state of a training; see :func:`train`."""

    def __init__(
        self, task: Task, schedule: Schedule, out: Path, device: str | torch.device, progress: Progress
    ) -> None:
        self._task, self._schedule, self._path = task, schedule, out / CHECKPOINT
        self._at = place(device)
        self._progress = progress if self._at.main else silent
        check(task, schedule, self._at)
        self._of = checkpoint.identity(task, schedule, resolve_precision(schedule.precision, self._at.device))
        self._parameters = _trained(task)
        optimizer = _optimizer(self._parameters, schedule)
        out.mkdir(parents=True, exist_ok=True)
        self._accelerator = make_accelerator(task, schedule, self._at)
        self._model, self._optimizer = self._accelerator.prepare(task, optimizer)
        self._log: Log | None = None
        self._images, self._busy = 0, 0.0  # since the last line of the log
        self._said = task.name  # of the last step

    def close(self) -> None:
        """Give the task back as it was: its forward pass without casts."""
        self._accelerator.unwrap_model(self._model, keep_fp32_wrapper=False)
        self._accelerator.free_memory()
        if self._log is not None:
            self._log.close()
        self._task.eval()

    def run(self, start: Path | None) -> dict[str, float]:
        """All steps that are not done; the figures of the last validation."""
        position = self._restored(start)
        schedule, means = self._schedule, Means(position.means)
        began = saved = time.monotonic()
        figures: dict[str, float] | None = None
        self._task.train()
        self._task.begin(position.done / schedule.steps)
        if not position.done:
            self._draw(0)  # what begins may be in the pictures
        for step in range(position.done, schedule.steps):
            due = self._step(step, means, time.monotonic() - saved > schedule.save_every)
            done, last = step + 1, step + 1 == schedule.steps
            if done % schedule.log_every == 0 or last:
                self._write(done, means, position.elapsed + time.monotonic() - began)
            if last or schedule.is_due(schedule.validate_every, done):
                figures = self._validated(done)
            if last or schedule.is_due(schedule.picture_every, done):
                self._draw(done)
            if due or last:
                self._save(Position(done, position.elapsed + time.monotonic() - began, means.values))
                saved = time.monotonic()
            self._progress(done, schedule.steps, self._said)
        self._accelerator.wait_for_everyone()
        return self._agreed(self._validated(None) if figures is None else figures)

    def _restored(self, start: Path | None) -> Position:
        """Where the training goes on; every process has read the same."""
        from accelerate.utils import gather_object

        if self._at.main:
            checkpoint.clean(self._path)
        position = checkpoint.restore(self._path, self._of, self._task, self._optimizer, self._accelerator.scaler)
        begun = checkpoint.begin_at(start, self._task) if start is not None and not position.done else None
        if len(set(gather_object([position.done]))) > 1:
            raise InputError(f"The processes do not see the same {self._path}; choose a folder that all of them share.")
        if self._at.main:
            self._log = Log(self._path.parent, position.done)
            if begun is not None:
                self._log.write(0, begun)
        else:
            position.means = {}
        return position

    def _step(self, step: int, means: Means, due: bool) -> bool:
        """One step of the optimizer; says whether the main process finds a checkpoint due."""
        schedule, task, at = self._schedule, self._task, self._at
        part, began = step / schedule.steps, time.monotonic()
        random, seed = draws_of(schedule.seed, step)
        items = task.batch(random)
        rate = schedule.rate_at(step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        total = 0.0
        for index, share in enumerate(shares(task, items, at, schedule.accumulate)):
            torch.manual_seed(seed + at.rank * schedule.accumulate + index)
            with self._accelerator.accumulate(self._model):
                loss, figures = self._model(share, part)
                self._accelerator.backward(loss)
            total += float(loss.detach()) / schedule.accumulate
            means.add(figures, 1 / (at.count * schedule.accumulate))
        summed = torch.tensor([total / at.count, float(due and at.main)], dtype=torch.float64, device=at.device)
        value, asked = self._accelerator.reduce(summed, "sum").tolist()
        if not math.isfinite(value):
            raise DivergedError(f"The loss of {task.name} is {value} at step {step}; the checkpoint before is kept.")
        norm = self._accelerator.clip_grad_norm_(self._parameters, schedule.clip or math.inf)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        task.after_step(part)
        means.add({"loss": value, "gradient": float(norm)}, 1 / at.count)
        self._images += task.count(items)
        self._busy += time.monotonic() - began
        self._said = f"{task.name}: loss {value:.4g}, rate {rate:.2g}, {self._speed():.3g} photos/s"
        return asked > 0

    def _speed(self) -> float:
        """Photos a second since the last line of the log, in steps alone."""
        return self._images / max(self._busy, 1e-9)

    def _write(self, done: int, means: Means, seconds: float) -> None:
        """A line of the log: means of all processes."""
        from accelerate.utils import gather_object

        parts = gather_object([means.values])
        values = Means.joined(parts).take()
        means.values.clear()
        if self._log is not None:
            more = {"rate": self._schedule.rate_at(done - 1), "seconds": seconds, "photos_per_second": self._speed()}
            self._log.write(done, values | more)
        self._images, self._busy = 0, 0.0

    @torch.no_grad()
    def _validated(self, done: int | None) -> dict[str, float]:
        """Figures, in the main process; those of a training that was finished before are not logged again."""
        if self._log is None:
            return {}
        self._task.eval()
        figures = self._task.validate()
        self._task.train()
        if done is not None and figures:
            self._log.write(done, {f"val_{name}": value for name, value in figures.items()})
        return figures

    @torch.no_grad()
    def _draw(self, done: int) -> None:
        if self._log is None or not self._schedule.picture_every:
            return
        self._task.eval()
        self._log.draw(done, self._task.pictures())
        self._task.train()

    def _save(self, position: Position) -> None:
        """Write a checkpoint with what all processes have yet to log."""
        from accelerate.utils import gather_object

        position.means = Means.joined(gather_object([position.means])).values
        if self._at.main:
            checkpoint.save(self._path, self._of, position, self._task, self._optimizer, self._accelerator.scaler)

    def _agreed(self, figures: dict[str, float]) -> dict[str, float]:
        """The main process's figures."""
        from accelerate.utils import broadcast_object_list

        told = [figures]
        broadcast_object_list(told)
        return told[0]


def _trained(task: Task) -> list[nn.Parameter]:
    """The parameters that are trained; the others must not ask for gradients, which several processes would await."""
    parameters = [parameter for parameter in task.trained() if parameter.requires_grad]
    known = {id(parameter) for parameter in parameters}
    left = [name for name, p in task.named_parameters() if p.requires_grad and id(p) not in known]
    if not parameters or left:
        raise ValueError(
            f"Expected {task.name} to train some parameters and to freeze the others, found {len(parameters)} trained "
            f"and {len(left)} that are neither: {', '.join(left[:3])}."
        )
    return parameters


def _optimizer(parameters: list[nn.Parameter], schedule: Schedule) -> Optimizer:
    if schedule.optimizer == "sgd":
        groups = _groups(parameters, schedule.weight_decay, _mixes_channels)
        return torch.optim.SGD(groups, lr=schedule.rate, momentum=schedule.momentum)
    groups = _groups(parameters, schedule.weight_decay, _is_matrix)
    return torch.optim.AdamW(groups, lr=schedule.rate, betas=schedule.betas)


def _groups(
    parameters: list[nn.Parameter], weight_decay: float, decays: Callable[[nn.Parameter], bool]
) -> list[dict[str, Any]]:
    decayed = [p for p in parameters if decays(p)]
    known = {id(p) for p in decayed}
    others = [p for p in parameters if id(p) not in known]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and min(parameter.shape) > 1


def _mixes_channels(parameter: nn.Parameter) -> bool:
    """A matrix, or a convolution of any size: half of a ResNet's are 1 x 1."""
    return sum(length > 1 for length in parameter.shape) >= 2
