"""One browser tab: its camera, its tool, what it looks at, and its panels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from app.explorer.commands import Click, Combine, Lasso, Rectangle, Scribble, Stroke, Viewpoint
from app.explorer.frame_worker import FrameWorker
from app.explorer.frames import part_at
from app.explorer.looks import Look
from app.explorer.worker import Cancelled
from app.viewer.cameras import camera_of
from app.viewer.drawing import CanvasStatus, Drawing, DrawingCanvas
from app.viewer.notices import Notices
from app.viewer.panels.ask import AskPanel
from app.viewer.panels.header import Header
from app.viewer.panels.see import SeePanel
from app.viewer.panels.select import SelectPanel
from app.viewer.panels.take import TakePanel
from app.viewer.photos import Photos
from app.viewer.report import told
from app.viewer.scribbling import last_prompt, marks_of, scribble_from, with_frame
from app.viewer.shortcuts import register
from app.viewer.splats import NAME as SPLATS
from app.viewer.splats import Splats
from render.errors import InputError

if TYPE_CHECKING:
    import viser

    from app.explorer.commands import Command
    from app.explorer.frames import Frame
    from app.explorer.session import Session
    from app.viewer.explorer import Explorer
    from render.camera import Camera

log = logging.getLogger(__name__)

TALLEST = 1080  # pixels of a frame; larger windows show it enlarged
JPEG = {"low": 40, "full": 90}  # quality
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
        self.look = Look()
        self.tool = "off"
        self.works: set[str] = set()  # names of what is computed for this page
        self._software = True  # until the page says who draws there
        self._asked: Scribble | None = None  # the scribble that is being answered
        self._afresh = False  # whether the next stroke begins a scribble
        self._marked = False  # whether strokes stay drawn
        self._closed = False
        self._notices = Notices(client)
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
        height = min(self.height, TALLEST) if height is None else height
        return self.explorer.world.to_scene(camera_of(self.client, max(height, 1)))

    @property
    def height(self) -> int:
        """Of the window's view, in pixels of its screen; viser reports fewer while its own drawing is slow."""
        status = self.canvas.status
        return self.client.camera.image_height if status is None else max(1, round(status.height * status.ratio))

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

    def look_at_selection(self) -> None:
        """Turn the camera to the selection's middle, which it turns around from now on."""
        document = self.session.document
        inside = document.selection.mask & document.visible
        if not bool(inside.any()):
            self.complain(InputError("Nothing is selected that could be looked at; select something first."))
            return
        middle = self.session.gaussians.means[inside.to(self.session.device)].median(dim=0).values
        self.client.camera.look_at = middle.double().cpu().numpy() * self.explorer.world.scale

    def set_look(self, look: Look) -> None:
        """Look at something else; what has to be computed for it first is, and shows its progress."""
        from app.explorer.looks import is_prepared, prepare

        try:
            ready = is_prepared(self.session, look)
        except InputError as error:
            self.see.show_chosen(self.look)
            self.complain(error)
            return
        self.look = look
        if ready:
            self.redraw()
        else:
            self.explorer.submit(
                self, f"look {id(self)}", lambda _: prepare(self.session, look), lambda _: self.redraw()
            )

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
        self._asked = command if isinstance(command, Scribble) else None
        self.explorer.run(self, command, slider=slider)

    @property
    def prompt(self) -> Command | None:
        """The prompt that was answered last, or is being answered."""
        return self._asked or last_prompt(self.session.history)

    def begin_anew(self) -> None:
        """Have the next stroke begin a scribble, wherever it is drawn."""
        self._afresh = True
        self._show_marks()

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
        if not self._closed:
            self._notices.show("fit3d", text, seconds=NOTICE_SECONDS)

    def give_up(self, error: BaseException) -> None:
        """What was asked for will not come."""
        self._asked = None
        if isinstance(error, Cancelled):
            self.tell("Cancelled; nothing was changed.")
        else:
            self.complain(error)

    def complain(self, error: BaseException) -> None:
        """Say what went wrong, and why."""
        if not isinstance(error, (InputError, OSError)):
            log.error("A page's request failed.", exc_info=error)
        if not self._closed:
            text = told(error, self.session.scene.path)
            self._notices.show("That did not work", text, seconds=FAILURE_SECONDS, color="red")

    def changed(self) -> None:
        """The document is another one."""
        if self._closed:
            return
        if self._asked is not None and self._asked == last_prompt(self.session.history):
            self._asked = None
        self.header.refresh()
        self.select.refresh()
        self.take.refresh()
        self._show_marks()
        self.redraw()

    def change_over(self, session: Session) -> None:
        """Show another session of the same place; camera, tool and look stay, as far as its fields allow.

        For the thread that computes.

        Raises:
            InputError: what is looked at cannot be made of the other session; the page shows its colours then.
        """
        from app.explorer.looks import prepare

        if self._closed:
            return
        self.session, self._asked = session, None
        frames, self._frames = self._frames, FrameWorker(session, self._deliver, failed=self.complain)
        frames.close()
        self._splats = Splats(self)
        if self.drawn_by_server:
            self.client.scene.remove_by_name(SPLATS)
        # What is known of colours does not hold any more, the colour bar's limits least of all.
        look, self.look = self.look, Look(overlay=self.look.overlay)
        self.see.refresh()
        try:
            look = look_in(session, look)
            prepare(session, look)
            self.look = look
        finally:
            self._stay_at_photo()
            self.changed()

    def close(self) -> None:
        """The page is gone."""
        self._closed = True
        self.ask.close()
        self.select.close()
        self.canvas.close()
        self._frames.close()

    def _stay_at_photo(self) -> None:
        """Whoever looks through a photo looks through the same one of the session that is shown now."""
        if self.photos.looked_through:
            pose = self.camera(64).world_to_camera
            views = self.session.scene.views
            here = min(views, key=lambda view: float((view.camera.world_to_camera - pose).abs().max()))
            self.photos.look_through(here.name)

    def _moved(self) -> None:
        self.photos.camera_moved()
        if self._marked:
            self._show_marks()
        if self.drawn_by_server:
            self.redraw(moving=True)

    def _canvas_changed(self, status: CanvasStatus) -> None:
        self._software = status.software
        self.redraw()

    def _deliver(self, frame: Frame, quality: str) -> None:
        if self._closed or not self.drawn_by_server or self.client.client_id not in self.explorer.clients:
            return
        image = self.photos.blended(frame.image)
        depth = frame.depth * self.explorer.world.scale if self.photos.shown else None
        self.client.scene.set_background_image(image, format="jpeg", jpeg_quality=JPEG[quality], depth=depth)

    def _drawn(self, drawing: Drawing) -> None:
        """A stroke, a box, an outline or a click has ended."""
        self.trying(lambda: self._answer(drawing))

    def _answer(self, drawing: Drawing) -> None:
        camera = self.camera()
        if self.tool == "inspect":
            x, y = drawing.points_at(camera.width, camera.height)[0]
            look, camera, x = part_at(self.look, camera, x)
            self.see.inspect(look, camera, (x, y))
        elif self.look.layout == "side":
            raise InputError("Two pictures are side by side; choose one picture or a wipe to draw on.")
        else:
            self.run(self._command(drawing, camera))

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
        if drawing.tool == "point":
            return Click(viewpoint, points, combine=combine, **self.select.options())
        return self._scribble(drawing, viewpoint, points, combine)

    def _scribble(self, drawing: Drawing, viewpoint: Viewpoint, points: Any, combine: Combine) -> Scribble:
        """A stroke, with those before it where all belong to one object; ctrl then marks its background."""
        last = None if self._afresh or drawing.shift or drawing.alt or self.select.combine != "set" else self.prompt
        before = scribble_from(last, viewpoint)
        self._afresh = False
        if before is None:
            stroke = Stroke(points, drawing.radius_at(viewpoint.height), drawing.positive)
            return Scribble(viewpoint, (stroke,), combine=combine, **self.select.options())
        place = before.viewpoint
        points = drawing.points_at(place.width, place.height)
        stroke = Stroke(points, drawing.radius_at(place.height), drawing.positive and not drawing.ctrl)
        return Scribble(place, with_frame(place, (*before.strokes, stroke)), **self.select.options())

    def _show_marks(self) -> None:
        """Keep the strokes of the last scribble drawn while the camera stays; anything else that is done ends them."""
        shown: list[Drawing] = []
        if not self._afresh and isinstance(self.prompt, Scribble):
            try:
                shown = marks_of(scribble_from(self.prompt, Viewpoint.of(self.camera())), self.canvas.status)
            except InputError:
                shown = []  # the page has not said yet where its camera is
        if shown or self._marked:
            self.canvas.show(shown)
        self._marked = bool(shown)

    def _actions(self) -> dict[str, Callable[[], None]]:
        from app.viewer.actions import actions_of

        return actions_of(self)


def look_in(session: Session, look: Look) -> Look:
    """A look as it can be had in a session: the same if its fields are there, else the scene's colours."""
    if look.second is not None:
        first, second = (look_in(session, part) for part in look.parts)
        return replace(first, second=second, layout=look.layout, split=look.split)
    if look.what not in ("pca", "relevancy") or (look.what == "relevancy" and look.text is None):
        return look
    name = look.field or (session.default_field if look.what == "pca" else session.default_text_field)
    if name is None or name not in session.field_names:
        return Look(overlay=look.overlay)
    if look.basis is not None and len(look.basis.mean) != session.field(name).values.shape[1]:
        return replace(look, basis=None)
    return look
