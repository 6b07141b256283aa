"""The study of distillation for one task in miniature: its rows, its jobs, what is written."""

from __future__ import annotations

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
    LINES,
    PROBED,
    STUDIES,
    TUNED,
    Study,
    Trained,
    in_order,
    is_done,
    open_bench,
    result_of,
    rows_of,
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
def test_a_study_has_all_rows_for_both_students(one: Study, tmp_path: Path) -> None:
    goal: Goal = one.goal
    bench = Workbench(small_data(goal), goal, tmp_path, device="cpu")
    rows = {row.name: row for row in rows_of(one, bench)}
    assert list(rows) == [PROBED, TUNED, *(f"{name}-{line}" for name in ("vit", "resnet") for line in LINES)]
    assert rows[PROBED].spec.frozen
    assert not rows[TUNED].spec.frozen
    taught = {name: row.teacher.name for name, row in rows.items() if row.teacher is not None}
    for name in one.students:
        assert rows[f"{name}-alone"].teacher is None
        lines = ("by-probed", "by-tuned", "by-probed-mixed", "by-probed-mixed-in-task")
        assert [taught[f"{name}-{line}"] for line in lines] == [PROBED, TUNED, PROBED, PROBED]
        mixed = [row for row in rows.values() if row.mixed is not None and row.name.startswith(name)]
        assert [row.mixed_in for row in mixed] == ["distillation", "task"]
        same = {(row.spec, row.numbers, row.recipe) for row in rows.values() if row.name.startswith(name)}
        assert len(same) == 1, "rows of a student differ in what teaches it alone"
        assert rows[f"{name}-alone"].numbers.steps(12) == one.students[name].steps
    assert rows["resnet-alone"].spec.convolutional
    assert [len(rows) for rows in in_order(list(rows.values()))] == [4, 8]
    further = {row.name: row for row in rows_of(replace(one, lines=LINES + FURTHER), bench)}
    assert {name: further[name] for name in rows} == rows
    for name in one.students:
        for unlabelled, labelled in zip(FURTHER, ("by-probed", "by-probed-mixed"), strict=True):
            found, like = further[f"{name}-{unlabelled}"], rows[f"{name}-{labelled}"]
            assert (found.weighting.alpha, like.weighting.alpha) == (1.0, 0.5)
            assert replace(found, name=like.name, weighting=like.weighting) == like
    assert one.shortened(0.5).students["vit"].steps == one.students["vit"].steps // 2
    with pytest.raises(InputError, match="effort above 0"):
        one.shortened(0)


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
    for some in in_order(chosen):
        for row in some:
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
