"""The processes and devices of a training, as Hugging Face accelerate sees them."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.devices import resolve_device
from render.errors import InputError
from training.loop import checkpoint
from training.loop.schedule import Precision, Schedule
from training.loop.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(hours=6)  # for the main process, which validates while the others wait


@dataclass(frozen=True)
class Place:
    """Where this process is among those of a training.

    Attributes:
        rank: Number of this process.
        count: How many there are.
        device: Where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0


def place(device: str | torch.device = "auto") -> Place:
    """Find the other processes, if ``accelerate launch`` or ``torchrun`` started several, and a device.

    Args:
        device: auto, cpu, cuda or cuda:N; of several processes on CUDA each has a device of its own.

    Raises:
        InputError: the device is unknown or absent, or several processes are to share one.
    """
    from accelerate import PartialState

    wanted = resolve_device(device)
    state = PartialState(cpu=wanted.type == "cpu", timeout=PATIENCE)
    if state.device.type != wanted.type and not torch.distributed.is_initialized():
        # accelerate keeps the first device that it was asked for; a later training may run on another.
        _forget(everything=True)
        state = PartialState(cpu=wanted.type == "cpu", timeout=PATIENCE)
    if state.device.type != wanted.type:
        raise InputError(f"The processes began on {state.device.type}; start again to train on {wanted.type}.")
    if state.num_processes > 1:
        # Threads of the group that are still there when the process exits abort it, now and then.
        atexit.unregister(_leave)  # of an earlier training
        atexit.register(_leave)
        if wanted.type == "cuda" and wanted.index is not None:
            raise InputError(f"{state.num_processes} processes cannot share {wanted}; use --device auto, cuda or cpu.")
        return Place(state.process_index, state.num_processes, state.device)
    if wanted.type == "cuda":
        # accelerate then means this one by "cuda".
        torch.cuda.set_device(wanted.index or 0)
    return Place(0, 1, wanted)


@contextmanager
def main_first(device: str | torch.device = "auto") -> Iterator[None]:
    """Let the main process through before the others, so that these find in a cache what it has made."""
    from accelerate import PartialState

    place(device)
    with PartialState().main_process_first():
        yield


def make_accelerator(task: Task, schedule: Schedule, at: Place) -> Accelerator:
    """What places, casts, scales, accumulates and reduces.

    Raises:
        InputError: the precision is not the device's, or the processes were started for sharded training.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
    from accelerate.utils import GradientAccumulationPlugin

    _forget(everything=False)
    accelerator = Accelerator(
        cpu=at.device.type == "cpu",
        mixed_precision=resolve_precision(schedule.precision, at.device),
        # The plugin and not the number: an environment variable would win over the number.
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=schedule.accumulate, sync_with_dataloader=False
        ),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=task.partly)],
    )
    known = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in known:
        raise InputError(
            f"Expected processes with a copy of the networks each, found {accelerator.distributed_type.value}; start "
            "accelerate without FSDP, DeepSpeed or the like."
        )
    return accelerator


def resolve_precision(precision: Precision, device: torch.device) -> str:
    """``no``, ``bf16`` or ``fp16``; see :class:`Schedule`."""
    if precision == "fp16" and device.type != "cuda":
        raise InputError("Half precision with scaled losses (fp16) needs CUDA; choose the precision auto, no or bf16.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    quick = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "AVX512" in torch.backends.cpu.get_cpu_capability()
    return "bf16" if quick else "no"


def check(task: Task, schedule: Schedule, at: Place, out: Path | None = None, *, unknown: Sequence[str] = ()) -> None:
    """Refuse at once what the first step would refuse, which may come after hours of preparation.

    Args:
        task: What is trained.
        schedule: How.
        at: Where.
        out: The folder of the training, whose checkpoint is looked at if there is one; None = it was before.
        unknown: Parts of the task's identity that are not known yet, such as a teacher that has yet to be trained.

    Raises:
        InputError: the precision is not the device's, the batch cannot be shared, or the checkpoint is of another
            training.
    """
    precision = resolve_precision(schedule.precision, at.device)
    if out is not None:
        of = checkpoint.identity(task, schedule, precision)
        checkpoint.refuse_other(out / checkpoint.CHECKPOINT, of, task, unknown)
    shares(task, task.batch(np.random.default_rng(0)), at, schedule.accumulate)


def shares(task: Task, items: Sequence[Any], at: Place, accumulate: int) -> list[Sequence[Any]]:
    """The items of a batch that this process works on, in the parts that it works on one after the other.

    Raises:
        InputError: the parts would not be equal, or the task cannot be cut.
    """
    parts = at.count * accumulate
    if parts == 1:
        return [items]
    if task.coupled:
        raise InputError(
            f"The loss of {task.name} compares the items of a batch with each other, so that the batch cannot be cut "
            f"into {parts}: train it in one process, without accumulating gradients."
        )
    if accumulate > 1 and not task.cuttable:
        raise InputError(
            f"{task.name} has batch norms, which see a whole batch at once: train it without accumulating gradients, "
            f"found {accumulate} parts."
        )
    if not len(items) or len(items) % parts:
        raise InputError(
            f"Expected a batch that {at.count} process(es) of {accumulate} part(s) each can share equally, found "
            f"{len(items)} items; choose a multiple of {parts}."
        )
    return [items[at.rank + at.count * part :: parts] for part in range(accumulate)]


def several_processes() -> bool:
    """Whether others work on the same training."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _leave() -> None:
    """Part from the other processes."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _forget(*, everything: bool) -> None:
    """Let accelerate begin anew: its state is the process's, of the first training, whatever later ones ask for."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=everything)
