"""The canvas over the 3D view: what is drawn with the mouse in a real browser arrives, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.viewer.cameras import camera_of
from app.viewer.drawing import CanvasStatus, Drawing, DrawingCanvas
from app.viewer.server import SecureServer, open_server
from render.errors import InputError
from tests.browser import SIZE, canvas_box, drag, new_page, picture, visit, wait

if TYPE_CHECKING:
    import viser
    from playwright.sync_api import Browser, Page
    from torch import Tensor

pytest_plugins = ("tests.browser",)

DRAWING: dict[str, Any] = {
    "kind": "drawing",
    "tool": "brush",
    "points": [[10, 20], [30.5, 40.5]],
    "radius": 12,
    "positive": True,
    "shift": False,
    "ctrl": False,
    "alt": False,
    "width": 640,
    "height": 480,
}


# --- what arrives, without a browser ---


class Nowhere:
    """A server and a client that nobody connects to."""

    client_id = 0
    path = "/nowhere"

    def __init__(self) -> None:
        self._websock_connection = self
        self.sent: list[str] = []

    def open_channel(self, *_: object) -> Nowhere:
        return self

    def queue_message(self, _: object) -> None:
        pass

    def send(self, text: str) -> None:
        self.sent.append(text)


@pytest.fixture
def nowhere() -> tuple[DrawingCanvas, list[Drawing]]:
    drawings: list[Drawing] = []
    ends: Any = Nowhere()
    return DrawingCanvas(ends, ends, drawings.append), drawings


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"tool": "off"},
        {"tool": "pen"},
        {"points": []},
        {"points": [[1, 2, 3]]},
        {"points": [[1, "2"]]},
        {"points": [[-1, 5]]},
        {"points": [[641, 5]]},
        {"points": [[5, 480.01]]},
        {"points": [[1, 1]] * 4097},
        {"points": [[None, 1]]},
        {"tool": "lasso"},
        {"tool": "rectangle", "points": [[1, 1], [2, 2], [3, 3]]},
        {"tool": "point"},
        {"radius": 0},
        {"radius": 257},
        {"radius": "12"},
        {"shift": 1},
        {"width": 0},
        {"width": 640.5},
        {"height": 100_000},
        {"more": 1},
    ],
    ids=str,
)
def test_a_damaged_drawing_is_left_out_and_counted(
    nowhere: tuple[DrawingCanvas, list[Drawing]], change: dict[str, object]
) -> None:
    canvas, drawings = nowhere
    canvas._receive(json.dumps(DRAWING | change))
    assert (canvas.dropped, drawings) == (1, [])
    canvas._receive(json.dumps(DRAWING))
    assert (canvas.dropped, len(drawings)) == (1, 1)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_left_out(nowhere: tuple[DrawingCanvas, list[Drawing]], number: str) -> None:
    canvas, drawings = nowhere
    for text in (json.dumps(DRAWING).replace("30.5", number), json.dumps(DRAWING).replace("12", number)):
        canvas._receive(text)
    assert (canvas.dropped, drawings) == (2, [])


@pytest.mark.parametrize(
    ("shift", "ctrl", "alt", "expected"),
    [
        (False, False, False, "set"),
        (True, False, False, "add"),
        (False, True, False, "subtract"),
        (False, False, True, "subtract"),
        (True, True, False, "subtract"),
    ],
)
def test_the_keys_say_how_a_drawing_combines(shift: bool, ctrl: bool, alt: bool, expected: str) -> None:
    assert drawn(shift=shift, ctrl=ctrl, alt=alt).combine == expected


def test_a_drawing_lies_at_the_same_place_of_a_picture_of_another_size() -> None:
    drawing = drawn()
    assert drawing.points_at(320, 960) == ((5.0, 40.0), (15.25, 81.0))
    assert drawing.radius_at(960) == 24.0


def drawn(**changes: Any) -> Drawing:
    values = {name: value for name, value in (DRAWING | changes).items() if name != "kind"}
    return Drawing(**values)


def test_unknown_tools_and_radii_out_of_range_are_refused(nowhere: tuple[DrawingCanvas, list[Drawing]]) -> None:
    canvas, _ = nowhere
    unknown: Any = "pen"
    with pytest.raises(InputError, match="off, brush, lasso, rectangle, point, found 'pen'"):
        canvas.use(unknown)
    with pytest.raises(InputError, match="1 to 256 pixels, found 500"):
        canvas.use("brush", radius=500)
    assert (canvas.tool, canvas.radius) == ("off", 12.0)


# --- in the browser ---


class Desk:
    """One page with its canvas, and what arrived from it."""

    def __init__(self, server: SecureServer, page: Page) -> None:
        self.server, self.page = server, page
        self.drawings: list[Drawing] = []
        self.radii: list[float] = []
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.client: viser.ClientHandle = visit(page, server)
        self.canvas = self.lay_canvas()

    def lay_canvas(self) -> DrawingCanvas:
        self.canvas = DrawingCanvas(self.server, self.client, self.drawings.append, on_radius=self.radii.append)
        wait(lambda: self.canvas.status, "no canvas appeared", self.page)
        return self.canvas

    def take(self, tool: Any, **options: Any) -> None:
        """Take a tool and wait until the page has it."""
        self.drawings.clear()
        self.canvas.use(tool, **options)
        wants = json.loads(self.canvas._greeting())
        del wants["marks"]
        has = "wants => { const s = fit3dDrawing.state(); return Object.keys(wants).every(k => s[k] === wants[k]) }"
        self.page.wait_for_function(has, arg=wants, polling=50)

    def draw(self, points: list[tuple[float, float]], *held: str) -> Drawing:
        """Draw with keys held, and wait for the drawing."""
        count = len(self.drawings)
        for key in held:
            self.page.keyboard.down(key)
        drag(self.page, points)
        for key in held:
            self.page.keyboard.up(key)
        wait(lambda: len(self.drawings) > count, "no drawing arrived", self.page)
        return self.drawings[-1]

    def pose(self) -> Tensor:
        return camera_of(self.client, 100).world_to_camera

    def moves(self, action: Any) -> bool:
        """Whether the camera moves after something is done; waits for it in vain if not."""
        before = self.pose()
        action()
        for _ in range(25):
            self.page.wait_for_timeout(20)
            if not bool((self.pose() == before).all()):
                self.settle()
                return True
        return False

    def settle(self) -> None:
        """Wait until the camera stands still: it glides on after a drag."""
        while True:
            before = self.pose()
            self.page.wait_for_timeout(300)
            if bool((self.pose() == before).all()):
                return


@pytest.fixture(scope="module")
def server() -> Iterator[SecureServer]:
    """With an access token, so that every page here also proves that it travels."""
    with open_server(port=0, token="for-tests") as server:  # noqa: S106
        server.viser.scene.add_icosphere("/ball", radius=1.0, color=(120, 120, 120))
        yield server


@pytest.fixture(scope="module")
def desk(chromium: Browser, server: SecureServer) -> Iterator[Desk]:
    with new_page(chromium) as page:
        desk = Desk(server, page)
        yield desk
    assert desk.problems == []
    assert desk.canvas.dropped == 0


STROKE: list[tuple[float, float]] = [(100, 300), (150, 320), (200, 380), (260, 400)]


def test_the_page_tells_its_size_and_that_it_draws_in_software(desk: Desk) -> None:
    status = desk.canvas.status
    assert status is not None
    assert (status.width, status.height, status.ratio) == (*SIZE.values(), 1.0)
    assert "SwiftShader" in status.renderer
    assert status.software
    assert not CanvasStatus(1, 1, 1.0, "ANGLE (NVIDIA, GeForce)").software


def test_a_stroke_arrives_where_it_was_drawn_and_the_camera_stays(desk: Desk) -> None:
    desk.take("brush", radius=20)
    stroke: list[Drawing] = []
    assert not desk.moves(lambda: stroke.append(desk.draw(STROKE)))
    # The mouse reports the corner of its pixel; centres are at halves.
    assert stroke[0] == Drawing(
        tool="brush",
        points=tuple((x + 0.5, y + 0.5) for x, y in STROKE),
        radius=20.0,
        positive=True,
        shift=False,
        ctrl=False,
        alt=False,
        width=SIZE["width"],
        height=SIZE["height"],
    )


@pytest.mark.parametrize(("key", "name"), [("Shift", "shift"), ("Control", "ctrl"), ("Alt", "alt")])
def test_keys_that_are_held_are_told(desk: Desk, key: str, name: str) -> None:
    desk.take("brush")
    stroke = desk.draw(STROKE, key)
    assert {held: getattr(stroke, held) for held in ("shift", "ctrl", "alt")} == {
        held: held == name for held in ("shift", "ctrl", "alt")
    }


@pytest.mark.parametrize(
    ("positive", "key", "warm"), [(True, None, True), (False, None, False), (True, "Control", False)]
)
def test_a_stroke_shows_its_colour_and_the_brush_its_radius_while_it_is_drawn(
    desk: Desk, positive: bool, key: str | None, warm: bool
) -> None:
    desk.take("brush", radius=30, positive=positive)
    if key:
        desk.page.keyboard.down(key)
    drag(desk.page, [(100, 500), (300, 500)], release=False)
    desk.page.wait_for_timeout(100)
    shot = picture(desk.page, f"brush {positive} {key}").astype(int)
    desk.page.mouse.up()
    if key:
        desk.page.keyboard.up(key)
    wait(lambda: desk.drawings, "no drawing arrived", desk.page)  # which would reach the next test else
    redness = shot[..., 0] - shot[..., 2]
    coloured = redness > 40 if warm else redness < -40
    # The stroke: a band of twice the radius; the ring goes round its end.
    assert coloured[472:529, 120:280].all()
    assert not coloured[465, 120:280].any()
    assert not coloured[535, 120:280].any()
    assert coloured[500, 329:332].any()
    assert not coloured[500, 336:345].any()


def test_escape_gives_a_stroke_up(desk: Desk) -> None:
    desk.take("brush")
    drag(desk.page, STROKE, release=False)
    desk.page.keyboard.press("Escape")
    desk.page.mouse.up()
    assert desk.draw([(10, 400), (20, 400)]).points == ((10.5, 400.5), (20.5, 400.5))
    assert len(desk.drawings) == 1


def test_brackets_change_the_radius_within_its_bounds(desk: Desk) -> None:
    desk.take("brush", radius=100)
    desk.radii.clear()
    for _ in range(7):
        desk.page.keyboard.press("]")
    desk.page.keyboard.press("[")
    wait(lambda: len(desk.radii) == 8, "the radius did not arrive", desk.page)
    assert desk.radii[0] == 120.0
    assert desk.radii[-2] == 256.0
    assert desk.canvas.radius == desk.radii[-1] == pytest.approx(256 / 1.2, abs=0.1)
    assert desk.draw(STROKE).radius == desk.radii[-1]


def test_the_right_button_and_the_wheel_still_move_the_camera_and_so_does_the_left_with_space(desk: Desk) -> None:
    desk.take("brush")
    assert desk.moves(lambda: drag(desk.page, STROKE, button="right"))
    assert desk.moves(lambda: desk.page.mouse.wheel(0, 200))
    desk.page.keyboard.down("Space")
    assert desk.moves(lambda: drag(desk.page, STROKE))
    desk.page.keyboard.up("Space")
    assert desk.drawings == []
    assert len(desk.draw(STROKE).points) == 4


def test_a_rectangle_arrives_as_two_corners(desk: Desk) -> None:
    desk.take("rectangle")
    assert desk.draw([(300, 400), (100, 350), (200, 300)]).points == ((300.5, 400.5), (200.5, 300.5))


def test_a_lasso_arrives_as_its_polygon_and_ends_at_the_edge_of_the_view(desk: Desk) -> None:
    desk.take("lasso")
    lasso = desk.draw([(50, 400), (50, 500), (-30, 500), (-30, 400)])
    assert lasso.points == ((50.5, 400.5), (50.5, 500.5), (0, 500.5), (0, 400.5))


def test_a_click_is_a_point_and_a_drag_with_the_point_tool_turns_the_camera(desk: Desk) -> None:
    desk.take("point")
    assert desk.moves(lambda: drag(desk.page, STROKE))
    assert desk.draw([(120, 340)]).points == ((120.5, 340.5),)
    assert len(desk.drawings) == 1


def test_without_a_tool_the_left_button_is_the_cameras(desk: Desk) -> None:
    desk.take("off")
    assert desk.moves(lambda: drag(desk.page, STROKE))
    assert desk.drawings == []


def test_a_stroke_of_very_many_points_is_thinned_out_not_lost(desk: Desk) -> None:
    desk.take("brush")
    desk.page.evaluate(
        """() => {
            const canvas = document.getElementById("fit3d-drawing");
            const fire = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
                clientX: x, clientY: y, pointerId: 1, isPrimary: true, button: 0, bubbles: true}));
            canvas.setPointerCapture = () => {};
            fire("pointerdown", 10, 300);
            for (let i = 0; i < 10000; i++) fire("pointermove", 10 + i % 400, 300 + 2 * (i % 2));
            fire("pointerup", 10, 300);
            delete canvas.setPointerCapture;
        }"""
    )
    wait(lambda: desk.drawings, "no drawing arrived", desk.page)
    assert 1000 < len(desk.drawings[0].points) <= 4096
    assert desk.drawings[0].points[0] == (10.5, 300.5)


def test_drawings_can_stay_on_the_canvas_until_they_are_taken_off(desk: Desk) -> None:
    desk.take("brush", radius=20, positive=False)
    desk.canvas.show([desk.draw([(100, 500), (300, 500)])])
    desk.take("off")
    wait(lambda: is_blue(desk, "a mark"), "the mark did not appear", desk.page)
    desk.canvas.show([])
    wait(lambda: not is_blue(desk, "no mark"), "the mark did not go", desk.page)


def is_blue(desk: Desk, name: str) -> bool:
    shot = picture(desk.page, name).astype(int)
    return bool((shot[495:505, 150:250, 2] - shot[495:505, 150:250, 0] > 40).all())


def test_the_camera_of_a_page_looks_where_visers_own_clicks_do(server: SecureServer, page: Page) -> None:
    # A page of its own: where a mouse has moved the camera it glides on by tenths of a pixel that viser does not tell.
    desk, clicks = Desk(server, page), list[Any]()
    desk.client.camera.position = (3.0, -2.0, 1.0)
    desk.client.camera.look_at = (0.3, 0.1, -0.2)
    desk.client.camera.fov = 1.2
    desk.client.scene.on_click()(clicks.append)
    desk.settle()
    for place in [(37, 210), (520, 411), (333, 590)]:
        click = click_until_it_arrives(desk, place, clicks)
        for camera in (camera_of(desk.client, 600), camera_of(desk.client, 77)):
            x, y = click.screen_pos[0] * camera.width, click.screen_pos[1] * camera.height
            ray = np.array([(x - camera.K[0, 2]) / camera.K[0, 0], (y - camera.K[1, 2]) / camera.K[1, 1], 1.0])
            ray = camera.world_to_camera[:3, :3].numpy().T @ (ray / np.linalg.norm(ray))
            np.testing.assert_allclose(ray, click.ray_direction, atol=1e-4)
            np.testing.assert_allclose(camera.centre.numpy(), click.ray_origin, atol=1e-4)


def click_until_it_arrives(desk: Desk, place: tuple[float, float], clicks: list[Any]) -> Any:
    """A click of viser's own: it does not say when a page has learnt that clicks are wanted."""
    left, top, *_ = canvas_box(desk.page)
    clicks.clear()

    def arrived() -> bool:
        if not clicks:
            desk.page.mouse.click(left + place[0], top + place[1])
            desk.page.wait_for_timeout(200)
        return bool(clicks)

    wait(arrived, "no click arrived", desk.page)
    return clicks[-1]


