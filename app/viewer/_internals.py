"""Everything of viser and its web server that is not public, in one place, checked before it is used."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from render.errors import InputError

if TYPE_CHECKING:
    import logging

    import viser
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    Handler = Callable[[ServerConnection], Awaitable[None]]
    Answer = Callable[[ServerConnection, Request], Response | None]

TESTED = (1, 1)  # the release of viser that this module was read against


@dataclass(frozen=True)
class Guards:
    """What stands between the network and viser.

    Attributes:
        listener: A bound and listening socket.
        connection: The class of a websocket connection, which checks what arrives.
        handler: Makes the handler of a connection out of viser's.
        answer: Makes the answer to a request, web page or handshake, out of viser's.
        max_size: Longest message in bytes; a longer one closes its connection.
        logger: Where the web server reports.
    """

    listener: socket.socket
    connection: type[ServerConnection]
    handler: Callable[[Handler], Handler]
    answer: Callable[[Answer], Answer]
    max_size: int
    logger: logging.Logger


def check_viser() -> None:
    """Compare the installed viser with what this module relies on.

    Raises:
        InputError: another release, or one whose private parts have moved.
    """
    import viser
    import viser._messages
    import viser._viser
    import viser.infra._async_message_buffer
    import viser.infra._infra
    import websockets.asyncio.server

    release = tuple(int(part) for part in viser.__version__.split(".")[:2])
    messages = viser._messages
    moved = [
        name
        for name, found in {
            # Handlers are taken off the server's list of handlers, scripts go through a client's connection.
            "WebsockServer.unregister_handler": hasattr(viser.infra.WebsockServer, "unregister_handler"),
            "WebsockClientConnection.queue_message": hasattr(viser.infra.WebsockClientConnection, "queue_message"),
            "AsyncMessageBuffer.sanctioned_dead_writes": hasattr(
                viser.infra._async_message_buffer.AsyncMessageBuffer, "sanctioned_dead_writes"
            ),
            "RunJavascriptMessage": hasattr(messages, "RunJavascriptMessage"),
            "ShareUrlRequest": hasattr(messages, "ShareUrlRequest"),
            "ShareUrlDisconnect": hasattr(messages, "ShareUrlDisconnect"),
            # A camera is read as a whole, see camera_state.
            "_CameraHandleState.update_timestamp": "update_timestamp"
            in getattr(getattr(viser._viser, "_CameraHandleState", None), "__annotations__", {}),
            # viser calls websockets.asyncio.server.serve by this very name, where it can be replaced.
            "infra.websockets.asyncio.server.serve": viser.infra._infra.websockets.asyncio.server.serve
            is websockets.asyncio.server.serve,
        }.items()
        if not found
    ]
    if release != TESTED or moved:
        what = f"lacks {', '.join(moved)}" if moved else "was not tested"
        raise InputError(
            f"The explorer needs viser {TESTED[0]}.{TESTED[1]}, found {viser.__version__}, which {what}; "
            f"install viser~={TESTED[0]}.{TESTED[1]}.1."
        )


def start(guards: Guards, label: str | None) -> viser.ViserServer:
    """Start viser behind guards.

    viser has no setting for the socket, the size of messages, or who may connect: the function that opens the web
    server is replaced while viser starts, for viser's own call only.

    Raises:
        InputError: viser opened its web server some other way; it was stopped.
    """
    import viser

    check_viser()
    port = guards.listener.getsockname()[1]
    with _guarded(guards, port) as calls, quiet():
        # The address is the listener's; this one would only be used if viser went past the guards.
        server = viser.ViserServer(host="127.0.0.1", port=port, label=label, verbose=False)
        if not calls:
            server.stop()
    if not calls:
        raise InputError(f"viser {viser.__version__} opens its web server unguarded; install viser~=1.1.1.")
    for message in (viser._messages.ShareUrlRequest, viser._messages.ShareUrlDisconnect):
        server._websock_server.unregister_handler(message)  # any page could ask for a public tunnel
    return server


@contextmanager
def _guarded(guards: Guards, port: int) -> Iterator[list[int]]:
    """Calls of viser that were guarded while the context lasts."""
    import websockets.asyncio.server as library

    original = library.serve
    calls: list[int] = []

    def serve(handler: Handler, *address: Any, **options: Any) -> Any:
        # Somebody else in this process may open a web server at the same moment.
        if not handler.__module__.startswith("viser.") or port not in address:
            return original(handler, *address, **options)
        calls.append(port)
        options |= {
            "sock": guards.listener,
            "create_connection": guards.connection,
            "process_request": guards.answer(options["process_request"]),
            "max_size": guards.max_size,
            "logger": guards.logger,
        }
        return original(guards.handler(handler), **options)

    library.serve = serve  # type: ignore[assignment,misc]
    try:
        yield calls
    finally:
        library.serve = original  # type: ignore[misc]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep viser's banners off the terminal: it prints them with rich's common console, whatever it is told."""
    import rich

    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def run_javascript(client: viser.ClientHandle, source: str) -> None:
    """Run a script in the page of one client; viser keeps the message for its own plots."""
    import viser

    client._websock_connection.queue_message(viser._messages.RunJavascriptMessage(source=source))


@contextmanager
def may_have_left(client: viser.ClientHandle) -> Iterator[None]:
    """Send to a client that may leave meanwhile: viser warns of it, and has words against that for its own ends."""
    with client._websock_connection.get_message_buffer().sanctioned_dead_writes():
        yield


def camera_state(client: viser.ClientHandle) -> Any | None:
    """The camera that a page last reported, None before the first.

    The public handle reads one value at a time, while the page may send the next camera; the state is replaced whole.
    Its ``wxyz``, ``position``, ``fov``, ``image_width`` and ``image_height`` are those of the handle.
    """
    state = client.camera._state
    return state if state.update_timestamp > 0 else None


def message_types(names: tuple[str, ...]) -> dict[str, type]:
    """The classes of viser's messages, by name.

    Raises:
        InputError: viser has no such message.
    """
    import viser
    import viser._messages

    missing = [name for name in names if not hasattr(viser._messages, name)]
    if missing:
        raise InputError(
            f"viser {viser.__version__} has no message {', '.join(missing)}, which the explorer expects; "
            "install viser~=1.1.1."
        )
    return {name: getattr(viser._messages, name) for name in names}


def input_handle(server: viser.ViserServer, uuid: str) -> Any | None:
    """The widget that an update names, the server's or a client's; None if there is none (any more)."""
    for gui in (server.gui, *(client.gui for client in server.get_clients().values())):
        handle = gui._gui_input_handle_from_uuid.get(uuid)  # the public handles cannot be looked up
        if handle is not None:
            return handle
    return None
