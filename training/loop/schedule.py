"""How long, how fast and how exactly a training goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

from render.errors import InputError

Decay = Literal["cosine", "constant", "polynomial", "staircase"]
Precision = Literal["auto", "no", "bf16", "fp16"]
Optimizer = Literal["adamw", "sgd"]
# What may change when a training goes on: how often it writes, not what it computes.
CADENCE = frozenset({"save_every", "log_every", "validate_every", "picture_every", "epochs"})
SGD_ALONE = frozenset({"optimizer", "momentum"})
OF_DECAYS = {"power": "polynomial", "stair": "staircase"}  # what one decay alone asks for


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a training goes.

    Attributes:
        steps: Optimizer steps.
        rate: Learning rate after the warm-up.
        weight_decay: Of AdamW or SGD, on matrices alone (no biases, norms, tokens).
        betas: AdamW's.
        optimizer: AdamW, or stochastic gradient descent with momentum.
        momentum: SGD's.
        warmup: Part of the steps in which the rate rises.
        decay: Whether the rate falls along half a cosine after the warm-up, stays, falls to zero as a power of the part
            of the steps that is left, or falls by a factor every so many steps.
        final_rate: Where the cosine ends, as a part of the rate.
        power: Of the polynomial.
        stair: The factor of the staircase, and its steps between two falls.
        clip: Largest norm of the gradient; None = any.
        seed: Of weights, batches and dropout.
        accumulate: Parts in which a process works on its share of a batch, one after the other: less memory.
        precision: Of the forward pass: float32 (``no``), bfloat16, or half precision with scaled losses (CUDA alone);
            ``auto`` = bfloat16 where the device is quick in it, else half precision on CUDA and float32 on a CPU.
        save_every: Seconds between checkpoints.
        log_every: Steps that a line of the log averages.
        validate_every: Steps between validations; 0 = after the last alone.
        picture_every: Steps between pictures, which are also made before the first step and after the last; 0 = none.
        epochs: Equal parts of the steps, at whose ends validation and pictures come as well, unless there are none in
            between.

    Raises:
        InputError: a number is out of its range.
    """

    steps: int
    rate: float = 1e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    optimizer: Optimizer = "adamw"
    momentum: float = 0.9
    warmup: float = 0.05
    decay: Decay = "cosine"
    final_rate: float = 0.01
    power: float = 0.9
    stair: tuple[float, int] = (0.99, 1000)
    clip: float | None = 3.0
    seed: int = 0
    accumulate: int = 1
    precision: Precision = "auto"
    save_every: float = 180.0
    log_every: int = 25
    validate_every: int = 500
    picture_every: int = 500
    epochs: int = 1

    def __post_init__(self) -> None:
        least = {"validate_every": 0, "picture_every": 0, "seed": 0}
        least |= {"steps": 1, "accumulate": 1, "log_every": 1, "epochs": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"Expected {name} to be {lowest} or more, found {getattr(self, name)}.")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"Expected a weight_decay of 0 or more, found {self.weight_decay:g}.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"Expected a momentum from 0 to below 1, found {self.momentum:g}.")
        if not self.power > 0 or not 0 < self.stair[0] <= 1 or self.stair[1] < 1:
            raise InputError(
                "Expected a power above 0 and a stair with a factor above 0 and up to 1 and 1 step or more, found "
                f"{self.power:g}, {self.stair[0]:g} and {self.stair[1]}."
            )
        if not 0 < self.rate < math.inf or not 0 <= self.warmup <= 1 or (self.clip is not None and not self.clip > 0):
            raise InputError(
                "Expected a rate and a clip above 0 and a warmup between 0 and 1, found "
                f"rate {self.rate:g}, clip {self.clip} and warmup {self.warmup:g}."
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        warm = max(1, round(self.warmup * self.steps)) if self.warmup else 0
        if step < warm:
            return self.rate * (step + 1) / warm
        if self.decay == "constant":
            return self.rate
        if self.decay == "staircase":
            factor, every = self.stair
            return self.rate * factor ** ((step - warm) // every)
        if self.decay == "polynomial":
            return self.rate * (1 - (step - warm) / max(1, self.steps - warm)) ** self.power
        angle = math.pi * (step - warm) / max(1, self.steps - warm)
        return self.rate * (self.final_rate + (1 - self.final_rate) * (1 + math.cos(angle)) / 2)

    def is_due(self, every: int, done: int) -> bool:
        """Whether something that comes every so many steps (0 = never) comes after ``done`` of them."""
        ended = done * self.epochs // self.steps > (done - 1) * self.epochs // self.steps
        return every > 0 and (done % every == 0 or ended)

    def identity(self) -> dict[str, Any]:
        """What decides the result: JSON values by name."""
        # With AdamW as it was before there was a choice: older checkpoints are gone on with.
        left_out = CADENCE | SGD_ALONE if self.optimizer == "adamw" else CADENCE | {"betas"}
        left_out |= {name for name, decay in OF_DECAYS.items() if decay != self.decay}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}