def test_strokes_of_two_pages_go_to_their_own_callbacks(desk: Desk, server: SecureServer, chromium: Browser) -> None:
    with new_page(chromium) as page:
        other = Desk(server, page)
        other.take("brush")
        desk.take("brush")
        assert other.draw(STROKE).points[0] == (100.5, 300.5)
        assert desk.draw(STROKE[1:]).points[0] == (150.5, 320.5)
        assert (len(desk.drawings), len(other.drawings)) == (1, 1)
    wait(lambda: len(server._channels) == 1, "the channel of a page that left is still there", desk.page)


def test_another_size_of_the_window_is_told_and_drawn_on(desk: Desk) -> None:
    desk.page.set_viewport_size({"width": 700, "height": 500})
    wait(lambda: desk.canvas.status and desk.canvas.status.width == 700, "the size did not arrive", desk.page)
    desk.take("brush")
    stroke = desk.draw([(600, 450), (690, 490)])
    assert (stroke.width, stroke.height, stroke.points[-1]) == (700, 500, (690.5, 490.5))
    desk.page.set_viewport_size({"width": SIZE["width"], "height": SIZE["height"]})
    wait(lambda: desk.canvas.status and desk.canvas.status.width == SIZE["width"], "the size did not arrive", desk.page)


def test_a_page_that_connects_again_has_one_canvas_and_it_works(desk: Desk, server: SecureServer) -> None:
    before = set(server.viser.get_clients())
    server.viser._websock_server.disconnect_all_clients()
    wait(lambda: set(server.viser.get_clients()) - before, "the page did not come back", desk.page)
    desk.client = server.viser.get_clients()[max(server.viser.get_clients())]
    desk.lay_canvas()
    desk.take("brush")
    assert desk.page.locator("#fit3d-drawing").count() == 1
    assert len(desk.draw(STROKE).points) == 4
    assert len(desk.drawings) == 1


def test_a_closed_canvas_is_gone_from_the_page(desk: Desk) -> None:
    desk.canvas.close()
    wait(lambda: desk.page.locator("#fit3d-drawing").count() == 0, "the canvas is still there", desk.page)
    desk.lay_canvas()
