"""What a person draws on a page becomes prompts; strokes that belong together stay drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.explorer.commands import Click, Combine, Lasso, Rectangle, Scribble, Stroke, Viewpoint
from app.explorer.commands.base import Same
from app.explorer.frames import part_at, part_camera, part_columns
from app.viewer.scribbling import (
    WHOLE,
    Line,
    Span,
    last_prompt,
    marks_of,
    outline_inside,
    parts_inside,
    scribble_from,
    with_frame,
)
from render.errors import InputError

if TYPE_CHECKING:
    from app.explorer.commands import Command
    from app.explorer.looks import Look
    from app.viewer.drawing import Drawing
    from app.viewer.page import Page
    from render.camera import Camera


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture that a person drew on: the whole view, or one of two side by side.

    Attributes:
        camera: That draws it.
        whole: Columns of the whole view.
        left: The one at which the picture begins.
        shown: How many of the picture's columns are to be seen.
        half: 0, or 1 for the right one of two.
    """

    camera: Camera
    whole: int
    left: int
    shown: int
    half: int

    @staticmethod
    def under(drawing: Drawing, look: Look, camera: Camera) -> Canvas:
        """The picture of a camera's view on which a drawing was begun."""
        if look.layout != "side":
            return Canvas(camera, camera.width, 0, camera.width, 0)
        middle = camera.width // 2
        half = int(drawing.points_at(camera.width, camera.height)[0][0] >= middle)
        shown = camera.width - middle if half else middle
        return Canvas(part_camera(look, camera), camera.width, half * middle, shown, half)

    def line(self, drawing: Drawing) -> Line:
        """The points of a drawing in pixels of this picture; they may lie beside it."""
        return tuple((x - self.left, y) for x, y in drawing.points_at(self.whole, self.camera.height))


class Prompting:
    """The prompts of one page's canvas.

    Args:
        page: The page.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._asked: Scribble | None = None  # the scribble that is being answered
        self._afresh = False  # whether the next stroke begins a scribble
        self._marked = False  # whether strokes stay drawn
        self._halves: dict[Same, int] = {}  # where the strokes of the last scribble were drawn

    @property
    def prompt(self) -> Command | None:
        """The prompt that was answered last, or is being answered."""
        return self._asked or last_prompt(self._page.session.history)

    def ask(self, command: Command | None) -> None:
        """A command is being done, or none any more."""
        self._asked = command if isinstance(command, Scribble) else None

    def answered(self, command: Command) -> None:
        """A command is done, or will not be."""
        if self._asked is command:
            self._asked = None
            self.show_marks()

    def begin_anew(self) -> None:
        """Have the next stroke begin a scribble, wherever it is drawn."""
        self._afresh = True
        self.show_marks()

    def changed(self) -> None:
        """The document is another one."""
        self.show_marks()

    def camera_moved(self) -> None:
        """What stays drawn holds for one place."""
        if self._marked:
            self.show_marks()

    def answer(self, drawing: Drawing) -> None:
        """A stroke, a box, an outline or a click has ended.

        Raises:
            InputError: it cannot be a prompt.
        """
        page = self._page
        camera, look = page.camera(), page.shown
        if page.tool == "inspect":
            x, y = drawing.points_at(camera.width, camera.height)[0]
            look, camera, x = part_at(look, camera, x)
            page.see.inspect(look, camera, (x, y))
        else:
            page.run(self._command(drawing, Canvas.under(drawing, look, camera)))

    def show_marks(self) -> None:
        """Keep the strokes of the last scribble drawn while the camera stays; anything else that is done ends them."""
        page = self._page
        shown: list[Drawing] = []
        if not self._afresh and isinstance(self.prompt, Scribble):
            try:
                camera, look = page.camera(), page.shown
                scribble = scribble_from(self.prompt, Viewpoint.of(part_camera(look, camera)))
                shown = marks_of(scribble, page.canvas.status, lambda stroke: self._span(stroke, look, camera))
            except InputError:
                shown = []  # the page has not said yet where its camera is
        if shown or self._marked:
            page.canvas.show(shown)
        self._marked = bool(shown)

    def _span(self, stroke: Stroke, look: Look, camera: Camera) -> Span:
        """Which part of the view a stroke was drawn on; those of other pages are shown on the left of two pictures."""
        if look.layout != "side":
            return WHOLE
        low, high = part_columns(look, camera, self._halves.get(Same(stroke), 0))
        return low / camera.width, high / camera.width

    def _command(self, drawing: Drawing, canvas: Canvas) -> Command:
        viewpoint, select = Viewpoint.of(canvas.camera), self._page.select
        points = canvas.line(drawing)
        combine: Combine = select.combine if drawing.combine == "set" else drawing.combine
        if drawing.tool == "rectangle":
            (x0, y0), (x1, y1) = points
            low, high = max(min(x0, x1), 0.0), min(max(x0, x1), float(canvas.shown))
            return Rectangle(viewpoint, (low, min(y0, y1), high, max(y0, y1)), combine, select.through)
        if drawing.tool == "lasso":
            outline = outline_inside(points, 0.0, float(canvas.shown))
            return Lasso(viewpoint, outline, combine, select.through)
        if drawing.tool == "point":
            return Click(viewpoint, points, combine=combine, **select.options())
        return self._scribble(drawing, viewpoint, parts_inside(points, 0.0, float(canvas.shown)), combine, canvas.half)

    def _scribble(
        self, drawing: Drawing, viewpoint: Viewpoint, lines: list[Line], combine: Combine, half: int
    ) -> Scribble:
        """A stroke, with those before it where all belong to one object; ctrl then marks its background."""
        options = self._page.select.options()
        single = self._afresh or drawing.shift or drawing.alt or self._page.select.combine != "set"
        before = scribble_from(None if single else self.prompt, viewpoint)
        self._afresh = False
        if before is None:
            strokes = _strokes(lines, viewpoint, viewpoint, drawing, drawing.positive)
            self._halves = dict.fromkeys(map(Same, strokes), half)
            return Scribble(viewpoint, strokes, combine=combine, **options)
        place = before.viewpoint
        strokes = _strokes(lines, viewpoint, place, drawing, drawing.positive and not drawing.ctrl)
        self._halves |= dict.fromkeys(map(Same, strokes), half)
        return Scribble(place, with_frame(place, (*before.strokes, *strokes)), **options)


def _strokes(
    lines: list[Line], drawn: Viewpoint, place: Viewpoint, drawing: Drawing, positive: bool
) -> tuple[Stroke, ...]:
    """Lines in pixels of one viewpoint as strokes of another that sees the same, at any resolution."""
    x, y = place.width / drawn.width, place.height / drawn.height
    radius = drawing.radius_at(place.height)
    return tuple(Stroke(tuple((px * x, py * y) for px, py in line), radius, positive) for line in lines)
