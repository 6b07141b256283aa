"""Tables of distillation for one task: networks of several seeds, their teachers, and searches for their numbers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.taught import SIDE, small_data, spec_of
from tests.tiny_models import TINY_VIT, tiny_vit_file
from training.distillation.specific.mixing import Mixed
from training.distillation.specific.models import Goal
from training.distillation.specific.rows import APART, Row
from training.distillation.specific.running import Workbench
from training.distillation.specific.searching import searched
from training.distillation.specific.settings import Numbers, recipe_for
from training.loop import CHECKPOINT, DivergedError


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


def bench_of(goal: Goal, out: Path, count: int = 12) -> Workbench:
    return Workbench(small_data(goal, count), goal, out, device="cpu", precision="no")


def row_of(name: str, weights: Path, *, frozen: bool = False, **numbers: Any) -> Row:
    """A line of three steps."""
    usual = Numbers(rate=1e-3, weight_decay=0.0, batch=4, epochs=1)
    spec = spec_of("classification", TINY_VIT, frozen=frozen)
    recipe = recipe_for(spec, "domainnet", "small", SIDE)
    return Row(name=name, spec=spec, numbers=replace(usual, **numbers), recipe=recipe, weights=weights)


def test_rates_are_searched_on_photos_that_are_kept_back(weights: Path, tmp_path: Path) -> None:
    bench = bench_of("classification", tmp_path, 20)
    numbers = Numbers(rate=1e-9, weight_decay=0.0, batch=4, epochs=4)
    spec = spec_of("classification", TINY_VIT, frozen=True)
    row = Row(
        name="probe", spec=spec, numbers=numbers, recipe=recipe_for(spec, "domainnet", "small", SIDE), weights=weights
    )
    found = searched(bench, row, [numbers, replace(numbers, rate=1e-2)])
    assert found.numbers.rate == 1e-2
    written = json.loads((tmp_path / "probe" / "search.json").read_text())
    assert written["photos"] == [18, 2]
    assert written["best"] == 1
    assert written["tried"][1]["accuracy"] == 1.0 > written["tried"][0]["accuracy"]
    result = bench.result(found, [0, 3])
    assert result.scores.figures()["accuracy"].tolist() == [[1.0, 1.0]]
    with pytest.raises(InputError, match="different seeds"):
        bench.result(found, [1, 1])


def test_numbers_that_diverge_are_the_worst_of_a_search(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, row = bench_of("classification", tmp_path), row_of("tuned", weights, epochs=1.5)
    grid = [replace(row.numbers, rate=rate) for rate in (1e30, 1e-4, 1e-5)]
    best = searched(bench, row, grid).numbers
    assert best in grid[1:]
    written = json.loads((tmp_path / "tuned" / "search.json").read_text())
    assert [one["diverged"] for one in written["tried"]] == [True, False, False]
    assert not list(tmp_path.rglob("checkpoint.pt")), "nothing needs them any more"
    assert len(list(tmp_path.rglob("log.jsonl"))) == 3

    # What was tried is not tried again; a search that was killed goes on.
    monkeypatch.setattr(Workbench, "fit", lambda *_, **__: pytest.fail("all were tried"))
    assert searched(bench_of("classification", tmp_path), row, grid).numbers == best
    with pytest.raises(InputError, match="another search, with other grid"):
        searched(bench, row, grid[:2])
    written["tried"] = written["tried"][:1]
    (tmp_path / "tuned" / "search.json").write_text(json.dumps(written))
    asked: list[float] = []

    def nan(_: Workbench, one: Row, *__: object, **___: object) -> tuple[None, dict[str, float]]:
        asked.append(one.numbers.rate)
        return None, {"accuracy": float("nan")}

    monkeypatch.setattr(Workbench, "fit", nan)
    with pytest.raises(InputError, match="All 3 trainings of the search for tuned diverged"):
        searched(bench, row, grid)
    assert asked == [1e-4, 1e-5]


def test_a_teacher_begins_and_draws_photos_apart_from_a_student_of_its_seed(weights: Path, tmp_path: Path) -> None:
    bench, student = bench_of("classification", tmp_path), row_of("tuned", weights)
    teacher = replace(student, name="teacher", apart=APART)
    begun = {
        (row.name, seed): bench.untrained(row, seed).fingerprint() for row in (student, teacher) for seed in (0, 1)
    }
    assert len(set(begun.values())) == 4
    assert begun["teacher", 1] == bench.untrained(student, APART + 1).fingerprint()
    assert bench._schedule(teacher, 12, 1).seed == APART + 1


def test_a_search_whose_teacher_diverges_ends_with_what_to_do(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(_: Workbench, row: Row, *__: object, **___: object) -> None:
        raise DivergedError(f"The loss of {row.name} is nan.")

    monkeypatch.setattr(Workbench, "fit", diverge)
    student = replace(row_of("student", weights), teacher=row_of("teacher", weights))
    with pytest.raises(InputError, match=r"training of teacher diverged \(The loss of teacher is nan.*smaller rate"):
        searched(bench_of("classification", tmp_path), student, [student.numbers] * 2)
    assert not (tmp_path / "student" / "search.json").exists()


def test_a_network_that_was_measured_is_read_and_not_trained_on(weights: Path, tmp_path: Path) -> None:
    row = row_of("tuned", weights)
    bench_of("classification", tmp_path).scores(row, 0)
    folder = tmp_path / "tuned" / "seed-0"
    (folder / CHECKPOINT).unlink()
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    again = bench_of("classification", tmp_path)
    written = json.loads((folder / "measured.json").read_text())
    assert again.model(row, 0).fingerprint() == written["model"]
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before
    # What was not measured, or as another network, is trained.
    (folder / "measured.json").write_text(json.dumps({**written, "model": "another"}))
    assert bench_of("classification", tmp_path).model(row, 0).fingerprint() == written["model"]
    assert (folder / CHECKPOINT).is_file()


def test_a_used_folder_is_refused_before_a_teacher_is_trained(weights: Path, tmp_path: Path) -> None:
    bench, teacher = bench_of("classification", tmp_path), row_of("teacher", weights, frozen=True)
    student = replace(row_of("student", weights), teacher=teacher)
    bench.model(student, 0)
    bench.check(student, [0, 1])  # goes on with it, whatever its teacher will be
    shutil.rmtree(tmp_path / "teacher")
    other = replace(student, numbers=replace(student.numbers, rate=1e-2))
    with pytest.raises(InputError, match=r"student.seed-0.checkpoint.pt belongs to another training.*rate"):
        bench_of("classification", tmp_path).check(other, [0])
    bench.check(other, [1])
    with pytest.raises(InputError, match="numbers were not searched for"):
        bench.check(student, [0], searched=True)
    with pytest.raises(InputError, match="belongs to another training"):
        bench.model(other, 0)  # of the same name


def test_networks_do_not_pile_up_and_are_measured_once(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.distillation.specific import running

    bench, teacher = bench_of("classification", tmp_path), row_of("teacher", weights, frozen=True)
    student = replace(row_of("student", weights), teacher=teacher)
    results = [bench.result(row, [0, 1]) for row in (teacher, student)]
    assert len(bench._trained) == 2
    assert len(bench._encoders) == 1
    assert results[1].seconds > 0
    monkeypatch.setattr(running, "measure", lambda *_, **__: pytest.fail("it was measured"))
    again = bench_of("classification", tmp_path)
    found = again.result(student, [0, 1])
    assert np.array_equal(found.scores.sums, results[1].scores.sums)
    assert found.seconds == results[1].seconds
    (tmp_path / "student" / "seed-0" / "measured.json").write_text("{")
    with pytest.raises(pytest.fail.Exception, match="it was measured"):
        again.result(student, [0])


def test_the_batch_is_one_that_the_processes_can_share_with_mixed_images(weights: Path, tmp_path: Path) -> None:
    from training.loop import Place

    bench = bench_of("classification", tmp_path)
    row = replace(row_of("student", weights, batch=8), mixed=Mixed(source="blend"))
    bench._check_batch(row)
    bench._at = Place(0, 8, torch.device("cpu"))
    with pytest.raises(InputError, match=r"8 processes cannot share a batch of 8 photos and 4 mixed .* batch of 11"):
        bench._check_batch(row)
    bench._check_batch(replace(row, numbers=replace(row.numbers, batch=11)))
