"""The picture of one page: splats of its browser or frames of the server, always of what was asked for last."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from app.explorer.frame_worker import FrameWorker
from app.explorer.looks import Look, is_prepared, look_in, prepare
from app.viewer._internals import may_have_left
from app.viewer.splats import NAME as SPLATS
from app.viewer.splats import Splats
from render.errors import InputError

if TYPE_CHECKING:
    from app.explorer.frames import Frame
    from app.viewer.page import Page

JPEG = {"low": 40, "full": 90}  # quality


class Showing:
    """What a page looks at.

    Args:
        page: The page.

    Attributes:
        look: What was asked for last.
        shown: What is drawn: the same, once all that it needs is made.
        software: Whether the browser draws without a graphics card.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.look = self.shown = Look()
        self.software = True  # until the page says who draws there
        self._choosing = threading.Lock()  # held while what is looked at, or shown, becomes another look
        self._drawing = threading.Lock()  # what is drawn last must be what was asked for last
        self._frames = FrameWorker(page.session, self._deliver, failed=page.complain)
        self._splats = Splats(page)

    @property
    def drawn_by_server(self) -> bool:
        """Whether frames of the server are shown, instead of splats of the browser."""
        whole = self.shown.layout != "single" or self.shown.what in ("depth", "opacity") or self._page.photos.compared
        draw = self._page.explorer.draw
        return whole or draw == "server" or (draw == "auto" and self.software)

    def set_look(self, look: Look) -> None:
        """Look at something else; what has to be computed for it first is, while the picture stays as it was."""
        page = self._page
        try:
            ready = is_prepared(page.session, look)
        except InputError as error:
            page.see.show_chosen(self.look)
            page.complain(error)
            return
        with self._choosing:
            self.look = look
        if ready:
            self._show(look)
        else:
            page.explorer.submit(page, self._work, lambda _: prepare(page.session, look), lambda _: self._show(look))

    def give_up(self) -> None:
        """Go back to what is shown, if what was asked for cannot be had."""
        with self._choosing:
            given_up = self.look is not self.shown and self._work not in self._page.works
            if given_up:
                self.look = self.shown
        if given_up:
            self._page.see.show_chosen(self.look)

    def redraw(self, *, moving: bool = False) -> None:
        """Show what is looked at as it is now."""
        if self._page.closed:
            return
        self._page.see.refresh()
        with self._drawing:
            if not self.drawn_by_server:
                self._splats.show(self.shown)
                return
            # Splats stay until the first frame is there.
            try:
                self._frames.request(self._page.camera(), self.shown, moving)
            except InputError:
                return  # the page has not said yet where its camera is

    def change_over(self) -> None:
        """Show the page's session, which is another one now, as far as its fields allow.

        Raises:
            InputError: what is looked at cannot be made of it; its colours are shown then.
        """
        page = self._page
        frames, self._frames = self._frames, FrameWorker(page.session, self._deliver, failed=page.complain)
        frames.close()
        self._splats = Splats(page)
        if self.drawn_by_server:
            page.client.scene.remove_by_name(SPLATS)
        # What is known of colours does not hold any more, the colour bar's limits least of all.
        with self._choosing:
            before, plain = self.look, Look(overlay=self.look.overlay)
            self.look = self.shown = plain
        page.see.refresh()
        look = look_in(page.session, before)
        prepare(page.session, look)
        with self._choosing:
            if self.look is plain:  # nobody chose another one meanwhile
                self.look = self.shown = look

    def close(self) -> None:
        """The page is gone."""
        self._frames.close()

    @property
    def _work(self) -> str:
        """The name of what is computed for a look."""
        return f"look {id(self._page)}"

    def _show(self, look: Look) -> None:
        with self._choosing:
            if look is not self.look:
                return
            self.shown = look
        self.redraw()

    def _deliver(self, frame: Frame, quality: str) -> None:
        page = self._page
        with self._drawing:
            if page.closed or not self.drawn_by_server or page.client.client_id not in page.explorer.clients:
                return
            image = page.photos.blended(frame.image)
            depth = frame.depth * page.explorer.world.scale if page.photos.shown else None
            with may_have_left(page.client), page.client.atomic():
                page.client.scene.set_background_image(image, format="jpeg", jpeg_quality=JPEG[quality], depth=depth)
                self._splats.hide()
