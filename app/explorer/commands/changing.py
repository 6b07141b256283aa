"""Commands that change the active selection without a prompt."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from app.explorer.commands.base import (
    CUT,
    LARGEST,
    Command,
    Work,
    changed,
    check_number,
    cut_of,
    edits_of,
    only_visible,
    remembering,
    selected_and_visible,
)
from app.explorer.document import Document
from render.errors import InputError
from uplift.selection import BOUNDARY, Selection

if TYPE_CHECKING:
    from uplift.graph import NeighbourGraph

MOST_STEPS = 100
LEAST_THRESHOLD = 1e-6


@dataclass(frozen=True)
class Stepwise(Command):
    """Something that is done along the neighbour graph, so many times."""

    steps: int = 1

    def __post_init__(self) -> None:
        check_number("number of steps", self.steps, 1, MOST_STEPS)

    @property
    def title(self) -> str:
        """What is done."""
        return f"{self.kind} by {self.steps}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        selection = document.selection
        if document.n > 1:
            selection = self.moved(document, work.session.graph(progress=work.progress))
        return changed(document, selection, self.title)

    @abstractmethod
    def moved(self, document: Document, graph: NeighbourGraph) -> Selection:
        """The active selection with its border moved."""


@dataclass(frozen=True)
class Grow(Stepwise):
    """Add the neighbours of what is selected, so many times."""

    def moved(self, document: Document, graph: NeighbourGraph) -> Selection:
        """See :meth:`Stepwise.moved`."""
        old = document.selection
        grown = old.grow(graph, self.steps)
        # What is hidden neither grows in nor falls out.
        mask = torch.where(document.visible, grown.mask, old.mask)
        return replace(grown, mask=mask, scores=torch.where(document.visible, grown.scores, old.scores))


@dataclass(frozen=True)
class Shrink(Stepwise):
    """Take away what has a neighbour outside, so many times."""

    def moved(self, document: Document, graph: NeighbourGraph) -> Selection:
        """See :meth:`Stepwise.moved`."""
        return document.selection.shrink(graph, self.steps)


@dataclass(frozen=True)
class Largest(Command):
    """Keep the largest connected part alone."""

    title = "largest part"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        selected_and_visible(document)
        selection = only_visible(document, document.selection)
        if document.n > 1:
            selection = selection.largest_component(work.session.graph(progress=work.progress))
        return changed(document, selection, self.title)


@dataclass(frozen=True)
class Invert(Command):
    """Select what is visible and not selected."""

    title = "invert"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        return changed(document, only_visible(document, ~document.selection), self.title)


@dataclass(frozen=True)
class Clear(Command):
    """Select nothing."""

    title = "select nothing"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        return document.with_selection(Selection.from_mask(torch.zeros(document.n, dtype=torch.bool)))


@dataclass(frozen=True)
class All(Command):
    """Select all that is visible."""

    title = "select all"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        return document.with_selection(Selection.from_mask(document.visible, {"method": "all", "edits": [self.title]}))


@dataclass(frozen=True)
class Threshold(Command):
    """Cut the active selection's scores elsewhere.

    The value is in the unit of the scores as the selection was made, where 0.5 is the boundary, however often it
    is cut: 0.5 brings it back.
    """

    adjusts = True
    value: float

    def __post_init__(self) -> None:
        check_number("threshold", self.value, LEAST_THRESHOLD, LARGEST)

    @property
    def title(self) -> str:
        """What is done."""
        return f"threshold {self.value:.3g}"

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        old = document.selection
        scores = old.scores * (cut_of(old) / BOUNDARY)
        if not bool(torch.isfinite(scores * (BOUNDARY / self.value)).all()):
            raise InputError(f"The threshold {self.value:g} is too small for these scores; choose a larger one.")
        cut = only_visible(document, Selection.from_scores(scores, threshold=self.value))
        edits = [edit for edit in edits_of(old) if not edit.startswith("threshold ")]
        kept = replace(cut, about={**old.about, CUT: float(self.value)})
        return document.with_selection(remembering(kept, [*edits, self.title]))
