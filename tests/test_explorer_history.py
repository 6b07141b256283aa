"""The list of edits: its cursor, and what it forgets."""

from __future__ import annotations

from dataclasses import replace

import torch

from app.explorer.commands import All
from app.explorer.document import Document
from app.explorer.history import Edit, History
from uplift.selection import Selection

N = 1000


def chain(length: int) -> list[Edit]:
    """Edits that each select something else: 5 bytes a Gaussian, the rest shared."""
    edits, document = [], Document.new(N)
    for index in range(length):
        mask = torch.arange(N) < index
        after = document.with_selection(Selection.from_mask(mask))
        edits.append(Edit(All(), document, after))
        document = after
    return edits


def test_the_cursor_moves_between_done_and_undone() -> None:
    history, edits = History(), chain(3)
    for edit in edits:
        history.push(edit)
    assert (history.cursor, history.last, history.next) == (3, edits[2], None)
    assert history.step_back() is edits[2]
    assert history.step_back() is edits[1]
    assert (history.cursor, history.last, history.next) == (1, edits[0], edits[1])
    assert history.step_forward() is edits[1]
    assert list(history.edits) == edits
    assert [history.step_back(), history.step_back(), history.step_back()] == [edits[1], edits[0], None]
    assert history.cursor == 0
    assert [history.step_forward() for _ in range(4)] == [*edits, None]


def test_shared_arrays_are_counted_once_and_given_back() -> None:
    history, edits = History(), chain(5)
    for edit in edits:
        history.push(edit)
    # What is selected, hidden and removed is one array at first; scores are another.
    assert edits[0].before.nbytes == N + 4 * N
    assert history.nbytes == edits[0].before.nbytes + 5 * 5 * N
    for _ in range(4):
        history.step_back()
    again = chain(1)[0]
    history.push(again)
    assert list(history.edits) == [edits[0], again]
    assert history.nbytes == edits[0].before.nbytes + 5 * N + again.before.nbytes + 5 * N


def test_the_oldest_edits_are_dropped_above_the_limit_but_never_the_last() -> None:
    edits = chain(20)
    history = History(limit=30 * N)
    for edit in edits:
        history.push(edit)
        assert history.nbytes <= 30 * N
        assert history.last is edit
    assert list(history.edits) == edits[-len(history.edits) :]
    assert 1 < len(history.edits) < 20
    tiny = History(limit=1)
    for edit in edits:
        tiny.push(edit)
    assert list(tiny.edits) == [edits[-1]]
    few = History(most=3)
    for edit in edits:
        few.push(edit)
    assert list(few.edits) == edits[-3:]


def test_replacing_the_last_edit_keeps_the_cursor() -> None:
    history, edits = History(), chain(3)
    for edit in edits[:2]:
        history.push(edit)
    other = replace(edits[2], before=edits[1].before)
    history.replace_last(other)
    assert list(history.edits) == [edits[0], other]
    assert history.cursor == 2
