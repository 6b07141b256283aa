"""Clients that mean harm: the server drops them, tells nobody's terminal, and goes on answering the others."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import string
import threading
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from typing import Any

import msgspec
import psutil
import pytest
import viser
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from app.viewer.cameras import camera_of
from app.viewer.channel import Channel
from app.viewer.drawing import Drawing, DrawingCanvas
from app.viewer.server import MAX_CONNECTIONS, MAX_MESSAGE, SecureServer, open_server
from render.errors import InputError
from tests.viser_page import CAMERA, close_code, connected, encoded, until, updated, visiting

MARGIN = 24 * 2**20  # bytes that may stay: pages of the allocator, and threads that were started
TRUE_KINDS = ("ViewerCameraMessage", "GuiUpdateMessage", "ScenePointerMessage", "SceneNodeClickMessage")
OTHER_KINDS = ("RunJavascriptMessage", "BackgroundImageMessage", "GuiFormDirtyMessage", "ShareUrlRequest", "Message")


@pytest.fixture
def server(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[SecureServer]:
    """A server whose terminal must stay free of tracebacks, whatever a test does to it."""
    with open_server(port=0) as server:
        server.viser.scene.add_icosphere("/ball", radius=1.0)
        yield server
    gc.collect()  # asyncio tells of failed tasks when they are collected
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "Traceback" not in printed
    assert "Exception" not in printed


class Honest:
    """A page whose slider is watched."""

    def __init__(self, server: SecureServer, page: ClientConnection, client: viser.ClientHandle) -> None:
        self.server, self.page, self.client = server, page, client
        self.slider = server.viser.gui.add_slider("honest", min=0.0, max=1e6, step=1.0, initial_value=0.0)
        self.count = 0

    def is_answered(self) -> bool:
        """Use the slider and ask for the page; both must work."""
        self.count += 1
        self.page.send(updated(self.slider._impl.uuid, float(self.count)))
        until(lambda: self.slider.value == self.count)
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request("GET", "/")
        status = connection.getresponse().status
        connection.close()
        return status == 200


@pytest.fixture
def honest(server: SecureServer) -> Iterator[Honest]:
    with visiting(server) as (page, client):
        yield Honest(server, page, client)


def memory() -> int:
    """Bytes that the process holds, after everything that can be freed was."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL("libc.so.6").malloc_trim(0)  # or the allocator keeps what is free
    return int(psutil.Process(os.getpid()).memory_info().rss)


def living(kind: type) -> int:
    """How many objects of a kind there are."""
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def anything(random: random.Random, depth: int = 3) -> Any:
    """A random value of any type that a message can carry."""
    kind = random.randrange(10 if depth else 7)
    if kind >= 9:
        return {anything_short(random): anything(random, depth - 1) for _ in range(random.randrange(5))}
    if kind >= 7:
        return [anything(random, depth - 1) for _ in range(random.randrange(6))]
    numbers = [0, -1, 2**63, 1e308, float("nan"), float("inf"), random.random()]
    return [None, True, random.choice(numbers), anything_short(random), b"\x00" * random.randrange(50), "x" * 5000, -7][
        kind
    ]


def anything_short(random: random.Random) -> str:
    return "".join(random.choices(string.printable + "é\u202e\x00", k=random.randrange(12)))


def damaged(random: random.Random, number: int) -> bytes | str:
    """Bytes, texts, and messages that are nearly right."""
    kind = number % 5
    if kind == 0:
        return random.randbytes(random.randrange(200))
    if kind == 1:
        return anything_short(random)
    if kind == 2:
        return encoded(anything(random))
    if kind == 3:  # a true message with one field replaced
        message: dict[str, Any] = dict(CAMERA)
        message[random.choice(list(message))] = anything(random)
        return encoded(message)
    message = {"type": random.choice(TRUE_KINDS + OTHER_KINDS), "uuid": "x", "updates": anything(random)}
    return encoded(message | {anything_short(random): anything(random)})


