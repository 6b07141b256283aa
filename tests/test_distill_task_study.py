"""The study of distillation for one task in miniature: its rows, its jobs, what is written."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from render.errors import InputError
from tests.taught import CLASSES, photo_of, small_data
from tests.tiny_models import TINY_VIT, tiny_vit_file
from training.distillation.specific import running
from training.distillation.specific.models import Goal
from training.distillation.specific.rows import Choice
from training.distillation.specific.running import Workbench
from training.distillation.specific.study import (
    CIFAR10,
    FURTHER,
    HEAD,
    LINES,
    PROBED,
    STUDIES,
    TUNED,
    Study,
    Trained,
    is_done,
    open_bench,
    result_of,
    rows_of,
    search_rate,
    searches,
    train_row,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    weights = tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]
    tuned = Trained(choice=Choice(network=TINY_VIT, weights=weights, blocks=2, batch=4), steps=2)
    probed = Trained(choice=replace(tuned.choice, frozen=True), steps=20)
    return replace(CIFAR10, name="mini", probed=probed, tuned=tuned, students={"vit": tuned})


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrays")
    for split, first in (("train", 0), ("test", 500)):
        images = np.stack([photo_of(i % 3, first + i) for i in range(12)])
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(12) % 3, classes=np.array(CLASSES))
    return folder


@pytest.mark.parametrize("one", STUDIES, ids=lambda one: one.name)
def test_a_study_has_the_lines_of_the_texts_tables(one: Study, tmp_path: Path) -> None:
    goal: Goal = one.goal
    bench = Workbench(small_data(goal), goal, tmp_path, device="cpu")
    rows = {row.name: row for row in rows_of(one, bench)}
    assert list(rows) == [PROBED, TUNED, *(f"{name}-{line}" for name in ("vit", "resnet") for line in LINES[name])]
    assert [row.name for row in rows.values() if row.spec.frozen] == [PROBED, f"vit-{HEAD}"]
    taught = {name: row.teacher.name for name, row in rows.items() if row.teacher is not None}
    assert {name for name, teacher in taught.items() if teacher == TUNED} == {"vit-by-tuned"}
    assert not any("by-" in name for name in rows if name not in taught)
    mixed_in = {name: row.mixed_in for name, row in rows.items() if row.mixed is not None}
    assert mixed_in == {name: "task" if "in-task" in name else "distillation" for name in rows if "mixed" in name}
    for name in one.students:
        alike = [row for line, row in rows.items() if line.startswith(name) and not row.spec.frozen]
        same = {(row.spec, row.numbers, row.recipe) for row in alike}
        assert len(same) == 1, "rows of a student differ in what teaches it alone"
        assert alike[0].numbers.steps(12) == one.students[name].steps
    assert rows["resnet-alone"].spec.convolutional
    further = {row.name: row for row in rows_of(replace(one, lines={n: LINES[n] + FURTHER[n] for n in LINES}), bench)}
    assert {name: further[name] for name in rows} == rows
    assert {name.partition("-")[2] for name in further if name.startswith("resnet")} | {HEAD} == {
        name.partition("-")[2] for name in further if name.startswith("vit")
    }
    for name in one.students:
        for line in ("by-probed", "by-probed-mixed"):
            found, like = further[f"{name}-{line}-no-labels"], further[f"{name}-{line}"]
            assert (found.weighting.alpha, like.weighting.alpha) == (1.0, 0.5)
            assert replace(found, name=like.name, weighting=like.weighting) == like
    assert one.shortened(0.5).students["vit"].steps == one.students["vit"].steps // 2
    with pytest.raises(InputError, match="effort above 0"):
        one.shortened(0)


@pytest.mark.parametrize("one", STUDIES, ids=lambda one: one.name)
def test_both_teachers_learn_from_photos_as_they_are_asked_about_and_begin_apart_from_students(
    one: Study, tmp_path: Path
) -> None:
    bench = Workbench(small_data(one.goal), one.goal, tmp_path, device="cpu")
    rows = {row.name: row for row in rows_of(one, bench)}
    assert rows[PROBED].recipe == rows[TUNED].recipe == rows["vit-by-probed"].recipe
    assert not rows[PROBED].recipe.plain
    assert {
        row.apart for row in rows.values() if row.teacher is not None or row.name.startswith(("vit", "resnet"))
    } == {0}
    assert rows[PROBED].apart == rows[TUNED].apart > 100, "no student has a seed of a teacher"


@pytest.mark.parametrize("one", STUDIES, ids=lambda one: one.name)
def test_a_photo_of_a_study_is_seen_many_times(one: Study) -> None:
    photos = one.train or 120
    for trained in (one.tuned, *one.students.values()):
        assert trained.choice.batch is not None
        assert trained.steps * trained.choice.batch / photos > 9


def test_rates_are_searched_for_on_photos_that_nothing_else_is_measured_on(
    study: Study, arrays: Path, tmp_path: Path
) -> None:
    chosen = replace(study, train=6, test=4, rates={"tuning": (1e-5, 1e-3), "convolutional": (0.1,)})
    bench = open_bench(chosen, arrays, tmp_path, device="cpu", precision="no")
    rows = searches(chosen, bench)
    assert list(rows) == ["tuning"], "no network of this study is convolutional"
    assert rows["tuning"].numbers.steps(6) == 1, "half of the steps"
    rate = search_rate(chosen, arrays, tmp_path, "tuning", device="cpu", precision="no")
    found = json.loads((tmp_path / "search-tuning" / "search.json").read_text())
    assert found["photos"] == [6, 4], "all six to learn from, of the other six as many as are measured"
    assert [entry["numbers"]["rate"] for entry in found["tried"]] == [1e-5, 1e-3]
    assert found["tried"][found["best"]]["numbers"]["rate"] == rate
    rated = chosen.with_rates({"tuning": rate})
    by_name = {row.name: row.numbers.rate for row in rows_of(rated, bench)}
    assert {name for name, value in by_name.items() if value == rate} == set(by_name) - {PROBED, f"vit-{HEAD}"}
    # Where all photos are learned from, some are kept back.
    whole = replace(chosen, train=None, name="whole")
    search_rate(whole, arrays, tmp_path / "whole", "tuning", device="cpu", precision="no")
    found = json.loads((tmp_path / "whole" / "search-tuning" / "search.json").read_text())
    assert found["photos"] == [9, 3]


def test_jobs_train_every_row_once_and_results_are_read_without_networks(
    study: Study, arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(study, arrays, tmp_path, device="cpu", precision="no")
    rows = rows_of(study, bench)
    job: Callable[..., None] = partial(train_row, study, arrays, tmp_path, device="cpu", precision="no")
    assert pickle.dumps(job), "a process of its own can be given it"
    with pytest.raises(InputError, match="taught by teacher-probed: train that one first"):
        job("vit-by-probed", [0])
    assert not list(tmp_path.iterdir())
    chosen = [row for row in rows if row.name in (PROBED, "vit-by-probed", "vit-by-probed-mixed")]
    for row in chosen:
        job(row.name, [0])
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    for row in chosen:
        job(row.name, [0])
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == before
    monkeypatch.setattr(running, "build_model", lambda *_, **__: pytest.fail("no network is needed"))
    results = {row.name: result_of(bench, row, [0]) for row in chosen}
    assert results[PROBED].scores.figures()["accuracy"].item() > 0.5
    assert all(result.seconds > 0 for result in results.values())
    assert len(list(tmp_path.glob("*/seed-0/encoder.safetensors"))) == 2
    with pytest.raises(InputError, match=r"vit-by-probed-mixed was not trained and measured with the seeds \[1\]"):
        result_of(bench, chosen[-1], [0, 1])
    with pytest.raises(InputError, match=r"rows teacher-probed, .* found 'vit'"):
        job("vit", [0])


def test_other_numbers_teachers_or_photos_are_not_done(study: Study, arrays: Path, tmp_path: Path) -> None:
    train_row(study, arrays, tmp_path, "vit-alone", [0], device="cpu", precision="no")

    def done(one: Study) -> bool:
        bench = open_bench(one, arrays, tmp_path, device="cpu")
        return is_done(bench, next(row for row in rows_of(one, bench) if row.name == "vit-alone"), 0)

    assert done(study)
    assert not done(replace(study, train=6))
    assert not done(replace(study, test=6))
    vit = study.students["vit"]
    other = replace(study, students={"vit": replace(vit, choice=replace(vit.choice, rate=1e-7))})
    assert not done(other)
    with pytest.raises(InputError, match="belongs to another training"):
        train_row(other, arrays, tmp_path, "vit-alone", [0], device="cpu", precision="no")
