"""Scribbles look like a person's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from render.errors import InputError
from tests.corner import STRUCTURE, corner_cameras, corner_renderer
from tests.miniatures import tiny_objects
from uplift.evaluation.scribbles import draw_scribbles, scribble_picture
from uplift.prompts import read_scribbles


def test_scribbles_lie_inside_and_outside_and_repeat() -> None:
    room, (camera,) = corner_renderer(), corner_cameras(1, 480, 360)
    instances = room.render(camera).instances
    for index, thing in enumerate(room.room.things):
        mask, name = instances == index, thing.words.category
        if name in STRUCTURE or mask.sum() < 50:
            continue
        positive, negative = draw_scribbles(mask)
        assert positive.any(), name
        assert not (positive & ~mask).any(), name
        assert negative.any(), name
        assert not (negative & mask).any(), name
        assert positive.sum() < 0.75 * mask.sum(), name
        again = draw_scribbles(mask)
        assert (again[0] == positive).all()
        assert (again[1] == negative).all()
        other = draw_scribbles(mask, seed=1)
        assert (other[1] != negative).any(), name


def test_strokes_reach_from_end_to_end() -> None:
    mask = np.zeros((60, 200), bool)
    mask[20:40, 10:190] = True
    positive, _ = draw_scribbles(mask)
    columns = np.flatnonzero(positive.any(0))
    assert columns.min() < 30
    assert columns.max() > 170


def test_single_pixels_and_whole_pictures_can_be_scribbled_on() -> None:
    mask = np.zeros((30, 40), bool)
    mask[10, 20] = True
    positive, negative = draw_scribbles(mask)
    assert positive.sum() == 1
    assert negative.any()
    whole, none = draw_scribbles(np.ones((30, 40), bool))
    assert whole.any()
    assert not none.any()


def test_a_scribble_picture_is_read_as_it_was_drawn(tmp_path: Path) -> None:
    from PIL import Image

    objects = tiny_objects()
    view = objects.scene.views[0]
    drawn = draw_scribbles(objects.mask(view.name, objects.things[0]))
    Image.fromarray(scribble_picture(*drawn)).save(tmp_path / "scribble.png")
    prompt = read_scribbles(tmp_path / "scribble.png", view)
    assert (prompt.positive == drawn[0]).all()
    assert (prompt.negative == drawn[1]).all()


def test_empty_masks_are_refused() -> None:
    with pytest.raises(InputError, match="0 pixels"):
        draw_scribbles(np.zeros((8, 8), bool))
    with pytest.raises(InputError, match="uint8"):
        draw_scribbles(np.ones((8, 8), np.uint8))
