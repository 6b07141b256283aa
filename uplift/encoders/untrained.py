"""Architectures of encoders without their weights: for training from scratch, and to read weights into."""

from __future__ import annotations

from typing import Any

import torch

from render.errors import InputError
from uplift.encoders.vit import PREFIX, ViTEncoder, make_architecture
from uplift.encoders.vit_names import VIT_NAMES


def make_blank(name: str, device: torch.device, *, seed: int = 0, **options: Any) -> ViTEncoder:
    """An encoder's network with weights drawn from a seed; nothing is downloaded.

    Args:
        name: tiny-dino, a short name of a ViT, or timm:NAME.
        device: Where it computes.
        seed: Of the weights.
        options: ``window`` and ``stride``.

    Raises:
        InputError: the architecture of that encoder is known with its weights alone.
    """
    from uplift.encoders import tiny_dino

    if not has_architecture(name):
        raise InputError(
            f"{name} cannot be made without its weights; from scratch are made tiny-dino, short names such as "
            f"{', '.join(list(VIT_NAMES)[:2])}, and timm:NAME."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == tiny_dino.NAME:
            named = {"window": tiny_dino.WINDOW, "stride": tiny_dino.STRIDE} | options
            return ViTEncoder(name, tiny_dino.build_tiny_dino(), device=device, **named)
        return make_architecture(name, device, **options)


def has_architecture(name: str) -> bool:
    """Whether :func:`make_blank` may know an encoder of that name."""
    from uplift.encoders import tiny_dino

    return name == tiny_dino.NAME or name in VIT_NAMES or name.startswith(PREFIX)
