"""Transformations of batches, against torchvision's of single photos."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from render.errors import InputError
from training.augmentation.transformations import (
    CIFAR,
    GREY,
    POOL,
    POOLS,
    STANDARD,
    VOID,
    composed,
    composed_with_labels,
    transformed,
)

HEIGHT, WIDTH = 24, 32
REACHES = {name: one.reach for name, one in POOL.items()}
# An amount per magnitude, as table A.2 has the ranges, and torchvision's function of one photo, that amount and noise.
Single = Callable[[Tensor, float, Tensor], Tensor]


def affine(
    pixels: Tensor, *, angle: float = 0, shift: tuple[float, float] = (0, 0), shear: tuple[float, float]
) -> Tensor:
    degrees = [math.degrees(math.atan(one)) for one in shear]
    return transforms.affine(pixels, angle, list(shift), 1.0, degrees, interpolation=InterpolationMode.BILINEAR)


def random_crop(pixels: Tensor, amount: float, noise: Tensor) -> Tensor:
    wide, high = round(amount * WIDTH), round(amount * HEIGHT)
    left, top = int(noise[0] * (2 * wide + 1)), int(noise[1] * (2 * high + 1))
    return transforms.crop(transforms.pad(pixels, [wide, high]), top, left, HEIGHT, WIDTH)


def random_resized_crop(pixels: Tensor, amount: float, noise: Tensor) -> Tensor:
    area = 1 - amount
    most = min(4 / 3, 1 / area)
    aspect = most ** float(2 * noise[2] - 1)
    wide, high = round(WIDTH * (area * aspect) ** 0.5), round(HEIGHT * (area / aspect) ** 0.5)
    left, top = int(noise[0] * (WIDTH - wide + 1)), int(noise[1] * (HEIGHT - high + 1))
    return transforms.resized_crop(pixels, top, left, high, wide, [HEIGHT, WIDTH], antialias=False)


def cutout(pixels: Tensor, amount: float, noise: Tensor) -> Tensor:
    middle, half = (float(noise[0]) * WIDTH, float(noise[1]) * HEIGHT), amount * HEIGHT / 2
    # Pixels whose middles lie in the square.
    left, right = (math.ceil(middle[0] + sign * half - 0.5) for sign in (-1, 1))
    top, bottom = (math.ceil(middle[1] + sign * half - 0.5) for sign in (-1, 1))
    left, top = max(left, 0), max(top, 0)
    return transforms.erase(pixels, top, left, min(bottom, HEIGHT) - top, min(right, WIDTH) - left, torch.tensor(GREY))


def posterize(pixels: Tensor, amount: float, noise: Tensor) -> Tensor:
    return transforms.posterize((pixels * 255).round().byte(), 8 - round(amount)).float() / 255


SINGLE: dict[str, tuple[float, Single]] = {
    "Identity": (0.0, lambda pixels, amount, noise: pixels),
    "ShearX": (1.0, lambda pixels, amount, noise: affine(pixels, shear=(amount, 0))),
    "ShearY": (1.0, lambda pixels, amount, noise: affine(pixels, shear=(0, amount))),
    "TranslateX": (0.75, lambda pixels, amount, noise: affine(pixels, shift=(amount * WIDTH, 0), shear=(0, 0))),
    "TranslateY": (0.75, lambda pixels, amount, noise: affine(pixels, shift=(0, amount * HEIGHT), shear=(0, 0))),
    "Rotate": (90.0, lambda pixels, amount, noise: affine(pixels, angle=amount, shear=(0, 0))),
    "AutoContrast": (0.0, lambda pixels, amount, noise: transforms.autocontrast(pixels)),
    "Equalize": (0.0, lambda pixels, amount, noise: transforms.equalize(pixels)),
    "Invert": (0.0, lambda pixels, amount, noise: transforms.invert(pixels)),
    "Solarize": (1.0, lambda pixels, amount, noise: transforms.solarize(pixels, (1 - amount) * 256 / 255)),
    "Posterize": (6.0, posterize),
    "Contrast": (0.99, lambda pixels, amount, noise: transforms.adjust_contrast(pixels, 1 + amount)),
    "Brightness": (0.99, lambda pixels, amount, noise: transforms.adjust_brightness(pixels, 1 + amount)),
    "Sharpness": (0.99, lambda pixels, amount, noise: transforms.adjust_sharpness(pixels, 1 + amount)),
    "Color": (0.99, lambda pixels, amount, noise: transforms.adjust_saturation(pixels, 1 + amount)),
    "Cutout": (1.0, cutout),
    "RandomCrop": (0.5, random_crop),
    "RandomResizedCrop": (0.95, random_resized_crop),
    "Grayscale": (0.0, lambda pixels, amount, noise: transforms.rgb_to_grayscale(pixels, 3)),
    "Hue": (0.5, lambda pixels, amount, noise: transforms.adjust_hue(pixels, amount)),
}
SYMMETRIC: tuple[str, ...] = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
SYMMETRIC += ("Contrast", "Brightness", "Sharpness", "Color", "Hue")


def photos(count: int, seed: int = 0) -> Tensor:
    """Smooth ones with edges, of all colours, a few of them grey."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")
    smooth[:, :, 4:9, 6:17] = torch.rand(count, 3, 1, 1, generator=generator)
    smooth[:, :, 12:15, 3:9] = 0.3
    return smooth


