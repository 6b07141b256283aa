"""Every command of the explorer, without a browser; and commands as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.explorer import commands as c
from app.explorer.commands.viewpoint import WORKING_SIDE, draw_strokes, fill_polygon
from app.explorer.document import MOST_SELECTIONS, Document
from app.explorer.session import Session
from app.scenes import save_selection
from render.errors import InputError
from tests.explorer_room import (
    HEIGHT,
    THINGS,
    WIDTH,
    WORDS,
    box_around,
    explorer_scene,
    middle_of,
    of,
    open_session,
    overlap,
    room,
    strokes_on,
    thing,
)
from uplift.segmentation import Segmenter
from uplift.selection import Selection

# A camera at the origin; made without the room, so that collecting the tests is quick.
PLAIN = c.Viewpoint(
    ((100, 0, WIDTH / 2), (0, 100, HEIGHT / 2), (0, 0, 1)),
    ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
    WIDTH,
    HEIGHT,
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One session for all tests: its graphs are made once."""
    session = open_session(explorer_scene(tmp_path_factory.mktemp("commands")))
    save_selection(session.scene, "saved plant", Selection.from_mask(of("plant")))
    return session


@pytest.fixture
def session(kept: Session) -> Iterator[Session]:
    """The session as it was opened."""
    first = kept.document
    yield kept
    while kept.undo():
        pass
    kept.show(first)


def scribble(name: str = "ball", **options: Any) -> c.Scribble:
    viewpoint, strokes = strokes_on(name)
    return c.Scribble(viewpoint, strokes, THINGS, **options)


def click(name: str = "ball", **options: Any) -> c.Click:
    viewpoint, point = middle_of(name)
    return c.Click(viewpoint, (point,), field=THINGS, **options)


def lasso(name: str = "ball", **options: Any) -> c.Lasso:
    viewpoint, (x0, y0, x1, y1) = box_around(name)
    return c.Lasso(viewpoint, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), **options)


def rectangle(name: str = "ball", **options: Any) -> c.Rectangle:
    return c.Rectangle(*box_around(name), **options)


def select(session: Session, name: str) -> None:
    """Make a thing the active selection, exactly."""
    session.show(session.document.with_selection(Selection.from_mask(of(name))))


def prompts() -> list[c.Command]:
    """One of each command that finds something, told to find the ball."""
    return [scribble(), click(), rectangle(), lasso(through=True), c.Text("ball", WORDS, THINGS), c.Similar(THINGS)]


def examples() -> list[c.Command]:
    """Commands of every kind, in an order in which all of them can be done."""
    return [
        *prompts(),
        scribble(method="diffusion", bandwidth=0.3, threshold=0.2, steps=3),
        c.Threshold(0.3),
        c.Grow(2),
        c.Shrink(),
        c.Invert(),
        c.Clear(),
        c.All(),
        click(combine="intersect"),
        c.Largest(),
        c.NewSelection("second", (1, 2, 3)),
        c.Rename("renamed"),
        c.Activate("selection"),
        c.Show("renamed", False),
        c.ShowOthers(),
        c.Colour("renamed", (250, 0, 7)),
        c.Delete("renamed"),
        c.Remove(),
        c.Restore(),
        c.Hide(),
        c.ShowAll(),
        c.Isolate(),
        c.Load("saved plant"),
    ]


def test_there_is_an_example_of_every_kind() -> None:
    assert {example.kind for example in examples()} == set(c.KINDS)
    assert all(example.title for example in examples())


def test_every_command_is_undone_and_done_again_to_the_last_bit(session: Session) -> None:
    for command in examples():
        before = session.document
        was = copied(before)
        after = session.run(command)
        assert not after.equal(before), command
        made = copied(after)
        assert session.undo() is not None
        assert session.document is before
        assert before.equal(was), command
        assert session.redo() is not None
        assert session.document is after
        assert after.equal(made), command


def copied(document: Document) -> Document:
    """The same document with arrays of its own."""
    selections = {
        name: replace(
            named,
            selection=replace(
                named.selection, mask=named.selection.mask.clone(), scores=named.selection.scores.clone()
            ),
        )
        for name, named in document.selections.items()
    }
    return Document(selections, document.active, document.hidden.clone(), document.removed.clone())


