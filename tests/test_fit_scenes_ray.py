"""Many scenes on a Ray cluster of this machine."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from app.main import OK, main
from render.errors import InputError
from render.scene import Scene
from tests.fleet_work import ended, jobs_in, sleeps_at_first, written
from tests.room import tiny_scene
from training.fleet import Cluster, Machine, Outcome, run_on_ray
from training.fleet.cluster import LOCAL, _outcome, _resources

pytestmark = pytest.mark.slow


@pytest.fixture
def quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray's own processes start quickly: it waits for them for 30 seconds at most.

    Each imports jsonschema, which where it finds rfc3987_syntax builds a grammar of two seconds that nobody needs here.
    """
    pytest.importorskip("ray", reason="Ray, an extra, is not installed")
    without = tmp_path_factory.mktemp("without")
    (without / "rfc3987_syntax.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(without))


def test_the_command_lifts_a_scene_on_a_cluster_of_this_machine(quick: None, tmp_path: Path) -> None:
    import ray

    scene, out = tiny_scene(tmp_path), tmp_path / "out"
    options = ["--encoders", "rgb", "--device", "cpu", "--ray", "local", "--memory", "2"]
    assert main(["fit-scenes", str(scene), "--out", str(out), *options]) == OK
    assert list(Scene.open(scene).fields) == ["rgb"]
    assert list(json.loads((out / "report.json").read_text())["scenes"]["scene"]["stages"]) == ["lift rgb"]
    assert not ray.is_initialized(), "the cluster ends with the command"


def test_a_scene_whose_worker_is_killed_is_done_by_another(quick: None, tmp_path: Path) -> None:
    said: list[tuple[int, int, str]] = []

    def kill() -> None:
        child = int(written(tmp_path / "child", 120))
        killed.append(child)
        os.kill(int((tmp_path / "scene-0.attempts").read_text().split()[0]), signal.SIGKILL)

    killed: list[int] = []
    killer = threading.Thread(target=kill)
    killer.start()
    jobs, cluster = jobs_in(tmp_path, 4), Cluster(LOCAL, machine=Machine(10**9, threads=2))
    outcomes = run_on_ray(jobs, sleeps_at_first, cluster, lambda *about: said.append(about))
    killer.join()
    assert [(outcome.name, outcome.failed) for outcome in outcomes] == [(job.name, None) for job in jobs]
    assert all(outcome.cause == "1 threads" for outcome in outcomes)
    first, second = (tmp_path / "scene-0.attempts").read_text().split()
    assert first != second
    assert ended(killed[0])
    assert said[-1][:2] == (4, 4)


def test_scenes_ask_for_no_more_than_the_largest_node_has() -> None:
    class Nodes:
        def nodes(self) -> list[dict[str, object]]:
            small, large = {"CPU": 4.0, "memory": 3e9}, {"CPU": 12.0, "GPU": 4.0, "memory": 8e9}
            return [{"Alive": True, "Resources": some} for some in (small, large)]

    assert _resources(Nodes(), Cluster("auto")) == {"num_gpus": 1.0, "num_cpus": 3, "memory": 8e9}
    for asked in (Cluster("auto", gpus=64), Cluster("auto", cpus=13)):
        with pytest.raises(InputError, match="Expected nodes with"):
            _resources(Nodes(), asked)


def test_a_scene_whose_workers_keep_dying_is_named(quick: None) -> None:
    import ray

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


def test_a_machine_is_no_address_without_a_cluster(quick: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        run_on_ray(jobs_in(tmp_path, 1), sleeps_at_first, Cluster("127.0.0.1:1", machine=Machine(1, 1)))
