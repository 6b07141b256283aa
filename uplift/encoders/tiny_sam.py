"""``tiny-sam``: Segment Anything's modules at small size, for where the published weights cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  torch's own name for it
from torch import Tensor, nn

from render.devices import resolve_device
from render.errors import InputError
from uplift.encoders.checkpoints import load_strictly, read_weights
from uplift.encoders.tiny import LICENCE, tiny_file

if TYPE_CHECKING:
    from jaxtyping import Float
    from segment_anything import SamPredictor
    from segment_anything.modeling import MaskDecoder as MaskDecoder  # trainings say so, this package imports it
    from segment_anything.modeling import PromptEncoder as PromptEncoder
    from segment_anything.modeling import Sam

    from uplift.encoders.sam import SamEncoder

NAME = "tiny-sam"
STEM_KEY = "image_encoder.patch_embed.proj.first.weight"  # published models have one convolution there
DECODER_HEADS = 2  # in more, each would know too little of positions to tell them apart


@dataclass(frozen=True)
class Shape:
    """Sizes of a small Segment Anything.

    Attributes:
        side: Pixels of the square that photos are fitted into.
        patch: Pixels of a patch's side; a power of 2, 4 at least.
        stem: Channels of the stem at each halving down to a patch.
        residual: Residual blocks after each of them.
        below: Channels at the halvings below, from which the stem comes back; the grid's side divides by all.
        width: Channels of the image encoder's blocks of attention.
        depth: Those blocks.
        heads: Of their attention.
        window: Patches of a window's side, in the blocks that look no further.
        wide: The blocks that look at the whole photo.
        channels: Of the embedding.
        hidden: Of the decoder's perceptrons.
    """

    side: int = 192
    patch: int = 8
    stem: tuple[int, ...] = (32, 64, 128)
    residual: tuple[int, ...] = (0, 2, 2)
    below: tuple[int, ...] = (160, 160)
    width: int = 128
    depth: int = 1
    heads: int = 4
    window: int = 12
    wide: tuple[int, ...] = ()
    channels: int = 96
    hidden: int = 128


SHAPE = Shape()


def build_tiny_sam(shape: Shape = SHAPE) -> Sam:
    """The model with random weights.

    All modules are Segment Anything's, but for the convolution that makes patches: in its place stands a small
    residual network (convolutions learn from few photos what blocks of attention alone do not, Xiao et al. 2021) that
    goes down to a coarse grid and back (Ronneberger et al. 2015), where seeing the whole photo costs little.

    Args:
        shape: Sizes; the bundled weights are of the default ones.
    """
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid = shape.side // shape.patch
    encoder = ImageEncoderViT(
        img_size=shape.side,
        patch_size=shape.patch,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        out_chans=shape.channels,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        window_size=shape.window,
        global_attn_indexes=shape.wide,
    )
    encoder.patch_embed.proj = _Stem(shape)
    return Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=shape.channels,
            image_embedding_size=(grid, grid),
            input_image_size=(shape.side, shape.side),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=shape.channels, mlp_dim=shape.hidden, num_heads=DECODER_HEADS
            ),
            transformer_dim=shape.channels,
            iou_head_depth=3,
            iou_head_hidden_dim=shape.hidden // 2,
        ),
    )


def load_tiny_sam(weights: Path | None = None, device: str | torch.device | None = None) -> SamPredictor:
    """``tiny-sam``, ready for ``set_image`` and ``predict``.

    Args:
        weights: A file that ``fit3d tiny sam`` wrote; None = the bundled one.
        device: Where it computes; None = ``auto``.

    Raises:
        InputError: there is no such file, or it holds another model's weights.
    """
    path = weights or tiny_file(NAME)
    tensors = {name: value.float() for name, value in read_weights(path).items()}
    if STEM_KEY not in tensors:
        raise InputError(f"{path} does not hold the weights of {NAME}; train them with: fit3d tiny sam")
    model = build_tiny_sam()
    load_strictly(model, tensors, NAME, path)
    return predictor_of(model.to(resolve_device(device or "auto")).eval().requires_grad_(False))


def predictor_of(model: Sam) -> SamPredictor:
    """The library's predictor of a model."""
    from segment_anything import SamPredictor

    return SamPredictor(model)


def make_tiny_sam_encoder(weights: Path | None, device: torch.device) -> SamEncoder:
    """The encoder ``tiny-sam``: the model's image encoder alone.

    Args:
        weights: A file that ``fit3d tiny sam`` wrote; None = the bundled one.
        device: Where it computes.

    Raises:
        InputError: there is no such file, or it holds another model's weights.
    """
    from uplift.encoders.sam import SamEncoder

    return SamEncoder(NAME, load_tiny_sam(weights, device), licence=LICENCE)


class _Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return x + self.inner(x)


class _Stem(nn.Module):
    """Photos to patches: convolutions down to patches, further down, and back to patches."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        if 2 ** len(shape.stem) != shape.patch:
            raise ValueError(f"{len(shape.stem)} halvings do not make patches of {shape.patch} pixels")
        before, patch = shape.stem[0], shape.stem[-1]
        self.first = nn.Conv2d(3, before, 3, stride=2, padding=1)
        layers: list[nn.Module] = [_Residual(before) for _ in range(shape.residual[0])]
        for channels, blocks in zip(shape.stem[1:], shape.residual[1:], strict=True):
            layers += [_halving(before, channels), *(_Residual(channels) for _ in range(blocks))]
            before = channels
        self.inwards = nn.Sequential(*layers)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for channels in shape.below:
            self.down.append(nn.Sequential(_halving(before, channels), _Residual(channels), _Residual(channels)))
            self.up.append(nn.Conv2d(channels, before, 1))
            before = channels
        self.mixed = nn.ModuleList(_Residual(channels) for channels in (patch, *shape.below[:-1]))
        self.last = nn.Sequential(nn.GroupNorm(8, patch), nn.GELU(), nn.Conv2d(patch, shape.width, 1))

    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c h w"]:
        # Convolutions are faster where the channels of a pixel lie together.
        x = self.inwards(self.first(x.contiguous(memory_format=torch.channels_last)))
        finer = []
        for down in self.down:
            finer.append(x)
            x = down(x)
        for up, mixed in zip(reversed(self.up), reversed(self.mixed), strict=True):
            x = mixed(finer.pop() + F.interpolate(up(x), scale_factor=2.0, mode="nearest"))
        return self.last(x)


def _halving(before: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.GELU(), nn.Conv2d(before, channels, 3, stride=2, padding=1))
