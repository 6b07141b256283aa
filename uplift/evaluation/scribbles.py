"""Scribbles as a person would draw them, from a mask.

Strokes on the object follow its middle lines, branches such as legs included, and go round in what is wide.
Strokes on the background run beside the object, farther away, and through what is seen inside its outline.
The same seed draws the same scribble.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

STROKES = 8  # at most, along middle lines
BRANCH = 3.0  # a branch is drawn if it is longer than so many times the object's width where it leaves off
SMALLEST = 0.02  # parts of the object and of what is inside its outline below this share get no stroke
WIDE = 6.0  # pixels from the border: parts that are deeper are scribbled round as well
ROUND = 0.4  # how deep in them that stroke runs, relative to their depth
MARGIN = 2.0  # pixels that background strokes keep from the object
# Outlines that background strokes follow: pixels from the object, the same relative to the root of its area, and
# the share of them that is drawn.
OUTLINES = ((5.0, 0.0, 0.35), (5.0, 0.12, 0.5), (10.0, 0.45, 0.5))
ARCS = 5  # strokes on each
RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 255)


def draw_scribbles(
    mask: Bool[np.ndarray, "h w"], *, width: int = 3, seed: int = 0
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Scribble on an object and on its surroundings.

    Args:
        mask: The object's pixels.
        width: Of the strokes, in pixels.
        seed: Of the hand: where the background strokes begin, and how it trembles.

    Returns:
        The strokes on the object, all inside it, and those on the background, all outside.

    Raises:
        InputError: the mask is empty, or not a boolean image.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_ or not mask.any():
        raise InputError(
            f"A scribble needs a boolean mask [h, w] with some object in it, found {list(mask.shape)} {mask.dtype} "
            f"with {int(np.count_nonzero(mask))} pixels."
        )
    random = np.random.default_rng(seed)
    inside, outside = np.zeros(mask.shape, np.uint8), np.zeros(mask.shape, np.uint8)
    for stroke in _middle_lines(mask):
        _draw(inside, _trembling(stroke, random), width)
    for stroke in _outlines(mask, random):
        _draw(outside, stroke, width)
    positive = (inside > 0) & mask
    if not positive.any():
        positive = _deepest(mask)
    return positive, (outside > 0) & (_distance(~mask) > MARGIN)


def scribble_picture(
    positive: Bool[np.ndarray, "h w"], negative: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 4"]:
    """The RGBA picture of a scribble: red on the object, blue on the background, else transparent."""
    picture = np.zeros((*positive.shape, 4), np.uint8)
    picture[negative] = BLUE
    picture[positive] = RED
    return picture


def _middle_lines(mask: np.ndarray) -> list[Float[np.ndarray, "m 2"]]:
    """Paths (x, y) along the middle of the parts of a mask, longest first, and round the wide ones."""
    from skimage.measure import label
    from skimage.morphology import skeletonize

    depth = _distance(mask)
    parts = label(mask, connectivity=2)
    lines, rounds = [], []
    for part, size in enumerate(np.bincount(parts.reshape(-1))):
        if part == 0 or size < SMALLEST * mask.sum():
            continue
        own = parts == part
        # Without the outermost pixels, where there are others: no hand is that sure.
        inner = own & (depth > 1.5)
        lines += _paths(skeletonize(inner if inner.any() else own), depth)
        deepest = float(depth[own].max())
        if deepest > WIDE:
            outline = max(_contours(np.where(own, depth, 0), ROUND * deepest), key=len, default=lines[-1])
            rounds.append(outline[: max(2, int(0.85 * len(outline)))])
    return sorted(lines, key=len, reverse=True)[:STROKES] + rounds


def _paths(skeleton: np.ndarray, depth: np.ndarray) -> list[np.ndarray]:
    """Longest path of a skeleton, then its branches that are more than the bulge of a border."""
    left = skeleton.copy()
    paths: list[np.ndarray] = []
    while left.any() and len(paths) < STROKES:
        path = _longest_path(left)
        rows, columns = path[:, 1].astype(int), path[:, 0].astype(int)
        if paths and len(path) < BRANCH * depth[rows, columns].max():
            break
        paths.append(path)
        near = np.zeros(left.shape, np.uint8)
        _draw(near, path, 5)
        left &= near == 0
    return paths


def _longest_path(skeleton: np.ndarray) -> np.ndarray:
    """The longest of the shortest paths between pixels of a skeleton (exact on trees): two searches."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, dijkstra
    from scipy.spatial import cKDTree

    pixels = np.argwhere(skeleton)
    pairs = cKDTree(pixels).query_pairs(1.5, output_type="ndarray")
    lengths = np.linalg.norm(pixels[pairs[:, 0]] - pixels[pairs[:, 1]], axis=1)
    graph = coo_array((lengths, (pairs[:, 0], pairs[:, 1])), shape=(len(pixels), len(pixels))).tocsr()
    labels = connected_components(graph, directed=False)[1]
    start = int(np.flatnonzero(labels == np.bincount(labels).argmax())[0])
    for _ in range(2):
        distances, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
        end, start = start, int(np.where(np.isfinite(distances), distances, -1).argmax())
    path = [start]
    while path[-1] != end:
        path.append(int(before[path[-1]]))
    return pixels[path][:, ::-1].astype(np.float64) + 0.5


