"""``fit3d reproduce task-distillation`` in miniature, and what it says of made figures."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.main import main
from app.task_distillation_tables import save_plot, tables_of, title_of
from render.errors import InputError
from render.views import read_photo
from tests.taught import CLASSES, SIDE, photo_of, small_data, write_camvid
from tests.tiny_models import TINY_VIT, tiny_vit_file
from training.distillation.specific.rows import Choice
from training.distillation.specific.running import RowResult, Workbench
from training.distillation.specific.settings import Procedure
from training.distillation.specific.study import CAMVID, CIFAR10, FURTHER, LINES, PROBED, Study, Trained, rows_of
from training.loop import CHECKPOINT, DivergedError
from training.probing.scores import Scores
from training.reproduction.jobs import Job
from training.reproduction.task_distillation import open_study, planned, search_jobs, trainings
from training.reproduction.task_distillation.learning import learn
from training.reproduction.task_distillation.plan import QUICK_PHOTOS
from training.reproduction.task_distillation.results import QUESTIONS, Found, Results

COUNT = 12


def small(study: Study, weights: Path, students: tuple[str, ...]) -> Study:
    """The study with a network of 64 channels and a few steps."""
    tuned = Trained(choice=Choice(network=TINY_VIT, weights=weights, blocks=2, side=SIDE, batch=4), steps=2)
    probed = Trained(choice=replace(tuned.choice, frozen=True), steps=20)
    rates: dict[Procedure, tuple[float, ...]] = {"tuning": (1e-3, 3e-3)}
    return replace(study, train=None, probed=probed, tuned=tuned, students=dict.fromkeys(students, tuned), rates=rates)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CamVid and CIFAR-10 in miniature."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "cifar10").mkdir()
    for split, first in (("train", 0), ("test", 500)):
        images = np.stack([photo_of(i % 3, first + i) for i in range(COUNT)])
        np.savez(
            folder / "cifar10" / f"{split}.npz", images=images, labels=np.arange(COUNT) % 3, classes=np.array(CLASSES)
        )
    write_camvid(folder / "camvid")
    return folder


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, ...]:
    weights = tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]
    return small(CAMVID, weights, ("resnet",)), small(CIFAR10, weights, ("vit",))


@pytest.fixture(autouse=True)
def _miniature(studies: tuple[Study, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.reproduction.task_distillation.plan.STUDIES", studies)
    monkeypatch.delenv("FIT3D_SHARED", raising=False)


def run(out: Path, data: Path, *options: str) -> int:
    given = ["--data", str(data), "--seeds", "1", "--processes", "1"]
    return main(["reproduce", "task-distillation", str(out), *given, *options])


@pytest.fixture(scope="module")
def done(data: Path, studies: tuple[Study, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction of one seed, done."""
    out = tmp_path_factory.mktemp("reproduction") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.reproduction.task_distillation.plan.STUDIES", studies)
        assert run(out, data) == 0
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    """A copy of it that the test may change."""
    return Path(shutil.copytree(done, tmp_path / "out", ignore=shutil.ignore_patterns("tensorboard")))


def written(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("*/*/seed-*/*") if path.is_file()}