@pytest.mark.parametrize("name", ["ball", "box"])
def test_a_scribble_and_a_click_select_the_thing(session: Session, name: str) -> None:
    for command in (scribble(name), click(name)):
        found = session.run(command).selection
        assert overlap(found.mask, of(name)) > 0.8, command.title
        assert found.about["edits"] == [command.title]
    diffused = session.run(scribble(name, method="diffusion")).selection.mask
    assert float((diffused & of(name)).sum() / diffused.sum()) > 0.9
    assert float((diffused & of(name)).sum() / of(name).sum()) > 0.3


def test_a_rectangle_and_a_lasso_take_the_surface_or_everything_behind_it(session: Session) -> None:
    for shape in (rectangle, lasso):
        surface = session.run(shape("ball")).selection.mask
        through = session.run(shape("ball", through=True)).selection.mask
        centres = projected(thing("ball")[1])
        x0, y0, x1, y1 = box_around("ball")[1]
        inside = ((centres > torch.tensor([x0, y0])) & (centres < torch.tensor([x1, y1]))).all(1)
        assert overlap(through, inside) > 0.95
        assert bool((surface & of("ball")).any())
        assert int((surface & inside).sum()) < int(through.sum())
        # The front of the ball, not its back.
        assert 0.3 < float((surface & of("ball")).sum() / of("ball").sum()) < 0.9


def projected(viewpoint: c.Viewpoint) -> torch.Tensor:
    camera = viewpoint.camera
    local = room().scene.gaussians.means @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    return (local @ camera.K.T)[:, :2] / local[:, 2:]


def test_a_text_selects_what_it_names_and_top_its_best_object(session: Session) -> None:
    found = session.run(c.Text("plant", WORDS, THINGS)).selection
    assert overlap(found.mask, of("plant")) > 0.8
    one = session.run(c.Text("plant", WORDS, THINGS, top=1)).selection
    assert len(one.components(session.graph())) == 1
    assert not bool((one.mask & ~found.mask).any())
    many = session.run(c.Text("plant", WORDS, THINGS, top=500)).selection
    assert torch.equal(many.mask, found.mask)


def test_similar_finds_the_rest_of_a_thing_by_a_piece_of_it(session: Session) -> None:
    piece = of("plant") & (torch.arange(session.n) % 5 == 0)
    session.show(session.document.with_selection(Selection.from_mask(piece)))
    found = session.run(c.Similar(THINGS)).selection
    assert overlap(found.mask, of("plant")) > 0.8
    assert len(session.amend(c.Similar(THINGS, 0.99)).selection) < len(found)


def test_prompts_are_set_added_subtracted_and_intersected(session: Session) -> None:
    found = session.run(rectangle("ball")).selection.mask
    base = session.run(lasso("plant", through=True)).selection.mask
    expected = {"add": base | found, "subtract": base & ~found, "intersect": base & found, "set": found}
    for how, mask in expected.items():
        session.run(rectangle("ball", combine=how))
        assert torch.equal(session.document.selection.mask, mask), how
        session.undo()


def test_a_prompt_changes_the_active_selection_alone(session: Session) -> None:
    session.run(rectangle("plant"))
    first = session.document.selections["selection"]
    session.run(c.NewSelection("other"))
    session.run(rectangle("ball"))
    assert session.document.selections["selection"] is first
    assert len(session.document.selections["other"].selection) > 0


def test_what_is_hidden_or_removed_is_not_found(session: Session) -> None:
    for out_of_sight in (c.Hide(), c.Remove(margin=0)):
        select(session, "ball")
        session.run(out_of_sight)
        behind = session.run(click()).selection.mask
        assert not bool((behind & of("ball")).any())
        assert bool(behind.any()), "what is behind it is clicked on instead"
        for command in [
            rectangle(),
            lasso(through=True),
            c.Text("ball", WORDS, THINGS),
            c.Similar(THINGS),
            c.Grow(3),
            c.All(),
            c.Invert(),
        ]:
            assert not bool((session.run(command).selection.mask & of("ball")).any()), command.title
        select(session, "ball")
        with pytest.raises(InputError, match="no visible"):
            session.run(c.Hide())
        while session.undo():
            pass


