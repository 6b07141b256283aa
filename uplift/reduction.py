"""Any encoder with fewer dimensions: a PCA over the scene's feature maps (LUDVIG 5.4.1 and appendix C.1.2).

Incremental PCA: Ross et al. 2008, as in scikit-learn; maps are streamed.  Nothing is reduced unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from uplift.encoders.base import DerivedEncoder, Encoder, row_batches

if TYPE_CHECKING:
    from jaxtyping import Float

STATE_PREFIX, INNER_PREFIX = "reduction.", "inner."
NODES = 100_000  # of all maps together: a PCA learns little from more, and its time grows with them
ROWS_PER_BATCH = 1024  # at least, and at least four for each dimension


class Reduced(DerivedEncoder):
    """An encoder followed by a PCA over the scene.

    The PCA centres, rotates and truncates.  With ``eigenvalue_weighting`` component ``k`` is also multiplied by
    its eigenvalue over the largest one, which favours the first components, known to tell objects apart.

    Attributes:
        inner: The encoder.
        dimension: Channels that are left.
    """

    photos_to_fit = 10_000

    def __init__(self, encoder: Encoder, dimension: int, eigenvalue_weighting: bool = False, seed: int = 0) -> None:
        """Wrap an encoder.

        Args:
            encoder: Any encoder; fitted first if it needs that.
            dimension: At least 1 and at most the encoder's.
            eigenvalue_weighting: Multiply each component by its eigenvalue.
            seed: Of the choice of nodes that the PCA is fitted to.

        Raises:
            InputError: the dimension does not fit the encoder.
        """
        if not 1 <= dimension <= encoder.dimension:
            raise InputError(
                f"{encoder.name} has {encoder.dimension} dimensions; it can be reduced to 1 to {encoder.dimension}, "
                f"found {dimension}."
            )
        self.inner = encoder
        self.name = encoder.name
        self.licence = encoder.licence
        self.metric = encoder.metric
        self.dimension = dimension
        self._weighting = eigenvalue_weighting
        self._seed = seed
        self._state: dict[str, Tensor] = {}

    @property
    def fitted(self) -> bool:
        """Whether the PCA is known."""
        return bool(self._state)

    def fit_maps(self, maps: Iterable[Tensor], count: int, progress: Progress = silent) -> None:
        """Fit the PCA to maps ``[gh, gw, c]``; the same maps in the same order give the same PCA.

        Args:
            maps: Streamed; of each some nodes are chosen with a generator seeded by ``seed``.
            count: About how many there are.
            progress: Called once per map.

        Raises:
            InputError: fewer nodes than dimensions, or maps that are not the encoder's.
        """
        from sklearn.decomposition import IncrementalPCA

        pca = IncrementalPCA(n_components=self.dimension)
        rows = self._rows(maps, max(1, count), progress)
        for batch in row_batches(rows, max(4 * self.dimension, ROWS_PER_BATCH)):
            if len(batch) < self.dimension:
                raise InputError(
                    f"Reducing {self.name} to {self.dimension} dimensions needs at least as many grid nodes over all "
                    f"photos, found {len(batch)}; give more or larger photos, or ask for fewer dimensions."
                )
            pca.partial_fit(batch)
        if not hasattr(pca, "components_"):
            raise InputError(f"Reducing {self.name} needs feature maps to learn from, found none.")
        components, eigenvalues = pca.components_, pca.explained_variance_
        if self._weighting:
            components = components * (eigenvalues / max(eigenvalues[0], np.finfo(np.float64).tiny))[:, None]
        named = {"mean": pca.mean_, "components": components, "eigenvalues": eigenvalues}
        self._state = {k: torch.from_numpy(np.ascontiguousarray(v)).to(torch.float32) for k, v in named.items()}

    def derive(self, feature_map: Float[Tensor, "gh gw c"]) -> Float[Tensor, "gh gw k"]:
        """Reduce a map of the encoder."""
        if not self.fitted:
            raise InputError(f"The reduction of {self.name} must be fitted first: call fit_encoder or load_state.")
        self._check(feature_map)
        mean, components = (self._state[name].to(feature_map.device) for name in ("mean", "components"))
        return (feature_map.to(torch.float32) - mean) @ components.T

    def state(self) -> dict[str, Tensor]:
        """``reduction.mean`` ``[c]``, ``.components`` ``[k, c]`` (weighted), ``.eigenvalues`` ``[k]``; ``inner.*``."""
        inner = {INNER_PREFIX + name: tensor for name, tensor in self.inner.state().items()}
        return inner | {STATE_PREFIX + name: tensor for name, tensor in self._state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the PCA, its dimension, and the state of the encoder."""
        own = {n.removeprefix(STATE_PREFIX): t for n, t in state.items() if n.startswith(STATE_PREFIX)}
        inner = {n.removeprefix(INNER_PREFIX): t for n, t in state.items() if n.startswith(INNER_PREFIX)}
        if inner:
            self.inner.load_state(inner)
        shapes = {name: list(tensor.shape) for name, tensor in own.items()}
        c, k = self.inner.dimension, shapes.get("eigenvalues", [0])[0]
        if shapes != {"mean": [c], "components": [k, c], "eigenvalues": [k]} or not 1 <= k <= c:
            raise InputError(
                f"The reduction of {self.name} expects the tensors mean [{c}], components [k, {c}] and "
                f"eigenvalues [k], found {shapes}."
            )
        self._state = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in own.items()}
        self.dimension = k

    def weights_hash(self) -> str | None:
        """Hash of the encoder's weights."""
        return self.inner.weights_hash()

    def options(self) -> dict[str, Any]:
        """Those of the encoder; the reduction is restored from the state."""
        return self.inner.options()

    def settings(self) -> dict[str, Any]:
        """Those of the encoder, and the dimension; weighting and seed show in the state."""
        return {"inner": self.inner.settings(), "reduced": self.dimension}

    def _rows(self, maps: Iterable[Tensor], count: int, progress: Progress) -> Iterator[Float[np.ndarray, "m c"]]:
        generator = np.random.default_rng(self._seed)
        most = math.ceil(NODES / count)
        for done, feature_map in enumerate(maps):
            progress(done, max(count, done + 1), f"fitting {self.name}")
            self._check(feature_map)
            rows = feature_map.reshape(-1, feature_map.shape[-1])
            if len(rows) > most:
                chosen = np.sort(generator.choice(len(rows), most, replace=False))
                rows = rows[torch.from_numpy(chosen).to(rows.device)]
            yield rows.cpu().numpy().astype(np.float64)

    def _check(self, feature_map: Tensor) -> None:
        if feature_map.ndim != 3 or feature_map.shape[2] != self.inner.dimension:
            raise InputError(
                f"The reduction of {self.name} takes maps of shape [gh, gw, {self.inner.dimension}], "
                f"found {list(feature_map.shape)}."
            )


def restored(encoder: Encoder, state: Mapping[str, Tensor]) -> Encoder:
    """An encoder with the state that it had, wrapped if that is the state of a reduction."""
    if any(name.startswith(STATE_PREFIX) for name in state):
        encoder = Reduced(encoder, 1)
    encoder.load_state(state)
    return encoder
