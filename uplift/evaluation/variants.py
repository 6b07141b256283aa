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

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize, rasterize_transposed
from render.scene import Scene
from render.views import View
from uplift.encoders.base import Encoder
from uplift.evaluation.pixel_features import EncodedFeatures, PixelFeatures, RenderedFeatures, fit_pixel_model
from uplift.field import FeatureField
from uplift.graph import NEIGHBOURS
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
    """

    scene: Scene
    gaussians: Gaussians
    features: FeatureField
    encoder: Encoder | str
    segmenter: Segmenter
    sam: SamSegmenter | None = None
    seed: int = 0
    tau: float | None = None

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
        return EncodedFeatures(self.encoder)


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
        progress: Told while the graph is built.
    """
    features = features.to(gaussians.device)
    segmenter = Segmenter(scene, features, neighbours=neighbours, graph=graph, gaussians=gaussians).prepare(progress)
    return Setting(scene, gaussians, features, encoder, segmenter, sam, seed, tau)


@dataclass(frozen=True, eq=False)
class Scored:
    """What a variant answers.

    Attributes:
        scores: Scores of a view at the photo's size, ``[H, W]`` float32; what reaches the threshold is inside.
        threshold: Chosen on the reference view.
        about: JSON values: how it was chosen.
        selection: The Gaussians, where the variant selects some.
    """

    scores: Callable[[View], Float[np.ndarray, "H W"]]
    threshold: float
    about: Mapping[str, Any] = field(default_factory=dict)
    selection: Selection | None = None


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
    lifted = torch.where(weights[:, None] > 0, sums / weights[:, None].clamp_min(1e-12), torch.zeros_like(sums))

    def render(view: View, covering: bool) -> np.ndarray:
        shown = rasterize(gaussians, view.covering_camera if covering else view.camera, values=lifted)
        return shown.values[..., 0].cpu().numpy()

    threshold, about = _threshold(render(prompt.view, False), prompt)
    return Scored(lambda view: view.to_photo(render(view, True)), threshold, about)


def single_view(setting: Setting, prompt: Prompt) -> Scored:
    """The encoder's maps of single views, without anything in 3D."""
    return _by_pixels(setting, prompt, setting.encoded, covering=False)


def uplifting(setting: Setting, prompt: Prompt) -> Scored:
    """The lifted features, rendered and classified in 2D (section C.1.2)."""
    return _by_pixels(setting, prompt, setting.rendered, covering=True)


@torch.no_grad()
def _by_pixels(setting: Setting, prompt: Prompt, features: PixelFeatures, *, covering: bool) -> Scored:
    model = fit_pixel_model(features, prompt, normalize=metric_of(setting.features) == "cosine", seed=setting.seed)
    threshold, about = _threshold(model.scores(features, prompt.view), prompt)
    model_name = "logistic regression" if prompt.complete else "mean feature"

    def scores(view: View) -> np.ndarray:
        return view.to_photo(model.scores(features, view, covering=covering))

    return Scored(scores, threshold, {"model": model_name, **about})


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

    def scores(view: View) -> np.ndarray:
        return view.to_photo(selection.render(setting.gaussians, view.covering_camera))

    return Scored(scores, BOUNDARY, selection.about, selection)


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
