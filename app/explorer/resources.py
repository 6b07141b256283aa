"""What a session prepares once for its scene and keeps: fields, graphs, segmenters, searchers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import Scene
from uplift._text_scores import READERS, text_encoder
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS, NeighbourGraph, knn_graph
from uplift.scene_graph import SceneGraph, everywhere, metric_of, prepare_graph
from uplift.search import Searcher, TextEncoder
from uplift.segmentation import Segmenter

if TYPE_CHECKING:
    from jaxtyping import Int

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Things that are made once each; threads that ask for the same one wait for it, others do not."""

    def __init__(self) -> None:
        self._made: dict[K, V] = {}
        self._locks: dict[K, threading.RLock] = {}
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The thing of that key; made if it is missing."""
        if key in self._made:
            return self._made[key]
        with self._lock:
            own = self._locks.setdefault(key, threading.RLock())
        with own:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    def any(self) -> V | None:
        """One of the things that were made, the oldest; None if there is none."""
        return next(iter(list(self._made.values())), None)


class Resources:
    """The fields of a scene, and what prompts need of them.

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
        self._encoder_names: Kept[str, str] = Kept()
        self._fields: Kept[str, FeatureField] = Kept()
        self._graphs: Kept[str, SceneGraph] = Kept()
        self._plain: Kept[str, NeighbourGraph] = Kept()
        self._searchers: Kept[tuple[str, str], Searcher] = Kept()
        self._encoders: Kept[str, TextEncoder] = Kept()  # one for all searchers of a field: it is large
        self._nearest: Kept[str, Int[torch.Tensor, " n"]] = Kept()
        self._segmenters: dict[str, tuple[Gaussians, Segmenter]] = {}
        self._lock = threading.Lock()

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
        return self._fields.get(name, lambda: self._load(name).to(self._gaussians.device))

    def scene_graph(self, name: str, progress: Progress = silent) -> SceneGraph:
        """The neighbour graph with a field's features; kept in the scene's folder, so made once for all sessions."""
        self._require(name)
        return self._graphs.get(name, lambda: self._make_graph(name, progress))

    def graph(self, name: str | None = None, progress: Progress = silent) -> NeighbourGraph:
        """The graph of a field, or without a name one that has the same edges, with or without features."""
        if name is not None:
            return self.scene_graph(name, progress).graph
        known = self._graphs.any()
        if known is not None:
            return known.graph
        return self._plain.get("", lambda: knn_graph(self._gaussians, progress=progress))

    def nearest_seen(self, name: str) -> Int[torch.Tensor, " n"]:
        """For each Gaussian the nearest one that the field's photos show; itself where they show it."""
        return self._nearest.get(name, lambda: self._make_nearest(self.field(name)))

    def segmenter(self, name: str, gaussians: Gaussians, progress: Progress = silent) -> Segmenter:
        """Answers prompts by a field's features on some Gaussians; the last one of each field is kept."""
        field, graph = self.field(name), self.scene_graph(name, progress)
        with self._lock:
            known = self._segmenters.get(name)
            if known is None or known[0] is not gaussians:
                known = gaussians, Segmenter(self._scene, field, graph=graph, gaussians=gaussians)
                self._segmenters[name] = known
            return known[1]

    def searcher(self, name: str, structure: str | None = None, progress: Progress = silent) -> Searcher:
        """Answers texts by a field's features; refined along the graph of ``structure``, by default its own.

        Raises:
            InputError: there is no such field, or its encoder does not read texts or cannot be loaded.
        """
        guide = name if structure is None else structure
        self._require(guide)
        return self._searchers.get((name, guide), lambda: self._make_searcher(name, guide, progress))

    def _make_nearest(self, field: FeatureField) -> Int[torch.Tensor, " n"]:
        own = torch.arange(len(field), dtype=torch.float64, device=field.values.device)[:, None]
        return everywhere(FeatureField(own, field.weights, field.encoder), self._gaussians)[:, 0].long()

    def _make_searcher(self, name: str, guide: str, progress: Progress) -> Searcher:
        field = self.field(name)
        if not self._reads_texts(name):
            known = ", ".join(self.text_field_names) or "none: lift one with a CLIP encoder"
            raise InputError(
                f"The field {name!r} was made by {field.encoder}, which cannot read texts; fields that can: {known}."
            )
        graph, encoder = self.graph(guide, progress), self._encoders.get(name, lambda: self._make_encoder(name))
        return Searcher(self._gaussians, field, encoder, structure=self.field(guide), graph=graph)

    def _make_encoder(self, name: str) -> TextEncoder:
        given = self._text_encoders.get(name)
        return text_encoder(self.field(name), self._text_weights, self._gaussians.device) if given is None else given

    def _make_graph(self, name: str, progress: Progress) -> SceneGraph:
        field, path = self.field(name), self._scene.graph_path(f"{name}-{NEIGHBOURS}")
        known = self._graphs.any()
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
        return name in self._text_encoders or self._encoder_names.get(name, lambda: self._encoder(name)).startswith(
            READERS
        )

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
