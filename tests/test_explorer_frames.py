"""Frames of the explorer: halves, outlines, hidden Gaussians, bands, and the worker that draws them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.explorer.frame_worker import SHARES, FrameWorker, Pace, Quality
from app.explorer.frames import (
    DIVIDER_WIDTH,
    Frame,
    Interrupted,
    frame,
    frame_in_bands,
    frame_with_depth,
    part_at,
    part_camera,
)
from app.explorer.looks import Look, prepare, splats
from app.explorer.pca_focus import focus, scope_of_selection, scope_of_view
from app.pictures import render_colours, render_depth, render_heat, render_rgb
from render.camera import Camera
from render.devices import is_accelerated, resolve_device
from render.errors import InputError
from render.rasterizer import rasterize
from tests.explored import FIELD, HEIGHT, WIDTH, camera, of, select, session
from uplift.selection import BOUNDARY, Selection

RED, BLUE = (255, 0, 0), (0, 0, 255)
LOOKS = {
    "rgb": Look(),
    "pca": Look("pca", field=FIELD),
    "relevancy": Look("relevancy", text="chair"),
    "depth": Look("depth"),
    "opacity": Look("opacity"),
}


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_frames_are_what_the_command_line_renders() -> None:
    shown, view = session(), camera()
    gaussians = shown.gaussians
    drawn = frame_with_depth(shown, Look(), view)
    assert np.array_equal(drawn.image, render_rgb(gaussians, view))
    solid = drawn.depth > 0
    assert np.array_equal(drawn.depth[solid], render_depth(gaussians, view)[solid])
    basis = shown.field(FIELD).colours()
    assert np.array_equal(frame(shown, LOOKS["pca"], view), render_colours(gaussians, view, basis))
    from app.explorer.looks import heat

    levels = heat(shown, LOOKS["relevancy"]).levels
    # Grey is blended before it is rounded here, and after it there.
    assert difference(frame(shown, LOOKS["relevancy"], view), render_heat(gaussians, view, levels)) <= 2


@pytest.mark.parametrize("left", LOOKS)
@pytest.mark.parametrize("right", ["rgb", "pca", "depth"])
def test_the_halves_of_a_wipe_are_those_of_its_looks(left: str, right: str) -> None:
    shown, view = session(), camera()
    select(shown, ("chair", RED))
    both = replace(LOOKS[left], second=LOOKS[right], layout="wipe", split=0.4)
    drawn = frame(shown, both, view)
    column = round(0.4 * WIDTH)
    rim = DIVIDER_WIDTH // 2
    assert difference(drawn[:, : column - rim], frame(shown, LOOKS[left], view)[:, : column - rim]) == 0
    assert difference(drawn[:, column + rim :], frame(shown, LOOKS[right], view)[:, column + rim :]) == 0
    assert (drawn[:, column - rim : column + rim] == 255).all()


@pytest.mark.parametrize("split", [0.0, 1.0])
def test_a_wipe_at_its_end_is_one_look_alone(split: float) -> None:
    shown, view = session(), camera()
    both = replace(LOOKS["pca"], second=LOOKS["depth"], layout="wipe", split=split)
    alone = LOOKS["depth"] if split == 0 else LOOKS["pca"]
    assert np.array_equal(frame(shown, both, view), frame(shown, alone, view))


@pytest.mark.parametrize("width", [WIDTH, WIDTH + 1])
def test_two_looks_side_by_side_show_the_middle_of_the_view_twice(width: int) -> None:
    shown, view = session(), camera(width)
    both = replace(LOOKS["pca"], second=LOOKS["rgb"], layout="side")
    drawn = frame_with_depth(shown, both, view)
    assert drawn.image.shape == (HEIGHT, width, 3)
    assert drawn.depth.shape == (HEIGHT, width)
    half, rim = width // 2, DIVIDER_WIDTH // 2
    part = part_camera(both, view)
    assert part.width == width - half
    left, right = frame(shown, LOOKS["pca"], part), frame(shown, LOOKS["rgb"], part)
    assert difference(drawn.image[:, : half - rim], left[:, : half - rim]) == 0
    assert difference(drawn.image[:, half + rim :], right[:, rim:]) == 0
    # What was in the middle of the view is in the middle of each half.
    whole = frame(shown, LOOKS["rgb"], view)
    assert difference(right[:, 20:40], whole[:, width // 4 + 20 : width // 4 + 40]) <= 8


def test_a_point_of_two_looks_is_found_in_its_own() -> None:
    view = camera()
    wipe = replace(LOOKS["pca"], second=LOOKS["depth"], layout="wipe", split=0.25)
    assert part_at(wipe, view, 29.5)[0].what == "pca"
    assert part_at(wipe, view, 30.5) == (LOOKS["depth"], view, 30.5)
    side = replace(wipe, layout="side")
    look, part, x = part_at(side, view, 70.0)
    assert (look.what, part.width, x) == ("depth", 60, 10.0)
    assert part_at(side, view, 10.0)[2] == 10.0
    assert part_at(LOOKS["rgb"], view, 10.0) == (LOOKS["rgb"], view, 10.0)


def test_hidden_and_removed_gaussians_are_not_drawn() -> None:
    shown, view = session(), camera()
    gone = of("chair") | of("wall")
    shown.show(replace(shown.document, hidden=of("chair"), removed=of("wall")))
    rest = shown.gaussians[~gone]
    assert difference(frame(shown, Look(), view), render_rgb(rest, view)) <= 1
    colours = shown.field(FIELD).colours()[~gone]
    assert difference(frame(shown, LOOKS["pca"], view), render_colours(rest, view, colours)) <= 1
    opacity = rasterize(rest, view).alpha.numpy() * 255
    assert np.abs(frame(shown, LOOKS["opacity"], view)[..., 0] - opacity).max() <= 1
    assert (splats(shown, Look())[1][gone.numpy()] == 0).all()


@pytest.mark.parametrize("what", ["rgb", "pca", "scores"])
def test_a_given_document_is_drawn_whatever_the_session_shows_by_now(what: str) -> None:
    shown, view = session(), camera()
    select(shown, ("chair", RED))
    shown.show(replace(shown.document, hidden=of("wall")))
    look = Look("relevancy") if what == "scores" else LOOKS[what]
    kept, before, splatted = shown.document, frame_with_depth(shown, look, view), splats(shown, look)
    banded = frame_in_bands(shown, look, view, pixels=WIDTH * 32).image
    select(shown, ("table", BLUE))
    shown.show(replace(shown.document, hidden=of("chair")))
    prepare(shown, look, kept)
    assert np.array_equal(frame(shown, look, view, document=kept), before.image)
    assert np.array_equal(frame_with_depth(shown, look, view, document=kept).depth, before.depth)
    assert np.array_equal(frame_in_bands(shown, look, view, pixels=WIDTH * 32, document=kept).image, banded)
    for now, then in zip(splats(shown, look, kept), splatted, strict=True):
        assert np.array_equal(now, then)
    assert not np.array_equal(frame(shown, look, view), before.image)


def test_outlines_follow_the_masks_that_are_written() -> None:
    shown, view = session(), camera()
    select(shown, ("chair", RED), ("rug", BLUE))
    drawn = frame(shown, LOOKS["depth"], view)
    for name, colour in (("chair", RED), ("rug", BLUE)):
        inside = Selection.from_mask(of(name)).render(shown.gaussians, view).numpy() >= BOUNDARY
        line = (drawn == colour).all(2)
        assert line.sum() > 20
        assert not (line & ~inside).any()
        # Every pixel of the line has the outside beside it.
        padded = np.pad(inside, 1, mode="edge")
        core = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).all((2, 3))
        assert not (line & core).any()
    assert not (frame(shown, replace(LOOKS["depth"], overlay=False), view) == RED).all(2).any()


def test_bands_show_what_one_piece_shows() -> None:
    shown, view = session(), camera(240, 180)
    select(shown, ("chair", RED))
    for look in LOOKS.values():
        whole, bands = frame_with_depth(shown, look, view), frame_in_bands(shown, look, view, pixels=240 * 37)
        assert bands.image.shape == whole.image.shape
        apart = np.abs(bands.image.astype(int) - whole.image).max(2)
        assert (apart > 8).mean() < 0.002
        assert np.abs(bands.depth - whole.depth).max() < 0.05


def test_higher_harmonics_are_seen_under_a_selection_too() -> None:
    shown, view = session(), camera()
    shiny = shown.gaussians.with_sh_degree(1)
    sh = shiny.sh.clone()
    sh[:, 1:] = 0.3 * torch.randn(sh[:, 1:].shape, generator=torch.Generator().manual_seed(0))
    shown.gaussians = shiny.with_values(sh=sh)
    plain = frame(shown, Look(), view)
    assert np.array_equal(plain, render_rgb(shown.gaussians, view))
    select(shown, ("vase", RED))
    marked = frame(shown, Look(), view)
    assert np.array_equal(frame(shown, Look(), camera(view=2)), frame(shown, Look(), camera(view=2)))
    assert np.array_equal(frame(shown, Look(), view), marked)
    away = Selection.from_mask(of("vase")).render(shown.gaussians, view).numpy() < 1e-4
    rim = (marked == 255).all(2)
    assert difference(marked[away & ~rim], plain[away & ~rim]) <= 1
    assert difference(marked, plain) > 50


@pytest.mark.gpu
def test_an_accelerator_draws_what_the_cpu_draws() -> None:
    device = resolve_device("auto")
    if not is_accelerated(device):
        pytest.skip("no NVIDIA GPU")
    from app.explorer.asking import best_view
    from app.explorer.inspecting import inspect
    from app.explorer.session import Session
    from render.scene import Scene
    from tests.explored import folder, words

    here = session()
    there = Session(Scene.open(folder()), device=device, autosave=False, text_encoders={FIELD: words()})
    for shown in (here, there):
        select(shown, ("chair", RED), ("rug", BLUE))
        shown.show(replace(shown.document, active="chair", hidden=of("vase")))
    for look in (*LOOKS.values(), replace(LOOKS["rgb"], second=LOOKS["pca"], layout="wipe")):
        apart = np.abs(frame(here, look, camera()).astype(int) - frame(there, look, camera()))
        assert (apart.max(2) > 4).mean() < 0.01
    basis, own = (focus(shown, FIELD, scope_of_view(shown, camera())) for shown in (there, here))
    torch.testing.assert_close(basis.mean, own.mean, rtol=1e-2, atol=1e-3)
    assert focus(there, FIELD, scope_of_selection(there)).components.shape == (3, 32)
    assert best_view(there, of("chair")).view.name == best_view(here, of("chair")).view.name
    found = inspect(there, camera(), 60.5, 45.5, LOOKS["relevancy"])
    assert found is not None
    assert found.ids.device.type == "cpu"


def test_a_cancelled_frame_is_given_up() -> None:
    shown, view = session(), camera()
    with pytest.raises(Interrupted):
        frame(shown, Look(), view, lambda: True)
    asked: list[bool] = []

    def after_two() -> bool:
        asked.append(True)
        return len(asked) > 4

    with pytest.raises(Interrupted):
        frame_in_bands(shown, Look(), view, after_two, pixels=WIDTH * 16)
    assert len(asked) == 5


class Slow(Pace):
    """Half of the resolution fits, whatever was measured."""

    def share(self, pixels: int, budget: float = 0.0) -> float:
        return 0.5


class Painter:
    """Stands for drawing: notes what was drawn, and takes its time where it is told to."""

    def __init__(self, *, heeds: bool = True) -> None:
        self.heeds = heeds  # whether it ends when it is cancelled
        self.before: Callable[[Look], None] = lambda _: None
        self.shown: list[tuple[int, Look]] = []
        self.drawn: list[tuple[Look, int]] = []
        self.delivered: list[tuple[int, Quality]] = []
        self.failures: list[BaseException] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def draw(self, look: Look, view: Camera, cancelled: Callable[[], bool]) -> Frame:
        self.begun.set()
        self.before(look)
        self.gate.wait(30)
        if self.heeds and cancelled():
            raise Interrupted("given up")
        self.drawn.append((look, view.width))
        if look.what == "opacity":
            raise InputError("cannot be drawn")
        return Frame(np.zeros((view.height, view.width, 3), np.uint8), np.zeros((view.height, view.width), np.float32))

    def deliver(self, drawn: Frame, quality: Quality) -> None:
        self.delivered.append((drawn.image.shape[1], quality))
        self.shown.append((drawn.image.shape[1], self.drawn[-1][0]))

    def worker(self, rest: float = 0.05) -> FrameWorker:
        return FrameWorker(session(), self.deliver, failed=self.failures.append, draw=self.draw, rest=rest, pace=Slow())


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does; the test fails if it never does."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def test_a_moving_camera_gets_a_small_frame_and_a_whole_one_when_it_rests() -> None:
    painter = Painter()
    worker = painter.worker()
    worker.request(camera(), Look(), moving=True)
    until(lambda: worker.idle)
    assert [quality for _, quality in painter.delivered] == ["low", "full"]
    assert painter.delivered[0][0] < WIDTH
    assert painter.delivered[1][0] == WIDTH
    worker.close()


def test_a_camera_at_rest_gets_the_whole_frame_at_once() -> None:
    painter = Painter()
    worker = painter.worker()
    worker.request(camera(), Look(), moving=False)
    until(lambda: worker.idle)
    assert painter.delivered == [(WIDTH, "full")]
    worker.close()


def test_only_the_newest_of_waiting_requests_is_drawn() -> None:
    painter = Painter()
    worker = painter.worker()
    painter.gate.clear()
    worker.request(camera(), Look(), moving=False)
    painter.begun.wait(30)
    for what in ("pca", "depth", "rgb"):
        worker.request(camera(), Look(what, field=FIELD), moving=False)
    last = Look("relevancy", text="chair")
    worker.request(camera(), last, moving=False)
    painter.gate.set()
    until(lambda: worker.idle)
    assert [look for look, _ in painter.drawn] == [last]  # what was begun was given up: it is another look
    worker.close()


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("heeds", [False, True])
def test_a_look_that_was_left_is_not_delivered_any_more(moving: bool, heeds: bool) -> None:
    painter = Painter(heeds=heeds)
    worker = painter.worker()
    painter.gate.clear()
    old, new = Look("pca", field=FIELD), Look("pca", field=FIELD, basis=focus(session(), FIELD))
    worker.request(camera(), old, moving=moving)
    painter.begun.wait(30)
    worker.request(camera(), new, moving=True)
    worker.request(camera(view=2), new, moving=moving)
    painter.gate.set()
    until(lambda: worker.idle)
    assert {look for _, look in painter.shown} == {new}
    assert painter.delivered[-1] == (WIDTH, "full")
    worker.close()


def test_a_wipe_that_is_moved_is_followed() -> None:
    painter = Painter()
    worker = painter.worker()
    painter.gate.clear()
    wipe = Look(second=Look("depth"), layout="wipe", split=0.2)
    worker.request(camera(), wipe, moving=False)
    painter.begun.wait(30)
    worker.request(camera(), replace(wipe, split=0.3), moving=False)
    painter.gate.set()
    until(lambda: worker.idle)
    assert [look.split for _, look in painter.shown] == [0.2, 0.3]
    worker.close()


def test_a_stream_of_looks_is_shown_all_the_same() -> None:
    painter = Painter()
    looks = [replace(LOOKS["relevancy"], text=str(number)) for number in range(9)]
    workers: list[FrameWorker] = []

    def next_look(look: Look) -> None:
        number = looks.index(look) + 1
        if number < len(looks):
            workers[0].request(camera(), looks[number], moving=True)

    painter.before = next_look
    workers.append(painter.worker())
    workers[0].request(camera(), looks[0], moving=True)
    until(lambda: workers[0].idle)
    shown = [looks.index(look) for _, look in painter.shown]
    assert shown == sorted(shown)
    assert len(set(shown)) >= 3
    assert shown[-1] == 8
    workers[0].close()


def test_while_the_camera_keeps_moving_every_frame_is_small_and_delivered() -> None:
    painter = Painter()
    worker = painter.worker(rest=30)
    for count in range(1, 6):
        worker.request(camera(), Look(), moving=True)
        until(lambda count=count: len(painter.delivered) == count)  # type: ignore[misc]
    assert {quality for _, quality in painter.delivered} == {"low"}
    worker.close()
    assert len(painter.delivered) == 5


def test_a_whole_frame_is_given_up_when_the_camera_moves_on() -> None:
    painter = Painter()
    worker = painter.worker(rest=0.01)
    worker.request(camera(), Look(), moving=True)
    until(lambda: len(painter.delivered) == 1)
    painter.begun.clear()
    painter.gate.clear()
    # It waited before the gate was shut, or it has drawn the whole frame already: move once more, then.
    worker.request(camera(), Look(), moving=True)
    painter.begun.wait(30)
    worker.request(camera(), Look("depth"), moving=True)
    painter.gate.set()
    until(lambda: worker.idle)
    assert painter.drawn[-1] == (Look("depth"), WIDTH)
    assert painter.delivered[-1] == (WIDTH, "full")
    worker.close()


def test_what_cannot_be_drawn_is_told_once_and_drawing_goes_on() -> None:
    painter = Painter()
    worker = painter.worker()
    for _ in range(3):
        worker.request(camera(), Look("opacity"), moving=False)
        until(lambda: worker.idle)
    assert [str(error) for error in painter.failures] == ["cannot be drawn"]
    worker.request(camera(), Look(), moving=False)
    until(lambda: worker.idle)
    assert painter.delivered == [(WIDTH, "full")]
    worker.request(camera(), Look("opacity"), moving=False)
    until(lambda: worker.idle)
    assert len(painter.failures) == 2
    worker.close()


def test_closing_in_the_middle_waits_and_delivers_nothing_more() -> None:
    painter = Painter()
    worker = painter.worker(rest=30)
    painter.gate.clear()
    worker.request(camera(), Look(), moving=True)
    painter.begun.wait(30)
    closing = threading.Thread(target=worker.close)
    closing.start()
    painter.gate.set()
    closing.join(30)
    assert not closing.is_alive()
    assert painter.delivered == []
    worker.request(camera(), Look(), moving=False)
    assert worker.idle or painter.delivered == []
    worker.close()


def test_a_client_that_closes_itself_while_it_gets_a_frame_does_not_wait_for_itself() -> None:
    painter = Painter()
    workers: list[FrameWorker] = []
    worker = FrameWorker(session(), lambda *_: workers[0].close(), draw=painter.draw)
    workers.append(worker)
    worker.request(camera(), Look(), moving=False)
    until(lambda: worker.idle)


def test_a_real_scene_is_drawn_by_the_worker() -> None:
    frames: list[tuple[Frame, Quality]] = []
    shown = session()
    worker = FrameWorker(shown, lambda *one: frames.append(one), rest=0.01, pace=Slow())
    worker.request(camera(), LOOKS["pca"], moving=True)
    until(lambda: worker.idle and bool(frames))
    worker.close()
    assert frames[-1][1] == "full"
    assert np.array_equal(frames[-1][0].image, frame(shown, LOOKS["pca"], camera()))
    assert frames[0][0].image.shape[1] < WIDTH


def test_the_pace_finds_the_largest_size_that_fits() -> None:
    pace = Pace()
    whole = 1280 * 720
    for pixels in (100_000, 400_000):
        pace.note(pixels, 0.01 + 1e-7 * pixels)  # 102 ms for the whole picture
    assert pace.seconds(whole) == pytest.approx(0.102, rel=0.01)
    share = pace.share(whole, 0.05)
    assert share == 0.5
    assert 0.01 + 1e-7 * whole * share**2 <= 0.05


def test_the_pace_does_not_shrink_frames_whose_time_does_not_depend_on_their_size() -> None:
    pace = Pace()
    for pixels in (100_000, 400_000, 900_000):
        pace.note(pixels, 0.045)
    assert pace.share(900_000, 0.05) >= SHARES[1]


def test_the_pace_stays_where_two_sizes_are_about_as_good() -> None:
    pace = Pace()
    chosen = []
    for turn in range(8):
        # The whole picture takes 48 or 52 ms of 50: it would flicker between two sizes.
        seconds = 0.048 if turn % 2 else 0.052
        pace.note(400_000, seconds)
        pace.note(100_000, seconds / 4)
        chosen.append(pace.share(400_000, 0.05))
    assert len(set(chosen)) == 1