def test_a_thousand_random_and_damaged_messages_leave_the_server_as_it_was(
    server: SecureServer, honest: Honest
) -> None:
    dice = random.Random(0)  # noqa: S311 - the same messages every time
    before = memory()
    for number in range(1000):
        with contextlib.suppress(ConnectionClosed), connected(server) as page:
            page.send(encoded(CAMERA))
            page.send(damaged(dice, number))
            page.send(encoded(CAMERA))
        if number % 100 == 0:
            assert honest.is_answered()
    assert honest.is_answered()
    until(lambda: len(server.viser.get_clients()) == 1)
    assert server.dropped["malformed"] > 500
    assert memory() < before + MARGIN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million items
        b"\xc6\xff\xff\xff\xff",  # four gigabytes
        b"\x91" * 100_000,  # arrays in arrays
        b"\xa3\xff\xff\xff",  # a text that is none
        b"\xd6\xff\x00\x00\x00\x00",  # a date
        b"\x81\x90\x01",  # a list as key
        encoded([1, 2]),
        encoded({}),
        encoded({"type": "NoSuchMessage"}),
        encoded({"type": ["ViewerCameraMessage"]}),
        encoded({"type": "RunJavascriptMessage", "source": "alert(1)"}),
        encoded(CAMERA | {"wxyz": [1.0, 0.0]}),
        encoded(CAMERA | {"fov": "wide"}),
        encoded(CAMERA | {"image_height": 1.5}),
        encoded(CAMERA | {"more": 1}),
        encoded({"type": "ViewerCameraMessage"}),
        encoded({"type": "GuiUpdateMessage", "uuid": 1, "updates": {}}),
        encoded({"type": "GuiUpdateMessage", "uuid": "1", "updates": {"update_cb": []}}),
        "text",
    ],
    ids=range(21),
)
def test_a_damaged_message_ends_its_own_connection_only(
    server: SecureServer, honest: Honest, data: bytes | str
) -> None:
    with visiting(server) as (page, _):
        page.send(data)
        assert close_code(page) == 1008
    assert honest.is_answered()


def test_a_camera_that_is_not_finite_or_absurd_is_left_out(server: SecureServer, honest: Honest) -> None:
    with visiting(server) as (page, client):
        for value in (float("nan"), float("inf"), 1e300):
            page.send(encoded(CAMERA | {"position": [value, 0.0, 0.0]}))
        page.send(encoded(CAMERA | {"fov": 0.5}))
        until(lambda: client.camera.fov == 0.5)
        assert client.camera.position.tolist() == CAMERA["position"]
    assert server.dropped["ignored"] == 3


def test_an_oversized_message_ends_its_own_connection_only(server: SecureServer, honest: Honest) -> None:
    before = memory()
    for _ in range(5):
        with visiting(server) as (page, _client):
            with contextlib.suppress(ConnectionClosed):
                page.send(b"\x00" * (MAX_MESSAGE + 1))
            assert close_code(page) == 1009
    assert honest.is_answered()
    assert memory() < before + MARGIN


def test_the_largest_message_that_is_allowed_is_only_left_out(server: SecureServer, honest: Honest) -> None:
    honest.page.send(updated(honest.slider._impl.uuid, "x" * (MAX_MESSAGE - 200)))
    assert honest.is_answered()


def test_fifty_pages_that_come_and_go_leave_nothing_behind(server: SecureServer, honest: Honest) -> None:
    canvases: list[DrawingCanvas] = []
    server.viser.on_client_connect(lambda client: canvases.append(DrawingCanvas(server, client, print)))
    before = memory()
    for number in range(50):
        come_and_go(server, farewell=number % 2 == 0)
    until(lambda: len(server.viser.get_clients()) == 1)
    until(lambda: len(canvases) == 51)
    until(lambda: len(server._channels) == 1)
    assert server._connections == 1
    assert honest.is_answered()
    canvases.clear()
    until(lambda: living(viser.ClientHandle) == 1)
    assert living(Channel) == 1
    assert memory() < before + MARGIN


def come_and_go(server: SecureServer, *, farewell: bool) -> None:
    with visiting(server) as (page, client):
        client.gui.add_text("own", initial_value="")
        if not farewell:
            page.socket.shutdown(socket.SHUT_RDWR)


def test_pages_that_say_nothing_do_not_lock_others_out(server: SecureServer, honest: Honest) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS - 1):
            stack.enter_context(connected(server))
        with pytest.raises(InvalidStatus) as refusal, connected(server):
            pass
        assert refusal.value.response.status_code == 503
        assert honest.is_answered()
    until(lambda: server._connections == 1)
    with visiting(server):
        pass


