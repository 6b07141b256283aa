"""``fit3d reproduce dune`` in miniature, and its parts."""

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

from app.commands import reproduce_dune
from app.commands.reproduce_dune import ReproduceDune
from app.dune_tables import tables_of
from app.main import main
from render.camera import Camera
from render.errors import InputError
from render.progress import Progress
from render.views import read_photo
from tests.small_rooms import SIDE, VIEWS, renamed, small_room
from training.distillation.localization import Answer as TextAnswer
from training.distillation.localization import Localization
from training.loop import save_weights
from training.probing.comparison import Difference, Interval
from training.probing.scores import Scores
from training.reproduction.dune import Job, Places, Plan, Row, make_photos, make_specialist, run_jobs
from training.reproduction.dune.comparing import Answer, Found
from training.reproduction.dune.distilling import held_photos, train_photos
from training.reproduction.dune.lessons import Lesson, trends_of
from training.reproduction.dune.measuring import MEASURES, text_scores
from training.reproduction.dune.plan import (
    CLOSE,
    FULL,
    HEADS,
    TEST,
    VALIDATION,
    WHOLE,
    WIDE,
    WIDE_HEADS,
    WIDE_TEST,
    further_rows,
    main_rows,
)
from training.reproduction.dune.preparing import is_part_made, is_specialist_there
from training.reproduction.dune.results import Results
from training.reproduction.dune.views import close_up
from training.rooms.cameras import zoomed
from uplift.encoders import load_encoder
from uplift.encoders.tiny import tiny_file
from uplift.encoders.tiny_depth import TinyDepth, TinyDepthEncoder
from uplift.evaluation.store import FigureStore

MINIATURE = {"whole_rooms": 1, "close_rooms": 1, "wide_rooms": 1, "head_rooms": 1, "test_rooms": 2, "views": VIEWS}
MINIATURE |= {"width": SIDE, "height": SIDE, "validation_rooms": 1, "specialist_steps": 1, "steps": 5, "batch": 2}
MINIATURE |= {"probe_steps": 3, "probe_batch": 64, "decoder_steps": 2, "text_views": 1}
ALONE = next(row for row in main_rows() if row.sharing == "none")
LEFT_OUT = "tiny-depth"


def plan() -> Plan:
    return Plan(**MINIATURE)


def run(out: Path, *options: str) -> int:
    given = ["--specialist", str(out.parent / "depth.safetensors")] if "--specialist" not in options else []
    return main(["reproduce", "dune", str(out), "--quick", "--seeds", "1", "--processes", "1", *given, *options])


def fill(places: Places, names: tuple[str, ...]) -> None:
    """Put small rooms, which take seconds to build, where the plan has its own."""
    for name in names:
        split, first, count = places.plan.rooms[name]
        places.photos(name).mkdir(parents=True, exist_ok=True)
        for index in range(first, first + count):
            renamed(small_room("test" if split == "test" else "train"), split, index, places.photos(name))


def without_specialist(name: str) -> Path:
    if name == LEFT_OUT:
        raise InputError("not bundled")
    return tiny_file(name)


