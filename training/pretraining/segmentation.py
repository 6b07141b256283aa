"""Fine-tuning of a pretrained encoder, and of its decoder, for the classes of pixels (Mask3D, section 4.1).

Augmentation, loss and measuring are those of the distillation for one task (:mod:`training.distillation.specific`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from render.errors import InputError
from render.progress import Progress, silent
from render.spacing import evenly
from training.augmentation import Augmentation
from training.distillation.specific.augmentation import Recipe
from training.distillation.specific.heads import DEVIATION
from training.distillation.specific.measuring import measure
from training.distillation.specific.models import ModelSpec, TaskModel
from training.distillation.specific.norms import SharedBatchNorm
from training.distillation.specific.samples import TaskPhotos
from training.distillation.specific.task import TaskTraining
from training.loop import Schedule, check, place, train
from training.loop.schedule import Precision
from training.pretraining.mask3d.settings import CLIP, MOMENTUM, STAIR, WARM, Scale
from training.pretraining.unread import freeze_unread
from training.probing.photos import ProbeData, ProbePhoto
from training.probing.scores import Scores
from training.randomness import seeded
from uplift.encoders.base import Encoder, TrainableEncoder
from uplift.encoders.mask3d import Mask3DEncoder, load_decoder
from uplift.encoders.masked import PatchDecoder, plainly_attending

if TYPE_CHECKING:
    from jaxtyping import Float

DecoderKind: TypeAlias = Literal["auto", "pretrained", "new", "none"]
"""That of the pretraining, one of random weights, or none; auto = the pretraining's where there is one."""
NEW_WIDTH, NEW_BLOCKS = 128, 2  # of a decoder of random weights, as a small pretraining has it
POWER = 0.9  # section 4.1
HEAD_GAIN = 16.0  # of small trainings; with a gain of 1 they took about twice as many steps to as low a loss


