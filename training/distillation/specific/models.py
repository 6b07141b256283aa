"""Networks from pixels to logits: vision transformers with a head, ResNets, DeepLabv3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from render.errors import InputError
from training.distillation.specific.heads import ClassHead, Hidden, PixelHead, class_features, class_width
from training.distillation.specific.norms import ItemDropout, shareable
from training.randomness import seeded
from uplift.encoders.base import Encoder, TrainableEncoder
from uplift.encoders.checkpoints import hash_of, load_strictly, read_weights
from uplift.encoders.finetuned import trainable

if TYPE_CHECKING:
    from jaxtyping import Float

Goal: TypeAlias = Literal["segmentation", "classification"]
GOALS: tuple[Goal, ...] = get_args(Goal)
SMALL = 64  # pixels: the stem of a ResNet does not shrink photos below
LARGE = 1024  # channels of a ViT-L, whose head is narrower
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's photos, for ResNets
RESNETS = {"resnet18": 512, "resnet50": 2048}  # channels of their last map
DEEPLAB = "deeplabv3-"
CNNS: dict[Goal, tuple[str, ...]] = {
    "classification": tuple(RESNETS),
    "segmentation": tuple(DEEPLAB + name for name in RESNETS),
}
DEEPLAB_RATES = {8: 12, 16: 6}  # of its first dilated convolution, by the pixels of a node; the others twice, thrice
DEEPLAB_SIDE = 513  # pixels of the photos that those are for


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What network is made; JSON values.

    Attributes:
        name: resnet18, resnet50, deeplabv3-resnet18, deeplabv3-resnet50, or an encoder such as tiny-dino.
        goal: What it tells: the class of a photo, or of each of its pixels.
        classes: How many there are.
        frozen: A transformer stays as it is, its head alone is trained: probing.
        scratch: A transformer begins with random weights; a convolutional network does so without a file of weights.
        side: Pixels of the photos that it is trained on, along their shorter side.
        blocks: Classification: the last blocks whose [CLS] tokens the head reads.
        mean_patch: Classification: the head reads the mean patch of the last block, too.
        hidden: Classification: how wide the head is between its two layers; auto = as the text has it, wide for small
            encoders and the geometric mean for those of 1024 channels or more.
        enlarge: A transformer sees photos enlarged so many times: of tiny ones it would else see few patches.
    """

    name: str
    goal: Goal
    classes: int
    frozen: bool = False
    scratch: bool = False
    side: int = 224
    blocks: int = 1
    mean_patch: bool = True
    hidden: Hidden = "auto"
    enlarge: int = 1

    def __post_init__(self) -> None:
        if min(self.classes, self.side, self.blocks, self.enlarge) < 1:
            raise InputError(
                "A network takes classes, a side, blocks and an enlargement of 1 or more, found "
                f"{self.classes}, {self.side}, {self.blocks} and {self.enlarge}."
            )
        others = set(CNNS["segmentation"] + CNNS["classification"]) - set(CNNS[self.goal])
        if self.name in others:
            raise InputError(f"{self.name} is no network for {self.goal}; choose {' or '.join(CNNS[self.goal])}.")
        if self.convolutional and self.frozen:
            raise InputError(f"{self.name} has no head to be probed with; choose an encoder such as tiny-dino.")

    @property
    def convolutional(self) -> bool:
        """Whether it is a ResNet or made of one."""
        return self.name in CNNS[self.goal]

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class TaskModel(nn.Module, ABC):
    """A network that tells the classes of photos or of their pixels.

    Attributes:
        spec: What it is.
    """

    spec: ModelSpec

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], seeds: Sequence[int] | None = None
    ) -> Float[Tensor, "b k *grid"]:
        """Logits: ``[b, k]`` of photos, or ``[b, k, gh, gw]`` of the nodes of a grid over them.

        Args:
            pixels: Photos with values in [0, 1], of any size.
            seeds: Of the items, for the dropout of networks that have some; None = nothing is dropped.
        """
        return self.read(self.features(pixels), seeds)

    @abstractmethod
    def features(self, pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        """What the head reads of photos: rows of a batch."""

    @abstractmethod
    def read(self, features: Tensor, seeds: Sequence[int] | None = None) -> Float[Tensor, "b k *grid"]:
        """What the head makes of it."""

    def fingerprint(self) -> str:
        """Hash of the weights: equal ones tell the same of the same photos."""
        return hash_of(self)

    def reading(self) -> str:
        """Hash of all that :meth:`features` depends on."""
        return self.fingerprint()

    @abstractmethod
    def embedding(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """The features of patches, or one of each photo (``gh = gw = 1``): what pictures show (B.1.5)."""


class VitModel(TaskModel):
    """A vision transformer with a head on its tokens.

    A transformer that is frozen is no module of this one: checkpoints and files hold the head alone.

    Args:
        encoder: As it was; it stays so.
        spec: How the head is made, and whether the network is trained.
    """

    def __init__(self, encoder: TrainableEncoder, spec: ModelSpec) -> None:
        super().__init__()
        own = encoder if spec.frozen else encoder.copied()
        self.spec, self.base, self._own = spec, (encoder,), (own,)  # in tuples: no modules of this one
        self._reading: str | None = None  # hashing is slow, and what is frozen stays
        self.network = None if spec.frozen else own.network.requires_grad_(True)
        if spec.goal == "segmentation":
            self.head: nn.Module = PixelHead(encoder.dimension, spec.classes)
        else:
            hidden = spec.hidden
            if hidden == "auto":
                hidden = "geometric" if encoder.dimension >= LARGE else "wide"
            width = class_width(encoder.dimension, spec.blocks, spec.mean_patch)
            self.head = ClassHead(width, spec.classes, hidden)
        self.head.to(encoder.device)

    def fingerprint(self) -> str:
        """Hash of the weights, and of what is frozen."""
        own = super().fingerprint()
        return f"{own} on {self.base[0].fingerprint()}" if self.spec.frozen else own

    def reading(self) -> str:
        """Of a frozen transformer what is read of it, without the head."""
        if not self.spec.frozen:
            return super().reading()
        if self._reading is None:
            read = (self.spec.goal, self.spec.blocks, self.spec.mean_patch, self.spec.enlarge)
            self._reading = f"{self.base[0].fingerprint()} {read}"
        return self._reading

    def features(self, pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        """Patch tokens ``[b, gh, gw, c]``, or the joined tokens of photos ``[b, n]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.spec.frozen):
            seen = self._seen(pixels)
            if self.spec.goal == "segmentation":
                return self._own[0].tokens(seen).patches
            return class_features(self._own[0], seen, self.spec.blocks, self.spec.mean_patch)

    def read(self, features: Tensor, seeds: Sequence[int] | None = None) -> Float[Tensor, "b k *grid"]:  # noqa: ARG002
        """The head's logits; it drops nothing."""
        found: Tensor = self.head(features)
        return found

    def embedding(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """Patch tokens, or the [CLS] token (without one the mean patch)."""
        tokens = self._own[0].tokens(self._seen(pixels))
        return tokens.patches if self.spec.goal == "segmentation" else tokens.whole[:, None, None]

    def _seen(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 H W"]:
        """Photos whose sides are multiples of the patch."""
        patch = self._own[0].patch
        size = [max(1, -(-length * self.spec.enlarge // patch)) * patch for length in pixels.shape[2:]]
        return pixels if size == list(pixels.shape[2:]) else resized(pixels, (size[0], size[1]))


class ConvModel(TaskModel):
    """A ResNet for photos, or DeepLabv3 on one for pixels (Chen et al. 2017), as torchvision has them.

    DeepLabv3 on a ResNet-50 dilates the last two stages (a node for 8 x 8 pixels).  A ResNet-18 has blocks that cannot
    be dilated: there the last stage alone keeps the size (16 x 16 pixels), and the rates of the head are those for it.
    On photos below 513 pixels the rates shrink as those do, to 1, 2 and 3 for 96: else all outer taps would lie in the
    padding, and the head would see no node but its own.  Photos below 64 pixels are not shrunk by the stem: a 3 x 3
    convolution of stride 1 and no pooling.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        name = spec.name.removeprefix(DEEPLAB)
        self.trunk = _resnet(name, spec)
        if spec.goal == "segmentation":
            from torchvision.models.segmentation.deeplabv3 import DeepLabHead

            self.head: nn.Module = DeepLabHead(RESNETS[name], spec.classes, deeplab_rates(spec))
        else:
            self.head = nn.Linear(RESNETS[name], spec.classes)
        shareable(self)
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def features(self, pixels: Float[Tensor, "b 3 h w"]) -> Tensor:
        """The last map ``[b, c, gh, gw]``, or its mean ``[b, c]``."""
        found: Tensor = self.trunk((pixels - self.mean) / self.std)
        return found if self.spec.goal == "segmentation" else found.mean((2, 3))

    def read(self, features: Tensor, seeds: Sequence[int] | None = None) -> Float[Tensor, "b k *grid"]:
        """The head's logits."""
        for module in self.head.modules():
            if isinstance(module, ItemDropout):
                module.seeds = seeds
        found: Tensor = self.head(features)
        return found

    def embedding(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b gh gw c"]:
        """The last map, or its mean."""
        found = self.features(pixels)
        return found.permute(0, 2, 3, 1) if self.spec.goal == "segmentation" else found[:, None, None]


def build_model(
    spec: ModelSpec,
    *,
    weights: str | Path | None = None,
    encoder: Encoder | None = None,
    seed: int = 0,
    device: torch.device | None = None,
) -> TaskModel:
    """Make a network.

    Args:
        spec: Which.
        weights: A local file: of an encoder its weights; of a convolutional network the state of torchvision's ResNet,
            whose last layer is left out.  None = the encoder's own; random ones for a convolutional network.
        encoder: Loaded before, in the place of the one that ``spec`` names.
        seed: Of all random weights.
        device: Where it computes; None = the CPU, or where ``encoder`` is.

    Raises:
        InputError: the encoder cannot be had or not trained, or the weights are another network's.
    """
    with seeded(seed):
        if spec.convolutional:
            model: TaskModel = ConvModel(spec)
            if weights is not None:
                _begin_with(model, Path(weights), spec)
        else:
            if encoder is None:
                encoder = open_encoder(spec, weights, seed=seed, device=device)
            # Of a network that is not trained it does not matter how it was made.
            if not isinstance(encoder, TrainableEncoder) or not spec.frozen:
                encoder = trainable(encoder)
            model = VitModel(encoder, spec)
            device = encoder.device
    model = model if device is None else model.to(device)
    _freeze_what_is_not_read(model)
    return model.eval()


def deeplab_rates(spec: ModelSpec) -> tuple[int, int, int]:
    """How far the dilated convolutions of DeepLabv3's head reach, in nodes."""
    full = DEEPLAB_RATES[8 if spec.name.endswith("resnet50") else 16]
    first = max(1, round(full * min(1.0, spec.side / DEEPLAB_SIDE)))
    return first, 2 * first, 3 * first


def open_encoder(
    spec: ModelSpec, weights: str | Path | None, *, seed: int, device: torch.device | None = None
) -> Encoder:
    """The transformer that a network stands on, with its own or with random weights.

    Raises:
        InputError: it cannot be had, or not be made with random weights.
    """
    if not spec.scratch:
        from uplift.encoders import load_encoder

        return load_encoder(spec.name, weights, device)
    if weights is not None:
        raise InputError(f"A {spec.name} from scratch takes no weights; leave either of both out.")
    from uplift.encoders.untrained import make_blank

    return make_blank(spec.name, device or torch.device("cpu"), seed=seed)


def resized(values: Float[Tensor, "b k h w"], size: tuple[int, int]) -> Float[Tensor, "b k H W"]:
    """Photos of another size, in [0, 1]."""
    return nn.functional.interpolate(values, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


def at_pixels(logits: Float[Tensor, "b k gh gw"], size: tuple[int, int]) -> Float[Tensor, "b k h w"]:
    """Logits of a grid at the pixels that it lies over."""
    return nn.functional.interpolate(logits.float(), size, mode="bilinear", align_corners=False)


def _resnet(name: str, spec: ModelSpec) -> nn.Sequential:
    """All of a ResNet up to its last map, its parts named as torchvision's."""
    from collections import OrderedDict

    from torchvision.models import resnet

    dilated = spec.goal == "segmentation" and name == "resnet50"
    net = getattr(resnet, name)(weights=None, replace_stride_with_dilation=[False, dilated, dilated])
    if spec.goal == "segmentation" and not dilated:
        first = net.layer4[0]
        first.conv1.stride = first.downsample[0].stride = (1, 1)
    parts = OrderedDict(net.named_children())
    for left_out in ("avgpool", "fc"):
        del parts[left_out]
    if spec.side < SMALL:
        parts["conv1"] = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(parts["conv1"].weight, mode="fan_out", nonlinearity="relu")
        del parts["maxpool"]
    return nn.Sequential(parts)


def _begin_with(model: TaskModel, weights: Path, spec: ModelSpec) -> None:
    """Take over a ResNet's weights from a file; the stem too, unless this one is made for small photos."""
    trunk = model.get_submodule("trunk")
    own = trunk.state_dict()
    tensors = {name: tensor for name, tensor in read_weights(weights).items() if not name.startswith("fc.")}
    for name, tensor in own.items():
        # Files written before torch counted batches lack this.
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, tensor)
    if spec.side < SMALL:
        tensors["conv1.weight"] = own["conv1.weight"]
    load_strictly(trunk, tensors, spec.name, weights)


def _freeze_what_is_not_read(model: TaskModel) -> None:
    """Parameters that no logit depends on get no gradient, for which several processes would wait."""
    side = max(16, model.spec.side // 4)
    device = next(model.parameters()).device
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.enable_grad():
        model.eval()(pixels).square().sum().backward()
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
