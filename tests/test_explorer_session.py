"""A session of the explorer: edits, sliders, listeners, threads, and long random work that is undone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.explorer import commands as c
from app.explorer.commands.base import Work
from app.explorer.document import Document
from app.explorer.session import Session
from render.errors import InputError
from tests.explorer_room import (
    THINGS,
    WORDS,
    box_around,
    explorer_scene,
    middle_of,
    of,
    open_session,
    overlap,
    strokes_on,
    thing,
)
from tests.test_explorer_commands import copied
from training.rooms.demo import bundled_demo_room, open_demo_room
from uplift.prompts import read_scribbles
from uplift.thresholds import iou


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One session for all tests: its graphs are made once."""
    return open_session(explorer_scene(tmp_path_factory.mktemp("session")))


@pytest.fixture
def session(kept: Session) -> Iterator[Session]:
    """The session as it was opened."""
    yield kept
    while kept.undo():
        pass


def test_a_new_session_shows_everything_and_selects_nothing(session: Session) -> None:
    document = session.document
    assert list(document.selections) == [document.active]
    assert len(document.selection) == 0
    assert document.all_visible
    assert not session.recovered
    assert session.undo() is None
    assert session.redo() is None


def test_fields_are_named_and_read_once(session: Session) -> None:
    assert session.field_names == [THINGS, WORDS]
    assert session.text_field_names == [WORDS]
    assert (session.default_field, session.default_text_field) == (THINGS, WORDS)
    assert session.field(THINGS) is session.field(THINGS)
    assert session.segmenter(THINGS) is session.segmenter(THINGS)
    assert session.searcher(WORDS) is session.searcher(WORDS, WORDS)
    assert session.graph(THINGS) is session.graph(THINGS)
    edges = session.graph(THINGS).neighbours
    assert torch.equal(session.graph(WORDS).neighbours, edges)
    assert torch.equal(session.graph().neighbours, edges)


def test_fields_that_read_texts_are_known_by_their_encoder(kept: Session, tmp_path: Path) -> None:
    plain = Session(kept.scene, device="cpu", autosave=False)
    assert plain.text_field_names == [WORDS]
    path = explorer_scene(tmp_path)
    for name in (THINGS, WORDS):
        (path / "fields" / f"{name}.safetensors").unlink()
    bare = open_session(path)
    assert (bare.field_names, bare.default_field, bare.default_text_field) == ([], None, None)
    with pytest.raises(InputError, match="fit3d lift"):
        bare.field(THINGS)


def test_an_unknown_field_lists_those_there_are(session: Session) -> None:
    for ask in (session.field, session.segmenter, session.searcher, session.graph):
        with pytest.raises(InputError, match="it has things, words"):
            ask("../../etc/passwd")


def test_a_slider_replaces_its_own_edit_and_no_other(session: Session) -> None:
    viewpoint, strokes = strokes_on("ball")
    session.run(c.Scribble(viewpoint, strokes, THINGS))
    first = session.document
    for value in (0.3, 0.4, 0.8):
        session.amend(c.Threshold(value))
    assert [edit.title for edit in session.history.edits][1:] == ["threshold 0.8"]
    assert torch.equal(session.document.selection.mask, first.selection.scores >= 0.8)
    last = session.document
    session.undo()
    assert session.document is first
    session.redo()
    assert session.document is last
    # After something that followed from it a scribble is an edit of its own.
    session.run(c.Invert())
    session.amend(c.Scribble(viewpoint, strokes, THINGS, threshold=0.4))
    session.amend(c.Scribble(viewpoint, strokes, THINGS))
    assert len(session.history.edits) == 4
    direct = session.document.selection.mask
    session.undo()
    assert torch.equal(session.run(c.Scribble(viewpoint, strokes, THINGS)).selection.mask, direct)


