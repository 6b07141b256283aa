"""TrivialAugment (Müller and Hutter 2021): one transformation of a pool, as strong as chance has it.

Between pixels photos are linear after a motion, as in policies; its authors take the nearest pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from torch import Tensor

from training.augmentation.transformations import POOL, VOID, check_batch, transformed

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Space: TypeAlias = Literal["ra", "wide"]
"""How far transformations go: as RandAugment's, or wide (table A.2)."""
SPACES: tuple[Space, ...] = get_args(Space)
STRENGTHS = 31  # evenly spaced from none to all
NUMBERS = 5  # that a photo is changed by: transformation, strength, and the transformation's noise
PIXELS = 32  # that photos are shifted by in the wide space, whatever their size


def reaches(space: Space, height: int, width: int) -> dict[str, float]:
    """The pool, and the amount that each transformation has at full strength.

    Args:
        space: See :data:`Space`.
        height: Of the photos, pixels; the wide space shifts by pixels.
        width: Of the photos.
    """
    wide = space == "wide"
    shear, factor = (0.99, 0.99) if wide else (0.3, 0.9)
    return {
        "Identity": 0.0,
        "ShearX": shear,
        "ShearY": shear,
        "TranslateX": PIXELS / width if wide else 0.31,
        "TranslateY": PIXELS / height if wide else 0.31,
        "Rotate": 135.0 if wide else 30.0,
        "Brightness": factor,
        "Color": factor,
        "Contrast": factor,
        "Sharpness": factor,
        "Posterize": 6.0 if wide else 4.0,
        "Solarize": 1.0,
        "AutoContrast": 0.0,
        "Equalize": 0.0,
    }


def trivially_changed(
    images: Float[Tensor, "b 3 h w"],
    labels: Int[Tensor, "b h w"] | None,
    space: Space,
    numbers: Float[Tensor, "b 5"],
    *,
    still: bool = False,
    void: int = VOID,
) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"] | None]:
    """Photos and label maps after one transformation each.

    Args:
        images: In [0, 1].
        labels: Of their pixels, or None.
        space: See :data:`Space`.
        numbers: Random numbers in [0, 1) that all follows from.
        still: Whether what moves pixels is left out.
        void: What a label map has where a photo shows nothing.

    Raises:
        InputError: shapes do not fit.
    """
    check_batch(images, labels, numbers)
    pool = reaches(space, *images.shape[2:])
    if still:
        pool = {name: reach for name, reach in pool.items() if not POOL[name].geometric}
    chosen = (numbers[:, 0] * len(pool)).long()
    strengths = (numbers[:, 1] * STRENGTHS).floor() / (STRENGTHS - 1)
    return transformed(images, labels, pool, chosen.to(images.device), strengths, numbers[:, 2:], void=void)
