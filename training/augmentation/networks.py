"""Networks that augmentations are searched and judged with: WideResNets for small photos, ResNet-18 for larger ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.distillation.specific.models import MEAN, STD, ModelSpec, TaskModel, build_model
from training.distillation.specific.norms import SharedBatchNorm
from training.randomness import seeded

if TYPE_CHECKING:
    from jaxtyping import Float

RESNET = "resnet18"
STEM = 16  # channels of the first convolution
STAGES = 3
WIDE = re.compile(r"wrn-(\d+)-(\d+)")


class WideBlock(nn.Module):
    """Two convolutions, each after a norm and a ReLU, beside a way past them.

    Args:
        given: Channels that come in.
        channels: That go out.
        stride: Of the first convolution, and of the 1 x 1 convolution of the way past, where there is one.
    """

    def __init__(self, given: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = SharedBatchNorm(given), SharedBatchNorm(channels)
        self.conv1 = nn.Conv2d(given, channels, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        same = given == channels and stride == 1
        self.past = None if same else nn.Conv2d(given, channels, 1, stride=stride, bias=False)

    def forward(self, values: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d H W"]:
        """The next map; where its size changes, the way past begins after the first ReLU."""
        normed = self.norm1(values).relu()
        past = values if self.past is None else self.past(normed)
        found: Tensor = self.conv2(self.norm2(self.conv1(normed)).relu())
        return found + past


class WideResNet(TaskModel):
    """WRN-depth-width of Zagoruyko and Komodakis (2016) for photos of about 32 pixels, without dropout.

    A convolution to 16 channels, three stages of ``(depth - 4) / 6`` blocks with 16, 32 and 64 times ``width``
    channels, of which the second and the third halve the map, then a norm, a ReLU, the mean over the map and a linear
    layer.

    Args:
        depth: 4 more than a multiple of 6.
        width: How many times as many channels as in the narrowest.
        spec: Name, classes and side.

    Raises:
        InputError: there is no network of that depth or width.
    """

    def __init__(self, depth: int, width: int, spec: ModelSpec) -> None:
        super().__init__()
        blocks, left = divmod(depth - 4, 2 * STAGES)
        if left or blocks < 1 or width < 1:
            raise InputError(
                "Expected the depth of a WideResNet to be 10, 16, 22 and so on in steps of 6 and its width 1 or more, "
                f"found {depth} and {width}."
            )
        self.spec = spec
        parts: list[nn.Module] = [nn.Conv2d(3, STEM, 3, padding=1, bias=False)]
        given = STEM
        for stage in range(STAGES):
            channels = STEM * width * 2**stage
            for block in range(blocks):
                parts.append(WideBlock(given, channels, 2 if stage and not block else 1))
                given = channels
        self.trunk = nn.Sequential(*parts, SharedBatchNorm(given))
        self.head = nn.Linear(given, spec.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def features(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c"]:
        """The mean of the last map."""
        # Channels beside each other make its convolutions a third quicker on a processor.
        given = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        found: Tensor = self.trunk(given)
        return found.relu().mean((2, 3))

    def read(self, features: Float[Tensor, "b c"], seeds: Sequence[int] | None = None) -> Float[Tensor, "b k"]:  # noqa: ARG002
        """The head's logits; it drops nothing."""
        found: Tensor = self.head(features)
        return found

    def embedding(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 1 c"]:
        """The mean of the last map."""
        return self.features(pixels)[:, None, None]


def apart(network: nn.Module) -> nn.Module:
    """Put torch's batch norms in the place of those that several processes share; changed in place, and returned.

    For a network whose photos are all in one process.
    """
    for name, child in list(network.named_children()):
        if isinstance(child, SharedBatchNorm):
            norm = nn.BatchNorm2d(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(network, name, norm.to(child.weight).train(child.training))
        else:
            apart(child)
    return network


def build_network(name: str, classes: int, side: int, *, seed: int = 0) -> TaskModel:
    """A network of random weights, on the CPU, in evaluation mode.

    Args:
        name: wrn-DEPTH-WIDTH such as wrn-40-2, or resnet18.
        classes: That it tells apart.
        side: Pixels of the photos that it is trained on.
        seed: Of the weights.

    Raises:
        InputError: there is no such network.
    """
    spec = ModelSpec(name=name, goal="classification", classes=classes, side=side)
    if name == RESNET:
        return build_model(spec, seed=seed)
    found = WIDE.fullmatch(name)
    if found is None:
        raise InputError(f"Expected a network {RESNET} or wrn-DEPTH-WIDTH such as wrn-16-4, found {name!r}.")
    with seeded(seed):
        return WideResNet(int(found[1]), int(found[2]), spec).eval()
