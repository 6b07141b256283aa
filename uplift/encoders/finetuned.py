"""``fit3d:FILE``: an encoder that 3D-aware fine-tuning changed, beside the one that it was (Yue et al. 2024, 3.3).

The file holds what the fine-tuning changed alone: the network's weights, or an adapter on top of it.  The original
encoder is loaded by its name, from its own weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn

from render.errors import InputError
from uplift.encoders.adapter import SwinAdapter
from uplift.encoders.base import Encoder, Tokens, TrainableEncoder
from uplift.encoders.checkpoints import hash_of, load_strictly
from uplift.encoders.files import part_of, read_parts, save_parts, whole
from uplift.encoders.registry import load_encoder

if TYPE_CHECKING:
    from jaxtyping import Float

PREFIX = "fit3d:"
FORMAT = 1
KIND = "fine-tuned encoder"
NETWORK, ADAPTER, FUSION = "network.", "adapter.", "fusion."  # begin the names of the tensors in a file
COMMAND = "fit3d finetune"

Assembly: TypeAlias = Literal["concatenated", "alone", "added", "fused"]
"""How original and fine-tuned features become one (FiT3D, table 7).

The original ones beside the fine-tuned ones, those alone, the sum of both, or a linear layer from both, side by side,
to as many channels as the original has.
"""
ASSEMBLIES: tuple[Assembly, ...] = get_args(Assembly)


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What fine-tuning made of an encoder: what travels in a file.

    Attributes:
        network: State of the fine-tuned network; None where it was frozen.
        adapter: On top of the network; None without.
        fusion: The linear layer of the assembly ``fused``, ``2c`` to ``c`` channels; None without.
        assembly: How its features are assembled unless another way is asked for.
        training: How it was made; JSON values.
    """

    network: Mapping[str, Tensor] | None
    adapter: SwinAdapter | None = None
    fusion: nn.Linear | None = None
    assembly: Assembly = "concatenated"
    training: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, base: TrainableEncoder) -> None:
        """Write a safetensors file.

        Args:
            path: The file.
            base: The encoder that was fine-tuned, as it was.

        Raises:
            InputError: nothing was changed, or the assembly needs a fusion that is not there.
            OSError: the disk is full, or the folder cannot be written.
        """
        if (self.network is None) == (self.adapter is None):
            raise InputError("A fine-tuned encoder has either a network of its own or an adapter.")
        if self.assembly == "fused" and self.fusion is None:
            raise InputError("The assembly fused needs its linear layer; fit one, or choose another assembly.")
        parts = {
            NETWORK: self.network or {},
            ADAPTER: {} if self.adapter is None else self.adapter.state_dict(),
            FUSION: {} if self.fusion is None else self.fusion.state_dict(),
        }
        header = {
            "format": FORMAT,
            "kind": KIND,
            "encoder": base.name,
            "options": base.options(),
            "weights": base.weights_hash(),
            "dimension": base.dimension,
            "licence": base.licence,
            "assembly": self.assembly,
            "training": dict(self.training),
        }
        save_parts(path, parts, header)


