"""What a session prepares once for its scene and keeps: fields, graphs, segmenters, searchers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from app.explorer.cache import Cache
from app.explorer.commands.base import Same
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import Scene
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS, NeighbourGraph, knn_graph
from uplift.scene_graph import SceneGraph, everywhere, metric_of, prepare_graph
from uplift.search import Searcher, TextEncoder, reads_texts, text_encoder
from uplift.segmentation import Segmenter

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SEGMENTERS = 4  # of fields on what is visible now; graphs and solvers are kept for good
TEXTS = 1000  # whose embeddings are remembered


class Resources:
    """The fields of a scene, and what prompts need of them; everything is made once.

    Args:
        scene: The scene.
        gaussians: Its Gaussians on the device that computes.
        text_encoders: Encoders of texts by the name of the field, instead of those that the fields name.
        text_weights: A file with the weights of those that the fields name.
    """

    def __init__(
        self, scene: Scene, gaussians: Gaussians, text_encoders: Mapping[str, TextEncoder], text_weights: Path | None
    ) -> None:
        self._scene, self._gaussians = scene, gaussians
        self._text_encoders, self._text_weights = dict(text_encoders), text_weights
        self._made = Cache(limit=None)  # by what it is and the name of its field
        self._graphs = Cache(limit=None)
        self._visible = Cache(limit=None, count=SEGMENTERS)

    @property
    def field_names(self) -> list[str]:
        """The fields on disk, sorted."""
        return sorted(self._scene.fields)

    @property
    def text_field_names(self) -> list[str]:
        """Those that can be searched for texts."""
        return [name for name in self.field_names if self._reads_texts(name)]

    def field(self, name: str) -> FeatureField:
        """A field of the scene, on the device.

        Raises:
            InputError: there is none of that name, or it belongs to other Gaussians.
        """
        return self._made.get(("field", name), lambda: self._load(name).to(self._gaussians.device))

    def scene_graph(self, name: str, progress: Progress = silent) -> SceneGraph:
        """The neighbour graph with a field's features; kept in the scene's folder, so made once for all sessions."""
        self._require(name)
        return self._graphs.get(name, lambda: self._make_graph(name, progress))

    def graph(self, name: str | None = None, progress: Progress = silent) -> NeighbourGraph:
        """The graph of a field, or without a name one that has the same edges, with or without features."""
        if name is not None:
            return self.scene_graph(name, progress).graph
        known: SceneGraph | None = self._graphs.latest()
        if known is not None:
            return known.graph
        return self._made.get("edges", lambda: knn_graph(self._gaussians, progress=progress))

    def nearest_seen(self, name: str) -> Int[Tensor, " n"]:
        """For each Gaussian the nearest one that the field's photos show; itself where they show it."""
        return self._made.get(("nearest", name), lambda: self._make_nearest(self.field(name)))

    def segmenter(self, name: str, gaussians: Gaussians, progress: Progress = silent) -> Segmenter:
        """Answers prompts by a field's features on some Gaussians; all of them share the graph and its solvers.

        Args:
            name: Of the field.
            gaussians: The scene's, with any opacities.
            progress: Told while the graph is made, and the solver.
        """
        own = self._made.get(("segmenter", name), lambda: self._make_segmenter(name, progress))
        if gaussians is self._gaussians:
            return own
        return self._visible.get((name, Same(gaussians)), lambda: own.on(gaussians))

    def searcher(self, name: str, structure: str | None = None, progress: Progress | None = None) -> Searcher:
        """Answers texts by a field's features; refined along the graph of ``structure``, by default its own.

        Args:
            name: Of the field.
            structure: The field whose features say where objects end.
            progress: Told while the graph is made, now; None = it is made for the first text that needs it.

        Raises:
            InputError: there is no such field, or its encoder does not read texts or cannot be loaded.
        """
        guide = name if structure is None else structure
        self._require(guide)
        found = self._made.get(("searcher", name, guide), lambda: self._make_searcher(name, guide))
        if progress is not None:
            self.segmenter(guide, self._gaussians, progress)
        return found

    def _make_segmenter(self, name: str, progress: Progress) -> Segmenter:
        graph = self.scene_graph(name, progress)
        return Segmenter(self._scene, self.field(name), graph=graph, gaussians=self._gaussians).prepare(progress)

    def _make_nearest(self, field: FeatureField) -> Int[Tensor, " n"]:
        own = torch.arange(len(field), dtype=torch.float64, device=field.values.device)[:, None]
        return everywhere(FeatureField(own, field.weights, field.encoder), self._gaussians)[:, 0].long()

    def _make_searcher(self, name: str, guide: str) -> Searcher:
        field = self.field(name)
        if not self._reads_texts(name):
            known = ", ".join(self.text_field_names) or "none: lift one with a CLIP encoder"
            raise InputError(
                f"The field {name!r} was made by {field.encoder}, which cannot read texts; fields that can: {known}."
            )
        return Searcher(
            self._gaussians,
            field,
            self._made.get(("encoder", name), lambda: self._make_encoder(name)),
            structure=self.field(guide),
            walkers=lambda: self.segmenter(guide, self._gaussians).walkers,
        )

    def _make_encoder(self, name: str) -> TextEncoder:
        """One for all searchers of a field: it is large."""
        given = self._text_encoders.get(name)
        device = self._gaussians.device
        return _Remembering(text_encoder(self.field(name), self._text_weights, device) if given is None else given)

    def _make_graph(self, name: str, progress: Progress) -> SceneGraph:
        field, path = self.field(name), self._scene.graph_path(f"{name}-{NEIGHBOURS}")
        known: SceneGraph | None = self._graphs.latest()
        if known is not None and not path.is_file():
            # The edges are those of the centres: only the distances of features are new.
            values = everywhere(field, self._gaussians)
            graph = known.graph.with_features(values, metric_of(field), progress=progress)
            return SceneGraph(graph, known.largest, known.k)
        return prepare_graph(self._gaussians, self._scene.views, field, path=path, progress=progress)

    def _require(self, name: str) -> None:
        if name not in self._scene.fields:
            known = ", ".join(self.field_names) or "none: make one with fit3d lift"
            raise InputError(f"The scene has no field {name[:80]!r}; it has {known}.")

    def _load(self, name: str) -> FeatureField:
        from app.scenes import load_field

        self._require(name)
        return load_field(self._scene, name)

    def _reads_texts(self, name: str) -> bool:
        if name in self._text_encoders:
            return True
        return reads_texts(self._made.get(("name", name), lambda: self._encoder(name)))

    def _encoder(self, name: str) -> str:
        """The encoder of a field, by the file's header alone; empty where that cannot be read."""
        import json

        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._scene.fields[name], framework="pt") as file:
                header: Any = json.loads((file.metadata() or {}).get("fit3d", "{}"))
        except (OSError, ValueError, KeyError, SafetensorError):
            return ""
        return str(header.get("encoder", "")) if isinstance(header, dict) else ""


class _Remembering:
    """An encoder that remembers texts: a heat map and a selection ask for the same."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder, self._known = encoder, Cache(limit=None, count=TEXTS)

    def encode_text(self, texts: list[str]) -> Float[Tensor, "q c"]:
        """See :class:`TextEncoder`."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        rows = dict(zip(missing, self._encoder.encode_text(missing), strict=True)) if missing else {}

        def row(text: str) -> Tensor:  # dropped meanwhile: asked again
            return rows[text] if text in rows else self._encoder.encode_text([text])[0]

        return torch.stack([self._known.get(text, partial(row, text)) for text in texts])

    def remarks(self, texts: list[str]) -> list[str]:
        """What a person who asks for them should know, where the encoder says."""
        remarks = getattr(self._encoder, "remarks", None)
        return [] if remarks is None else list(remarks(texts))
