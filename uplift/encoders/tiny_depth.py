"""``tiny-depth``: a small ViT trained for depth in metres on rooms, with the decoder that tells it.

What a photo shows does not say how far away it is: twice the focal length and twice the distance give the same photo.
So the network tells depths for one camera, of the focal length :data:`FOCAL`; where the photo's own is known, depths
are scaled by it (the canonical camera of Yin et al. 2023, Metric3D).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from render.errors import InputError
from uplift.encoders.base import Image, Tokens, as_image
from uplift.encoders.checkpoints import load_strictly, read_weights
from uplift.encoders.tiny import LICENCE, tiny_file
from uplift.encoders.tiny_dino import build_tiny_dino
from uplift.encoders.vit import ViTEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

NAME = "tiny-depth"
WIDTH, DEPTH, HEADS = 192, 4, 6
CHANNELS = 96  # of the decoder
FOCAL = 168.0  # pixels, of the camera that depths are told for: in the middle of those of photos 224 pixels wide
BINS, NEAREST, FARTHEST = 64, 0.2, 32.0  # metres; each bin is a tenth farther away than the one before
WINDOW, STRIDE = 448, 224  # depth is told from the whole photo, so windows are large
FINER = 2  # nodes along a patch, of what the decoder tells


class DepthDecoder(nn.Module):
    """Convolutions from the tokens of a photo to its depth.

    A node's depth is the mean of bins in the logarithm of depth, weighted by a softmax: it stays within the bins
    however little the network knows, and errors weigh in parts of the depth.

    Args:
        dimension: Channels of the tokens.
    """

    middles: Tensor

    def __init__(self, dimension: int) -> None:
        super().__init__()
        half = CHANNELS // 2
        self.patches, self.whole = nn.Conv2d(dimension, CHANNELS, 1), nn.Linear(dimension, CHANNELS)
        self.coarse = nn.Sequential(*_layers(CHANNELS, CHANNELS), *_layers(CHANNELS, CHANNELS))
        self.fine = nn.Sequential(*_layers(CHANNELS, half), nn.Conv2d(half, BINS, 1))
        steps = torch.linspace(math.log(NEAREST), math.log(FARTHEST), BINS)
        self.register_buffer("middles", steps, persistent=False)

    def forward(self, patches: Float[Tensor, "b gh gw c"], whole: Float[Tensor, "b c"]) -> Float[Tensor, "b 2gh 2gw"]:
        """Depth at two nodes along a patch, in metres for the focal length :data:`FOCAL`.

        Args:
            patches: Tokens of the patches.
            whole: Of the whole photos, the [CLS] tokens.
        """
        x = self.patches(patches.permute(0, 3, 1, 2)) + self.whole(whole)[..., None, None]
        x = x + self.coarse(x)
        x = nn.functional.interpolate(x, scale_factor=FINER, mode="bilinear", align_corners=False)
        shares = self.fine(x).float().softmax(1)
        return torch.einsum("bkhw,k->bhw", shares, self.middles).exp()


class TinyDepth(nn.Module):
    """The network and its decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = build_tiny_dino(width=WIDTH, depth=DEPTH, heads=HEADS)
        self.decoder = DepthDecoder(WIDTH)


class TinyDepthEncoder(ViTEncoder):
    """The network's tokens, and the depth that follows from them.

    Attributes:
        decoder: Tells depth of tokens; frozen.
    """

    def __init__(self, model: TinyDepth, *, device: torch.device | None = None, **options: Any) -> None:
        """Make an encoder of a model, which it freezes; InputError if ``window`` or ``stride`` are out of range."""
        named = {"window": WINDOW, "stride": STRIDE} | options
        super().__init__(NAME, model.vit, licence=LICENCE, device=device, **named)
        self.decoder = model.decoder.eval().requires_grad_(False).to(self.device)

    def decode(self, tokens: Tokens, focal: float | Float[Tensor, " b"] | None = None) -> Float[Tensor, "b H W"]:
        """Depth along the viewing direction in metres, of every pixel that the network saw; differentiable.

        Args:
            tokens: Of this encoder.
            focal: Focal lengths in pixels of what the network saw; None = :data:`FOCAL`, as photos of 224 pixels'
                width have with a field of view of 67 degrees.  Of another one, depths are off by the same factor.

        Raises:
            InputError: the tokens are another encoder's.
        """
        if tokens.patches.ndim != 4 or tokens.patches.shape[-1] != self.dimension:
            raise InputError(
                f"{NAME} tells depth of its own tokens, [b, gh, gw, {self.dimension}], found "
                f"{list(tokens.patches.shape)}."
            )
        told = self.decoder(tokens.patches, tokens.whole)
        size = [length * self.patch for length in tokens.patches.shape[1:3]]
        depth = nn.functional.interpolate(told[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        if focal is None:
            return depth
        return depth * (torch.as_tensor(focal, device=depth.device, dtype=depth.dtype) / FOCAL).reshape(-1, 1, 1)

    @torch.no_grad()
    def depth(self, image: Image, focal: float | None = None) -> Float[Tensor, "h w"]:
        """Depth along the viewing direction in metres, of every pixel of a photo ``[h, w, 3]`` uint8.

        Args:
            image: The photo; it is seen at once.
            focal: Its focal length in pixels; None = :data:`FOCAL`.
        """
        height, width = as_image(image).shape[:2]
        pixels = self.pixels(image)
        seen = None if focal is None else focal * pixels.shape[2] / width
        told = self.decode(self.tokens(pixels[None]), seen)
        return nn.functional.interpolate(told[None], (height, width), mode="bilinear", align_corners=False)[0, 0]


def make_tiny_depth(weights: Path | None, device: torch.device, **options: Any) -> TinyDepthEncoder:
    """The encoder ``tiny-depth``.

    Args:
        weights: A file that ``fit3d tiny depth`` wrote; None = the bundled one.
        device: Where it computes.
        options: ``window`` and ``stride``.

    Raises:
        InputError: there is no such file, or it holds another network's weights.
    """
    path = weights or tiny_file(NAME)
    model = TinyDepth()
    load_strictly(model, {name: value.float() for name, value in read_weights(path).items()}, NAME, path)
    return TinyDepthEncoder(model, device=device, **options)


def _layers(before: int, after: int) -> list[nn.Module]:
    return [nn.GroupNorm(8, before), nn.GELU(), nn.Conv2d(before, after, 3, padding=1)]