def test_growing_leaves_alone_what_is_hidden_inside_the_selection(session: Session) -> None:
    select(session, "ball")
    session.run(c.Hide())
    grown = session.run(c.Grow()).selection.mask
    assert bool((grown & of("ball")).sum() == of("ball").sum())
    assert int(grown.sum()) > int(of("ball").sum())


def test_objects_and_what_lies_above_a_threshold_have_titles_of_their_own() -> None:
    assert c.Text("ball", WORDS).title == f'"ball" ({WORDS})'
    assert c.Text("ball", WORDS, refine=False, combine="add").title == f'add "ball" ({WORDS}, above a threshold)'


def test_hide_isolate_remove_and_back(session: Session) -> None:
    select(session, "plant")
    assert torch.equal(session.run(c.Hide()).visible, ~of("plant"))
    assert session.run(c.ShowAll()).all_visible
    assert torch.equal(session.run(c.Isolate()).visible, of("plant"))
    session.run(c.ShowAll())
    exact = session.run(c.Remove()).removed
    assert torch.equal(exact, of("plant"))
    assert session.run(c.Restore()).all_visible
    wider = session.run(c.Remove(margin=1)).removed
    margin = session.document.selection.with_margin(session.graph()).mask
    assert torch.equal(wider, margin)
    assert int(wider.sum()) > int(exact.sum())
    with pytest.raises(InputError, match="no visible"):
        session.run(c.Remove())
    assert [c.Remove().title, c.Remove(2).title] == ["remove the selection", "remove the selection, margin 2"]


def test_hidden_gaussians_have_no_opacity_and_all_others_are_untouched(session: Session) -> None:
    assert session.visible_gaussians is session.gaussians
    select(session, "plant")
    session.run(c.Hide())
    visible = session.visible_gaussians
    assert len(visible) == session.n
    assert torch.equal(visible.opacities == 0, of("plant"))
    assert torch.equal(visible.opacities[~of("plant")], session.gaussians.opacities[~of("plant")])
    session.run(rectangle("ball"))
    assert session.visible_gaussians is visible, "nothing more was hidden"


def test_grow_shrink_largest_invert_are_those_of_selections(session: Session) -> None:
    select(session, "box")
    selection, graph = session.document.selection, session.graph()
    assert torch.equal(session.run(c.Grow(2)).selection.mask, selection.grow(graph, 2).mask)
    session.undo()
    assert torch.equal(session.run(c.Shrink()).selection.mask, selection.shrink(graph).mask)
    session.undo()
    assert torch.equal(session.run(c.Invert()).selection.mask, ~selection.mask)
    session.run(c.Clear())
    assert len(session.document.selection) == 0
    assert bool(session.run(c.All()).selection.mask.all())
    select(session, "wall")
    assert torch.equal(
        session.run(c.Largest()).selection.mask, Selection.from_mask(of("wall")).largest_component(graph).mask
    )


def test_a_threshold_cuts_in_the_unit_of_the_first_scores_however_often(session: Session) -> None:
    first = session.run(scribble()).selection
    for value in (0.9, 0.2, 0.7):
        cut = session.run(c.Threshold(value)).selection
        assert torch.equal(cut.mask, first.scores >= value)
        assert c.cut_of(cut) == value
    back = session.run(c.Threshold(0.5)).selection
    assert torch.equal(back.mask, first.mask)
    torch.testing.assert_close(back.scores, first.scores)
    assert [edit for edit in c.edits_of(back) if edit.startswith("threshold")] == ["threshold 0.5"]


def test_a_prompts_threshold_is_the_segmenters(session: Session) -> None:
    asked = scribble()
    for threshold in (0.2, 0.8):
        found = session.run(replace(asked, threshold=threshold)).selection
        fresh = Segmenter(session.scene, session.field(THINGS), graph=session.scene_graph(THINGS))
        expected = fresh.select([asked.prompt()], method="random-walker", threshold=threshold)
        assert torch.equal(found.mask, expected.mask)


