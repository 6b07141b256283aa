"""Selections: which Gaussians are inside, how surely, and how that was found out."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.files import atomic_file
from render.gaussians import Gaussians
from render.rasterizer import rasterize

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray

    from render.views import View
    from uplift.graph import NeighbourGraph

FORMAT = 1
BOUNDARY = 0.5
MARGIN_SCORE = 0.2  # from which on a Gaussian may still show the object
AGAIN = "make the selection again"


@dataclass(frozen=True)
class Components:
    """The connected parts of a selection, the largest first.

    Attributes:
        labels: Part of every Gaussian, -1 outside the selection; ``[n]`` int64.
        counts: Gaussians in each part, falling; ``[parts]`` int64.
    """

    labels: Int[Tensor, " n"]
    counts: Int[Tensor, " parts"]

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def largest_share(self) -> float:
        """Share of the selected Gaussians that are in the largest part; 0 if nothing is selected."""
        return float(self.counts[0] / self.counts.sum()) if len(self.counts) else 0.0


@dataclass(frozen=True, eq=False)
class Selection:
    """Gaussians that are inside, in the order of the scene's file.

    ``a | b``, ``a & b``, ``a - b`` and ``~a`` combine selections of one scene.

    Attributes:
        mask: The Gaussians that are inside; ``[n]`` bool.
        scores: At least 0, scaled so that 0.5 is the boundary in pictures: a pixel whose rendered score
            (blended, not divided by alpha) is at least 0.5 is inside; ``[n]`` float32.
        about: JSON values: how the selection was made, with what was chosen and why.

    Raises:
        InputError: shapes or dtypes do not fit, or scores are negative or not finite.
    """

    mask: Bool[Tensor, " n"]
    scores: Float[Tensor, " n"]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mask, scores = self.mask, self.scores
        if mask.ndim != 1 or mask.dtype != torch.bool or mask.shape != scores.shape:
            raise InputError(
                f"Selection.mask must be bool [n] and scores float [n], found {mask.dtype} {list(mask.shape)} and "
                f"{scores.dtype} {list(scores.shape)}."
            )
        scores = scores.detach().to(mask.device, torch.float32)
        if len(scores) and not bool(torch.isfinite(scores).all() & (scores >= 0).all()):
            raise InputError("Selection.scores must be finite and at least 0; clamp them.")
        object.__setattr__(self, "scores", scores)

    @staticmethod
    def from_scores(
        scores: Float[Tensor, " n"], about: Mapping[str, Any] | None = None, *, threshold: float = BOUNDARY
    ) -> Selection:
        """Select the Gaussians whose score reaches a threshold; scores are scaled so that it becomes 0.5.

        Raises:
            InputError: the threshold is not positive, or scores are negative or not finite.
        """
        if not threshold > 0:
            raise InputError(f"A threshold of scores must be positive, found {threshold:g}.")
        scaled = scores.detach().to(torch.float32) * (BOUNDARY / threshold)
        # Compared before scaling, so that a score equal to the threshold is inside whatever is rounded.
        return Selection(scores >= threshold, scaled, dict(about or {}))

    @staticmethod
    def from_mask(mask: Bool[Tensor, " n"], about: Mapping[str, Any] | None = None) -> Selection:
        """A selection with scores 1 inside and 0 outside."""
        return Selection(mask, mask.to(torch.float32), dict(about or {}))

    def __len__(self) -> int:
        """How many Gaussians are inside."""
        return int(self.mask.sum())

    @property
    def n(self) -> int:
        """How many Gaussians the scene has."""
        return len(self.mask)

    def check(self, n: int) -> None:
        """Raise InputError unless the selection belongs to ``n`` Gaussians."""
        if self.n != n:
            raise InputError(f"The selection is one of {self.n} Gaussians, but the scene has {n}; {AGAIN}.")

    def to(self, device: torch.device | str) -> Selection:
        """Move mask and scores."""
        return replace(self, mask=self.mask.to(device), scores=self.scores.to(device))

    def with_about(self, **about: Any) -> Selection:
        """The same selection that says more about how it was made."""
        return replace(self, about={**self.about, **about})

    def binary(self) -> Selection:
        """The same Gaussians with scores 1 inside and 0 outside."""
        return Selection.from_mask(self.mask, self.about)

    def __or__(self, other: Selection) -> Selection:
        other.check(self.n)
        return self._combine(other, "union", self.mask | other.mask, torch.maximum(self.scores, other.scores))

    def __and__(self, other: Selection) -> Selection:
        other.check(self.n)
        return self._combine(other, "intersection", self.mask & other.mask, torch.minimum(self.scores, other.scores))

    def __sub__(self, other: Selection) -> Selection:
        other.check(self.n)
        outside = (1 - other.scores).clamp_min(0)
        return self._combine(other, "difference", self.mask & ~other.mask, torch.minimum(self.scores, outside))

    def __invert__(self) -> Selection:
        return self._changed(~self.mask, (1 - self.scores).clamp_min(0), "complement")

    def grow(self, graph: NeighbourGraph, steps: int = 1) -> Selection:
        """Add the neighbours of what is inside, ``steps`` times; scores are dilated alike.

        Raises:
            InputError: the graph has another number of Gaussians, or ``steps`` is negative.
        """
        return self._spread(graph, steps, "max", "grow")

    def shrink(self, graph: NeighbourGraph, steps: int = 1) -> Selection:
        """Take away what has a neighbour outside, ``steps`` times; scores are eroded alike.

        Raises:
            InputError: the graph has another number of Gaussians, or ``steps`` is negative.
        """
        return self._spread(graph, steps, "min", "shrink")

    def with_margin(self, graph: NeighbourGraph, steps: int = 1) -> Selection:
        """What has to go so that nothing of the object is left to see, for removal.

        Rims and hidden sides score below one half, and a half-transparent shell of them would stay: Gaussians
        from a score of 0.2 on belong to the margin, and their neighbours, ``steps`` times.

        Raises:
            InputError: the graph has another number of Gaussians, or ``steps`` is negative.
        """
        mask = self.mask | (self.scores >= MARGIN_SCORE)
        return self._changed(mask, torch.where(mask, self.scores.clamp_min(BOUNDARY), self.scores), "margin").grow(
            graph, steps
        )

    def components(self, graph: NeighbourGraph) -> Components:
        """The connected parts of what is inside, along the edges of the graph.

        Raises:
            InputError: the graph has another number of Gaussians.
        """
        self._check_graph(graph)
        labels, counts = graph.components(self.mask)
        return Components(labels.to(self.mask.device), counts)

    def largest_component(self, graph: NeighbourGraph) -> Selection:
        """Only the largest connected part."""
        parts = self.components(graph)
        return self._kept(parts.labels == 0, "largest component")

    def without_small(self, graph: NeighbourGraph, at_least: int) -> Selection:
        """Without the connected parts of fewer than ``at_least`` Gaussians: floaters."""
        parts = self.components(graph)
        large = int((parts.counts >= at_least).sum())
        return self._kept((parts.labels >= 0) & (parts.labels < large), f"parts of at least {at_least}")

    def with_unseen(self, gaussians: Gaussians, weights: Float[Tensor, " n"]) -> Selection:
        """Gaussians that no view saw go with the nearest one that was seen.

        No picture of the scene changes, but what is taken away takes its inside along.

        Args:
            gaussians: The scene.
            weights: ``FeatureField.weights``: 0 = never seen.

        Raises:
            InputError: the selection belongs to another number of Gaussians, or no Gaussian was seen.
        """
        from scipy.spatial import cKDTree

        self.check(len(gaussians))
        seen = (weights > 0).cpu()
        if bool(seen.all()):
            return self
        if not bool(seen.any()):
            raise InputError("No view saw any Gaussian; the selection cannot be carried on to them.")
        means = gaussians.means.detach().cpu().numpy()
        nearest = cKDTree(means[seen.numpy()]).query(means[~seen.numpy()], workers=torch.get_num_threads())[1]
        source = torch.arange(self.n)
        source[~seen] = seen.nonzero()[:, 0][torch.from_numpy(nearest)]
        source = source.to(self.mask.device)
        return replace(self, mask=self.mask[source], scores=self.scores[source])

    @torch.no_grad()
    def render(self, gaussians: Gaussians, camera: Camera) -> Float[Tensor, "h w"]:
        """Blended scores of a view; a pixel is inside where they are at least 0.5.

        Raises:
            InputError: the selection belongs to another number of Gaussians.
        """
        self.check(len(gaussians))
        return rasterize(gaussians, camera, self.scores.to(gaussians.means)[:, None]).values[..., 0]

    def mask_in(self, gaussians: Gaussians, view: View) -> Bool[ndarray, "H W"]:
        """The selected pixels of a photo, at the size of its file, lens distortion included.

        Raises:
            InputError: the selection belongs to another number of Gaussians.
        """
        return view.to_photo(self.render(gaussians, view.covering_camera)) >= BOUNDARY

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` with ``mask``, ``scores`` and ``about``; a file is replaced at once or not at all.

        Raises:
            InputError: ``about`` has values that JSON cannot hold.
            OSError: the disk is full, or the folder cannot be written.
        """
        try:
            about = json.dumps(dict(self.about), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"Selection.about must hold JSON values alone: {error}.") from error
        mask, scores = self.mask.cpu().numpy(), self.scores.cpu().numpy()
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, mask=mask, scores=scores, about=np.array(about), format=np.array(FORMAT))

    @staticmethod
    def load(path: str | Path, n: int | None = None) -> Selection:
        """Read what :meth:`save` wrote.

        Args:
            path: The ``.npz`` file.
            n: How many Gaussians the scene has; None = not checked.

        Raises:
            InputError: no such file, truncated, not a selection, or of another scene.
        """
        if not Path(path).is_file():
            raise InputError(f"There is no file {path}.")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("mask", "scores", "about")}
            about = json.loads(str(arrays["about"]))
            mask, scores = torch.from_numpy(arrays["mask"]), torch.from_numpy(arrays["scores"])
        except (ValueError, KeyError, EOFError, TypeError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path} is damaged or not a selection ({error}); {AGAIN}.") from error
        loaded = Selection(mask, scores, about)
        if n is not None:
            loaded.check(n)
        return loaded

    def _combine(self, other: Selection, how: str, mask: Tensor, scores: Tensor) -> Selection:
        return Selection(mask, scores, {"method": how, "of": [dict(self.about), dict(other.about)]})

    def _changed(self, mask: Tensor, scores: Tensor, how: str) -> Selection:
        return Selection(mask, scores, {"method": how, "of": [dict(self.about)]})

    def _kept(self, keep: Tensor, how: str) -> Selection:
        """Without what is inside and not kept; what was outside keeps its scores."""
        return self._changed(keep, torch.where(self.mask & ~keep, 0.0, self.scores), how)

    def _spread(self, graph: NeighbourGraph, steps: int, how: Literal["max", "min"], name: str) -> Selection:
        self._check_graph(graph)
        if steps < 0:
            raise InputError(f"A selection changes by 0 steps or more, found {steps}.")
        columns = torch.stack([self.mask.to(torch.float32), self.scores], dim=1)
        for _ in range(steps):
            columns = graph.spread(columns, how).to(columns)
        return self._changed(columns[:, 0] > BOUNDARY, columns[:, 1].contiguous(), f"{name} by {steps}")

    def _check_graph(self, graph: NeighbourGraph) -> None:
        if graph.n != self.n:
            raise InputError(f"The graph has {graph.n} Gaussians, but the selection is one of {self.n}.")
