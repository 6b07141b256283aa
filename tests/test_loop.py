"""The training loop: schedules, checkpoints, logs, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from render.errors import InputError
from tests.loop_line import SCHEDULE, Line
from training.loop import CHECKPOINT, LOG, PICTURES, TENSORBOARD, Schedule, check, place, save_weights, train
from training.loop.schedule import Precision

VOLATILE = ("seconds", "photos_per_second")


def logged(out: Path) -> list[dict[str, float]]:
    """The log without what depends on the machine's speed."""
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in VOLATILE} for line in lines]


def test_training_learns_and_says_so_in_its_log(tmp_path: Path) -> None:
    task = Line()
    before = float((task.model(torch.eye(3)).detach() - 1).abs().mean())
    after = train(task, SCHEDULE, tmp_path, device="cpu")["error"]
    lines = logged(tmp_path)
    assert after < before / 2
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 30, 40, 50, 60]
    assert [line["step"] for line in lines if "val_error" in line] == [20, 40, 60]
    assert lines[-1]["val_error"] == pytest.approx(after, rel=1e-3)
    assert all(line["loss"] == pytest.approx(line["squared"], rel=1e-4) for line in lines if "loss" in line)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, first, second = Line(), Line(), Line()
    train(whole, SCHEDULE, tmp_path / "whole", device="cpu")
    first.stop_after = 37
    with pytest.raises(KeyboardInterrupt):
        train(first, SCHEDULE, tmp_path / "parts", device="cpu")
    with torch.no_grad():
        second.model[0].weight.fill_(7.0)  # what the checkpoint has to replace
    train(second, SCHEDULE, tmp_path / "parts", device="cpu")
    assert second.seen == 60 - 37
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_seconds_of_a_log_leave_out_what_lay_between_interruption_and_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10_000))
    monkeypatch.setattr("training.loop.running.time.monotonic", lambda: float(next(now)))
    interrupted = Line()
    interrupted.stop_after = 37
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, SCHEDULE, tmp_path, device="cpu")
    worked = next(now)
    later = iter(range(1_000_000, 1_010_000))
    monkeypatch.setattr("training.loop.running.time.monotonic", lambda: float(next(later)))
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    assert seconds == sorted(seconds)
    assert worked / 2 < seconds[-1] < 10_000


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = train(Line(), SCHEDULE, tmp_path, device="cpu")
    again = Line()
    assert train(again, SCHEDULE, tmp_path, device="cpu") == first
    assert again.seen == 0


def test_a_half_written_line_of_the_log_is_dropped_and_a_foreign_log_refused(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    expected = logged(tmp_path)
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 61, "lo')
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    assert logged(tmp_path) == expected
    (tmp_path / LOG).write_text("a shopping list\nmilk\n")
    with pytest.raises(InputError, match=r"Line 1 of .* is not of a training's log"):
        train(Line(), SCHEDULE, tmp_path, device="cpu")


def test_a_checkpoint_of_another_training_is_refused_by_what_differs(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"another training: expected steps 61, found steps 60; choose"):
        train(Line(), replace(SCHEDULE, steps=61), tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"expected items 8, found items 16;"):
        train(Line(8), SCHEDULE, tmp_path, device="cpu")
    train(Line(), replace(SCHEDULE, log_every=7), tmp_path, device="cpu")  # how often it writes may change
    check(Line(), SCHEDULE, place("cpu"), tmp_path)
    with pytest.raises(InputError, match="expected items 8, found items 16;"):
        check(Line(8), SCHEDULE, place("cpu"), tmp_path)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.99])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(tmp_path: Path, part: float) -> None:
    train(Line(), replace(SCHEDULE, steps=1), tmp_path, device="cpu")
    whole = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match="delete it to begin anew") as caught:
        train(Line(), replace(SCHEDULE, steps=1), tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_checkpoints_of_other_layouts_and_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"task": {"name": "line"}, "step": 3, "modules": {}, "optimizer": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match="earlier version"):
        train(Line(), SCHEDULE, tmp_path, device="cpu")
    (tmp_path / CHECKPOINT).unlink()
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    wider = Line()
    wider.model[0] = nn.Linear(3, 9)
    with pytest.raises(InputError, match="is not a checkpoint of line") as caught:
        train(wider, SCHEDULE, tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    task = Line()
    with torch.no_grad():
        task.model[2].bias.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="step 0"):
        train(task, SCHEDULE, tmp_path, device="cpu")
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_rate_rises_then_falls_along_a_cosine_or_stays() -> None:
    schedule = Schedule(steps=100, rate=1.0, warmup=0.1)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.505, abs=1e-3)
    constant = replace(schedule, decay="constant", warmup=0.0)
    assert {constant.rate_at(step) for step in range(100)} == {1.0}
    assert replace(schedule, final_rate=0.0).rate_at(100) == pytest.approx(0)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"steps": 0}, {"accumulate": 0}, {"rate": 0.0}, {"clip": -1.0}, {"warmup": 2.0}, {"log_every": 0}),
        *({"weight_decay": -1.0}, {"epochs": 0}, {"weight_decay": math.inf}, {"rate": math.inf}),
    ],
)
def test_schedules_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"Expected .*{next(iter(wrong))}"):
        replace(SCHEDULE, **wrong)


