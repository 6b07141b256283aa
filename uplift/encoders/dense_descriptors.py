"""Features without a network: multi-scale DAISY and colour, reduced by a PCA over the scene's photos.

DAISY: Tola, Lepetit and Fua 2010, as in scikit-image.  Incremental PCA: Ross et al. 2008, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError
from render.progress import Progress, silent
from uplift.encoders.base import Encoder, Image, as_image, row_batches, to_device

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

STRIDE = 5  # photo pixels per node; odd, so that a node's centre is the centre of a pixel
SCALES = (5, 3, 1)  # pixels per node of the resized photos that DAISY sees: footprints of 1, 1.7 and 5 times
LONGEST_SIDE = 640  # larger photos are shrunk to this first, which bounds the time and the grid
DAISY = {"radius": 6, "rings": 1, "histograms": 8, "orientations": 8}
SOFT_NORM = 0.3  # shorter DAISY vectors (gradients of 1 % per pixel, noise) fade out
COLOUR_SIGMAS = (0.0, 1.0, 3.0)  # nodes; the colour is taken at each of these blurs
# The balance that told the fox from its wall best across views (nearest neighbours and a linear classifier).
DAISY_LENGTH = 0.5  # of a strong descriptor at one scale
COLOUR_SCALE = 2 / 100  # per Lab unit
FIT_STEP = 2  # the PCA is fitted on every second node in x and y: neighbours tell little new
VERSION = 1  # count up when the raw descriptors change, so that caches notice


class DenseDescriptors(Encoder):
    """Multi-scale DAISY plus CIE Lab colour on a grid of 5 pixels, reduced by PCA; needs no weights.

    Photos with a side longer than 640 pixels are shrunk first, so the grid has at most 128 nodes a side.
    The PCA rotates and truncates but does not rescale: distances stay those of the raw descriptors.
    """

    name = "dense-descriptors"
    photos_to_fit = 24
    metric = "euclidean"

    def __init__(self, dimension: int = 40, device: torch.device | None = None) -> None:
        if not 1 <= dimension <= raw_dimension():
            raise InputError(f"dense-descriptors has 1 to {raw_dimension()} dimensions, found {dimension}.")
        self.dimension = dimension
        self._device = device or torch.device("cpu")
        self._state: dict[str, Tensor] = {}

    @property
    def fitted(self) -> bool:
        """Whether the PCA is known."""
        return bool(self._state)

    def fit(self, images: Iterable[Image], progress: Progress = silent) -> None:
        """Fit the PCA, streaming over photos ``[h, w, 3]`` uint8; the same photos give the same PCA.

        Raises:
            InputError: the photos have fewer nodes than there are dimensions.
        """
        from sklearn.decomposition import IncrementalPCA

        pca = IncrementalPCA(n_components=self.dimension)
        for rows in row_batches(_rows(images, progress), 4 * self.dimension):
            if len(rows) < self.dimension:
                raise InputError(
                    f"Fitting {self.name} needs at least {self.dimension} grid nodes over all photos, "
                    f"found {len(rows)}; give more or larger photos, or ask for fewer dimensions."
                )
            pca.partial_fit(rows)
        self._state = {
            "mean": torch.from_numpy(pca.mean_).to(self._device, torch.float32),
            "components": torch.from_numpy(pca.components_).to(self._device, torch.float32).contiguous(),
        }

    def encode(self, image: Image) -> Float[Tensor, "gh gw c"]:
        """Describe a photo ``[h, w, 3]`` uint8."""
        if not self.fitted:
            raise InputError(f"{self.name} must be fitted first: call fit(images) or load_state(state).")
        raw = torch.from_numpy(raw_descriptors(as_image(image))).to(self._device)
        return (raw - self._state["mean"]) @ self._state["components"].T

    def state(self) -> dict[str, Tensor]:
        """``mean`` ``[r]`` and ``components`` ``[c, r]`` of the PCA."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore the PCA, and with it the dimension."""
        shapes = {name: list(tensor.shape) for name, tensor in state.items()}
        known = set(shapes) == {"mean", "components"} and shapes["mean"] == [raw_dimension()]
        if not known or len(shapes["components"]) != 2 or shapes["components"][1] != raw_dimension():
            raise InputError(
                f"{self.name} expects the tensors mean [{raw_dimension()}] and "
                f"components [c, {raw_dimension()}], found {shapes}."
            )
        self._state = to_device(state, self._device)
        self.dimension = shapes["components"][0]

    def settings(self) -> dict[str, Any]:
        """Dimension and version; the rest are constants of this module."""
        return {"dimension": self.dimension, "version": VERSION}


def _rows(images: Iterable[Image], progress: Progress) -> Iterator[Float[np.ndarray, "m r"]]:
    """Raw descriptors photo by photo."""
    for done, image in enumerate(images):
        # The number of photos of an iterator is unknown: the total is what has been seen.
        progress(done, done + 1, "fitting dense-descriptors")
        raw = raw_descriptors(as_image(image))[::FIT_STEP, ::FIT_STEP]
        yield raw.reshape(-1, raw.shape[-1]).astype(np.float64)


def raw_dimension() -> int:
    """Channels of :func:`raw_descriptors`."""
    daisy = (DAISY["rings"] * DAISY["histograms"] + 1) * DAISY["orientations"]
    return len(SCALES) * daisy + 3 * len(COLOUR_SIGMAS)


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Nodes ``(gh, gw)`` of a photo's map."""
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * shrink / STRIDE)), max(1, round(width * shrink / STRIDE))


def raw_descriptors(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "gh gw r"]:
    """Describe a photo before the PCA: DAISY at three scales, Lab colour at three blurs; float32."""
    import cv2

    gh, gw = grid_of(*image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    daisies = [
        _daisy_at_nodes(cv2.resize(grey, (gw * scale, gh * scale), interpolation=cv2.INTER_AREA), scale)
        for scale in SCALES
    ]
    small = cv2.resize(image.astype(np.float32) / 255, (gw, gh), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB) * np.float32(COLOUR_SCALE)
    colours = [lab if sigma == 0 else cv2.GaussianBlur(lab, (0, 0), sigma) for sigma in COLOUR_SIGMAS]
    return np.concatenate([*daisies, *colours], axis=-1)


def _daisy_at_nodes(grey: Float[np.ndarray, "h w"], scale: int) -> Float[np.ndarray, "gh gw d"]:
    """DAISY at the centre of every ``scale`` x ``scale`` block, borders mirrored."""
    import cv2
    from skimage.feature import daisy

    # skimage samples from ``radius`` on in steps: this padding puts the samples on the centres of the blocks.
    centre, radius = (scale - 1) // 2, DAISY["radius"]
    padded = np.pad(grey, (radius - centre, radius + centre), mode="reflect")
    # skimage's forward differences lie half a pixel off, x to the right and y below: a quarter each way evens it.
    quarter = np.array([0.25, 0.75, 0.0], np.float32)
    padded = cv2.sepFilter2D(padded, -1, quarter, quarter, borderType=cv2.BORDER_REPLICATE)
    described = daisy(padded, step=scale, normalization="off", **DAISY)
    norm = np.sqrt((described**2).sum(-1, keepdims=True) + SOFT_NORM**2)
    return (described * (DAISY_LENGTH / norm)).astype(np.float32)
