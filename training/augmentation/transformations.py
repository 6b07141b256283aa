"""The transformations that augmentations are made of, on batches of photos (sections 3.4.1 and A.2.2).

A magnitude of 0 leaves a photo as it is, and one of 1 goes as far as table A.2 (column "Ours") lets it: for Posterize
from 8 bits to 2, for Solarize from no value inverted to all, for RandomResizedCrop from all of the area to 5 % of it.
Photos stay in [0, 1]; where nothing of a photo is any more it is black, and under Cutout grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from training.augmentation import _colours as colours
from training.augmentation import _motions as motions

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NOISE = (
    3  # random numbers of a photo that a transformation may use besides its magnitude: direction, or place and aspect
)
VOID = 255  # of a label map: no label
GREY = 0.5  # of what Cutout hides, about the mean of photos (DeVries and Taylor 2017)
HALF = 0.5


@dataclass(frozen=True)
class Transformation:
    """One elementary transformation: it changes colours, moves pixels, or hides some.

    Attributes:
        reach: Its amount at magnitude 1, in the unit that its function has; 0 = magnitudes do not matter.
        symmetric: Whether it goes in a random one of two directions.
        first: Whether it comes before those of an augmentation that do not.
        change: Of colours.
        mover: Of pixels.
        hides: A square of the photo, as large as the amount of its shorter side, its middle anywhere in the photo.
    """

    reach: float = 0.0
    symmetric: bool = False
    first: bool = False
    change: colours.Change = colours.unchanged
    mover: motions.Mover | None = None
    hides: bool = False

    @property
    def adjustable(self) -> bool:
        """Whether its magnitude matters."""
        return self.reach > 0

    @property
    def geometric(self) -> bool:
        """Whether pixels of a label map are moved or hidden with those of the photo."""
        return self.mover is not None or self.hides


ENHANCE = 0.99  # brightness, contrast, saturation and sharpness: by factors from 0.01 to 1.99
POOL: dict[str, Transformation] = {
    "Identity": Transformation(),
    "ShearX": Transformation(1.0, symmetric=True, mover=motions.sheared(0)),
    "ShearY": Transformation(1.0, symmetric=True, mover=motions.sheared(1)),
    "TranslateX": Transformation(0.75, symmetric=True, mover=motions.shifted(0)),
    "TranslateY": Transformation(0.75, symmetric=True, mover=motions.shifted(1)),
    "Rotate": Transformation(90.0, symmetric=True, mover=motions.turned),
    "AutoContrast": Transformation(change=colours.spread_out),
    "Equalize": Transformation(change=colours.equalized),
    "Invert": Transformation(change=colours.inverted),
    "Solarize": Transformation(1.0, change=colours.solarized),
    "Posterize": Transformation(6.0, change=colours.posterized),
    "Contrast": Transformation(ENHANCE, symmetric=True, change=colours.contrast),
    "Brightness": Transformation(ENHANCE, symmetric=True, change=colours.brightness),
    "Sharpness": Transformation(ENHANCE, symmetric=True, change=colours.sharpness),
    "Color": Transformation(ENHANCE, symmetric=True, change=colours.saturation),
    "Cutout": Transformation(1.0, hides=True),
    "RandomCrop": Transformation(0.5, mover=motions.cropped),
    "RandomResizedCrop": Transformation(0.95, first=True, mover=motions.enlarged),
    "Grayscale": Transformation(change=colours.grey),
    # Table A.2 has no range for it: this is all there is, half a turn in either direction.
    "Hue": Transformation(0.5, symmetric=True, change=colours.hue),
}
"""By the paper's names; a transformation's place in a policy is its place in that policy's names, not here."""

