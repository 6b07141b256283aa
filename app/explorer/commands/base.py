"""What all commands share: how they are made, how they combine, and what a selection remembers of them."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import torch

from app.explorer.document import Document
from render.errors import InputError
from render.progress import Progress, silent
from uplift.selection import BOUNDARY, Selection

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor

    from app.explorer.session import Session

Combine: TypeAlias = Literal["set", "add", "subtract", "intersect"]
SIGNS = {"set": "", "add": "add ", "subtract": "subtract ", "intersect": "intersect with "}
CUT = "cut"  # in a selection's record: the threshold that its scores were cut at since it was made
REMEMBERED = 50  # edits that a selection's record lists
MOST_CHARACTERS = 100  # of a name; file systems take 255 bytes
MOST_TEXT = 300  # characters of a text to search
LARGEST = 1e9  # number that any field may hold
SLIDERS = frozenset({"bandwidth", "threshold", "steps", "colour", "value", "method", "field"})  # fields that they set
FORBIDDEN = '/\\:*?"<>|'  # what a file name cannot hold everywhere


@dataclass(frozen=True)
class Work:
    """What a command is applied to.

    Attributes:
        session: The scene, and what was prepared for it.
        document: What the command is done to; the session may show another one.
        progress: Told of long work; raising from it cancels.
    """

    session: Session
    document: Document
    progress: Progress = silent


@dataclass(frozen=True)
class Command(ABC):
    """Something that can be done to a document and undone; its fields are plain JSON values.

    Attributes:
        kind: Its name in JSON.
        adjusts: Whether it moves a threshold or changes how a selection is shown: sliders of the prompt before it
            may still be moved, and it is done again after them.
    """

    kind: ClassVar[str]
    adjusts: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @property
    @abstractmethod
    def title(self) -> str:
        """What is done, in a few words, for a list of edits."""

    @property
    def target(self) -> Hashable:
        """What the command is about: its kind and all fields but those that sliders set."""
        kept = [(one.name, getattr(self, one.name)) for one in fields(self) if one.name not in SLIDERS]
        return self.kind, *kept

    @abstractmethod
    def apply(self, work: Work) -> Document:
        """The document that the command makes of another one, which stays as it is.

        Raises:
            InputError: it cannot be done.
        """


@dataclass(frozen=True, eq=False)
class Same:
    """A key that is equal for the same object alone, which it keeps alive."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def combined(document: Document, found: Selection, how: Combine, title: str) -> Document:
    """The document with what a prompt found, put together with the active selection.

    Hidden and removed Gaussians are never found.
    """
    new = only_visible(document, found.to("cpu"))
    old = document.selection
    if how == "set":
        return document.with_selection(remembering(new, [title]))
    joined = {"add": old.__or__, "subtract": old.__sub__, "intersect": old.__and__}[how](new)
    edits = [*edits_of(old), SIGNS[how] + title]
    return document.with_selection(remembering(replace(joined, about={"method": "combined"}), edits))


def changed(document: Document, selection: Selection, title: str) -> Document:
    """The document with the active selection changed; its record says so."""
    old = document.selection
    kept = {key: value for key, value in old.about.items() if key != CUT}
    edits = [*edits_of(old), title]
    return document.with_selection(remembering(replace(selection, about=kept), edits))


def edits_of(selection: Selection) -> list[str]:
    """What a selection remembers of how it was edited."""
    edits = selection.about.get("edits")
    # A file that somebody else wrote may say anything.
    return [edit for edit in edits if isinstance(edit, str)] if isinstance(edits, list) else []


def cut_of(selection: Selection) -> float:
    """Where a selection's scores are cut, in their unit when it was made; 0.5 unless a threshold moved it."""
    cut = selection.about.get(CUT)
    return cut if isinstance(cut, float) and 0 < cut <= LARGEST else BOUNDARY


def remembering(selection: Selection, edits: list[str]) -> Selection:
    """The selection with a record of what was done; flat, so that long work does not nest it ever deeper."""
    return selection.with_about(edits=edits[-REMEMBERED:])


def only_visible(document: Document, selection: Selection) -> Selection:
    """Without what is hidden or removed."""
    if document.all_visible:
        return selection
    visible = document.visible
    return replace(selection, mask=selection.mask & visible, scores=torch.where(visible, selection.scores, 0.0))


def selected_and_visible(document: Document) -> Bool[Tensor, " n"]:
    """What the active selection holds of what is visible.

    Raises:
        InputError: nothing.
    """
    inside = document.selection.mask & document.visible
    if not bool(inside.any()):
        raise InputError(f"The selection {document.active!r} holds no visible Gaussian; select something first.")
    return inside


def check_choice(what: str, value: object, choices: Any) -> None:
    """Raise InputError unless a value is one of a Literal's."""
    if value not in get_args(choices):
        raise InputError(f"The {what} must be one of {', '.join(get_args(choices))}, found {value!r}.")


def check_number(what: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless a number lies in ``[low, high]``."""
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"The {what} must be from {low:g} to {high:g}, found {value:g}.")


def check_positive(**values: float | None) -> None:
    """Raise InputError for a value that is given and not greater than 0."""
    for name, value in values.items():
        if value is not None and not 0 < value <= LARGEST:
            raise InputError(f"The {name.replace('_', ' ')} must be greater than 0, found {value:g}.")


def check_name(name: str) -> None:
    """Raise InputError unless a selection can have that name, in a list and as a file."""
    if not 0 < len(name) <= MOST_CHARACTERS or name != name.strip() or name.startswith("."):
        raise InputError(
            f"A name has 1 to {MOST_CHARACTERS} characters and begins with none of dot and space, found "
            f"{name[:MOST_CHARACTERS]!r}."
        )
    if any(character in FORBIDDEN for character in name) or not name.isprintable():
        raise InputError(f"A name has none of the characters {FORBIDDEN}, found {name!r}.")
    if len(name.encode("utf-8")) > 2 * MOST_CHARACTERS:
        raise InputError(f"The name {name!r} is too long for a file; shorten it.")


def check_text(text: str) -> None:
    """Raise InputError unless a text can be searched for."""
    if not text.strip() or len(text) > MOST_TEXT or not text.isprintable():
        raise InputError(f"A text to search has 1 to {MOST_TEXT} characters in one line, found {text[:MOST_TEXT]!r}.")


def known(what: str, name: str, names: Mapping[str, Any]) -> None:
    """Raise InputError unless a name is known."""
    if name not in names:
        raise InputError(f"There is no {what} {name!r}; there are {', '.join(names) or 'none'}.")
