"""A scene that several encoders are measured on: what does not depend on features is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from render.devices import resolve_device
from render.errors import InputError
from render.progress import Progress, silent
from render.scene import Scene
from uplift.encoders import load_encoder
from uplift.encoders.base import Encoder
from uplift.evaluation.variants import Setting, make_setting
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS, NeighbourGraph, knn_graph
from uplift.lifting import lift
from uplift.maps import FeatureMapCache
from uplift.sam_masks import MaskPredictor, SamSegmenter
from uplift.scene_graph import SceneGraph, everywhere, metric_of
from uplift.search import Searcher
from uplift.visibility import largest_weights

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class SharedScene:
    """Fields, settings and searches of one scene by the names of encoders.

    Nothing is written to the scene.  Its own field of an encoder is taken if that encoder made it, else one is
    lifted and kept in memory; maps of photos lie in a temporary folder as long as this object lives.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        weights: Mapping[str, Path] | None = None,
        device: str = "auto",
        seed: int = 0,
        progress: Progress = silent,
    ) -> None:
        """Nothing is computed yet.

        Args:
            scene: With photos and Gaussians.
            weights: Files of weights by encoder; others have their own.
            device: Where to compute.
            seed: Of all random choices.
            progress: Told of all that takes long.
        """
        self.scene = scene
        self.gaussians = scene.gaussians.to(resolve_device(device))
        self._weights = dict(weights or {})
        self._device = device
        self._seed = seed
        self._progress = progress
        # Photos are encoded for the field and for the variant of single views.
        self._folder = TemporaryDirectory(prefix="fit3d-maps-")
        self._maps = FeatureMapCache(self._folder.name)
        self._fields: dict[str, tuple[FeatureField, Encoder]] = {}

    @cached_property
    def graph(self) -> NeighbourGraph:
        """The neighbours of the Gaussians, without features."""
        return knn_graph(self.gaussians, NEIGHBOURS, progress=self._progress)

    @cached_property
    def largest(self) -> Float[Tensor, " n"]:
        """The largest weight of each Gaussian in any view."""
        return largest_weights(self.gaussians, self.scene.views, progress=self._progress)

    def field(self, name: str) -> FeatureField:
        """The field of an encoder, on the device of the Gaussians.

        Raises:
            InputError: the encoder is unknown, or its weights cannot be had.
        """
        return self._made(name)[0]

    def setting(self, name: str, sam: MaskPredictor | None = None) -> Setting:
        """What the variants need to work with an encoder.

        Args:
            name: The encoder.
            sam: Segment Anything's predictor, for the variants with it.

        Raises:
            InputError: see :meth:`field`.
        """
        field, encoder = self._made(name)
        distances = self.graph.with_features(
            everywhere(field, self.gaussians), metric_of(field), progress=self._progress
        )
        route = None if sam is None else SamSegmenter(self.gaussians, sam, views=self.scene.views)
        return make_setting(
            self.scene,
            self.gaussians,
            field,
            encoder,
            graph=SceneGraph(distances, self.largest, NEIGHBOURS),
            sam=route,
            seed=self._seed,
            maps=self._maps,
        )

    def searcher(self, texts: str, structure: str) -> Searcher:
        """A search by texts.

        Args:
            texts: The encoder that texts are compared with.
            structure: The encoder whose features guide diffusion.

        Raises:
            InputError: see :meth:`field`; or the first of them has no text side.
        """
        field, encoder = self._made(texts)
        if not hasattr(encoder, "encode_text"):
            raise InputError(f"{texts} cannot read texts; take a CLIP encoder such as tiny-clip.")
        return Searcher(
            self.gaussians,
            field,
            encoder,
            structure=self.field(structure),
            graph=self.graph,
            seed=self._seed,
            progress=self._progress,
        )

    def _made(self, name: str) -> tuple[FeatureField, Encoder]:
        if name not in self._fields:
            field, encoder = self._own(name) or self._lifted(name)
            self._fields[name] = field.to(self.gaussians.device), encoder
        return self._fields[name]

    def _own(self, name: str) -> tuple[FeatureField, Encoder] | None:
        """The scene's field of this name, if the encoder with these weights made it."""
        path = self.scene.fields.get(name)
        if path is None:
            return None
        field = FeatureField.load(path, n=len(self.gaussians))
        try:
            return field, field.load_encoder(self._weights.get(name), self._device)
        except InputError:
            return None

    def _lifted(self, name: str) -> tuple[FeatureField, Encoder]:
        encoder = load_encoder(name, self._weights.get(name), self._device)
        return lift(self.gaussians, self.scene.views, encoder, cache=self._maps, progress=self._progress), encoder
