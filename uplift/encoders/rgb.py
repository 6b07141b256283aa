"""The photo itself as a feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uplift.encoders.base import Encoder, Image, as_image

if TYPE_CHECKING:
    from jaxtyping import Float


class RGBEncoder(Encoder):
    """Colours in [0, 1] at full size; needs no weights."""

    name = "rgb"
    dimension = 3
    metric = "euclidean"

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")

    def encode(self, image: Image) -> Float[Tensor, "h w 3"]:
        """Scale a photo ``[h, w, 3]`` uint8 to [0, 1]."""
        return torch.from_numpy(as_image(image)).to(self._device, torch.float32) / 255
