"""From the tokens of a student to those of a teacher (DUNE, section 4.2; Sariyildiz et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from render.errors import InputError
from uplift.encoders.base import Tokens, TrainableEncoder

if TYPE_CHECKING:
    from jaxtyping import Float

ProjectorKind: TypeAlias = Literal["transformer", "ladder", "simple"]
"""A transformer block and a linear layer, two-layer perceptrons at several depths, or one at the end."""
PROJECTORS: tuple[ProjectorKind, ...] = get_args(ProjectorKind)
RUNGS = 4  # of a ladder: after every third of twelve blocks
WIDER = 4  # times as wide as the student is the hidden layer of a perceptron after the last block
NARROW = 1  # and so many times those before it (UNIC)
HEAD_WIDTH = 64  # channels of a head of attention


class SimpleProjector(nn.Module):
    """A two-layer perceptron for patches, and one for the global token (SP).

    Attributes:
        rungs: How many layers of the student it takes: one.
        normed: Whether it takes them after the student's last norm.
        hidden: How many times as wide as the student its hidden layer is.
    """

    rungs, normed = 1, True

    def __init__(self, width: int, dimension: int, *, whole: bool, wider: int = WIDER) -> None:
        """Set up with random weights.

        Args:
            width: Channels of the student.
            dimension: Channels of the teacher.
            whole: Whether the teacher has a global token.
            wider: So many times as wide as the student is the hidden layer.
        """
        super().__init__()
        self.hidden = (wider,)
        self.patches = _perceptron(width, dimension, wider)
        self.whole = _perceptron(width, dimension, wider) if whole else None

    def forward(self, layers: Sequence[Tokens]) -> Tokens:
        """Tokens of the teacher's dimension, from the last of the student's layers."""
        last = layers[-1]
        return Tokens(self.patches(last.patches), None if self.whole is None else self.whole(last.whole))


class LadderProjector(nn.Module):
    """Simple projectors of several evenly spaced blocks, whose outputs are summed (LP, of UNIC).

    As in UNIC's released training each takes what its block gives, without the student's last norm, and hidden layers
    are as wide as the student, but four times so after the last block.  Which widths DUNE's ladders have its text does
    not say.

    Attributes:
        rungs: How many layers of the student it takes.
        normed: Whether it takes them after the student's last norm.
        hidden: Of every rung, how many times as wide as the student its hidden layer is.
    """

    normed = False

    def __init__(
        self, width: int, dimension: int, *, whole: bool, rungs: int = RUNGS, hidden: Sequence[int] | None = None
    ) -> None:
        """Set up with random weights.

        Args:
            width: Channels of the student.
            dimension: Channels of the teacher.
            whole: Whether the teacher has a global token.
            rungs: After so many evenly spaced blocks there is a perceptron, the last block among them.
            hidden: Of every rung, how many times as wide as the student its hidden layer is; None = 1, of the last 4.
        """
        super().__init__()
        self.rungs, self.hidden = rungs, tuple(hidden or hidden_of("ladder", rungs))
        if len(self.hidden) != rungs:
            raise ValueError(f"{rungs} rungs have as many hidden layers, found {len(self.hidden)}")
        self.steps = nn.ModuleList(SimpleProjector(width, dimension, whole=whole, wider=one) for one in self.hidden)

    def forward(self, layers: Sequence[Tokens]) -> Tokens:
        """Tokens of the teacher's dimension, from ``rungs`` layers of the student."""
        found = [step([layer]) for step, layer in zip(self.steps, layers, strict=True)]
        patches = torch.stack([one.patches for one in found]).sum(0)
        if found[0].cls is None:
            return Tokens(patches, None)
        return Tokens(patches, torch.stack([one.cls for one in found]).sum(0))


