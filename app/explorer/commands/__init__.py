"""Everything that can be done to a document, as frozen dataclasses of plain JSON values."""

from __future__ import annotations

from typing import Any

from app.explorer.commands import encoding
from app.explorer.commands.asking import Similar, Text
from app.explorer.commands.base import Combine, Command, cut_of, edits_of
from app.explorer.commands.changing import All, Clear, Grow, Invert, Largest, Shrink, Threshold
from app.explorer.commands.drawing import Click, Lasso, Rectangle, Scribble
from app.explorer.commands.encoding import fields_in_words
from app.explorer.commands.naming import Activate, Colour, Delete, Load, NewSelection, Rename, Show, ShowOthers
from app.explorer.commands.sight import Hide, Isolate, Remove, Restore, ShowAll
from app.explorer.commands.viewpoint import Stroke, Viewpoint

__all__ = [
    "KINDS",
    "Activate",
    "All",
    "Clear",
    "Click",
    "Colour",
    "Combine",
    "Command",
    "Delete",
    "Grow",
    "Hide",
    "Invert",
    "Isolate",
    "Largest",
    "Lasso",
    "Load",
    "NewSelection",
    "Rectangle",
    "Remove",
    "Rename",
    "Restore",
    "Scribble",
    "Show",
    "ShowAll",
    "ShowOthers",
    "Shrink",
    "Similar",
    "Stroke",
    "Text",
    "Threshold",
    "Viewpoint",
    "command_from_json",
    "command_to_json",
    "cut_of",
    "edits_of",
    "fields_in_words",
]

_COMMANDS: tuple[type[Command], ...] = (
    Scribble,
    Click,
    Rectangle,
    Lasso,
    Text,
    Similar,
    Grow,
    Shrink,
    Largest,
    Invert,
    Clear,
    All,
    Threshold,
    NewSelection,
    Rename,
    Delete,
    Activate,
    Show,
    ShowOthers,
    Colour,
    Hide,
    Isolate,
    ShowAll,
    Remove,
    Restore,
    Load,
)
KINDS: dict[str, type[Command]] = {command.kind: command for command in _COMMANDS}


def command_to_json(command: Command) -> dict[str, Any]:
    """The command as JSON values: its fields, and under ``kind`` what it is."""
    return encoding.to_json(command)


def command_from_json(value: object) -> Command:
    """The command that some JSON value describes.

    Raises:
        InputError: it describes none: the sentence says where and why.  Nothing else is ever raised.
    """
    return encoding.from_json(value, KINDS)
