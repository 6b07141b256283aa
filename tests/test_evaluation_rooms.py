"""``fit3d evaluate rooms``: tasks are true to the rooms, figures are those of a count by hand, the command works."""

from __future__ import annotations

import json
import shutil
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

from app.commands.evaluate_rooms import opened_rooms
from app.main import BAD_INPUT, OK, main
from app.result_tables import ResultTable, spread
from app.room_tables import query_means, scribble_table, text_table
from render.errors import InputError
from tests.tiny_models import tiny_clip
from training import probing
from training.probing.data.rooms import room_photos
from training.rooms.measuring import measure_texts, measure_things
from training.rooms.reading import RoomScene
from training.rooms.tasks import STRUCTURE, Enough, covering_frames, query_frames, thing_tasks
from training.rooms.writing import ROOM, RoomFormat, room_name, write_room
from uplift.evaluation.scribbles import draw_scribbles
from uplift.evaluation.segmentation import evaluate_task
from uplift.evaluation.shared_scene import SharedScene
from uplift.evaluation.variants import DIFFUSION, GEOMETRY, UPLIFTING, make_setting
from uplift.field import FeatureField
from uplift.search import Searcher

FORM = RoomFormat(views=4, width=96, height=72, count=4000)
ENOUGH = Enough(views=2)


@cache
def folder() -> Path:
    """A folder with a small room to measure, and one to learn from: the same under another name; made once."""
    made = Path(mkdtemp(prefix="fit3d-tests-"))
    path = made / "test" / room_name("test", 0)
    write_room(path, "test", 0, FORM, threads=1)
    other = Path(shutil.copytree(path, made / "train" / room_name("train", 0)))
    description = json.loads((other / ROOM).read_text())
    (other / ROOM).write_text(json.dumps({**description, "split": "train"}))
    return made


@cache
def room() -> RoomScene:
    return RoomScene.open(folder() / "test" / room_name("test", 0))


def run(*arguments: object) -> int:
    return main(["evaluate", "rooms", *map(str, arguments), "--device", "cpu"])


def figures(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "figures.json").read_text())["figures"])


def test_things_are_marked_where_they_are_large_and_scored_elsewhere() -> None:
    tasks = thing_tasks(room(), draw_scribbles, ENOUGH)
    assert len(tasks) >= 3
    instances = room().gaussian_instances()
    for one in tasks:
        assert room().things[one.thing].category == one.category
        assert one.category not in STRUCTURE
        shown = {view: room().instances(view) == one.thing for view in room().views}
        assert ENOUGH.best <= one.share <= ENOUGH.most
        assert shown[one.task.reference].mean() == one.share
        whole = [m.mean() for m in shown.values() if not (m[[0, -1]].any() or m[:, [0, -1]].any())]
        assert one.share >= max(whole, default=0), "a photo that cuts it off is marked only if it shows more"
        assert 1 <= len(one.task.truths) <= ENOUGH.views
        assert one.task.reference not in one.task.truths
        for view, truth in one.task.truths.items():
            np.testing.assert_array_equal(truth(), shown[view])
            assert truth().sum() >= ENOUGH.relative * shown[one.task.reference].sum()
        prompt = one.task.prompt(room().scene.view(one.task.reference))
        assert not (prompt.positive & ~shown[one.task.reference]).any()
        assert one.members is not None
        np.testing.assert_array_equal(one.members.numpy(), instances == one.thing)
    every = thing_tasks(room(), draw_scribbles, Enough(best=0.0, elsewhere=0.0, relative=0.0))
    assert len(every) > len(tasks)


def test_photos_ask_for_the_texts_that_they_answer() -> None:
    frames = query_frames(room())
    texts = {query.text: query for query in room().queries}
    assert {text for frame in frames for text in frame.objects} <= set(texts)
    for frame in frames:
        instances = room().instances(frame.name)
        for text, answer in frame.objects.items():
            truth = np.isin(instances, texts[text].instances)
            np.testing.assert_array_equal(answer.mask(frame.width, frame.height), truth)
            row, column = np.argwhere(truth)[0]
            assert answer.contains(column + 0.5, row + 0.5)
            assert not answer.contains(-0.5, row + 0.5)
            row, column = np.argwhere(~truth)[0]
            assert not answer.contains(column + 0.5, row + 0.5), "its box is not enough"