def test_diffusion_goes_as_far_as_its_steps(session: Session) -> None:
    asked = scribble("plant", method="diffusion")
    whole = session.run(asked).selection
    assert session.run(replace(asked, steps=100)).selection.mask.equal(whole.mask)
    sizes = [len(session.amend(replace(asked, steps=steps)).selection) for steps in (1, 2, 4, 100)]
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] < sizes[-1]


def test_a_prompt_drawn_in_a_large_window_selects_the_same(session: Session) -> None:
    viewpoint, strokes = strokes_on("plant")
    large = c.Viewpoint.of(viewpoint.camera.resized(8 * WIDTH, 8 * HEIGHT))
    assert max(large.working.width, large.working.height) == WORKING_SIDE
    scaled = tuple(
        replace(stroke, points=tuple((8 * x, 8 * y) for x, y in stroke.points), radius=8 * stroke.radius)
        for stroke in strokes
    )
    small = session.run(c.Scribble(viewpoint, strokes, THINGS)).selection.mask
    assert overlap(session.run(c.Scribble(large, scaled, THINGS)).selection.mask, small) > 0.9


def test_strokes_are_drawn_where_they_were_and_later_ones_cover_earlier_ones() -> None:
    viewpoint = thing("ball")[1]
    positive, negative = draw_strokes(viewpoint, (c.Stroke(((20.5, 30.5), (60.5, 30.5)), 3.0),))
    rows, columns = np.nonzero(positive)
    assert (rows.min(), rows.max()) == (27, 33)
    assert 16 <= columns.min() <= 18
    assert 63 <= columns.max() <= 65
    assert not negative.any()
    over = (c.Stroke(((20, 30), (60, 30)), 3.0), c.Stroke(((40, 20), (40, 40)), 2.0, False))
    positive, negative = draw_strokes(viewpoint, over)
    assert negative[30, 40]
    assert not positive[30, 40]
    assert positive[30, 25]
    dot, _ = draw_strokes(viewpoint, (c.Stroke(((10.5, 12.5),), 0.5),))
    assert np.argwhere(dot).tolist() == [[12, 10]]
    filled = fill_polygon(viewpoint, ((10, 10), (30, 10), (30, 30), (10, 30)))
    assert abs(int(filled.sum()) - 400) < 45


def test_the_list_of_selections_is_kept_in_order(session: Session) -> None:
    session.run(c.NewSelection("a"))
    session.run(c.NewSelection("b"))
    document = session.document
    assert list(document.selections) == ["selection", "a", "b"]
    assert document.active == "b"
    assert len({named.colour for named in document.selections.values()}) == 3
    session.run(c.Activate("a"))
    session.run(c.Rename("middle"))
    assert list(session.document.selections) == ["selection", "middle", "b"]
    assert session.document.active == "middle"
    session.run(c.Delete("middle"))
    assert session.document.active == "selection"
    session.run(c.Delete("selection"))
    assert list(session.document.selections) == ["b"]
    assert not session.run(c.Show("b", False)).selections["b"].shown
    assert session.run(c.Colour("b", (9, 8, 7))).selections["b"].colour == (9, 8, 7)


def test_what_changes_nothing_is_no_edit(session: Session) -> None:
    for command in (c.ShowAll(), c.Restore(), c.Activate("selection"), c.Rename("selection"), c.Show("selection")):
        before = session.document
        assert session.run(command) is before
    assert session.history.cursor == 0


def test_a_selection_is_saved_and_loaded(session: Session) -> None:
    session.run(scribble("plant"))
    saved = session.document.selection
    path = session.save_selection("again")
    assert session.scene.selections["again"] == path
    with pytest.raises(InputError, match="not overwritten"):
        session.save_selection("again")
    session.save_selection("again", overwrite=True)
    session.run(c.Clear())
    document = session.run(c.Load("again"))
    assert document.active == "again"
    assert torch.equal(document.selection.mask, saved.mask)
    assert torch.equal(document.selection.scores, saved.scores)
    assert document.selection.about["method"] == "random-walker"
    path.unlink()