def test_saved_weights_are_in_half_precision_and_keep_integers(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = nn.BatchNorm1d(4)
    save_weights(model, tmp_path / "w.safetensors", {"about": "x"})
    state = load_file(tmp_path / "w.safetensors")
    assert state["weight"].dtype == torch.float16
    assert state["num_batches_tracked"].dtype == torch.int64


def test_a_training_goes_on_from_another_with_a_schedule_of_its_own(tmp_path: Path) -> None:
    first, second = Line(), Line()
    train(first, SCHEDULE, tmp_path / "first", device="cpu")
    schedule = replace(SCHEDULE, steps=1, rate=1e-9, weight_decay=0.0)
    train(second, schedule, tmp_path / "second", start=tmp_path / "first" / CHECKPOINT, device="cpu")
    torch.testing.assert_close(second.model[0].weight, first.model[0].weight, atol=1e-6, rtol=0)
    line = logged(tmp_path / "second")[0]
    assert line["step"] == 0
    assert line["steps_before"] == SCHEDULE.steps


def test_a_training_does_not_start_from_what_is_missing_or_another_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        train(Line(), SCHEDULE, tmp_path, start=tmp_path / "missing.pt", device="cpu")
    train(Line(), SCHEDULE, tmp_path / "first", device="cpu")
    other = Line()
    other.name = "curve"
    with pytest.raises(InputError, match="checkpoint of line, expected one of curve"):
        train(other, SCHEDULE, tmp_path / "second", start=tmp_path / "first" / CHECKPOINT, device="cpu")


def test_accumulated_gradients_give_the_same_training(tmp_path: Path) -> None:
    whole, parts = Line(), Line()
    train(whole, SCHEDULE, tmp_path / "whole", device="cpu")
    train(parts, replace(SCHEDULE, accumulate=4), tmp_path / "parts", device="cpu")
    assert parts.seen == 4 * whole.seen
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(logged(tmp_path / "parts"), logged(tmp_path / "whole"), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6)


def test_batches_that_cannot_be_cut_are_refused_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Line, "begin", lambda self, progress: prepared.append(progress))
    prepared: list[float] = []
    with pytest.raises(InputError, match="found 16 items; choose a multiple of 3"):
        train(Line(), replace(SCHEDULE, accumulate=3), tmp_path, device="cpu")
    task = Line()
    task.coupled = True
    with pytest.raises(InputError, match="loss of line compares the items"):
        train(task, replace(SCHEDULE, accumulate=2), tmp_path, device="cpu")
    assert not prepared
    train(task, SCHEDULE, tmp_path, device="cpu")
    assert prepared == [0.0]


def test_the_forward_pass_runs_in_the_precision_asked_for_and_is_given_back(tmp_path: Path) -> None:
    asked: list[tuple[Precision, torch.dtype]] = [("bf16", torch.bfloat16), ("no", torch.float32)]
    for precision, expected in asked:
        task = Line()
        train(task, replace(SCHEDULE, steps=2, precision=precision), tmp_path / precision, device="cpu")
        assert task.types == {expected}
        assert task.model(torch.eye(3)).dtype == torch.float32
        task.types.clear()
        task([1, 2], 0.0)
        assert task.types == {torch.float32}
    with pytest.raises(InputError, match="needs CUDA"):
        train(Line(), replace(SCHEDULE, precision="fp16"), tmp_path / "half", device="cpu")


