"""``tiny-depth``: a small ViT that learns the depth of rooms in metres.

The loss is the scale-invariant one of Eigen et al. 2014.  Photos have different focal lengths, which they do not show:
the network learns depth for one camera (:mod:`uplift.encoders.tiny_depth`), so that parts of photos and enlarged ones
are as true as the photos themselves.  Most steps see photos of half the size, which costs an eighth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from render.depth_colours import colour_depth, depth_range
from render.spacing import evenly_spaced
from training.probing.bins import scale_invariant_loss
from training.probing.scores import ScoreKeeper
from training.tiny.card import About, Recipe
from training.tiny.images import RoomImages, normalised
from training.tiny.task import TinyTask
from uplift.encoders.tiny_depth import FINER, FOCAL, NAME, TinyDepth, TinyDepthEncoder
from uplift.encoders.tiny_dino import MEAN, PATCH, STD, tokens

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8
    from numpy.random import Generator

    from training.augmentation import Augmentation

SMALL, WHOLE = (0.5, 0.5), (1.0, 0.75)  # size of what is seen, and of the smallest part, of the photos' sides
SMALL_UNTIL = 0.8  # of the steps; half a photo at half the size is as large as the photo, so that this is not new then
JITTER = 0.7  # of colours: walls of any colour are as far away
PHOTOS, SHOWN = 120, 4  # of validation, measured and shown
CLOSE = 1.25  # told and true depth differ by less than this factor (delta 1)
Tell = Callable[[np.ndarray, float], np.ndarray]
"""From a photo ``[h, w, 3]`` uint8 and its focal length in pixels to its depth ``[h, w]`` in metres."""
ABOUT = About(
    title="A ViT of 4 blocks and width 192 with patches of 8 pixels and a convolutional stem, trained for depth alone, "
    "and its convolutional decoder: a specialist to distil from.",
    training="Depth of every pixel along the viewing direction, by the scale-invariant loss, from photos and parts of "
    "them in two sizes. Depths are those of a camera with a focal length of 168 pixels, and are scaled by the focal "
    "length of the photo where that is known.",
    limits=(
        "anything that does not look like a synthetic room: it has never seen a photograph",
        "photos whose focal length is not known: depths are then off by one factor; and focal lengths beyond 73 to 260 "
        "pixels, which it has not seen",
        "classes, words and borders of flat things: it knows what depth needs",
    ),
)
RECIPE = Recipe(ABOUT, steps=12000, batch=8, rate=1e-3)


class Seen(NamedTuple):
    """Parts of photos.

    Attributes:
        photos: ``[b, h, w, 3]`` uint8.
        depths: Metres along the viewing direction for the focal length :data:`FOCAL`, 0 = nothing, at the nodes of the
            decoder; ``[b, h / 4, w / 4]`` float32.
    """

    photos: np.ndarray
    depths: np.ndarray


class DepthTask(TinyTask):
    """Trains ``tiny-depth``; see the module."""

    name = NAME

    def __init__(
        self,
        images: RoomImages,
        validation: RoomImages,
        *,
        batch: int = RECIPE.batch,
        seed: int = 0,
        device: torch.device,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(augmentation)
        torch.manual_seed(seed)
        self.photos = batch
        self._images, self._validation = images, validation
        self.model = TinyDepth().to(device)
        for block in self.model.vit.blocks:
            # Backwards through so few tokens, PyTorch's fused attention takes twice as long on a CPU.
            block.attn.fused_attn = False

    def trained(self) -> Iterable[nn.Parameter]:
        """The network's and the decoder's."""
        return self.model.parameters()

    def exported(self) -> tuple[nn.Module, dict[str, str]]:
        """The network and the decoder."""
        return self.model, {}

    def step(self, random: Generator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of the known pixels of a batch, all together as DINOv2's depth heads have it."""
        seen = draw_parts(self._images, random, self.photos, *(SMALL if progress < SMALL_UNTIL else WHOLE))
        pixels = normalised(self.coloured(random, seen.photos, JITTER), MEAN, STD, self.device)
        whole, patches = tokens(self.model.vit, pixels)
        told = self.model.decoder(patches, whole)
        truth = torch.from_numpy(seen.depths).to(self.device)
        known = truth > 0
        told, truth = told[known], truth[known]
        apart = ((told.detach() - truth).abs() / truth).mean()
        return scale_invariant_loss(told, truth), {"absrel": float(apart)}

    def after_step(self, progress: float) -> None:
        """Nothing follows."""

    def validate(self) -> dict[str, float]:
        """Errors in unseen rooms, of depths in metres; the focal lengths are known."""
        return measure_depth(self._teller(), self._validation, photos=PHOTOS)

    def pictures(self) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
        """Photos of unseen rooms, what is told of them, the truth; one below the other."""
        tell, images, rows = self._teller(), self._validation, []
        for index in evenly_spaced(len(images), SHOWN):
            truth = images.depths[index].astype(np.float32)
            limits = depth_range([truth])
            told = tell(images.photos[index], float(images.K[index, 0, 0]))
            pictures = [images.photos[index], colour_depth(told, limits), colour_depth(truth, limits)]
            rows.append(np.concatenate(pictures, 1))
        return {"depth": np.concatenate(rows)}

    def _teller(self) -> Tell:
        encoder = TinyDepthEncoder(copy.deepcopy(self.model), device=self.device)  # an encoder freezes what it is given
        return lambda photo, focal: encoder.depth(photo, focal).cpu().numpy()


