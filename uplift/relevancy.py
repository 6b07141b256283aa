"""How well features fit a text (LUDVIG, eq. C.2), and what is made of it: places, nodes to start from, masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from uplift.thresholds import otsu_threshold

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CANONICAL = ("object", "things", "stuff", "texture")
TEMPERATURE = 10.0
LIKELY = 0.5  # of the rescaled relevancy: Otsu's method looks above it for the positives
MEAN_FILTER = 5  # pixels each way
CHUNK_BYTES = 64 << 20  # of features that are widened to float32 at a time


@torch.no_grad()
def relevancies(
    values: Float[Tensor, "n c"],
    queries: Float[Tensor, "q c"],
    negatives: Float[Tensor, "k c"],
    *,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "n q"]:
    """Relevancy of every feature for every query (LUDVIG, eq. C.2; Kerr et al. 2023).

    The smallest, over the negatives, of the softmax of query against negative: since the softmax of two grows
    with their difference, it is the sigmoid of the difference to the largest negative.

    Args:
        values: Features, finite, of any length: they are l2-normalised on the fly; fp16 and float32 are read
            as they are, once.
        queries: Embeddings of the texts, l2-normalised.
        negatives: Embeddings of the canonical phrases, l2-normalised, at least one.
        temperature: T, greater than 0.

    Returns:
        In (0, 1), float32 on the device of ``values``; 0 for features that are zero (never seen).

    Raises:
        InputError: dimensions differ, there is no negative, or the temperature is not positive.
    """
    shapes = [list(t.shape) for t in (values, queries, negatives)]
    if any(len(shape) != 2 or shape[1] != shapes[0][-1] for shape in shapes) or shapes[0][-1] == 0:
        raise InputError(f"Features, queries and negatives must have the same channels, found shapes {shapes}.")
    if len(negatives) == 0 or not temperature > 0:
        raise InputError(
            f"A relevancy needs at least one negative and a temperature above 0, found {len(negatives)} and "
            f"{temperature:g}."
        )
    if values.device.type == "cpu" and values.dtype in (torch.float16, torch.float32):
        from uplift import _half

        margins = _half.margins(values, queries, negatives)
    else:
        margins = _margins(values, queries, negatives)
    return margins.mul_(temperature).sigmoid_()


def _margins(values: Tensor, queries: Tensor, negatives: Tensor) -> Float[Tensor, "n q"]:
    """``f . q - max_k f . n_k`` of l2-normalised features, -inf for features of zeros; some rows at a time."""
    both = torch.cat([queries, negatives]).to(values.device, torch.float32).T
    result = torch.empty(len(values), len(queries), device=values.device)
    rows = max(1, CHUNK_BYTES // (4 * values.shape[1]))
    for start in range(0, len(values), rows):
        part = values[start : start + rows].to(torch.float32)
        lengths = torch.linalg.vector_norm(part, dim=1, keepdim=True)
        products = part @ both / lengths
        margins = products[:, : len(queries)] - products[:, len(queries) :].amax(1, keepdim=True)
        result[start : start + rows] = torch.where(lengths > 0, margins, -torch.inf)
    return result


def start_nodes(
    relevancy: Float[Tensor, " n"], seen: Bool[Tensor, " n"]
) -> tuple[Bool[Tensor, " n"], Float[Tensor, " n"]]:
    """Where diffusion starts for one text (LUDVIG, section C.1.4).

    Relevancies are rescaled to [0, 1] and Otsu's method is applied above 0.5 (as :func:`relevant` does): that
    gives the positives.  Two more times among the positives: above that threshold, the rescaled relevancy is
    ``g_0``, elsewhere zero.

    Args:
        relevancy: Of every Gaussian.
        seen: Gaussians that some photo shows; the others count as nothing.

    Returns:
        The positives and ``g_0``; both are empty where the relevancy is the same everywhere.
    """
    rescaled = torch.zeros_like(relevancy)
    if not bool(seen.any()):
        return seen.clone(), rescaled
    low, high = torch.aminmax(relevancy[seen])
    if not bool(high > low):
        return torch.zeros_like(seen), rescaled
    rescaled[seen] = (relevancy[seen] - low) / (high - low)
    positives = seen & relevant(rescaled, LIKELY)[0]
    chosen = _above_otsu(rescaled, _above_otsu(rescaled, positives))
    return positives, torch.where(chosen, rescaled, 0.0)


def relevant(scores: Float[Tensor, "..."], tau: float) -> tuple[Bool[Tensor, "..."], float]:
    """What stands out: of the scores from ``tau`` of their maximum, those above Otsu's threshold (C.1.4.2).

    What is above ``tau`` stays whole if the gap below it is wider than it is: then it is one group already, and
    Otsu's method would cut the object itself in two.

    Args:
        scores: Relevancies of pixels or Gaussians, at least 0.
        tau: Share of the maximum; 0 = all scores are looked at.

    Returns:
        The mask and the threshold, in the unit of ``scores``; an empty mask and 0 where no score is positive.
    """
    high = float(scores.max()) if scores.numel() else 0.0
    if not high > 0:
        return torch.zeros_like(scores, dtype=torch.bool), 0.0
    rough = scores >= tau * high
    low = float(scores[rough].min())
    if not bool(rough.all()):
        below = float(scores[~rough].max())
        if low - below > high - low:
            return rough, (below + low) / 2
    threshold = otsu_threshold(scores[rough])
    mask = scores > threshold
    # Equal scores are not split.
    return (mask, threshold) if bool(mask.any()) else (rough, tau * high)


def most_relevant_pixel(relevancy: Float[Tensor, "h w"]) -> tuple[int, int, float]:
    """Column, row and value of the largest relevancy after a 5x5 mean filter (LUDVIG, section C.1.4.1).

    At the border the mean is over the pixels that exist.
    """
    smooth = torch.nn.functional.avg_pool2d(
        relevancy[None, None], MEAN_FILTER, stride=1, padding=MEAN_FILTER // 2, count_include_pad=False
    )[0, 0]
    row, column = divmod(int(smooth.argmax()), relevancy.shape[1])
    return column, row, float(smooth[row, column])


def _above_otsu(values: Float[Tensor, " n"], among: Bool[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Those ``among`` that lie above their Otsu threshold; all of them if none does."""
    if not bool(among.any()):
        return among
    above = among & (values > otsu_threshold(values[among]))
    return above if bool(above.any()) else among
