"""Photos in a page, without a browser: of any shape, and damaged ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from app.viewer.photos import THUMBNAIL, WIDEST_THUMBNAIL, Photos, _thumbnail
from render.scene import Scene
from tests.explorer_room import explorer_scene


def comparing(photo: Any) -> Photos:
    """A page that has a photo laid over its picture."""
    photos = Photos(SimpleNamespace())  # type: ignore[arg-type]
    photos._image, photos.share = photo, 1.0
    return photos


def test_a_photo_lies_over_the_middle_at_its_full_height() -> None:
    photo = np.zeros((30, 40, 3), np.uint8)
    photo[:, :20], photo[:, 20:] = 50, 200
    below = np.full((60, 100, 3), 7, np.uint8)
    seen = comparing(photo).blended(below)
    assert (seen[:, :10] == 7).all()
    assert (seen[:, 10:50] == 50).all()
    assert (seen[:, 50:90] == 200).all()
    assert (seen[:, 90:] == 7).all()
    # In a narrow window its sides are cut off.
    seen = comparing(photo).blended(np.full((60, 20, 3), 7, np.uint8))
    assert (seen[:, :10] == 50).all()
    assert (seen[:, 10:] == 200).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 8192), (8192, 1), (3, 5)])
def test_photos_of_any_shape_are_compared_without_much_memory(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    original = cv2.resize

    def noting(*given: Any, **options: Any) -> Any:
        result = original(*given, **options)
        made.append(result.size)
        return result

    monkeypatch.setattr(cv2, "resize", noting)
    seen = comparing(np.full((*shape, 3), 9, np.uint8)).blended(np.zeros((270, 480, 3), np.uint8))
    assert seen.shape == (270, 480, 3)
    assert (seen[135, 239] == 9).all()
    assert max(made) <= seen.size


def test_a_photo_that_is_damaged_or_gone_has_a_frustum_without_a_picture(tmp_path: Path) -> None:
    scene = Scene.open(explorer_scene(tmp_path))
    first, second, third = scene.views[:3]
    small = _thumbnail(first)
    assert small is not None
    assert small.shape[0] == THUMBNAIL
    assert second.path is not None
    second.path.write_bytes(second.path.read_bytes()[:50])
    assert _thumbnail(second) is None
    assert third.path is not None
    third.path.unlink()
    assert _thumbnail(third) is None
    wide = _thumbnail(replace(first, image=lambda: np.zeros((1, 8192, 3), np.uint8)))
    assert wide is not None
    assert wide.shape == (THUMBNAIL, WIDEST_THUMBNAIL, 3)
