"""Masks, scribbles, clicks and boxes as marked pixels of the undistorted view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from render import Camera, InputError
from render.undistortion import Lens
from render.views import View
from uplift.prompts import Prompt, box_on_photo, clicks_on_photo, read_mask, read_scribbles

WIDTH, HEIGHT = 80, 60
RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 255)


def disc() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.hypot(x - 45, y - 28) < 14


@pytest.fixture
def view() -> View:
    K = torch.tensor([[70.0, 0, WIDTH / 2], [0, 70.0, HEIGHT / 2], [0, 0, 1]])
    return View("photo", Camera(K, torch.eye(4), WIDTH, HEIGHT), lambda: np.zeros((HEIGHT, WIDTH, 3), np.uint8))


@pytest.fixture
def bent() -> View:
    """A view whose photo is distorted, so that it lacks a margin."""
    lens = Lens("opencv", 70.0, 70.0, 40.0, 30.0, WIDTH, HEIGHT, (-0.3, 0.08, 0.0, 0.0))
    return View.from_photo_file("bent", Path("bent.png"), lens, np.eye(4))


def write(path: Path, image: np.ndarray) -> Path:
    from PIL import Image

    Image.fromarray(image).save(path)
    return path


def test_every_other_pixel_of_a_mask_is_background(view: View) -> None:
    mask = disc()
    prompt = Prompt.from_mask(view, mask)
    assert (prompt.kind, prompt.complete) == ("mask", True)
    assert np.array_equal(prompt.positive, mask)
    assert np.array_equal(prompt.negative, ~mask)
    mask[:] = False
    assert prompt.positive.any(), "the caller's array is not shared"


def test_scribbles_mark_only_what_was_drawn(view: View) -> None:
    positive, negative = np.zeros((2, HEIGHT, WIDTH), dtype=np.uint8)
    positive[20, 30:40], negative[50, 5:70] = 255, 1
    prompt = Prompt.from_scribbles(view, positive, negative)
    assert (prompt.positive.sum(), prompt.negative.sum(), prompt.complete) == (10, 65, False)
    assert Prompt.from_scribbles(view, positive).negative.sum() == 0


def test_clicks_become_discs_and_a_pixel_belongs_to_the_nearer_click(view: View) -> None:
    prompt = Prompt.from_clicks(view, np.array([[20.5, 30.5]]), np.array([[24.5, 30.5], [70.0, 10.0]]), radius=3)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    to_object, to_other = np.hypot(x - 20.5, y - 30.5), np.hypot(x - 24.5, y - 30.5)
    assert np.array_equal(prompt.positive, (to_object <= 3) & (to_object <= to_other))
    assert not prompt.positive[30, 23]
    assert prompt.negative[30, 23]
    assert prompt.negative[10, 69]
    assert prompt.positive_clicks.tolist() == [[20.5, 30.5]]
    assert len(prompt.negative_clicks) == 2
    assert prompt.radius == 3


def test_a_click_always_marks_a_pixel(view: View) -> None:
    prompt = Prompt.from_clicks(view, [[20.0, 30.0], [79.99, 59.99]], radius=0.1)  # type: ignore[arg-type]
    assert prompt.positive[29:31, 19:21].all()
    assert prompt.positive[59, 79]


def test_a_box_marks_its_middle_and_everything_outside(view: View) -> None:
    prompt = Prompt.from_box(view, (25.0, 8.0, 66.0, 48.0))
    assert (prompt.kind, prompt.complete) == ("box", False)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert np.array_equal(prompt.negative, (x < 25) | (x > 66) | (y < 8) | (y > 48))
    assert np.array_equal(prompt.positive, np.hypot((x - 45.5) / 20.5, (y - 28) / 20) <= 0.5)
    over = Prompt.from_box(view, (-30.0, 10.2, 20.0, 70.0))
    assert np.array_equal(over.negative, (x > 20) | (y < 10))
    thin = Prompt.from_box(view, (10.0, 20.0, 12.0, 50.0))
    assert thin.positive.any()
    assert not (thin.positive & thin.negative).any()


def test_a_box_on_a_distorted_photo_keeps_all_that_is_in_it(bent: View) -> None:
    box = (12.0, 9.0, 60.0, 50.0)
    x0, y0, x1, y1 = box_on_photo(bent, box)
    inside = np.random.default_rng(0).uniform(box[:2], box[2:], (500, 2))
    points = bent.undistort_points(inside)
    assert ((points >= (x0, y0)) & (points <= (x1, y1))).all()
    shrunk = [(x0 + 2, y0, x1, y1), (x0, y0 + 2, x1, y1), (x0, y0, x1 - 2, y1), (x0, y0, x1, y1 - 2)]
    edges = bent.undistort_points(np.random.default_rng(0).uniform(box[:2], box[2:], (20000, 2)))
    for low_x, low_y, high_x, high_y in shrunk:
        assert not ((edges >= (low_x, low_y)) & (edges <= (high_x, high_y))).all()
    whole = box_on_photo(bent, (-10.0, 0.0, 200.0, 60.0))
    assert whole == (0, 0, bent.camera.width, bent.camera.height)
    with pytest.raises(InputError, match="holds nothing"):
        box_on_photo(bent, (90.0, 0.0, 99.0, 60.0))


def test_clicks_on_a_distorted_photo_land_where_the_view_shows_them(bent: View) -> None:
    pixels = np.array([[40, 30], [60, 12], [20, 45]])
    points = clicks_on_photo(bent, pixels)
    assert np.allclose(bent.distort_points(points), pixels + 0.5, atol=1e-3)
    with pytest.raises(InputError, match=r"\(80, 0\) lies outside the photo"):
        clicks_on_photo(bent, np.array([[80, 0]]))
    with pytest.raises(InputError, match="margin"):
        clicks_on_photo(bent, np.array([[0, 0]]))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((10, 10, 10, 20), "holds nothing"),
        ((30, 30, 20, 20), "holds nothing"),
        ((90, 5, 120, 30), "holds nothing"),
        ((-5, -5, 200, 200), "whole view"),
        ((float("nan"), 1, 5, 5), "four numbers"),
    ],
)
def test_boxes_that_hold_nothing_or_everything_are_refused(
    view: View, box: tuple[float, float, float, float], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Prompt.from_box(view, box)


def test_prompts_that_mark_nothing_or_do_not_fit_are_refused(view: View) -> None:
    nothing = np.zeros((HEIGHT, WIDTH), dtype=bool)
    with pytest.raises(InputError, match="marks no pixel"):
        Prompt.from_mask(view, nothing)
    with pytest.raises(InputError, match="whole view"):
        Prompt.from_mask(view, ~nothing)
    with pytest.raises(InputError, match=r"\[60, 80\]"):
        Prompt.from_mask(view, disc().T)
    with pytest.raises(InputError, match="both"):
        Prompt.from_scribbles(view, disc(), disc())
    with pytest.raises(InputError, match="found none"):
        Prompt.from_clicks(view, np.empty((0, 2)))
    with pytest.raises(InputError, match=r"\(80, 3\) lies outside"):
        Prompt.from_clicks(view, np.array([[80.0, 3.0]]))
    with pytest.raises(InputError, match=r"outside"):
        Prompt.from_clicks(view, np.array([[8.0, 3.0]]), np.array([[np.nan, 1.0]]))
    with pytest.raises(InputError, match="radius"):
        Prompt.from_clicks(view, np.array([[8.0, 3.0]]), radius=0)


def test_scribble_pictures_are_red_and_blue_on_nothing(view: View, tmp_path: Path) -> None:
    image = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    image[10, 5:25] = RED
    image[50, 5:45] = BLUE
    image[30, 5:45] = (0, 255, 0, 255)
    image[31, 5:45] = (255, 0, 0, 40)
    prompt = read_scribbles(write(tmp_path / "s.png", image), view)
    assert (prompt.positive.sum(), prompt.negative.sum(), prompt.kind) == (20, 40, "scribbles")
    assert prompt.positive[10, 5:25].all()


def test_drawings_on_a_distorted_photo_land_where_the_view_shows_it(bent: View, tmp_path: Path) -> None:
    mask = disc().astype(np.uint8) * 255
    prompt = read_mask(write(tmp_path / "m.png", mask), bent)
    assert prompt.positive.shape == (bent.camera.height, bent.camera.width)
    y, x = np.nonzero(prompt.positive)
    photo = bent.distort_points(np.stack([x + 0.5, y + 0.5], axis=1))
    assert (np.hypot(photo[:, 0] - 45, photo[:, 1] - 28) < 14.8).all()
    scribbles = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    scribbles[disc()] = RED
    scribbles[0, :] = BLUE
    marked = read_scribbles(write(tmp_path / "s.png", scribbles), bent)
    assert np.array_equal(marked.positive, prompt.positive)


def bad_drawings(folder: Path) -> dict[str, np.ndarray]:
    empty = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    blue, ones = empty.copy(), np.zeros((HEIGHT, WIDTH), np.uint8)
    blue[5, 5:9], ones[5, 5:9] = BLUE, 1
    return {"empty": empty, "blue": blue, "ones": ones, "opaque": np.full_like(empty, 255), "small": empty[:40]}


@pytest.mark.parametrize(
    ("name", "read", "words"),
    [
        ("empty", read_scribbles, "no red pixel"),
        ("blue", read_scribbles, "no red pixel"),
        ("opaque", read_scribbles, "no transparent pixel"),
        ("small", read_scribbles, "80x60, found 80x40"),
        ("ones", read_mask, "found at most 1"),
        ("opaque", read_mask, "covers the whole view"),
        ("small", read_mask, "80x60, found 80x40"),
        ("missing", read_mask, "no file"),
        ("missing", read_scribbles, "no file"),
        ("text", read_mask, "cannot be read"),
        ("deep", read_mask, "8 bits"),
    ],
)
def test_bad_drawings_get_a_sentence(view: View, tmp_path: Path, name: str, read: object, words: str) -> None:
    path = tmp_path / f"{name}.png"
    drawings = bad_drawings(tmp_path)
    if name in drawings:
        write(path, drawings[name])
    elif name == "text":
        path.write_text("not a picture")
    elif name == "deep":
        write(path, np.full((HEIGHT, WIDTH), 65535, np.uint16))
    assert callable(read)
    with pytest.raises(InputError, match=words):
        read(path, view)


def test_a_mark_in_the_margin_that_the_view_lacks_gets_a_sentence(bent: View, tmp_path: Path) -> None:
    corner = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    corner[0, 0] = RED
    with pytest.raises(InputError, match="lacks the photo's margin"):
        read_scribbles(write(tmp_path / "s.png", corner), bent)
