"""Many scenes on a Ray cluster: one task for each, with its GPU; a scene whose worker dies is given to another."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from render.errors import InputError
from render.progress import Progress, silent
from training.fleet.jobs import Outcome, SceneJob, Slot
from training.fleet.local import WHAT, Machine, Work

LOCAL = "local"
LOOK = 0.5  # seconds in which Ctrl-C is noticed
PATIENCE = 20.0  # seconds for tasks to end after Ctrl-C
OBJECTS = 100_000_000  # bytes of shared memory: only descriptions of scenes and outcomes travel


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and what a scene gets there.

    Attributes:
        address: As ``ray.init`` takes it: auto, HOST:PORT, ray://HOST:PORT; or local, a cluster of this machine alone
            that ends with the command.
        retries: How often a scene is begun again when its worker or machine dies.
        gpus: For each scene; a fraction shares a GPU.  None = one, where the cluster has any.
        cpus: Threads of each scene; None = a GPU's share, or else one.
        machine: What the cluster ``local`` may use; None = what Ray finds.
    """

    address: str
    retries: int = 2
    gpus: float | None = None
    cpus: int | None = None
    machine: Machine | None = None


def run_on_ray(jobs: Sequence[SceneJob], work: Work, cluster: Cluster, progress: Progress = silent) -> list[Outcome]:
    """Do jobs as tasks of Ray.  Every node needs this package, and the scenes' folders at the same paths.

    Args:
        jobs: The scenes.
        work: What is done; importable on every node.
        cluster: Where.
        progress: Told of every scene that is done.

    Returns:
        One outcome for every job, in the order of the jobs.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
        KeyboardInterrupt: after every task was stopped.
    """
    if not jobs:
        return []
    with _connected(cluster) as ray:
        resources = _resources(ray, cluster)
        run = ray.remote(max_retries=cluster.retries, retry_exceptions=False)(_work)
        threads = int(resources["num_cpus"])
        waiting: dict[Any, int] = {}
        for index, job in enumerate(jobs):
            memory = min(job.need, int(resources["memory"]))
            options = run.options(**{**resources, "memory": memory}, name=job.name)
            waiting[options.remote(work, job, threads)] = index
        try:
            outcomes = _collect(ray, jobs, waiting, progress)
        except BaseException:
            _cancel(ray, list(waiting))
            raise
    return [outcomes[index] for index in range(len(jobs))]


def _work(work: Work, job: SceneJob, threads: int) -> Outcome:
    """The task; Ray has told the GPUs in CUDA_VISIBLE_DEVICES."""
    return work(job, Slot(threads))


def _collect(ray: Any, jobs: Sequence[SceneJob], waiting: dict[Any, int], progress: Progress) -> dict[int, Outcome]:
    """Wait for all tasks; those that are done are taken out of ``waiting``."""
    outcomes: dict[int, Outcome] = {}
    failed = 0
    progress(0, len(jobs), WHAT)
    while waiting:
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK)
        for reference in ready:
            index = waiting.pop(reference)
            outcomes[index] = _outcome(ray, reference, jobs[index].name)
            failed += outcomes[index].failed is not None
        if ready:
            progress(len(outcomes), len(jobs), f"{WHAT}: {failed} failed" if failed else WHAT)
    return outcomes


def _outcome(ray: Any, reference: Any, name: str) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a defect of the program
    except ray.exceptions.RayError as error:
        text = str(error).strip().splitlines()
        return Outcome(name, failed="worker", cause=f"{type(error).__name__}: {text[0] if text else 'it died'}")


def _cancel(ray: Any, references: list[Any]) -> None:
    """End tasks with what they run: a worker that is gone takes its command along."""
    for reference in references:
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=PATIENCE)


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    # Nothing is told to anybody, and workers use the environment that is there instead of making another.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs Ray, which is an extra: install fit3d[ray], or leave --ray out.") from error
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False}
    if cluster.address == LOCAL:
        options |= {"include_dashboard": False, "object_store_memory": OBJECTS}
        if cluster.machine is not None:
            options |= {"num_cpus": cluster.machine.threads, "_memory": cluster.machine.memory}
    try:
        _look_for(cluster.address)
        ray.init(address=cluster.address, **options)
    except Exception as error:  # a machine too busy to start Ray makes it raise no narrower class
        ray.shutdown()
        what, advice = f"There is no Ray cluster at {cluster.address!r}", "start one with `ray start --head`"
        if cluster.address == LOCAL:
            what, advice = "Ray does not start here", "leave --ray out, or try again when the machine is less busy"
        raise InputError(f"{what} ({' '.join(str(error).split())}); {advice}.") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _look_for(address: str) -> None:
    """Raise OSError unless somebody listens at HOST:PORT: Ray itself tries for minutes.

    Args:
        address: Of a cluster; words such as auto are left to Ray.
    """
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


def _resources(ray: Any, cluster: Cluster) -> dict[str, float]:
    """What each task asks for: no more than the largest node has, or it would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    cpus = max((node.get("CPU", 1.0) for node in nodes), default=1.0)
    wanted = min(1.0, gpus) if cluster.gpus is None else cluster.gpus
    if wanted > gpus:
        raise InputError(
            f"Expected nodes with {wanted:g} GPUs for each scene; the largest of the cluster has {gpus:g}."
        )
    share = max(1, int(cpus * wanted / gpus)) if wanted else 1
    if (cluster.cpus or 1) > cpus:
        raise InputError(f"Expected nodes with {cluster.cpus} processors; the cluster's largest has {cpus:g}.")
    memory = max((node.get("memory", 0.0) for node in nodes), default=0.0)
    return {"num_gpus": wanted, "num_cpus": cluster.cpus or share, "memory": memory}
