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


SHORTCUTS = (
    Shortcut("tool off", "Move the camera", "V"),
    Shortcut("tool inspect", "Inspect tool: read what lies under a click", "N"),
    Shortcut("tool point", "Click tool", "C"),
    Shortcut("tool brush", "Brush tool", "B"),
    Shortcut("tool rectangle", "Rectangle tool", "R"),
    Shortcut("tool lasso", "Lasso tool", "L"),
    Shortcut("look rgb", "Show colours", "1"),
    Shortcut("look pca", "Show features (PCA)", "2"),
    Shortcut("look relevancy", "Show relevancy", "3"),
    Shortcut("look depth", "Show depth", "4"),
    Shortcut("look opacity", "Show opacity", "5"),
    Shortcut("focus", "Focus the feature colours on what is seen", "F"),
    Shortcut("overlay", "Show or hide the selections", "O"),
    Shortcut("photos", "Show or hide the photos' cameras", "P"),
    Shortcut("undo", "Undo", "Z", "cmd/ctrl"),
    Shortcut("redo", "Redo", "Z", "cmd/ctrl+shift"),
    Shortcut("grow", "Grow the selection", "G"),
    Shortcut("shrink", "Shrink the selection", "G", "shift"),
    Shortcut("invert", "Invert the selection", "I"),
    Shortcut("similar", "Select what is similar", "S"),
    Shortcut("clear", "Clear the selection", "D"),
    Shortcut("hide", "Hide the selection", "H"),
    Shortcut("isolate", "Show the selection alone", "J"),
    Shortcut("show all", "Show what is hidden", "H", "shift"),
    Shortcut("remove", "Remove the selection", "X"),
    Shortcut("cancel", "Cancel what is being computed", "Q"),
    Shortcut("help", "This page", "K"),
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


def help_text() -> str:
    """The help page, Markdown."""
    rows = [f"| {shortcut.keys} | {shortcut.label} |" for shortcut in SHORTCUTS]
    return "\n".join(
        [
            "With a drawing tool: **Shift** adds to the selection, **Ctrl** takes away from it, **[** and **]** change "
            "the brush, **Escape** gives a stroke up, the wheel and the right button still move the camera.",
            "",
            "| key | |",
            "| --- | --- |",
            *rows,
            "",
            "The command palette (Ctrl K) finds all of these by name.",
        ]
    )
