"""A viser server that is closed to everybody but those it is meant for."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from app.viewer import _internals
from app.viewer._guard import Gate, bracketed, is_loopback, is_upgrade, own_names, path_of, reached_at, refuse
from app.viewer._incoming import Incoming, Malformed
from app.viewer.channel import Channel
from render.errors import InputError

if TYPE_CHECKING:
    import viser
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

LOGGER = logging.getLogger(__name__)
MAX_MESSAGE = 4 * 2**20  # bytes; a page's longest message is a rendered still
MAX_CONNECTIONS = 64  # a page has two
MESSAGES_PER_SECOND, BURST = 300, 600  # of one connection; a page that sends faster has to wait
WRONG_VERSION, MALFORMED = 1002, 1008  # close codes of websockets
WARNINGS = 20  # of one kind that are logged; what a page does must not fill the terminal


class SecureServer:
    """A running viser server behind its guards; made by :func:`open_server`, closed by :meth:`close` or ``with``.

    Attributes:
        viser: The server itself: ``.scene``, ``.gui``, ``.on_client_connect``, ...
        token: What a page must know, or None where being on this machine suffices.
        dropped: Messages of pages that were left out (``"ignored"``) or ended their connection (``"malformed"``).
    """

    def __init__(self, listener: socket.socket, host: str, token: str | None, label: str | None) -> None:
        self.host, self.port, self.token = host, int(listener.getsockname()[1]), token
        self._reached = reached_at(host)
        self.dropped: Counter[str] = Counter()
        self._gate = Gate(host, token, f"fit3d_{self.port}", _page_files(), own_names(host))
        self._incoming = Incoming()
        self._channels: dict[str, Channel] = {}
        self._connections = 0
        self._closed = False
        self._executor = ThreadPoolExecutor(4, thread_name_prefix="viewer-channel")
        guards = _internals.Guards(
            listener, _checked(self), self._guarded_handler, self._guarded_answer, MAX_MESSAGE, _quiet_logger()
        )
        self.viser: viser.ViserServer = _internals.start(guards, label)
        self._incoming.server = self.viser
        self._loop = self.viser.get_event_loop()
        self.viser.on_client_disconnect(self._client_left)
        self._loop.call_soon_threadsafe(self._loop.set_exception_handler, self._task_failed)

    @property
    def url(self) -> str:
        """What a person opens, here or elsewhere; carries the token if there is one, so it is a secret then."""
        return f"http://{bracketed(self._reached)}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def open_channel(
        self, client: viser.ClientHandle, receive: Callable[[str], None], greet: Callable[[], str]
    ) -> Channel:
        """Open a second websocket for one page, at a path that only that page is told; it goes with the client.

        Args:
            client: The page, as viser gives it to ``on_client_connect``.
            receive: Called with every text of the page, in order, on a worker thread.
            greet: Gives the text that the page is sent whenever it connects.
        """
        channel = Channel(self._loop, self._executor, receive, greet, self._forget, client.client_id)
        self._channels[channel.path] = channel
        if client.client_id not in self.viser.get_clients():
            channel.close()  # it left before it got its channel
        return channel

    def close(self) -> None:
        """Stop the server and its threads; further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        with _internals.quiet():
            self.viser.stop()
        self._channels.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> SecureServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _client_left(self, client: viser.ClientHandle) -> None:
        for channel in [found for found in self._channels.values() if found.client_id == client.client_id]:
            channel.close()

    def _forget(self, channel: Channel) -> None:
        self._channels.pop(channel.path, None)

    def _guarded_answer(self, answer: _internals.Answer) -> _internals.Answer:
        """viser's answers, to requests that the gate lets through."""

        def guarded(connection: ServerConnection, request: Request) -> Response | None:
            status = self._gate.refusal(request, channel=path_of(request) in self._channels)
            if status is None and is_upgrade(request) and self._connections >= MAX_CONNECTIONS:
                status = HTTPStatus.SERVICE_UNAVAILABLE
            if status is not None:
                return refuse(status)
            if is_upgrade(request):
                return None
            response = answer(connection, request)
            if response is not None:
                self._gate.finish(response)
            return response

        return guarded

    def _guarded_handler(self, handler: _internals.Handler) -> _internals.Handler:
        """viser's connections, counted; channels beside them."""

        async def guarded(connection: ServerConnection) -> None:
            self._connections += 1
            try:
                await self._route(connection, handler)
            finally:
                self._connections -= 1

        return guarded

    async def _route(self, connection: ServerConnection, handler: _internals.Handler) -> None:
        import viser

        channel = self._channels.get((connection.request and path_of(connection.request)) or "/")
        if channel is not None:
            await channel.serve(connection)
        elif connection.subprotocol == f"viser-v{viser.__version__}":
            await handler(connection)
        else:
            # viser's page shows this sentence; viser itself would also print it.
            await connection.close(WRONG_VERSION, f"This server speaks viser {viser.__version__}; reload the page.")

    def check(self, data: bytes | str) -> bool:
        """Whether viser may have a message; counts those that it may not.

        Raises:
            Malformed: the connection should end.
        """
        try:
            accepted = self._incoming.accepts(data)
        except Malformed as error:
            self.dropped["malformed"] += 1
            LOGGER.debug("A page sent a message that cannot be read: %s", error)
            raise
        self.dropped["ignored"] += not accepted
        return accepted

    def _task_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Report what went wrong in viser's event loop in one line."""
        self.dropped["failed"] += 1
        error = context.get("exception")
        level = logging.WARNING if self.dropped["failed"] <= WARNINGS else logging.DEBUG
        LOGGER.log(level, "%s: %s", context.get("message"), repr(error) if error else "no exception")