def _trembling(path: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A path smoothed as a hand would, with a tremor of about a pixel."""
    from scipy.ndimage import gaussian_filter1d

    if len(path) < 5:
        return path
    smooth = gaussian_filter1d(path, min(6.0, len(path) / 5), axis=0, mode="nearest")
    tremor = gaussian_filter1d(random.normal(size=path.shape), 8.0, axis=0, mode="nearest")
    return smooth + 3 * tremor


def _outlines(mask: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Pieces of the outlines around a mask, as (x, y) paths, and lines through what they enclose."""
    from skimage.measure import label

    distance = _distance(~mask)
    size = float(np.sqrt(mask.sum()))
    strokes = []
    for pixels, share, drawn in OUTLINES:
        for points in _contours(distance, pixels + share * size):
            if len(points) < size / 2:
                continue
            closed = np.linalg.norm(points[0] - points[-1]) < 2
            path = np.concatenate([points, points]) if closed else points
            for start in (np.arange(ARCS) + random.uniform()) / ARCS % 1:
                first = int(start * len(points))
                strokes.append(path[first : first + max(2, int(drawn / ARCS * len(points)))])
    parts = label(~mask, connectivity=1)
    border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    sizes = np.bincount(parts.reshape(-1))
    for part in set(range(1, len(sizes))) - set(border.tolist()):
        if sizes[part] >= SMALLEST * mask.sum():
            strokes += _middle_lines(parts == part)
    return strokes


def _contours(values: np.ndarray, level: float) -> list[np.ndarray]:
    """Lines (x, y) along which an image has a value."""
    from skimage.measure import find_contours

    return [contour[:, ::-1] + 0.5 for contour in find_contours(values, level)]


def _deepest(mask: np.ndarray) -> np.ndarray:
    depth = _distance(mask)
    return depth == depth.max()


def _distance(mask: np.ndarray) -> Float[np.ndarray, "h w"]:
    """Distance in pixels to the nearest pixel outside the mask; the picture's border does not count."""
    from scipy.ndimage import distance_transform_edt

    if mask.all():
        return np.full(mask.shape, float(max(mask.shape)))
    return distance_transform_edt(mask)


def _draw(image: np.ndarray, path: np.ndarray, width: int) -> None:
    import cv2

    corners = np.round((path - 0.5) * 16).astype(np.int32)
    cv2.polylines(image, [corners[:, None]], isClosed=False, color=1, thickness=width, shift=4)
