"""The variants of LUDVIG's tables 5.1 and 5.2, and ours beside them, each as scores of a view and a threshold.

Hyperparameters are chosen on the reference view alone: by the best overlap with its mask, or by Li's method
where only scribbles are given (sections C.1.1 to C.1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize, rasterize_transposed
from render.scene import Scene
from render.views import View
from uplift.encoders.base import Encoder
from uplift.evaluation.pixel_features import (
    EncodedFeatures,
    PixelFeatures,
    PixelModel,
    RenderedFeatures,
    fit_pixel_model,
)
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS
from uplift.maps import FeatureMapCache
from uplift.prompts import Prompt
from uplift.sam_masks import TAU_MASK, TAU_SCRIBBLES, SamSegmenter
from uplift.scene_graph import SceneGraph, metric_of
from uplift.segmentation import Method, Segmenter, Unary
from uplift.selection import BOUNDARY, Selection
from uplift.thresholds import best_iou_threshold, li_threshold

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


NO_SAM = "no weights of Segment Anything were given (--sam FILE)"


@dataclass(frozen=True, eq=False)
class Setting:
    """What the variants work with.

    Attributes:
        scene: The scene; its Gaussians are in memory.
        gaussians: The scene's Gaussians, on the device to compute on.
        features: The lifted field.
        encoder: The encoder that made it, for maps of single views; a sentence says why there is none.
        segmenter: Of the scene and the field.
        sam: The SAM route of the scene; None = variants with SAM are left out.
        seed: Of all random choices.
        tau: Of the SAM route: which pixels of the reprojected prompt may be clicked on; None = as the paper has
            it, 0.4 for masks and 1 for scribbles (section C.1.1).
        maps: Where the encoder's maps of the photos may lie already.
    """

    scene: Scene
    gaussians: Gaussians
    features: FeatureField
    encoder: Encoder | str
    segmenter: Segmenter
    sam: SamSegmenter | None = None
    seed: int = 0
    tau: float | None = None
    maps: FeatureMapCache | None = None

    @cached_property
    def rendered(self) -> RenderedFeatures:
        """The lifted features in the views."""
        return RenderedFeatures(self.gaussians, self.features)

    @cached_property
    def encoded(self) -> EncodedFeatures:
        """The encoder's own maps of the views.

        Raises:
            InputError: there is no encoder.
        """
        if isinstance(self.encoder, str):
            raise InputError(self.encoder)
        return EncodedFeatures(self.encoder, self.maps)


def make_setting(
    scene: Scene,
    gaussians: Gaussians,
    features: FeatureField,
    encoder: Encoder | str,
    *,
    neighbours: int = NEIGHBOURS,
    graph: SceneGraph | None = None,
    sam: SamSegmenter | None = None,
    seed: int = 0,
    tau: float | None = None,
    maps: FeatureMapCache | None = None,
    progress: Progress = silent,
) -> Setting:
    """A setting with a segmenter that keeps its graph in memory alone: nothing is written to the scene.

    Args:
        scene: The scene.
        gaussians: Its Gaussians, on the device to compute on.
        features: The lifted field.
        encoder: The encoder that made it, or why there is none.
        neighbours: k of the graph.
        graph: A graph with the distances of these features, instead of a new one.
        sam: The SAM route of the scene.
        seed: Of all random choices.
        tau: Of the SAM route.
        maps: Where the encoder's maps of the photos may lie already.
        progress: Told while the graph is built.
    """
    features = features.to(gaussians.device)
    segmenter = Segmenter(scene, features, neighbours=neighbours, graph=graph, gaussians=gaussians).prepare(progress)
    return Setting(scene, gaussians, features, encoder, segmenter, sam, seed, tau, maps)


def to_photo(view: View, image: Float[Tensor, "h w"]) -> Float[np.ndarray, "H W"]:
    """A rendering with a view's margin, at the photo's size."""
    return view.to_photo(image.cpu().numpy())


@dataclass(frozen=True, eq=False)
class Scored:
    """What a variant answers.

    Attributes:
        scores: Scores of a view at the photo's size, ``[H, W]`` float32; what reaches the threshold is inside.
        threshold: Chosen on the reference view.
        about: JSON values: how it was chosen.
        selection: The Gaussians, where the variant selects some.
        column: What is rendered to make the scores, so that many are rendered together; ``[n]``, None where they
            are made otherwise.
        finish: From its rendering with the margin of a view, ``[h, w]``, to the scores.
    """

    scores: Callable[[View], Float[np.ndarray, "H W"]]
    threshold: float
    about: Mapping[str, Any] = field(default_factory=dict)
    selection: Selection | None = None
    column: Float[Tensor, " n"] | None = None
    finish: Callable[[View, Float[Tensor, "h w"]], Float[np.ndarray, "H W"]] = to_photo


@dataclass(frozen=True)
class Variant:
    """One row of the tables.

    Attributes:
        name: Its name there.
        run: From a prompt to scores.
        unavailable: Why it cannot run in a setting; None if it can.
        on_graph: Whether its result depends on the neighbour graph.
        of_features: Whether its result depends on the features.
    """

    name: str
    run: Callable[[Setting, Prompt], Scored]
    unavailable: Callable[[Setting], str | None] = lambda _setting: None
    on_graph: bool = False
    of_features: bool = True


@torch.no_grad()
def geometry_only(setting: Setting, prompt: Prompt) -> Scored:
    """The prompt lifted from the reference view (eq. 5.5) and reprojected (eq. 5.4), without any features."""
    gaussians, camera = setting.gaussians, prompt.view.camera
    marked = torch.from_numpy(prompt.positive).to(gaussians.means)[..., None]
    sums, weights = rasterize_transposed(gaussians, camera, marked)
    lifted = torch.where(weights[:, None] > 0, sums / weights[:, None].clamp_min(1e-12), torch.zeros_like(sums))[:, 0]
    threshold, about = _threshold(_drawn(setting, camera, lifted).cpu().numpy(), prompt)
    return rendered_scores(setting, lifted, threshold, about)


@torch.no_grad()
def single_view(setting: Setting, prompt: Prompt) -> Scored:
    """The encoder's maps of single views, without anything in 3D."""
    features = setting.encoded
    model, threshold, about = _fitted(setting, prompt, features)
    return Scored(lambda view: view.to_photo(model.scores(features, view)), threshold, about)


