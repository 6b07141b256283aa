"""What the page is made of, without a browser: strokes that belong together, what is told, names of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.explorer.commands import Clear, Scribble, Stroke, Threshold, Viewpoint
from app.explorer.commands.viewpoint import draw_strokes
from app.explorer.frames import part_at, part_camera, part_columns
from app.explorer.looks import Look
from app.viewer.drawing import CanvasStatus, Drawing
from app.viewer.panels.take import free_path
from app.viewer.prompting import Canvas
from app.viewer.report import told
from app.viewer.scribbling import (
    frame_of,
    last_prompt,
    marks_of,
    outline_inside,
    parts_inside,
    scribble_from,
    with_frame,
)
from app.viewer.shortcuts import MOVING, SHORTCUTS, help_text
from render.errors import InputError
from tests.explorer_room import THINGS, WORDS, explorer_scene, open_session, strokes_on

STATUS = CanvasStatus(width=640, height=480, ratio=1.0, renderer="")


@pytest.fixture
def scribble() -> Scribble:
    viewpoint, strokes = strokes_on("plant")
    return Scribble(viewpoint, strokes[:1], THINGS)


def resized(viewpoint: Viewpoint, factor: float) -> Viewpoint:
    camera = viewpoint.camera
    return Viewpoint.of(camera.resized(round(camera.width * factor), round(camera.height * factor)))


def test_another_stroke_goes_on_with_a_scribble_from_the_same_place_at_any_resolution(scribble: Scribble) -> None:
    assert scribble_from(scribble, scribble.viewpoint) is scribble
    assert scribble_from(scribble, resized(scribble.viewpoint, 2)) is scribble
    assert scribble_from(None, scribble.viewpoint) is None
    assert scribble_from(Clear(), scribble.viewpoint) is None
    assert scribble_from(replace(scribble, combine="add"), scribble.viewpoint) is None
    pose = [list(row) for row in scribble.viewpoint.world_to_camera]
    pose[0][3] += 0.01
    moved = replace(scribble.viewpoint, world_to_camera=tuple(tuple(row) for row in pose))  # type: ignore[arg-type]
    assert scribble_from(scribble, moved) is None
    K = scribble.viewpoint.K
    zoomed = replace(scribble.viewpoint, K=((1.5 * K[0][0], *K[0][1:]), (K[1][0], 1.5 * K[1][1], K[1][2]), K[2]))
    assert scribble_from(scribble, zoomed) is None


def test_a_moved_threshold_does_not_end_a_scribble(tmp_path: Path, scribble: Scribble) -> None:
    session = open_session(explorer_scene(tmp_path))
    assert last_prompt(session.history) is None
    session.run(scribble)
    session.run(Threshold(0.4))
    assert last_prompt(session.history) == scribble
    session.undo()
    session.undo()
    assert last_prompt(session.history) is None
    session.close()


def test_the_border_of_the_view_is_background_once_and_only_with_other_background(scribble: Scribble) -> None:
    viewpoint, own = scribble.viewpoint, scribble.strokes
    assert with_frame(viewpoint, own) == own
    background = Stroke(((5.0, 5.0),), 2.0, positive=False)
    framed = with_frame(viewpoint, (*own, background))
    assert framed == (frame_of(viewpoint), *own, background)
    assert with_frame(viewpoint, framed) == framed
    _, marked = draw_strokes(viewpoint, (frame_of(viewpoint),))
    assert marked[0].all()
    assert marked[-1].all()
    assert marked[:, 0].all()
    assert marked[:, -1].all()
    assert marked.mean() < 0.2


def test_strokes_stay_drawn_at_the_size_of_the_page_without_the_border(scribble: Scribble) -> None:
    viewpoint, (stroke,) = scribble.viewpoint, scribble.strokes
    framed = replace(scribble, strokes=with_frame(viewpoint, (stroke, Stroke(((5.0, 5.0),), 2.0, positive=False))))
    first, second = marks_of(framed, STATUS)
    assert (first.positive, second.positive) == (True, False)
    assert first.points[0] == pytest.approx(
        (stroke.points[0][0] * 640 / viewpoint.width, stroke.points[0][1] * 480 / viewpoint.height)
    )
    assert marks_of(None, STATUS) == []
    assert marks_of(framed, None) == []


def stroke_at(points: tuple[tuple[float, float], ...], *, tool: str = "brush") -> Drawing:
    """What a person draws on a view of 640x480 pixels."""
    return Drawing(
        tool=tool,  # type: ignore[arg-type]
        points=points,
        radius=5,
        positive=True,
        shift=False,
        ctrl=False,
        alt=False,
        width=640,
        height=480,
    )


def test_a_line_is_cut_where_it_leaves_its_columns() -> None:
    line = ((10.0, 0.0), (50.0, 40.0), (70.0, 40.0), (30.0, 0.0), (30.0, 9.0), (-10.0, 9.0))
    first, second = parts_inside(line, 0.0, 60.0)
    assert np.allclose(first, [(10, 0), (50, 40), (60, 40)])
    assert np.allclose(second, [(60, 30), (30, 0), (30, 9), (0, 9)])
    assert parts_inside(line[:2], 0.0, 60.0) == [line[:2]]
    assert parts_inside(((3.0, 4.0),), 0.0, 60.0) == [((3.0, 4.0),)]


def test_an_outline_loses_what_lies_beside_its_columns() -> None:
    triangle = ((40.0, 10.0), (80.0, 10.0), (40.0, 50.0))
    outline = np.array(outline_inside(triangle, 0.0, 60.0))
    assert outline[:, 0].max() == 60
    x, y = outline.T
    area = abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2
    assert area == pytest.approx(0.5 * 40 * 40 - 0.5 * 20 * 20)
    assert outline_inside(triangle, 0.0, 100.0) == triangle


@pytest.mark.parametrize("width", [640, 641])
def test_a_drawing_belongs_to_the_half_in_which_it_began(scribble: Scribble, width: int) -> None:
    camera = scribble.viewpoint.camera.resized(width, 480)
    side = Look(second=Look("depth"), layout="side")
    drawing = stroke_at(((400.0, 100.0), (300.0, 110.0)))
    right = Canvas.under(drawing, side, camera)
    assert (right.half, right.left, right.shown) == (1, 320, width - 320)
    assert Viewpoint.of(right.camera) == Viewpoint.of(part_camera(side, camera))
    assert right.line(drawing)[0][0] == pytest.approx(part_at(side, camera, 400 * width / 640)[2])
    left = Canvas.under(stroke_at(((300.0, 100.0), (400.0, 110.0))), side, camera)
    assert (left.half, left.left, left.shown) == (0, 0, 320)
    for whole in (Look(), replace(side, layout="wipe")):
        over = Canvas.under(drawing, whole, camera)
        assert (over.camera, over.left, over.shown) == (camera, 0, width)


def test_strokes_stay_drawn_on_the_half_where_they_were_drawn(scribble: Scribble) -> None:
    camera = scribble.viewpoint.camera.resized(640, 480)
    side = Look(second=Look("depth"), layout="side")
    for first in ((400.0, 100.0), (200.0, 100.0)):
        drawing = stroke_at((first, (first[0] + 20, 110.0)))
        canvas = Canvas.under(drawing, side, camera)
        (line,) = parts_inside(canvas.line(drawing), 0.0, canvas.shown)
        drawn = Scribble(Viewpoint.of(canvas.camera), (Stroke(line, 5.0),), THINGS)
        low, high = part_columns(side, camera, canvas.half)
        (mark,) = marks_of(drawn, STATUS, lambda _, span=(low / 640, high / 640): span)  # type: ignore[misc]
        assert np.allclose(mark.points, drawing.points, atol=1e-3)


def test_an_error_is_told_without_the_place_of_the_scene(tmp_path: Path) -> None:
    assert (
        told(InputError(f"{tmp_path}/fields/a.safetensors is damaged."), tmp_path) == "fields/a.safetensors is damaged."
    )
    assert told(InputError(f"{tmp_path} has no fields."), tmp_path) == f"{tmp_path.name} has no fields."
    full = OSError(28, "No space left on device", str(tmp_path / "exports" / "a.ply"))
    assert told(full, tmp_path) == "No space left on device: exports/a.ply"


def test_a_taken_name_is_told_in_words_of_the_page(tmp_path: Path) -> None:
    session = open_session(explorer_scene(tmp_path))
    session.save_selection("thing")
    with pytest.raises(
        InputError, match="keeps a selection 'thing' already, which is not overwritten; take another name"
    ) as told:
        session.save_selection("thing")
    assert str(tmp_path) not in str(told.value)
    session.close()


def test_searchers_of_a_field_share_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Words:
        def encode_text(self, texts: list[str]) -> None:
            raise AssertionError

    def load(*_: object) -> Words:
        made.append(Words())
        return made[-1]

    monkeypatch.setattr("app.explorer.resources.text_encoder", load)
    session = open_session(explorer_scene(tmp_path), text_encoders={})
    assert session.searcher(WORDS) is not session.searcher(WORDS, THINGS)
    assert len(made) == 1
    session.close()


def test_files_get_names_that_are_free(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        path = free_path(tmp_path, "plant", ".ply")
        path.touch()
        names.append(path.name)
    assert names == ["plant.ply", "plant-2.ply", "plant-3.ply"]


def test_no_shortcut_is_a_key_that_moves_the_camera() -> None:
    assert not [shortcut for shortcut in SHORTCUTS if shortcut.modifier is None and shortcut.key in MOVING]


def test_no_two_shortcuts_share_a_key_and_the_help_names_all() -> None:
    assert len({(one.key, one.modifier) for one in SHORTCUTS}) == len(SHORTCUTS)
    assert all(one.label in help_text() for one in SHORTCUTS)
    # The longest key is as wide as its column: a gap keeps it from its label.
    assert help_text().count("gap:.8em") == len(SHORTCUTS)