def noise_of(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def changed(name: str, images: Tensor, magnitudes: Tensor, noise: Tensor) -> Tensor:
    chosen = torch.full((len(images),), list(REACHES).index(name))
    return transformed(images, None, REACHES, chosen, magnitudes, noise)[0]


@pytest.mark.parametrize("name", POOL)
def test_each_photo_of_a_batch_is_changed_as_torchvision_changes_it_alone(name: str) -> None:
    images, noise = photos(6), noise_of(6)
    magnitudes = torch.tensor([0.1, 0.35, 0.5, 0.7, 0.9, 1.0])
    found = changed(name, images, magnitudes, noise)
    reach, single = SINGLE[name]
    for one, pixels, magnitude, numbers in zip(found, images, magnitudes.tolist(), noise, strict=True):
        sign = -1 if name in SYMMETRIC and numbers[0] < 0.5 else 1
        wanted = single(pixels, sign * magnitude * reach, numbers)
        torch.testing.assert_close(one, wanted, atol=2e-4, rtol=0)
    assert torch.equal(found[-1], images[-1]) == (name == "Identity")


@pytest.mark.parametrize("name", [name for name, one in POOL.items() if one.adjustable])
def test_magnitude_nought_changes_nothing(name: str) -> None:
    images = photos(3)
    images[0, :, :3] = 1.0
    found = changed(name, images, torch.zeros(3), noise_of(3))
    torch.testing.assert_close(found, images, atol=1e-5, rtol=0)


def test_pools_have_what_the_text_says() -> None:
    assert len(STANDARD) == 15
    assert set(CIFAR) - set(STANDARD) == {"Cutout", "RandomCrop"}
    assert {name for pool in POOLS.values() for name in pool} == set(POOL)
    assert {name for name, one in POOL.items() if one.symmetric} == set(SYMMETRIC)
    free = {"Identity", "AutoContrast", "Equalize", "Grayscale", "Invert"}
    assert {name for name, one in POOL.items() if not one.adjustable} == free
    assert [name for name, one in POOL.items() if one.first] == ["RandomResizedCrop"]


def test_photos_of_a_batch_do_not_know_of_each_other() -> None:
    count, names = 2 * len(POOL), tuple(POOL)
    images = photos(count)
    generator = torch.Generator().manual_seed(3)
    chosen = torch.stack([torch.arange(count) % len(POOL), torch.randint(len(POOL), (count,), generator=generator)], 1)
    magnitudes, noise = torch.rand(count, 2, generator=generator) * 1.4 - 0.2, noise_of(count * 2).view(count, 2, 3)
    before = images.clone()
    together = composed(images, names, chosen, magnitudes, noise)
    assert torch.equal(images, before)
    assert 0 <= float(together.min()) <= float(together.max()) <= 1
    for k in range(count):
        alone = composed(*(images[k : k + 1], names, chosen[k : k + 1], magnitudes[k : k + 1], noise[k : k + 1]))
        torch.testing.assert_close(together[k], alone[0], atol=1e-5, rtol=0)
    ended = composed(images, names, chosen, magnitudes.clamp(0, 1), noise)
    assert torch.equal(together, ended), "magnitudes beyond [0, 1] are at its ends"


def test_transformations_follow_each_other_and_crops_that_are_enlarged_come_first() -> None:
    images, names = photos(2), ("Rotate", "RandomResizedCrop", "Invert")
    noise, magnitudes = noise_of(6).view(2, 3, 3), torch.tensor([[0.4, 0.6, 0.0], [0.5, 0.8, 0.0]])
    chosen = torch.tensor([[0, 1, 2], [2, 0, 0]])
    found = composed(images, names, chosen, magnitudes, noise)

    def one(k: int, name: str, slot: int, pixels: Tensor) -> Tensor:
        return changed(name, pixels, magnitudes[k : k + 1, slot], noise[k : k + 1, slot])

    first = one(0, "Invert", 2, one(0, "Rotate", 0, one(0, "RandomResizedCrop", 1, images[:1])))
    second = one(1, "Rotate", 2, one(1, "Rotate", 1, one(1, "Invert", 0, images[1:])))
    torch.testing.assert_close(found, torch.cat([first, second]), atol=1e-5, rtol=0)
    other = one(0, "Invert", 2, one(0, "RandomResizedCrop", 1, one(0, "Rotate", 0, images[:1])))
    assert float((other - first).abs().max()) > 0.1, "or the order would not show"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("name", POOL)
def test_label_maps_move_with_their_photos(name: str, dtype: torch.dtype) -> None:
    count = 8
    rows, columns = torch.arange(HEIGHT)[:, None] // 6, torch.arange(WIDTH) // 8
    labels = (1 + (rows + columns) % 3).expand(count, HEIGHT, WIDTH).to(dtype)
    images = torch.nn.functional.one_hot(labels.long() - 1, 3).permute(0, 3, 1, 2).float()
    noise, chosen = noise_of(count)[:, None], torch.zeros(count, 1, dtype=torch.long)
    magnitudes = torch.linspace(0.2, 0.8, count)[:, None]
    found, moved = composed_with_labels(images, labels, (name,), chosen, magnitudes, noise)
    assert moved is not None
    assert moved.dtype == dtype
    if not POOL[name].geometric:
        assert torch.equal(moved, labels)
        return
    assert not torch.equal(moved, labels)
    seen = moved != VOID
    assert bool(seen.any())
    # Photos are of the colours of their labels, so where they are clear they say what a label should be.
    clear = found.amax(1) > 0.9
    assert torch.equal((found.argmax(1) + 1)[clear], moved[clear].long())
    nothing = (found == (GREY if name == "Cutout" else 0.0)).all(1)
    assert bool((moved[nothing] == VOID).all())
    assert bool((nothing | clear).float().mean() > 0.4)


def test_what_is_no_batch_is_refused() -> None:
    images, noise = photos(2), noise_of(2)[:, None]
    chosen, magnitudes = torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1)
    with pytest.raises(InputError, match="found Rotate, Rotat"):
        composed(images, ("Rotate", "Rotat"), chosen, magnitudes, noise)
    with pytest.raises(InputError, match=r"Expected photos \[b, 3, h, w\]"):
        composed((images * 255).byte(), STANDARD, chosen, magnitudes, noise)
    with pytest.raises(InputError, match="each of 2 photos, found 1"):
        composed(images, STANDARD, chosen[:1], magnitudes[:1], noise[:1])
    with pytest.raises(InputError, match=r"noise \[2, 1, 3\]"):
        composed(images, STANDARD, chosen, magnitudes, noise[..., :2])
    with pytest.raises(InputError, match="Expected label maps"):
        composed_with_labels(images, torch.zeros(2, 5, 5).long(), STANDARD, chosen, magnitudes, noise)
