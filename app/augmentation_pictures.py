"""Pictures of a policy of augmentation: as a pie, how it came about, and on photos (SLACK, figures 3.1, 3.3, A.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from app.pictures import as_bytes, figure_pixels, row_sheet
from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from matplotlib.axes import Axes

    from training.augmentation import Policy

CELL = 230  # pixels, the width of a picture in a sheet, which the longest title fits in
DOTS = 120  # per inch of a plot
NAMED = 0.035  # of a pie: smaller slices are named in the list alone
SHOWN = 3  # likely transformations, and unlikely ones


def policy_pie(policy: Policy, *, initial: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """A pie whose slices are as wide as transformations are likely and as long as they may be strong (figure 3.3).

    Args:
        policy: Likelihoods are means over its steps; what has no magnitude has the full radius.
        initial: The bound that a search began with, a grey circle; None = that of :meth:`Policy.uniform`.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, Wedge

    from training.augmentation.policy import BOUND

    shares, reaches = _shares(policy), _reaches(policy)
    figure = Figure(figsize=(8.4, 5.4), dpi=DOTS, layout="constrained")
    axes = figure.add_subplot()
    turns = 90 - 360 * np.concatenate([[0.0], np.cumsum(shares)])
    handles = []
    for place, name in enumerate(policy.names):
        to, begin = turns[place], turns[place + 1]
        wedge = Wedge((0, 0), reaches[place], begin, to, facecolor=_colour(name), edgecolor="white", linewidth=0.8)
        handles.append(axes.add_patch(wedge))
        if shares[place] >= NAMED:
            middle = np.deg2rad((begin + to) / 2)
            x, y = 1.06 * np.cos(middle), 1.06 * np.sin(middle)
            axes.text(x, y, name, ha="left" if x > 0 else "right", va="center", fontsize=8)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor="0.85", linewidth=0.8))
    started = BOUND if initial is None else initial
    axes.add_patch(Circle((0, 0), started, fill=False, edgecolor="0.45", linewidth=1.2, linestyle="--"))
    axes.set_xlim(-1.6, 1.6)
    axes.set_ylim(-1.12, 1.12)
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title("width: how often it is drawn; radius: how strong it is at most (dashed: at first)", fontsize=9)
    order = np.argsort(-shares, kind="stable")
    texts = [_line(policy, place, shares[place], reaches[place]) for place in order]
    figure.legend([handles[place] for place in order], texts, loc="outside right center", fontsize=8, frameon=False)
    return figure_pixels(figure)


def evolution_plot(
    history: Float[np.ndarray, "r K N"], names: Sequence[str], *, at: Sequence[float] | None = None, what: str = "round"
) -> UInt8[np.ndarray, "h w 3"]:
    """How likely each transformation was along a search: a plot for each step, and of their mean (figure A.4).

    Args:
        history: Probabilities, from the first to the last.
        names: Of the transformations.
        at: Where they were written down, such as at which step; None = 0, 1, 2, ...
        what: What ``at`` counts.

    Raises:
        InputError: there are fewer than two of them, or shapes do not fit.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if history.ndim != 3 or len(history) < 2 or history.shape[2] != len(names):
        raise InputError(
            f"Expected two policies or more of {len(names)} transformations, [r, K, N], found {list(history.shape)}."
        )
    where = np.arange(len(history)) if at is None else np.asarray(at)
    steps = history.shape[1]
    figure = Figure(figsize=(3.0 * (steps + 1) + 1.8, 3.6), dpi=DOTS, layout="constrained")
    plots = figure.subplots(1, steps + 1, sharey=True, squeeze=False)[0]
    parts = [*history.transpose(1, 0, 2), history.mean(1)]
    titles = [*(f"drawn at place {step + 1}" for step in range(steps)), "mean"]
    handles: list[Any] = []
    for axes, part, title in zip(plots, parts, titles, strict=True):
        handles = _stacked(axes, where, part, names)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(what)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    plots[0].set_ylabel("probability")
    # The list is in the order of the areas, from above.
    figure.legend(handles[::-1], list(names)[::-1], loc="outside right center", fontsize=7, frameon=False)
    return figure_pixels(figure)


def likely_sheet(policy: Policy, photos: Sequence[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "H W 3"]:
    """A row for each photo: as it is, and after the three most and the three least likely transformations (figure 3.1).

    Each is as strong as its bound lets it be, but for smoothing; directions and places are drawn, the same every time.

    Args:
        policy: Likelihoods are means over its steps.
        photos: Of one size.

    Raises:
        InputError: there is no photo.
    """
    from training.augmentation import composed, item_seeds, uniform_numbers
    from training.augmentation.transformations import NOISE

    if not photos:
        raise InputError("Augmentations are shown on at least one photo, found none.")
    shares = _shares(policy)
    order = np.argsort(-shares, kind="stable")
    most = min(SHOWN, len(order) // 2)
    places = [*order[:most], *order[len(order) - most :]]
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 255
    columns = [list(photos)]
    for column, place in enumerate(places):
        chosen = torch.full((len(photos), 1), int(place))
        numbers = uniform_numbers(item_seeds(0, column, range(len(photos))), NOISE)[:, None].float()
        bounds = policy.bounds.detach().cpu()[chosen]
        changed = composed(images, policy.names, chosen, bounds, numbers)
        columns.append([as_bytes(one.permute(1, 2, 0)) for one in changed])
    titles = ["photo", *(f"{policy.names[place]} {_percent(shares[place])}" for place in places)]
    return row_sheet(titles, [list(row) for row in zip(*columns, strict=True)], cell_width=CELL)


def _shares(policy: Policy) -> Float[np.ndarray, " N"]:
    found: np.ndarray = policy.probabilities().detach().double().mean(0).cpu().numpy()
    return found


def _reaches(policy: Policy) -> Float[np.ndarray, " N"]:
    bounds = torch.where(policy.adjustable, policy.bounds.detach(), torch.ones_like(policy.bounds))
    found: np.ndarray = bounds.double().cpu().numpy()
    return found


def _line(policy: Policy, place: int, share: float, reach: float) -> str:
    strength = f", up to {reach:.2f}" if bool(policy.adjustable[place]) else ""
    return f"{policy.names[place]}  {_percent(share)}{strength}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _stacked(axes: Axes, where: np.ndarray, part: np.ndarray, names: Sequence[str]) -> list[Any]:
    """Areas above each other, the first name lowest."""
    areas = axes.stackplot(where, part.T, colors=[_colour(name) for name in names], edgecolor="white", linewidth=0.3)
    axes.set_xlim(where[0], where[-1])
    axes.set_ylim(0, 1)
    axes.tick_params(labelsize=8)
    return list(areas)


def _colour(name: str) -> Any:
    """The same for a transformation in every picture."""
    from matplotlib import colormaps

    from training.augmentation import POOL

    return colormaps["tab20"](list(POOL).index(name))
