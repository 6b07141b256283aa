"""A canvas over a page's 3D view that strokes, outlines, boxes and clicks are drawn on with the mouse or a pen."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar, get_args

import msgspec

from app.viewer import _internals
from app.viewer.channel import GONE
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.viewer.server import SecureServer

LOGGER = logging.getLogger(__name__)
T = TypeVar("T")
Tool = Literal["off", "brush", "lasso", "rectangle", "point"]
SHORTEST = {"brush": 1, "lasso": 3, "rectangle": 2, "point": 1}  # points of a drawing
LONGEST = {"brush": 4096, "lasso": 4096, "rectangle": 2, "point": 1}
RADII = (1.0, 256.0)  # pixels
LARGEST_CANVAS = 16384  # pixels
SOFTWARE = ("swiftshader", "llvmpipe", "softpipe", "software", "basic render")  # renderers without a GPU
Radius = Annotated[float, msgspec.Meta(ge=RADII[0], le=RADII[1])]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=LARGEST_CANVAS)]


class Drawing(msgspec.Struct, tag="drawing", tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """What a person drew, once the button is released.

    Attributes:
        tool: What it was drawn with: ``brush`` (a stroke), ``lasso`` (a polygon, not closed), ``rectangle`` (two
            opposite corners) or ``point`` (a click).
        points: ``(x, y)`` in pixels of the canvas, from its top left corner, pixel centres at half-integers.
        radius: Of the brush, in pixels of the canvas.
        positive: What the brush was set to: the thing (True) or its background.
        shift: Whether shift was held when the button was released.
        ctrl: The same for ctrl, or the command key.
        alt: The same for alt.
        width: Of the canvas, in pixels of the page (not of the screen).
        height: Of the canvas.
    """

    tool: Literal["brush", "lasso", "rectangle", "point"]
    points: Annotated[tuple[tuple[float, float], ...], msgspec.Meta(min_length=1, max_length=LONGEST["brush"])]
    radius: Radius
    positive: bool
    shift: bool
    ctrl: bool
    alt: bool
    width: Pixels
    height: Pixels

    def __post_init__(self) -> None:
        """Check what types cannot say; decoding reports it as a damaged message."""
        if not SHORTEST[self.tool] <= len(self.points) <= LONGEST[self.tool]:
            raise ValueError(f"a {self.tool} of {len(self.points)} points")
        if not all(0 <= x <= self.width and 0 <= y <= self.height for x, y in self.points):
            raise ValueError("points outside the canvas")

    @property
    def combine(self) -> Literal["set", "add", "subtract"]:
        """What the keys ask for: shift adds, ctrl or alt subtracts."""
        if self.ctrl or self.alt:
            return "subtract"
        return "add" if self.shift else "set"

    def points_at(self, width: int, height: int) -> tuple[tuple[float, float], ...]:
        """The points in pixels of a picture of the same view, of any size."""
        return tuple((x * width / self.width, y * height / self.height) for x, y in self.points)

    def radius_at(self, height: int) -> float:
        """The brush's radius in pixels of a picture of the same view, ``height`` pixels high."""
        return self.radius * height / self.height


class CanvasStatus(msgspec.Struct, tag="canvas", tag_field="kind", frozen=True, forbid_unknown_fields=True):
    """What a page tells about itself when its canvas appears, and whenever its size changes.

    Attributes:
        width: Of the 3D view, in pixels of the page.
        height: Of the 3D view.
        ratio: Pixels of the screen per pixel of the page.
        renderer: Who draws WebGL there, in the browser's words; a page can write anything here.
    """

    width: Pixels
    height: Pixels
    ratio: Annotated[float, msgspec.Meta(gt=0, le=16)]
    renderer: Annotated[str, msgspec.Meta(max_length=256)]

    @property
    def software(self) -> bool:
        """Whether the browser draws without a GPU, where many splats are slow."""
        return any(name in self.renderer.lower() for name in SOFTWARE)


class _RadiusChange(msgspec.Struct, tag="radius", tag_field="kind", frozen=True, forbid_unknown_fields=True):
    radius: Radius


@dataclass(frozen=True)
class _Settings:
    """What the page is told: the tool in hand, and what stays drawn."""

    tool: Tool = "off"
    radius: float = 12.0
    positive: bool = True
    marks: tuple[dict[str, object], ...] = ()