class FineTunedEncoder(TrainableEncoder):
    """Features of an encoder and of what fine-tuning made of it, assembled.

    Attributes:
        base: The encoder as it was.
        assembly: How both features become one.
    """

    def __init__(self, name: str, base: TrainableEncoder, tuned: FineTuned, assembly: Assembly | None = None) -> None:
        """Put the parts together.

        Args:
            name: As the registry calls it.
            base: The encoder that was fine-tuned, as it was.
            tuned: What was made of it.
            assembly: Instead of the one that ``tuned`` names.

        Raises:
            InputError: no such assembly, its linear layer is missing, or the tensors are another network's.
        """
        self.assembly = tuned.assembly if assembly is None else assembly
        if self.assembly not in ASSEMBLIES:
            raise InputError(f"Features are assembled {', '.join(ASSEMBLIES)}; found {self.assembly!r}.")
        if self.assembly == "fused" and tuned.fusion is None:
            raise InputError(f"{name} has no linear layer to fuse its features with; choose another assembly.")
        self.name, self.base, self.licence, self.metric = name, base, base.licence, base.metric
        self.patch, self.window, self.stride = base.patch, base.window, base.stride
        self.dimension = base.dimension * (2 if self.assembly == "concatenated" else 1)
        own = base
        if tuned.network is not None:
            own = base.copied()
            load_strictly(own.network, tuned.network, base.name, name)
        self._own = own
        self._parts = nn.ModuleDict({"base": base.network, "own": own.network})
        for kind, part in (("adapter", tuned.adapter), ("fusion", tuned.fusion)):
            if part is not None:
                self._parts[kind] = deepcopy(part).to(base.device)
        self._parts.eval().requires_grad_(False)
        self._hash: str | None = hash_of(self._parts)

    @property
    def network(self) -> nn.Module:
        """Both networks, the adapter and the linear layer, as far as they are there."""
        return self._parts

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.base.device

    def copied(self) -> Self:
        """An encoder of its own, whose networks have the same weights and may be trained."""
        result = copy(self)
        result.base = self.base.copied()
        result._own = result.base if self._own is self.base else self._own.copied()
        result._parts = nn.ModuleDict(deepcopy({k: v for k, v in self._parts.items() if k not in ("base", "own")}))
        result._parts.update({"base": result.base.network, "own": result._own.network})
        result._parts.requires_grad_(True)
        result._hash = None  # of weights that will change
        return result

    def tokens(self, pixels: Float[Tensor, "b 3 h w"]) -> Tokens:
        """Assembled tokens of photos with values in [0, 1]; differentiable, float32."""
        if self.assembly == "alone" and "adapter" not in self._parts:
            return self._own.tokens(pixels)
        before = self.base.tokens(pixels)
        return self._assembled(before, self._changed(before, pixels))

    def layers(self, pixels: Float[Tensor, "b 3 h w"], count: int = 4, *, normed: bool = True) -> list[Tokens]:
        """Assembled outputs of ``count`` evenly spaced blocks; an adapter changes the last one alone.

        Raises:
            InputError: the network has fewer blocks, or the features are fused, which the last block's can be alone.
        """
        if self.assembly == "fused" and count > 1:
            raise InputError(f"{self.name} fuses the features of the last block alone; choose another assembly.")
        if self.assembly == "alone" and "adapter" not in self._parts:
            return self._own.layers(pixels, count, normed=normed)
        before = self.base.layers(pixels, count, normed=normed)
        if "adapter" in self._parts:
            after = [*before[:-1], self._changed(before[-1], pixels)]
        else:
            after = self._own.layers(pixels, count, normed=normed)
        return [self._assembled(*pair) for pair in zip(before, after, strict=True)]

    def weights_hash(self) -> str:
        """SHA-256 of all weights, the original's among them."""
        return self._hash or hash_of(self._parts)

    def options(self) -> dict[str, Any]:
        """Those of the original encoder, and the assembly."""
        return {**self.base.options(), "assembly": self.assembly}

    def settings(self) -> dict[str, Any]:
        """Those of the original encoder, and the assembly."""
        return {**self.base.settings(), "assembly": self.assembly, "base": self.base.name}

    def fingerprint(self) -> str:
        """Hash of settings and weights: where the file lies changes no map."""
        parts = [PREFIX, self.settings(), self.weights_hash()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _changed(self, before: Tokens, pixels: Float[Tensor, "b 3 h w"]) -> Tokens:
        if "adapter" in self._parts:
            return Tokens(self._parts["adapter"](before.patches), before.cls)
        return self._own.tokens(pixels)

    def _assembled(self, before: Tokens, after: Tokens) -> Tokens:
        pairs = zip(before, after, strict=True)
        return Tokens(*(None if a is None or b is None else self._joined(a, b) for a, b in pairs))

    def _joined(self, before: Float[Tensor, "... c"], after: Float[Tensor, "... c"]) -> Float[Tensor, "... k"]:
        if self.assembly == "alone":
            return after
        if self.assembly == "added":
            return before + after
        both = torch.cat([before, after], -1)
        return both if self.assembly == "concatenated" else self._parts["fusion"](both)


def make_finetuned(name: str, weights: Path | None, device: torch.device, **options: Any) -> FineTunedEncoder:
    """The encoder ``fit3d:FILE`` or ``fit3d:FILE@ASSEMBLY``.

    Args:
        name: As the person typed it.
        weights: The original encoder's; None = its own.
        device: Where it computes.
        options: ``assembly``, and ``window`` and ``stride`` instead of those that it was made with.

    Raises:
        InputError: no such file, damaged, or the original encoder has other weights.
    """
    path, assembly = _taken_apart(name)
    tensors, header = read_parts(path, kind=KIND, layout=FORMAT, command=COMMAND)
    assembly = options.pop("assembly", None) or assembly
    with whole(path, COMMAND):
        base = _base(path, header, weights, device, options)
        tuned = FineTuned(
            network=part_of(tensors, NETWORK) or None,
            adapter=_adapter(path, tensors, int(header["dimension"])),
            fusion=_fusion(path, tensors, int(header["dimension"])),
            assembly=header["assembly"],
            training=header.get("training", {}),
        )
    if (tuned.network is None) == (tuned.adapter is None):
        raise InputError(
            f"{path} is damaged: it holds neither a network nor an adapter alone; make it again with {COMMAND}."
        )
    return FineTunedEncoder(PREFIX + str(path.resolve()), base, tuned, assembly)


def trainable(encoder: Encoder) -> TrainableEncoder:
    """An encoder that can be fine-tuned.

    Raises:
        InputError: it cannot.
    """
    if not isinstance(encoder, TrainableEncoder) or isinstance(encoder, FineTunedEncoder):
        raise InputError(
            f"{encoder.name} cannot be fine-tuned: expected a vision transformer as it was published, such as "
            "tiny-dino, dinov2-small, mae-base or timm:NAME (timm:vit_base_patch16_clip_224.openai for CLIP's patches)."
        )
    return encoder


def _taken_apart(name: str) -> tuple[Path, Assembly | None]:
    text = name.removeprefix(PREFIX)
    for assembly in ASSEMBLIES:
        if text.endswith(f"@{assembly}"):
            return Path(text.removesuffix(f"@{assembly}")), assembly
    return Path(text), None


def _base(
    path: Path, header: Mapping[str, Any], weights: Path | None, device: torch.device, options: Mapping[str, Any]
) -> TrainableEncoder:
    """The encoder that was fine-tuned; InputError unless its weights are the ones that it was made from."""
    name = str(header["encoder"])
    base = trainable(load_encoder(name, weights, device, options={**header["options"], **options}))
    found = base.weights_hash() or ""
    if found != header["weights"]:
        raise InputError(
            f"{path} was made from {name} with the weights {str(header['weights'])[:12]}, found {found[:12]}: give "
            "those weights with --weights FILE, or fine-tune again."
        )
    return base


def _adapter(path: Path, tensors: Mapping[str, Tensor], dimension: int) -> SwinAdapter | None:
    found = part_of(tensors, ADAPTER)
    if not found:
        return None
    adapter = SwinAdapter(dimension)
    load_strictly(adapter, found, "an adapter", path)
    return adapter


def _fusion(path: Path, tensors: Mapping[str, Tensor], dimension: int) -> nn.Linear | None:
    found = part_of(tensors, FUSION)
    if not found:
        return None
    fusion = nn.Linear(2 * dimension, dimension)
    load_strictly(fusion, found, "a linear layer", path)
    return fusion