def test_few_photos_still_show_every_text() -> None:
    frames = query_frames(room(), Enough(elsewhere=0.01))
    texts = {text for frame in frames for text in frame.objects}
    for count in (1, 2, len(frames)):
        some = covering_frames(frames, count)
        assert {text for frame in some for text in frame.objects} == texts
        assert [frame.name for frame in frames if frame in some] == [frame.name for frame in some]
    assert covering_frames(frames, len(frames)) == frames


class Oracle:
    """Knows what every text is true of, or takes it for what comes next in the room."""

    def __init__(self, shift: int = 0) -> None:
        self._shift = shift

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        found = torch.zeros(len(texts), len(room().things) + 1)
        known = {query.text: query.instances for query in room().queries}
        for row, text in zip(found, texts, strict=True):
            things = [(i + self._shift) % len(room().things) for i in known.get(text, ())]
            row[things or -1] = 1
        return torch.nn.functional.normalize(found, dim=1)


def test_who_knows_every_answer_finds_it_and_who_mistakes_them_does_not() -> None:
    instances = torch.from_numpy(room().gaussian_instances()).long()
    values = torch.nn.functional.one_hot(instances, len(room().things) + 1).float()
    field = FeatureField(values, torch.ones(len(values)), "oracle")
    right, wrong = (
        measure_texts(room(), Searcher(room().scene, field, Oracle(shift)), enough=Enough(elsewhere=0.01))
        for shift in (0, 3)
    )
    assert query_means(right, "localization")["all"] > 0.9
    assert query_means(right, "3D")["all"] > 0.5
    assert query_means(wrong, "localization")["all"] < 0.3
    assert query_means(wrong, "3D")["all"] < 0.2
    assert set(right["skipped"]) == {"2D SAM", "2D SAM + diffusion", "2D SAM + random walker"}
    assert set(right["queries"].values()) <= {"word", "synonym", "attributes"}


def test_true_labels_are_near_the_truth_and_shared_graphs_change_nothing() -> None:
    things = thing_tasks(room(), draw_scribbles, Enough(best=0.02, views=2))[:2]
    shared = SharedScene(room().scene, device="cpu")
    found = measure_things(things, shared.setting("rgb"), [GEOMETRY, UPLIFTING, DIFFUSION])
    for thing in found["things"]:
        assert thing["variants"]["true labels"]["iou_tolerant"] > 0.8
    alone = make_setting(room().scene, shared.gaussians, shared.field("rgb"), "none")
    for one, thing in zip(things, found["things"], strict=True):
        again = evaluate_task(one.task, alone, [DIFFUSION])["variants"][DIFFUSION.name]
        assert again["views"] == thing["variants"][DIFFUSION.name]["views"]


def test_the_command_measures_all_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ProbeSettings", partial(probing.ProbeSettings, steps=10))
    clip, weights = tiny_clip(tmp_path)
    out = tmp_path / "out"
    rows = ("--variants", "geometry only", "uplifting", "--views", 1, "--encoders", "rgb", "dense-descriptors")
    texts = ("--text-encoder", clip, "--structure", "rgb", "--weights", clip, weights)
    command = (folder() / "test", "--out", out, *rows, *texts)
    assert run(*command, "--train", folder() / "train", "--train-photos", 4) == OK
    shown = capsys.readouterr().out
    for words in ("true labels", "localization", "mIoU", "--sam", f"wrote {out / 'results.md'}"):
        assert words in shown
    name = room().path.name
    found = figures(out)
    scribbles = [f"{name}/scribbles-{encoder}" for encoder in ("rgb", "dense-descriptors")]
    assert set(found) == {*scribbles, f"{name}/text", "probes/rgb", "probes/dense-descriptors"}
    first, second = (set(found[job]["things"][0]["variants"]) for job in scribbles)
    assert first == {"geometry only", "uplifting", "true labels"}
    assert second == {"uplifting"}, "what does not depend on features is measured once"
    assert 0 < found["probes/rgb"][name]["miou"] < 1
    assert not list(out.rglob("*.png")), "pictures are not asked for"
    text = (out / "results.md").read_text()
    assert "| rgb | " in text
    assert "| word (" in text.replace("| row (queries) ", "")
    before = {path: path.stat().st_mtime_ns for path in out.rglob(f"{name}/**/figures.json")}
    assert run(*command, "--parts", "scribbles", "text") == OK
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (out / name / "text" / "figures.json").unlink()
    assert run(*command, "--parts", "text", "--draw", "--encoders", "rgb") == OK
    assert list((out / name / "text").rglob("*_heat.png"))
    capsys.readouterr()
    assert run(*command, "--parts", "text", "--seed", 1) == BAD_INPUT
    assert "other settings (seed)" in capsys.readouterr().err


