"""LPIPS where its weights are on this machine; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nerfstudio.utils.rich_utils import CONSOLE

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

WEIGHTS = "alexnet-owt-7be5be79.pth"
SOURCE = "https://download.pytorch.org/models/" + WEIGHTS


class PerceptualMetric:
    """LPIPS (Zhang et al. 2018), loaded at the first use and only in evaluation."""

    def __init__(self) -> None:
        self._metric: Any = None
        self._skipped = False

    def __call__(self, prediction: Float[Tensor, "h w 3"], photo: Float[Tensor, "h w 3"]) -> float | None:
        """The distance of two images in [0, 1]; None where the weights are missing."""
        if self._skipped:
            return None
        if self._metric is None:
            weights = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
            if not weights.is_file():
                self._skipped = True
                CONSOLE.log(f"LPIPS is skipped: it needs {weights}, to be had from {SOURCE}.")
                return None
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            self._metric = LearnedPerceptualImagePatchSimilarity(normalize=True).to(photo.device)
        images = [image.permute(2, 0, 1)[None].clamp(0, 1) for image in (prediction, photo)]
        return float(self._metric(*images))
