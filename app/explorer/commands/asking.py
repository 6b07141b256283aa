"""Commands that search: for what a text names, and for what looks like what is selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from app.explorer.commands.base import (
    SIGNS,
    Combine,
    Command,
    Same,
    Work,
    check_choice,
    check_number,
    check_positive,
    check_text,
    combined,
    only_visible,
    selected_and_visible,
)
from app.explorer.document import Document
from render.errors import InputError
from uplift.field import FeatureField
from uplift.selection import Selection
from uplift.thresholds import otsu_threshold

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from uplift.graph import NeighbourGraph

MOST_TOP = 1000
MOST_NEGATIVES = 50
ROWS = 1 << 20  # of features that are normalised at a time


@dataclass(frozen=True)
class Text(Command):
    """Select what a text names.

    Attributes:
        text: What to look for.
        field: Field of an encoder that reads texts.
        structure: Field whose features say where an object ends; None = ``field``.
        negatives: What it is not, beside the canonical phrases.
        refine: Whether relevancies are refined along the graph, so that whole objects are found; else they are cut as
            they are.
        combine: What becomes of the active selection.
        threshold: In the unit of the scores; None = chosen.  Moving it is quick.
        top: Only so many connected objects, those with the highest scores; None = all.
    """

    text: str
    field: str
    structure: str | None = None
    negatives: tuple[str, ...] = ()
    refine: bool = True
    combine: Combine = "set"
    threshold: float | None = None
    top: int | None = None

    def __post_init__(self) -> None:
        check_choice("combine", self.combine, Combine)
        check_positive(threshold=self.threshold)
        for text in (self.text, *self.negatives):
            check_text(text)
        if len(self.negatives) > MOST_NEGATIVES:
            raise InputError(f"A text has at most {MOST_NEGATIVES} negatives, found {len(self.negatives)}.")
        if self.top is not None:
            check_number("number of objects", self.top, 1, MOST_TOP)

    @property
    def what(self) -> str:
        """What is searched."""
        which = "" if self.top is None else "best " if self.top == 1 else f"{self.top} best "
        how = "" if self.refine else ", above a threshold"
        return f'{which}"{self.text}" ({self.field}{how})'

    @property
    def title(self) -> str:
        """What is done."""
        return SIGNS[self.combine] + self.what

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        searcher = work.session.searcher(self.field, self.structure, work.progress)
        found = searcher.select(self.text, diffusion=self.refine, threshold=self.threshold, negatives=self.negatives)
        # What no photo shows goes with what is next to it.
        mask = found.mask[work.session.nearest_seen(self.field)]
        selection = only_visible(document, Selection.from_mask(mask, found.about).to("cpu"))
        if self.top is not None:
            scores = searcher.scores(self.text, diffusion=self.refine, negatives=self.negatives).cpu()
            best = _best_parts(work.session.graph(self.structure or self.field), selection, scores, self.top)
            selection = Selection.from_mask(best, {**selection.about, "top": self.top})
        return combined(document, selection, self.combine, self.what)


@dataclass(frozen=True)
class Similar(Command):
    """Select what looks like the active selection: by the cosine of features and their mean.

    Attributes:
        field: The field whose features are compared.
        threshold: Cosine from which on a Gaussian is inside, up to 1; None = chosen (Otsu's method).
        combine: What becomes of the active selection.
    """

    field: str
    threshold: float | None = None
    combine: Combine = "set"

    def __post_init__(self) -> None:
        check_choice("combine", self.combine, Combine)
        if self.threshold is not None:
            check_number("threshold of cosines", self.threshold, 1e-3, 1)

    @property
    def what(self) -> str:
        """What is searched."""
        return f"similar ({self.field})"

    @property
    def title(self) -> str:
        """What is done."""
        return SIGNS[self.combine] + self.what

    def apply(self, work: Work) -> Document:
        """See :meth:`Command.apply`."""
        document = work.document
        inside, field = selected_and_visible(document), work.session.field(self.field)
        key = ("similar", self.field, Same(document.selection), Same(document.visible))
        scores = work.session.answer(key, lambda: cosines(field, inside.to(field.values.device)).cpu())
        threshold, chosen_by = self.threshold, "given"
        if threshold is None:
            among = document.visible & (field.weights > 0).cpu()
            threshold, chosen_by = max(otsu_threshold(scores[among]), 1e-3), "Otsu's method"
        about = {"method": "similar", "field": self.field, "threshold": threshold, "threshold_from": chosen_by}
        return combined(document, Selection.from_scores(scores, about, threshold=threshold), self.combine, self.what)


def cosines(field: FeatureField, inside: Bool[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Cosine of every feature and the mean direction of some of them; 0 where negative or never seen.

    Raises:
        InputError: none of them has features.
    """
    rows = field.values[inside & (field.weights > 0)]
    mean = torch.nn.functional.normalize(rows.float(), dim=1).mean(0) if len(rows) else rows.sum(0).float()
    if not bool(mean.norm() > 0):
        raise InputError("No photo shows what is selected, so it has no features; select something that is seen.")
    direction = mean / mean.norm()
    parts = [torch.nn.functional.normalize(part.float(), dim=1) @ direction for part in field.values.split(ROWS)]
    return (torch.cat(parts) * (field.weights > 0)).clamp(0, 1)


def _best_parts(
    graph: NeighbourGraph, selection: Selection, scores: Float[Tensor, " n"], count: int
) -> Bool[Tensor, " n"]:
    """The connected parts with the highest scores, of equal ones the larger."""
    if not len(selection):
        return selection.mask
    parts = selection.components(graph)
    highest = scores.new_zeros(len(parts))
    highest.scatter_reduce_(0, parts.labels[selection.mask], scores[selection.mask], "amax")
    best = highest.argsort(descending=True, stable=True)[:count]
    return torch.isin(parts.labels, best)
