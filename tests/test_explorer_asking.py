"""Points are inspected, objects found, and photos that show them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from app.explorer.asking import Histogram, best_view, score_histogram, top_objects
from app.explorer.inspecting import inspect
from app.explorer.looks import Look, heat
from app.pictures import render_depth
from render.camera import Camera
from render.errors import InputError
from render.rasterizer import contributions
from tests.explored import camera, of, room, select, session
from uplift.selection import Selection

RED = (255, 0, 0)


def on_the_chair() -> tuple[Camera, float, float]:
    """A view and a pixel of it that shows the chair's seat or back."""
    thing = room().names.index("chair")
    name = room().best_view(thing)
    distances = cv2.distanceTransform(room().mask(name, thing).astype(np.uint8), cv2.DIST_L2, 3)
    row, column = divmod(int(distances.argmax()), distances.shape[1])
    return room().scene.view(name).camera, column + 0.5, row + 0.5


@pytest.mark.parametrize("place", [(60.5, 45.5), (20.2, 70.9), (100.0, 12.0)])
def test_a_point_shows_the_gaussians_that_the_renderer_blends_there(place: tuple[float, float]) -> None:
    shown, view = session(), camera()
    found = inspect(shown, view, *place)
    assert found is not None
    listed = contributions(shown.gaussians, view)
    pixel = int(place[1]) * view.width + int(place[0])
    first, last = listed.offsets[pixel], listed.offsets[pixel + 1]
    expected = dict(zip(listed.ids[first:last].tolist(), listed.weights[first:last].tolist(), strict=True))
    assert dict(zip(found.ids.tolist(), found.weights.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)
    assert (found.weights.diff() <= 0).all()
    assert found.alpha == pytest.approx(sum(expected.values()), abs=1e-5)


def test_the_point_lies_on_the_surface_under_the_cursor() -> None:
    shown, view = session(), camera()
    found = inspect(shown, view, 60.5, 45.5)
    assert found is not None
    assert found.depth == pytest.approx(float(render_depth(shown.gaussians, view)[45, 60]), rel=0.1)
    local = view.world_to_camera @ torch.cat([found.point, torch.ones(1)])
    pixel = view.K @ local[:3]
    assert (pixel[:2] / pixel[2]).tolist() == pytest.approx([60.5, 45.5], abs=1e-2)
    assert float(local[2]) == pytest.approx(found.depth, rel=1e-4)


def test_the_relevancy_of_a_point_is_that_of_its_gaussians_and_its_selections_are_named() -> None:
    shown = session()
    view, x, y = on_the_chair()
    select(shown, ("chair", RED), ("vase", RED))
    look = Look("relevancy", text="chair")
    found = inspect(shown, view, x, y, look)
    assert found is not None
    scores = heat(shown, look).scores[found.ids]
    assert found.relevancy == pytest.approx(float((scores * found.weights).sum() / found.weights.sum()), rel=1e-5)
    assert found.relevancy > 0.7
    assert found.selections == ("chair",)
    plain = inspect(shown, view, x, y)
    assert plain is not None
    assert plain.relevancy is None


def test_nothing_is_found_where_nothing_is_and_what_is_hidden_is_not_there() -> None:
    shown = session()
    view, x, y = on_the_chair()
    whole = inspect(shown, view, x, y)
    assert whole is not None
    chair = of("chair")
    assert chair[whole.ids[0]]
    shown.show(replace(shown.document, hidden=chair))
    behind = inspect(shown, view, x, y)
    assert behind is not None
    assert behind.depth > whole.depth
    assert not chair[behind.ids].any()
    shown.show(replace(shown.document, hidden=torch.ones(shown.n, dtype=torch.bool)))
    assert inspect(shown, view, x, y) is None
    with pytest.raises(InputError, match="outside"):
        inspect(shown, view, 500, 10)


def test_objects_are_connected_parts_the_best_first() -> None:
    shown = session()
    scores = torch.zeros(shown.n)
    for name, score in (("chair", 0.7), ("vase", 0.9), ("picture", 0.8)):
        scores[of(name)] = score
    scores[of("floor").nonzero()[0, 0]] = 1.0  # a crumb
    found = top_objects(shown, Selection.from_scores(scores), scores, most=2)
    assert [round(one.score, 3) for one in found] == [0.9, 0.8]
    for one, name in zip(found, ("vase", "picture"), strict=True):
        inside = of(name)
        assert (one.mask & inside).sum() / (one.mask | inside).sum() > 0.8
        assert one.count == int(one.mask.sum())
        points = shown.gaussians.means[inside]
        assert (one.centre - points.median(0).values).norm() < 0.1
        assert (one.extent <= points.amax(0) - points.amin(0) + 1e-6).all()
    assert len(top_objects(shown, Selection.from_scores(scores), scores, most=10)) >= 3
    assert top_objects(shown, Selection.from_mask(torch.zeros(shown.n, dtype=torch.bool))) == []


@pytest.mark.parametrize("name", ["chair", "rug", "picture", "desk"])
def test_the_best_view_shows_nearly_the_most_of_a_thing(name: str) -> None:
    names = room().names
    known = name if name in names else next(one for one in names if "table" in one or "desk" in one)
    thing = names.index(known)
    found = best_view(session(), of(known))
    seen = {view: int(room().mask(view, thing).sum()) for view in room().maps}
    assert seen[found.view.name] >= 0.8 * max(seen.values())
    pixels = room().maps[found.view.name].size
    assert found.share == pytest.approx(seen[found.view.name] / pixels, rel=0.4)
    assert 0.5 < found.whole <= 1


def test_the_best_view_needs_something_to_show() -> None:
    shown = session()
    with pytest.raises(InputError, match="select something first"):
        best_view(shown, torch.zeros(shown.n, dtype=torch.bool))
    shown.show(replace(shown.document, hidden=of("chair")))
    with pytest.raises(InputError, match="select something first"):
        best_view(shown, of("chair"))


def test_a_histogram_counts_scores_and_what_lies_above_a_threshold() -> None:
    shown = session()
    look = Look("relevancy", text="chair")
    found = score_histogram(shown, look)
    scores = heat(shown, look).scores
    assert found.counts.sum() == shown.n
    for threshold in (0.3, 0.5, 0.8):
        above = int((scores > threshold).sum())
        assert found.above(threshold) == pytest.approx(above, abs=max(20, 0.1 * above))
    assert found.above(-1) == shown.n
    assert found.above(2) == 0
    shown.show(shown.document.with_selection(Selection.from_mask(of("chair"))))
    own = score_histogram(shown)
    assert own.counts[-1] == int(of("chair").sum())
    assert own.counts[0] == shown.n - own.counts[-1]


def test_the_picture_of_a_histogram_tells_what_a_threshold_takes() -> None:
    found = Histogram(np.array([100, 0, 10, 50]), np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    picture = found.picture(0.5, width=200, height=50)
    assert picture.shape == (50, 200, 3)
    bars = (picture != 255).any(2)
    heights = bars.sum(0)
    assert heights[20] > heights[180] > heights[120] > heights[70] == 0
    assert (picture[-1, 20] != picture[-1, 180]).any()