def test_a_slider_of_something_else_is_an_edit_of_its_own(session: Session) -> None:
    session.run(c.NewSelection("two"))
    session.amend(c.Colour("selection", (1, 2, 3)))
    session.amend(c.Colour("two", (4, 5, 6)))
    session.amend(c.Colour("two", (7, 8, 9)))
    colours = {name: one.colour for name, one in session.document.selections.items()}
    assert colours == {"selection": (1, 2, 3), "two": (7, 8, 9)}
    assert len(session.history.edits) == 3


def test_what_a_slider_is_about_is_all_but_what_it_sets() -> None:
    viewpoint, strokes = strokes_on("ball")
    scribble = c.Scribble(viewpoint, strokes, THINGS)
    for before, after, same in (
        (scribble, replace(scribble, threshold=0.3, bandwidth=2.0, method="diffusion", steps=4, field=WORDS), True),
        (scribble, replace(scribble, strokes=strokes[:1]), False),
        (scribble, replace(scribble, viewpoint=thing("plant")[1]), False),
        (c.Text("ball", WORDS), c.Text("ball", WORDS, threshold=0.2), True),
        (c.Text("ball", WORDS), c.Text("plant", WORDS), False),
        (c.Click(viewpoint, ((1, 1),), field=THINGS), c.Click(viewpoint, ((1, 2),), field=THINGS), False),
        (c.Threshold(0.3), c.Threshold(0.4), True),
        (c.Grow(1), c.Grow(2), True),
        (c.Grow(1), c.Shrink(1), False),
    ):
        assert (before.target == after.target) is same, (before, after)
        hash(before.target)


def test_amending_after_an_undo_starts_from_what_is_shown(session: Session) -> None:
    session.run(c.All())
    session.run(c.Invert())
    session.undo()
    session.amend(c.All())
    assert [edit.title for edit in session.history.edits] == ["select all"]
    assert session.redo() is None


def test_a_new_edit_forgets_what_was_undone(session: Session) -> None:
    session.run(c.All())
    session.undo()
    session.run(c.NewSelection("other"))
    assert session.redo() is None
    assert [edit.title for edit in session.history.edits] == ["new selection 'other'"]


def test_listeners_hear_of_every_change_until_they_stop(session: Session) -> None:
    first, heard = session.document, []
    stop = session.subscribe(lambda before, after: heard.append((before, after)))
    session.run(c.All())
    session.amend(c.All())
    session.undo()
    session.redo()
    documents = [first, *(after for _, after in heard)]
    assert len(heard) == 4
    assert all(before is documents[index] for index, (before, _) in enumerate(heard))
    assert session.document is documents[-1]
    stop()
    stop()
    session.undo()
    assert len(heard) == 4


def test_listeners_are_called_without_the_lock(session: Session) -> None:
    done = threading.Event()

    def edit() -> None:
        session.amend(c.Clear())
        done.set()

    def listen(before: Document, after: Document) -> None:
        stop()
        threading.Thread(target=edit).start()
        assert done.wait(20)

    stop = session.subscribe(listen)
    session.run(c.All())
    assert done.is_set()
    # Also of a slider that begins.
    done.clear()
    stop = session.subscribe(listen)
    session.amend(c.Threshold(0.4))
    assert done.is_set()


def test_raising_from_progress_cancels_and_leaves_everything(tmp_path: Path) -> None:
    fresh = open_session(explorer_scene(tmp_path))
    before = fresh.document

    def cancel(done: int, total: int, what: str) -> None:
        raise InterruptedError

    viewpoint, strokes = strokes_on("ball")
    with pytest.raises(InterruptedError):
        fresh.run(c.Scribble(viewpoint, strokes, THINGS), cancel)
    assert fresh.document is before
    assert fresh.history.last is None
    assert len(fresh.run(c.Scribble(viewpoint, strokes, THINGS)).selection) > 0, "the graph is made after all"


def test_commands_of_several_threads_are_run_one_after_the_other(session: Session) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: session.run(c.NewSelection(f"number {index}")), range(20)))
        masks = list(pool.map(lambda _: session.visible_gaussians.opacities.sum().item(), range(20)))
    assert len(session.document.selections) == 21
    assert len(set(masks)) == 1
    assert [edit.after for edit in session.history.edits][:-1] == [edit.before for edit in session.history.edits][1:]