def test_long_work_does_not_nest_records(session: Session) -> None:
    session.run(rectangle())
    for _ in range(30):
        session.run(c.Grow())
        session.run(c.Shrink())
        session.run(rectangle("plant", combine="add"))
    about = session.document.selection.about
    assert len(c.edits_of(session.document.selection)) == 50
    assert len(json.dumps(dict(about))) < 3000


def refused(session: Session) -> list[tuple[c.Command, str]]:
    """Commands that are well formed and cannot be done here, and what the sentence names."""
    away = c.Viewpoint.of(looking_away(thing("ball")[1].camera))
    middle = (WIDTH / 2, HEIGHT / 2)
    return [
        (replace(scribble(), field="nothing"), "things, words"),
        (replace(scribble(), field="../things"), "no field"),
        (c.Scribble(thing("ball")[1], (c.Stroke(((-50, -50),), 2),), THINGS), "mark no pixel"),
        (c.Click(away, (middle,), field=THINGS), "No Gaussian"),
        (c.Text("ball", THINGS), "cannot read texts"),
        (c.Text("ball", WORDS, "nothing"), "things, words"),
        (c.Similar(THINGS), "no visible"),
        (c.Largest(), "no visible"),
        (c.Hide(), "no visible"),
        (c.Isolate(), "no visible"),
        (c.Remove(), "no visible"),
        (c.NewSelection("selection"), "already"),
        (c.Delete("selection"), "only selection"),
        (c.Delete("nothing"), "no selection"),
        (c.Activate("nothing"), "no selection"),
        (c.Show("nothing"), "no selection"),
        (c.Colour("nothing", (0, 0, 0)), "no selection"),
        (c.Load("nothing"), "saved plant"),
    ]


def looking_away(camera: Any) -> Any:
    turned = camera.world_to_camera.clone()
    turned[[0, 2]] *= -1
    return replace(camera, world_to_camera=turned)


def test_a_command_that_fails_changes_nothing(session: Session) -> None:
    before, was = session.document, copied(session.document)
    heard: list[Document] = []
    stop = session.subscribe(lambda _, after: heard.append(after))
    for command, words in refused(session):
        with pytest.raises(InputError, match=words):
            session.run(command)
        with pytest.raises(InputError, match=words):
            session.amend(command)
        assert session.document is before
        assert session.history.cursor == 0
    stop()
    assert before.equal(was)
    assert heard == []


def test_there_are_not_endlessly_many_selections(session: Session) -> None:
    for index in range(MOST_SELECTIONS - 1):
        session.run(c.NewSelection(f"number {index}"))
    with pytest.raises(InputError, match="delete some"):
        session.run(c.NewSelection("one more"))


