"""What an edit changes: named selections, and what is hidden and removed.  Nothing in it is edited in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from render.errors import InputError
from uplift.selection import Selection

if TYPE_CHECKING:
    from jaxtyping import Bool

RGB: TypeAlias = tuple[int, int, int]

FIRST = "selection"  # the name of a new document's only selection
PALETTE: tuple[RGB, ...] = (
    (255, 140, 26),
    (46, 134, 255),
    (64, 201, 98),
    (232, 64, 140),
    (160, 108, 255),
    (24, 196, 205),
    (240, 208, 48),
    (226, 74, 51),
)
MOST_SELECTIONS = 100


@dataclass(frozen=True, eq=False)
class Named:
    """One selection of a document.

    Attributes:
        selection: Mask and scores, on the CPU.
        colour: Red, green and blue, 0 to 255.
        shown: Whether it is drawn over the scene.
    """

    selection: Selection
    colour: RGB
    shown: bool = True

    def equal(self, other: Named) -> bool:
        """Whether all is the same, to the last bit."""
        own, its = self.selection, other.selection
        same = own is its or (
            torch.equal(own.mask, its.mask) and torch.equal(own.scores, its.scores) and dict(own.about) == its.about
        )
        return same and self.colour == other.colour and self.shown == other.shown


@dataclass(frozen=True, eq=False)
class Document:
    """The state of an explorer's scene; edits make new ones that share what did not change.

    Attributes:
        selections: By name in the order of making; never empty.
        active: The name of the selection that prompts change.
        hidden: Gaussians that are out of sight for now; ``[n]`` bool on the CPU.
        removed: Gaussians that were taken away; ``[n]`` bool on the CPU.

    Raises:
        InputError: there is no selection, too many, the active one is not among them, or sizes differ.
    """

    selections: Mapping[str, Named]
    active: str
    hidden: Bool[Tensor, " n"]
    removed: Bool[Tensor, " n"]

    def __post_init__(self) -> None:
        if not 0 < len(self.selections) <= MOST_SELECTIONS:
            raise InputError(
                f"There can be 1 to {MOST_SELECTIONS} selections, found {len(self.selections)}; delete some first."
            )
        if self.active not in self.selections:
            raise InputError(f"There is no selection {self.active!r}; there are {', '.join(self.selections)}.")
        sizes = {len(self.hidden), len(self.removed), *(named.selection.n for named in self.selections.values())}
        if len(sizes) != 1:
            raise InputError(f"Selections, hidden and removed must be of the same Gaussians, found sizes {sizes}.")
        object.__setattr__(self, "selections", MappingProxyType(dict(self.selections)))

    @staticmethod
    def new(n: int) -> Document:
        """Nothing selected, hidden or removed."""
        none = torch.zeros(n, dtype=torch.bool)
        return Document({FIRST: Named(Selection.from_mask(none), PALETTE[0])}, FIRST, none, none)

    @property
    def n(self) -> int:
        """How many Gaussians the scene has."""
        return len(self.hidden)

    @property
    def selection(self) -> Selection:
        """The active selection."""
        return self.selections[self.active].selection

    @cached_property
    def visible(self) -> Bool[Tensor, " n"]:
        """Gaussians that are neither hidden nor removed."""
        return ~(self.hidden | self.removed)

    @cached_property
    def all_visible(self) -> bool:
        """Whether nothing is hidden or removed."""
        return bool(self.visible.all())

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, each counted once."""
        return sum({id(tensor): tensor.nbytes for tensor in self.tensors()}.values())

    def tensors(self) -> Iterator[Tensor]:
        """The arrays; shared ones may come several times."""
        yield self.hidden
        yield self.removed
        for named in self.selections.values():
            yield named.selection.mask
            yield named.selection.scores

    def with_selection(self, selection: Selection) -> Document:
        """Another content for the active selection."""
        return self.with_named(self.active, replace(self.selections[self.active], selection=selection.to("cpu")))

    def with_named(self, name: str, named: Named) -> Document:
        """Another selection of that name; a new name comes last."""
        return replace(self, selections={**self.selections, name: named})

    def equal(self, other: Document) -> bool:
        """Whether all is the same, to the last bit."""
        return (
            list(self.selections) == list(other.selections)
            and self.active == other.active
            and torch.equal(self.hidden, other.hidden)
            and torch.equal(self.removed, other.removed)
            and all(named.equal(other.selections[name]) for name, named in self.selections.items())
        )
