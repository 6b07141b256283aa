"""Selections by Segment Anything's 2D masks, lifted (LUDVIG, section C.1.1)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize, rasterize_transposed
from render.scene import Scene
from render.views import View
from uplift.encoders.base import as_image
from uplift.encoders.checkpoints import hash_of
from uplift.field import read_safetensors, write_safetensors
from uplift.lifting import lift
from uplift.prompts import Prompt
from uplift.selection import BOUNDARY, Selection
from uplift.thresholds import best_iou_threshold, li_threshold
from uplift.visibility import VISIBLE, largest_weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from numpy import ndarray

TAU_MASK, TAU_SCRIBBLES = 0.4, 1.0  # of the reprojected foreground over its mean
POINTS, REPEATS = 3, 10
FLOOR = 0.5  # of the reprojected foreground's maximum: a small object's mean is as faint as what leaks around it
# Where the foreground makes less of every pixel than this, the object is not seen, and points would be chance.
LEAST = 0.1
SMALLEST_THRESHOLD = 1e-6


class MaskPredictor(Protocol):
    """What of ``segment_anything.SamPredictor`` is used; SAM 2's image predictor has the same methods."""

    def set_image(self, image: UInt8[ndarray, "h w 3"]) -> None:
        """Take the photo that is predicted on."""

    def predict(
        self, point_coords: ndarray, point_labels: ndarray, *, multimask_output: bool
    ) -> tuple[ndarray, ndarray, ndarray]:
        """Masks ``[k, h, w]`` of the photo from points ``[m, 2]`` in (x, y), their scores, and logits."""


def average_masks(
    predictor: MaskPredictor,
    pixels: Bool[ndarray, "h w"],
    *,
    points: int = POINTS,
    repeats: int = REPEATS,
    several: bool = False,
    random: np.random.Generator,
) -> Float[ndarray, "h w k"]:
    """The mean of masks that the predictor gives for random points of an object (section C.1.1).

    Args:
        predictor: Its ``set_image`` was called with the photo.
        pixels: Where the points are taken from, at the photo's size.
        points: How many at a time; fewer where there are fewer pixels.
        repeats: How many predictions are averaged.
        several: Whether the predictor gives three masks of different extent, averaged apart, or one.
        random: Draws the points.

    Returns:
        Between 0 and 1, float32; ``k`` is 3 or 1.

    Raises:
        InputError: there is no pixel, or points or repeats are below 1.
    """
    rows, columns = np.nonzero(pixels)
    if len(rows) == 0 or points < 1 or repeats < 1:
        raise InputError(
            f"Segment Anything needs pixels to take points from, and points and repeats of at least 1, found "
            f"{len(rows)} pixels, {points} points and {repeats} repeats."
        )
    total = np.zeros((1, 1, 1), np.float32)
    for _ in range(repeats):
        chosen = random.choice(len(rows), min(points, len(rows)), replace=False)
        # The predictor counts pixels, and adds the half to their centres itself.
        xy = np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32)
        masks, _, _ = predictor.predict(xy, np.ones(len(xy), np.int64), multimask_output=several)
        total = total + masks
    return np.ascontiguousarray(np.moveaxis(total / np.float32(repeats), 0, -1))


