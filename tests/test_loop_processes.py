"""The training loop with several processes, and with processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from render.errors import InputError
from tests.loop_line import SCHEDULE, Line
from tests.test_loop import logged
from training.loop import CHECKPOINT, Place, main_first, place, train
from training.loop.processes import shares

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = [
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
]


def run(out: Path, *options: str, launch: bool = False) -> subprocess.CompletedProcess[str]:
    """The program of :mod:`tests.loop_line`, in one process or in two."""
    command = [sys.executable, *(LAUNCH if launch else []), "-m", "tests.loop_line", str(out), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Line, dict[str, float]]:
    """An uninterrupted training in one process."""
    task, out = Line(), tmp_path_factory.mktemp("whole")
    return out, task, train(task, SCHEDULE, out, device="cpu")


@pytest.mark.slow
def test_a_training_killed_in_a_step_and_in_writing_ends_as_if_it_had_not_been(
    tmp_path: Path, whole: tuple[Path, Line, dict[str, float]]
) -> None:
    assert run(tmp_path, "--kill-step", "23").returncode == -signal.SIGKILL
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 23
    assert run(tmp_path, "--kill-writing", "14").returncode == -signal.SIGKILL
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 23 + 13
    assert len(list(tmp_path.glob(".checkpoint-*"))) == 1, "half a checkpoint is left"
    task = Line()
    figures = train(task, SCHEDULE, tmp_path, device="cpu")
    assert task.seen == 60 - 36
    assert not list(tmp_path.glob(".checkpoint-*"))
    torch.testing.assert_close(task.state_dict(), whole[1].state_dict(), rtol=0, atol=0)
    assert figures == whole[2]
    assert logged(tmp_path) == logged(whole[0])


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path, whole: tuple[Path, Line, dict[str, float]]) -> None:
    done = run(tmp_path, launch=True)
    assert done.returncode == 0, done.stderr
    results = [torch.load(tmp_path / f"result-{rank}.pt", weights_only=True) for rank in range(2)]
    assert results[0]["figures"] == results[1]["figures"] == pytest.approx(whole[2], rel=1e-4)
    for result in results:
        torch.testing.assert_close(result["state"], dict(whole[1].state_dict()), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(logged(tmp_path), logged(whole[0]), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_killed(tmp_path: Path, whole: tuple[Path, Line, dict[str, float]]) -> None:
    assert run(tmp_path, "--kill-step", "23", "--accumulate", "2", launch=True).returncode != 0
    assert not (tmp_path / "result-0.pt").exists()
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 23
    task = Line()
    train(task, replace(SCHEDULE, accumulate=2), tmp_path, device="cpu")
    assert task.seen == 2 * (60 - 23)
    torch.testing.assert_close(task.state_dict(), whole[1].state_dict(), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(logged(tmp_path), logged(whole[0]), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6)


def test_every_item_is_worked_on_once() -> None:
    cpu, items = torch.device("cpu"), list(range(24))
    parts = [part for rank in range(3) for part in shares(Line(), items, Place(rank, 3, cpu), 2)]
    assert [len(part) for part in parts] == [4] * 6
    assert sorted(item for part in parts for item in part) == items


def test_what_several_processes_cannot_share_is_refused() -> None:
    two, task = Place(1, 2, torch.device("cpu")), Line()
    with pytest.raises(InputError, match="found 7 items; choose a multiple of 2"):
        shares(task, list(range(7)), two, 1)
    task.coupled = True
    with pytest.raises(InputError, match=r"loss of line compares the items .* one process"):
        shares(task, list(range(8)), two, 1)


def test_a_process_alone_is_the_main_one() -> None:
    assert place("cpu") == Place(0, 1, torch.device("cpu"))
    assert place("cpu").main
    with pytest.raises(InputError, match="Expected the device"):
        place("abacus")


def test_a_task_may_ask_for_the_processes_while_it_is_trained(tmp_path: Path) -> None:
    class Asking(Line):
        asked = 0

        def after_step(self, progress: float) -> None:
            with main_first("cpu"):
                self.asked += place("cpu").count
            super().after_step(progress)

    task = Asking()
    train(task, replace(SCHEDULE, steps=3), tmp_path, device="cpu")
    assert task.asked == 3