def written(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("figures.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reproduction of one seed and two students, done."""
    folder = tmp_path_factory.mktemp("reproduction")
    torch.manual_seed(0)
    save_weights(TinyDepth(), folder / "depth.safetensors", {})
    fill(Places(folder / "out", plan()), (WHOLE, WIDE, HEADS, TEST, WIDE_HEADS, WIDE_TEST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce_dune, "QUICK", MINIATURE)
        patch.setattr("training.reproduction.dune.plan.main_rows", lambda: [FULL, ALONE])
        assert run(folder / "out") == 0
    return folder / "out"


@pytest.fixture
def out(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that the test may change."""
    monkeypatch.setattr(reproduce_dune, "QUICK", MINIATURE)
    monkeypatch.setattr("training.reproduction.dune.plan.main_rows", lambda: [FULL, ALONE])
    shutil.copyfile(done.parent / "depth.safetensors", tmp_path / "depth.safetensors")
    return Path(shutil.copytree(done, tmp_path / "out", ignore=shutil.ignore_patterns("tensorboard")))


def test_tables_verdicts_analyses_costs_and_figures_are_written(done: Path) -> None:
    text = (done / "results.md").read_text()
    parts = ["DUNE, table 1", "DUNE, table 2", "DUNE, table 3", "Verdicts", "figure 4", "figure 5", "Costs"]
    for part in (*parts, "Claims of figures 4 and 5"):
        assert part in text, part
    assert "quick: too small to mean anything" in text
    found = json.loads((done / "results.json").read_text())
    heads = {"segmentation", "depth", "decoder"}
    assert {name: set(one["figures"]) for name, one in found["teachers"].items()} == {
        "tiny-dino": heads,
        "tiny-clip": heads | {"pointing", "overlap"},
        "tiny-depth": heads,
        "tiny-depth-own": {"decoder"},
    }
    assert list(found["students"]) == [FULL.name, ALONE.name]
    for student in found["students"].values():
        assert set(student["figures"]) == heads | {"projected", "pointing", "overlap"}
    one, other = (student["seeds"] for student in found["students"].values())
    assert one["depth"] != other["depth"], "they learned from other photos"
    assert found["teachers"]["tiny-clip"]["seeds"]["pointing"][0] > 0.5, "it was trained to find things"
    own, others = (
        {(one["other"], one["measure"], one["against"]) for one in found["answers"] if part in one["question"]}
        for part in ("at its own task? (table 3)", "at the others' tasks? (table 3)")
    )
    assert own == {
        ("tiny-dino", "projected", "segmentation"), ("tiny-dino", "depth", "depth"),
        ("tiny-clip", "pointing", "pointing"), ("tiny-clip", "overlap", "overlap"),
        ("tiny-depth", "decoder", "decoder"), ("tiny-depth-own", "decoder", "decoder"),
    }  # fmt: skip
    linear = {
        (name, *by) for name in ("tiny-clip", "tiny-depth") for by in (("projected", "segmentation"), ("depth",) * 2)
    }
    assert others == linear | {(name, "decoder", "decoder") for name in ("tiny-dino", "tiny-clip")}
    assert {trend["verdict"] for trend in found["trends"]} == {"not told"}, "of one seed nothing is known"
    both = len(found["analyses"][ALONE.name]["loss_correlations"])
    assert len(found["trends"]) == 3 + 6 + both, "components, rankings, and correlations beside one other student"
    assert {answer["verdict"] for answer in found["answers"]} == {"not told apart"}, "of one seed nothing is known"
    analysis = found["analyses"][FULL.name]
    assert set(analysis["cosines"]) == {"tiny-dino", "tiny-clip", "tiny-depth"}
    assert len(analysis["loss_correlations"]) == 3
    for curves in analysis["explained_variance"].values():
        assert curves["teacher"][-1] == pytest.approx(1)
    assert all(cost["seconds"] > 0 for cost in found["costs"].values())
    for name in (reproduce_dune.PANELS, reproduce_dune.EXPLAINED, reproduce_dune.CORRELATIONS):
        assert min(read_photo(done / name).shape[:2]) > 100
    student = load_encoder(f"distilled:{Places(done, plan()).student_file(FULL, 0)}@tiny-clip", device="cpu")
    assert student.dimension == load_encoder("tiny-clip", device="cpu").dimension
    assert [path.name for path in (done / "photos" / CLOSE).glob("*/images/*")] != []


def test_given_again_nothing_is_done_again_and_what_is_missing_is_measured_as_before(out: Path) -> None:
    before, first = written(out), json.loads((out / "results.json").read_text())
    assert run(out) == 0
    assert written(out) == before
    assert json.loads((out / "results.json").read_text()) == first
    shutil.rmtree(out / "figures" / "measured" / FULL.name)
    assert run(out) == 0
    again = json.loads((out / "results.json").read_text())
    for measure, values in again["students"][FULL.name]["seeds"].items():
        assert values == pytest.approx(first["students"][FULL.name]["seeds"][measure], abs=1e-6), measure


def test_figures_of_other_settings_or_teachers_are_not_mixed(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(out, "--steps", "7") == 2
    assert "made with other settings (steps)" in capsys.readouterr().err
    torch.manual_seed(1)
    save_weights(TinyDepth(), out.parent / "other.safetensors", {})
    assert run(out, "--specialist", str(out.parent / "other.safetensors")) == 2
    assert "made with other settings (teachers)" in capsys.readouterr().err


def test_what_another_machine_made_is_read_but_not_added_to(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads((out / "results.json").read_text())
    monkeypatch.setattr("training.loop.processes.resolve_precision", lambda *_: "another")
    assert run(out) == 0
    assert json.loads((out / "results.json").read_text()) == first
    assert run(out, "--further") == 2
    assert "made with other settings (precision)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--test-rooms", "1"], "test rooms from 2"),
        (["--specialist", "nowhere"], "Expected weights of tiny-depth at nowhere"),
        (["--specialist", str(tiny_file("tiny-dino"))], "tiny-depth"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "dune", str(tmp_path / "out"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_jobs_travel_to_other_processes_and_are_those_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplift.encoders.tiny.tiny_file", without_specialist)
    jobs = ReproduceDune(tmp_path)._jobs(Places(tmp_path, plan()), main_rows(), [0, 1, 2])
    assert pickle.loads(pickle.dumps(jobs)) == jobs  # noqa: S301  written here
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names) == 8 + 1 + 3 + 15 + 3
    assert sum(name.startswith(FULL.name) for name in names) == 3
    assert all(names.index(other) < names.index(job.name) for job in jobs for other in job.after)
    waits = {job.name: set(job.after) for job in jobs}
    photos = {f"photos {name} 0" for name in (WHOLE, CLOSE, WIDE)}
    assert waits["tiny-depth"] == {f"photos {WIDE} 0", f"photos {VALIDATION} 0"}
    assert names.index("tiny-depth") == 2, "it takes longest"
    assert waits["what tiny-clip says"] == {*photos, f"photos {VALIDATION} 0"}
    assert waits["what tiny-depth says"] == waits["what tiny-clip says"] | {"tiny-depth"}
    assert waits[f"{FULL.name} 0"] == waits["measuring tiny-clip"] == set(names[:12])
    order = [names.index(name) for name in (f"{FULL.name} 1", "measuring tiny-clip", f"{FULL.name} 2")]
    assert order == sorted(order), "a report of two seeds needs no third"
    assert not any(tmp_path.iterdir())


def note(done: list[str], name: str, error: Exception | None = None, *, progress: Progress) -> None:
    done.append(name)
    if error is not None:
        raise error


def test_a_job_that_fails_stops_only_those_that_wait_for_it() -> None:
    done: list[str] = []
    jobs = [
        Job("first", note, (done, "first", RuntimeError("it diverged"))),
        Job("second", note, (done, "second")),
        Job("child", note, (done, "child"), ("first",)),
        Job("grandchild", note, (done, "grandchild"), ("child", "second")),
        Job("other", note, (done, "other", InputError("no photos")), ("second", "long done")),
        Job("last", note, (done, "last")),
    ]
    expected = "it diverged other failed too: no photos Not begun: child, grandchild."
    with pytest.raises(ChildProcessError, match=expected):
        run_jobs(jobs, 1)
    assert done == ["first", "second", "other", "last"]


def test_what_ails_three_jobs_in_a_row_is_not_tried_with_the_others() -> None:
    done: list[str] = []
    bad = InputError("the disk is full")
    jobs = [
        Job(name, note, (done, name, error))
        for name, error in zip("abcdefgh", [bad, bad, None, *[bad] * 5], strict=True)
    ]
    with pytest.raises(InputError, match=r"the disk is full b failed too: .* Not begun: g, h\."):
        run_jobs(jobs, 1)
    assert done == list("abcdef")


def test_what_is_measured_in_another_way_needs_no_student_anew(done: Path) -> None:
    def stores(**changed: Any) -> tuple[FigureStore, FigureStore]:
        places = Places(done, replace(plan(), **changed), done.parent / "depth.safetensors")
        return places.store(FULL), places.scores(FULL)

    student, score = f"distilled/{FULL.name}/0", f"measured/{FULL.name}/0"
    for name in ("head_rooms", "test_rooms", "first_test_room", "probe_steps", "decoder_steps", "text_views"):
        made, found = stores(**{name: 60})
        assert made.get(student) is not None
        with pytest.raises(InputError, match=rf"other settings \({name}\); .*measured: students are not trained again"):
            found.get(score)
    for name in ("steps", "wide_rooms", "rate"):
        with pytest.raises(InputError, match=rf"other settings \({name}\); .*delete figures, students and teachers"):
            stores(**{name: 60})[0].get(student)


def test_a_student_that_is_not_finished_is_named_and_the_others_are_reported(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(out / "figures" / "measured" / ALONE.name)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("it diverged")

    monkeypatch.setattr("training.reproduction.dune.learn", fail)
    assert run(out) == 1
    assert "it diverged" in capsys.readouterr().err
    text = (out / "results.md").read_text()
    assert f"not finished, hence left out: {ALONE.title}" in text
    found = json.loads((out / "results.json").read_text())
    assert list(found["students"]) == [FULL.name]
    assert found["missing"] == [ALONE.title]


def test_rooms_of_all_photos_are_others() -> None:
    plan = Plan(first_room=1000)
    assert [plan.rooms[name][2] for name in (HEADS, WIDE_HEADS, TEST, WIDE_TEST)] == [30] * 4
    rooms = [{(split, first + i) for i in range(count)} for split, first, count in plan.rooms.values()]
    assert len(set.union(*rooms)) == sum(map(len, rooms))
    assert min(index for split, index in set.union(*rooms) if split == "train") == 1000
    for wrong in ({"test_rooms": 1}, {"views": 1}, {"steps": 0}, {"width": 8}):
        with pytest.raises(InputError, match=f"{next(iter(wrong)).replace('_', ' ')} from"):
            Plan(**wrong)
    with pytest.raises(InputError, match="rate above 0"):
        Plan(rate=0.0)


def test_rows_are_those_of_the_tables() -> None:
    rows = {row.name: row for row in [*main_rows(), *further_rows()]}
    assert {(row.projector, row.sharing) for row in main_rows()} == {
        ("transformer", "full"), ("ladder", "full"), ("simple", "full"), ("transformer", "none"),
        ("transformer", "generic"),
    }  # fmt: skip
    assert len({json.dumps(row.identity()) for row in rows.values()}) == len(rows) == 10
    assert rows["of-tiny-clip"].keep == ("tiny-clip",)
    assert rows["of-tiny-depth"].keep == ()


def camera(width: int = 80, height: int = 60) -> Camera:
    K = torch.tensor([[50.0, 0, width / 2], [0, 50, height / 2], [0, 0, 1]])
    return Camera(K, torch.eye(4), width, height)


def pixel_of(camera: Camera, ray: np.ndarray) -> np.ndarray:
    x, y, z = camera.K.double().numpy() @ ray
    return np.array([x / z, y / z])


@pytest.mark.parametrize(("row", "column"), [(30, 40), (2, 70), (50, 5)])
def test_close_ups_show_a_thing_and_nothing_beyond_the_photo(row: int, column: int) -> None:
    instances = np.zeros((60, 80), np.int16)  # a wall
    instances[:30] = 2
    top, left = min(row, 52), min(column, 70)
    instances[top : top + 8, left : left + 10] = 7
    for seed in range(5):
        near = close_up(camera(), instances, np.random.default_rng(seed))
        assert (near.width, near.height) == (80, 60)
        assert torch.equal(near.world_to_camera, camera().world_to_camera)
        factor = float(near.K[0, 0]) / 50
        assert factor == pytest.approx(float(near.K[1, 1]) / 50)
        assert 6 + 1e-4 >= factor >= 60 / (2.2 * 8) - 1e-4
        far = {corner: np.array([(x - 40) / 50, (y - 30) / 50, 1]) for corner, (x, y) in enumerate([(0, 0), (80, 60)])}
        assert (pixel_of(near, far[0]) <= 1e-3).all()
        assert (pixel_of(near, far[1]) >= np.array([80, 60]) - 1e-3).all()
        for x, y in ((left, top), (left + 10, top + 8)):
            seen = pixel_of(near, np.array([(x - 40) / 50, (y - 30) / 50, 1]))
            assert (seen >= -1e-3).all()
            assert (seen <= np.array([80, 60]) + 1e-3).all()
    alone = close_up(camera(), np.zeros((60, 80), np.int16), np.random.default_rng(0))
    assert alone.K[0].tolist() == [100, 0, 40], "the middle half where there is nothing but a wall"


def test_wide_views_see_more_around_the_same_middle() -> None:
    wide = zoomed(camera(), 0.5)
    assert wide.K.tolist() == [[25, 0, 40], [0, 25, 30], [0, 0, 1]]
    assert camera().K[0, 0] == 50


def test_photos_are_made_once_and_wide_ones_with_their_zoom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places, asked = Places(tmp_path, plan()), []

    def write(folder: Path, split: str, index: int, form: Any, **options: Any) -> None:
        asked.append((split, index, options["zoom"]))
        folder.parent.mkdir(parents=True, exist_ok=True)
        renamed(small_room("train"), split, index, folder.parent)

    monkeypatch.setattr("training.rooms.writing.write_room", write)
    for name in (WIDE, WHOLE, WIDE_HEADS, WIDE_TEST, TEST):
        assert not is_part_made(places, name, 0, 1)
        for _ in range(2):
            make_photos(places, name, 0, 1)
        assert is_part_made(places, name, 0, 1)
    assert asked == [
        ("train", 1002, 0.6), ("train", 1000, 1.0), ("train", 1004, 0.6), ("test", 22, 0.6), ("test", 20, 1.0),
    ]  # fmt: skip
    assert not is_part_made(Places(tmp_path, replace(plan(), views=4)), WHOLE, 0, 1)


def test_photos_belong_to_teachers_of_the_student_or_are_generic(done: Path) -> None:
    places = Places(done, plan())

    def owners(row: Row) -> list[tuple[str, str]]:
        return [(source.owner, source.name) for source in train_photos(places, row).sources]

    assert owners(FULL) == [("generic", WHOLE), ("tiny-clip", CLOSE), ("tiny-depth", WIDE)]
    single = {row.name: row for row in further_rows()}
    assert owners(single["of-tiny-clip"]) == [("generic", WHOLE), ("tiny-clip", CLOSE), ("generic", WIDE)]
    assert owners(single["transformer-whole"]) == [("generic", WHOLE)]
    learned, held = (
        {photo.name for source in photos.sources for photo in source.photos}
        for photos in (train_photos(places, FULL), held_photos(places, FULL))
    )
    assert len(learned) == 3 * (VIEWS - 1)
    assert len(held) == 3
    assert not learned & held
    with pytest.raises(InputError, match=f"Expected {VIEWS} photos in .*found 0"):
        train_photos(Places(done, replace(plan(), wide_rooms=2)), FULL)


def test_a_specialist_that_is_neither_bundled_nor_given_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplift.encoders.tiny.tiny_file", without_specialist)
    places = Places(tmp_path, plan())
    fill(places, (WIDE, VALIDATION))
    assert not is_specialist_there(places)
    with pytest.raises(InputError, match=r"are not at .* yet"):
        places.teacher("tiny-depth")
    make_specialist(places)
    assert is_specialist_there(places)
    assert isinstance(places.teacher("tiny-depth"), TinyDepthEncoder)
    before = written(tmp_path)
    make_specialist(places)
    assert written(tmp_path) == before
    assert places.teacher_identity()["tiny-depth"] == "made"
    file = places.weights("tiny-depth")
    assert file is not None
    given = Places(tmp_path, plan(), file)
    assert not given.is_specialist_made
    assert given.teacher_identity()["tiny-depth"] != "made"


def test_answers_to_texts_are_counted_by_room() -> None:
    told = Localization(
        (
            TextAnswer("a", "0", "chair", "word", True, 0.5),
            TextAnswer("b", "0", "lamp", "word", False, 0.25),
            TextAnswer("a", "1", "red chair", "attributes", False, 0.0),
            TextAnswer("a", "1", "rug", "word", True, 0.75),
        )
    )
    found, overlap = (text_scores(told, overlaps=overlaps) for overlaps in (False, True))
    assert found.groups == ("a", "b")
    assert found.sums.tolist() == [[[2, 3], [0, 1]]]
    assert overlap.sums.tolist() == [[[1.25, 3], [0.25, 1]]]
    for scores, figure in ((found, "pointing"), (overlap, "miou")):
        assert 100 * scores.figures()["accuracy"][0, 0] == pytest.approx(told.figures()[figure])


def found_of(name: str, rmse: list[list[float]], hits: list[list[float]]) -> Found:
    """With the RMSE and the texts found of each seed and room."""
    depth = np.stack([np.array(rmse), np.zeros_like(rmse), np.ones_like(rmse)], -1)
    texts = np.stack([np.array(hits), np.ones_like(hits)], -1)
    rooms = tuple(f"room {i}" for i in range(len(rmse[0])))
    return Found(
        name, name, {"depth": Scores("depth", (), rooms, depth), "pointing": Scores("classification", (), rooms, texts)}
    )


def test_students_are_better_where_more_is_better_or_less_is() -> None:
    one = found_of("one", [[0.4, 0.6], [0.4, 0.6]], [[0.5, 0.7], [0.5, 0.7]])
    other = found_of("other", [[0.6, 0.8], [0.6, 0.8]], [[0.4, 0.6], [0.4, 0.6]])
    for better, worse, sign in ((one, other, 1), (other, one, -1)):
        gaps = better.better_than(worse)
        for measure, gap in (("depth", 0.2), ("pointing", 0.1)):
            for interval in (gaps[measure, measure].over_groups, gaps[measure, measure].over_seeds):
                assert interval.mean == pytest.approx(sign * gap)
                assert interval.low == pytest.approx(sign * gap)
                assert interval.high == pytest.approx(sign * gap)
    uneven = found_of("uneven", [[0.5, 0.5], [0.3, 0.5]], [[0.5, 0.7], [0.5, 0.7]]).better_than(other)["depth", "depth"]
    assert uneven.over_groups.mean == pytest.approx(0.25)
    assert uneven.over_groups.low == pytest.approx(0.2)
    assert uneven.over_groups.high == pytest.approx(0.3)
    assert uneven.over_seeds.low is not None
    assert uneven.over_seeds.high is not None
    assert uneven.over_seeds.low < 0.25 < uneven.over_seeds.high


@pytest.mark.parametrize(
    ("rooms", "seeds", "verdict"),
    [
        ((0.1, 0.3), (0.05, 0.3), "better"),
        ((-0.3, -0.1), (-0.3, -0.05), "worse"),
        ((-0.1, 0.3), (0.05, 0.3), "not told apart"),  # other rooms would give another sign
        ((0.1, 0.3), (-0.05, 0.3), "not told apart"),  # other seeds would
        ((0.1, 0.3), (-0.3, -0.1), "not told apart"),
        ((0.1, 0.3), (None, None), "not told apart"),  # of one seed nothing is known
    ],
)
def test_a_verdict_needs_rooms_and_seeds(rooms: Any, seeds: Any, verdict: str) -> None:
    gap = Difference(Interval(0.2, *rooms), Interval(0.2, *seeds))
    answer = Answer("who wins?", "one", "other", "depth", "depth", gap, 0.5)
    assert answer.verdict == verdict
    assert answer.at_worst == (None if seeds[0] is None else pytest.approx(min(rooms[0], seeds[0]) / 0.5))


def test_tables_say_who_is_better_and_count_it() -> None:
    full = found_of(FULL.name, [[0.4, 0.6], [0.41, 0.6], [0.4, 0.61]], [[0.5, 0.7]] * 3)
    others = [
        found_of(name, [[0.6, 0.8], [0.6, 0.81], [0.61, 0.8]], [[0.6, 0.8]] * 3)
        for name in ("ladder-full", "simple-full")
    ]
    lesson = Lesson(
        FULL,
        {"tiny-dino": Interval(0.5, 0.4, 0.6)},
        {"tiny-dino": ([30, 30, 30], [19, 20, 21])},
        {("tiny-dino", "tiny-clip"): [0.6, None, 0.8]},
        {"tiny-dino": ([0.5, 1.0], [0.8, 1.0])},
    )
    found = Results(Plan(), (0, 1, 2), [], [full, *others], [lesson], {}, specialist=False, precision="no")
    question = "Does the transformer projector win? (table 1)"
    assert found.summary() == {question: {"better": 2, "not told apart": 0, "worse": 2}}
    tables = {table.title: table for table in tables_of(found)}
    rows = tables[question].rows
    assert [row[:2] for row in rows] == [
        [f"{FULL.name} - {name}", by]
        for name in ("ladder-full", "simple-full")
        for by in ("depth, RMSE m", "texts found %")
    ]
    assert rows[0][2].startswith("+0.2")
    assert rows[0][-1] == "better"
    assert rows[1][2:] == ["-10.00", "-10.00 to -10.00", "-10.00 to -10.00", "-14.3 %", "worse"]
    assert tables["Verdicts"].rows == [[question, "2", "0", "2"]]
    first = tables["Projectors (DUNE, table 1)"].rows
    assert [row[0] for row in first] == ["simple-full", "ladder-full", FULL.name]
    assert dict(zip(["features", *MEASURES], first[0], strict=True))["depth"].startswith("0.7033 ± ")
    assert (
        tables["Principal components for 90 % of the variance (DUNE, figure 4)"].rows[0][1] == "30.0 ± 0.0 / 20.0 ± 2.5"
    )
    assert tables["Correlation of loss updates (DUNE, figure 5)"].rows[0][1].startswith("0.700 ± ")
    assert tables["Claims of figures 4 and 5"].rows == [
        [
            "Projectors need fewer components than their teachers (figure 4)",
            "tiny-dino",
            "+10.0",
            "+7.5 to +12.5",
            "holds",
        ]
    ]


def test_claims_of_distillations_are_judged_by_the_seeds_alone() -> None:
    pair = ("tiny-dino", "tiny-clip")

    def lesson(
        name: str, correlations: list[float | None], teachers: dict[str, tuple[list[float], list[float]]]
    ) -> Lesson:
        row = next(row for row in main_rows() if row.name == name)
        return Lesson(row, {}, teachers, {pair: correlations}, {})

    needed: dict[str, tuple[list[float], list[float]]] = {
        "tiny-dino": ([30, 31, 30], [29, 31, 32]),
        "tiny-clip": ([40, 41, 42], [10, 10, 10]),
        "tiny-depth": ([20, 20, 20], [15, 15, 15]),
    }
    full = lesson(FULL.name, [0.5, 0.6, 0.7], needed)
    ladder = lesson("ladder-full", [0.4, 0.51, 0.6], {})
    none = lesson("transformer-none", [0.8, None, 1.0], {})
    trends = trends_of([full, ladder, none])
    said = {(trend.claim.split("(")[1], trend.of): trend.verdict for trend in trends}
    assert said == {
        ("figure 4)", "tiny-dino"): "not told",
        ("figure 4)", "tiny-clip"): "holds",
        ("figure 4)", "tiny-depth"): "holds",
        ("figure 4)", "tiny-dino and tiny-clip"): "the opposite",
        ("figure 4)", "tiny-dino and tiny-depth"): "holds",
        ("figure 4)", "tiny-clip and tiny-depth"): "holds",
        ("figure 4)", "projectors of tiny-dino and tiny-clip"): "holds",
        ("figure 4)", "projectors of tiny-dino and tiny-depth"): "holds",
        ("figure 4)", "projectors of tiny-clip and tiny-depth"): "the opposite",
        ("figure 5)", "tiny-dino and tiny-clip, against LP, full sharing"): "holds",
        ("figure 5)", "tiny-dino and tiny-clip, against TP, no sharing"): "the opposite",
    }
    paired = trends[-1].more
    assert paired.mean == pytest.approx(-0.3), "of the seeds that both have"
    assert trends_of([ladder]) == []
