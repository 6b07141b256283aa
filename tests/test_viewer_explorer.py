"""The explorer's pages without a browser: looks that cannot be had, pages that leave, inputs that report every key."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.explorer.commands import All, NewSelection
from app.explorer.looks import Look
from app.explorer.session import Session
from app.viewer.explorer import Explorer
from app.viewer.page import Page
from app.viewer.resting import Resting
from app.viewer.server import open_server
from render.errors import InputError
from render.scene import Scene
from tests.explorer_room import explorer_scene
from tests.viser_page import CAMERA, connected, encoded, until, visiting


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


def test_undo_gives_up_what_its_page_asked_and_nothing_of_others(
    bare: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with visiting(bare.server), visiting(bare.server):
        until(lambda: len(bare.pages) == 2)
        first, second = bare.pages
        told: list[str] = []
        monkeypatch.setattr(first, "tell", told.append)
        bare.session.run(NewSelection("before"))
        busy = threading.Event()
        bare.compute.submit("busy", lambda _: busy.wait(20), lambda _: None)
        bare.run(first, NewSelection("mine"))
        bare.run(second, NewSelection("theirs"))
        bare.undo(first)
        assert list(bare.session.document.selections) == ["selection"]
        busy.set()
        until(lambda: not first.works and not second.works)
        assert list(bare.session.document.selections) == ["selection", "theirs"]
        assert told == ["Cancelled; nothing was changed."]


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