class Slow:
    """A progress that stops a command until somebody says so, once."""

    def __init__(self) -> None:
        self.began, self.go_on, self.cancelled = threading.Event(), threading.Event(), False

    def __call__(self, done: int, total: int, what: str) -> None:
        if self.cancelled:
            raise InterruptedError


def slow_all(progress: Slow) -> c.Command:
    """Selects all that is not hidden, once it may."""

    class SlowAll(c.All):
        def apply(self, work: Work) -> Document:
            if not progress.began.is_set():
                progress.began.set()
                assert progress.go_on.wait(20)
            return super().apply(work)

    return SlowAll()


def test_an_undo_does_not_wait_and_what_is_computed_follows_from_what_it_leaves(session: Session) -> None:
    viewpoint, strokes = strokes_on("ball")
    session.run(c.Scribble(viewpoint, strokes, THINGS))
    session.run(c.Hide())
    slow = Slow()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, slow_all(slow), slow)
        assert slow.began.wait(20)
        undone = session.undo()
        assert undone is not None
        assert isinstance(undone.command, c.Hide)
        slow.go_on.set()
        document = running.result(20)
    assert session.document is document
    assert document.all_visible
    assert bool(document.selection.mask.all())
    assert [type(edit.command) for edit in session.history.edits[:-1]] == [c.Scribble]


def test_what_was_cancelled_before_an_undo_does_not_come_after_it(session: Session) -> None:
    session.run(c.NewSelection("other"))
    first, slow = session.document, Slow()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, slow_all(slow), slow)
        assert slow.began.wait(20)
        slow.cancelled = True
        session.undo()
        slow.go_on.set()
        with pytest.raises(InterruptedError):
            running.result(20)
    assert session.redo() is not None
    assert session.document is first


def test_a_document_of_other_gaussians_is_not_shown(session: Session) -> None:
    with pytest.raises(InputError, match="7 Gaussians"):
        session.show(Document.new(7))


def random_command() -> st.SearchStrategy[c.Command]:
    """Commands that a restless person would give; many of them cannot be done."""
    names = st.sampled_from(["selection", "a", "b", "c"])
    things = st.sampled_from(["ball", "plant", "box", "vase"])
    combine: st.SearchStrategy[c.Combine] = st.sampled_from(["set", "add", "subtract", "intersect"])
    through = st.booleans()
    viewpoints = things.map(lambda name: thing(name)[1])
    corners = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(41, 90)] * 2).map(lambda box: tuple(map(float, box)))
    lassos = st.lists(st.tuples(st.integers(-20, 120), st.integers(-20, 100)), min_size=3, max_size=6).map(tuple)
    return st.one_of(
        things.flatmap(lambda name: combine.map(lambda how: c.Scribble(*strokes_on(name), THINGS, combine=how))),
        things.map(lambda name: c.Click(middle_of(name)[0], (middle_of(name)[1],), field=THINGS)),
        st.builds(c.Rectangle, viewpoints, corners, combine, through),
        things.map(lambda name: c.Rectangle(*box_around(name), through=True)),
        st.builds(c.Lasso, viewpoints, lassos, combine, through),
        st.builds(c.Text, things, st.just(WORDS), st.just(THINGS), combine=combine, top=st.none() | st.just(1)),
        st.builds(c.Similar, st.just(THINGS), st.none() | st.floats(0.2, 1), combine),
        st.builds(c.Grow, st.integers(1, 3)),
        st.builds(c.Shrink, st.integers(1, 3)),
        st.builds(c.Threshold, st.floats(0.01, 2)),
        st.builds(c.NewSelection, names),
        st.builds(c.Rename, names),
        st.builds(c.Delete, names),
        st.builds(c.Activate, names),
        st.builds(c.Show, names, st.booleans()),
        st.builds(c.Colour, names, st.tuples(*[st.integers(0, 255)] * 3)),
        st.builds(c.Remove, st.integers(0, 2)),
        st.sampled_from([c.Largest(), c.Invert(), c.Clear(), c.All(), c.Hide(), c.Isolate(), c.ShowAll(), c.Restore()]),
        names.map(c.Load),
    )


