"""The explorer's pages without a browser: looks that cannot be had, pages that leave, inputs that report every key."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.explorer.commands import All, Colour, NewSelection, Scribble, Stroke, Viewpoint
from app.explorer.looks import Look
from app.explorer.session import Session
from app.explorer.worker import Busy, ComputeWorker
from app.viewer._internals import may_have_left
from app.viewer.actions import actions_of
from app.viewer.explorer import Explorer
from app.viewer.page import Page
from app.viewer.panels.header import progress_text
from app.viewer.panels.take import MOST_EXPORTS
from app.viewer.resting import Resting
from app.viewer.server import open_server
from render.errors import InputError
from render.progress import Progress
from render.scene import Scene
from tests.explorer_room import explorer_scene
from tests.viser_page import CAMERA, connected, encoded, until, visiting

MAIN = threading.main_thread()


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Explorer]:
    """An explorer of a scene without fields."""
    path = explorer_scene(tmp_path)
    for field in (path / "fields").glob("*"):
        field.unlink()
    explorer = Explorer(Session(Scene.open(path), device="cpu", autosave=False), open_server(port=0))
    yield explorer
    explorer.close()


def heard(page: Page, monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Complaints that the page shows from now on."""
    complaints: list[BaseException] = []
    monkeypatch.setattr(page, "complain", complaints.append)
    return complaints


@contextmanager
def held_up(worker: ComputeWorker) -> Iterator[None]:
    """A worker that begins nothing while the context lasts."""
    begun, go_on = threading.Event(), threading.Event()

    def work(_: Progress) -> None:
        begun.set()
        go_on.wait(20)

    worker.submit("busy", work, lambda _: None)
    assert begun.wait(20)
    try:
        yield
    finally:
        go_on.set()


