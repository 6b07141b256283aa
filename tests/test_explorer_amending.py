"""Sliders that are moved after something else was: each changes its own number, in the place of what it amends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import app.explorer.commands as c
from app.explorer.history import Edit
from app.explorer.session import Session
from render.errors import InputError
from tests.explorer_room import THINGS, explorer_scene, middle_of, open_session, strokes_on


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = open_session(explorer_scene(tmp_path))
    yield session
    session.close()


def click(name: str, **options: object) -> c.Click:
    viewpoint, point = middle_of(name)
    return c.Click(viewpoint, (point,), field=THINGS, **options)  # type: ignore[arg-type]


def titles(session: Session) -> list[str]:
    return [edit.title for edit in session.history.edits[: session.history.cursor]]


def test_another_bandwidth_keeps_the_threshold_that_was_set(session: Session) -> None:
    viewpoint, strokes = strokes_on("plant")
    asked = c.Scribble(viewpoint, strokes, THINGS, bandwidth=0.5)
    expected = session.run(replace(asked, bandwidth=1.5)).selection.scores >= 0.8
    session.undo()
    first = session.document
    session.run(asked)
    before = session.amend(c.Threshold(0.8))
    after = session.amend(replace(asked, bandwidth=1.5))
    assert titles(session) == [asked.title, "threshold 0.8"]
    assert torch.equal(after.selection.mask, expected)
    assert not torch.equal(after.selection.scores, before.selection.scores)
    assert c.cut_of(after.selection) == 0.8
    session.amend(c.Threshold(0.6))
    assert titles(session) == [asked.title, "threshold 0.6"]
    session.undo()
    session.undo()
    assert session.document is first


def test_a_click_that_adds_is_asked_again_without_what_it_had_added(session: Session) -> None:
    session.run(click("ball"))
    alone = session.document.selection.mask
    wide = click("plant", combine="add", method="diffusion", steps=100)
    narrow = replace(wide, steps=1)
    expected = session.run(narrow).selection.mask
    session.undo()
    session.run(wide)
    session.amend(c.Threshold(0.4))
    session.amend(c.Threshold(0.5))
    found = session.amend(narrow).selection.mask
    assert torch.equal(found, expected)
    assert int(alone.sum()) < int(found.sum())
    assert len(session.history.edits) == 3


def test_what_was_done_to_a_colour_meanwhile_stays(session: Session) -> None:
    asked = click("ball")
    session.run(asked)
    session.run(c.Colour("selection", (1, 2, 3)))
    session.run(c.Show("selection", False))
    session.amend(replace(asked, bandwidth=1.0))
    named = session.document.selections["selection"]
    assert (named.colour, named.shown) == ((1, 2, 3), False)
    assert [edit.command.kind for edit in session.history.edits] == ["click", "colour", "show"]
    first = session.history.edits[0].command
    assert isinstance(first, c.Click)
    assert first.bandwidth == 1.0


@pytest.mark.parametrize("between", [c.Invert(), c.Grow(), c.Hide(), c.NewSelection("two")])
def test_a_prompt_is_not_amended_beneath_an_edit_that_followed_from_it(session: Session, between: c.Command) -> None:
    session.run(click("ball"))
    session.run(between)
    before = session.document
    session.amend(click("ball", bandwidth=1.0))
    assert len(session.history.edits) == 3
    session.undo()
    assert session.document is before


def test_every_edit_begins_where_the_one_before_ended(session: Session) -> None:
    session.run(click("ball"))
    for value in (0.3, 0.7):
        session.amend(c.Threshold(value))
        session.amend(click("ball", bandwidth=1.0 + value))
    edits = session.history.edits
    assert len(edits) == 2
    assert edits[0].after is edits[1].before
    assert edits[-1].after is session.document


def test_an_amendment_that_fails_changes_nothing(session: Session) -> None:
    asked = click("ball")
    session.run(asked)
    session.amend(c.Threshold(0.6))
    before, edits = session.document, session.history.edits
    with pytest.raises(InputError):
        session.amend(replace(asked, field="no such field"))
    assert session.document is before
    assert session.history.edits == edits


def test_an_amendment_forgets_what_was_undone(session: Session) -> None:
    asked = click("ball")
    session.run(asked)
    session.amend(c.Threshold(0.6))
    session.run(c.Invert())
    session.undo()
    session.amend(replace(asked, bandwidth=1.0))
    assert session.redo() is None
    assert [type(edit) for edit in session.history.edits] == [Edit, Edit]
