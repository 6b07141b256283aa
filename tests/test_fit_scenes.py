"""Many scenes: commands that are never left behind, memory that suffices, and what is done not done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.main import BAD_INPUT, FAILURE, OK, main
from render.errors import InputError
from render.scene import Scene
from tests.fleet_work import SLEEP, ended, jobs_in, written
from tests.plugin_capture import write_capture
from tests.room import contents, tiny_scene
from training.fleet import (
    Machine,
    Outcome,
    SceneJob,
    Settings,
    Slot,
    find_sources,
    fit_scene,
    memory_needed,
    run_local,
)
from training.fleet.commands import Stopped, cause, environment, last_lines, run_command
from training.fleet.locks import locked

ROOT = Path(__file__).resolve().parents[1]
# What the two programs leave, without their work: scheduling and resuming are tested with these.
STAND_IN = """
    import json, pathlib, sys
    name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
    def option(flag, default=None):
        return arguments[arguments.index(flag) + 1] if flag in arguments else default
    print("working on", *arguments)
    if name == "ns-train":
        data = pathlib.Path(option("--data"))
        if (data / "broken").exists():
            print("\\x1b[31mthe photos are black\\x1b[0m")
            sys.exit(2)
        run = pathlib.Path(option("--output-dir")) / option("--experiment-name") / arguments[0] / option("--timestamp")
        (run / "nerfstudio_models").mkdir(parents=True)
        steps = int(option("--max-num-iterations", 100))
        (run / "config.yml").write_text(json.dumps({"pipeline": {}, "max_num_iterations": steps, "data": str(data)}))
        (run / "nerfstudio_models" / f"step-{steps - 1:09d}.ckpt").write_text("")
    elif arguments[0] == "import":
        import shutil
        run, scene = map(pathlib.Path, arguments[1:3])
        shutil.rmtree(scene, ignore_errors=True)
        shutil.copytree(json.loads((run / "config.yml").read_text())["data"], scene)
        (scene / "gaussians.ply").write_text("some")
    else:
        field = pathlib.Path(arguments[1], "fields", option("--name") + ".safetensors")
        field.parent.mkdir(exist_ok=True)
        field.write_text(" ".join(arguments))
"""


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put stand-ins in the place of ns-train and fit3d."""
    folder.mkdir()
    for name in ("ns-train", "fit3d"):
        (folder / name).write_text(f"#!{sys.executable} -I\n{textwrap.dedent(STAND_IN)}")
        (folder / name).chmod(0o755)
    monkeypatch.setattr("training.fleet.running.program", lambda name: str(folder / name))


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    for name in ("arch", "bench", "chair"):
        write_capture(tmp_path / "captures" / name)
    return tmp_path / "captures"


Fit = Callable[..., int]


@pytest.fixture
def fit(tmp_path: Path, captures: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    programs(tmp_path / "bin", monkeypatch)

    def run(*options: str) -> int:
        return main(["fit-scenes", str(captures), "--out", str(tmp_path / "out"), "--jobs", "2", *options])

    return run


def test_a_command_tells_what_it_took_and_what_it_said(tmp_path: Path) -> None:
    script = (
        "import time; a = bytearray(200_000_000); t = time.process_time()\nwhile time.process_time() - t < .2: pass"
    )
    log = tmp_path / "logs" / "log"
    cost = run_command([sys.executable, "-c", f"{script}\nprint('done')"], log, environment(1))
    assert cost.code == 0
    assert 200e6 < cost.peak < 300e6, "not the memory of this process, which has torch"
    assert cost.cpu >= 0.2
    assert last_lines(log) == ["done"]
    failed = run_command([sys.executable, "-c", "raise SystemExit('no photos')"], log, environment())
    assert cause(failed, log) == "exit code 1: done / no photos"
    missing = run_command(["no-such-program"], log, environment())
    assert "no-such-program cannot be started" in cause(missing, log)
    killed = run_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], log, environment())
    assert "runs out of memory" in cause(killed, log)


def test_a_log_tells_its_last_lines_without_colours_frames_and_progress(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\n\x1b[31m╭── two ──╮\x1b[0m\n 10%\r 99%\r\n\n│ three │\n")
    assert last_lines(tmp_path / "log", 3) == ["two", "10%", "99%", "three"][-3:]


def test_stopping_ends_a_command_and_what_it_started(tmp_path: Path) -> None:
    stop = threading.Event()
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}, sys.argv[1]])"

    def stop_it() -> None:
        written(tmp_path / "child")
        stop.set()

    threading.Thread(target=stop_it).start()
    with pytest.raises(Stopped):
        run_command([sys.executable, "-c", script, str(tmp_path / "child")], tmp_path / "log", environment(), stop)
    assert ended(int(written(tmp_path / "child")))