def write(text: str, path: Path, _: Progress) -> None:
    """An export."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_a_look_that_cannot_be_had_is_told_and_the_page_goes_on(
    bare: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(bare.server):
        until(lambda: bare.pages)
        (page,) = bare.pages
        complaints = heard(page, monkeypatch)
        page.set_look(Look("pca"))
        assert [type(one) for one in complaints] == [InputError]
        assert page.look == Look()
        page.redraw()
        bare.session.run(All())
        assert len(complaints) == 1


def test_a_page_that_fails_does_not_keep_the_others_from_hearing(
    bare: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(bare.server), visiting(bare.server):
        until(lambda: len(bare.pages) == 2)
        first, second = bare.pages
        complaints, told = heard(first, monkeypatch), []

        def fails() -> None:
            raise InputError("no")

        monkeypatch.setattr(first, "changed", fails)
        monkeypatch.setattr(second, "changed", lambda: told.append(1))
        bare.session.run(All())
        assert told == [1]
        assert [str(one) for one in complaints] == ["no"]


def test_undo_gives_up_the_newest_that_its_page_waits_for_and_only_then_takes_back(
    bare: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(bare.server), visiting(bare.server):
        until(lambda: len(bare.pages) == 2)
        first, second = bare.pages
        told: list[str] = []
        monkeypatch.setattr(first, "tell", told.append)
        bare.session.run(NewSelection("before"))
        with held_up(bare.compute):
            for name in ("mine", "mine too"):
                bare.run(first, NewSelection(name))
            bare.run(second, NewSelection("theirs"))
            bare.undo(first)
            assert list(bare.session.document.selections) == ["selection", "before"]
        until(lambda: not first.works and not second.works)
        assert list(bare.session.document.selections) == ["selection", "before", "mine", "theirs"]
        assert told == ["Cancelled; nothing was changed."]
        with held_up(bare.compute):
            bare.run(first, NewSelection("never"))
            bare.undo(first)
            bare.undo(first)
            assert list(bare.session.document.selections) == ["selection", "before", "mine"]
        until(lambda: not first.works)
        assert list(bare.session.document.selections) == ["selection", "before", "mine"]


def test_what_is_seen_done_is_taken_back_even_while_it_is_still_told(
    bare: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(bare.server):
        until(lambda: bare.pages)
        (page,) = bare.pages
        seen, taken = threading.Event(), threading.Event()

        def changed() -> None:
            if threading.current_thread() is not threading.main_thread():
                seen.set()
                taken.wait(20)

        monkeypatch.setattr(page, "changed", changed)
        bare.run(page, NewSelection("mine"))
        assert seen.wait(20)
        bare.undo(page)
        taken.set()
        until(lambda: not page.works)
        assert list(bare.session.document.selections) == ["selection"]


def test_cancel_gives_up_what_its_page_waits_for_and_nothing_of_others(bare: Explorer) -> None:
    with visiting(bare.server), visiting(bare.server):
        until(lambda: len(bare.pages) == 2)
        first, second = bare.pages
        written: list[str] = []

        def wrote(name: str, _: Progress) -> None:
            written.append(name)

        with held_up(bare.compute), held_up(bare.exports):
            for page, name in ((first, "mine"), (second, "theirs")):
                bare.run(page, NewSelection(name))
                bare.submit(page, bare.name("export"), partial(wrote, name), worker=bare.exports)
            actions_of(first)["cancel"]()
        until(lambda: not first.works and not second.works)
        assert list(bare.session.document.selections) == ["selection", "theirs"]
        assert written == ["theirs"]


def test_only_who_waits_is_offered_to_cancel(bare: Explorer) -> None:
    with visiting(bare.server), visiting(bare.server):
        until(lambda: len(bare.pages) == 2)
        first, second = bare.pages
        go_on = threading.Event()
        bare.submit(first, bare.name("export"), lambda _: go_on.wait(20), worker=bare.exports)
        shown = [(page.header._what, page.header._cancel) for page in (first, second)]
        until(lambda: all(what.visible for what, _ in shown))
        assert [cancel.visible for _, cancel in shown] == [True, False]
        go_on.set()
        until(lambda: not any(what.visible for what, _ in shown))
        assert not any(cancel.visible for _, cancel in shown)


def test_sliders_of_two_pages_do_not_replace_each_other(bare: Explorer) -> None:
    with visiting(bare.server), visiting(bare.server):
        until(lambda: len(bare.pages) == 2)
        with held_up(bare.compute):
            for page in bare.pages:
                for colour in ((1, 2, 3), (4, 5, 6)):
                    bare.run(page, Colour("selection", colour), slider=True)
            assert len(set.union(*(page.works for page in bare.pages))) == 2
        until(lambda: not any(page.works for page in bare.pages))
        assert bare.session.document.selections["selection"].colour == (4, 5, 6)


def test_a_slider_that_moved_on_is_still_waited_for_when_its_older_answer_comes(bare: Explorer) -> None:
    with visiting(bare.server):
        until(lambda: bare.pages)
        (page,) = bare.pages
        begun, first, last = threading.Event(), threading.Event(), threading.Event()
        answers: list[object] = []

        def work(_: Progress) -> bool:
            begun.set()
            return first.wait(20)

        bare.submit(page, "slider", work, answers.append, interrupt=False)
        assert begun.wait(20)
        bare.submit(page, "slider", lambda _: last.wait(20), answers.append, interrupt=False)
        first.set()
        until(lambda: answers)
        assert page.works == {"slider"}
        last.set()
        until(lambda: not page.works)


def test_two_exports_of_a_kind_are_both_written(bare: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    with visiting(bare.server):
        until(lambda: bare.pages)
        (page,) = bare.pages
        told: list[str] = []
        monkeypatch.setattr(page, "tell", told.append)
        complaints = heard(page, monkeypatch)
        with held_up(bare.exports):
            for text in ("one", "two"):
                page.take._make(".txt", partial(write, text))
            for _ in range(MOST_EXPORTS):
                page.take._make(".txt", partial(write, "more"))
        until(lambda: not page.works)
        folder = bare.session.scene.path / "exports"
        texts = [(folder / name).read_text() for name in ("selection.txt", "selection-2.txt")]
        assert texts == ["one", "two"]
        # What holds the worker up counts as well.
        assert len(told) == len(list(folder.iterdir())) == MOST_EXPORTS - 1
        assert len(complaints) == 3
        assert "8 exports wait already" in str(complaints[0])


def test_a_scribble_counts_as_asked_until_it_is_answered_whoever_is_faster(bare: Explorer) -> None:
    with visiting(bare.server):
        until(lambda: bare.pages)
        (page,) = bare.pages
        camera = bare.session.scene.views[0].camera
        scribble = Scribble(Viewpoint.of(camera), (Stroke(((9.0, 9.0),), 2.0),), "no such field")
        with held_up(bare.compute):
            page.run(scribble)
            bare.session.run(All())
            assert page.prompt is scribble
        until(lambda: not page.works)
        assert page.prompt == All()


def test_a_look_that_is_ready_late_does_not_come_back(bare: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The person chooses another look just when the one before has been found to be the one that is asked for."""
    with visiting(bare.server):
        until(lambda: bare.pages)
        (page,) = bare.pages
        showing, late, newer = page._showing, Look("opacity"), Look("depth")
        chooser = threading.Thread(target=lambda: showing.set_look(newer))
        ready = {late: False}
        monkeypatch.setattr("app.viewer.showing.is_prepared", lambda _, look: ready.get(look, True))
        monkeypatch.setattr("app.viewer.showing.prepare", lambda *_: None)

        class Yields(type(showing)):  # type: ignore[misc]
            @property
            def look(self) -> Look:
                found: Look = vars(self)["look"]
                if found is late and chooser.ident is None and threading.current_thread() is not MAIN:
                    chooser.start()
                    chooser.join(0.5)  # it waits for its turn
                return found

            @look.setter
            def look(self, look: Look) -> None:
                self.__dict__["look"] = look

        monkeypatch.setattr(showing, "__class__", Yields)
        showing.set_look(late)
        until(lambda: chooser.ident is not None and not chooser.is_alive() and not page.works)
        assert (showing.look, showing.shown) == (newer, newer)


