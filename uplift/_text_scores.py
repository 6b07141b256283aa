"""Scores of texts on Gaussians: relevancies, and relevancies refined along the graph; computed once per text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress
from uplift._lean_imports import without
from uplift.diffusion import diffuse
from uplift.encoders.distilled import teacher_of
from uplift.field import HALF_MAX, FeatureField
from uplift.graph import NeighbourGraph, knn_graph
from uplift.random_walker import Walkers
from uplift.relevancy import relevancies, start_nodes
from uplift.scene_graph import everywhere, metric_of
from uplift.thresholds import otsu_threshold
from uplift.unary import LogisticModel

if TYPE_CHECKING:
    from jaxtyping import Float

BANDWIDTH = 0.5  # of S_f, for diffusion
WALKER_BANDWIDTH = 0.25
UNARY_C = 0.001
COLUMNS_AT_A_TIME = 16  # texts that are diffused together
KEPT_COLUMNS = 64  # for the next view, or the next position of a slider

Kind = Literal["raw", "random walker", "diffused", "diffused for SAM"]
UNARY_BANDWIDTH: dict[str, float] = {"diffused": 2.0, "diffused for SAM": 0.025}
Key: TypeAlias = tuple[str, tuple[str, ...], str]


class TextEncoder(Protocol):
    """What of a CLIP encoder a search needs."""

    def encode_text(self, texts: list[str]) -> Float[Tensor, "q c"]:
        """Embeddings in the space of the field's features, l2-normalised."""


