"""The explorer in browsers: pages come and go, what they do reaches one session through one worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from app.explorer.rehearsal import prepare_prompts, prepare_texts
from app.explorer.worker import Cancelled, ComputeWorker
from app.viewer._internals import may_have_left
from app.viewer.page import Page
from app.viewer.world import World
from render.errors import InputError
from render.progress import Progress

if TYPE_CHECKING:
    import viser

    from app.explorer.commands import Command
    from app.explorer.document import Document
    from app.explorer.session import Session
    from app.viewer.server import SecureServer

log = logging.getLogger(__name__)

Draw: TypeAlias = Literal["auto", "browser", "server"]
TICK = 0.15  # seconds between looks at what is computed
PATIENCE = 0.5  # seconds from which on a computation is shown
# Seconds that an end waits for an encoder that is being loaded: a thread within a library's own code aborts the
# process when Python ends beneath it.  A download takes longer, and may be cut off.
LAST_WAIT = 20.0
ELSEWHERE = (
    "Another explorer has this scene open and keeps its work there; what is done here is not kept, so save selections "
    "by hand."
)


class Explorer:
    """A session that is shown in browsers.

    Args:
        session: The scene.
        server: Where pages connect.
        draw: Who draws colours and features: the browser splats them, or the server renders frames (as depth, and
            everything that is compared, always); auto = the server for browsers without a graphics card.
    """

    def __init__(self, session: Session, server: SecureServer, *, draw: Draw = "auto") -> None:
        self.session, self.server, self.draw = session, server, draw
        self.world = World.of(session.scene, session.gaussians)
        self.compute = ComputeWorker()
        self.exports = ComputeWorker()  # what is written must not keep anybody from selecting
        self._pages: dict[int, Page] = {}
        self._numbers = count()
        self._commands: dict[str, Command] = {}  # that are computed and may be given up, the newest last, by work
        self._books = threading.RLock()  # held while works begin and end; one that ends at once ends within
        self._doing = threading.local()  # the command of the thread that computes
        self._greeted = False  # whether a page has told how the session began
        self._closing = threading.Event()
        self.editing = threading.RLock()
        """Held while edits are undone, done again, or taken over by another session."""
        self._unsubscribe = session.subscribe(self._changed)
        server.viser.scene.set_up_direction(tuple(self.world.up))
        self._set_first_look()
        server.viser.gui.configure_theme(
            control_layout="collapsible", control_width="medium", dark_mode=True, show_share_button=False
        )
        server.viser.on_client_connect(self._connected)
        server.viser.on_client_disconnect(self._disconnected)
        self._ticker = threading.Thread(target=self._tick, name="explorer-ticker", daemon=True)
        self._ticker.start()
        self.compute.submit("prepare", self._prepare, self._prepared)
        # Beside the worker: loading an encoder takes seconds in which nobody needs to wait for a stroke.
        self._texts = threading.Thread(target=self._prepare_texts, name="explorer-texts", daemon=True)
        self._texts.start()

    @property
    def pages(self) -> list[Page]:
        """The pages that are open now."""
        return list(self._pages.values())

    @property
    def clients(self) -> Collection[int]:
        """Numbers of the clients that are connected now; a page is closed a moment after its client has left."""
        return self.server.viser.get_clients().keys()

    def run(self, page: Page, command: Command, *, slider: bool = False) -> None:
        """Do a command; what a slider asks for replaces what it asked before."""
        number = page.client.client_id  # two persons' sliders do not replace each other
        slides = f"slider {command.kind} {number}-{hash(command.target):x}"
        name = slides if slider else self.name(command.kind)

        def work(progress: Progress) -> Document:
            self._doing.work = name, command
            session = self.session  # another one may be shown by now
            return session.amend(command, progress) if slider else session.run(command, progress)

        with self._books:
            self._commands.pop(name, None)
            self._commands[name] = command
        self.submit(page, name, work, ended=partial(self._ended, page, name, command), interrupt=not slider)

    def name(self, what: str) -> str:
        """A name for work that replaces no other."""
        return f"{what} {next(self._numbers)}"

    def submit(
        self,
        page: Page,
        name: str,
        work: Callable[[Progress], Any],
        done: Callable[[Any], None] | None = None,
        *,
        ended: Callable[[], None] | None = None,
        interrupt: bool = True,
        worker: ComputeWorker | None = None,
    ) -> None:
        """Have something computed for a page, by the worker for prompts or another; its failures are told there.

        Args:
            page: The page.
            name: Work of one name replaces older work of that name.
            work: What is done.
            done: Called with what it returns.
            ended: Called before, and also if it fails.
            interrupt: Whether running work of that name is interrupted.
            worker: Who does it; None = the worker for prompts.
        """
        chosen = self.compute if worker is None else worker
        with self._books:
            page.works.add(name)
            chosen.submit(name, work, partial(self._done, page, name, chosen, done, ended), interrupt=interrupt)

    def cancel(self, page: Page) -> None:
        """Give up what is computed and written for a page; others keep what they wait for."""
        for name in list(page.works):
            for worker in (self.compute, self.exports):
                worker.cancel(name)

    def undo(self, page: Page) -> None:
        """Give up the newest command that this page waits for; without any, take the last edit back."""
        with self._books:
            name = next((name for name in reversed(self._commands) if name in page.works), None)
            if name is not None:
                del self._commands[name]
        if name is not None:
            self.compute.cancel(name)
            return
        with self.editing:
            if self.session.undo() is None:
                page.tell("There is nothing to undo.")

    def redo(self, page: Page) -> None:
        """Do again what was taken back last."""
        with self.editing:
            if self.session.redo() is None:
                page.tell("There is nothing to redo.")

    def change_over(self, session: Session) -> None:
        """Show another session of the same place on all pages, and close the one that was shown.

        For the thread that computes: what it does next is done to the new session.  Whoever takes edits over holds
        ``editing``.
        """
        self._unsubscribe()
        before, self.session, self._greeted = self.session, session, False
        self._unsubscribe = session.subscribe(self._changed)
        for page in self.pages:
            self._change_over(page)
        before.close()

    def close(self) -> None:
        """Let go of all pages and write what is not written yet."""
        self._closing.set()
        self._unsubscribe()
        self.server.close()
        self._ticker.join()
        self.compute.close()
        self.exports.close()
        self._texts.join(LAST_WAIT)
        for page in self.pages:
            page.close()
        self._pages.clear()
        self.session.close()

    def _set_first_look(self) -> None:
        """Pages begin at the first photo's place, and go back there when their view is reset."""
        views = self.session.scene.views
        if not views:
            return
        camera = self.world.to_shown(views[0].camera)
        first = self.server.viser.initial_camera
        position = camera.centre.double().numpy()
        down, ahead = camera.world_to_camera[1:3, :3].double().numpy()
        # What the camera turns around: as far ahead as the middle of the scene.
        reach = max(float(ahead @ (self.world.centre * self.world.scale - position)), 1.0)
        first.position, first.look_at, first.up = position, position + reach * ahead, -down
        first.fov = 2 * float(np.arctan(0.5 * camera.height / float(camera.K[1, 1])))

    def _prepare(self, progress: Progress) -> None:
        """What the first prompt would wait for."""
        prepare_prompts(self.session, progress)

    def _prepared(self, result: object) -> None:
        if isinstance(result, BaseException) and not isinstance(result, Cancelled):
            log.warning("Not ready for prompts yet: %s", result)  # whoever asks is told why

    def _prepare_texts(self) -> None:
        """What the first text would wait for."""
        try:
            prepare_texts(self.session, self._go_on)
        except Cancelled:
            return
        except (InputError, OSError, RuntimeError) as error:
            log.warning("Not ready for texts yet: %s", error)

    def _go_on(self, *_: object) -> None:
        """A progress that ends what is prepared when nobody will ask any more."""
        if self._closing.is_set():
            raise Cancelled("The explorer is closed.")

    def _done(
        self,
        page: Page,
        name: str,
        worker: ComputeWorker,
        done: Callable[[Any], None] | None,
        ended: Callable[[], None] | None,
        result: Any,
    ) -> None:
        with self._books:
            if not worker.awaits(name):  # a slider may have moved on
                page.works.discard(name)
        if ended is not None:
            ended()
        if isinstance(result, BaseException):
            page.give_up(result)
        elif done is not None:
            try:
                done(result)
            except (InputError, OSError, RuntimeError) as error:
                page.complain(error)

    def _ended(self, page: Page, name: str, command: Command) -> None:
        self._forget(name, command)
        page.prompting.answered(command)

    def _forget(self, name: str, command: Command) -> None:
        """A command cannot be given up any more."""
        with self._books:
            if self._commands.get(name) is command:
                del self._commands[name]

    def _changed(self, _: Document, __: Document) -> None:
        if hasattr(self._doing, "work"):
            self._forget(*self._doing.work)  # who sees it done and takes it back means the edit
        for page in self.pages:
            try:
                page.changed()
            except (InputError, OSError, RuntimeError) as error:
                page.complain(error)  # the others are told all the same

    def _connected(self, client: viser.ClientHandle) -> None:
        with may_have_left(client):
            page = Page(self, client)
        self._pages[client.client_id] = page
        if page.session is not self.session:  # it changed while the page was made
            self._change_over(page)
        if client.client_id not in self.clients:  # it left while the page was made
            self._disconnected(client)
        else:
            self._greet(page)

    def _greet(self, page: Page) -> None:
        """Tell how the session began: whether it is kept to every page, what became of the last one to the first."""
        session = self.session
        first, self._greeted = not self._greeted, True
        if session.kept_elsewhere:
            page.tell(ELSEWHERE)
        elif first and session.begun_anew is not None:
            page.warn("A new session", session.begun_anew)
        elif first and session.recovered:
            page.tell("The selections of the last session were restored.")

    def _change_over(self, page: Page) -> None:
        try:
            page.change_over(self.session)
        except (InputError, OSError, RuntimeError) as error:
            page.complain(error)

    def _disconnected(self, client: viser.ClientHandle) -> None:
        page = self._pages.pop(client.client_id, None)
        if page is not None:
            self.cancel(page)  # nobody waits for it any more
            page.close()

    def _tick(self) -> None:
        """Show on every page what has been computed for a while."""
        shown = False
        while not self._closing.wait(TICK):
            slow = [busy for one in (self.compute, self.exports) if (busy := one.busy) and busy.seconds > PATIENCE]
            if slow or shown:
                for page in self.pages:
                    own = (busy for busy in slow if busy.name in page.works)
                    page.header.show_busy(next(own, slow[0] if slow else None))
            shown = bool(slow)