def test_tables_verdicts_costs_and_a_picture_are_written(done: Path) -> None:
    text = (done / "results.md").read_text()
    for part in ("table 4.1", "table 4.2", "table 4.3", "table 4.5", "Verdicts", "Costs", "teacher, probed"):
        assert part in text, part
    assert "regions of two photos" in text, "mixed images are none of a diffusion model"
    assert "points that the teacher tells more when it is fine-tuned: camvid " in text
    assert "too small to mean anything" not in text
    found = json.loads((done / "results.json").read_text())
    lines = {name: set(one["lines"]) for name, one in found["studies"].items()}
    assert lines == {
        name: {"teacher-probed", "teacher-tuned", *(f"{student}-{line}" for line in LINES[student])}
        for name, student in (("camvid", "resnet"), ("cifar10", "vit"))
    }
    assert found["studies"]["cifar10"]["lines"][PROBED]["seeds"]["accuracy"][0] > 0.5
    assert set(found["studies"]["camvid"]["lines"][PROBED]["figures"]) == {"miou", "macc", "aacc"}
    assert found["studies"]["cifar10"]["groups"] == COUNT
    assert "tried were camvid, tuning 0.001 or 0.003, cifar10, tuning 0.001 or 0.003" in text
    assert {answer["verdict"] for answer in found["answers"]} == {"not told apart"}, "of one seed nothing is known"
    assert found["missing"] == []
    camvid, cifar = ([one for one in found["answers"] if one["study"] == name] for name in ("camvid", "cifar10"))
    # Of the ResNet: teachers, distillation against labels alone without and with mixed images, these, and its teacher.
    assert len(camvid) == 1 + 2 + 1 + 1
    assert len(cifar) == 2 + 1 + 3 + 1 + 1 + 1 + 1 + 2
    for name in lines:
        rate = json.loads((done / "figures" / name / "search-tuning" / "figures.json").read_text())["figures"]["rate"]
        rows = [line["row"] for line in found["studies"][name]["lines"].values()]
        assert {row["numbers"]["rate"] for row in rows if not row["network"]["frozen"]} == {rate}
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    assert min(read_photo(done / "students.png").shape[:2]) > 100
    assert not list(done.rglob(CHECKPOINT)), "a network that was measured is in its other files"
    assert (done / "cifar10" / "vit-by-probed" / "seed-0" / "encoder.safetensors").is_file()


