"""A run in progress in the explorer: newer checkpoints are shown, and what was done is done again there."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from app.explorer.commands import Colour, Grow, Invert, Load, NewSelection, Rectangle, Remove, Viewpoint
from app.explorer.looks import Look, look_in
from app.explorer.session import Session
from app.main import BAD_INPUT, OK, main
from app.viewer.explorer import Explorer
from app.viewer.follow import EARLIER, MOST_FAILURES, Follower, Repetition, Run, first_scene
from app.viewer.page import Page
from app.viewer.server import open_server
from render.scene import Scene
from tests.browser import new_page, picture, visit
from tests.browser import wait as wait_in
from tests.test_import_run import _make_run, _state
from tests.viser_page import until, visiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ("tests.browser",)

FIELD = "learned-rgb"
SOON = 0.02  # seconds between looks


def write_checkpoint(run: Path, step: int, n: int, *, scales: tuple[float, ...] = (1, 1, 1, 1, 1)) -> Path:
    """What the trainer does: the newest checkpoint takes the place of the older ones."""
    state = _state(n, len(scales))
    state["_model.gauss_params.features"] *= torch.tensor(scales)
    folder = run / "nerfstudio_models"
    path, temporary = folder / f"step-{step:09d}.ckpt", folder / "new.ckpt"
    torch.save({"step": step, "pipeline": state}, temporary)
    temporary.replace(path)
    for old in folder.glob("step-*.ckpt"):
        if old != path:
            old.unlink()
    return path


def box(scene: Scene) -> Rectangle:
    return Rectangle(Viewpoint.of(scene.views[0].camera), (4.0, 4.0, 20.0, 20.0), through=True)


class Said:
    """All that was printed so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys, self._text = capsys, ""

    @property
    def now(self) -> str:
        self._text += self._capsys.readouterr().out
        return self._text


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the checkpoint of step 9, of 200 Gaussians."""
    return _make_run(tmp_path, features=5)[0]


@dataclass(eq=False)
class Followed:
    """A run that is shown and followed, with what its pages were told."""

    run: Run
    explorer: Explorer
    follower: Follower
    told: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def session(self) -> Session:
        return self.explorer.session

    def shows(self, step: int) -> bool:
        return self.follower.shown.step == step


@pytest.fixture
def followed(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    one = Run(run)
    checkpoint, scene = first_scene(one)
    explorer = Explorer(Session(scene, device="cpu"), open_server(port=0))
    follower = Follower(explorer, one, checkpoint, every=SOON)
    result = Followed(one, explorer, follower)
    monkeypatch.setattr(Page, "tell", lambda _, text: result.told.append(text))
    monkeypatch.setattr(Page, "complain", lambda _, error: result.complaints.append(str(error)))
    with ExitStack() as stack:
        stack.callback(explorer.close)
        stack.callback(follower.close)
        yield result


def test_pages_change_over_to_a_newer_checkpoint_and_keep_what_they_look_at(run: Path, followed: Followed) -> None:
    with visiting(followed.explorer.server):
        until(lambda: followed.explorer.pages)
        (page,) = followed.explorer.pages
        page.set_look(Look("pca", field=FIELD))
        page.use("lasso")
        camera, first = page.camera(), followed.session
        command = box(first.scene)
        for one in (command, Invert(), Colour("selection", (1, 2, 3))):
            followed.explorer.run(page, one)
        until(lambda: len(first.history.edits) == 3)
        write_checkpoint(run, 500, 300)
        until(lambda: followed.shows(500))
        session = followed.session
        assert session is not first
        assert page.session is session
        assert session.n == 300
        assert page.tool == "lasso"
        assert (page.look.what, page.look.field) == ("pca", FIELD)
        assert torch.equal(page.camera().world_to_camera, camera.world_to_camera)
        assert [edit.command for edit in session.history.edits] == [command, Invert(), Colour("selection", (1, 2, 3))]
        with_it = Session(session.scene, device="cpu", autosave=False)
        with_it.run(command)
        assert 0 < len(with_it.document.selection) < 300
        assert torch.equal(session.document.selection.mask, ~with_it.document.selection.mask)
        until(lambda: followed.told)
        assert followed.told == ["Step 500 is shown now (300 Gaussians)."]
        followed.explorer.run(page, Remove())
        until(lambda: bool(session.document.removed.any()))
        followed.explorer.undo(page)
        assert not session.document.removed.any()
        assert followed.complaints == []


def test_whoever_looks_through_a_photo_still_does_and_it_is_there(run: Path, followed: Followed) -> None:
    with visiting(followed.explorer.server):
        until(lambda: followed.explorer.pages)
        (page,) = followed.explorer.pages
        page.photos.look_through("a")
        first = followed.session.scene.path
        write_checkpoint(run, 500, 300)
        until(lambda: not first.exists())
        assert page.photos.looked_through
        page.photos.compare(0.5)
        assert page.photos.compared


def test_the_session_that_was_shown_is_let_go_of(run: Path, followed: Followed) -> None:
    with visiting(followed.explorer.server):
        until(lambda: followed.explorer.pages)
        before = weakref.ref(followed.session)
        write_checkpoint(run, 500, 300)
        until(lambda: followed.told)
        until(lambda: gc.collect() >= 0 and before() is None)


def test_an_edit_that_waits_is_done_on_the_newer_gaussians(run: Path, followed: Followed) -> None:
    with visiting(followed.explorer.server):
        until(lambda: followed.explorer.pages)
        (page,) = followed.explorer.pages
        busy, first, command = threading.Event(), followed.session, box(followed.session.scene)
        followed.explorer.compute.submit("busy", lambda _: busy.wait(), lambda _: None)
        write_checkpoint(run, 500, 300)
        until(lambda: "change over" in followed.explorer.compute._numbers)
        followed.explorer.run(page, command)
        busy.set()
        until(lambda: followed.session.history.edits)
        assert followed.session is not first
        assert [edit.command for edit in followed.session.history.edits] == [command]


def test_cancelling_everything_does_not_keep_the_checkpoint_away(run: Path, followed: Followed) -> None:
    busy = threading.Event()
    followed.explorer.compute.submit("busy", lambda _: busy.wait(), lambda _: None)
    write_checkpoint(run, 500, 300)
    until(lambda: "change over" in followed.explorer.compute._numbers)
    followed.explorer.compute.cancel()
    busy.set()
    until(lambda: followed.shows(500))
    assert followed.complaints == []


def test_only_the_scene_that_is_shown_stays_in_the_cache_unless_selections_were_kept(
    run: Path, followed: Followed
) -> None:
    def folders() -> list[str]:
        return sorted(path.name[:14] for path in followed.run.folder.iterdir())

    write_checkpoint(run, 20, 210)
    until(lambda: folders() == ["step-000000020"])
    followed.session.run(box(followed.session.scene))
    followed.session.save_selection("mine")
    write_checkpoint(run, 30, 220)
    until(lambda: followed.shows(30))
    write_checkpoint(run, 40, 230)
    until(lambda: folders() == ["step-000000020", "step-000000040"])
    assert [path.name for path in (run / "nerfstudio_models").iterdir()] == ["step-000000040.ckpt"]


def test_what_pages_export_outlives_the_scene(run: Path, followed: Followed) -> None:
    from app.exports import export

    scene = followed.session.scene
    export(scene, scene.path / "exports" / "all.ply", torch.ones(200, dtype=torch.bool), {})
    write_checkpoint(run, 20, 210)
    until(lambda: not scene.path.exists())
    assert (run / "exports" / "all.ply").is_file()


def test_what_cannot_be_done_again_is_left_out_and_named_once(run: Path, followed: Followed) -> None:
    with visiting(followed.explorer.server):
        until(lambda: followed.explorer.pages)
        session = followed.session
        session.run(box(session.scene))
        session.save_selection("kept")
        for command in (Load("kept"), Load("kept"), NewSelection("more"), box(session.scene)):
            session.run(command)
        write_checkpoint(run, 500, 300)
        until(lambda: followed.told)
        assert followed.told == ["Step 500 is shown now (300 Gaussians). Not done again: load 'kept'."]
        assert list(followed.session.document.selections) == ["selection", "more"]
        assert len(followed.session.document.selection) > 0


def test_half_a_checkpoint_is_tried_again_and_told_of_only_after_a_while(run: Path, followed: Followed) -> None:
    with visiting(followed.explorer.server):
        until(lambda: followed.explorer.pages)
        whole = write_checkpoint(run, 500, 300).read_bytes()
        until(lambda: followed.shows(500))
        path = run / "nerfstudio_models" / "step-000000600.ckpt"
        path.write_bytes(whole[: len(whole) // 2])
        until(lambda: followed.complaints)
        assert followed.shows(500)
        (failures,) = followed.follower._failures.values()
        assert failures == MOST_FAILURES
        (complaint,) = followed.complaints
        assert "Step 600" in complaint
        assert "damaged" in complaint
        path.write_bytes(whole)
        until(lambda: followed.shows(600))
        assert len(followed.complaints) == 1


def test_edits_made_and_undone_meanwhile_are_caught_up_with(run: Path) -> None:
    first = Session(first_scene(Run(run))[1], device="cpu", autosave=False)
    write_checkpoint(run, 500, 300)
    second = Session(first_scene(Run(run))[1], device="cpu", autosave=False)
    command = box(first.scene)
    repetition = Repetition(first, second)
    for one in (command, Invert(), Grow()):
        first.run(one)
    repetition.catch_up()
    grown = second.document
    first.undo()
    first.undo()
    first.run(NewSelection("other"))
    repetition.catch_up()
    assert second.document is not grown
    done = second.history.edits[: second.history.cursor]
    assert [edit.command for edit in done] == [command, NewSelection("other")]
    assert repetition.left_out == []


def test_what_was_restored_and_not_done_is_named(run: Path) -> None:
    _, scene = first_scene(Run(run))
    earlier = Session(scene, device="cpu")
    earlier.run(box(scene))
    earlier.close()
    session = Session(first_scene(Run(run))[1], device="cpu")
    assert session.recovered
    assert Repetition(session, session).left_out == [EARLIER]
    session.close()


def test_a_finished_run_is_imported_once(run: Path) -> None:
    checkpoint, scene = first_scene(Run(run))
    before = scene.gaussians_path.stat().st_mtime_ns
    assert Run.at(run / "config.yml") is not None
    again, same = first_scene(Run(run / "config.yml"))
    assert again == checkpoint
    assert same.gaussians_path.stat().st_mtime_ns == before
    assert Run.at(scene.path) is None


def test_photos_are_shared_with_the_run(run: Path) -> None:
    _, scene = first_scene(Run(run))
    (photo,) = (view.path for view in scene.views)
    assert photo is not None
    assert photo.samefile(run.parent / "data" / "images" / "a.png")


def test_a_run_without_a_checkpoint_is_waited_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "config.yml").write_text((run / "config.yml").read_text() + "steps_per_save: 2000\n")
    path = run / "nerfstudio_models" / "step-000000009.ckpt"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(first_scene(Run(run), every=SOON)))
    thread.start()
    said = Said(capsys)
    until(lambda: said.now)
    path.write_bytes(whole)
    thread.join()
    assert found[0][0].step == 9
    assert "no checkpoint yet; the trainer writes one every 2,000 steps (ns-train ... --steps-per-save)" in said.now
    assert said.now.count("waiting") == 1


def test_a_run_that_cannot_be_shown_is_a_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "dataparser_transforms.json").unlink()
    assert main(["view", str(run), "--port", "0", "--device", "cpu"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert f"The run {run} lacks" in error
    assert str(Run(run).folder) not in error


def test_view_takes_a_run(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys)

    def newer(_: object) -> None:
        write_checkpoint(run, 500, 300)
        until(lambda: "Step 500 is shown now" in said.now)

    monkeypatch.setattr("app.commands.view._wait", newer)
    assert main(["view", str(run / "config.yml"), "--port", "0", "--device", "cpu"]) == OK
    assert f"step 9 of {run}" in said.now


def test_a_look_stays_where_its_fields_are(run: Path) -> None:
    session = Session(first_scene(Run(run))[1], device="cpu", autosave=False)
    features = Look("pca", field=FIELD, overlay=False)
    assert look_in(session, features) == features
    both = Look("pca", field=FIELD, second=Look(), layout="wipe", split=0.3)
    assert look_in(session, both) == both
    assert look_in(session, Look("depth")) == Look("depth")
    assert look_in(session, Look("pca", field="gone", overlay=False)) == Look(overlay=False)
    assert look_in(session, Look("relevancy", text="chair", field="gone")) == Look()
    mixed = look_in(session, Look("rgb", second=Look("pca", field="gone"), layout="side"))
    assert mixed == Look("rgb", second=Look(), layout="side")


def test_feature_colours_do_not_flip_between_checkpoints(run: Path, followed: Followed) -> None:
    """The direction with the largest variance is another one, but the features are the same."""
    write_checkpoint(run, 20, 200, scales=(3, 2, 1, 0.1, 0.1))
    until(lambda: followed.shows(20))
    before = followed.session.field(FIELD)
    write_checkpoint(run, 30, 200, scales=(2, 3, 1, 0.1, 0.1))
    until(lambda: followed.shows(30))
    after = followed.session.field(FIELD)
    seen = after.weights > 0
    assert int(seen.sum()) > 50
    assert float((before.colours() - after.colours())[seen].abs().mean()) < 0.1


def test_an_open_browser_shows_the_newer_gaussians(run: Path, followed: Followed, chromium: Browser) -> None:
    followed.explorer.draw = "browser"
    with new_page(chromium) as window:
        visit(window, followed.explorer.server)
        (page,) = followed.explorer.pages

        def view(name: str) -> np.ndarray:
            """The left half, over which nothing lies."""
            return picture(window, name)[:, :450].astype(float)

        wait_in(lambda: page.canvas.connected, "the canvas did not come", window)
        wait_in(lambda: view("follow-before").std() > 10, "no picture came", window)
        before = view("follow-before")
        write_checkpoint(run, 500, 400)
        wait_in(lambda: followed.shows(500), "the checkpoint was not shown", window)
        wait_in(lambda: abs(view("follow-after") - before).mean() > 5, "the picture stayed", window)
        page.set_look(Look("depth"))

        def is_warm() -> bool:
            """Whether depths are drawn: no splat is as saturated as their colours."""
            seen = view("follow-depth")
            return bool((seen.max(2) - seen.min(2)).mean() > 100)

        wait_in(is_warm, "depth was not drawn", window)
    assert followed.complaints == []
