"""A page of viser without a browser: what it sends and how it connects, for tests of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import viser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from app.viewer.server import SecureServer

PROTOCOL = f"viser-v{viser.__version__}"
CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1.0, 0.0, 0.0, 0.0],
    "position": [0.0, 0.0, -3.0],
    "fov": 1.0,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 480,
    "image_width": 640,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, -1.0, 0.0],
}
PATIENCE = 10.0  # seconds


def encoded(message: object) -> bytes:
    """A message as pages send it."""
    return msgspec.msgpack.encode(message)


def updated(uuid: str, value: object) -> bytes:
    """What a page sends when a widget is used."""
    return encoded({"type": "GuiUpdateMessage", "uuid": uuid, "updates": {"value": value}})


@contextmanager
def connected(server: SecureServer, *, path: str = "/", **options: Any) -> Iterator[ClientConnection]:
    """A websocket to the server, opened as its own page would; any part of that can be replaced."""
    own = {"origin": f"http://127.0.0.1:{server.port}", "subprotocols": [PROTOCOL], "max_size": None} | options
    connection = connect(f"ws://127.0.0.1:{server.port}{path}", compression=None, **own)
    with connection:
        yield connection


@contextmanager
def visiting(server: SecureServer) -> Iterator[tuple[ClientConnection, viser.ClientHandle]]:
    """A page that has reported its camera, and the server's handle of it."""
    before = set(server.viser.get_clients())
    with connected(server) as connection:
        connection.send(encoded(CAMERA))
        until(lambda: set(server.viser.get_clients()) - before)
        yield connection, server.viser.get_clients()[max(set(server.viser.get_clients()) - before)]


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not happen within {PATIENCE:g} s")
        time.sleep(0.01)


def close_code(page: ClientConnection) -> int | None:
    """How the server closed a connection."""
    try:
        while True:
            page.recv(timeout=10)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