class TransformerProjector(nn.Module):
    """One transformer block over all tokens of a photo, then a linear layer (TP, equations 2 to 4).

    ``a = f + SA(LN(f))``, ``m = a + MLP(LN(a))``, ``h = Linear(m)``: the global token and all patches see each other.

    Attributes:
        rungs: How many layers of the student it takes: one.
        normed: Whether it takes them after the student's last norm.
        hidden: How many times as wide as the student the hidden layer of its block is.
    """

    rungs, normed, hidden = 1, True, (WIDER,)

    def __init__(self, width: int, dimension: int, *, whole: bool) -> None:
        """Set up with random weights.

        Args:
            width: Channels of the student.
            dimension: Channels of the teacher.
            whole: Whether the teacher has a global token.
        """
        super().__init__()
        heads = max(1, width // HEAD_WIDTH)
        self.block = nn.TransformerEncoderLayer(
            width,
            heads if width % heads == 0 else 1,
            WIDER * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.linear = nn.Linear(width, dimension)
        self._whole = whole

    def forward(self, layers: Sequence[Tokens]) -> Tokens:
        """Tokens of the teacher's dimension, from the last of the student's layers."""
        last = layers[-1]
        b, gh, gw, _ = last.patches.shape
        rows = torch.cat([last.whole[:, None], last.patches.flatten(1, 2)], 1)
        mixed = self.block(rows)
        patches = self.linear(mixed[:, 1:]).reshape(b, gh, gw, -1)
        return Tokens(patches, self.linear(mixed[:, 0]) if self._whole else None)


Projector: TypeAlias = SimpleProjector | LadderProjector | TransformerProjector


def hidden_of(kind: ProjectorKind, rungs: int = RUNGS) -> tuple[int, ...]:
    """How many times as wide as the student the hidden layers of a projector are, of every rung of a ladder."""
    return (*[NARROW] * (rungs - 1), WIDER) if kind == "ladder" else (WIDER,)


def make_projector(
    kind: ProjectorKind,
    width: int,
    dimension: int,
    *,
    whole: bool,
    rungs: int = RUNGS,
    hidden: Sequence[int] | None = None,
) -> Projector:
    """A projector with random weights, of torch's global generator.

    Args:
        kind: Which.
        width: Channels of the student.
        dimension: Channels of the teacher.
        whole: Whether the teacher has a global token.
        rungs: Of a ladder.
        hidden: Of a ladder: how many times as wide as the student hidden layers are; None = 1, of the last rung 4.

    Raises:
        InputError: no such kind, or a ladder without rungs.
    """
    if kind == "ladder":
        if rungs < 1:
            raise InputError(f"A ladder of projectors has 1 rung or more, found {rungs}.")
        return LadderProjector(width, dimension, whole=whole, rungs=rungs, hidden=hidden)
    if kind == "simple":
        return SimpleProjector(width, dimension, whole=whole)
    if kind == "transformer":
        return TransformerProjector(width, dimension, whole=whole)
    raise InputError(f"Projectors are {', '.join(PROJECTORS)}; found {kind!r}.")


def layers_of(encoder: TrainableEncoder, pixels: Float[Tensor, "b 3 h w"], projector: Projector) -> list[Tokens]:
    """What a projector takes of a student: as many layers of it as it has rungs, the last one among them.

    Raises:
        InputError: the student has fewer blocks.
    """
    if projector.normed and projector.rungs == 1:
        return [encoder.tokens(pixels)]
    return encoder.layers(pixels, projector.rungs, normed=projector.normed)


class TeacherSpace(nn.Module):
    """A projector that was kept, and the statistics that bring its outputs back into the teacher's space.

    Attributes:
        projector: Says what the teacher says, standardized.
    """

    def __init__(
        self,
        projector: Projector,
        *,
        patches: tuple[Float[Tensor, " d"], Float[Tensor, " d"]],
        whole: tuple[Float[Tensor, " d"], Float[Tensor, " d"]] | None,
    ) -> None:
        """Put together.

        Args:
            projector: That was trained.
            patches: Mean and deviation of the teacher's patch tokens.
            whole: Those of its global token; None where it has none.
        """
        super().__init__()
        self.projector = projector
        statistics = {"patches": patches, **({} if whole is None else {"whole": whole})}
        for name, (mean, deviation) in statistics.items():
            self.register_buffer(f"{name}_mean", mean.detach().to(torch.float32).clone())
            self.register_buffer(f"{name}_deviation", deviation.detach().to(torch.float32).clone())

    @property
    def has_whole(self) -> bool:
        """Whether the teacher has a global token."""
        return hasattr(self, "whole_mean")

    def forward(self, layers: Sequence[Tokens]) -> Tokens:
        """Tokens in the teacher's space, from the student's layers."""
        found = self.projector(layers)
        patches = found.patches * self.patches_deviation + self.patches_mean
        if found.cls is None:
            return Tokens(patches, None)
        return Tokens(patches, found.cls * self.whole_deviation + self.whole_mean)


def _perceptron(width: int, dimension: int, wider: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, wider * width), nn.GELU(), nn.Linear(wider * width, dimension))