STANDARD = tuple(POOL)[:15]
CIFAR = (*STANDARD, "Cutout", "RandomCrop")
IMAGENET = (*STANDARD, "Cutout", "RandomResizedCrop", "Hue")
DOMAINNET = (*IMAGENET, "Grayscale")
POOLS: dict[str, tuple[str, ...]] = {
    "standard": STANDARD,
    "cifar": CIFAR,
    "imagenet": IMAGENET,
    "domainnet": DOMAINNET,
}
"""The text adds what earlier methods apply by default: Cutout and RandomCrop for CIFAR, RandomResizedCrop for ImageNet,
Grayscale for DomainNet, and Hue.  Its results name Cutout for all of them, so each has it; DomainNet's photos are
prepared like ImageNet's, and have what those have.  For which data Hue is added it does not say: here for all but
CIFAR."""


def composed(
    images: Float[Tensor, "b 3 h w"],
    names: Sequence[str],
    chosen: Int[Tensor, "b K"],
    magnitudes: Float[Tensor, "b K"],
    noise: Float[Tensor, "b K 3"],
) -> Float[Tensor, "b 3 h w"]:
    """Photos after an augmentation each: K transformations, one after the other.

    Args:
        images: In [0, 1].
        names: Of the transformations that are chosen from.
        chosen: Of each photo, as indices of names; those that come first are brought forward.
        magnitudes: Of each of them; clamped to [0, 1].
        noise: Random numbers in [0, 1), which give directions and places.

    Raises:
        InputError: a name is not one of the pool, or shapes do not fit.
    """
    return composed_with_labels(images, None, names, chosen, magnitudes, noise)[0]


def composed_with_labels(
    images: Float[Tensor, "b 3 h w"],
    labels: Int[Tensor, "b h w"] | None,
    names: Sequence[str],
    chosen: Int[Tensor, "b K"],
    magnitudes: Float[Tensor, "b K"],
    noise: Float[Tensor, "b K 3"],
    *,
    void: int = VOID,
) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"] | None]:
    """:func:`composed` with label maps, which are moved with their photos and ``void`` where these show nothing.

    Colours do not change labels; of what is between two pixels the nearer one's counts.
    """
    pool = named(names)
    check_batch(images, labels, chosen)
    if magnitudes.shape != chosen.shape or noise.shape != (*chosen.shape, NOISE):
        raise InputError(
            f"Expected magnitudes {list(chosen.shape)} and noise {[*chosen.shape, NOISE]}, found "
            f"{list(magnitudes.shape)} and {list(noise.shape)}."
        )
    later = torch.tensor([not one.first for one in pool], device=chosen.device)[chosen]
    order = later.int().argsort(dim=1, stable=True)
    chosen, magnitudes = chosen.gather(1, order), magnitudes.gather(1, order)
    noise = noise.gather(1, order[..., None].expand_as(noise))
    reaches = {name: one.reach for name, one in zip(names, pool, strict=True)}
    for step in range(chosen.shape[1]):
        images, labels = transformed(
            images, labels, reaches, chosen[:, step], magnitudes[:, step].clamp(0, 1), noise[:, step], void=void
        )
    return images, labels


def transformed(
    images: Float[Tensor, "b 3 h w"],
    labels: Int[Tensor, "b h w"] | None,
    reaches: Mapping[str, float],
    chosen: Int[Tensor, " b"],
    magnitudes: Float[Tensor, " b"],
    noise: Float[Tensor, "b 3"],
    *,
    void: int = VOID,
) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"] | None]:
    """Photos and label maps after one transformation each.

    Args:
        images: In [0, 1].
        labels: Of their pixels, or None.
        reaches: The names that are chosen from, and what amount each has at magnitude 1.
        chosen: Of each photo, as an index of these names.
        magnitudes: In [0, 1].
        noise: Random numbers in [0, 1): directions by the first, places by the first two, aspects by the third.
        void: What a label map has where a photo shows nothing.
    """
    # Networks alone compute in another precision: places of pixels would be off by some.
    with torch.autocast(images.device.type, enabled=False):
        return _transformed(images, labels, reaches, chosen, magnitudes, noise, void)


def named(names: Sequence[str]) -> list[Transformation]:
    """The transformations of these names.

    Raises:
        InputError: there is no such one, none is named, or one twice.
    """
    unknown = [name for name in names if name not in POOL]
    if unknown or not names or len(set(names)) < len(names):
        raise InputError(
            f"Expected transformations, each once, out of {', '.join(POOL)}; found "
            f"{', '.join(map(str, names)) or 'none'}."
        )
    return [POOL[name] for name in names]


