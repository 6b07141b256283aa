"""``plain-vit``: a vision transformer of the plainest kind, small, for masked pretrainings from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from uplift.encoders.masked import HEAD_WIDTH, sine_cosine

if TYPE_CHECKING:
    from jaxtyping import Float

WIDTH, DEPTH, PATCH = 192, 4, 8
SIZE = 96  # pixels: any other size will do, positions are computed for it
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class PlainViT(VisionTransformer):
    """Each patch is embedded by a linear map of its own pixels; positions are added to it.

    So what a token begins with is the same whatever else is hidden, which convolutions that see beyond their patch
    cannot promise.  Positions are sines and cosines of rows and columns (Mask3D, section 3.1), computed for the grid
    that is seen: there is nothing to learn and nothing to interpolate, and a network that was not pretrained has the
    same.
    """

    def __init__(self, *, width: int = WIDTH, depth: int = DEPTH) -> None:
        """Set up with random weights.

        Args:
            width: Channels of a token, a multiple of 64.
            depth: Blocks.
        """
        super().__init__(
            img_size=SIZE,
            patch_size=PATCH,
            embed_dim=width,
            depth=depth,
            num_heads=width // HEAD_WIDTH,
            num_classes=0,
            global_pool="",
            class_token=False,
            pos_embed="none",
            dynamic_img_size=True,
        )
        self.pretrained_cfg = {"input_size": (3, SIZE, SIZE), "mean": MEAN, "std": STD}

    def _pos_embed(self, x: Float[Tensor, "b gh gw c"]) -> Float[Tensor, "b n c"]:
        _, rows, columns, width = x.shape
        return x.flatten(1, 2) + sine_cosine((rows, columns), width).to(x)
