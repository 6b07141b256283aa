"""One browser tab: its camera, its tool, what it looks at, and its panels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.explorer.worker import Cancelled
from app.viewer import cameras
from app.viewer.drawing import CanvasStatus, Drawing, DrawingCanvas
from app.viewer.notices import Notices
from app.viewer.panels.ask import AskPanel
from app.viewer.panels.header import Header
from app.viewer.panels.see import SeePanel
from app.viewer.panels.select import SelectPanel
from app.viewer.panels.take import TakePanel
from app.viewer.photos import Photos
from app.viewer.prompting import Prompting
from app.viewer.report import told
from app.viewer.shortcuts import register
from app.viewer.showing import Showing
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.explorer.commands import Command
    from app.explorer.looks import Look
    from app.explorer.session import Session
    from app.viewer.explorer import Explorer
    from render.camera import Camera

log = logging.getLogger(__name__)

TALLEST = 1080  # pixels of a frame; larger windows show it enlarged
NOTICE_SECONDS, FAILURE_SECONDS = 6.0, 15.0


class Page:
    """What one person sees and does.

    Args:
        explorer: What the page shows.
        client: As viser gives it.
    """

    def __init__(self, explorer: Explorer, client: viser.ClientHandle) -> None:
        self.explorer, self.client = explorer, client
        self.session = explorer.session
        self.tool = "off"
        self.works: set[str] = set()  # names of what is computed for this page
        self.closed = False
        self._notices = Notices(client)
        self._showing = Showing(self)
        self.prompting = Prompting(self)
        self.photos = Photos(self)
        self.header = Header(self)
        tabs = client.gui.add_tab_group()
        self.see, self.select = SeePanel(self, tabs), SelectPanel(self, tabs)
        self.ask, self.take = AskPanel(self, tabs), TakePanel(self, tabs)
        register(client.gui, self._actions())
        self.canvas = DrawingCanvas(
            explorer.server, client, self._drawn, on_radius=self.select.show_radius, on_status=self._canvas_changed
        )
        client.camera.on_update(lambda _: self._moved())
        self.changed()

    @property
    def look(self) -> Look:
        """What the person asked to look at."""
        return self._showing.look

    @property
    def shown(self) -> Look:
        """What is drawn: the same, once all that it needs is made."""
        return self._showing.shown

    @property
    def drawn_by_server(self) -> bool:
        """Whether frames of the server are shown, instead of splats of the browser."""
        return self._showing.drawn_by_server

    def camera(self, height: int | None = None) -> Camera:
        """From where the scene is looked at, in the scene's frame, at the window's size or a given height.

        Raises:
            InputError: the page has reported no camera yet.
        """
        height = min(self.height, TALLEST) if height is None else height
        return self.explorer.world.to_scene(cameras.camera_of(self.client, max(height, 1)))

    @property
    def height(self) -> int:
        """Of the window's view, in pixels of its screen; viser reports fewer while its own drawing is slow."""
        status = self.canvas.status
        return self.client.camera.image_height if status is None else max(1, round(status.height * status.ratio))

    def go_to(self, camera: Camera) -> None:
        """Look from a camera of the scene's frame; the window keeps its shape and shows the camera's full height."""
        cameras.look_from(self.client, self.explorer.world.to_shown(camera))

    def look_at_selection(self) -> None:
        """Turn the camera to the selection's middle, which it turns around from now on."""
        self.trying(lambda: cameras.look_at_selection(self.client, self.session, self.explorer.world))

    def set_look(self, look: Look) -> None:
        """Look at something else; what has to be computed for it first is, and shows its progress."""
        self._showing.set_look(look)

    def redraw(self, *, moving: bool = False) -> None:
        """Show what the page looks at now."""
        self._showing.redraw(moving=moving)

    def run(self, command: Command, *, slider: bool = False) -> None:
        """Do a command, in time."""
        self.prompting.ask(command)
        self.explorer.run(self, command, slider=slider)

    @property
    def prompt(self) -> Command | None:
        """The prompt that was answered last, or is being answered."""
        return self.prompting.prompt

    def begin_anew(self) -> None:
        """Have the next stroke begin a scribble, wherever it is drawn."""
        self.prompting.begin_anew()

    def trying(self, act: Callable[[], object]) -> None:
        """Do something that a person asked for; why it cannot be done is told."""
        try:
            act()
        except (InputError, OSError) as error:
            self.complain(error)

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
        if not self.closed:
            self._notices.show("fit3d", text, seconds=NOTICE_SECONDS)

    def warn(self, title: str, text: str) -> None:
        """Say something that matters, but that nobody did, for as long as a failure is told."""
        if not self.closed:
            self._notices.show(title, text, seconds=FAILURE_SECONDS)

    def give_up(self, error: BaseException) -> None:
        """What was asked for will not come."""
        self._showing.give_up()
        if isinstance(error, Cancelled):
            self.tell("Cancelled; nothing was changed.")
        else:
            self.complain(error)

    def complain(self, error: BaseException) -> None:
        """Say what went wrong, and why."""
        if not isinstance(error, (InputError, OSError)):
            log.error("A page's request failed.", exc_info=error)
        if not self.closed:
            text = told(error, self.session.scene.path)
            self._notices.show("That did not work", text, seconds=FAILURE_SECONDS, color="red")

    def changed(self) -> None:
        """The document is another one."""
        if self.closed:
            return
        self.header.refresh()
        self.select.refresh()
        self.ask.refresh()
        self.take.refresh()
        self.prompting.changed()
        self.redraw()

    def change_over(self, session: Session) -> None:
        """Show another session of the same place; camera, tool and look stay, as far as its fields allow.

        For the thread that computes.

        Raises:
            InputError: what is looked at cannot be made of the other session; the page shows its colours then.
        """
        if self.closed:
            return
        self.session = session
        self.prompting.ask(None)
        try:
            self._showing.change_over()
        finally:
            self._stay_at_photo()
            self.changed()

    def close(self) -> None:
        """The page is gone."""
        self.closed = True
        self.see.close()
        self.ask.close()
        self.select.close()
        self.canvas.close()
        self._showing.close()

    def _stay_at_photo(self) -> None:
        """Whoever looks through a photo looks through the same one of the session that is shown now."""
        if self.photos.looked_through:
            pose = self.camera(64).world_to_camera
            views = self.session.scene.views
            here = min(views, key=lambda view: float((view.camera.world_to_camera - pose).abs().max()))
            self.photos.look_through(here.name)

    def _moved(self) -> None:
        self.photos.camera_moved()
        self.prompting.camera_moved()
        if self.drawn_by_server:
            self.redraw(moving=True)

    def _canvas_changed(self, status: CanvasStatus) -> None:
        self._showing.software = status.software
        self.redraw()

    def _drawn(self, drawing: Drawing) -> None:
        """A stroke, a box, an outline or a click has ended."""
        self.trying(lambda: self.prompting.answer(drawing))

    def _actions(self) -> dict[str, Callable[[], None]]:
        from app.viewer.actions import actions_of

        return actions_of(self)