def test_pictures_are_drawn_before_while_and_after(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    names = sorted(path.name for path in (tmp_path / PICTURES).iterdir())
    assert names == ["weights-000000.png", "weights-000030.png", "weights-000060.png"]
    first, last = (Image.open(tmp_path / PICTURES / names[i]).tobytes() for i in (0, 2))
    assert first != last


def test_pictures_and_validation_come_at_the_end_of_every_epoch_too(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, steps=50, epochs=3, picture_every=20, validate_every=0)
    train(Line(), schedule, tmp_path, device="cpu")
    drawn = sorted(int(path.stem.rpartition("-")[2]) for path in (tmp_path / PICTURES).iterdir())
    assert drawn == [0, 17, 20, 34, 40, 50]
    assert [line["step"] for line in logged(tmp_path) if "val_error" in line] == [50]


def test_tensorboard_shows_figures_and_pictures_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = Line()
    first.stop_after = 37
    with pytest.raises(KeyboardInterrupt):
        train(first, replace(SCHEDULE, save_every=1e9), tmp_path, device="cpu")  # no checkpoint: begins anew
    first.stop_after = -1
    train(Line(), SCHEDULE, tmp_path, device="cpu")
    events = EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    losses = {int(line["step"]): line["loss"] for line in logged(tmp_path) if "loss" in line}
    assert [event.step for event in events.Scalars("loss")] == [10, 20, 30, 40, 50, 60]
    assert {event.step: event.value for event in events.Scalars("loss")} == pytest.approx(losses, rel=1e-3)
    assert {event.step for event in events.Scalars("val_error")} == {20, 40, 60}
    assert [event.step for event in events.Images("weights")] == [0, 30, 60]


def test_progress_tells_loss_rate_and_speed(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    train(Line(), replace(SCHEDULE, steps=3), tmp_path, device="cpu", progress=lambda *values: told.append(values))
    assert [values[:2] for values in told] == [(1, 3), (2, 3), (3, 3)]
    name, _, details = told[-1][2].partition(": ")
    assert name == "line"
    assert details.startswith("loss ")
    assert "rate" in details
    assert details.endswith("photos/s")


def test_parameters_that_are_neither_trained_nor_frozen_are_named(tmp_path: Path) -> None:
    class Careless(Line):
        def __init__(self) -> None:
            super().__init__()
            self.forgotten = nn.Linear(1, 1)

        def forward(self, items: Sequence[int], progress: float) -> tuple[Tensor, dict[str, float]]:
            return super().forward(items, progress)

    with pytest.raises(ValueError, match=r"forgotten\.weight"):
        train(Careless(), SCHEDULE, tmp_path, device="cpu")


def test_a_bar_keeps_its_line_while_its_words_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.console import progress_bars

    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bars() as progress:
        for done in range(3):
            progress(done + 1, 3, f"line: loss {3 - done}")
    drawn = capsys.readouterr().out
    assert "line: loss 1" in drawn
    assert "\x1b[1A\x1b[2K" not in drawn, "a second bar would move the cursor up"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("precision", "expected"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_on_cuda_a_training_in_half_precision_learns_and_goes_on_exactly(
    tmp_path: Path, precision: Precision, expected: torch.dtype
) -> None:
    schedule = replace(SCHEDULE, precision=precision, accumulate=2)
    whole, first, second = Line(), Line(), Line()
    figures = train(whole, schedule, tmp_path / "whole", device="cuda")
    assert whole.types == {expected}
    assert figures["error"] < 0.5
    state = torch.load(tmp_path / "whole" / CHECKPOINT, weights_only=True)
    assert (state["scaler"] is not None) == (precision == "fp16")
    first.stop_after = 2 * 37
    with pytest.raises(KeyboardInterrupt):
        train(first, schedule, tmp_path / "parts", device="cuda")
    train(second, schedule, tmp_path / "parts", device="cuda")
    torch.testing.assert_close(second.state_dict(), whole.state_dict(), rtol=0, atol=0)
