"""Many scenes on a Ray cluster of this machine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from render.errors import InputError
from tests.fleet_work import ended, jobs_in, sleeps_at_first, written
from training.fleet import Cluster, Machine, Outcome, run_on_ray
from training.fleet.cluster import LOCAL, _outcome

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two workers.

    Ray's own processes must start within 15 seconds.  Each imports jsonschema, which where it finds rfc3987_syntax
    builds a grammar of two seconds that nobody needs here.
    """
    without = tmp_path_factory.mktemp("without")
    (without / "rfc3987_syntax.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(without))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # read when Ray is imported
    ray = pytest.importorskip("ray", reason="Ray, an extra, is not installed")
    try:
        ray.init(
            address=LOCAL, num_cpus=2, object_store_memory=80_000_000, include_dashboard=False, log_to_driver=False
        )
    except Exception as error:  # noqa: BLE001  a machine too busy to start Ray makes it raise no narrower class
        ray.shutdown()
        pytest.skip(f"Ray cannot start here: {error}")
    yield Cluster(LOCAL)
    ray.shutdown()


def test_a_scene_whose_worker_is_killed_is_done_by_another(cluster: Cluster, tmp_path: Path) -> None:
    said: list[tuple[int, int, str]] = []

    def kill() -> None:
        child = int(written(tmp_path / "child", 120))
        killed.append(child)
        os.kill(int((tmp_path / "scene-0.attempts").read_text().split()[0]), signal.SIGKILL)

    killed: list[int] = []
    killer = threading.Thread(target=kill)
    killer.start()
    jobs = jobs_in(tmp_path, 4)
    outcomes = run_on_ray(jobs, sleeps_at_first, cluster, lambda *about: said.append(about))
    killer.join()
    assert [(outcome.name, outcome.failed) for outcome in outcomes] == [(job.name, None) for job in jobs]
    assert all(outcome.cause == "1 threads" for outcome in outcomes)
    first, second = (tmp_path / "scene-0.attempts").read_text().split()
    assert first != second
    assert ended(killed[0])
    assert said[-1][:2] == (4, 4)
    with pytest.raises(InputError, match="GPUs for each scene"):
        run_on_ray(jobs, sleeps_at_first, Cluster(LOCAL, gpus=64))


def test_a_scene_whose_workers_keep_dying_is_named() -> None:
    ray = pytest.importorskip("ray", reason="Ray, an extra, is not installed")

    class Dying:
        exceptions = ray.exceptions

        def get(self, reference: object) -> Outcome:
            raise ray.exceptions.WorkerCrashedError

    outcome = _outcome(Dying(), object(), "scene-0")
    assert (outcome.name, outcome.failed) == ("scene-0", "worker")
    assert "WorkerCrashedError: The worker died" in outcome.cause


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"install fit3d\[ray\]"):
        run_on_ray(jobs_in(tmp_path, 1), sleeps_at_first, Cluster("auto"))


def test_a_machine_is_no_address_without_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray, an extra, is not installed")
    with pytest.raises(InputError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        run_on_ray(jobs_in(tmp_path, 1), sleeps_at_first, Cluster("127.0.0.1:1", machine=Machine(1, 1)))
