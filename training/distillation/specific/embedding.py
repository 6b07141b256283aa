"""Where photos and patches lie in a network's features: two principal components, coloured by class (B.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from training.distillation.specific.augmentation import plain_samples
from training.distillation.specific.measuring import AT_ONCE, middle_squares
from training.distillation.specific.mixing import ImageMixer
from training.distillation.specific.models import TaskModel
from training.distillation.specific.samples import TaskPhotos
from training.probing.targets import FULL, class_shares

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8

CLASSES = 20  # that are shown
SURE = 0.9  # of a patch must be of one class
PHOTOS = 500  # at most
MIXED = 100  # mixed images at most
NO_CLASS = -1  # of mixed images
DRAWN = 20_000  # points of a picture at most
PANEL, RADIUS, EDGE = 480, 2, 16  # pixels
PAPER, GREY = (255, 255, 255), (190, 190, 190)


class Points(NamedTuple):
    """Features with their class.

    Attributes:
        features: ``[m, c]``.
        labels: ``[m]``, -1 = mixed of several.
    """

    features: Tensor
    labels: Tensor


@torch.no_grad()
def points_of(model: TaskModel, photos: TaskPhotos, mixer: ImageMixer | None = None) -> Points:
    """What a picture shows of a network: [CLS] tokens of photos, or patches that are of one class.

    Of photos the first 20 classes; of patches the 20 classes whose number of patches is closest to the median.

    Args:
        model: In evaluation mode.
        photos: Of the test for patches, of the training for photos.
        mixer: Of mixed images to be shown as well; for photos alone.

    Raises:
        InputError: no patch is of one class.
    """
    return _patches(model, photos) if photos.goal == "segmentation" else _wholes(model, photos, mixer)


def principal(points: Points) -> Float[Tensor, "m 2"]:
    """The two main principal components of features with a class; the others are projected onto them.

    The largest loading of each is positive, so that pictures do not flip.
    """
    known = points.features[points.labels != NO_CLASS].double()
    mean = known.mean(0)
    directions = torch.linalg.svd(known - mean, full_matrices=False).Vh[:2]
    largest = directions.abs().argmax(1, keepdim=True)
    directions = directions * directions.gather(1, largest).sign()
    return ((points.features.double() - mean) @ directions.T).float()


def scatter(
    places: Float[Tensor, "m 2"], labels: Int[Tensor, " m"], colours: UInt8[np.ndarray, "k 3"]
) -> UInt8[np.ndarray, "s s 3"]:
    """Points on paper, those without a class grey and below the others.

    Args:
        places: Two coordinates.
        labels: Row of ``colours``, or -1.
        colours: Of classes.
    """
    from PIL import Image, ImageDraw

    some = torch.linspace(0, len(places) - 1, min(DRAWN, len(places))).round().long()
    places, labels = places[some], labels[some]
    low, high = places.quantile(0.005, 0), places.quantile(0.995, 0)
    unit = ((places - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    spots = (EDGE + unit * (PANEL - 2 * EDGE)).tolist()
    sheet = Image.new("RGB", (PANEL, PANEL), PAPER)
    draw = ImageDraw.Draw(sheet)
    # Mixed points first; the classes among each other in a random order, so that none hides the others.
    order = np.random.default_rng(0).permutation(len(spots))
    for index in sorted(order.tolist(), key=lambda i: int(labels[i]) != NO_CLASS):
        x, y = spots[index]
        label = int(labels[index])
        fill = GREY if label == NO_CLASS else tuple(int(value) for value in colours[label])
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=fill)
    return np.asarray(sheet)


def nearest_to_median(labels: Int[Tensor, " m"], most: int = CLASSES) -> list[int]:
    """The classes whose number of points is closest to the median of those numbers, by index."""
    found, counts = labels.unique(return_counts=True)
    apart = (counts.double() - counts.double().median()).abs()
    order = torch.argsort(apart, stable=True)[:most]
    return sorted(found[order].tolist())


def _patches(model: TaskModel, photos: TaskPhotos) -> Points:
    device = next(model.parameters()).device
    features, labels = [], []
    step = max(1, -(-len(photos) // PHOTOS))
    indices = range(0, len(photos), step)
    most = -(-DRAWN // len(indices))  # of a photo's patches: what is drawn in the end, and not all in memory before
    for index in indices:
        image = photos.image(index)
        truth = photos.truth(index, (image.shape[1], image.shape[2]))
        samples = plain_samples(image, truth, "segmentation", model.spec.side)
        found = model.embedding(torch.stack([one.pixels for one in samples]).to(device)).float().cpu()
        for patches, sample in zip(found, samples, strict=True):  # windows
            shares, known = class_shares(sample.truth.numpy(), photos.classes, (patches.shape[0], patches.shape[1]))
            told = torch.from_numpy(shares).float() / FULL
            sure = torch.nonzero((told.max(1).values > SURE) & torch.from_numpy(known))[:, 0]
            sure = sure[:: max(1, -(-len(sure) * len(samples) // most))]
            features.append(patches.flatten(0, 1)[sure])
            labels.append(told.argmax(1)[sure])
    points = Points(torch.cat(features), torch.cat(labels))
    if len(points.labels) < 2:
        raise InputError("A picture of patches needs patches that are of one class, found none; give other photos.")
    kept = torch.isin(points.labels, torch.tensor(nearest_to_median(points.labels)))
    return Points(points.features[kept], points.labels[kept])


def _wholes(model: TaskModel, photos: TaskPhotos, mixer: ImageMixer | None) -> Points:
    shown = [index for index, label in enumerate(photos.labels) if label < CLASSES]
    shown = [shown[i] for i in np.linspace(0, len(shown) - 1, min(len(shown), PHOTOS)).round().astype(int)]
    features: list[Tensor] = []
    for start in range(0, len(shown), AT_ONCE):
        pixels = middle_squares(model, photos, shown[start : start + AT_ONCE])
        features.append(model.embedding(pixels).flatten(1).float().cpu())
    labels = [photos.labels[index] for index in shown]
    if mixer is not None:
        mixed = [mixer.make(mixer.draw(np.random.default_rng(seed))) for seed in range(MIXED)]
        # Images of classes that are not shown would say nothing beside these.
        inside = [one.pixels for one in mixed if float(one.truth[CLASSES:].sum()) == 0]
        for start in range(0, len(inside), AT_ONCE):
            pixels = torch.stack(inside[start : start + AT_ONCE]).to(next(model.parameters()).device)
            features.append(model.embedding(pixels).flatten(1).float().cpu())
        labels += [NO_CLASS] * len(inside)
    return Points(torch.cat(features), torch.tensor(labels))
