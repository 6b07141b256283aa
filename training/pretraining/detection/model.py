"""Mask R-CNN (He et al. 2017) on the tokens of a plain vision transformer, as ViTDet has it (Li et al. 2022)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.pretraining.detection.data import Scene
from training.pretraining.unread import freeze_unread
from uplift.encoders.base import TrainableEncoder
from uplift.encoders.masked import plainly_attending

if TYPE_CHECKING:
    from jaxtyping import Float

SCALES = (4, 2, 1, 0.5)  # of the levels' nodes along a patch
ANCHOR = 8  # sides of a level's anchors, in its nodes
RATIOS = (0.5, 1.0, 2.0)  # of anchors' sides
PROPOSED = 4  # proposals for each box that heads learn from, about as many as in Detectron2
POOLED, POOLED_MASK = 7, 14  # nodes along the sides of what heads see of a box


class ChannelNorm(nn.Module):
    """A norm over the channels of each node, with scale and shift.

    Args:
        channels: Of a map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, values: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normed values."""
        found: Tensor = self.norm(values.permute(0, 2, 3, 1))
        return found.permute(0, 3, 1, 2)


class SimplePyramid(nn.Module):
    """Maps of four scales from the last tokens of a vision transformer alone (ViTDet, figure 2c).

    Args:
        dimension: Channels of a token.
        width: Channels of each level.
    """

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        half, quarter = max(1, dimension // 2), max(1, dimension // 4)
        scaled: list[tuple[nn.Module, int]] = [
            (
                nn.Sequential(
                    nn.ConvTranspose2d(dimension, half, 2, stride=2),
                    ChannelNorm(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, stride=2),
                ),
                quarter,
            ),
            (nn.ConvTranspose2d(dimension, half, 2, stride=2), half),
            (nn.Identity(), dimension),
            (nn.MaxPool2d(2, stride=2), dimension),
        ]
        self.levels = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(channels, width, 1, bias=False),
                ChannelNorm(width),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                ChannelNorm(width),
            )
            for scale, channels in scaled
        )

    def forward(self, tokens: Float[Tensor, "b gh gw c"]) -> OrderedDict[str, Tensor]:
        """Maps ``[b, width, h, w]``, from the finest to the coarsest."""
        values = tokens.permute(0, 3, 1, 2).contiguous()
        return OrderedDict((str(number), level(values)) for number, level in enumerate(self.levels))


class ThingDetector(nn.Module):
    """Boxes, classes and masks of things.

    Every photo has a loss of its own, whatever else is in its batch: proposals and boxes are drawn from the item's
    seed, and losses are means over the photo's own.  So several processes train as one does.

    Args:
        encoder: As it is; it stays so, a copy is trained.
        classes: How many there are, without the background.
        size: Height and width of photos in pixels; multiples of two patches.
        width: Channels of the pyramid and of the heads.
        boxes: Of a photo that heads learn from; of proposals there are four times as many.

    Raises:
        InputError: photos are not made of whole pairs of patches.
    """

    def __init__(
        self, encoder: TrainableEncoder, classes: int, size: tuple[int, int], *, width: int = 256, boxes: int = 512
    ) -> None:
        from torchvision.models.detection import MaskRCNN
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
        from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
        from torchvision.ops import MultiScaleRoIAlign

        super().__init__()
        if any(side % (2 * encoder.patch) for side in size):
            raise InputError(
                f"A pyramid on {encoder.name} needs photos in multiples of {2 * encoder.patch} pixels, found "
                f"{size[0]} x {size[1]}."
            )
        own = encoder.copied()
        self.size, self._own = size, (own,)  # in a tuple: its network is listed below
        self.network = own.network.requires_grad_(True)
        self.pyramid = SimplePyramid(own.dimension, width)
        levels = [str(number) for number in range(len(SCALES))]
        sides = tuple((round(ANCHOR * own.patch / scale),) for scale in SCALES)
        parts: Any = MaskRCNN(
            _Named(width),
            rpn_pre_nms_top_n_train=PROPOSED * boxes,
            rpn_post_nms_top_n_train=PROPOSED * boxes,
            rpn_pre_nms_top_n_test=PROPOSED * boxes,
            rpn_post_nms_top_n_test=PROPOSED * boxes,
            box_batch_size_per_image=boxes,
            rpn_anchor_generator=AnchorGenerator(sides, (RATIOS,) * len(SCALES)),
            box_roi_pool=MultiScaleRoIAlign(levels, POOLED, 2),
            box_head=TwoMLPHead(width * POOLED**2, 4 * width),
            box_predictor=FastRCNNPredictor(4 * width, classes + 1),
            mask_roi_pool=MultiScaleRoIAlign(levels, POOLED_MASK, 2),
            mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(width, width, classes + 1),
        )
        # What is around these in torchvision resizes photos and takes losses over a whole batch.
        self.proposals, self.heads, self._pasted = parts.rpn, parts.roi_heads, parts.transform.postprocess
        self.to(own.device)
        if own.device.type == "cpu":
            plainly_attending(self)
        pixels = torch.zeros(1, 3, 2 * own.patch, 2 * own.patch, device=own.device)
        freeze_unread(self.network, lambda: own.tokens(pixels).patches)

    def losses(self, scenes: Sequence[Scene], seeds: Sequence[int]) -> dict[str, Float[Tensor, " b"]]:
        """The losses of each photo, by what they are of.

        Args:
            scenes: Photos and what is in them.
            seeds: Of the choice of proposals and boxes, which torchvision draws from the global generator.
        """
        maps, found = self._maps(torch.stack([scene.pixels for scene in scenes]).to(self._device)), []
        with torch.autocast(self._device.type, enabled=False):
            for number, (scene, seed) in enumerate(zip(scenes, seeds, strict=True)):
                one, images = self._one(maps, number)
                target = [scene.target(self._device)]
                with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
                    torch.manual_seed(seed)
                    boxes, first = self.proposals(images, one, target)
                    _, second = self.heads(one, boxes, images.image_sizes, target)
                found.append(first | second)
        return {name: torch.stack([losses[name] for losses in found]) for name in found[0]}

    @torch.no_grad()
    def detect(self, pixels: Float[Tensor, "b 3 h w"]) -> list[dict[str, Tensor]]:
        """What is in photos, in evaluation mode: ``boxes`` ``[n, 4]``, ``labels``, ``scores`` ``[n]``, ``masks``
        ``[n, 1, h, w]`` in [0, 1]."""
        maps, found = self._maps(pixels.to(self._device)), []
        for number in range(len(pixels)):
            one, images = self._one(maps, number)
            boxes, _ = self.proposals(images, one)
            said, _ = self.heads(one, boxes, images.image_sizes)
            found += self._pasted(said, images.image_sizes, images.image_sizes)
        return found

    @property
    def _device(self) -> torch.device:
        return self._own[0].device

    def _maps(self, pixels: Float[Tensor, "b 3 h w"]) -> OrderedDict[str, Tensor]:
        maps: OrderedDict[str, Tensor] = self.pyramid(self._own[0].tokens(pixels).patches)
        return OrderedDict((name, values.float()) for name, values in maps.items())

    def _one(self, maps: OrderedDict[str, Tensor], number: int) -> tuple[OrderedDict[str, Tensor], Any]:
        """The maps of one photo of a batch, and what torchvision wants to know of its size."""
        from torchvision.models.detection.image_list import ImageList

        one = OrderedDict((name, values[number : number + 1]) for name, values in maps.items())
        return one, ImageList(torch.zeros(1, 3, *self.size, device=self._device), [self.size])


class _Named(nn.Module):
    """Tells torchvision how many channels its heads get; it is not called."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width
