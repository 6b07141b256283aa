"""The list of selections as edits."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.explorer import commands as c
from app.explorer.session import Session
from tests.explorer_room import explorer_scene, open_session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    session = open_session(explorer_scene(tmp_path))
    for name in ("a", "b", "c"):
        session.run(c.NewSelection(name))
    session.run(c.Activate("a"))
    session.run(c.Show("c", False))
    return session


def shown(session: Session) -> list[str]:
    return [name for name, one in session.document.selections.items() if one.shown]


def test_the_others_are_hidden_and_shown_by_one_edit_each(session: Session) -> None:
    before, edits = session.document, session.history.cursor
    session.run(c.ShowOthers(False))
    assert shown(session) == ["a"]
    assert session.document.active == "a"
    assert list(session.document.selections) == ["selection", "a", "b", "c"]
    session.run(c.ShowOthers())
    assert shown(session) == ["selection", "a", "b", "c"]
    assert session.history.cursor == edits + 2
    session.undo()
    assert shown(session) == ["a"]
    session.undo()
    assert session.document is before
    assert shown(session) == ["selection", "a", "b"]


def test_others_that_are_so_already_are_no_edit(session: Session) -> None:
    session.run(c.ShowOthers(False))
    before, edits = session.document, session.history.cursor
    assert session.run(c.ShowOthers(False)) is before
    assert session.history.cursor == edits


def test_the_active_selection_stays_as_it_is(session: Session) -> None:
    session.run(c.Show("a", False))
    session.run(c.ShowOthers())
    assert shown(session) == ["selection", "b", "c"]