@torch.no_grad()
def uplifting(setting: Setting, prompt: Prompt) -> Scored:
    """The lifted features, rendered and classified in 2D (section C.1.2)."""
    features = setting.rendered
    model, threshold, about = _fitted(setting, prompt, features)

    def finish(view: View, image: Tensor) -> np.ndarray:
        return to_photo(view, model.score(image, features.lengths(view, covering=True)))

    return rendered_scores(setting, features.column(model.vector), threshold, about, finish=finish)


def _fitted(setting: Setting, prompt: Prompt, features: PixelFeatures) -> tuple[PixelModel, float, dict[str, Any]]:
    """The object's features, and the threshold of their scores."""
    model = fit_pixel_model(features, prompt, normalize=metric_of(setting.features) == "cosine", seed=setting.seed)
    threshold, about = _threshold(model.scores(features, prompt.view), prompt)
    return model, threshold, {"model": "logistic regression" if prompt.complete else "mean feature", **about}


def _by_segmenter(method: Method, unary: Unary = "auto") -> Callable[[Setting, Prompt], Scored]:
    def run(setting: Setting, prompt: Prompt) -> Scored:
        return of_selection(setting, setting.segmenter.select([prompt], method=method, unary=unary))

    return run


def sam_uplifting(setting: Setting, prompt: Prompt) -> Scored:
    """SAM's masks of all views, prompted by the reprojected prompt, lifted and rendered (section C.1.1)."""
    selection = _sam_of(setting).select([prompt], tau=setting.tau, seed=setting.seed)
    return of_selection(setting, selection)


