"""``fit3d reproduce mask3d`` in miniature, and what it says of made figures."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.commands import reproduce_mask3d
from app.main import main
from app.mask3d_tables import tables_of
from render.errors import InputError
from render.views import read_photo
from tests.small_rooms import SIDE, VIEWS, renamed, small_room
from tests.taught import write_camvid
from tests.tiny_models import TINY_VIT
from training.loop import CHECKPOINT, DivergedError
from training.pretraining.mask3d.settings import MAE
from training.probing.comparison import compare
from training.probing.scores import Scores
from training.reproduction.mask3d import Places, Plan, further_rows, learn, main_rows, photo_jobs, training_jobs
from training.reproduction.mask3d.joint import against_mean, of_frequent_classes
from training.reproduction.mask3d.places import pretrained
from training.reproduction.mask3d.plan import (
    ALL,
    BOTH,
    CAMVID,
    CELL_SEEDS,
    CELLS,
    FAST,
    FEW,
    FURTHER_CELLS,
    LEARN,
    LONG,
    MAE_MAE,
    MAE_MASK3D,
    MASK3D,
    MASK3D_MAE,
    MASK3D_MASK3D,
    OF_MAE,
    PURE,
    SCRATCH,
    SETTINGS,
    SLOW,
    TEST,
    Row,
)
from training.reproduction.mask3d.preparing import data_of, drawn
from training.reproduction.mask3d.results import FREQUENT, OTHER_CELLS, QUESTIONS, Found, Results
from uplift.encoders import load_encoder
from uplift.encoders.mask3d import load_decoder
from uplift.encoders.untrained import make_blank

MINIATURE: dict[str, Any] = {"rooms": 2, "test_rooms": 2, "views": VIEWS, "test_views": VIEWS, "every": 2}
MINIATURE |= {"width": SIDE, "height": SIDE, "size": (32, 48), "side": 32, "steps": 2, "batch": 2, "tune_steps": 2}
MINIATURE |= {"tune_batch": 2, "longer_steps": 1}
ROWS = [SCRATCH, OF_MAE, MASK3D, MAE_MASK3D]


def fill(places: Places) -> None:
    """Put small rooms, which take seconds to build, where the plan has its own."""
    for split in (LEARN, TEST):
        first, count = places.plan.parts(split)
        folder = places.folders(split)[0].parent
        folder.mkdir(parents=True)
        for index in range(first, first + count):
            renamed(small_room(split), split, index, folder)


def run(out: Path, *options: str) -> int:
    given = [] if "--data" in options else ["--data", str(out.parent / "data")]
    command = ["reproduce", "mask3d", str(out), "--quick", "--seeds", "1", "--processes", "1"]
    return main([*command, *given, *options])


def _shrink(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reproduce_mask3d, "QUICK", MINIATURE)
    patch.setattr("training.reproduction.mask3d.main_rows", lambda: ROWS)
    patch.setattr("training.reproduction.mask3d.learning.ARCHITECTURE", TINY_VIT)
    some = {name: SETTINGS[name] for name in (ALL, CAMVID)}
    patch.setattr("training.reproduction.mask3d.places.SETTINGS", some)
    patch.delenv("FIT3D_SHARED", raising=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction of one seed, four rows and two settings, done."""
    folder = tmp_path_factory.mktemp("reproduction")
    write_camvid(folder / "data" / "camvid")
    fill(Places(folder / "out", Plan(**MINIATURE)))
    with pytest.MonkeyPatch.context() as patch:
        _shrink(patch)
        assert run(folder / "out") == 0
    return folder / "out"


@pytest.fixture
def miniature(monkeypatch: pytest.MonkeyPatch) -> None:
    _shrink(monkeypatch)


@pytest.fixture
def out(done: Path, tmp_path: Path, miniature: None) -> Path:
    """A copy of it that the test may change."""
    shutil.copytree(done.parent / "data", tmp_path / "data")
    return Path(shutil.copytree(done, tmp_path / "out", ignore=shutil.ignore_patterns("tensorboard")))


