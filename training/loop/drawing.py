"""What a step of a training draws from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator


def draws_of(seed: int, step: int) -> tuple[Generator, int]:
    """The generator that a step's batch is drawn from, and the seed of torch's global one.

    Both are a function of the training's seed and the step alone, so that what later steps will draw is known ahead.
    """
    random = np.random.default_rng([seed, step])
    torch_seed = int(random.integers(2**62))
    return random, torch_seed