@torch.no_grad()
def sam_single_view(setting: Setting, prompt: Prompt) -> Scored:
    """SAM's masks of single views, prompted by the reprojected prompt; which of the three masks, and the
    threshold, by the reference."""
    sam = _sam_of(setting)
    lifted = sam.lifted_foreground([prompt])
    tau = setting.tau if setting.tau is not None else TAU_MASK if prompt.complete else TAU_SCRIBBLES

    def masks(view: View, pixels: np.ndarray) -> np.ndarray:
        return sam.predict(view, pixels, several=prompt.complete, seed=setting.seed)

    reference = masks(prompt.view, prompt.positive)
    chosen = [_threshold(reference[..., k], prompt) for k in range(reference.shape[2])]
    best = max(range(len(chosen)), key=lambda k: chosen[k][1].get("reference IoU", 0.0))
    threshold, about = chosen[best]

    def scores(view: View) -> np.ndarray:
        return view.to_photo(masks(view, sam.point_pixels(view, lifted, tau))[..., best])

    return Scored(scores, threshold, {"mask": best, **about})


def _sam_of(setting: Setting) -> SamSegmenter:
    if setting.sam is None:
        raise InputError(NO_SAM)
    return setting.sam


def of_selection(setting: Setting, selection: Selection) -> Scored:
    """A selection's rendered scores."""
    selection.check(len(setting.gaussians))
    return rendered_scores(setting, selection.scores, BOUNDARY, selection.about, selection)


def rendered_scores(
    setting: Setting,
    column: Float[Tensor, " n"],
    threshold: float,
    about: Mapping[str, Any],
    selection: Selection | None = None,
    *,
    finish: Callable[[View, Float[Tensor, "h w"]], Float[np.ndarray, "H W"]] = to_photo,
) -> Scored:
    """Scores that are a rendering of values of the Gaussians."""

    def scores(view: View) -> np.ndarray:
        return finish(view, _drawn(setting, view.covering_camera, column))

    return Scored(scores, threshold, about, selection, column, finish)


def _drawn(setting: Setting, camera: Camera, column: Float[Tensor, " n"]) -> Float[Tensor, "h w"]:
    with torch.no_grad():
        return rasterize(setting.gaussians, camera, column.to(setting.gaussians.means)[:, None]).values[..., 0]


def true_labels(members: Bool[Tensor, " n"]) -> Variant:
    """The row that no selection of Gaussians can be expected to beat: those that are known to be the object."""
    selection = Selection.from_mask(members, {"method": "true labels"})
    return Variant("true labels", lambda setting, _prompt: of_selection(setting, selection), of_features=False)


def _threshold(scores: Float[np.ndarray, "h w"], prompt: Prompt) -> tuple[float, dict[str, Any]]:
    """The threshold that the reference view asks for."""
    if prompt.complete:
        threshold, overlap = best_iou_threshold(scores, prompt.positive)
        return threshold, {"threshold": threshold, "chosen by": "IoU on the reference", "reference IoU": overlap}
    # What equals Li's threshold is outside.
    threshold = float(np.nextafter(np.float32(li_threshold(scores)), np.float32(np.inf)))
    return threshold, {"threshold": threshold, "chosen by": "Li on the reference"}


def _no_encoder(setting: Setting) -> str | None:
    return setting.encoder if isinstance(setting.encoder, str) else None


def _no_sam(setting: Setting) -> str | None:
    return NO_SAM if setting.sam is None else None


GEOMETRY = Variant("geometry only", geometry_only, of_features=False)
SINGLE_VIEW = Variant("single view", single_view, _no_encoder)
UPLIFTING = Variant("uplifting", uplifting)
DIFFUSION = Variant("uplifting + diffusion", _by_segmenter("diffusion"), on_graph=True)
RANDOM_WALKER = Variant("random walker", _by_segmenter("random-walker", unary="no"), on_graph=True)
DEFAULT = Variant("default", _by_segmenter("auto"), on_graph=True)
SAM_SINGLE_VIEW = Variant("single view SAM", sam_single_view, _no_sam, of_features=False)
SAM_UPLIFTING = Variant("uplifting SAM", sam_uplifting, _no_sam, of_features=False)
VARIANTS = (
    GEOMETRY,
    SINGLE_VIEW,
    SAM_SINGLE_VIEW,
    UPLIFTING,
    SAM_UPLIFTING,
    DIFFUSION,
    RANDOM_WALKER,
    DEFAULT,
)
"""All rows, in the order of table 5.2, ours last."""