def written(out: Path) -> dict[str, int]:
    parts = [*out.glob("figures/**/figures.json"), *out.glob("*/*/**/encoder.safetensors")]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in parts}


def test_tables_verdicts_costs_and_a_picture_are_written(done: Path) -> None:
    text = (done / "results.md").read_text()
    for part in ("tables 1, 7, 9, 15", "table 8", "Verdicts", "Costs", "MAE -> Mask3D"):
        assert part in text, part
    assert "quick: too small to mean anything" in text
    assert "Orders, and what is told" not in text
    found = json.loads((done / "results.json").read_text())
    assert list(found["rows"]) == [row.name for row in ROWS]
    assert all(set(one["figures"]) == {ALL, CAMVID} for one in found["rows"].values())
    assert found["rows"]["scratch"]["losses"] == {}
    assert found["rows"]["mae"]["losses"].keys() == {"colour_loss"}
    assert found["rows"]["mae-mask3d"]["losses"]["depth_loss"] != found["rows"]["mask3d"]["losses"]["depth_loss"]
    assert {answer["verdict"] for answer in found["answers"]} == {"not told apart"}, "of one seed nothing is known"
    for one in found["rows"].values():
        assert all(len(values) == 1 and 0 <= values[0] <= 1 for values in one["learned"].values())
        assert set(one["learned"]) == {ALL, CAMVID}
        assert one["early"].keys() == one["losses"].keys()
        assert set(one["seeds"][ALL]) == {"miou", "macc", "aacc", FREQUENT}
    assert found["rows"]["mae"]["early"]["colour_loss"] != found["rows"]["mae"]["losses"]["colour_loss"]
    pairs = [("mae", "scratch"), ("mask3d", "scratch"), ("mask3d", "mae"), ("mae-mask3d", "mask3d")]
    asked = [(answer["one"], answer["other"], answer["setting"]) for answer in found["answers"]]
    assert asked == [(*pair, name) for pair in pairs for name in (ALL, CAMVID)]
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    assert min(read_photo(done / reproduce_mask3d.PICTURE).shape[:2]) > 100
    assert not list(done.rglob(CHECKPOINT)), "what is done needs none"
    encoder = load_encoder(f"mask3d:{done}/pretrained/mae-mask3d/seed-0/encoder.safetensors", device="cpu")
    assert encoder.dimension == 64


