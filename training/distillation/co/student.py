"""The encoder that is trained, and a projector for each of its teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from training.distillation.co.teachers import Teacher
from training.randomness import seeded
from uplift.encoders.base import Tokens, TrainableEncoder
from uplift.encoders.distilled import plain_student
from uplift.encoders.projectors import RUNGS, ProjectorKind, layers_of, make_projector

if TYPE_CHECKING:
    from jaxtyping import Float


class Student(nn.Module):
    """A copy of an encoder, and projectors from its tokens to those of teachers (DUNE, section 4.2).

    On CPUs attention is PyTorch's fused one in full precision and is spelled out in bf16: there each takes a sixth to a
    quarter less time than the other, forward and backward through a network of 4 blocks and 200 to 300 patches.

    Attributes:
        network: The copy's network.
        projectors: One for each teacher, in their order.
        kind: Of the projectors.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        teachers: Sequence[Teacher],
        *,
        projector: ProjectorKind,
        rungs: int = RUNGS,
        seed: int = 0,
    ) -> None:
        """Set up.

        Args:
            encoder: As it is; it stays so.
            teachers: Whose tokens are told.
            projector: Of which kind.
            rungs: Of a ladder.
            seed: Of the projectors' weights.

        Raises:
            InputError: the encoder has fewer blocks than a ladder has rungs, or gives the features of a teacher.
        """
        super().__init__()
        own = plain_student(encoder).copied()
        self._own = (own,)  # not a module, and its network is listed below
        self.network = own.network
        self.kind = projector
        with seeded(seed):
            made = [
                make_projector(projector, own.dimension, one.dimension, whole=one.has_whole, rungs=rungs)
                for one in teachers
            ]
        self.projectors = nn.ModuleList(made).to(own.device)
        self._fused = [one for one in self.network.modules() if getattr(one, "fused_attn", False) is True]
        self._freeze_what_nothing_depends_on()

    @property
    def encoder(self) -> TrainableEncoder:
        """The copy, which changes with the training."""
        return self._own[0]

    def forward(self, pixels: Float[Tensor, "b 3 h w"]) -> list[Tokens]:
        """What projectors take, of photos with values in [0, 1]."""
        self._choose_attention(pixels.device)
        return layers_of(self.encoder, pixels, self.projectors[0])  # they are of one kind

    def described(self, pixels: Float[Tensor, "b 3 h w"], layers: Sequence[Tokens]) -> Tokens:
        """Its own tokens of photos, as its file will give them.

        Args:
            pixels: Of the photos.
            layers: What :meth:`forward` gave of them.
        """
        return layers[-1] if self.projectors[0].normed else self.encoder.tokens(pixels)

    def told(self, teacher: int, layers: Sequence[Tokens], rows: Sequence[int] | None = None) -> Tokens:
        """What a teacher would say, standardized, as the student thinks.

        Args:
            teacher: Which.
            layers: What :meth:`forward` gave.
            rows: Of which photos; None = of all.
        """
        if rows is not None:
            layers = [Tokens(one.patches[rows], None if one.cls is None else one.cls[rows]) for one in layers]
        found: Tokens = self.projectors[teacher](layers)
        return found

    def _choose_attention(self, device: torch.device) -> None:
        """timm's blocks ask themselves at every call which attention they compute."""
        spelled_out = device.type == "cpu" and torch.is_autocast_enabled("cpu")
        for module in self._fused:
            module.fused_attn = not spelled_out

    def _freeze_what_nothing_depends_on(self) -> None:
        """Parameters that no projector depends on get no gradient, for which several processes would wait."""
        patch = self.encoder.patch
        with torch.enable_grad():
            layers = self(torch.zeros(1, 3, 2 * patch, 2 * patch, device=self.encoder.device))
            told = [self.told(index, layers) for index in range(len(self.projectors))]
            parts = [part.square().sum() for tokens in told for part in tokens if part is not None]
            torch.stack(parts).sum().backward()
        for parameter in self.parameters():
            if parameter.grad is None:
                parameter.requires_grad_(False)
            parameter.grad = None
