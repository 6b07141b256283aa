"""TrivialAugment (Müller and Hutter 2021): one operation of a pool, as strong as chance has it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

STRENGTHS = 31  # evenly spaced from none to all
# The wide space of the paper: how far each operation goes.
SHEAR, SHIFT, TURN, FACTOR = 0.99, 32.0, 135.0, 0.99  # of a side, pixels, degrees, of brightness and the like
MOST_BITS, LEAST_BITS = 8, 2


def trivially_changed(pixels: Float[Tensor, "3 h w"], random: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """A photo in [0, 1] after one operation: shifted, sheared, turned, or with other colours.

    Args:
        pixels: The photo.
        random: Chooses operation, strength and sign.
    """
    operation = OPERATIONS[list(OPERATIONS)[int(random.integers(len(OPERATIONS)))]]
    strength = int(random.integers(STRENGTHS)) / (STRENGTHS - 1)
    sign = 1.0 if random.random() < 0.5 else -1.0
    return operation(pixels, strength, sign).clamp(0, 1)


def _moved(
    pixels: Tensor, *, shear: tuple[float, float] = (0, 0), shift: tuple[float, float] = (0, 0), turn: float = 0
) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    degrees = [math.degrees(math.atan(one)) for one in shear]
    moved: Tensor = transforms.affine(
        pixels,
        angle=turn,
        translate=list(shift),
        scale=1.0,
        shear=degrees,
        interpolation=InterpolationMode.BILINEAR,
    )
    return moved


def _by(name: str) -> Callable[[Tensor, float, float], Tensor]:
    """One of torchvision's changes by a factor, 1 = none."""

    def changed(pixels: Tensor, strength: float, sign: float) -> Tensor:
        from torchvision.transforms.v2 import functional as transforms

        found: Tensor = getattr(transforms, f"adjust_{name}")(pixels, 1 + sign * FACTOR * strength)
        return found

    return changed


def _posterized(pixels: Tensor, strength: float, sign: float) -> Tensor:  # noqa: ARG001  it has no sign
    step = 2.0 ** round((MOST_BITS - LEAST_BITS) * strength)
    return ((pixels * 255).round() / step).floor() * step / 255


def _solarized(pixels: Tensor, strength: float, sign: float) -> Tensor:  # noqa: ARG001
    return torch.where(pixels > 1 - strength, 1 - pixels, pixels)


def _spread(pixels: Tensor, strength: float, sign: float) -> Tensor:  # noqa: ARG001
    from torchvision.transforms.v2 import functional as transforms

    found: Tensor = transforms.autocontrast(pixels)
    return found


def _equalized(pixels: Tensor, strength: float, sign: float) -> Tensor:  # noqa: ARG001
    from torchvision.transforms.v2 import functional as transforms

    found: Tensor = transforms.equalize(pixels)
    return found


OPERATIONS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "identity": lambda pixels, strength, sign: pixels,  # noqa: ARG005
    "shear x": lambda pixels, strength, sign: _moved(pixels, shear=(sign * SHEAR * strength, 0)),
    "shear y": lambda pixels, strength, sign: _moved(pixels, shear=(0, sign * SHEAR * strength)),
    "shift x": lambda pixels, strength, sign: _moved(pixels, shift=(sign * SHIFT * strength, 0)),
    "shift y": lambda pixels, strength, sign: _moved(pixels, shift=(0, sign * SHIFT * strength)),
    "turn": lambda pixels, strength, sign: _moved(pixels, turn=sign * TURN * strength),
    "brightness": _by("brightness"),
    "colour": _by("saturation"),
    "contrast": _by("contrast"),
    "sharpness": _by("sharpness"),
    "posterize": _posterized,
    "solarize": _solarized,
    "autocontrast": _spread,
    "equalize": _equalized,
}
"""By name, as the paper has them; each takes photo, strength from 0 to 1, and sign."""