def check_batch(images: Tensor, labels: Tensor | None, drawn: Tensor) -> None:
    """Refuse what is no batch of photos, and what does not fit it.

    Raises:
        InputError: see there.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype not in {torch.float32, torch.float64}:
        raise InputError(f"Expected photos [b, 3, h, w] float32 in [0, 1], found {list(images.shape)} {images.dtype}.")
    if len(drawn) != len(images):
        raise InputError(f"Expected an augmentation for each of {len(images)} photos, found {len(drawn)}.")
    if labels is not None and labels.shape != (len(images), *images.shape[2:]):
        raise InputError(
            f"Expected label maps {[len(images), *images.shape[2:]]}, as large as the photos, found "
            f"{list(labels.shape)}."
        )


def _transformed(
    images: Tensor,
    labels: Tensor | None,
    reaches: Mapping[str, float],
    chosen: Tensor,
    magnitudes: Tensor,
    noise: Tensor,
    void: int,
) -> tuple[Tensor, Tensor | None]:
    names, dtype = list(reaches), images.dtype
    reach = torch.tensor(list(reaches.values()), dtype=dtype, device=images.device)
    signed = torch.tensor([POOL[name].symmetric for name in names], device=images.device)
    magnitudes, noise = magnitudes.to(images), noise.to(images)
    backward = signed[chosen] & (noise[:, 0] < HALF)
    amounts = torch.where(backward, -1.0, 1.0) * magnitudes * reach[chosen]
    rows = {names[which]: (chosen == which).nonzero()[:, 0] for which in chosen.unique().tolist()}
    found = images.clone()
    for name, mine in rows.items():
        if not POOL[name].geometric:
            found[mine] = POOL[name].change(images[mine], amounts[mine]).clamp(0, 1)
    found, labels = _moved(found, labels, {n: r for n, r in rows.items() if POOL[n].mover}, amounts, noise, void)
    return _hidden(found, labels, {n: r for n, r in rows.items() if POOL[n].hides}, amounts, noise, void)


def _moved(
    images: Tensor, labels: Tensor | None, rows: Mapping[str, Tensor], amounts: Tensor, noise: Tensor, void: int
) -> tuple[Tensor, Tensor | None]:
    """All that are moved by one interpolation."""
    if not rows:
        return images, labels
    size = images.new_tensor([images.shape[-1], images.shape[-2]])
    parts = [POOL[name].mover(amounts[mine], noise[mine], size) for name, mine in rows.items()]  # type: ignore[misc]
    motion = motions.Motion(*(torch.cat(part) for part in zip(*parts, strict=True)))
    mine = torch.cat(list(rows.values()))
    images = images.index_copy(0, mine, motions.moved(images[mine], motion).clamp(0, 1))
    if labels is not None:
        # One more than each label, so that 0 is what lies outside.
        there = motions.moved((labels[mine] + 1.0).to(images.dtype)[:, None], motion, nearest=True)[:, 0].round()
        labels = labels.index_copy(0, mine, torch.where(there > 0, there - 1, void).to(labels.dtype))
    return images, labels


def _hidden(
    images: Tensor, labels: Tensor | None, rows: Mapping[str, Tensor], amounts: Tensor, noise: Tensor, void: int
) -> tuple[Tensor, Tensor | None]:
    for mine in rows.values():
        height, width = images.shape[-2:]
        half = amounts[mine] * min(height, width) / 2
        across, down = (
            (torch.arange(length, device=images.device) + 0.5 - (noise[mine, axis] * length)[:, None]).abs()
            < half[:, None]
            for axis, length in enumerate((width, height))
        )
        hidden = down[:, :, None] & across[:, None, :]
        images = images.index_copy(0, mine, torch.where(hidden[:, None], GREY, images[mine]))
        if labels is not None:
            labels = labels.index_copy(0, mine, torch.where(hidden, void, labels[mine]).to(labels.dtype))
    return images, labels