def test_given_again_what_is_missing_is_done_and_nothing_else(
    out: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, first = written(out), json.loads((out / "results.json").read_text())
    assert run(out, data) == 0
    assert "0 jobs are left to do" in capsys.readouterr().out
    assert written(out) == before
    assert json.loads((out / "results.json").read_text()) == first
    removed = out / "cifar10" / "vit-by-tuned"
    shutil.rmtree(removed)
    assert run(out, data) == 0
    assert "1 jobs are left to do" in capsys.readouterr().out
    changed = {Path(name) for name, when in written(out).items() if before.get(name) != when}
    assert {path.parts[1] for path in changed} == {removed.name}, "its teacher is read, not opened"
    again = json.loads((out / "results.json").read_text())
    for answer, other in zip(again["answers"], first["answers"], strict=True):
        assert answer["better"] == other["better"]


def test_figures_of_other_numbers_or_photos_are_not_mixed(
    out: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written(out)
    assert run(out, data, "--effort", "0.5") == 2
    assert "made with other settings (rows)" in capsys.readouterr().err
    other = Path(shutil.copytree(data, tmp_path / "other"))
    shutil.copyfile(other / "cifar10" / "test.npz", other / "cifar10" / "train.npz")
    assert run(out, other, "--studies", "cifar10") == 2
    assert "made with other settings (photos)" in capsys.readouterr().err
    assert written(out) == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--effort", "0"], "effort above 0"),
        (["--studies", "camvid", "camvid"], "each once; found camvid, camvid"),
        ([], "Expected --data FOLDER with camvid and cifar10 in it, or FIT3D_SHARED"),
        (["--data", "nowhere"], "Expected the folder camvid and the folder cifar10 in nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "task-distillation", str(tmp_path / "out"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_are_found_by_the_environment_and_a_damaged_set_is_refused_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "camvid" / "test_labels" / "0001_002.png").write_bytes(b"")
    monkeypatch.setenv("FIT3D_SHARED", str(tmp_path))
    assert main(["reproduce", "task-distillation", str(tmp_path / "out")]) == 2
    assert "0001_002.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_jobs_travel_to_other_processes_seed_by_seed_and_wait_for_their_teachers(
    data: Path, studies: tuple[Study, ...], tmp_path: Path
) -> None:
    opened = [open_study(study, data, tmp_path) for study in studies]
    assert [job.name for job in search_jobs(opened)] == ["camvid search tuning", "cifar10 search tuning"]
    jobs: list[Job] = pickle.loads(pickle.dumps(trainings(opened, [0, 1, 2])))  # noqa: S301  written here
    names = [job.name for job in jobs]
    # The probed teacher and the ViT's head once, for their seeds share features here; the others three times.
    assert len(jobs) == (1 + 3 * (1 + 3)) + (2 + 3 * (1 + 7))
    assert len(set(names)) == len(names)
    assert names[0] == "camvid teacher-probed 0, 1, 2"
    seeds = [int(name.rpartition(" ")[2]) for name in names if ", " not in name]
    assert seeds == sorted(seeds), "what is interrupted has whole seeds of both data sets"
    after = {job.name: job.after for job in jobs}
    assert after["cifar10 vit-by-tuned 1"] == ("cifar10 teacher-tuned 1",)
    assert after["cifar10 vit-by-probed 1"] == ("cifar10 teacher-probed 0, 1, 2",)
    assert after["cifar10 vit-alone 1"] == ()
    assert all(names.index(one) < number for number, name in enumerate(names) for one in after[name])
    quick = trainings(opened, [0, 1, 2], together=True)
    assert [job.name.partition(" ")[2] for job in quick if job.name.startswith("camvid")][-1].endswith(" 0, 1, 2")
    assert len(quick) == (2 + 3) + (2 + 8)
    assert not any(tmp_path.iterdir())


def test_what_a_failed_job_leaves_out_is_said_and_the_rest_is_reported(
    out: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(out / "cifar10" / "vit-alone")
    shutil.rmtree(out / "cifar10" / "vit-probed")

    def learn_or_fail(*arguments: Any, **options: Any) -> None:
        if arguments[3].name == "vit-alone":
            raise DivergedError("The loss of vit-alone is nan.")
        learn(*arguments, **options)

    monkeypatch.setattr("training.reproduction.task_distillation.learning.learn", learn_or_fail)
    assert run(out, data) != 0
    said = capsys.readouterr()
    assert "The loss of vit-alone is nan." in said.err
    found = json.loads((out / "results.json").read_text())
    assert found["missing"] == ["cifar10: vit-alone"]
    assert "vit-probed" in found["studies"]["cifar10"]["lines"]
    assert "seeds of them are missing: cifar10: vit-alone" in (out / "results.md").read_text()
    against = {one["other"] for one in found["answers"] if one["study"] == "cifar10" and one["one"] == "vit-by-probed"}
    assert "vit-probed" in against, "the better one of those that are there"


def test_quick_plans_are_short_and_further_ones_have_the_distillation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.reproduction.task_distillation.plan.STUDIES", (CAMVID, CIFAR10))
    quick = planned(["cifar10"], quick=True)[0]
    assert quick.tuned.steps == round(0.02 * CIFAR10.tuned.steps)
    assert (quick.train, quick.test) == QUICK_PHOTOS["cifar10"]
    whole = planned(["camvid", "cifar10"], further=True)
    assert [study.tuned.steps for study in whole] == [CAMVID.tuned.steps, CIFAR10.tuned.steps]
    assert whole[0].lines == {name: LINES[name] + FURTHER[name] for name in ("vit", "resnet")}
    assert planned(["camvid"])[0].lines == LINES
    with pytest.raises(InputError, match=r"Expected some of camvid, cifar10, each once; found none"):
        planned([])


def made(right: dict[str, list[list[float]]], tmp_path: Path) -> Found:
    """A study of CIFAR-10 with the photos of each seed and group that every line told rightly, of ten."""
    study = replace(CIFAR10, lines={name: LINES[name] + FURTHER[name] for name in LINES})
    rows = {
        row.name: row
        for row in rows_of(study, Workbench(small_data("classification"), "classification", tmp_path, device="cpu"))
    }
    lines = {}
    for name, values in right.items():
        sums = np.stack([np.array(values, float), np.full_like(values, 10)], -1)
        scores = Scores("classification", (), tuple(f"group {i}" for i in range(sums.shape[1])), sums)
        lines[name] = RowResult(rows[name], tuple(range(len(values))), scores, 30.0)
    return Found(study, (500, 2000), lines, {"vit-alone": 1e9})


LEVELS: dict[str, Any] = {
    "teacher-probed": [[5, 6], [5, 6], [5, 6]],
    "teacher-tuned": [[7, 8], [7, 8], [7, 8]],
    "vit-probed": [[5, 7], [7, 4], [5, 7]],
    "vit-alone": [[6, 6], [6, 6], [6, 6]],
    "vit-alone-mixed-in-task": [[4, 5], [4, 5], [4, 5]],
    "vit-by-probed": [[7, 8], [7, 8], [7, 8]],
    "vit-by-tuned": [[5, 7], [5, 7], [5, 7]],
    "vit-by-probed-mixed": [[10, 10], [6, 7], [9, 9]],
    "vit-by-probed-mixed-in-task": [[3, 3], [3, 4], [3, 3]],
    "vit-by-probed-no-labels": [[7, 8], [7, 8], [7, 8]],
    "vit-by-probed-mixed-no-labels": [[1, 2], [1, 2], [1, 2]],
    "resnet-alone": [[4, 4], [4, 4], [4, 4]],
}


def test_verdicts_follow_from_photos_and_seeds(tmp_path: Path) -> None:
    found = Results((0, 1, 2), [made(LEVELS, tmp_path)])
    verdicts = {(answer.one, answer.other): answer.verdict for answer in found.answers}
    assert verdicts == {
        ("teacher-tuned", "teacher-probed"): "better",
        ("vit-alone", "vit-probed"): "not told apart",
        ("vit-by-probed", "vit-by-tuned"): "better",
        ("vit-by-probed", "vit-alone"): "better",
        ("vit-by-tuned", "vit-alone"): "not told apart",  # one group says so, the other not
        ("vit-by-probed-mixed", "vit-alone"): "not told apart",
        ("vit-by-probed-mixed", "vit-by-probed"): "not told apart",  # seeds differ
        ("vit-by-probed-mixed-no-labels", "vit-by-probed-no-labels"): "worse",
        ("vit-alone-mixed-in-task", "vit-alone"): "worse",
        ("vit-by-probed-mixed-in-task", "vit-by-probed-mixed"): "worse",
        ("vit-by-probed", "vit-by-probed-no-labels"): "not told apart",
        ("vit-by-probed-mixed", "vit-by-probed-mixed-no-labels"): "better",
        ("vit-by-probed", "teacher-probed"): "better",
        ("vit-by-tuned", "teacher-tuned"): "worse",
    }
    tables = {table.title: table for table in tables_of(found)}
    assert [row[0] for row in tables["Probing and fine-tuning (table 4.1)"].rows] == [
        title_of(name) for name in ("teacher-probed", "teacher-tuned", "vit-probed", "vit-alone")
    ]
    # A head that tells more than the fine-tuned network is what a teacher has to beat.
    heads = made(LEVELS | {"vit-probed": [[8, 8], [8, 8], [8, 8]]}, tmp_path / "heads")
    against = {answer.other for answer in heads.answers() if answer.one == "vit-by-tuned"}
    assert against == {"vit-probed", "teacher-tuned"}
    gap = "points that the teacher tells more when it is fine-tuned: cifar10 +20.00"
    assert gap in tables["Is the probed teacher the better one? (table 4.2)"].note
    mixed = next(question for question in QUESTIONS if "mixed images help" in question.text)
    row = next(row for row in tables["Verdicts"].rows if row[0] == mixed.text)
    assert list(row[1:]) == ["better", "0", "1", "1"]
    task = tables["Do they help in the task's loss beside the distillation? (table 4.5)"]
    pair = f"{title_of('vit-by-probed-mixed-in-task')} against {title_of('vit-by-probed-mixed')}"
    assert [row[0] for row in task.rows] == [pair]
    assert task.rows[0][1].startswith("-53.33 [")
    assert task.rows[0][1].endswith(": worse")
    assert task.note.endswith("the text: not better")
    assert {row[0].partition(",")[0] for row in tables["Mixed images in each loss (table 4.5)"].rows} == {"ViT"}
    losses = {row[0]: row[1] for row in tables["Losses (table 4.6)"].rows}
    assert losses["ViT, labels alone"] == "60.00 ± 0.00"
    assert "ResNet, labels alone" not in losses, "no teacher alone taught it"
    costs = {row[0]: row[1:] for row in tables["Costs"].rows}
    assert costs["cifar10: vit-alone"] == ["10.0", "1 GB"]
    save_plot(tmp_path / "plot.png", found)
    assert len(np.unique(read_photo(tmp_path / "plot.png").reshape(-1, 3), axis=0)) > 10


def test_of_one_seed_or_one_group_nothing_is_known(tmp_path: Path) -> None:
    chosen = {name: LEVELS[name] for name in ("vit-alone", "vit-by-probed")}
    for right in (
        {name: values[:1] for name, values in chosen.items()},
        {name: [value[:1] for value in values] for name, values in chosen.items()},
    ):
        assert [answer.verdict for answer in made(right, tmp_path).answers()] == ["not told apart"]