def test_given_again_what_is_missing_is_done_and_nothing_else(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, first = written(out), json.loads((out / "results.json").read_text())
    assert run(out) == 0
    assert "0 jobs are left to do" in capsys.readouterr().out
    assert written(out) == before
    assert json.loads((out / "results.json").read_text()) == first
    shutil.rmtree(out / "pretrained" / "mae")
    assert run(out) == 0
    assert "0 jobs are left to do" in capsys.readouterr().out, "nothing that is left goes on from it"
    for name in ("figures/pretrained", "figures/tuned", "pretrained", "tuned"):
        shutil.rmtree(out / name / "mae-mask3d")
    assert run(out) == 0
    assert "2 jobs are left to do" in capsys.readouterr().out
    changed = {name for name, when in written(out).items() if before[name] != when}
    assert {part for name in changed for part in Path(name).parts if part.startswith("ma")} == {"mae", "mae-mask3d"}
    assert not any("figures/tuned/mae/" in name for name in changed)
    again = json.loads((out / "results.json").read_text())
    one, other = (content["rows"]["mae-mask3d"] for content in (again, first))
    assert one["losses"]["depth_loss"] == pytest.approx(other["losses"]["depth_loss"], rel=1e-4)
    assert one["seeds"][ALL]["aacc"] == pytest.approx(other["seeds"][ALL]["aacc"], abs=1e-3)


def test_figures_of_other_settings_or_photos_are_not_mixed(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, "--effort", "2") == 2
    assert "made with other settings (longer_steps, steps, tune_steps)" in capsys.readouterr().err
    other = out.parent / "other"
    shorter = Places(out, replace(Plan(**MINIATURE), tune_steps=1, camvid_photos=3))
    assert shorter.store(MASK3D).get(pretrained(MASK3D, 0)) is not None, "no pretraining depends on it"
    with pytest.raises(InputError, match=r"settings \(camvid_photos, tune_steps\).* to fine-tune again"):
        training_jobs(shorter, ROWS, [0])
    write_camvid(other / "camvid", count=5)
    assert run(out, "--data", str(other)) == 2
    assert "made with other settings (camvid)" in capsys.readouterr().err


def test_of_a_job_that_fails_the_others_are_reported(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverging(*_: Any) -> None:
        raise DivergedError("too fast")

    shutil.rmtree(out / "figures" / "tuned" / "mae-mask3d")
    monkeypatch.setattr("training.reproduction.mask3d.learning._tune", diverging)
    assert run(out) == 1
    assert "too fast" in capsys.readouterr().err
    left_out = "left out: MAE -> Mask3D for unseen rooms (all labels), MAE -> Mask3D for CamVid"
    assert left_out in (out / "results.md").read_text()
    assert list(json.loads((out / "results.json").read_text())["rows"]) == ["scratch", "mae", "mask3d"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--effort", "0"], "effort above 0"),
        (["--data", "nowhere"], "Expected the folder camvid in nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "mask3d", str(tmp_path / "out"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_camvid_it_is_left_out_and_a_damaged_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FIT3D_SHARED", raising=False)
    command = reproduce_mask3d.ReproduceMask3D(tmp_path / "out")
    assert command._places(Plan()).settings == [FEW, ALL]
    assert "CamVid is left out" in capsys.readouterr().out
    write_camvid(tmp_path / "data" / "camvid")
    monkeypatch.setenv("FIT3D_SHARED", str(tmp_path))
    assert command._places(Plan()).settings == [FEW, ALL, CAMVID]
    (tmp_path / "data" / "camvid" / "classes.txt").unlink()
    assert main(["reproduce", "mask3d", str(tmp_path / "out")]) == 2
    assert "classes.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_jobs_travel_to_other_processes_and_wait_for_what_they_need(tmp_path: Path) -> None:
    places, rows, seeds = Places(tmp_path, Plan()), [*main_rows(), *further_rows()], [0, 1, 2, 3]
    photos = photo_jobs(places)
    trainings = training_jobs(places, rows, seeds, [job.name for job in photos])
    jobs = [*photos, *trainings]
    assert pickle.loads(pickle.dumps(jobs)) == jobs  # noqa: S301  written here
    names = [job.name for job in jobs]
    expected = [(row, seed) for seed in seeds for row in rows if row.most is None or seed < CELL_SEEDS]
    assert names == [*(job.name for job in photos), *(f"{row.name} {seed}" for row, seed in expected)]
    assert [row for row, seed in expected if seed == 3] == rows[:6], "of what is beside the main rows three seeds do"
    for job in trainings:
        assert set(names[: len(photos)]) <= set(job.after)
        assert all(names.index(name) < names.index(job.name) for name in job.after)
    waits = {job.name: job.after[len(photos) :] for job in trainings if len(job.after) > len(photos)}
    assert {name: after for name, after in waits.items() if name.endswith("1")} == {
        "mae-mask3d 1": ("mae 1",),
        "mae-mae 1": ("mae 1",),
        "mask3d-mask3d 1": ("mask3d 1",),
        "mask3d-mae 1": ("mask3d 1",),
    }
    quick = training_jobs(places, rows, seeds, together=True)
    assert len(quick) == len(rows)
    assert next(job.after for job in quick if job.name == "mae-mae 0, 1, 2, 3") == ("mae 0, 1, 2, 3",)
    made = [
        set(range(job.arguments[2], sum(job.arguments[2:]))) for job in photos if job.name.startswith("photos train")
    ]
    assert sorted(index for part in made for index in part) == list(range(Plan().rooms))
    assert not any(tmp_path.iterdir())


def test_every_pretraining_is_as_long_as_planned_and_sees_crops_of_its_own(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def stopped(*_: Any, **given: Any) -> None:
        seen.append(given)
        raise InputError("enough")

    monkeypatch.setattr("training.pretraining.mask3d.running.pretrain", stopped)
    monkeypatch.setattr("training.reproduction.mask3d.learning._start", lambda *_: None)
    places = Places(done, Plan(**MINIATURE))
    for row in (replace(OF_MAE, name="anew"), MAE_MAE, replace(BOTH, times=2)):
        with pytest.raises(InputError, match="enough"):
            learn(places, row, [3])
    assert [given["numbers"].steps(2 * VIEWS) for given in seen] == [2, 2, 4]
    assert [given["masking"] for given in seen] == [MAE, MAE, BOTH.masking]
    assert seen[0]["seed"] == seen[2]["seed"] == 3
    assert seen[1]["seed"] != 3


def test_a_pretraining_does_not_begin_before_the_one_that_it_goes_on_from(done: Path) -> None:
    with pytest.raises(InputError, match=r"The encoder that MAE -> Mask3D begins with is not at .* yet"):
        learn(Places(done, Plan(**MINIATURE)), MAE_MASK3D, [7])


def test_fine_tunings_begin_as_pretrained_and_few_labels_have_as_many_steps(
    done: Path, monkeypatch: pytest.MonkeyPatch, miniature: None
) -> None:
    seen: list[tuple[Any, Any, dict[str, Any]]] = []

    def stopped(encoder: Any, decoder: Any, *_: Any, **given: Any) -> None:
        seen.append((encoder, decoder, given))
        raise InputError("enough")

    monkeypatch.setattr("training.pretraining.segmentation.fine_tune", stopped)
    monkeypatch.setattr("training.reproduction.mask3d.places.SETTINGS", SETTINGS)
    places = Places(done, Plan(**MINIATURE, camvid_photos=reproduce_mask3d.QUICK_CAMVID))
    changed = replace(LONG, measured=(FEW,)), replace(FAST, measured=(FEW,))
    for row in (replace(SCRATCH, measured=(FEW,)), replace(MASK3D, measured=(FEW,)), *changed):
        with pytest.raises(InputError, match="enough"):
            learn(places, row, [0])
    file, cpu = places.encoder(MASK3D, 0), torch.device("cpu")
    blank, trained = (decoder for _, decoder, _ in seen[:2])
    torch.testing.assert_close(trained.state_dict(), load_decoder(file, cpu).state_dict())
    assert blank.about() == trained.about(), "rows differ in weights alone"
    assert seen[0][0].weights_hash() == make_blank(TINY_VIT, cpu, seed=0).weights_hash()
    assert seen[1][0].weights_hash() == load_encoder(f"mask3d:{file}", device="cpu").weights_hash()
    few = drawn(data_of(places, FEW).train, 0.2, 0)
    schedules = [given["numbers"].schedule("small", len(few), seed=0) for _, _, given in seen]
    assert [one.steps for one in schedules] == [2, 2, 3, 2]
    assert [one.rate for one in schedules] == pytest.approx([5e-4, 5e-4, 5e-4, 1e-3])


def test_a_fifth_of_the_labels_is_another_one_for_every_seed() -> None:
    photos = list("abcdefghijklmnopqrst")
    drawings = [drawn(photos, 0.2, seed) for seed in range(5)]
    assert all(len(set(one)) == 4 and one == sorted(one) for one in drawings)
    assert len({tuple(one) for one in drawings}) > 1
    assert drawn(photos, 0.2, 3) == drawings[3]
    assert drawn(photos, 1.0, 2) == photos


def test_some_photos_have_labels_and_are_kept_small(done: Path) -> None:
    places = Places(done, Plan(**MINIATURE), done.parent / "data" / "camvid", "digest")
    rooms = data_of(places, ALL)
    assert [photo.name for photo in rooms.train] == ["view_000", "view_002"] * 2
    assert {photo.group for photo in rooms.train}.isdisjoint({photo.group for photo in rooms.test})
    assert len(rooms.test) == 2 * VIEWS
    small = data_of(replace(places, plan=replace(places.plan, side=8)), CAMVID)
    assert {photo.image().shape for photo in small.train} == {(16, 24, 3)}
    for photo in small.train:
        assert photo.classes is not None
        assert photo.classes().shape == (16, 24)
    assert small.test[0].image().shape == (32, 48, 3)
    assert len(data_of(replace(places, plan=replace(places.plan, camvid_photos=2)), CAMVID).test) == 2


def test_rows_are_those_of_the_tables() -> None:
    rows = [*main_rows(), *further_rows()]
    assert len({row.name for row in rows}) == len(rows)
    assert len({json.dumps(row.identity()) for row in rows}) == len(rows)
    cells = {(row.masking.colour, row.masking.depth) for row in (MASK3D, *CELLS) if row.masking is not None}
    assert len(cells) == 6
    assert (1.0, 0.0) in cells
    assert {one for question in QUESTIONS for pair in question.pairs for one in pair} == set(rows)
    assert [row.visits for row in (SCRATCH, OF_MAE, MAE_MAE, BOTH, MASK3D_MAE)] == [0, 1, 2, 1, 2]
    pairs = {pair for question in QUESTIONS for pair in question.pairs}
    assert {other for one, other in pairs if one == MAE_MASK3D and other.visits == 2} >= {MAE_MAE, MASK3D_MASK3D}
    with pytest.raises(InputError, match="test rooms from 2"):
        Plan(test_rooms=1)
    short = Plan().shortened(0.1)
    assert (short.steps, short.tune_steps) == (110, 40)
    assert short.tuning(SCRATCH, 48).schedule("small", 48, seed=0).steps == 40
    assert short.tuning(LONG, 48).schedule("small", 48, seed=0).steps == 150


def made(right: dict[Row, list[list[float]]]) -> Results:
    """Rows with the pixels of each seed and room that were told rightly, of a hundred; one class."""
    found = []
    for row, values in right.items():
        told = np.array(values, float)
        sums = np.stack([told, np.zeros_like(told), 100 - told], -1)[..., None]
        groups = tuple(f"room {i}" for i in range(told.shape[1]))
        found.append(Found(row, {ALL: Scores("segmentation", ("wall",), groups, sums)}, {}))
    return Results(Plan(), tuple(range(told.shape[0])), found, {"stage": {"seconds": 3.0}})


LEVELS: dict[Row, list[list[float]]] = {
    SCRATCH: [[10, 12], [11, 13], [10, 13]],
    OF_MAE: [[20, 22], [21, 23], [20, 23]],
    MASK3D: [[20, 32], [21, 33], [20, 33]],
    MAE_MASK3D: [[15, 16], [16, 17], [15, 17]],
    MAE_MAE: [[10, 12], [30, 32], [10, 12]],
    PURE: [[5, 9], [5, 9], [5, 9]],
}


def test_verdicts_follow_from_rooms_and_seeds() -> None:
    found = made(LEVELS)
    assert {(answer.one.name, answer.other.name): answer.verdict for answer in found.answers} == {
        ("mae", "scratch"): "better",
        ("mask3d", "scratch"): "better",
        ("mask3d", "mae"): "not told apart",  # better in one room, the same in the other
        ("mae-mask3d", "mae-mae"): "not told apart",  # seeds differ
        ("mae-mask3d", "mask3d"): "worse",
        ("mask3d", PURE.name): "better",
    }
    tables = {table.title: table for table in tables_of(found)}
    verdicts = {row[0]: list(row[1:]) for row in tables["Verdicts"].rows}
    rooms, after = SETTINGS[ALL].title, "Is Mask3D better after MAE than after itself, or alone? (tables 1, 9)"
    alike = "Is a pretraining better than none, fine-tuned alike? (tables 9, 15)"
    assert verdicts[alike] == [rooms, "better", "2", "0", "0"]
    assert verdicts[after][0::4] == [rooms, "1"]
    alone = tables[after]
    assert alone.rows[0][0] == "MAE -> Mask3D against Mask3D"
    assert alone.rows[0][1] == "unseen rooms (all labels)"
    assert alone.rows[0][2].startswith("-10.50 [")
    assert alone.rows[0][3] == "worse"
    assert alone.rows[0][4] == "-"
    assert alone.note.endswith("a million other photos; Mask3D saw fewer frames")
    pure = tables["Is it better than telling depth from the whole photo? (section 4.5)"]
    assert pure.rows[0][4] == "+2.1", "66.7 and 64.6"
    assert tables["After MAE, is Mask3D better than more of MAE? (tables 1, 5, 7)"].note.endswith("the text: better")
    cells = [list(row) for row in tables["Masking ratios (table 8)"].rows]
    assert [row[0] for row in cells] == ["20 % / 20 % (Mask3D)", "100 % / 0 % (pure depth prediction)"]
    assert cells[1][1:] == ["7.00 ± 0.00", "64.6"]
    trained = {row[0]: list(row[1:]) for row in tables["What is trained"].rows}
    assert trained["MAE -> Mask3D"] == ["MAE", "20 % / 20 %", "depth", str(2 * 1100 * 16), "-", "-"]
    assert tables["Costs"].rows == [["stage", "3.0", "-"]]


def test_cells_are_asked_for_together_and_of_the_seeds_that_all_have() -> None:
    right: dict[Row, list[list[float]]] = {MASK3D: [[20, 32], [21, 33], [20, 33], [90, 90]]}
    right |= {CELLS[0]: [[10, 20], [12, 22], [9, 21]], CELLS[1]: [[14, 30], [15, 29], [13, 31]]}
    answers = made(right).answers
    assert [answer.other.name for answer in answers] == [CELLS[0].name, CELLS[1].name, OTHER_CELLS.name]
    assert answers[2].other.text == pytest.approx(65.35), "of the text 65.2 and 65.5"
    assert answers[0].better.over_seeds.mean == pytest.approx((53 - 31.33333) / 200, abs=1e-4)
    joint = answers[2].better
    assert joint.over_seeds.mean == pytest.approx(
        (answers[0].better.over_seeds.mean + answers[1].better.over_seeds.mean) / 2
    )
    assert joint.over_groups.mean == joint.over_seeds.mean
    first, second = (one.scores[ALL] for one in made({MASK3D: LEVELS[MASK3D], CELLS[0]: right[CELLS[0]]}).found)
    assert against_mean(first, [second], "miou").json() == compare(first, second, "miou").json()
    alone = [answer.better for answer in answers[:2]]
    assert min(one.over_groups.low or 0 for one in alone) < (joint.over_groups.low or 0) < (joint.over_groups.high or 0)
    scores = [made({MASK3D: right[MASK3D], SLOW: right[MASK3D]}).found[i].scores[ALL] for i in range(2)]
    nothing = against_mean(scores[0], scores[1:], "miou")
    assert (nothing.over_groups.low, nothing.over_groups.high, nothing.over_seeds.mean) == (0, 0, 0)
    assert len(made({MASK3D: right[MASK3D], FURTHER_CELLS[0]: right[CELLS[0]]}).answers) == 1, "one cell has no mean"


def test_classes_of_a_few_pixels_are_left_out_of_those_that_are_frequent() -> None:
    sums = np.array([[[[500.0, 300.0, 1.0]], [[0, 0, 7]], [[100, 97, 2]]]]).reshape(1, 1, 3, 3)
    found = of_frequent_classes(Scores("segmentation", ("wall", "bed", "cup"), ("room",), sums))
    assert found.names == ("wall", "bed")
    assert found.figures()["miou"][0, 0] == pytest.approx((500 / 600 + 300 / 397) / 2)


def test_orders_have_a_table_where_they_were_measured() -> None:
    found = made(dict.fromkeys((MASK3D, MAE_MASK3D, BOTH, MASK3D_MAE), LEVELS[MAE_MASK3D]))
    table = next(table for table in tables_of(found) if "tables 10, 16" in table.title)
    assert [row[0] for row in table.rows] == ["Mask3D -> MAE", "MAE -> Mask3D", "depth and colours", "Mask3D"]
    asked = [answer for answer in found.answers if answer.other in {BOTH, MASK3D_MAE}]
    assert [answer.verdict for answer in asked] == ["not told apart"] * 2
    assert [answer.verdict for answer in made({MASK3D: [[5, 6]], OF_MAE: [[1, 2]]}).answers] == ["not told apart"]
