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
WIDER = 4  # times as wide as the student is the hidden layer of a perceptron
HEAD_WIDTH = 64  # channels of a head of attention


class SimpleProjector(nn.Module):
    """A two-layer perceptron for patches, and one for the global token (SP).

    Attributes:
        rungs: How many layers of the student it takes: one.
    """

    rungs = 1

    def __init__(self, width: int, dimension: int, *, whole: bool) -> None:
        """Set up with random weights.

        Args:
            width: Channels of the student.
            dimension: Channels of the teacher.
            whole: Whether the teacher has a global token.
        """
        super().__init__()
        self.patches = _perceptron(width, dimension)
        self.whole = _perceptron(width, dimension) if whole else None

    def forward(self, layers: Sequence[Tokens]) -> Tokens:
        """Tokens of the teacher's dimension, from the last of the student's layers."""
        last = layers[-1]
        return Tokens(self.patches(last.patches), None if self.whole is None else self.whole(last.whole))


class LadderProjector(nn.Module):
    """Simple projectors of several evenly spaced blocks, whose outputs are summed (LP, of UNIC).

    Attributes:
        rungs: How many layers of the student it takes.
    """

    def __init__(self, width: int, dimension: int, *, whole: bool, rungs: int = RUNGS) -> None:
        """Set up with random weights.

        Args:
            width: Channels of the student.
            dimension: Channels of the teacher.
            whole: Whether the teacher has a global token.
            rungs: After so many evenly spaced blocks there is a perceptron, the last block among them.
        """
        super().__init__()
        self.rungs = rungs
        self.steps = nn.ModuleList(SimpleProjector(width, dimension, whole=whole) for _ in range(rungs))

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
    """

    rungs = 1

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


def make_projector(kind: ProjectorKind, width: int, dimension: int, *, whole: bool, rungs: int = RUNGS) -> Projector:
    """A projector with random weights, of torch's global generator.

    Args:
        kind: Which.
        width: Channels of the student.
        dimension: Channels of the teacher.
        whole: Whether the teacher has a global token.
        rungs: Of a ladder.

    Raises:
        InputError: no such kind, or a ladder without rungs.
    """
    if kind == "ladder":
        if rungs < 1:
            raise InputError(f"A ladder of projectors has 1 rung or more, found {rungs}.")
        return LadderProjector(width, dimension, whole=whole, rungs=rungs)
    if kind == "simple":
        return SimpleProjector(width, dimension, whole=whole)
    if kind == "transformer":
        return TransformerProjector(width, dimension, whole=whole)
    raise InputError(f"Projectors are {', '.join(PROJECTORS)}; found {kind!r}.")


def layers_of(encoder: TrainableEncoder, pixels: Float[Tensor, "b 3 h w"], rungs: int) -> list[Tokens]:
    """What a projector of so many rungs takes of a student: that many layers of it, the last one among them.

    Raises:
        InputError: the student has fewer blocks.
    """
    return [encoder.tokens(pixels)] if rungs == 1 else encoder.layers(pixels, rungs)


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


def _perceptron(width: int, dimension: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, WIDER * width), nn.GELU(), nn.Linear(WIDER * width, dimension))
