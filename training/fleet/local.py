"""Many scenes on this machine, as many at a time as its memory takes."""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from render.machine import cores, free_memory
from render.progress import Progress, silent
from training.fleet.jobs import Outcome, SceneJob, Slot

Work = Callable[[SceneJob, Slot], Outcome]
WHAT = "fitting and lifting scenes"
SHARE = 0.85  # of the free memory
LOOK = 0.5  # seconds in which Ctrl-C is noticed


@dataclass(frozen=True)
class Machine:
    """What may be used.

    Attributes:
        memory: Bytes.
        threads: Of the processor.
        most: How many scenes at a time at most; None = as many as there are GPUs, or else threads.
        devices: GPUs, as CUDA_VISIBLE_DEVICES names each; none = the processor computes.
    """

    memory: int
    threads: int
    most: int | None = None
    devices: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """How many scenes could be worked on at a time, if memory were plenty."""
        return self.most or len(self.devices) or self.threads


def this_machine(*, gpus: bool, memory: int | None = None, most: int | None = None) -> Machine:
    """The processor, free memory and GPUs of this machine, or what its container may use of them.

    Args:
        gpus: Whether to use GPUs where there are some.
        memory: Bytes to use; None = most of what is free now.
        most: How many scenes at a time at most.
    """
    import torch

    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count() if gpus else 0
    names = tuple(seen.split(",")[:count]) if seen else tuple(str(i) for i in range(count))
    return Machine(memory or int(SHARE * free_memory()), cores(), most, names)


def run_local(jobs: Sequence[SceneJob], work: Work, machine: Machine, progress: Progress = silent) -> list[Outcome]:
    """Do jobs, each as soon as its memory is free; one that needs more than there is runs alone.

    Args:
        jobs: The scenes, in the order in which they are begun.
        work: What is done; called in a thread.
        machine: What may be used; threads are shared out among the jobs that can run at a time.
        progress: Told of every scene that is done.

    Returns:
        One outcome for every job, in the order of the jobs.

    Raises:
        KeyboardInterrupt: after every job was stopped.
    """
    if not jobs:
        return []
    stop, waiting = threading.Event(), deque(range(len(jobs)))
    places = min(_together(jobs, machine.memory, machine.places), len(jobs))
    devices = deque(itertools.islice(itertools.cycle(machine.devices or [None]), places))
    threads = max(1, machine.threads // places)
    running: dict[Future[Outcome], tuple[int, str | None]] = {}
    outcomes: dict[int, Outcome] = {}
    progress(0, len(jobs), WHAT)
    with ThreadPoolExecutor(places, thread_name_prefix="scene") as pool:
        try:
            while waiting or running:
                used = sum(jobs[index].need for index, _ in running.values())
                while waiting and devices and (not running or used + jobs[waiting[0]].need <= machine.memory):
                    index, device = waiting.popleft(), devices.popleft()
                    used += jobs[index].need
                    running[pool.submit(work, jobs[index], Slot(threads, device, stop))] = (index, device)
                for future in wait(running, LOOK, FIRST_COMPLETED).done:
                    index, device = running.pop(future)
                    devices.append(device)
                    outcomes[index] = future.result()
                _tell(progress, jobs, outcomes, running)
        except BaseException:
            stop.set()  # the pool then waits for the threads, and they for their commands
            raise
    return [outcomes[index] for index in range(len(jobs))]


def _together(jobs: Sequence[SceneJob], memory: int, most: int) -> int:
    """How many of the smallest jobs fit: more places would only take threads from those that run."""
    count, used = 0, 0
    for need in sorted(job.need for job in jobs):
        used += need
        if used > memory or count == most:
            break
        count += 1
    return max(1, count)


def _tell(
    progress: Progress,
    jobs: Sequence[SceneJob],
    outcomes: dict[int, Outcome],
    running: dict[Future[Outcome], tuple[int, str | None]],
) -> None:
    failed = sum(outcome.failed is not None for outcome in outcomes.values())
    names = ", ".join(sorted(jobs[index].name for index, _ in running.values())[:3])
    about = f"{names}; {failed} failed" if failed else names
    progress(len(outcomes), len(jobs), f"{WHAT}: {about}" if about else WHAT)
