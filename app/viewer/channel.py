"""A second websocket of a page, for what viser has no messages for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

LOGGER = logging.getLogger(__name__)
LONGEST = 512_000  # characters of one message: a stroke of 4096 points takes less than a third
NOT_TEXT, TOO_LONG, REPLACED, GONE = 1003, 1009, 4000, 4001  # close codes of websockets


class Channel:
    """Text both ways between the server and one page; opened by :meth:`SecureServer.open_channel`.

    Attributes:
        path: Where the page finds it, below the server's address; nobody can guess it.
        client_id: Whose page it is.

    Args:
        loop: The server's event loop.
        executor: Where the callbacks run, one message of a channel after the other.
        receive: Called with every text that arrives.
        greet: Gives what a page is sent when it connects (again).
        forget: Called when the channel is closed.
        client_id: Whose page it is.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
        receive: Callable[[str], None],
        greet: Callable[[], str],
        forget: Callable[[Channel], None],
        client_id: int,
    ) -> None:
        self.client_id = client_id
        self.path = f"/channel/{secrets.token_urlsafe(24)}"
        self._loop, self._executor = loop, executor
        self._receive, self._greet, self._forget = receive, greet, forget
        self._connection: ServerConnection | None = None

    @property
    def connected(self) -> bool:
        """Whether the page is there."""
        return self._connection is not None

    def send(self, text: str) -> None:
        """Send a text to the page, if it is there; from any thread."""
        self._soon(self._send, text)

    def close(self) -> None:
        """Send the page away; its address is gone for good."""
        self._forget(self)
        self._soon(self._disconnect)

    def _soon(self, call: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _send(self, text: str) -> None:
        if self._connection is not None:
            _in_background(_deliver(self._connection, text))

    def _disconnect(self) -> None:
        if self._connection is not None:
            _in_background(self._connection.close(GONE, "closed"))

    async def serve(self, connection: ServerConnection) -> None:
        """Talk to the page until it leaves; a page that connects again takes the place of its older self."""
        from websockets.exceptions import ConnectionClosed

        older, self._connection = self._connection, connection
        if older is not None:
            await older.close(REPLACED, "connected again")
        try:
            await self._listen(connection)
        except ConnectionClosed:
            pass  # however it ended, the page has left
        finally:
            if self._connection is connection:
                self._connection = None

    async def _listen(self, connection: ServerConnection) -> None:
        await _deliver(connection, self._greet())
        async for message in connection:
            if not isinstance(message, str):
                await connection.close(NOT_TEXT, "text expected")
            elif len(message) > LONGEST:
                await connection.close(TOO_LONG, "too long")
            else:
                await self._handle(message)

    async def _handle(self, message: str) -> None:
        future = self._loop.run_in_executor(self._executor, self._receive, message)
        await asyncio.wait({future})
        if not future.cancelled() and future.exception() is not None:
            LOGGER.error("A message of a page could not be handled.", exc_info=future.exception())


_TASKS: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only


def _in_background(work: Coroutine[None, None, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


async def _deliver(connection: ServerConnection, text: str) -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        await connection.send(text)