def malformed() -> list[Any]:
    """Values that describe no command."""
    good = c.command_to_json(c.Scribble(PLAIN, (c.Stroke(((5, 6), (7, 8)), 2),), THINGS))
    viewpoint, stroke = good["viewpoint"], good["strokes"][0]
    enlarging = [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    return [
        None,
        [],
        "hide",
        {},
        {"kind": "format-disk"},
        {"kind": ["hide"]},
        {"kind": "hide", "extra": 1},
        {"kind": "hide", 3: 1},
        {"kind": "grow", "steps": True},
        {"kind": "grow", "steps": 1.5},
        {"kind": "grow", "steps": "1"},
        {"kind": "grow", "steps": 0},
        {"kind": "grow", "steps": 10**400},
        {"kind": "threshold", "value": float("nan")},
        {"kind": "threshold", "value": float("inf")},
        {"kind": "threshold", "value": -1},
        {"kind": "threshold", "value": None},
        {"kind": "threshold"},
        {"kind": "new-selection", "name": "../../etc/passwd"},
        {"kind": "new-selection", "name": ""},
        {"kind": "new-selection", "name": " "},
        {"kind": "new-selection", "name": "a\nb"},
        {"kind": "new-selection", "name": "\ud800"},
        {"kind": "new-selection", "name": "x" * 10**6},
        {"kind": "new-selection", "name": "a", "colour": [0, 0]},
        {"kind": "new-selection", "name": "a", "colour": [0, 0, 256]},
        {"kind": "load", "name": "/etc/passwd"},
        {"kind": "remove", "margin": -1},
        {"kind": "text", "text": "  ", "field": WORDS},
        {"kind": "text", "text": "ball", "field": WORDS, "negatives": "things"},
        {"kind": "text", "text": "ball", "field": WORDS, "negatives": ["a"] * 51},
        {"kind": "text", "text": "ball", "field": WORDS, "top": 0},
        {"kind": "similar", "field": THINGS, "threshold": 2},
        {**good, "strokes": []},
        {**good, "strokes": [{**stroke, "positive": False}]},
        {**good, "strokes": [stroke] * 501},
        {**good, "strokes": [{**stroke, "points": []}]},
        {**good, "strokes": [{**stroke, "points": [[1, 2, 3]]}]},
        {**good, "strokes": [{**stroke, "points": [[1, 1e9]]}]},
        {**good, "strokes": [{**stroke, "points": [[0, 0]] * 20_001}]},
        {**good, "strokes": [{**stroke, "radius": 0}]},
        {**good, "combine": "xor"},
        {key: value for key, value in good.items() if key != "field"},
        {**good, "method": "magic"},
        {**good, "steps": 5},
        {**good, "bandwidth": 0},
        {**good, "viewpoint": "view_000"},
        {**good, "viewpoint": {**viewpoint, "width": 10**9}},
        {**good, "viewpoint": {**viewpoint, "width": 0}},
        {**good, "viewpoint": {**viewpoint, "K": [[0, 0, 0]] * 3}},
        {**good, "viewpoint": {**viewpoint, "K": [[1, 0], [0, 1]]}},
        {
            **good,
            "viewpoint": {**viewpoint, "world_to_camera": enlarging},
        },
        {**c.command_to_json(c.Click(PLAIN, ((5, 6),), field=THINGS)), "points": []},
        {**c.command_to_json(c.Click(PLAIN, ((5, 6),), field=THINGS)), "points": [[WIDTH + 1, 0]]},
        {**c.command_to_json(c.Rectangle(PLAIN, (1, 2, 3, 4))), "box": [5, 5, 5, 9]},
        {**c.command_to_json(c.Rectangle(PLAIN, (1, 2, 3, 4))), "box": [500, 500, 600, 600]},
        {**c.command_to_json(c.Lasso(PLAIN, ((1, 1), (5, 1), (5, 9)))), "polygon": [[0, 0], [1, 1]]},
    ]


@pytest.mark.parametrize("value", malformed(), ids=lambda value: ascii(value)[:60])
def test_what_is_no_command_gets_one_short_sentence(value: Any) -> None:
    with pytest.raises(InputError) as raised:
        c.command_from_json(value)
    assert len(str(raised.value)) < 500


def test_commands_survive_json() -> None:
    for command in examples():
        text = json.dumps(c.command_to_json(command), allow_nan=False)
        again = c.command_from_json(json.loads(text))
        assert again == command
        assert type(again) is type(command)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_commands_are_refused_or_are_commands(data: st.DataObject) -> None:
    value: Any = c.command_to_json(data.draw(st.sampled_from(examples())))
    for _ in range(data.draw(st.integers(1, 3))):
        value = damaged(value, data)
    try:
        command = c.command_from_json(value)
    except InputError:
        return
    assert c.command_from_json(json.loads(json.dumps(c.command_to_json(command), allow_nan=False))) == command


def damaged(value: Any, data: st.DataObject) -> Any:
    """The value with something in it replaced, taken out or added."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 4)) == 0:
            return {other: item for other, item in value.items() if other != key}
        return {**value, key: damaged(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 3)):
        index = data.draw(st.integers(0, len(value) - 1))
        return [*value[:index], damaged(value[index], data), *value[index + 1 :]]
    return data.draw(JSON)