def do(session: Session, how: str, command: c.Command) -> None:
    if how in ("run", "amend"):
        getattr(session, how)(command)
    else:
        getattr(session, how)()


STEPS = st.tuples(st.sampled_from(["run", "run", "run", "amend", "undo", "redo"]), random_command())


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
def test_random_work_ends_where_it_began_after_undoing_all(kept: Session, steps: list[tuple[str, c.Command]]) -> None:
    first, was = kept.document, copied(kept.document)
    seen: dict[int, tuple[Document, Document]] = {}
    for how, command in steps:
        before = kept.document
        try:
            do(kept, how, command)
        except InputError:
            assert kept.document is before, "a command that fails changes nothing"
        seen[id(kept.document)] = kept.document, copied(kept.document)
    last = kept.document
    undone = 0
    while kept.undo():
        undone += 1
    assert kept.document is first
    assert first.equal(was)
    for _ in range(undone):
        kept.redo()
    assert kept.document is last
    assert all(document.equal(copy) for document, copy in seen.values()), "no document was edited in place"
    while kept.undo():
        pass


def test_what_was_selected_can_be_taken_away_and_brought_back(session: Session) -> None:
    viewpoint, strokes = strokes_on("plant")
    session.run(c.Scribble(viewpoint, strokes, THINGS))
    session.run(c.Remove())
    gone = session.visible_gaussians.opacities == 0
    assert float((gone & of("plant")).sum() / of("plant").sum()) > 0.95
    session.undo()
    assert session.visible_gaussians is session.gaussians


def test_what_an_older_document_shows_is_not_made_again_for_the_page(session: Session) -> None:
    viewpoint, box = box_around("plant")
    session.run(c.Rectangle(viewpoint, box))
    frozen = session.run(c.Hide())
    session.run(c.ShowAll())
    shown = session.run(c.Remove())
    first, second = session.visible_in(frozen), session.visible_in(shown)
    assert first is not second
    for _ in range(3):
        assert session.visible_in(frozen) is first
        assert session.visible_in(shown) is second


@pytest.mark.slow
def test_the_plant_of_the_demo_room_is_scribbled_on_found_by_text_and_removed(tmp_path: Path) -> None:
    demo = open_demo_room(bundled_demo_room(), tmp_path)
    session = Session(demo.scene, device="cpu", text_encoders={demo.text: demo.texts})
    assert (session.default_field, session.default_text_field) == (demo.structure, demo.text)
    view, elsewhere = (demo.scene.view(name) for name in (demo.exhibit.marked, demo.exhibit.elsewhere))
    drawn = read_scribbles(demo.scribbles, view)
    strokes = tuple(
        c.Stroke(((x + 0.5, y + 0.5),), 0.5, positive)
        for mask, positive in ((drawn.positive, True), (drawn.negative, False))
        for y, x in np.argwhere(mask)[::6].tolist()
    )
    found = session.run(c.Scribble(c.Viewpoint.of(view.camera), strokes, demo.structure)).selection
    plant = torch.from_numpy(demo.room.gaussian_instances() == demo.exhibit.thing)
    assert overlap(found.mask, plant) > 0.9
    truth = demo.room.instances(elsewhere.name) == demo.exhibit.thing
    assert iou(found.mask_in(session.gaussians, elsewhere), truth) > 0.8
    named = session.run(c.Text("green plant", demo.text, demo.structure, combine="intersect")).selection
    assert overlap(named.mask, plant) > 0.8
    session.run(c.Remove())
    assert not bool((session.visible_gaussians.opacities[plant] > 0).float().mean() > 0.2)
    session.close()
    again = Session(demo.scene, device="cpu")
    assert torch.equal(again.document.removed, session.document.removed)
    again.close()
