"""Distillation for one task on the training loop: SGD, batch norms of several processes, trainings that are killed."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from render.errors import InputError
from tests.loop_line import SCHEDULE as LINE_SCHEDULE
from tests.loop_line import Line
from tests.taught import TASKS, make_task, network_of, schedule_of, spec_of
from tests.test_loop import logged
from tests.test_loop_processes import LAUNCH, ROOT
from tests.tiny_models import TINY_VIT, tiny_vit_file
from training.distillation.specific import norms
from training.distillation.specific.features import FrozenFeatures
from training.distillation.specific.models import Goal, build_model
from training.distillation.specific.norms import SharedBatchNorm, shareable
from training.loop import CHECKPOINT, Schedule, train


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weights and running statistics in one vector."""
    return torch.cat([tensor.double().flatten() for tensor in state.values() if tensor.is_floating_point()])


def test_a_step_of_sgd_is_torchs(tmp_path: Path) -> None:
    schedule = replace(
        LINE_SCHEDULE, steps=3, rate=0.02, optimizer="sgd", momentum=0.8, weight_decay=0.3, warmup=0.0, clip=None
    )
    task, twin = Line(), Line()
    train(task, replace(schedule, decay="constant"), tmp_path, device="cpu")
    weights = [twin.model[0].weight]  # the layer to one number is as many as it has inputs: no matrix
    others = [p for p in twin.model.parameters() if p is not weights[0]]
    groups = [{"params": weights, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.02, momentum=0.8)
    for step in range(3):
        random = np.random.default_rng([0, step])
        random.integers(2**62)
        optimizer.zero_grad()
        twin(twin.batch(random), step / 3)[0].backward()
        optimizer.step()
        twin.after_step(step / 3)
    torch.testing.assert_close(task.state_dict(), twin.state_dict(), rtol=1e-6, atol=1e-7)


def test_sgd_lets_weights_of_convolutions_of_any_size_decay() -> None:
    from training.loop.running import _optimizer

    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, bias=False))
    found = _optimizer(list(model.parameters()), Schedule(steps=1, optimizer="sgd", weight_decay=0.1))
    assert isinstance(found, torch.optim.SGD)
    assert [[tuple(p.shape) for p in group["params"]] for group in found.param_groups] == [
        [(8, 4, 1, 1), (4, 8, 3, 3)],
        [(8,), (8,), (8,)],
    ]
    assert [(group["weight_decay"], group["momentum"]) for group in found.param_groups] == [(0.1, 0.9), (0.0, 0.9)]


def test_checkpoints_from_before_there_was_a_choice_of_optimizers_are_gone_on_with(tmp_path: Path) -> None:
    old = {
        *("steps", "rate", "weight_decay", "betas", "warmup", "decay", "final_rate", "clip", "seed", "accumulate"),
        "precision",
    }
    assert set(LINE_SCHEDULE.identity()) == old
    assert set(replace(LINE_SCHEDULE, optimizer="sgd").identity()) == old - {"betas"} | {"optimizer", "momentum"}
    train(Line(), replace(LINE_SCHEDULE, steps=2), tmp_path, device="cpu")
    with pytest.raises(InputError, match=r"another training: expected .*optimizer sgd"):
        train(Line(), replace(LINE_SCHEDULE, steps=2, optimizer="sgd"), tmp_path, device="cpu")
    with pytest.raises(InputError, match="momentum from 0 to below 1, found 1"):
        replace(LINE_SCHEDULE, momentum=1.0)


def test_in_one_process_a_shared_norm_is_torchs() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3))
        values = torch.randn(5, 3, 6, 6)
    twin = shareable(nn.Sequential(*model))
    assert isinstance(twin[1], SharedBatchNorm)
    for _ in range(2):
        torch.testing.assert_close(twin(values), model(values))
    torch.testing.assert_close(twin.state_dict(), model.state_dict())
    torch.testing.assert_close(twin.eval()(values), model.eval()(values))


class Gathering:
    """Stands for ``torch.distributed`` with two processes, which are threads."""

    def __init__(self) -> None:
        self.ranks: dict[int, int] = {}
        self._given: dict[int, torch.Tensor] = {}
        self._barrier = threading.Barrier(2, timeout=20)

    def all_reduce(self, values: torch.Tensor) -> None:
        self._given[self.ranks[threading.get_ident()]] = values.clone()
        self._barrier.wait()
        total = self._given[0] + self._given[1]
        self._barrier.wait()
        values.copy_(total)