LINGERS = "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: (time.sleep(1.5), sys.exit()))"


@pytest.mark.parametrize("victim", ["parent", "keeper"])
def test_a_command_ends_with_who_asked_for_it_and_only_then_another_begins(tmp_path: Path, victim: str) -> None:
    script = (
        "import sys; from pathlib import Path; from training.fleet.commands import environment, run_command\n"
        "from training.fleet.locks import locked\n"
        "with locked(Path(sys.argv[3])) as held:\n"
        f"    command = [sys.executable, '-c', {LINGERS + chr(10) + SLEEP!r}, sys.argv[1]]\n"
        "    run_command(command, Path(sys.argv[2]), environment(), held=[held])"
    )
    arguments = [str(tmp_path / "child"), str(tmp_path / "log"), str(tmp_path / "lock")]
    with subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT) as parent:
        import psutil

        child = int(written(tmp_path / "child", 60))
        killed = parent.pid if victim == "parent" else psutil.Process(child).ppid()
        os.kill(killed, signal.SIGKILL)
        with locked(tmp_path / "lock"):
            assert ended(child, 0.5)
        parent.kill()


def test_a_scene_that_somebody_works_on_is_left_to_them(
    fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.fleet.running.locked", partial(locked, patience=0.0))
    with locked(tmp_path / "out" / "records" / "arch.lock"):
        assert fit() == FAILURE
        assert "arch failed at waiting: Another fit3d command works on this scene" in capsys.readouterr().out
        assert sorted(path.name for path in (tmp_path / "out" / "scenes").iterdir()) == ["bench", "chair"]
    assert fit() == OK
    assert "1 of 3 scenes to do" in capsys.readouterr().out


def test_who_waits_for_a_scene_and_is_stopped_leaves_it_as_it_is(tmp_path: Path) -> None:
    stop, job = threading.Event(), SceneJob("arch", tmp_path / "nowhere", tmp_path, Settings())
    with ThreadPoolExecutor(1) as pool:
        with locked(job.lock):
            waiting = pool.submit(fit_scene, job, Slot(stop=stop))
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            stop.set()
            with pytest.raises(Stopped):
                waiting.result(timeout=5)
        with pytest.raises(Stopped):
            fit_scene(job, Slot(stop=stop))  # nobody works on it now, and nothing is begun
    assert not job.record.exists()


@pytest.mark.parametrize(("need", "memory", "together"), [(4, 10, 2), (1, 10, 3), (50, 10, 1)])
def test_no_more_scenes_run_than_fit_into_memory(tmp_path: Path, need: int, memory: int, together: int) -> None:
    running, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def work(job: SceneJob, slot: Slot) -> Outcome:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == together:
                full.set()
        assert full.wait(20)
        with lock:
            running -= 1
        return Outcome(job.name, cause=str(slot.threads))

    outcomes = run_local(jobs_in(tmp_path, 7, need), work, Machine(memory, threads=6, most=3))
    assert most == together
    assert [outcome.name for outcome in outcomes] == [f"scene-{i}" for i in range(7)]
    assert {outcome.cause for outcome in outcomes} == {str(6 // together)}


def test_scenes_that_run_together_have_gpus_of_their_own(tmp_path: Path) -> None:
    held: set[str] = set()
    both = threading.Barrier(2, timeout=20)

    def work(job: SceneJob, slot: Slot) -> Outcome:
        assert slot.devices is not None
        assert slot.devices not in held
        held.add(slot.devices)
        both.wait()
        assert held == {"4", "7"}
        both.wait()
        held.discard(slot.devices)
        return Outcome(job.name)

    run_local(jobs_in(tmp_path, 4), work, Machine(10, threads=8, devices=("4", "7")))


def test_ctrl_c_ends_all_commands(tmp_path: Path) -> None:
    children: list[int] = []

    def work(job: SceneJob, slot: Slot) -> Outcome:
        command = [sys.executable, "-c", SLEEP, str(tmp_path / job.name)]
        run_command(command, tmp_path / "log", environment(), slot.stop)
        return Outcome(job.name)

    def progress(done: int, total: int, what: str) -> None:
        if what.count("scene-") == 2:
            children.extend(int(written(tmp_path / f"scene-{i}")) for i in range(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_local(jobs_in(tmp_path, 5), work, Machine(10, threads=2), progress)
    assert len(children) == 2
    assert all(ended(child) for child in children)
    assert not (tmp_path / "scene-2").exists()


def test_what_is_done_is_not_done_again(fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert fit("--encoders", "rgb") == OK
    assert "3 of 3 scenes to do" in capsys.readouterr().out
    assert sorted(path.name for path in (out / "scenes").iterdir()) == ["arch", "bench", "chair"]
    assert not (out / "runs" / "arch").exists()
    before = contents(out / "scenes")
    assert fit("--encoders", "rgb") == OK
    assert "0 of 3 scenes to do, 3 done already" in capsys.readouterr().out
    assert fit("--encoders", "rgb", "colours=rgb") == OK
    assert "3 of 3 scenes to do" in capsys.readouterr().out
    after = contents(out / "scenes")
    assert sorted(set(after) - set(before)) == [f"{n}/fields/colours.safetensors" for n in ("arch", "bench", "chair")]
    assert before.items() <= after.items()
    report = json.loads((out / "report.json").read_text())
    assert list(report["scenes"]["arch"]["stages"]) == ["fit", "import", "lift rgb", "lift colours"]
    assert all(stage["peak"] > 1e6 for stage in report["scenes"]["arch"]["stages"].values())
    assert "| lift colours | 3 |" in (out / "report.md").read_text()


def test_other_settings_replace_nothing_unless_asked(
    fit: Fit, tmp_path: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--steps", "50") == OK
    before = contents(tmp_path / "out" / "scenes")
    (captures / "bench" / "images" / "00.png").write_bytes(b"another")
    assert fit("--steps", "50") == FAILURE
    said = capsys.readouterr()
    assert "bench failed at reading" in said.out
    assert "pass --overwrite" in said.out
    assert "1 of 3 scenes failed" in said.err
    assert fit("--steps", "60") == FAILURE
    assert contents(tmp_path / "out" / "scenes") == before
    capsys.readouterr()
    assert fit("--steps", "50", "--overwrite") == OK
    assert "1 of 3 scenes to do, 2 done already" in capsys.readouterr().out


def test_a_scene_that_fails_is_named_with_its_cause_and_the_rest_goes_on(
    fit: Fit, tmp_path: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (captures / "bench" / "broken").touch()
    (captures / "arch" / "transforms.json").write_text("{")
    assert fit("--encoders", "rgb") == FAILURE
    said = capsys.readouterr()
    log = tmp_path / "out" / "logs" / "bench" / "fit.log"
    assert "bench failed at fit: exit code 2: " in said.out
    assert f"the photos are black (log: {log})" in said.out
    assert "arch failed at reading" in said.out
    assert said.err.strip() == "2 of 3 scenes failed; they are named above, the others are done."
    assert (tmp_path / "out" / "scenes" / "chair" / "fields" / "rgb.safetensors").is_file()
    (captures / "bench" / "broken").unlink()
    write_capture(tmp_path / "again")
    (tmp_path / "again" / "transforms.json").rename(captures / "arch" / "transforms.json")
    assert fit("--encoders", "rgb") == OK
    assert "2 of 3 scenes to do, 1 done already" in capsys.readouterr().out


def test_an_import_that_was_killed_before_it_was_written_down_is_done_again(fit: Fit, tmp_path: Path) -> None:
    assert fit("--keep-runs") == OK
    record = tmp_path / "out" / "records" / "arch.json"
    content = json.loads(record.read_text())
    del content["stages"]["import"]
    record.write_text(json.dumps(content))
    fitted = (tmp_path / "out" / "logs" / "arch" / "fit.log").read_text()
    assert fit("--keep-runs") == OK
    assert "import" in json.loads(record.read_text())["stages"]
    assert (tmp_path / "out" / "logs" / "arch" / "fit.log").read_text() == fitted
    record.write_text("{")
    assert fit("--keep-runs") == FAILURE


def test_options_reach_the_programs(fit: Fit, tmp_path: Path) -> None:
    options = ["--fit-options", "pipeline.model.max-gaussians=700", "--lift-options", "refine=1"]
    assert fit("--learn", "rgb", "--encoders", "rgb", "--device", "cpu", *options) == OK
    fitting = (tmp_path / "out" / "logs" / "arch" / "fit.log").read_text()
    assert "fit3d-small --data" in fitting
    assert "--machine.device-type cpu --pipeline.datamanager.encoder rgb --pipeline.model.max-gaussians 700" in fitting
    lifting = (tmp_path / "out" / "logs" / "arch" / "lift-rgb.log").read_text()
    assert "--encoder rgb --name rgb --device cpu --overwrite --refine 1" in lifting


def test_scenes_with_gaussians_stay_where_they_are_and_get_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs(tmp_path / "bin", monkeypatch)
    scene = tiny_scene(tmp_path)
    command = ["fit-scenes", str(scene), "--out", str(tmp_path / "out"), "--encoders", "rgb"]
    assert main(command) == OK
    assert (scene / "fields" / "rgb.safetensors").is_file()
    assert not (tmp_path / "out" / "scenes").exists()
    assert main([*command, "--lift-options", "refine=2"]) == FAILURE
    (tmp_path / "out" / "records" / "scene.json").unlink()
    assert main([*command, "--lift-options", "refine=2"]) == OK
    assert "refine" not in (scene / "fields" / "rgb.safetensors").read_text(), "a field of somebody else is left"
    assert main([*command, "--refit"]) == OK
    assert (tmp_path / "out" / "scenes" / "scene" / "fields" / "rgb.safetensors").is_file()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--encoders", "dinov9"], "dinov9"),
        (["--encoders", "rgb", "rgb"], "Several encoders would make the field rgb"),
        (["--weights", "rgb=nowhere"], "--weights takes ENCODER=FILE"),
        (["--fit-options", "steps"], "--fit-options takes NAME=VALUE"),
        (["--gpus", "1"], "--gpus are of a cluster"),
        (["--steps", "0"], "--steps must be"),
        (["--device", "cuda:1"], "--device takes auto, cpu, cuda, found 'cuda:1'"),
        (["--ray", "local"], "--jobs is not of a cluster"),
        (["--ray", "auto", "--memory", "4"], "--memory is of this machine"),
    ],
)
def test_bad_input_ends_with_a_sentence_before_any_work(
    fit: Fit, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert fit(*options) == BAD_INPUT
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sources_are_found_in_folders_and_must_differ_in_name(captures: Path, tmp_path: Path) -> None:
    assert list(find_sources([captures / "chair", captures])) == ["chair", "arch", "bench"]
    write_capture(tmp_path / "other" / "chair")
    with pytest.raises(InputError, match="Several scenes would be called chair"):
        find_sources([captures, tmp_path / "other"])
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="Expected a"):
            find_sources([path])
    run = tmp_path / "outputs" / "garden" / "fit3d" / "2026"
    run.mkdir(parents=True)
    (run / "config.yml").touch()
    assert find_sources([run]) == {"garden": run}


def test_larger_captures_need_more_memory(captures: Path, tmp_path: Path) -> None:
    job = find_sources([captures / "arch"])
    small = memory_needed(jobs_of(job, tmp_path))
    content = json.loads((captures / "arch" / "transforms.json").read_text())
    content.update({"w": 4800, "h": 4000, "fl_x": 4400.0, "fl_y": 4400.0, "cx": 2400.0, "cy": 2000.0})
    (captures / "arch" / "transforms.json").write_text(json.dumps(content))
    assert memory_needed(jobs_of(job, tmp_path)) > small + 9 * 4800 * 4000 * 3
    assert small > 500e6


def jobs_of(sources: dict[str, Path], out: Path) -> SceneJob:
    from training.fleet import Settings

    ((name, source),) = sources.items()
    return SceneJob(name, source, out, Settings())


@pytest.mark.slow
def test_a_real_fit_that_was_stopped_goes_on_and_is_lifted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_capture(tmp_path / "wall")
    out, model = tmp_path / "out", "pipeline.model."
    command = [sys.executable, "-c", "from app.main import entrypoint; entrypoint()", "fit-scenes"]
    options = [str(tmp_path / "wall"), "--out", str(out), "--encoders", "rgb", "--device", "cpu", "--keep-runs"]
    options += ["--steps", "120", "--fit-options", "steps-per-save=20", f"{model}num-random=100"]
    options += [f"{model}warmup-length=5", f"{model}max-gaussians=700", "pipeline.datamanager.seed-pixels=100"]
    models = out / "runs" / "wall" / "fit3d-small" / "run" / "nerfstudio_models"
    with subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as stopped:
        until_checkpoint(models, stopped)
        stopped.send_signal(signal.SIGINT)
        assert stopped.stderr is not None
        assert b"Interrupted" in stopped.stderr.read()
    assert stopped.returncode == 130
    assert "Stopped at step" in (out / "logs" / "wall" / "fit.log").read_text()
    assert not (out / "scenes").exists()
    assert main(["fit-scenes", *options]) == OK
    assert [path.name for path in models.iterdir()] == ["step-000000119.ckpt"]
    stages = json.loads((out / "report.json").read_text())["scenes"]["wall"]["stages"]
    assert list(stages) == ["fit", "import", "lift rgb"]
    assert 0 < stages["fit"]["resumed_from"] < 120
    scene = Scene.open(out / "scenes" / "wall")
    assert scene.check() == []
    assert list(scene.fields) == ["rgb"]
    assert np.isfinite(scene.gaussians.means.numpy()).all()
    capsys.readouterr()
    assert main(["fit-scenes", *options]) == OK
    assert "0 of 1 scenes to do, 1 done already" in capsys.readouterr().out


def until_checkpoint(folder: Path, process: subprocess.Popen[bytes]) -> None:
    import time

    while process.poll() is None and not list(folder.glob("step-*.ckpt")):
        time.sleep(0.02)
