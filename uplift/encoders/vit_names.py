"""Short names of vision transformers, and what timm calls them."""

from __future__ import annotations

DINOV2 = "https://github.com/facebookresearch/dinov2"
DINOV3 = "https://github.com/facebookresearch/dinov3"
MAE = "https://github.com/facebookresearch/mae"
DEIT = "https://github.com/facebookresearch/deit"

DINOV2_SIZES = ("small", "base", "large", "giant")
DINOV3_SIZES = {
    "small": "small",
    "small-plus": "small_plus",
    "base": "base",
    "large": "large",
    "huge-plus": "huge_plus",
    "7b": "7b",
}
DEIT3_PATCHES = {"small": 16, "medium": 16, "base": 16, "large": 16, "huge": 14}
MAE_PATCHES = {"base": 16, "large": 16, "huge": 14}


def _names() -> dict[str, tuple[str, str]]:
    table: dict[str, tuple[str, str]] = {}
    for size in DINOV2_SIZES:
        table[f"dinov2-{size}"] = (f"vit_{size}_patch14_dinov2.lvd142m", DINOV2)
        table[f"dinov2-reg-{size}"] = (f"vit_{size}_patch14_reg4_dinov2.lvd142m", DINOV2)
    for size, patch in MAE_PATCHES.items():
        table[f"mae-{size}"] = (f"vit_{size}_patch{patch}_224.mae", MAE)
    for size, patch in DEIT3_PATCHES.items():
        table[f"deit3-{size}"] = (f"deit3_{size}_patch{patch}_224.fb_in22k_ft_in1k", DEIT)
    for size, written in DINOV3_SIZES.items():
        table[f"dinov3-{size}"] = (f"vit_{written}_patch16_dinov3.lvd1689m", DINOV3)
    return table


VIT_NAMES = _names()
"""From the short name to the name in timm (1.0.31) and the page of the project that made the weights."""
