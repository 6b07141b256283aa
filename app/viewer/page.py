"""One browser tab: its camera, its tool, what it looks at, and its panels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from app.explorer.commands import Click, Combine, Lasso, Rectangle, Scribble, Stroke, Viewpoint
from app.explorer.frame_worker import FrameWorker
from app.explorer.looks import Look
from app.viewer.cameras import camera_of
from app.viewer.drawing import CanvasStatus, Drawing, DrawingCanvas
from app.viewer.panels.ask import AskPanel
from app.viewer.panels.header import Header
from app.viewer.panels.see import SeePanel
from app.viewer.panels.select import SelectPanel
from app.viewer.panels.take import TakePanel
from app.viewer.photos import Photos
from app.viewer.shortcuts import register
from app.viewer.splats import Splats
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.explorer.commands import Command
    from app.explorer.frames import Frame
    from app.viewer.explorer import Explorer
    from render.camera import Camera

log = logging.getLogger(__name__)

TALLEST = 1080  # pixels of a frame; larger windows show it enlarged
JPEG = {"low": 40, "full": 90}  # quality
NOTICE_SECONDS = 6.0


class Page:
    """What one person sees and does.

    Args:
        explorer: What the page shows.
        client: As viser gives it.
    """

    def __init__(self, explorer: Explorer, client: viser.ClientHandle) -> None:
        self.explorer, self.client = explorer, client
        self.session = explorer.session
        self.look = Look()
        self.tool = "off"
        self._software = True  # until the page says who draws there
        self._closed = False
        self._frames = FrameWorker(self.session, self._deliver, failed=self.complain)
        self._splats = Splats(self)
        self.photos = Photos(self)
        self.header = Header(self)
        tabs = client.gui.add_tab_group()
        self.see, self.select = SeePanel(self, tabs), SelectPanel(self, tabs)
        self.ask, self.take = AskPanel(self, tabs), TakePanel(self, tabs)
        register(client.gui, self._actions())
        self.canvas = DrawingCanvas(
            explorer.server, client, self._drawn, on_radius=self.select.show_radius, on_status=self._canvas_changed
        )
        self.photos.start()
        client.camera.on_update(lambda _: self._moved())
        self.changed()

    @property
    def drawn_by_server(self) -> bool:
        """Whether frames of the server are shown, instead of splats of the browser."""
        whole = self.look.layout != "single" or self.look.what in ("depth", "opacity") or self.photos.compared
        if whole or self.explorer.draw == "server":
            return True
        return self.explorer.draw == "auto" and self._software

    def camera(self, height: int | None = None) -> Camera:
        """From where the scene is looked at, in the scene's frame, at the window's size or a given height.

        Raises:
            InputError: the page has reported no camera yet.
        """
        height = min(self.client.camera.image_height, TALLEST) if height is None else height
        return self.explorer.world.to_scene(camera_of(self.client, max(height, 1)))

    def go_to(self, camera: Camera) -> None:
        """Look from a camera of the scene's frame; the window keeps its shape and shows the camera's full height."""
        import viser.transforms

        from render.conventions import invert_rigid

        shown = invert_rigid(self.explorer.world.to_shown(camera).world_to_camera.double()).numpy()
        mine = self.client.camera
        with self.client.atomic():
            mine.wxyz = viser.transforms.SO3.from_matrix(shown[:3, :3]).wxyz
            mine.position = shown[:3, 3]
            mine.fov = 2 * float(np.arctan(0.5 * camera.height / float(camera.K[1, 1])))

    def set_look(self, look: Look) -> None:
        """Look at something else; what has to be computed for it first is, and shows its progress."""
        from app.explorer.looks import is_prepared, prepare

        self.look = look
        if is_prepared(self.session, look):
            self.redraw()
        else:
            self.explorer.submit(
                self, f"look {id(self)}", lambda _: prepare(self.session, look), lambda _: self.redraw()
            )

    def change_look(self, **changes: Any) -> None:
        """Look at the same with some changes."""
        self.set_look(replace(self.look, **changes))

    def redraw(self, *, moving: bool = False) -> None:
        """Show what the page looks at now."""
        if self._closed:
            return
        self.see.refresh()
        if not self.drawn_by_server:
            self._splats.show(self.look)
            return
        self._splats.hide()
        try:
            self._frames.request(self.camera(), self.look, moving)
        except InputError:
            return  # the page has not said yet where its camera is

    def run(self, command: Command, *, slider: bool = False) -> None:
        """Do a command, in time."""
        self.explorer.run(self, command, slider=slider)

    def attempt(self, make: Callable[[], Command], *, slider: bool = False) -> bool:
        """Do a command that is made of what a person entered; what cannot be is told, and the answer is no."""
        try:
            self.run(make(), slider=slider)
        except InputError as error:
            self.complain(error)
            return False
        return True

    def use(self, tool: str) -> None:
        """Take a tool in hand: off, inspect, point, brush, rectangle or lasso."""
        self.tool = tool
        self.canvas.use("point" if tool == "inspect" else tool, radius=self.select.radius)  # type: ignore[arg-type]
        self.header.refresh()
        self.select.refresh()

    def tell(self, text: str) -> None:
        """Say something for a few seconds."""
        if not self._closed:
            self.client.add_notification("fit3d", text, auto_close_seconds=NOTICE_SECONDS)

    def complain(self, error: BaseException) -> None:
        """Say what went wrong, and why."""
        from app.main import sentence

        if not isinstance(error, (InputError, OSError)):
            log.error("A page's request failed.", exc_info=error)
        if not self._closed:
            self.client.add_notification("That did not work", sentence(error), color="red", auto_close_seconds=15.0)

    def changed(self) -> None:
        """The document is another one."""
        if self._closed:
            return
        self.header.refresh()
        self.select.refresh()
        self.take.refresh()
        self.redraw()

    def close(self) -> None:
        """The page is gone."""
        self._closed = True
        self.canvas.close()
        self._frames.close()

    def _moved(self) -> None:
        self.photos.camera_moved()
        if self.drawn_by_server:
            self.redraw(moving=True)

    def _canvas_changed(self, status: CanvasStatus) -> None:
        self._software = status.software
        self.redraw()

    def _deliver(self, frame: Frame, quality: str) -> None:
        if self._closed or not self.drawn_by_server:
            return
        image = self.photos.blended(frame.image)
        depth = frame.depth * self.explorer.world.scale if self.photos.shown else None
        self.client.scene.set_background_image(image, format="jpeg", jpeg_quality=JPEG[quality], depth=depth)

    def _drawn(self, drawing: Drawing) -> None:
        """A stroke, a box, an outline or a click has ended."""
        try:
            camera = self.camera()
            if self.tool == "inspect":
                self.see.inspect(camera, drawing.points_at(camera.width, camera.height)[0])
            else:
                self.run(self._command(drawing, camera))
        except InputError as error:
            self.complain(error)

    def _command(self, drawing: Drawing, camera: Camera) -> Command:
        viewpoint = Viewpoint.of(camera)
        points = drawing.points_at(camera.width, camera.height)
        combine: Combine = self.select.combine if drawing.combine == "set" else drawing.combine
        through = self.select.through
        if drawing.tool == "rectangle":
            (x0, y0), (x1, y1) = points
            box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
            return Rectangle(viewpoint, box, combine, through)
        if drawing.tool == "lasso":
            return Lasso(viewpoint, points, combine, through)
        return self._prompt(drawing, viewpoint, points, combine)

    def _prompt(self, drawing: Drawing, viewpoint: Viewpoint, points: Any, combine: Combine) -> Command:
        """A click or a stroke, with the strokes before it where both belong to one object."""
        options = self.select.options()
        if drawing.tool == "point":
            return Click(viewpoint, points, combine=combine, **options)
        stroke = Stroke(points, drawing.radius_at(viewpoint.height), drawing.positive)
        return Scribble(viewpoint, (*self.select.earlier(viewpoint), stroke), combine=combine, **options)

    def _actions(self) -> dict[str, Callable[[], None]]:
        from app.viewer.actions import actions_of

        return actions_of(self)
