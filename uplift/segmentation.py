"""From scribbles, masks, clicks and boxes to Gaussians: prepare once, prompt many times.

A prompt is propagated over the neighbour graph in one of two ways: by the random walker (Grady 2006; module
``random_walker``), or by LUDVIG's graph diffusion (module ``diffused``).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.scene import Scene
from render.views import View
from uplift.diffused import diffused_scores
from uplift.evidence import combined_with_unary
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS, NeighbourGraph
from uplift.prompts import Prompt
from uplift.random_walker import Walkers, walker_memory
from uplift.scene_graph import SceneGraph, everywhere, metric_of, prepare_graph
from uplift.selection import BOUNDARY, Selection
from uplift.thresholds import otsu_threshold
from uplift.visibility import LiftedPrompt, lift_prompt, view_weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

Method: TypeAlias = Literal["auto", "random-walker", "diffusion"]
Unary: TypeAlias = Literal["auto", "yes", "no"]
BANDWIDTH = 0.5  # b of the random walker's edges
FRAME = 0.02  # of the view's larger side: its border is background where nothing else is marked so
VIEWS_KEPT = 8  # views whose weights are remembered


def prompt_memory(n: int, edges: int, pixels: int) -> int:
    """Estimate the bytes that answering a prompt by the random walker takes, the solver's hierarchy included."""
    return walker_memory(n, edges) + 70 * n + 80 * pixels


