"""Pictures of what is kept of frames, what is told of them and what is true (Mask3D, figure 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from render.depth_colours import colour_depth, depth_range
from training.pretraining.mask3d.losses import (
    COLOUR_FLOOR,
    DEPTH_FLOOR,
    LEAST,
    TOLD_FLOOR,
    in_patches,
    in_photos,
    moments,
)
from training.pretraining.mask3d.model import COLOURS
from training.pretraining.mask3d.seeing import Kept, Shown
from training.pretraining.mask3d.settings import Normalize
from training.sheets import sheet

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

GREY = 128  # where something is hidden; what is not known is black


class Told(NamedTuple):
    """Frames, what was kept of them, and what a model told."""

    shown: Shown
    kept: Kept
    told: dict[str, Tensor]


def sheets(
    found: Told, normalize: Normalize, grid: tuple[int, int], patch: int
) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    """A row for each frame: kept colours, kept depth, what is told, what is true.

    Where patches are told without their mean and deviation, these are taken from the truth; of patches where that is
    not known well enough, nothing is shown.

    Args:
        found: What was told.
        normalize: As it was trained.
        grid: Rows and columns of patches.
        patch: Their side in pixels.
    """
    seen, kept, told = found
    photos = (seen.pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu().numpy()
    colours = [
        np.where(_shown(places, grid, patch)[..., None], photo, np.uint8(GREY))
        for photo, places in zip(photos, kept.colour, strict=True)
    ]
    made = {}
    if "depth" in told:
        depths = seen.depth.cpu().numpy()
        guessed = _depth_told(seen, told["depth"], normalize, grid, patch).cpu().numpy()
        rows = []
        for colour, depth, places, guess in zip(colours, depths, kept.depth, guessed, strict=True):
            limits = depth_range([depth])
            true = colour_depth(depth, limits)
            given = np.where(_shown(places, grid, patch)[..., None], true, np.uint8(GREY))
            rows.append((colour, given, colour_depth(guess, limits), true))
        made["depth"] = sheet(rows)
    if "colour" in told:
        guesses = _colours_told(seen, told["colour"], normalize, grid, patch)
        made["colours"] = sheet(list(zip(colours, guesses, photos, strict=True)))
    return made


def _shown(places: Tensor, grid: tuple[int, int], patch: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of patches."""
    there = np.zeros(grid[0] * grid[1], bool)
    there[places.cpu().numpy()] = True
    return there.reshape(grid).repeat(patch, 0).repeat(patch, 1)


def _depth_told(
    seen: Shown, told: Float[Tensor, "b n p"], normalize: Normalize, grid: tuple[int, int], patch: int
) -> Float[Tensor, "b h w"]:
    """Metres, 0 where the truth does not say how far away a patch is."""
    known = in_patches(seen.known, patch)
    if normalize == "none":
        mean, deviation = moments(seen.depth.flatten(1)[:, None], seen.known.flatten(1)[:, None], DEPTH_FLOOR)
        metres = told * deviation + mean
    else:
        mean, deviation = moments(in_patches(seen.depth, patch), known, DEPTH_FLOOR)
        metres = _relief(told, known, normalize) * deviation + mean
    enough = known.float().mean(-1, keepdim=True) >= LEAST
    return in_photos(torch.where(enough, metres.clamp_min(0), 0.0), grid, patch)


def _colours_told(
    seen: Shown, told: Float[Tensor, "b n p"], normalize: Normalize, grid: tuple[int, int], patch: int
) -> UInt8[np.ndarray, "b h w 3"]:
    true = torch.cat([in_patches(seen.pixels[:, i], patch) for i in range(COLOURS)], -1)
    known = torch.ones_like(true, dtype=torch.bool)
    values = told
    if normalize != "none":
        mean, deviation = moments(true, known, COLOUR_FLOOR)
        values = _relief(told, known, normalize) * deviation + mean
    planes = [in_photos(part, grid, patch) for part in values.chunk(COLOURS, -1)]
    return (torch.stack(planes, -1).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _relief(told: Float[Tensor, "b n p"], known: Bool[Tensor, "b n p"], normalize: Normalize) -> Float[Tensor, "b n p"]:
    """What is told of patches, without their mean and in units of the truth's deviation."""
    if normalize == "target":
        return told
    mean, deviation = moments(told, known, TOLD_FLOOR)
    return (told - mean) / deviation