def test_how_a_session_began_is_told_to_its_first_page_and_is_no_failure(
    bare: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Page, "warn", lambda _, title, text: told.append(text))
    monkeypatch.setattr(Page, "complain", lambda _, error: told.append(f"failed: {error}"))
    bare.session.begun_anew = "It is damaged."
    for _ in range(2):
        with visiting(bare.server):
            until(lambda: len(bare.pages) == 1)
            until(lambda: told)
        until(lambda: not bare.pages)
    assert told == ["It is damaged."]


def test_a_picture_for_a_page_that_has_left_is_dropped_without_a_word(bare: Explorer) -> None:
    with visiting(bare.server) as (_, client):
        until(lambda: bare.pages)
    until(lambda: not bare.pages)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with may_have_left(client):
            client.scene.set_background_image(np.zeros((4, 4, 3), np.uint8), format="jpeg")
    with pytest.warns(UserWarning, match="closed connection"):
        client.scene.set_background_image(np.zeros((4, 4, 3), np.uint8), format="jpeg")


def test_getting_ready_is_called_so() -> None:
    for name, what in (("prepare", ""), ("prepare", "solver"), ("scribble 3", "rehearsal")):
        assert progress_text(Busy(name, 0, 1, what, 2.0)) == "getting ready 0 of 1, 2 s"
    assert progress_text(Busy("export .ply 3", 0, 0, "", 2.0)) == "export .ply, 2 s"


def test_a_second_explorer_of_a_scene_says_that_its_work_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Page, str]] = []
    monkeypatch.setattr(Page, "tell", lambda self, text: told.append((self, text)))
    path = explorer_scene(tmp_path)
    first, second = (Explorer(Session(Scene.open(path), device="cpu"), open_server(port=0)) for _ in range(2))
    with visiting(first.server), visiting(second.server):
        until(lambda: first.pages and second.pages and told)
        assert [(page, "not kept" in text) for page, text in told] == [(second.pages[0], True)]
    first.close()
    second.close()


def test_pages_that_leave_at_once_leave_nothing(bare: Explorer) -> None:
    for _ in range(20):
        with connected(bare.server) as connection:
            connection.send(encoded(CAMERA))
            time.sleep(0.02)
    until(lambda: not bare.clients)
    until(lambda: not bare.pages)


def test_an_explorer_is_closed_once_nothing_is_loaded_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    ended: list[str] = []

    def load(session: Session, progress: Progress) -> None:
        begun.set()
        try:
            while True:  # the library's part, and between its parts whoever closes is heard
                time.sleep(0.1)
                progress(0, 2, "texts")
        finally:
            ended.append("loading")

    monkeypatch.setattr("app.viewer.explorer.prepare_texts", load)
    session = Session(Scene.open(explorer_scene(tmp_path)), device="cpu", autosave=False)
    explorer = Explorer(session, open_server(port=0))
    assert begun.wait(20)
    monkeypatch.setattr(session, "close", lambda: ended.append("session"))
    explorer.close()
    assert ended == ["loading", "session"]


def test_what_is_typed_counts_once_nobody_types_any_more() -> None:
    done: list[int] = []
    resting = Resting(lambda: done.append(1), seconds=0.05)
    for _ in range(5):
        resting.ask()
    until(lambda: done)
    resting.ask()
    resting.cancel()
    time.sleep(0.1)
    assert done == [1]
