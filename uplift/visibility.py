"""What a view sees of each Gaussian, and pixels of a prompt as anchors among the Gaussians.

A lifted mask is near 1 on everything behind the object, however faintly the view sees it.  So a Gaussian takes
a prompt's label only if its weight in that view exceeds a tenth of its largest weight in any single view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.camera import Camera
from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress, silent
from render.rasterizer import rasterize_transposed
from render.views import View
from uplift.picking import pick, surface_weights
from uplift.prompts import Prompt

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

VISIBLE = 0.1  # of the largest weight in a single view
# Of a Gaussian's weight in the view, relative to the best Gaussian, that must be marked to make it an anchor.
PURITY = {"mask": 0.9, "box": 0.9, "scribbles": 0.5, "clicks": 0.1}
MARGIN = 0.004  # of the image's diagonal: masks are not trusted nearer to their border


def view_weights(gaussians: Gaussians, camera: Camera) -> Float[Tensor, " n"]:
    """``sum_p w_i(d, p)`` of every Gaussian in one view."""
    ones = torch.ones(camera.height, camera.width, 1, device=gaussians.device)
    return rasterize_transposed(gaussians, camera, ones)[1]


@torch.no_grad()
def largest_weights(gaussians: Gaussians, views: Sequence[View], *, progress: Progress = silent) -> Float[Tensor, " n"]:
    """The largest weight ``sum_p w_i(d, p)`` of every Gaussian in any single view; no photo is read.

    Raises:
        InputError: there are no views.
    """
    if not views:
        raise InputError("Visibility needs at least one view, found none.")
    largest = torch.zeros(len(gaussians), device=gaussians.device)
    for done, view in enumerate(views):
        progress(done, len(views), "visibility")
        largest = torch.maximum(largest, view_weights(gaussians, view.camera))
    progress(len(views), len(views), "visibility")
    return largest


@dataclass(frozen=True, eq=False)
class LiftedPrompt:
    """A prompt on the Gaussians.

    Attributes:
        positive: Share of a Gaussian's weight in the view that is marked as object; ``[n]`` in [0, 1].
        negative: Share that is marked as background; ``[n]``.
        visible: Whether the view sees enough of a Gaussian to say anything about it; ``[n]`` bool.
        kind: Of the prompt.
    """

    positive: Float[Tensor, " n"]
    negative: Float[Tensor, " n"]
    visible: Bool[Tensor, " n"]
    kind: str

    @property
    def foreground(self) -> Bool[Tensor, " n"]:
        """Gaussians that are surely the object."""
        return self._anchors(self.positive)

    @property
    def background(self) -> Bool[Tensor, " n"]:
        """Gaussians that surely are not."""
        return self._anchors(self.negative) & ~self.foreground

    def _anchors(self, share: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        seen = torch.where(self.visible, share, torch.zeros_like(share))
        # Strokes narrower than the Gaussians under them fill none: the best filled count then.
        return self.visible & (share > 0) & (share >= PURITY[self.kind] * seen.max())


@torch.no_grad()
def lift_prompt(
    gaussians: Gaussians,
    prompt: Prompt,
    largest: Float[Tensor, " n"],
    *,
    weights: Float[Tensor, " n"] | None = None,
    visible: float = VISIBLE,
    required: bool = True,
) -> LiftedPrompt:
    """Bring a prompt's pixels to the Gaussians (LUDVIG, eq. 5.3 for one view), with the visibility rule.

    Of strokes and clicks only the visible surface counts: neither floaters in front of it nor what shines
    through.  Whole masks are not trusted near their border.

    Args:
        gaussians: The scene.
        prompt: Marked pixels of one view.
        largest: See :func:`largest_weights`; ``[n]``.
        weights: :func:`view_weights` of the prompt's view, if they are known.
        visible: The least share of ``largest`` that the view must see of a Gaussian; 0 = any.
        required: Whether there must be a Gaussian under the pixels that are marked as object.

    Raises:
        InputError: no Gaussian is seen under the prompt, or ``largest`` has another length.
    """
    if largest.shape != (len(gaussians),):
        raise InputError(
            f"Expected the largest weight of each of {len(gaussians)} Gaussians, found {list(largest.shape)}."
        )
    camera = prompt.view.camera
    if weights is None:
        weights = view_weights(gaussians, camera)
    positive, negative = _marked(prompt)
    masks = torch.from_numpy(np.stack([positive, negative])).to(gaussians.device)
    if prompt.kind == "clicks":
        # A disc around a click reaches over edges: only the surface that was clicked on counts.
        groups = (prompt.positive_clicks, prompt.negative_clicks)
        picked = [pick(gaussians, camera, clicks, radius=prompt.radius) for clicks in groups]
        marked = torch.stack([one.totals(len(gaussians)) for one in picked], dim=1)
    elif prompt.kind == "scribbles":
        marked = surface_weights(gaussians, camera, masks)
    else:
        marked = rasterize_transposed(gaussians, camera, masks.permute(1, 2, 0).float().contiguous())[0]
    on_object, on_background = marked.unbind(1)
    share = 1 / weights.clamp_min(1e-12)
    lifted = LiftedPrompt(
        on_object * share,
        on_background * share,
        (weights > visible * largest.to(weights.device)) & (weights > 0),
        prompt.kind,
    )
    if required and not bool(lifted.foreground.any()):
        raise InputError(
            f"No Gaussian is seen where view {prompt.view.name!r} is marked as object; mark where the scene has "
            "a surface."
        )
    return lifted


def _marked(prompt: Prompt) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """The pixels that are trusted: all of a stroke, and of a mask those that are not near its border."""
    if not prompt.complete:
        return prompt.positive, prompt.negative
    from scipy.ndimage import distance_transform_edt

    margin = max(1.0, MARGIN * float(np.hypot(*prompt.positive.shape)))
    inside = prompt.positive & (distance_transform_edt(prompt.positive) > margin)
    outside = prompt.negative & (distance_transform_edt(prompt.negative) > margin)
    # Something thinner than the margin is better taken whole than lost.
    return (inside if inside.any() else prompt.positive), (outside if outside.any() else prompt.negative)
