"""What shortcuts do in a page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, get_args

from app.explorer.commands import All, Clear, Grow, Hide, Invert, Isolate, ShowAll, Shrink
from app.explorer.looks import What
from app.viewer.tools import TOOLS

if TYPE_CHECKING:
    from app.explorer.commands import Command
    from app.viewer.page import Page

SIMPLE = {
    "all": All,
    "grow": Grow,
    "shrink": Shrink,
    "invert": Invert,
    "clear": Clear,
    "hide": Hide,
    "isolate": Isolate,
    "show all": ShowAll,
}


def actions_of(page: Page) -> dict[str, Callable[[], None]]:
    """A function for every action of ``shortcuts.SHORTCUTS``."""
    explorer = page.explorer
    return {
        **{f"tool {tool}": partial(page.use, tool) for tool in TOOLS},
        **{f"look {what}": partial(page.see.choose, what) for what in get_args(What)},
        **{name: partial(_run, page, command) for name, command in SIMPLE.items()},
        "similar": page.select.similar,
        "remove": page.select.remove,
        "look at": page.look_at_selection,
        "focus": page.see.focus_on_view,
        "overlay": page.see.toggle_overlay,
        "photos": page.see.toggle_photos,
        "undo": partial(explorer.undo, page),
        "redo": partial(explorer.redo, page),
        "cancel": partial(explorer.cancel, page),
        "help": page.header.help,
    }


def _run(page: Page, command: Callable[[], Command]) -> None:
    page.attempt(command)