class TextScores:
    """Scores of texts on the Gaussians of one field.

    Attributes:
        seen: Gaussians that have features; ``[n]`` bool.
        guide: The field whose features the edges and the unary term compare.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        field: FeatureField,
        encoder: TextEncoder,
        guide: FeatureField,
        graph: NeighbourGraph | None,
        walkers: Callable[[], Walkers] | None = None,
        *,
        temperature: float,
        neighbours: int,
        steps: int,
        seed: int,
        progress: Progress,
    ) -> None:
        device = gaussians.device
        self._gaussians, self._encoder, self._name = gaussians, encoder, field.encoder
        self._values = halved(field.values.to(device))
        self.guide = guide
        self.seen = (field.weights > 0).to(device)
        self._anchored = self.seen & (guide.weights > 0).to(device)
        self._graph, self._neighbours, self._steps = graph, neighbours, steps
        self._temperature, self._seed, self._progress = temperature, seed, progress
        self._similarities: Tensor | None = None
        self._walkers: Walkers | None = None
        self._find_walkers = walkers
        self._embedded: dict[str, Tensor] = {}
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()
        self._notes: dict[Key, dict[str, Any]] = {}

    @property
    def graph(self) -> NeighbourGraph:
        """The graph with the guide's features; built when it is first needed."""
        if self._find_walkers is not None:
            return self.walkers.graph
        if self._graph is None:
            self._graph = knn_graph(self._gaussians, self._neighbours, progress=self._progress)
        if self._graph.feature_distances is None:
            values = everywhere(self.guide, self._gaussians)
            self._graph = self._graph.with_features(values, metric_of(self.guide), progress=self._progress)
        return self._graph

    @property
    def walkers(self) -> Walkers:
        """The solvers on the graph; each is built on first use."""
        if self._walkers is None:
            self._walkers = Walkers(self.graph) if self._find_walkers is None else self._find_walkers()
        return self._walkers

    def prepare(self, negatives: tuple[str, ...], *, refined: bool) -> None:
        """Everything that the first text would wait for: its encoder has encoded, solvers are built."""
        self.columns(negatives[:1], "raw", negatives)
        if refined:
            self.walkers.get(WALKER_BANDWIDTH)

    def columns(self, texts: Sequence[str], kind: Kind, negatives: tuple[str, ...]) -> list[Float[Tensor, " n"]]:
        """Scores of the texts, float32; refined ones have a maximum of 1."""
        keys = [(text, negatives, kind) for text in texts]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = [text for text, key in zip(texts, keys, strict=True) if key not in found]
        for start in range(0, len(missing), COLUMNS_AT_A_TIME):
            some = list(dict.fromkeys(missing[start : start + COLUMNS_AT_A_TIME]))
            made = self._made(some, kind, negatives)
            found |= {(text, negatives, kind): column for text, column in zip(some, made, strict=True)}
        for key in keys:
            self._keep(key, found[key])
        return [found[key] for key in keys]

    def about(self, text: str, kind: Kind, negatives: tuple[str, ...]) -> dict[str, Any]:
        """How a text's scores were made; JSON values."""
        common = {"text": text, "negatives": list(negatives), "encoder": self._name, "scores": kind}
        return common | self._notes.get((text, negatives, kind), {})

    def _keep(self, key: Key, column: Tensor) -> None:
        self._kept[key] = column
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_COLUMNS:
            self._kept.popitem(last=False)

    @torch.no_grad()
    def _made(self, texts: list[str], kind: Kind, negatives: tuple[str, ...]) -> list[Float[Tensor, " n"]]:
        if kind == "raw":
            return self._raw(texts, negatives)
        relevancies = self.columns(texts, "raw", negatives)
        begun = [(text, r, *start_nodes(r, self._anchored)) for text, r in zip(texts, relevancies, strict=True)]
        for text, _, positives, start in begun:
            self._notes[text, negatives, kind] = {
                "guide": self.guide.encoder,
                "positives": int(positives.sum()),
                "start": int((start > 0).sum()),
            }
        if kind == "random walker":
            return [self._walked(text, negatives, *nodes) for text, *nodes in begun]
        starts = torch.stack([start for *_, start in begun], dim=1)
        return self._diffused([(text, positives) for text, _, positives, _ in begun], starts, kind, negatives)

    def _raw(self, texts: list[str], negatives: tuple[str, ...]) -> list[Float[Tensor, " n"]]:
        queries, against = self._embed(texts), self._embed(list(negatives))
        found = relevancies(self._values, queries, against, temperature=self._temperature)
        found[~self.seen] = 0
        return [column.contiguous() for column in found.unbind(1)]

    def _walked(
        self, text: str, negatives: tuple[str, ...], relevancy: Tensor, positives: Tensor, start: Tensor
    ) -> Float[Tensor, " n"]:
        """The probability that a random walker (Grady 2006) meets a starting node before the background.

        Background is what is not positive and at most as relevant as Otsu's threshold of all.
        """
        if not bool((start > 0).any()):
            return torch.zeros_like(start)
        background = self._anchored & ~positives & (relevancy <= otsu_threshold(relevancy[self._anchored]))
        self._notes[text, negatives, "random walker"] |= {
            "bandwidth": WALKER_BANDWIDTH,
            "background": int(background.sum()),
        }
        if not bool(background.any()):
            return self.seen.to(torch.float32)
        labels = torch.where(start > 0, 1, torch.where(background, 0, -1))
        return self.walkers.get(WALKER_BANDWIDTH).probability(labels) * self.seen

    def _diffused(
        self,
        positives: list[tuple[str, Tensor]],
        starts: Float[Tensor, "n q"],
        kind: Kind,
        negatives: tuple[str, ...],
    ) -> list[Float[Tensor, " n"]]:
        """T steps of (5.8) with the edges of (5.7), all texts at once (section C.1.4)."""
        bandwidth = UNARY_BANDWIDTH[kind]
        unaries = [self._likelihood(text, negatives, nodes).pow(1 / bandwidth) for text, nodes in positives]
        for text, _ in positives:
            self._notes[text, negatives, kind] |= {
                "bandwidth": BANDWIDTH,
                "unary_bandwidth": bandwidth,
                "steps": self._steps,
            }
        if self._similarities is None:
            self._similarities = self.graph.similarities(BANDWIDTH)
        diffused = diffuse(
            self.graph,
            self._similarities,
            starts,
            self._steps,
            unary=torch.stack(unaries, dim=1),
            progress=self._progress,
        )
        diffused = diffused / diffused.amax(dim=0).clamp_min(torch.finfo(torch.float32).tiny)
        return [column.contiguous() for column in diffused.unbind(1)]

    def _likelihood(self, text: str, negatives: tuple[str, ...], positives: Tensor) -> Float[Tensor, " n"]:
        """The logistic regression's probability of the object; the same for both bandwidths."""
        key = (text, negatives, "likelihood")
        if key in self._kept:
            return self._kept[key]
        others = self._anchored & ~positives
        if not bool(positives.any()) or not bool(others.any()):
            likelihood = self._anchored.to(torch.float32)
        else:
            features = self.guide.values.to(positives.device)
            cosine = metric_of(self.guide) == "cosine"
            model = LogisticModel.fit(
                features, positives, others, C=UNARY_C, balanced=True, normalize=cosine, seed=self._seed
            )
            likelihood = model.probability(features) * self._anchored
        self._keep(key, likelihood)
        return likelihood

    def _embed(self, texts: list[str]) -> Float[Tensor, "q c"]:
        missing = [text for text in dict.fromkeys(texts) if text not in self._embedded]
        if missing:
            found = self._encoder.encode_text(missing).detach()
            if found.ndim != 2 or found.shape[1] != self._values.shape[1]:
                raise InputError(
                    f"The field has {self._values.shape[1]} channels, but its encoder makes texts of shape "
                    f"{list(found.shape)}; search a field that was lifted with that encoder, and not reduced."
                )
            rows = torch.nn.functional.normalize(found.to(self._values.device, torch.float32), dim=1)
            self._embedded |= dict(zip(missing, rows, strict=True))
        return torch.stack([self._embedded[text] for text in texts])


READERS = ("clip:", "tiny-clip")  # how the names of encoders with a text side begin


def text_encoder(field: FeatureField, weights: str | Path | None, device: torch.device) -> TextEncoder:
    """The encoder that made a field, if it has a text side.

    Raises:
        InputError: it has none, or cannot be loaded.
    """
    sentence = (
        f"The field was made by {field.encoder}, which cannot read texts; search a field that was lifted with a "
        "CLIP encoder such as clip:ViT-B-16/laion2b_s34b_b88k."
    )
    try:
        with without("wandb"):  # timm looks for it, to log trainings: more than a second's import
            encoder: Any = field.load_encoder(weights, device)
    except InputError as error:
        reader = teacher_of(field.encoder) or field.encoder
        raise (error if reader.startswith(READERS) else InputError(sentence)) from error
    if not hasattr(encoder, "encode_text"):
        raise InputError(sentence)
    return encoder


def halved(values: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """As fp16, which is how fields are stored; features too large for it stay as they are."""
    if values.dtype == torch.float16 or (len(values) and not bool(values.abs().amax() <= HALF_MAX)):
        return values
    return values.detach().to(torch.float16)
