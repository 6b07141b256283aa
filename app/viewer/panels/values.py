"""Values of a panel's controls: what a person changed, and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from app.explorer.looks import What

T = TypeVar("T")

NONE = "(none)"
WHAT: dict[What, str] = {
    "rgb": "colours",
    "pca": "features (PCA)",
    "relevancy": "relevancy",
    "depth": "depth",
    "opacity": "opacity",
}


def by_person(event: Any, act: Callable[[], object]) -> None:
    """Act if a person changed a control; what the program shows is no action."""
    if event.client_id is not None:
        act()


def show_value(handle: Any, value: Any, name: str = "value") -> None:
    """Have a control show something; every assignment is a message to the page."""
    if getattr(handle, name) != value:
        setattr(handle, name, value)


def key_of(labels: Mapping[T, str], label: str) -> T:
    """What a label stands for."""
    return next(key for key, known in labels.items() if known == label)