class Segmenter:
    """Selects Gaussians from prompts in one or several views.

    Args:
        scene: Posed photos and Gaussians.
        field: The features that tell things apart.
        name: Under which the graph is kept in the scene's folder (``graphs/NAME-K.safetensors``); None = it is
            not kept.
        neighbours: k of the graph.
        method: auto = the random walker, which measured best with the features that need no weights.
        graph: A prepared graph, instead of one of its own.
        gaussians: The scene's Gaussians on another device.
    """

    def __init__(
        self,
        scene: Scene,
        field: FeatureField,
        *,
        name: str | None = None,
        neighbours: int = NEIGHBOURS,
        method: Method = "auto",
        graph: SceneGraph | None = None,
        gaussians: Gaussians | None = None,
    ) -> None:
        self.scene = scene
        self.field = field
        self.method: Method = method
        self.neighbours = neighbours if graph is None else graph.k
        self._gaussians = gaussians
        self._name = name
        self._prepared = graph
        self._walkers: Walkers | None = None
        self._weights: dict[bytes, Float[Tensor, " n"]] = {}
        self._features: Tensor | None = None
        self._lock = threading.RLock()  # what is prepared once may be asked for by several threads

    @property
    def gaussians(self) -> Gaussians:
        """The Gaussians that prompts are lifted onto."""
        return self.scene.gaussians if self._gaussians is None else self._gaussians

    @property
    def graph(self) -> NeighbourGraph:
        """The neighbour graph; built on first use."""
        return self._scene_graph.graph

    @property
    def _scene_graph(self) -> SceneGraph:
        return self._prepare(silent)

    def prepare(self, progress: Progress = silent) -> Segmenter:
        """Build the graph, or read it from the scene's folder, and the solver; prompts are answered at once after that.

        Raises:
            InputError: the field belongs to other Gaussians.
        """
        self._prepare(progress)
        progress(0, 1, "solver")
        self._values()
        if self.method != "diffusion":
            self.walkers.get(BANDWIDTH)
        progress(1, 1, "solver")
        return self

    def on(self, gaussians: Gaussians) -> Segmenter:
        """A segmenter of the same Gaussians with other opacities; graph, features and solvers are shared."""
        other = Segmenter(self.scene, self.field, method=self.method, graph=self._scene_graph, gaussians=gaussians)
        other._walkers, other._features = self.walkers, self._values()
        return other

    @property
    def walkers(self) -> Walkers:
        """The solvers on the graph; each is built on first use."""
        with self._lock:
            if self._walkers is None:
                self._walkers = Walkers(self.graph)
            return self._walkers

    def _prepare(self, progress: Progress) -> SceneGraph:
        with self._lock:
            if self._prepared is None:
                path = None if self._name is None else self.scene.graph_path(f"{self._name}-{self.neighbours}")
                self._prepared = prepare_graph(
                    self.gaussians,
                    self.scene.views,
                    self.field,
                    neighbours=self.neighbours,
                    path=path,
                    progress=progress,
                )
            return self._prepared

    def from_mask(self, view: View, mask: Shaped[np.ndarray, "h w"], **options: Any) -> Selection:
        """Select what a whole mask shows; see :meth:`select` for the options."""
        return self.select([Prompt.from_mask(view, mask)], **options)

    def from_scribbles(
        self,
        view: View,
        positive: Shaped[np.ndarray, "h w"],
        negative: Shaped[np.ndarray, "h w"] | None = None,
        **options: Any,
    ) -> Selection:
        """Select what strokes mark; see :meth:`select` for the options."""
        return self.select([Prompt.from_scribbles(view, positive, negative)], **options)

    def from_clicks(
        self,
        view: View,
        positive_xy: Float[np.ndarray, "m 2"],
        negative_xy: Float[np.ndarray, "k 2"] | None = None,
        **options: Any,
    ) -> Selection:
        """Select what clicks mark, on the surface that is seen there; see :meth:`select` for the options."""
        return self.select([Prompt.from_clicks(view, positive_xy, negative_xy)], **options)

    def from_box(self, view: View, box: tuple[float, float, float, float], **options: Any) -> Selection:
        """Select what stands out in a box (x0, y0, x1, y1); see :meth:`select` for the options."""
        return self.select([Prompt.from_box(view, box)], **options)

    def select(
        self,
        prompts: Sequence[Prompt],
        *,
        method: Method | None = None,
        bandwidth: float | None = None,
        threshold: float | None = None,
        unary: Unary = "auto",
        unary_bandwidth: float | None = None,
    ) -> Selection:
        """Select the object that prompts in one or several views mark.

        Args:
            prompts: Marked pixels; the first view is the reference, where thresholds are chosen.
            method: Instead of the segmenter's own.
            bandwidth: b of the similarities ``S_f`` (eq. C.1); None = chosen, and said in ``about``.
            threshold: Of rendered scores; None = chosen.
            unary: Whether scores are multiplied by how much a Gaussian's feature looks like the object's.
            unary_bandwidth: b of that term; None = chosen.

        Returns:
            The selection; ``about`` says what was chosen, and by what.

        Raises:
            InputError: no prompts, an option out of range, or nothing is seen where the object is marked.
        """
        how = self._check(
            prompts, method, unary, threshold=threshold, bandwidth=bandwidth, unary_bandwidth=unary_bandwidth
        )
        lifted = [self._lift(prompt) for prompt in prompts]
        about: dict[str, Any] = {
            "method": how,
            "field": self.field.encoder,
            "neighbours": self.neighbours,
            "prompts": [prompt.about for prompt in prompts],
        }
        if how == "diffusion":
            scores, chosen = diffused_scores(
                self.gaussians,
                self.graph,
                self._values(),
                metric_of(self.field),
                prompts,
                lifted,
                bandwidth=bandwidth,
                unary_bandwidth=unary_bandwidth,
                threshold=threshold,
            )
            return Selection.from_scores(scores, about | chosen, threshold=chosen["threshold"])
        foreground, background = self._anchors(prompts, lifted, about)
        scores = self._walk(foreground, background, bandwidth, about)
        default = self._threshold(prompts, lifted, scores, foreground | background)
        scores, chosen = combined_with_unary(
            self.gaussians,
            self.graph,
            self._values(),
            metric_of(self.field),
            scores,
            prompts,
            foreground,
            background,
            default=default,
            unary=unary,
            bandwidth=unary_bandwidth,
            threshold=threshold,
        )
        return Selection.from_scores(scores, about | chosen, threshold=chosen["threshold"])

    def select_labels(
        self, prompts: Mapping[str, Sequence[Prompt]], *, bandwidth: float | None = None
    ) -> dict[str, Selection]:
        """Select several objects at once by the random walker; what is marked as one is background of the others.

        Args:
            prompts: The prompts of each object by its name.
            bandwidth: b of the similarities ``S_f``; None = the default.

        Returns:
            A selection for each name; no Gaussian is in two of them.

        Raises:
            InputError: no names, or nothing is seen where an object is marked.
        """
        if not prompts:
            raise InputError("Expected prompts of at least one object, found none.")
        found, abouts = [], []
        anchors = []
        for own in prompts.values():
            self._check(own, "random-walker", "no", bandwidth=bandwidth)
            about: dict[str, Any] = {"method": "random-walker", "prompts": [p.about for p in own]}
            anchors.append(self._anchors(own, [self._lift(p) for p in own], about, alone=len(prompts) == 1))
            abouts.append(about)
        for index, about in enumerate(abouts):
            foreground, background = anchors[index]
            others = [other for i, (other, _) in enumerate(anchors) if i != index]
            for other in others:
                background = background | (other & ~foreground)
            found.append(self._walk(foreground, background, bandwidth, about))
        stacked = torch.stack(found)
        winner = stacked.argmax(0)
        result = {}
        for index, name in enumerate(prompts):
            # What another object wins stays below the boundary.
            scores = torch.where(winner == index, stacked[index], stacked[index].clamp_max(0.99 * BOUNDARY))
            abouts[index] |= {"labels": list(prompts), "threshold": BOUNDARY, "threshold_from": "the random walker"}
            result[name] = Selection.from_scores(scores, abouts[index])
        return result

    def _check(self, prompts: Sequence[Prompt], method: str | None, unary: str, **positive: float | None) -> str:
        chosen = self.method if method is None else method
        if chosen not in get_args(Method) or unary not in get_args(Unary):
            raise InputError(
                f"Expected a method of {', '.join(get_args(Method))} and unary {', '.join(get_args(Unary))}, "
                f"found {chosen!r} and {unary!r}."
            )
        if not prompts:
            raise InputError("Expected at least one prompt, found none.")
        for name, value in positive.items():
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"The {name.replace('_', ' ')} must be greater than 0, found {value}.")
        return "random-walker" if chosen == "auto" else chosen

    def _lift(self, prompt: Prompt, *, required: bool = True) -> LiftedPrompt:
        weights = self._weights_in(prompt.view.camera)
        return lift_prompt(self.gaussians, prompt, self._scene_graph.largest, weights=weights, required=required)

    def _weights_in(self, camera: Camera) -> Float[Tensor, " n"]:
        """What a view sees of each Gaussian, remembered for the last views."""
        key = torch.cat([camera.K.flatten(), camera.world_to_camera.flatten()]).cpu().numpy().tobytes()
        with self._lock:
            if key not in self._weights:
                while len(self._weights) >= VIEWS_KEPT:
                    self._weights.pop(next(iter(self._weights)))
                self._weights[key] = view_weights(self.gaussians, camera)
            return self._weights[key]

    def _anchors(
        self, prompts: Sequence[Prompt], lifted: Sequence[LiftedPrompt], about: dict[str, Any], *, alone: bool = True
    ) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
        """Gaussians that are clamped; what views disagree about is left free."""
        foreground = torch.stack([one.foreground for one in lifted]).any(0)
        background = torch.stack([one.background for one in lifted]).any(0)
        about["background"] = "marked"
        if alone and not bool(background.any()):
            background = self._frame(prompts[0]) & ~foreground
            about["background"] = "the view's border, since none was marked"
        foreground, background = foreground & ~background, background & ~foreground
        about["anchors"] = {"object": int(foreground.sum()), "background": int(background.sum())}
        if not bool(foreground.any()) or (alone and not bool(background.any())):
            raise InputError(
                f"The prompts leave {int(foreground.sum())} Gaussians of the object and {int(background.sum())} of "
                "the background; mark both where the scene has a surface, and each way only."
            )
        return foreground, background

    def _threshold(
        self,
        prompts: Sequence[Prompt],
        lifted: Sequence[LiftedPrompt],
        probabilities: Float[Tensor, " n"],
        anchors: Bool[Tensor, " n"],
    ) -> tuple[float, str]:
        """The threshold of the walker's probabilities, and where it is from.

        One half, where strokes or masks hold both sides.  Few clicks hold little: the object keeps one level of
        probability and its surroundings another, but not around one half, so Otsu's method parts the two.
        """
        free = lifted[0].visible & ~anchors
        if all(prompt.kind == "clicks" for prompt in prompts) and bool(free.any()):
            threshold = otsu_threshold(probabilities[free])
            if threshold > 0:
                return threshold, "Otsu's method on the Gaussians that the view sees"
        return BOUNDARY, "the random walker"

    def _frame(self, prompt: Prompt) -> Bool[Tensor, " n"]:
        """What lies along the border of a view, away from the strokes."""
        height, width = prompt.positive.shape
        frame = np.ones((height, width), bool)
        rim = max(1, round(FRAME * max(height, width)))
        frame[rim:-rim, rim:-rim] = False
        rows, columns = np.nonzero(prompt.positive)
        # Where the object's strokes come near, the border may be the object's.
        top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
        if top < 2 * rim:
            frame[:rim] = False
        if bottom >= height - 2 * rim:
            frame[-rim:] = False
        if left < 2 * rim:
            frame[:, :rim] = False
        if right >= width - 2 * rim:
            frame[:, -rim:] = False
        if not frame.any():
            return torch.zeros(len(self.gaussians), dtype=torch.bool, device=self.gaussians.device)
        border = Prompt.from_scribbles(prompt.view, frame)
        return self._lift(border, required=False).foreground

    def _walk(
        self,
        foreground: Bool[Tensor, " n"],
        background: Bool[Tensor, " n"],
        bandwidth: float | None,
        about: dict[str, Any],
    ) -> Float[Tensor, " n"]:
        value = BANDWIDTH if bandwidth is None else float(bandwidth)
        walker = self.walkers.get(value)
        labels = torch.full((self.graph.n,), -1)
        labels[background.cpu()] = 0
        labels[foreground.cpu()] = 1
        about["bandwidth"] = value
        about["bandwidth_from"] = "the default" if bandwidth is None else "given"
        return walker.probability(labels).to(foreground.device)

    def _values(self) -> Float[Tensor, "n c"]:
        with self._lock:
            if self._features is None:
                self._features = everywhere(self.field, self.gaussians).to(self.gaussians.device)
            return self._features
