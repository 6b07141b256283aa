"""Images mixed from two photos, of which a teacher is asked as well (section 4.3.2)."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from render.errors import InputError
from render.views import read_photo
from training.distillation.specific.augmentation import Drawn, Recipe, augmented, make_sample
from training.distillation.specific.samples import Sample, TaskPhotos, as_tensor
from training.probing.data.files import PHOTOS
from training.probing.photos import VOID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

COARSE = 4  # nodes along each side of the noise that decides on regions
NAMES = "classes.json"  # in a folder of images whose folders are numbers of classes: what they are called
SOFT = 0.1  # of the noise's deviation: how soft the border between two regions is


class Mix(NamedTuple):
    """A mixed image as small as it is drawn; what its numbers mean is the mixer's.

    Attributes:
        first: A photo, or the one image.
        second: Another photo.
        share: Of the first one.
        seed: Of the rest.
    """

    first: Drawn
    second: Drawn
    share: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Which mixed images a network learns from.

    Attributes:
        source: blend = regions of two photos; folder = images made elsewhere; diffusion = made by a pipeline before.
        folder: Of the images, where there is one.
        intra: Photos of one class alone are mixed, by ``blend``.
    """

    source: Literal["blend", "folder", "diffusion"]
    folder: Path | None = None
    intra: bool = False

    def mixer(self, photos: TaskPhotos, classes: Sequence[str], recipe: Recipe) -> ImageMixer:
        """What draws and makes them.

        Raises:
            InputError: see :class:`RegionMixer` and :class:`FolderMixer`.
        """
        if self.folder is None:
            return RegionMixer(photos, recipe, intra=self.intra)
        return FolderMixer(self.folder, photos, classes, recipe)


class ImageMixer(ABC):
    """A source of mixed images.

    Attributes:
        name: As tables call it.
        labelled: Whether what they show is known, so that they may teach the task as well (table 4.5).
    """

    name: str
    labelled: bool

    @abstractmethod
    def draw(self, random: np.random.Generator) -> Mix:
        """An image, drawn from all."""

    @abstractmethod
    def make(self, mix: Mix) -> Sample:
        """The image, augmented as photos are but for Mixup."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a training with these images must agree with; JSON values."""


class RegionMixer(ImageMixer):
    """Regions of one photo beside regions of another, with an irregular border: ``blend``.

    Which pixel comes from which photo is decided by smooth noise (cubic between 4 x 4 normal numbers) above or below
    the quantile that gives the first photo its share, drawn evenly from 0 to 1; across the border both are blended.
    Neither classes nor weights are needed, as the text asks.  Why regions: Mixup is part of the standard augmentation
    already, and its ghosts show no pixel as it would be seen; exchanging low frequencies changes the colours of a photo
    and not what is in it.  Regions put things of two photos into one image, as ImageMixer does, and leave every pixel
    credible, so that a teacher's answer for each of them is worth something: in segmentation that is what is distilled
    (CutMix does so with rectangles: Yun et al. 2019; with their straight edges along the axes a network sees
    where the seam is, so here the border is irregular).  How much each photo fills is known: labels for table 4.5.

    Args:
        photos: What is mixed.
        recipe: How both photos are augmented before.
        intra: Mix photos of one class alone, which only classification can.

    Raises:
        InputError: ``intra`` for segmentation.
    """

    name, labelled = "blend", True

    def __init__(self, photos: TaskPhotos, recipe: Recipe, *, intra: bool = False) -> None:
        if intra and photos.goal == "segmentation":
            raise InputError(
                "Photos with a class for each pixel have no class of their own; mix photos of any classes."
            )
        self._photos, self._recipe, self._intra = photos, recipe, intra
        self._alike: dict[int, list[int]] = {}
        if intra:
            for index, label in enumerate(photos.labels):
                self._alike.setdefault(label, []).append(index)

    def draw(self, random: np.random.Generator) -> Mix:
        """Two photos, and the share of the first."""
        first = int(random.integers(len(self._photos)))
        among = self._alike[self._photos.labels[first]] if self._intra else range(len(self._photos))
        second = among[int(random.integers(len(among)))]
        seeds = [int(seed) for seed in random.integers(2**62, size=3)]
        return Mix(Drawn(first, seeds[0]), Drawn(second, seeds[1]), float(random.random()), seeds[2])

    def make(self, mix: Mix) -> Sample:
        """Both photos, augmented, in one; labels by what each of them fills."""
        first, second = (make_sample(self._photos, drawn, self._recipe) for drawn in (mix.first, mix.second))
        weight = regions(self._recipe.side, mix.share, mix.seed)
        pixels = weight * first.pixels + (1 - weight) * second.pixels
        if first.inside is None or second.inside is None:
            share = weight.mean()
            return Sample(pixels, share * first.truth + (1 - share) * second.truth, None)
        chosen = weight >= 0.5
        truth = torch.where(chosen, first.truth, second.truth)
        return Sample(pixels, truth, torch.where(chosen, first.inside, second.inside))

    def identity(self) -> dict[str, Any]:
        """Whether classes are kept apart."""
        return {"mixer": self.name, "intra": self._intra}