def test_a_flood_of_messages_does_not_drown_the_others(server: SecureServer, honest: Honest) -> None:
    before = memory()
    flood = encoded(CAMERA)
    with visiting(server) as (page, _):
        thread = threading.Thread(target=lambda: pour(page, flood))
        thread.start()
        for _ in range(20):
            assert honest.is_answered()
        page.socket.shutdown(socket.SHUT_RDWR)  # it never stops by itself
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert honest.is_answered()
    assert memory() < before + MARGIN


def pour(page: ClientConnection, data: bytes) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            page.send(data)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: example.org\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # somebody who speaks TLS
        b"\xff\xfe\xfd\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"",
    ],
    ids=range(9),
)
def test_requests_that_are_none_get_no_page(server: SecureServer, honest: Honest, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
        line.sendall(request_)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := line.recv(65536):
                answer += part
    assert b" 200 " not in answer[:50]
    assert honest.is_answered()


# --- the channel of drawings ---


@pytest.fixture
def canvas(server: SecureServer, honest: Honest) -> tuple[DrawingCanvas, list[Drawing]]:
    drawings: list[Drawing] = []
    return DrawingCanvas(server, honest.client, drawings.append), drawings


def channel(server: SecureServer, canvas: DrawingCanvas, **options: Any) -> contextlib.AbstractContextManager[Any]:
    own = {"origin": f"http://127.0.0.1:{server.port}", "compression": None} | options
    return connect(f"ws://127.0.0.1:{server.port}{canvas._channel.path}", **own)


DRAWING = {
    "kind": "drawing",
    "tool": "brush",
    "points": [[1, 2], [3.5, 4.5]],
    "radius": 10,
    "positive": True,
    "shift": False,
    "ctrl": False,
    "alt": False,
    "width": 640,
    "height": 480,
}


def test_a_thousand_damaged_drawings_are_counted_and_left_out(
    server: SecureServer, honest: Honest, canvas: tuple[DrawingCanvas, list[Drawing]]
) -> None:
    dice = random.Random(1)  # noqa: S311 - the same messages every time
    drawn, drawings = canvas
    with channel(server, drawn) as page:
        for number in range(1000):
            message = dict(DRAWING)
            message[dice.choice(list(message))] = anything(dice)
            text = msgspec.json.encode(message).decode() if number % 2 else anything_short(dice)
            page.send(text)
        page.send(msgspec.json.encode(DRAWING).decode())
        until(lambda: drawn.dropped + len(drawings) == 1001)
    assert drawn.dropped > 900
    assert drawings[-1].points == ((1, 2), (3.5, 4.5))
    assert honest.is_answered()


def test_a_channel_that_gets_bytes_or_novels_is_closed(
    server: SecureServer, honest: Honest, canvas: tuple[DrawingCanvas, list[Drawing]]
) -> None:
    for data, code in ((b"\x00", 1003), ("x" * 600_000, 1009)):
        with channel(server, canvas[0]) as page:
            page.send(data)
            assert close_code(page) == code
    assert honest.is_answered()


def test_a_channel_is_closed_to_foreign_pages_and_gone_with_its_client(server: SecureServer) -> None:
    with visiting(server) as (_, client):
        canvas = DrawingCanvas(server, client, print)
        with pytest.raises(InvalidStatus), channel(server, canvas, origin="http://example.org"):
            pass
        with channel(server, canvas) as page:
            assert "off" in page.recv(timeout=10)
    until(lambda: not server._channels)
    with pytest.raises(InvalidHandshake), channel(server, canvas):
        pass


def is_wide(client: viser.ClientHandle, width: int) -> bool:
    return client.camera.image_width == width


@pytest.mark.parametrize(
    ("width", "height", "asked"),
    [(10**9, 1, 1), (1, 10**9, 100), (21_000, 1000, 10), (49, 1000, 100), (2000, 100, 500)],
    ids=str,
)
def test_a_window_of_an_impossible_shape_gives_no_camera(
    server: SecureServer, width: int, height: int, asked: int
) -> None:
    with visiting(server) as (page, client):
        page.send(encoded(CAMERA | {"image_width": width, "image_height": height}))
        until(partial(is_wide, client, width))
        with pytest.raises(InputError, match=rf"{width:g}x{height:g}".replace("+", r"\+")):
            camera_of(client, asked)
        for width, height in ((8192, 4096), (2000, 100), (50, 1000)):
            page.send(encoded(CAMERA | {"image_width": width, "image_height": height}))
            until(partial(is_wide, client, width))
            camera = camera_of(client, 400)
            assert (camera.width, camera.height) == (400 * width // height, 400)