class DrawingCanvas:
    """The canvas of one client; it goes when the client disconnects.

    While a tool is in hand the left button draws; the right button and the wheel still move the camera, and with the
    space bar held the left button does too.  Escape gives a stroke up, ``[`` and ``]`` change the radius.

    Args:
        server: The server that the client is connected to.
        client: As viser gives it to ``on_client_connect``.
        on_drawing: Called with each drawing of this client, in order, on a worker thread.
        on_radius: Called with the new radius when a key changed it.
        on_status: Called when the canvas appears and when its size changes.

    Attributes:
        dropped: How many messages of the page were no drawings and were left out.
    """

    def __init__(
        self,
        server: SecureServer,
        client: viser.ClientHandle,
        on_drawing: Callable[[Drawing], None],
        *,
        on_radius: Callable[[float], None] | None = None,
        on_status: Callable[[CanvasStatus], None] | None = None,
    ) -> None:
        self.dropped = 0
        self._settings = _Settings()
        self._status: CanvasStatus | None = None
        self._lock = threading.Lock()
        self._on_drawing, self._on_radius, self._on_status = on_drawing, on_radius, on_status
        self._channel = server.open_channel(client, self._receive, self._greeting)
        _internals.run_javascript(client, _script(self._channel.path))

    @property
    def tool(self) -> Tool:
        """The tool in hand."""
        return self._settings.tool

    @property
    def radius(self) -> float:
        """Of the brush, in pixels of the page."""
        return self._settings.radius

    @property
    def positive(self) -> bool:
        """Whether the brush marks the thing, or its background."""
        return self._settings.positive

    @property
    def status(self) -> CanvasStatus | None:
        """The canvas as the page last described it, None until it has."""
        return self._status

    @property
    def connected(self) -> bool:
        """Whether the page's canvas is there; it takes a moment after the page opens."""
        return self._channel.connected

    def use(self, tool: Tool, *, radius: float | None = None, positive: bool | None = None) -> None:
        """Give the person a tool; what is not given stays as it is.

        Args:
            tool: ``off`` gives the left button back to the camera.
            radius: Of the brush in pixels of the page, 1 to 256.
            positive: Whether strokes are drawn in the warm colour of the thing, or the blue of its background.

        Raises:
            InputError: an unknown tool, or a radius out of range.
        """
        if tool not in get_args(Tool):
            raise InputError(f"A drawing tool is one of {', '.join(get_args(Tool))}, found {tool!r}.")
        if radius is not None and not RADII[0] <= radius <= RADII[1]:
            raise InputError(f"The brush's radius must be {RADII[0]:g} to {RADII[1]:g} pixels, found {radius:g}.")
        self._change(
            tool=tool,
            radius=self.radius if radius is None else float(radius),
            positive=self.positive if positive is None else positive,
        )

    def off(self) -> None:
        """Give the left button back to the camera."""
        self.use("off")

    def show(self, drawings: Sequence[Drawing]) -> None:
        """Keep drawings on the canvas, instead of those shown before; none clears it."""
        self._change(marks=tuple(_mark(drawing) for drawing in drawings))

    def close(self) -> None:
        """Take the canvas off the page."""
        self._channel.close()

    def _change(self, **values: object) -> None:
        with self._lock:
            self._settings = replace(self._settings, **values)  # type: ignore[arg-type]
            self._channel.send(self._greeting())

    def _greeting(self) -> str:
        return json.dumps(asdict(self._settings))

    def _receive(self, text: str) -> None:
        try:
            message = _decoder().decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            self.dropped += 1
            LOGGER.debug("A page sent what is no drawing: %s", error)
            return
        if isinstance(message, Drawing):
            self._on_drawing(message)
        elif isinstance(message, CanvasStatus):
            self._status = message
            _call(self._on_status, message)
        else:
            # The page has changed it already: sending it back could undo the next key.
            with self._lock:
                self._settings = replace(self._settings, radius=message.radius)
            _call(self._on_radius, message.radius)


def _call(callback: Callable[[T], None] | None, value: T) -> None:
    if callback is not None:
        callback(value)


def _mark(drawing: Drawing) -> dict[str, object]:
    positive = drawing.positive and drawing.combine != "subtract"
    return {name: getattr(drawing, name) for name in ("tool", "points", "radius", "width", "height")} | {
        "positive": positive
    }


@cache
def _decoder() -> msgspec.json.Decoder[Drawing | CanvasStatus | _RadiusChange]:
    return msgspec.json.Decoder(Drawing | CanvasStatus | _RadiusChange)


def _script(path: str) -> str:
    config = {"path": path, "maxPoints": LONGEST["brush"], "minRadius": RADII[0], "maxRadius": RADII[1], "gone": GONE}
    source = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return source.replace("= CONFIG;", f"= {json.dumps(config)};", 1)
