"""Changes of colours of many photos at once, each by an amount of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Change: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Photos ``[b, 3, h, w]`` in [0, 1] and an amount for each ``[b]`` to photos, which may leave [0, 1]."""

BYTE = 255  # the largest value of 8 bits, which solarizing and posterizing count in
BITS = 8


def unchanged(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:  # noqa: ARG001
    """As they are."""
    return images


def brightness(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """From black (-1) to twice as bright (1)."""
    return images * _factors(amounts)


def contrast(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """From the photo's mean grey (-1) to twice as far from it (1)."""
    from torchvision.transforms.v2 import functional as transforms

    return images.lerp(transforms.adjust_contrast(images, 0.0), -_wide(amounts))


def saturation(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """From grey (-1) to twice as colourful (1)."""
    return images.lerp(grey(images, amounts), -_wide(amounts))


def sharpness(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """From blurred by 3 x 3 pixels (-1) to as far from that (1); edges of the photo stay."""
    from torchvision.transforms.v2 import functional as transforms

    return images.lerp(transforms.adjust_sharpness(images, 0.0), -_wide(amounts))


def hue(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Hue turned by so much of a full turn, value and saturation kept (the hexagonal model of HSV)."""
    value, least = images.amax(1), images.amin(1)
    spread = value - least
    safe = torch.where(spread > 0, spread, 1.0)
    red, green, blue = images.unbind(1)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = sector + 6 * amounts[:, None, None]
    # A channel is at the value's height for two sixths of a turn, at the least for two, and goes between them.
    start = torch.tensor([5.0, 3.0, 1.0], device=images.device, dtype=images.dtype)[:, None, None]
    place = (start + turned[:, None]).remainder(6)
    return value[:, None] - spread[:, None] * torch.minimum(place, 4 - place).clamp(0, 1)


def grey(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:  # noqa: ARG001
    """Without colour."""
    from torchvision.transforms.v2 import functional as transforms

    found: Tensor = transforms.rgb_to_grayscale(images, num_output_channels=3)
    return found


def inverted(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:  # noqa: ARG001
    """Their negatives."""
    return 1 - images


def solarized(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Values from a threshold on inverted, which is 256 of 255 at amount 0 and 0 at amount 1."""
    threshold = (1 - _wide(amounts)) * ((BYTE + 1) / BYTE)
    return torch.where(images >= threshold, 1 - images, images)


def posterized(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """The lowest bits of 8 cleared, as many as the rounded amount."""
    cleared = _wide(amounts).round()
    step = torch.exp2(cleared)
    return torch.where(cleared > 0, ((images * BYTE).round() / step).floor() * step / BYTE, images)


def spread_out(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:  # noqa: ARG001
    """Each channel stretched to reach from 0 to 1 (autocontrast)."""
    from torchvision.transforms.v2 import functional as transforms

    found: Tensor = transforms.autocontrast(images)
    return found


def equalized(images: Float[Tensor, "b 3 h w"], amounts: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:  # noqa: ARG001
    """Each channel with an even histogram, in 8 bits."""
    from torchvision.transforms.v2 import functional as transforms

    found: Tensor = transforms.equalize(images)
    return found


def _wide(amounts: Tensor) -> Tensor:
    return amounts[:, None, None, None]


def _factors(amounts: Tensor) -> Tensor:
    return 1 + _wide(amounts)
