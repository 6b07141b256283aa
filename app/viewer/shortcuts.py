"""Keys, and what they do: one table for the keyboard, the command palette and the help page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import viser


@dataclass(frozen=True)
class Shortcut:
    """A key.

    Attributes:
        action: What it does, a name that :func:`register` is given a function for.
        label: The same for people.
        key: As viser names keys.
        modifier: Held with it.
    """

    action: str
    label: str
    key: str
    modifier: Literal["cmd/ctrl", "shift", "cmd/ctrl+shift"] | None = None

    @property
    def keys(self) -> str:
        """For people: ``Ctrl Shift Z``."""
        held = {None: "", "cmd/ctrl": "Ctrl ", "shift": "Shift ", "cmd/ctrl+shift": "Ctrl Shift "}[self.modifier]
        return f"{held}{self.key.capitalize()}"


MOVING = ("W", "A", "S", "D", "Q", "E", "space", "arrowup", "arrowdown", "arrowleft", "arrowright")
"""Keys that are held to move viser's camera, or to draw without moving it: alone they mean nothing else."""
SHORTCUTS = (
    Shortcut("tool off", "Camera: put the tool away", "V"),
    Shortcut("tool off", "Camera", "escape"),
    Shortcut("tool inspect", "Inspect tool", "N"),
    Shortcut("tool point", "Click tool", "C"),
    Shortcut("tool brush", "Brush tool", "B"),
    Shortcut("tool rectangle", "Box tool", "R"),
    Shortcut("tool lasso", "Lasso tool", "L"),
    Shortcut("look rgb", "Show colours", "1"),
    Shortcut("look pca", "Show features", "2"),
    Shortcut("look relevancy", "Show relevancy", "3"),
    Shortcut("look depth", "Show depth", "4"),
    Shortcut("look opacity", "Show opacity", "5"),
    Shortcut("focus", "Focus the features' colours", "F"),
    Shortcut("overlay", "Selections on or off", "O"),
    Shortcut("photos", "Photos on or off", "P"),
    Shortcut("undo", "Undo", "Z", "cmd/ctrl"),
    Shortcut("redo", "Redo", "Z", "cmd/ctrl+shift"),
    Shortcut("all", "Select all", "A", "cmd/ctrl"),
    Shortcut("grow", "Grow the selection", "G"),
    Shortcut("shrink", "Shrink the selection", "G", "shift"),
    Shortcut("invert", "Invert the selection", "I"),
    Shortcut("similar", "Select similar", "M"),
    Shortcut("clear", "Select none", "U"),
    Shortcut("hide", "Hide the selection", "H"),
    Shortcut("isolate", "Isolate the selection", "J"),
    Shortcut("show all", "Show what is hidden", "H", "shift"),
    Shortcut("remove", "Remove the selection", "X"),
    Shortcut("remove", "Remove the selection", "delete"),
    Shortcut("look at", "Orbit around the selection", "T"),
    Shortcut("cancel", "Cancel computing", "backspace"),
    Shortcut("help", "This help", "K"),
)


def register(gui: viser.GuiApi, actions: Mapping[str, Callable[[], None]]) -> None:
    """Put every shortcut into a client's command palette, where its key works.

    Args:
        gui: A client's.
        actions: A function for every action.
    """
    for shortcut in SHORTCUTS:
        handle = gui.add_command(shortcut.label, hotkey=shortcut.key, modifier=shortcut.modifier)
        action = actions[shortcut.action]
        handle.on_trigger(lambda _, action=action: action())


def keys_of(action: str) -> str:
    """The first keys of an action, for people."""
    return next(shortcut.keys for shortcut in SHORTCUTS if shortcut.action == action)


def help_text() -> str:
    """The help page, HTML in two columns."""
    rows = "".join(
        f'<div style="display:flex;gap:.8em;break-inside:avoid;padding:.1em 0">'
        f'<b style="flex:0 0 6em">{shortcut.keys}</b>'
        f"<span>{shortcut.label}</span></div>"
        for shortcut in SHORTCUTS
    )
    return (
        '<div style="font-size:.8em;line-height:1.4;padding:0 1em">'
        "<p>Drawing: <b>Shift</b> adds to the selection. <b>Ctrl</b> with the brush marks background of the strokes "
        "before, else takes away; <b>Alt</b> takes away. <b>[</b> and <b>]</b> change the brush, <b>Escape</b> gives "
        "a stroke up; the wheel, the right button, and the left one with <b>Space</b> move the camera.</p>"
        f'<div style="columns:2;column-gap:1.5em">{rows}</div>'
        "<p><b>Ctrl K</b>: all of these by name.</p></div>"
    )