@pytest.mark.parametrize("rows", [(3, 3), (4, 2)])
def test_a_norm_over_two_processes_is_torchs_over_all_rows(
    rows: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gathering = Gathering()
    monkeypatch.setattr(norms, "distributed", gathering)
    monkeypatch.setattr(norms, "several_processes", lambda: True)
    generator = torch.Generator().manual_seed(0)
    values = 5 + 3 * torch.randn(sum(rows), 4, 3, 2, generator=generator)
    weights = torch.randn(values.shape, generator=generator)
    torchs = nn.BatchNorm2d(4, momentum=0.3).train()
    with torch.no_grad():
        torchs.weight.copy_(torch.tensor([1.0, 2.0, 0.5, -1.0]))
        torchs.bias.copy_(torch.arange(4.0))
    own = [shareable(nn.Sequential(copy.deepcopy(torchs))).train() for _ in range(2)]
    every = values.clone().requires_grad_(True)
    expected = torchs(every)
    (expected * weights).sum().backward()
    inputs = [part.clone().requires_grad_(True) for part in values.split(rows)]
    found: dict[int, torch.Tensor] = {}

    def process(rank: int) -> None:
        gathering.ranks[threading.get_ident()] = rank
        told = own[rank](inputs[rank])
        found[rank] = told.detach()
        (told * weights.split(rows)[rank]).sum().backward()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(process, range(2)))
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(torch.cat([found[0], found[1]]), expected.detach(), **close)
    torch.testing.assert_close(torch.cat([one.grad for one in inputs if one.grad is not None]), every.grad, **close)
    for name, parameter in torchs.named_parameters():
        parts = [one.get_parameter(f"0.{name}").grad for one in own]
        torch.testing.assert_close(sum(part for part in parts if part is not None), parameter.grad, **close)
    for one in own:
        torch.testing.assert_close(dict(one[0].named_buffers()), dict(torchs.named_buffers()), **close)


def test_a_batch_with_norms_is_not_taken_apart(weights: Path, tmp_path: Path) -> None:
    from training.loop import check, place

    halves = replace(schedule_of("vit"), accumulate=2)
    check(TASKS["vit"](weights), halves, place("cpu"))
    probe = make_task("segmentation", network_of("segmentation", weights, frozen=True))
    with pytest.raises(InputError, match="has batch norms, which see a whole batch at once"):
        train(probe, halves, tmp_path, device="cpu")


def test_a_probe_learns_and_its_encoder_stays(weights: Path, tmp_path: Path) -> None:
    from training.distillation.specific.augmentation import Recipe

    model = network_of("classification", weights, frozen=True)
    recipe = Recipe(augment="plain", side=32)
    task = make_task("classification", model, recipe=recipe, held=True, features=FrozenFeatures(10**9))
    before = model.fingerprint().partition(" on ")
    schedule = replace(schedule_of("vit"), steps=12, rate=1e-2, save_every=1e9)
    assert train(task, schedule, tmp_path, device="cpu")["accuracy"] == 1.0
    after = model.fingerprint().partition(" on ")
    assert before[0] != after[0]
    assert before[2] == after[2]
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)["task"]
    assert {name.partition(".")[2].partition(".")[0] for name in state} == {"head"}


@pytest.mark.parametrize("kind", ["vit", pytest.param("deeplab", marks=pytest.mark.slow)])
def test_interrupted_it_ends_as_if_it_had_not_been(kind: str, weights: Path, tmp_path: Path) -> None:
    schedule = replace(schedule_of(kind), steps=2, save_every=0.0)
    whole, first, again = (TASKS[kind](weights) for _ in range(3))
    train(whole, replace(schedule, save_every=1e9), tmp_path / "whole", device="cpu")

    def interrupt(progress: float) -> None:
        if round(progress * schedule.steps) == 1:
            raise KeyboardInterrupt

    first.after_step = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(first, schedule, tmp_path / "parts", device="cpu")
    assert torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["step"] == 1
    train(again, schedule, tmp_path / "parts", device="cpu")
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_another_teacher_or_other_images_are_another_training(weights: Path) -> None:
    def identity(**changes: object) -> dict[str, object]:
        student = network_of("classification", weights)
        teacher = network_of("classification", weights, frozen=True)
        if changes.pop("other", False):
            with torch.no_grad():
                next(teacher.parameters()).add_(1)
        return make_task("classification", student, teacher, **changes).identity()  # type: ignore[arg-type]

    usual = identity()
    assert usual == identity()
    differing = [identity(other=True), identity(mixed=True), identity(batch=6)]
    assert [{name for name in usual if one[name] != usual[name]} for one in differing] == [
        {"teacher"},
        {"mixed"},
        {"batch"},
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_does(weights: Path, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *LAUNCH, "-m", "tests.taught", str(tmp_path), str(weights)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    for kind, make in TASKS.items():
        task = make(weights)
        start = flat(task.state_dict())
        train(task, schedule_of(kind), tmp_path / "one" / kind, device="cpu")
        one = flat(task.state_dict())
        for rank in range(2):
            two = flat(torch.load(tmp_path / f"{kind}-{rank}.pt", weights_only=True))
            # Norms over the few nodes of so small a map make much of the last bits of a sum.
            assert float((two - one).norm()) < 0.02 * float((one - start).norm())
        for mine, theirs in zip(logged(tmp_path / kind), logged(tmp_path / "one" / kind), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-2, abs=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("goal", ["segmentation", "classification"])
def test_on_cuda_a_student_learns_and_is_measured(goal: Goal, weights: Path, tmp_path: Path) -> None:
    cuda = torch.device("cuda")
    name = "deeplabv3-resnet18" if goal == "segmentation" else TINY_VIT
    student = build_model(spec_of(goal, name), weights=None if goal == "segmentation" else weights, device=cuda)
    teacher = build_model(spec_of(goal, TINY_VIT, frozen=True), weights=weights, device=cuda)
    task = make_task(goal, student, teacher, mixed=True, held=True)
    figures = train(task, replace(schedule_of("vit"), precision="auto"), tmp_path, device="cuda")
    assert all(0 <= value <= 1 for value in figures.values())
    assert len(figures) > 0