class SamSegmenter:
    """Selects what Segment Anything's masks, prompted in every view and lifted, say is the object.

    The steps of section C.1.1: the foreground of the prompts is lifted and reprojected to every view; where it
    exceeds ``tau`` times its mean (and half of its maximum, which is not the paper's: ``floor``), points are drawn
    and masks averaged; those maps are lifted, rendered in the
    reference views and thresholded there.  One photo and its maps are in memory at a time.
    """

    def __init__(
        self,
        scene: Scene | Gaussians,
        predictor: MaskPredictor,
        *,
        views: Sequence[View] | None = None,
        cache: str | Path | None = None,
    ) -> None:
        """Nothing is computed yet.

        Args:
            scene: A scene, or Gaussians with ``views``.
            predictor: ``uplift.encoders.sam.load_sam(...)``.
            views: The views to predict in; None = all of the scene.
            cache: A folder that keeps the photos' embeddings, the slow part, for the next prompt; None = nothing
                is kept.

        Raises:
            InputError: there are no views.
        """
        self.gaussians = scene if isinstance(scene, Gaussians) else scene.gaussians
        chosen = views if views is not None else [] if isinstance(scene, Gaussians) else scene.views
        if not chosen:
            raise InputError("Segment Anything's masks are lifted from views, found none; give the scene's views.")
        self.views = list(chosen)
        self.predictor = predictor
        self._cache = None if cache is None else EmbeddingCache(cache, predictor)
        self._largest: Tensor | None = None

    @torch.no_grad()
    def select(
        self,
        prompts: Sequence[Prompt],
        *,
        tau: float | None = None,
        floor: float = FLOOR,
        points: int = POINTS,
        repeats: int = REPEATS,
        threshold: float | Literal["li"] | None = None,
        visible_only: bool = True,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Selection:
        """Select the object of the prompts.

        Args:
            prompts: Masks, scribbles, clicks or boxes; all of one object.
            tau: Pixels above this multiple of the reprojected foreground's mean may become points; None = 0.4
                for whole masks, 1 for scribbles and clicks.
            floor: Such pixels must also exceed this share of its maximum; 0 = the paper's rule alone, which for
                objects that fill little of the view takes most points beside them.
            points: Points per prediction.
            repeats: Predictions that are averaged per view.
            threshold: Of the rendered masks; None = with whole masks the one of the best overlap in their views,
                by which one of the predictor's three masks is chosen too, else one half; ``li`` = Li's on the
                reference views.
            visible_only: Leave out of the lifted foreground what lies behind the object in the reference view;
                False = the paper's plain lifting.
            seed: Of the points.
            progress: Told of every view; raising from it cancels.

        Raises:
            InputError: no prompt, a threshold of 0 or less, or points or repeats below 1.
        """
        if not prompts:
            raise InputError("A selection needs at least one prompt, found none.")
        if threshold is not None and threshold != "li" and not 0 < threshold < np.inf:
            raise InputError(f"The threshold must be greater than 0, found {threshold}.")
        marked = _foregrounds(prompts)
        whole = all(prompt.complete for prompt in prompts)
        tau = (TAU_MASK if whole else TAU_SCRIBBLES) if tau is None else tau
        lifted = self.lifted_foreground(prompts, visible_only=visible_only, progress=progress)
        used = [view for view in self._with_references(prompts) if self._seen(view, lifted, marked)]
        several = whole and threshold is None

        def masks(view: View) -> ndarray:
            pixels = self.point_pixels(view, lifted, tau, floor) if view.name not in marked else marked[view.name]
            return self.predict(view, pixels, points=points, repeats=repeats, several=several, seed=seed)

        values = lift(self.gaussians, used, masks, progress=progress).values
        best, boundary, chosen = self._choose(values, prompts, threshold)
        about = {
            "method": "sam",
            "prompts": [prompt.about for prompt in prompts],
            "tau": tau,
            "floor": floor,
            "points": points,
            "repeats": repeats,
            "seed": seed,
            "visible_only": visible_only,
            "views": len(used),
            "views_without_the_object": len(self._with_references(prompts)) - len(used),
            "mask": best,
            "threshold": boundary,
            **chosen,
        }
        return Selection.from_scores(values[:, best].contiguous(), about, threshold=boundary)

    @torch.no_grad()
    def lifted_foreground(
        self, prompts: Sequence[Prompt], *, visible_only: bool = True, progress: Progress = silent
    ) -> Float[Tensor, " n"]:
        """The prompts' foreground lifted from their views alone (LUDVIG, eq. 5.5), between 0 and 1.

        A lifted ratio is near 1 however little of a Gaussian is seen, so with ``visible_only`` Gaussians whose
        weight in these views is less than a tenth of their largest in any view are left out: they lie behind.
        """
        sums = torch.zeros(len(self.gaussians), device=self.gaussians.device)
        weights, largest = torch.zeros_like(sums), torch.zeros_like(sums)
        marked = _foregrounds(prompts)
        for view in {prompt.view.name: prompt.view for prompt in prompts}.values():
            foreground = torch.from_numpy(marked[view.name]).to(sums)[..., None]
            added, seen = rasterize_transposed(self.gaussians, view.camera, foreground)
            sums += added[:, 0]
            weights += seen
            largest = torch.maximum(largest, seen)
        lifted = sums / weights.clamp_min(1e-12)
        if visible_only:
            if self._largest is None:
                self._largest = largest_weights(self.gaussians, self.views, progress=progress)
            lifted[largest < VISIBLE * self._largest] = 0
        return lifted

    def point_pixels(
        self, view: View, lifted: Float[Tensor, " n"], tau: float, floor: float = FLOOR
    ) -> Bool[ndarray, "h w"]:
        """Where the reprojected foreground exceeds ``tau`` times its mean and ``floor`` times its maximum."""
        drawn = self._drawn(view, lifted)
        pixels = drawn > torch.maximum(tau * drawn.mean(), floor * drawn.max())
        # Limits above what the image reaches leave its brightest pixels.
        return (pixels if bool(pixels.any()) else drawn == drawn.max()).cpu().numpy()

    def predict(
        self,
        view: View,
        pixels: Bool[ndarray, "h w"],
        *,
        points: int = POINTS,
        repeats: int = REPEATS,
        several: bool = False,
        seed: int = 0,
    ) -> Float[ndarray, "h w k"]:
        """The averaged masks of one view (:func:`average_masks`); the points depend on seed and view alone."""
        set_image(self.predictor, view, self._cache)
        random = np.random.default_rng((seed, zlib.crc32(view.name.encode())))
        return average_masks(self.predictor, pixels, points=points, repeats=repeats, several=several, random=random)

    def _choose(
        self, values: Float[Tensor, "n k"], prompts: Sequence[Prompt], threshold: float | Literal["li"] | None
    ) -> tuple[int, float, dict[str, Any]]:
        """Which mask, its threshold, and how they were found."""
        if isinstance(threshold, (int, float)):
            return 0, float(threshold), {"threshold_by": "given"}
        whole = all(prompt.complete for prompt in prompts)
        if threshold is None and not whole:
            return 0, BOUNDARY, {"threshold_by": "half of the predictions"}
        rendered = [rasterize(self.gaussians, p.view.camera, values).values.flatten(0, 1).cpu() for p in prompts]
        pixels = torch.cat(rendered).numpy()
        if threshold == "li":
            return 0, max(li_threshold(pixels[:, 0]), SMALLEST_THRESHOLD), {"threshold_by": "Li, reference views"}
        truth = np.concatenate([prompt.positive.reshape(-1) for prompt in prompts])
        found = [best_iou_threshold(column, truth) for column in pixels.T]
        best = max(range(len(found)), key=lambda k: found[k][1])
        chosen = {"threshold_by": "overlap with the mask", "iou_in_reference_views": found[best][1]}
        return best, max(found[best][0], SMALLEST_THRESHOLD), chosen

    def _with_references(self, prompts: Sequence[Prompt]) -> list[View]:
        """The views of the scene, and those of the prompts where they are others."""
        known = {view.name for view in self.views}
        return self.views + [v for v in {p.view.name: p.view for p in prompts}.values() if v.name not in known]

    def _seen(self, view: View, lifted: Tensor, marked: dict[str, ndarray]) -> bool:
        return view.name in marked or bool(self._drawn(view, lifted).max() >= LEAST)

    def _drawn(self, view: View, lifted: Tensor) -> Float[Tensor, "h w"]:
        return rasterize(self.gaussians, view.camera, lifted[:, None]).values[..., 0]


class EmbeddingCache:
    """Embeddings of photos by Segment Anything's image encoder on disk, keyed by photo and weights."""

    def __init__(self, folder: str | Path, predictor: MaskPredictor) -> None:
        model = getattr(predictor, "model", None)
        known = hasattr(predictor, "features") and hasattr(predictor, "reset_image")
        if not known or not isinstance(model, torch.nn.Module):
            raise InputError(
                "Embeddings are kept for segment_anything's SamPredictor alone; leave the cache out for others."
            )
        self._folder = Path(folder) / f"sam-{hash_of(model)[:16]}"

    def set_image(self, predictor: Any, image: UInt8[ndarray, "h w 3"]) -> None:
        """``predictor.set_image(image)``, from disk if the photo was seen before."""
        digest = hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
        path = self._folder / f"{digest[:32]}.safetensors"
        if path.is_file():
            try:
                tensors, header = read_safetensors(path)
            except InputError:
                path.unlink(missing_ok=True)  # damaged: computed again below
            else:
                predictor.reset_image()
                predictor.original_size = image.shape[:2]
                predictor.input_size = tuple(header["input_size"])
                predictor.features = tensors["features"].to(predictor.device)
                predictor.is_image_set = True
                return
        predictor.set_image(image)
        header = {"input_size": [int(side) for side in predictor.input_size]}
        write_safetensors(path, {"features": predictor.features.detach().cpu().contiguous()}, header)


def set_image(predictor: MaskPredictor, view: View, cache: EmbeddingCache | None = None) -> None:
    """Give a view's photo to the predictor."""
    image = as_image(view.image())
    if cache is None:
        predictor.set_image(image)
    else:
        cache.set_image(predictor, image)


def _foregrounds(prompts: Sequence[Prompt]) -> dict[str, Bool[ndarray, "h w"]]:
    """The marked pixels of the object by view; prompts of one view are joined."""
    marked: dict[str, ndarray] = {}
    for prompt in prompts:
        name = prompt.view.name
        marked[name] = marked[name] | prompt.positive if name in marked else prompt.positive
    return marked
