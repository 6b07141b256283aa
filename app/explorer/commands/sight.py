"""Commands that take Gaussians out of sight or away, and bring them back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from app.explorer.commands.base import Command, Work, check_number, selected_and_visible
from app.explorer.document import Document

MOST_MARGIN = 20


@dataclass(frozen=True)
class Hide(Command):
    """Hide what is selected."""

    title = "hide the selection"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        return replace(document, hidden=document.hidden | selected_and_visible(document))


@dataclass(frozen=True)
class Isolate(Command):
    """Hide all but what is selected."""

    title = "show the selection alone"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        return replace(document, hidden=document.hidden | ~selected_and_visible(document))


@dataclass(frozen=True)
class ShowAll(Command):
    """Show again all that is hidden."""

    title = "show all"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        if not bool(document.hidden.any()):
            return document
        return replace(document, hidden=torch.zeros_like(document.hidden))


@dataclass(frozen=True)
class Remove(Command):
    """Take away what is selected, with a margin of so many neighbours; 0 = exactly what is selected, and tinted.

    With a margin, rims and hidden sides that score 0.2 or more go along, of which a faint shell may stay else.
    """

    margin: int = 0

    def __post_init__(self) -> None:
        check_number("margin", self.margin, 0, MOST_MARGIN)

    @property
    def title(self) -> str:
        """What is done."""
        return "remove the selection" + (f", margin {self.margin}" if self.margin else "")

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        gone = selected_and_visible(document)
        if self.margin and document.n > 1:
            wider = document.selection.with_margin(work.session.graph(progress=work.progress), self.margin)
            gone = wider.mask & document.visible
        return replace(document, removed=document.removed | gone)


@dataclass(frozen=True)
class Restore(Command):
    """Bring back all that was removed."""

    title = "restore what was removed"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        if not bool(document.removed.any()):
            return document
        return replace(document, removed=torch.zeros_like(document.removed))
