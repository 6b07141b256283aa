"""The loop of the tiny encoders: schedules, checkpoints, logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from render.errors import InputError
from training.tiny.loop import CHECKPOINT, LOG, Schedule, save_weights, train


class Line:
    """Fits a line to noisy points; the noise of every batch is drawn anew."""

    name = "line"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(3, 1)
        self.stop_after: int | None = None
        self.seen = 0

    def modules(self) -> Mapping[str, nn.Module]:
        return {"model": self.model}

    def trained(self) -> Iterable[nn.Module]:
        return [self.model]

    def step(self, random: np.random.Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        if self.seen == self.stop_after:
            raise KeyboardInterrupt
        self.seen += 1
        x = torch.from_numpy(random.normal(size=(16, 3)).astype(np.float32)) + 0.01 * torch.randn(16, 3)
        loss = (self.model(x).float() - x.sum(1, keepdim=True)).square().mean()
        return loss, {"progress": progress}

    def after_step(self, progress: float) -> None:
        pass

    def validate(self) -> dict[str, float]:
        return {"error": float((self.model.weight - 1).abs().mean().detach())}

    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        return self.model, {}


SCHEDULE = Schedule(steps=60, rate=0.05, save_every=0.0, log_every=10, validate_every=20)


def test_training_learns_and_says_so_in_its_log(tmp_path: Path) -> None:
    task = Line()
    before = task.validate()["error"]
    after = train(task, SCHEDULE, tmp_path)["error"]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert after < before / 3
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["val_error"] == pytest.approx(after, rel=1e-3)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, first, second = Line(), Line(), Line()
    train(whole, SCHEDULE, tmp_path / "whole")
    first.stop_after = 37
    with pytest.raises(KeyboardInterrupt):
        train(first, SCHEDULE, tmp_path / "parts")
    with torch.no_grad():
        second.model.weight.fill_(7.0)  # what the checkpoint has to replace
    train(second, SCHEDULE, tmp_path / "parts")
    assert second.seen == 60 - 37
    torch.testing.assert_close(second.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / LOG).read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps.count(30) == 1


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, tmp_path)
    again = Line()
    train(again, SCHEDULE, tmp_path)
    assert again.seen == 0


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, tmp_path)
    with pytest.raises(InputError, match="another training"):
        train(Line(), replace(SCHEDULE, steps=61), tmp_path)


def test_a_damaged_checkpoint_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 half of a file")
    with pytest.raises(InputError, match="delete it to begin anew"):
        train(Line(), SCHEDULE, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    task = Line()
    with torch.no_grad():
        task.model.bias.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="step 0"):
        train(task, SCHEDULE, tmp_path)


def test_the_rate_rises_then_falls_along_a_cosine() -> None:
    schedule = Schedule(steps=100, rate=1.0, warmup=0.1)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[10]) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.505, abs=1e-3)


def test_saved_weights_are_in_half_precision_and_keep_integers(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model = nn.BatchNorm1d(4)
    save_weights(model, tmp_path / "w.safetensors", {"about": "x"})
    state = load_file(tmp_path / "w.safetensors")
    assert state["weight"].dtype == torch.float16
    assert state["num_batches_tracked"].dtype == torch.int64


def test_a_training_goes_on_from_another_with_a_schedule_of_its_own(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, tmp_path / "first")
    first = Line()
    first.model.load_state_dict(torch.load(tmp_path / "first" / CHECKPOINT, weights_only=True)["modules"]["model"])
    second = Line()
    schedule = replace(SCHEDULE, steps=1, rate=1e-9, weight_decay=0.0)
    train(second, schedule, tmp_path / "second", start=tmp_path / "first" / CHECKPOINT)
    torch.testing.assert_close(second.model.weight, first.model.weight, atol=1e-6, rtol=0)
    line = json.loads((tmp_path / "second" / LOG).read_text().splitlines()[0])
    assert line["step"] == 0
    assert line["steps_before"] == SCHEDULE.steps


def test_a_training_does_not_start_from_what_is_missing_or_another_encoder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        train(Line(), SCHEDULE, tmp_path, start=tmp_path / "missing.pt")
    train(Line(), SCHEDULE, tmp_path / "first")
    other = Line()
    other.name = "curve"
    with pytest.raises(InputError, match="checkpoint of line, expected one of curve"):
        train(other, SCHEDULE, tmp_path / "second", start=tmp_path / "first" / CHECKPOINT)