class FineHead(nn.Module):
    """A batch norm and a linear layer that tell classes at several nodes along each side of a patch.

    Args:
        channels: Of a token.
        classes: That it tells apart.
        finer: Nodes along a patch.
        gain: Its logits are so many times what the layer says, see :attr:`TuningNumbers.head_gain`.
    """

    gain: Tensor

    def __init__(self, channels: int, classes: int, finer: int, gain: float = 1.0) -> None:
        super().__init__()
        self.finer = finer
        self.register_buffer("gain", torch.tensor(gain))
        self.norm = SharedBatchNorm(channels)
        self.linear = nn.Linear(channels, classes * finer**2)
        nn.init.normal_(self.linear.weight, std=DEVIATION)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Float[Tensor, "b gh gw c"]) -> Float[Tensor, "b k h w"]:
        """Logits of nodes."""
        said = self.gain * self.linear(self.norm(tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return nn.functional.pixel_shuffle(said, self.finer)


class DecodedModel(TaskModel):
    """An encoder, a decoder of its tokens if there is one, and a head; all are trained.

    Args:
        encoder: As it is; it stays so.
        spec: Classes, and the side of what it is trained on.
        decoder: As it is; it stays so; None = the head reads the encoder's tokens.
        finer: Nodes of the head along a patch.
        gain: Of the head.
    """

    def __init__(
        self,
        encoder: TrainableEncoder,
        spec: ModelSpec,
        decoder: PatchDecoder | None = None,
        *,
        finer: int = 4,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        own = encoder.copied()
        self.spec, self._own = spec, (own,)  # in a tuple: its network is listed below
        self.network = own.network.requires_grad_(True)
        self.decoder = None if decoder is None else deepcopy(decoder).requires_grad_(True)
        self.head = FineHead(own.dimension if decoder is None else decoder.width, spec.classes, finer, gain)
        self.to(own.device)
        if own.device.type == "cpu":
            plainly_attending(self)
        pixels = torch.rand(1, 3, 2 * own.patch, 2 * own.patch, generator=torch.Generator().manual_seed(0))
        freeze_unread(self.eval(), lambda: self(pixels.to(own.device)))

    def features(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """Tokens of patches, decoded where there is a decoder."""
        patches = self._own[0].tokens(pixels).patches
        return patches if self.decoder is None else self.decoder(patches)

    def read(self, features: Tensor, seeds: Sequence[int] | None = None) -> Float[Tensor, "b k h w"]:  # noqa: ARG002
        """The head's logits; it drops nothing."""
        found: Tensor = self.head(features)
        return found

    def embedding(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """Tokens of the encoder."""
        return self._own[0].tokens(pixels).patches


@dataclass(frozen=True, kw_only=True)
class TuningNumbers:
    """How long and how fast a network is fine-tuned.

    Attributes:
        side: Pixels of the crops that it is trained on, and of the shorter side of photos that are measured.
        batch: Photos of a step.
        epochs: How often a photo is seen on average.
        rate: Learning rate after the warm-up.
        weight_decay: Of matrices.
        head_gain: Steps of AdamW are as large as the rate, however small gradients are: what the head says so many
            times louder it learns so many times faster, from random weights, than the network does, from what it knows.

    Raises:
        InputError: a number is out of its range.
    """

    side: int
    batch: int = 8
    epochs: float
    rate: float
    weight_decay: float
    head_gain: float = 1.0

    def __post_init__(self) -> None:
        if self.side < 1 or self.batch < 1 or not self.epochs > 0:
            raise InputError(
                f"Expected a side and a batch of 1 or more and epochs above 0, found {self.side}, {self.batch} and "
                f"{self.epochs:g}."
            )
        if not 0 < self.head_gain < math.inf:
            raise InputError(f"Expected a finite gain of the head above 0, found {self.head_gain:g}.")

    def schedule(self, scale: Scale, photos: int, *, seed: int, precision: Precision = "auto") -> Schedule:
        """SGD whose rate falls as a polynomial (``paper``), or AdamW with a warm-up and half a cosine (``small``)."""
        steps = max(1, round(self.epochs * photos / self.batch))
        paper = scale == "paper"
        return Schedule(
            steps=steps,
            rate=self.rate,
            weight_decay=self.weight_decay,
            optimizer="sgd" if paper else "adamw",
            momentum=MOMENTUM,
            warmup=0.0 if paper else WARM,
            decay="polynomial" if paper else "cosine",
            power=POWER,
            stair=STAIR,
            clip=None if paper else CLIP,
            seed=seed,
            precision=precision,
            validate_every=0,
            picture_every=0,
        )

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


TUNING: dict[Scale, TuningNumbers] = {
    "paper": TuningNumbers(side=240, epochs=80, rate=0.01, weight_decay=1e-4),
    "small": TuningNumbers(side=128, epochs=30, rate=5e-4, weight_decay=0.05, head_gain=HEAD_GAIN),
}
"""Section 4.1 (weight decay and momentum are not named there), and what takes minutes on a processor."""


def of_share(photos: Sequence[ProbePhoto], share: float) -> Sequence[ProbePhoto]:
    """A part of labelled photos, evenly spaced, one at least (figure 5).

    Raises:
        InputError: the share is not above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"Expected a share of the labels above 0 and up to 1, found {share:g}.")
    return evenly(photos, max(1, round(share * len(photos))))


def decoder_of(encoder: Encoder, kind: DecoderKind, *, seed: int = 0) -> PatchDecoder | None:
    """The decoder of a fine-tuning.

    Args:
        encoder: That was pretrained, or any other.
        kind: See :data:`DecoderKind`.
        seed: Of random weights.

    Raises:
        InputError: the encoder has none of its own.
    """
    pretrained = isinstance(encoder, Mask3DEncoder)
    if kind == "none" or (kind == "auto" and not pretrained):
        return None
    if kind == "new":
        with seeded(seed):
            return PatchDecoder(encoder.dimension, NEW_WIDTH, NEW_BLOCKS)
    if not isinstance(encoder, Mask3DEncoder):
        raise InputError(f"{encoder.name} has no decoder; give mask3d:FILE, or choose a new one or none.")
    return load_decoder(encoder.path, encoder.device)


def fine_tune(
    encoder: TrainableEncoder,
    decoder: PatchDecoder | None,
    data: ProbeData,
    out: str | Path,
    *,
    scale: Scale,
    numbers: TuningNumbers,
    share: float = 1.0,
    finer: int = 4,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    precision: Precision = "auto",
    device: str | torch.device = "auto",
    progress: Progress = silent,
) -> Scores:
    """Train a network for the classes of pixels, or go on where a training was interrupted, and measure it.

    Args:
        encoder: As it begins.
        decoder: As it begins; None = there is none.
        data: Photos with class maps, as :meth:`ProbeData.for_task` gives them.
        out: Folder of the training.
        scale: Which schedule.
        numbers: How long and how fast.
        share: Of the training photos that are learned from, see :func:`of_share`.
        finer: Nodes of the head along a patch.
        augmentation: What crops and their class maps go through in the place of mirrors and other colours.
        seed: Of the head's weights, batches and crops.
        precision: Of the forward pass.
        device: auto, cpu, cuda or cuda:N.
        progress: Told of steps and photos.

    Raises:
        InputError: the share is out of its range, or a checkpoint is of another training.
    """
    if numbers.side % encoder.patch:
        raise InputError(
            f"{encoder.name} sees patches of {encoder.patch} pixels, expected a side that is a multiple of it, found "
            f"{numbers.side}."
        )
    photos = of_share(data.train, share)
    spec = ModelSpec(name=encoder.name, goal="segmentation", classes=len(data.classes), side=numbers.side)
    with seeded(seed):
        model = DecodedModel(encoder, spec, decoder, finer=finer, gain=numbers.head_gain)
    given = TaskPhotos(photos, "segmentation", len(data.classes))
    recipe = Recipe(side=numbers.side, augmentation=augmentation)
    task = TaskTraining(model, given, recipe, batch=numbers.batch, classes=data.classes)
    task.name = "segment"
    schedule = numbers.schedule(scale, len(photos), seed=seed, precision=precision)
    at = place(device)
    check(task, schedule, at, Path(out))
    train(task, schedule, out, device=device, progress=progress)
    return measure(model.eval(), data.test, data.classes, progress=progress)