def draw_parts(images: RoomImages, random: Generator, count: int, scale: float, least: float) -> Seen:
    """Parts of photos, enlarged or shrunk to one size and half of them mirrored, with depths that are true of them.

    Enlarging a part by a factor multiplies its focal length by it, and so divides what it shows for the focal length
    :data:`FOCAL`; depth along the viewing direction does not ask which part it is.

    Args:
        images: Of rooms.
        random: Of all choices.
        count: How many.
        scale: Their size as a part of the photos', rounded down to whole patches.
        least: Sides of the smallest part as a part of the photos'.
    """
    import cv2

    height, width = images.photos.shape[1:3]
    h, w = (max(1, int(scale * length / PATCH + 1e-6)) * PATCH for length in (height, width))
    grid = (h // PATCH, w // PATCH)
    photos, depths = [], []
    for index in random.integers(len(images), size=count):
        factor = float(max(h / height, w / width) / random.uniform(least, 1))
        # Pixels are whole, so a factor is exact to less than one in the photo's width.
        sides = [min(round(length / factor), most) for length, most in ((h, height), (w, width))]
        top, left = (int(random.integers(most - side + 1)) for side, most in zip(sides, (height, width), strict=True))
        part = np.s_[index, top : top + sides[0], left : left + sides[1]]
        shrinks = cv2.INTER_AREA if sides[1] > w else cv2.INTER_LINEAR
        photo = cv2.resize(images.photos[part], (w, h), interpolation=shrinks)
        focal = float(images.K[index, 0, 0]) * w / sides[1]
        depth = depth_at_nodes(images.depths[part].astype(np.float32), grid, focal)
        flip = -1 if random.random() < 0.5 else 1
        photos.append(photo[:, ::flip])
        depths.append(depth[:, ::flip])
    return Seen(np.stack(photos), np.stack(depths))


def depth_at_nodes(
    depth: Float32[np.ndarray, "h w"], grid: tuple[int, int], focal: float
) -> Float32[np.ndarray, "2gh 2gw"]:
    """What a decoder is to tell of a photo: the depth of the pixel at each of its nodes.

    Args:
        depth: Metres along the viewing direction, 0 = nothing.
        grid: Rows and columns of patches.
        focal: Focal length of the photo in pixels.

    Returns:
        Metres for the focal length :data:`FOCAL`, 0 = nothing.
    """
    import cv2

    size = (grid[1] * FINER, grid[0] * FINER)
    return cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT) * np.float32(FOCAL / focal)


def measure_depth(tell: Tell, images: RoomImages, *, photos: int) -> dict[str, float]:
    """Errors of told depths; means over photos.

    Args:
        tell: What is measured.
        images: Photos of rooms that were not trained on.
        photos: So many of them at most, evenly spaced.

    Returns:
        ``rmse`` in metres; ``absrel``, of the absolute difference to the truth as a part of it; ``delta1``, the part of
        the pixels that are told within a factor of 1.25 (percent).

    Raises:
        InputError: no depth is known.
    """
    keeper = ScoreKeeper("depth", (), 1)
    close = []
    for index in evenly_spaced(len(images), photos):
        truth = images.depths[index].astype(np.float32)
        told = tell(images.photos[index], float(images.K[index, 0, 0]))
        keeper.add_depth(str(images.rooms[index]), 0, told, truth)
        if (truth > 0).any():
            close.append(share_close(told, truth))
    figures = {name: float(values[0, 0]) for name, values in keeper.scores().figures().items()}
    return figures | {"delta1": 100 * float(np.mean(close))}


def share_close(told: Float32[np.ndarray, "h w"], truth: Float32[np.ndarray, "h w"]) -> float:
    """The part of the known pixels whose told and true depth differ by a factor below 1.25."""
    known = truth > 0
    a, b = told[known], truth[known]
    return float((np.maximum(a / b, b / a) < CLOSE).mean())
