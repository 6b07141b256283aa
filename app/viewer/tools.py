"""The tools that a person can hold: one table for panels, keys and canvas."""

from __future__ import annotations

TOOLS = {
    "off": "Camera",
    "inspect": "Inspect",
    "point": "Click",
    "brush": "Brush",
    "rectangle": "Box",
    "lasso": "Lasso",
}
"""What each is called, the camera first: with it the left button moves the view."""
IN_HAND = "\N{BLACK CIRCLE} "  # before the name of the tool in hand: viser's buttons do not stay pressed


def labels(tool: str) -> tuple[str, ...]:
    """The buttons of all tools while one of them is in hand."""
    return tuple(IN_HAND * (name == tool) + label for name, label in TOOLS.items())


def tool_of(label: str) -> str:
    """The tool of a button."""
    plain = label.removeprefix(IN_HAND)
    return next(name for name, known in TOOLS.items() if known == plain)
