"""One thread per client that draws the newest frame asked for: small while the camera moves, whole when it rests."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from app.explorer.frames import Cancelled, Frame, Interrupted, frame_in_bands

if TYPE_CHECKING:
    from app.explorer.looks import Look
    from app.explorer.session import Session
    from render.camera import Camera

log = logging.getLogger(__name__)

Quality: TypeAlias = Literal["low", "full"]
Draw: TypeAlias = Callable[["Look", "Camera", Cancelled], Frame]
Deliver: TypeAlias = Callable[[Frame, Quality], None]

REST = 0.2  # seconds without a new camera after which the whole resolution is drawn
MOVING_SECONDS = 0.05  # a frame may take while the camera moves
WAIT_SECONDS = 0.25  # from which on a whole frame is preceded by a small one, and drawn in bands
SHARES = (1.0, 0.75, 0.5, 0.375, 0.25)  # of width and height: steps, so that the resolution does not flutter
KEPT = 8  # measurements of speed
MOST_GIVEN_UP = 2  # frames in a row for a newer look: under a stream of looks some are drawn all the same


class Pace:
    """How long frames take: seconds = a + b * pixels, from the last frames."""

    def __init__(self) -> None:
        self._measured: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._share = SHARES[1]

    def note(self, pixels: int, seconds: float) -> None:
        """A frame was drawn."""
        self._measured.append((float(pixels), seconds))

    def seconds(self, pixels: float) -> float:
        """Expected time of a frame; 0 while nothing is known."""
        if not self._measured:
            return 0.0
        x, y = np.array(self._measured).T
        spread = x - x.mean()
        variance = float(spread @ spread)
        # With frames of one size alone, all of the time is taken to grow with the pixels.
        slope = float(spread @ y) / variance if variance > 0 else float(y.mean() / x.mean())
        slope = min(max(slope, 0.0), float((y / x).max()))
        return float(max(y.mean() + slope * (pixels - x.mean()), 0.0))

    def share(self, pixels: int, budget: float = MOVING_SECONDS) -> float:
        """Which share of width and height fits into a budget of seconds; it changes only for a clear reason."""
        if not self._measured:
            return self._share
        fitting = [share for share in SHARES if self.seconds(pixels * share**2) <= budget]
        best = fitting[0] if fitting else SHARES[-1]
        # Up only with room to spare: two steps that take turns would flicker.
        if best <= self._share or self.seconds(pixels * best**2) <= 0.75 * budget:
            self._share = best
        return self._share


@dataclass(frozen=True, eq=False)
class _Request:
    camera: Camera
    look: Look
    moving: bool
    number: int
    generation: int  # grows with every look


class FrameWorker:
    """Draws for one client; the latest request wins.

    Frames are delivered in the order of their requests, so that no look comes back.  Those of a look that was left
    are given up (moving the split of a wipe leaves none), unless looks change so fast that nothing would be drawn.

    Args:
        session: The scene.
        deliver: Called in the worker's thread with every frame and its quality.
        failed: Called in the worker's thread with what drawing raised, once until a frame succeeds again.
        draw: What draws; by default :func:`app.explorer.frames.frame_in_bands`.
        rest: Seconds without a request after which a moving camera counts as still.
        pace: What is known of the speed already.
    """

    def __init__(
        self,
        session: Session,
        deliver: Deliver,
        *,
        failed: Callable[[BaseException], None] | None = None,
        draw: Draw | None = None,
        rest: float = REST,
        pace: Pace | None = None,
    ) -> None:
        self._session = session
        self._deliver = deliver
        self._failed = failed or (lambda error: log.warning("A frame could not be drawn: %s", error))
        self._draw = draw or self._draw_in_bands
        self._rest = rest
        self._pace = pace or Pace()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="explorer-frames")
        self._condition = threading.Condition()
        self._pending: _Request | None = None
        self._count = 0
        self._generation = 0
        self._parts: tuple[Look, ...] = ()  # what the newest request shows
        self._given_up = 0  # frames in a row, for a newer look
        self._serving = False
        self._closed = False
        self._complaint = ""
        self._thread = 0

    def request(self, camera: Camera, look: Look, moving: bool) -> None:
        """Ask for a frame; older requests that were not drawn yet are forgotten.

        Args:
            camera: From where, at the size of the whole resolution.
            look: What is shown.
            moving: Whether more is to come soon: then a small frame is drawn at once, and a whole one after a rest.
        """
        with self._condition:
            if self._closed:
                return
            self._count += 1
            if look.parts != self._parts:
                self._generation, self._parts = self._generation + 1, look.parts
            self._pending = _Request(camera, look, moving, self._count, self._generation)
            self._condition.notify_all()
            if not self._serving:
                self._start()

    @property
    def idle(self) -> bool:
        """Whether everything that was asked for has been delivered."""
        return not self._serving

    def close(self) -> None:
        """Stop, and wait for the frame that is being drawn; nothing is delivered any more."""
        with self._condition:
            self._closed = True
            self._pending = None
            self._condition.notify_all()
        self._executor.shutdown(wait=threading.get_ident() != self._thread, cancel_futures=True)

    def _start(self) -> None:
        self._serving = True
        self._executor.submit(self._serve).add_done_callback(self._served)

    def _served(self, future: Future[None]) -> None:
        """After the last frame, or after one that could not be drawn."""
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, Interrupted) and not self._closed:
            complaint, self._complaint = self._complaint, str(error)
            if complaint != self._complaint:
                self._failed(error)
        with self._condition:
            self._serving = False
            if self._pending is not None and not self._closed:
                self._start()

    def _serve(self) -> None:
        """Draw until nothing is asked for."""
        self._thread = threading.get_ident()
        while (request := self._next()) is not None:
            whole = request.camera.width * request.camera.height
            share = 1.0
            if request.moving or self._pace.seconds(whole) > WAIT_SECONDS:
                share = self._pace.share(whole)
                # Small frames are delivered from old places: under a stream of requests each is old when it is drawn.
                self._send(request, share, partial(self._is_of_old_look, request))
            if not request.moving and share == 1.0:
                self._send(request, 1.0, partial(self._is_of_old_look, request))
            elif share < 1.0 and (not request.moving or self._rested()):
                self._send(request, 1.0, partial(self._is_old, request))

    def _is_old(self, request: _Request) -> bool:
        return self._closed or self._count != request.number

    def _is_of_old_look(self, request: _Request) -> bool:
        """Whether another look was asked for since; not for ever, or a stream of looks would show nothing."""
        return self._closed or (self._generation != request.generation and self._given_up < MOST_GIVEN_UP)

    def _next(self) -> _Request | None:
        with self._condition:
            request, self._pending = self._pending, None
            return request

    def _rested(self) -> bool:
        """Wait until the camera has been still for a while; False as soon as there is something newer."""
        with self._condition:
            return not self._condition.wait_for(lambda: self._pending is not None or self._closed, self._rest)

    def _send(self, request: _Request, share: float, cancelled: Cancelled) -> None:
        whole = request.camera
        camera = whole.resized(max(1, round(whole.width * share)), max(1, round(whole.height * share)))
        start = time.perf_counter()
        try:
            drawn = self._draw(request.look, camera, cancelled)
        except Interrupted:
            self._given_up += int(self._is_of_old_look(request))
            return
        self._complaint = ""
        if self._is_of_old_look(request):
            self._given_up += 1
            return
        self._given_up = 0
        self._deliver(drawn, "full" if share == 1 else "low")
        # Sending counts too: it also grows with the pixels.
        self._pace.note(camera.width * camera.height, time.perf_counter() - start)

    def _draw_in_bands(self, look: Look, camera: Camera, cancelled: Cancelled) -> Frame:
        pixels = camera.width * camera.height
        bands = max(1, int(self._pace.seconds(pixels) / WAIT_SECONDS))
        return frame_in_bands(self._session, look, camera, cancelled, pixels=-(-pixels // bands))
