"""Feature maps from overlapping windows of a photo, blended to one grid (LUDVIG appendix C.1.2, fig. C.1).

A node of a network's grid stands for one patch and lies at its centre.  All interpolation is linear between
those centres and separable, so a window of tokens ``F`` becomes a part of the map as ``A_y F A_x^T`` with small
dense matrices, which also hold the blending weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

TOKENS_PER_BATCH = 8192  # of the windows that a network sees at once
FINER = 2  # nodes per patch along an axis with several windows, which see the patches at several offsets

Forward: TypeAlias = "Callable[[Tensor], Tensor]"
"""From windows ``[b, 3, h, w]`` to their tokens ``[b, gh, gw, c]``."""


def interpolation(
    positions: Float[np.ndarray, " m"], first: float, spacing: float, count: int
) -> Float[np.ndarray, "m k"]:
    """Matrix that interpolates values at ``first + k spacing`` to ``positions`` linearly, constant beyond the ends."""
    offsets = np.clip((positions - first) / spacing, 0, count - 1)
    return np.maximum(0, 1 - np.abs(offsets[:, None] - np.arange(count)))


def node_positions(nodes: int, length: float) -> Float[np.ndarray, " nodes"]:
    """Where the nodes of a map lie on a photo's axis of ``length`` pixels (:meth:`Encoder.encode`)."""
    return (np.arange(nodes) + 0.5) * (length / nodes)


def node_matrix(nodes: int, length: int, patch: int) -> Float[Tensor, "nodes patches"]:
    """From the centres of patches that begin at pixel 0 and cover ``length`` pixels to a map's ``nodes``."""
    patches = -(-length // patch)
    return torch.from_numpy(interpolation(node_positions(nodes, length), patch / 2, patch, patches))


@dataclass(frozen=True)
class Axis:
    """How one axis of a photo is cut into windows.

    Attributes:
        length: Pixels of the photo.
        patch: Pixels per token.
        before: Pixels of padding before the photo; about as many follow it.
        size: Pixels of a window, a multiple of ``patch``.
        starts: First pixels of the windows, counted in the padded photo.
        nodes: Nodes of the map.
    """

    length: int
    patch: int
    before: int
    size: int
    starts: tuple[int, ...]
    nodes: int

    @staticmethod
    def cut(length: int, patch: int, window: int, stride: int) -> Axis:
        """Pad ``length`` pixels evenly to whole patches; one window where it fits, else some at most ``stride`` apart.

        The photo keeps its scale: it is padded by less than one patch, mirrored at its borders.
        """
        patches = -(-length // patch)
        padded = patches * patch
        size = min(max(1, window // patch) * patch, padded)
        count = 1 + math.ceil((padded - size) / stride)
        starts = tuple(np.linspace(0, padded - size, count).round().astype(int).tolist())
        return Axis(length, patch, (padded - length) // 2, size, starts, patches * (FINER if count > 1 else 1))

    @property
    def after(self) -> int:
        """Pixels of padding after the photo."""
        return -self.length % self.patch - self.before

    def matrices(self) -> list[tuple[slice, Float[Tensor, "part tokens"]]]:
        """For each window the nodes that it reaches, and the matrix from its tokens to them.

        Blending weights are ``sin^2``, zero at the borders of a window, and sum to 1 over the windows.
        """
        positions = node_positions(self.nodes, self.length) + self.before
        starts = np.asarray(self.starts)[:, None]
        inside = (positions >= starts) & (positions < starts + self.size)
        weights = np.where(inside, np.sin(np.pi * (positions - starts) / self.size) ** 2, 0.0)
        weights /= weights.sum(0)
        result = []
        for start, share, reached in zip(self.starts, weights, inside, strict=True):
            part = slice(int(reached.argmax()), int(reached.argmax() + reached.sum()))
            tokens = self.size // self.patch
            matrix = interpolation(positions[part], start + self.patch / 2, self.patch, tokens)
            result.append((part, torch.from_numpy(share[part, None] * matrix).to(torch.float32)))
        return result


def encode_windows(
    image: UInt8[np.ndarray, "h w 3"],
    forward: Forward,
    *,
    patch: int,
    window: int,
    stride: int,
    device: torch.device,
) -> Float[Tensor, "gh gw c"]:
    """Run a network over overlapping windows and blend their tokens; float32, nodes where ``Encoder`` has them.

    Args:
        image: The photo, ``[h, w, 3]`` uint8.
        forward: Gets pixels in [0, 1], at most :data:`TOKENS_PER_BATCH` patches at once unless one window has more.
        patch: Pixels per token.
        window: Side of the windows in pixels, rounded down to patches.
        stride: How far windows are apart at most, in pixels.
        device: Where the windows go.
    """
    rows, columns = (Axis.cut(length, patch, window, stride) for length in image.shape[:2])
    padding = ((rows.before, rows.after), (columns.before, columns.after), (0, 0))
    padded = torch.from_numpy(np.pad(image, padding, mode="symmetric")).to(device).permute(2, 0, 1)
    blended = torch.zeros(0, device=device)
    for places, batch in _batches(padded, rows, columns):
        tokens = forward(batch).to(torch.float32)
        if not blended.numel():  # only now the channels are known
            blended = blended.new_zeros(rows.nodes, columns.nodes, tokens.shape[-1])
        for ((y, to_rows), (x, to_columns)), part in zip(places, tokens, strict=True):
            along_x = torch.einsum("xj,ijc->ixc", to_columns.to(part), part)
            blended[y, x] += torch.einsum("yi,ixc->yxc", to_rows.to(part), along_x)
    return blended


Place: TypeAlias = "tuple[tuple[slice, Tensor], tuple[slice, Tensor]]"


def _batches(padded: UInt8[Tensor, "3 h w"], rows: Axis, columns: Axis) -> Iterator[tuple[list[Place], Tensor]]:
    """Windows with the places of their tokens, a few at a time."""
    tokens = (rows.size // rows.patch) * (columns.size // columns.patch)
    count = max(1, TOKENS_PER_BATCH // tokens)
    windows = [
        ((y, x), (row, column))
        for y, row in zip(rows.starts, rows.matrices(), strict=True)
        for x, column in zip(columns.starts, columns.matrices(), strict=True)
    ]
    for start in range(0, len(windows), count):
        some = windows[start : start + count]
        pixels = torch.stack([padded[:, y : y + rows.size, x : x + columns.size] for (y, x), _ in some])
        yield [place for _, place in some], pixels.to(torch.float32) / 255