def open_server(
    host: str = "127.0.0.1", port: int = 8080, *, token: str | None = None, label: str | None = None
) -> SecureServer:
    """Start the explorer's web server.

    Only pages of the server itself may connect, under its own address.  On loopback that suffices; any other host
    also asks for an access token, which the page's address carries and a cookie keeps.

    Args:
        host: Name or address to listen at; ``0.0.0.0`` for all of this machine.
        port: 0 for any that is free.
        token: What pages must know; made where the host is not loopback and none is given.  Letters, digits,
            ``-`` and ``_``.
        label: Title of the panel.

    Raises:
        InputError: the port is taken or not allowed, the host is unknown or not of this machine, the token could not
            stand in an address, or viser is not the release that this was written for.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    if token is not None and not (token.isascii() and token.replace("-", "").replace("_", "").isalnum()):
        raise InputError("An access token consists of letters, digits, - and _; leave it out to have one made.")
    _internals.check_viser()
    listener = _listen(host, port)
    try:
        return SecureServer(listener, host, token, label)
    except InputError:
        listener.close()
        raise


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"A port is a number from 0 to 65535, found {port}.")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except socket.gaierror as error:
        raise InputError(
            f"The host {host!r} is unknown ({error.strerror}); give a name or address of this machine."
        ) from error
    except OSError as error:
        raise InputError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if (error.errno or 0) < 0:  # of looking a name up
        return f"The host {host!r} is unknown; give a name or address of this machine."
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} of {host} is in use; close what uses it, or choose another with --port (0 takes a free one)."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} needs an administrator; choose one above 1023 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; give one that is, or 0.0.0.0 for all."
    return f"Cannot listen at {host}, port {port}: {error.strerror}."


def _page_files() -> frozenset[str]:
    """The paths of viser's page and what belongs to it; nothing else of the disk is ever served."""
    import viser

    root = Path(viser.__file__).parent / "client" / "build"
    files = {f"/{path.relative_to(root).as_posix()}" for path in root.rglob("*") if path.is_file()}
    return frozenset(files | {"/"})


def _checked(server: SecureServer) -> type[ServerConnection]:
    """The class of a connection that hands viser only what the server accepts, at a bounded rate."""
    from websockets.asyncio.server import ServerConnection
    from websockets.exceptions import ConnectionClosedError
    from websockets.frames import Close

    class Checked(ServerConnection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._allowance, self._seen = float(BURST), time.monotonic()

        async def recv(self, decode: bool | None = None) -> Any:
            while True:
                data = await super().recv(decode)
                await self._wait()
                if self.subprotocol is None:
                    return data  # a channel, which checks for itself
                try:
                    if server.check(data):
                        return data
                except Malformed:
                    await self.close(MALFORMED, "malformed message")
                    raise ConnectionClosedError(None, Close(MALFORMED, "malformed message")) from None

        async def _wait(self) -> None:
            now = time.monotonic()
            self._allowance = min(BURST, self._allowance + (now - self._seen) * MESSAGES_PER_SECOND) - 1
            self._seen = now
            # Not reading is what slows a sender down; nothing is kept meanwhile.
            await asyncio.sleep(max(0.0, -self._allowance / MESSAGES_PER_SECOND))

    return Checked


class _OneLine(logging.Filter):
    """Handshakes that fail and handlers that end badly are told in one line, or not at all."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            record.msg, record.args = "%s: %r", (record.getMessage(), record.exc_info[1])
            record.exc_info = None
        return record.levelno >= logging.WARNING and "handshake" not in record.getMessage()


def _quiet_logger() -> logging.Logger:
    logger = logging.getLogger(f"{__name__}.websocket")
    if not logger.filters:
        logger.addFilter(_OneLine())
    return logger
