"""Commands for the list of selections: make, name, choose, show, colour, load."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from app.explorer.commands.base import Command, Work, check_name, known
from app.explorer.document import PALETTE, RGB, Document, Named
from render.errors import InputError
from uplift.selection import Selection


@dataclass(frozen=True)
class NewSelection(Command):
    """Add an empty selection and make it the active one."""

    name: str
    colour: RGB | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        check_colour(self.colour)

    @property
    def title(self) -> str:
        """What is done."""
        return f"new selection {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        _refuse_taken(document, self.name)
        empty = Selection.from_mask(torch.zeros(document.n, dtype=torch.bool))
        named = Named(empty, self.colour or free_colour(document))
        return replace(document.with_named(self.name, named), active=self.name)


@dataclass(frozen=True)
class Rename(Command):
    """Give the active selection another name."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def title(self) -> str:
        """What is done."""
        return f"rename to {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        if self.name == document.active:
            return document
        _refuse_taken(document, self.name)
        renamed = {self.name if name == document.active else name: one for name, one in document.selections.items()}
        return replace(document, selections=renamed, active=self.name)


@dataclass(frozen=True)
class Delete(Command):
    """Take a selection off the list; its Gaussians stay."""

    name: str

    @property
    def title(self) -> str:
        """What is done."""
        return f"delete selection {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        known("selection", self.name, document.selections)
        left = {name: one for name, one in document.selections.items() if name != self.name}
        if not left:
            raise InputError(f"{self.name!r} is the only selection; clear it instead.")
        if document.active != self.name:
            return replace(document, selections=left)
        # The one before it, or the first.
        place = max(0, list(document.selections).index(self.name) - 1)
        return replace(document, selections=left, active=list(left)[place])


@dataclass(frozen=True)
class Activate(Command):
    """Choose the selection that prompts change."""

    name: str

    @property
    def title(self) -> str:
        """What is done."""
        return f"choose {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        known("selection", self.name, document.selections)
        return document if self.name == document.active else replace(document, active=self.name)


@dataclass(frozen=True)
class Show(Command):
    """Draw a selection over the scene, or do not."""

    adjusts = True
    name: str
    shown: bool = True

    @property
    def title(self) -> str:
        """What is done."""
        return f"{'show' if self.shown else 'do not show'} {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        known("selection", self.name, document.selections)
        named = document.selections[self.name]
        if named.shown == self.shown:
            return document
        return document.with_named(self.name, replace(named, shown=self.shown))


@dataclass(frozen=True)
class ShowOthers(Command):
    """Draw all selections but the active one over the scene, or do not."""

    adjusts = True
    shown: bool = True

    @property
    def title(self) -> str:
        """What is done."""
        return f"{'show' if self.shown else 'do not show'} the other selections"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        others = {name: one for name, one in document.selections.items() if name != document.active}
        changed = {name: replace(one, shown=self.shown) for name, one in others.items() if one.shown != self.shown}
        return replace(document, selections={**document.selections, **changed}) if changed else document


@dataclass(frozen=True)
class Colour(Command):
    """Give a selection another colour."""

    adjusts = True
    name: str
    colour: RGB

    def __post_init__(self) -> None:
        check_colour(self.colour)

    @property
    def title(self) -> str:
        """What is done."""
        return f"colour of {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        known("selection", self.name, document.selections)
        named = document.selections[self.name]
        if named.colour == self.colour:
            return document
        return document.with_named(self.name, replace(named, colour=self.colour))


@dataclass(frozen=True)
class Load(Command):
    """Take a selection of the scene's folder into the list, in the place of one of that name, and make it active."""

    name: str

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def title(self) -> str:
        """What is done."""
        return f"load {self.name!r}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        from app.scenes import load_selection

        loaded = load_selection(work.session.scene, self.name)
        there = document.selections.get(self.name)
        named = Named(loaded, free_colour(document)) if there is None else replace(there, selection=loaded)
        return replace(document.with_named(self.name, named), active=self.name)


def free_colour(document: Document) -> RGB:
    """The first colour that no selection has, or the one that comes next."""
    used = {named.colour for named in document.selections.values()}
    free = [colour for colour in PALETTE if colour not in used]
    return free[0] if free else PALETTE[len(document.selections) % len(PALETTE)]


def _refuse_taken(document: Document, name: str) -> None:
    if name in document.selections:
        raise InputError(f"There is a selection {name!r} already; choose another name.")


def check_colour(colour: RGB | None) -> None:
    """Raise InputError unless a colour, if there is one, is one of bytes."""
    if colour is not None and not all(0 <= value <= 255 for value in colour):
        raise InputError(f"A colour is three whole numbers from 0 to 255, found {colour}.")
