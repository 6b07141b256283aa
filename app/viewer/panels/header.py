"""What is always in sight: what is selected, undo and redo, what is being computed, help."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from app.viewer.shortcuts import help_text, keys_of
from app.viewer.tools import TOOLS

if TYPE_CHECKING:
    import viser

    from app.explorer.worker import Busy
    from app.viewer.page import Page

READY = frozenset({"prepare", "rehearsal", "solver"})  # what is done before the first prompt
NOTICE = 2.0  # seconds from which on a computation is also told where no panel can hide it


class Header:
    """The top of a page's panel."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._notice: viser.NotificationHandle | None = None
        gui, explorer = page.client.gui, page.explorer
        self._status = gui.add_html("")
        history = gui.add_button_group(
            "Edit",
            ("Undo", "Redo", "Keys"),
            hint=f"Undo {keys_of('undo')}, redo {keys_of('redo')}, all keys {keys_of('help')}",
        )
        history.on_click(lambda _: self._pressed(history.value))
        self._what = gui.add_html("", visible=False)
        self._bar = gui.add_progress_bar(0.0, visible=False, animated=True)
        self._cancel = gui.add_button(
            "Cancel", color="red", visible=False, hint=f"Give up what is computed for you ({keys_of('cancel')})"
        )
        self._cancel.on_click(lambda _: explorer.cancel(page))

    def refresh(self) -> None:
        """Say again what is selected, and with which tool."""
        document = self._page.session.document
        count, gone = len(document.selection), int(document.removed.sum())
        hidden = int((document.hidden & ~document.removed).sum())
        colour = "rgb({},{},{})".format(*document.selections[document.active].colour)
        parts = [
            f'<b style="color:{colour}">&#9632;</b> <b>{html.escape(document.active)}</b>: {count:,} of '
            f"{document.n:,} Gaussians",
            *([f"{hidden:,} hidden"] if hidden else []),
            *([f"{gone:,} removed"] if gone else []),
            f"tool: {TOOLS[self._page.tool]}",
        ]
        last = self._page.session.history.last
        done = f"<br>last: {html.escape(last.command.title)}" if last is not None else ""
        self._status.content = f'<div style="padding:.4em 1em;font-size:.85em">{" &middot; ".join(parts)}{done}</div>'

    def show_busy(self, busy: Busy | None) -> None:
        """Show how far a computation is; None = nothing is computed.

        Only who waits for something is offered to cancel.
        """
        waits = bool(self._page.works)
        for handle in (self._what, self._bar):
            handle.visible = busy is not None
        self._cancel.visible = busy is not None and waits
        text = "" if busy is None else progress_text(busy)
        if busy is not None:
            self._what.content = f'<div style="padding:0 1em;font-size:.85em">{html.escape(text)}</div>'
            self._bar.value = 100.0 * busy.done / busy.total if busy.total else 100.0
        hint = f" ({keys_of('cancel')} cancels)" if waits else ""
        self._show_notice(f"{text}{hint}" if busy is not None and busy.seconds > NOTICE else None)

    def _show_notice(self, text: str | None) -> None:
        """Tell over the view what is computed: whoever scrolled the panel does not see its head."""
        notice = self._notice
        if text is None:
            self._notice = None
            if notice is not None:
                notice.remove()
        elif notice is None:
            self._notice = self._page.client.add_notification("Computing", text, loading=True, with_close_button=False)
        elif notice.body != text:
            notice.body = text

    def _pressed(self, button: str) -> None:
        if button == "Keys":
            self.help()
        else:
            (self._page.explorer.undo if button == "Undo" else self._page.explorer.redo)(self._page)

    def help(self) -> None:
        """Show the keys."""
        gui = self._page.client.gui
        with gui.add_modal("Keys") as modal:
            gui.add_html(help_text())
            gui.add_button("Close").on_click(lambda _: modal.close())


def progress_text(busy: Busy) -> str:
    """How far a computation is."""
    done = f" {busy.done} of {busy.total}" if busy.total else ""
    what = busy.what or busy.name.rsplit(" ", 1)[0]  # without the number that tells works apart
    return f"{'getting ready' if what in READY else what}{done}, {busy.seconds:.0f} s"