def test_wrong_orders_are_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, out = folder() / "test", ("--out", tmp_path / "out", "--encoders", "rgb")
    for arguments, words in (
        ((test, "--parts", "probes"), "give --train"),
        ((test, "--parts", "scribbles", "--train", folder() / "train"), "--parts leaves them out"),
        ((test, "--parts", "probes", "--train", test), "both learned from and measured"),
        ((tmp_path, "--parts", "scribbles"), "fit3d rooms"),
        ((test, test, "--parts", "scribbles"), "given twice"),
        ((test, "--parts", "scribbles", "--views", 0), "at least 1"),
        ((test, "--parts", "scribbles", "--weights", "tiny-dino", tmp_path / "x"), "tiny-dino"),
        ((test, "--parts", "scribbles", "--variants", "magic"), "magic"),
        ((test, "--parts", "text", "--text-encoder", "rgb", "--structure", "rgb"), "cannot read texts"),
    ):
        assert run(*arguments, *out) == BAD_INPUT, arguments
        assert words in capsys.readouterr().err
    assert run(folder() / "train", "--parts", "scribbles", *out, "--variants", "geometry only", "--views", 1) == OK
    assert "split train" in capsys.readouterr().out


def test_photos_of_rooms_are_shrunk_without_mixing_classes() -> None:
    assert len(opened_rooms([folder() / "test", folder() / "train" / room_name("train", 0)])) == 2
    photos = room_photos([room()], 3)
    assert len(photos) == 3
    assert {photo.group for photo in photos} == {room().path.name}
    assert photos[0].image().shape == (FORM.height, FORM.width, 3)
    first, last = photos[0].classes, photos[2].depth
    assert first is not None
    assert last is not None
    np.testing.assert_array_equal(first(), room().classes(room().views[0]))
    np.testing.assert_array_equal(last(), room().depth(room().views[-1]))
    small = room_photos([room()], 3, width=48)[0]
    assert small.image().shape == (36, 48, 3)
    assert small.classes is not None
    whole = first()[: 36 * 2, :96].reshape(36, 2, 48, 2).transpose(0, 2, 1, 3).reshape(36, 48, 4)
    assert (whole == small.classes()[..., None]).any(2).all(), "classes are not mixed"
    with pytest.raises(InputError, match="found none"):
        room_photos([])


def test_tables_hold_means_over_rooms() -> None:
    def of(*values: float) -> dict[str, Any]:
        return {"things": [{"category": "cup", "variants": {"a": {"iou": v}}} for v in values]}

    table = scribble_table("title", {"rgb": {"one": of(0.5, 0.7), "two": of(0.8)}})
    assert table.columns == ["features", "a"]
    assert table.rows == [["rgb", "70.0 ± 14.1"]]
    assert "2 rooms, 3 things" in table.title
    views = {"v0": {"cup": True, "red cup": False}, "v1": {"cup": False}}
    texts = {
        "variants": {"find": {"accuracy": 0.3, "views": views}},
        "queries": {"cup": "word", "red cup": "attributes"},
    }
    assert query_means(texts, "find") == {"word": 0.5, "attributes": 0.0, "all": 0.25}
    assert text_table("t", {"one": texts}, key="accuracy").rows == [["find", "50.0", "-", "0.0", "25.0"]]
    assert spread([]) == "-"
    markdown = ResultTable("t", ["a", "b"], [["x|y", "1"]], "note").markdown()
    assert markdown.splitlines() == ["### t", "", "| a | b |", "| --- | ---: |", "| x/y | 1 |", "", "note"]