class FolderMixer(ImageMixer):
    """Images that were mixed elsewhere, for example by a diffusion model.

    Args:
        folder: With images, or with a folder of images for each class (mixed within classes: their label is known),
            named as the class is, or with its number where ``classes.json`` lists the names.
        photos: Those of the training, for the names' order of the classes.
        classes: Their names.
        recipe: How images are augmented; without Mixup.

    Raises:
        InputError: there are no images, or a folder is none of the classes.
    """

    name = "folder"

    def __init__(self, folder: Path, photos: TaskPhotos, classes: Sequence[str], recipe: Recipe) -> None:
        self._photos, self._recipe = photos, recipe
        if not folder.is_dir():
            raise InputError(f"Expected a folder of mixed images at {folder}, found none.")
        self._files: list[tuple[Path, int | None]] = [(file, None) for file in _images(folder)]
        if not self._files:
            named = _folder_names(folder, classes)
            inner = sorted(child for child in folder.iterdir() if child.is_dir())
            foreign = [child.name for child in inner if child.name not in named]
            if foreign:
                raise InputError(f"{folder} has the folder {foreign[0]}, which is none of the classes of the data.")
            self._files = [(file, named.index(child.name)) for child in inner for file in _images(child)]
        if not self._files:
            raise InputError(f"Expected images ({', '.join(PHOTOS)}) in {folder}, found none.")
        self.labelled = photos.goal == "classification" and self._files[0][1] is not None

    def draw(self, random: np.random.Generator) -> Mix:
        """One of the images."""
        drawn = Drawn(int(random.integers(len(self._files))), int(random.integers(2**62)))
        return Mix(drawn, drawn, 1.0, drawn.seed)

    def make(self, mix: Mix) -> Sample:
        """The image, with its class if that is known."""
        file, label = self._files[mix.first.photo]
        image = as_tensor(read_photo(file))
        if self._photos.goal == "classification":
            truth = self._photos.unknown(self._recipe.side)
            if label is not None:
                truth[label] = 1
        else:
            truth = torch.full(tuple(image.shape[1:]), VOID, dtype=torch.uint8)
        return augmented(image, truth, self._photos.goal, self._recipe, mix.first.seed)

    def identity(self) -> dict[str, Any]:
        """The files' names and sizes."""
        digest = hashlib.sha256()
        for file, label in self._files:
            digest.update(f"{file.name}:{label}:{file.stat().st_size};".encode())
        return {"mixer": self.name, "images": digest.hexdigest()}


def regions(side: int, share: float, seed: int) -> Float[Tensor, "s s"]:
    """How much of every pixel comes from the first of two photos: 1 in its regions, 0 in those of the other.

    Args:
        side: Pixels.
        share: Of the pixels, in regions of the first; from 0 to 1.
        seed: Of the noise.
    """
    coarse = torch.randn(1, 1, COARSE, COARSE, generator=torch.Generator().manual_seed(seed))
    noise = functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)[0, 0]
    border = torch.quantile(noise, 1 - share)
    return torch.sigmoid((noise - border) / (SOFT * noise.std().clamp_min(1e-6)))


def class_folder(index: int) -> str:
    """The name of the folder of a class whose own name may be no name of a folder."""
    return f"{index:04d}"


def _folder_names(folder: Path, classes: Sequence[str]) -> list[str]:
    """How the folders of the classes are called, in their order.

    Raises:
        InputError: ``classes.json`` cannot be read, or lists other classes.
    """
    if not (folder / NAMES).is_file():
        return list(classes)
    try:
        names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / NAMES} cannot be read as a list of names ({error}).") from error
    if names != list(classes):
        raise InputError(f"{folder / NAMES} lists other classes than the data have; mix images of these photos.")
    return [class_folder(index) for index in range(len(names))]


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in PHOTOS)
