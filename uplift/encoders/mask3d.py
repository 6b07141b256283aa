"""``mask3d:FILE``: the colour encoder of a masked 3D pretraining (Mask3D; Hou et al. 2023).

The file holds the whole network, so that no other weights are needed, and the decoder beside it, for fine-tunings that
take over both.  The encoder sees colours alone: depth was there in the pretraining only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from render.errors import InputError
from uplift.encoders.base import TrainableEncoder
from uplift.encoders.checkpoints import load_strictly
from uplift.encoders.distilled import DistilledEncoder, plain_student
from uplift.encoders.files import part_of, read_parts, save_parts, whole
from uplift.encoders.finetuned import trainable
from uplift.encoders.masked import PatchDecoder
from uplift.encoders.registry import load_encoder
from uplift.encoders.untrained import has_architecture, make_blank
from uplift.encoders.vit import ViTEncoder

PREFIX = "mask3d:"
FORMAT = 1
KIND = "pretrained encoder"
NETWORK, DECODER = "network.", "decoder."  # begin the names of the tensors in a file
COMMAND = "fit3d pretrain mask3d"


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What a masked pretraining made: what travels in a file.

    Attributes:
        network: State of the colour encoder's network.
        decoder: That told depth of its tokens and of those of depth.
        licence: Of the weights that it began with; None where it began with random ones.
        training: How it was made; JSON values.
    """

    network: Mapping[str, Tensor]
    decoder: PatchDecoder
    licence: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path, encoder: TrainableEncoder) -> None:
        """Write a safetensors file in full precision.

        Args:
            path: The file.
            encoder: One of the same architecture; its weights do not matter.

        Raises:
            InputError: it is no vision transformer.
            OSError: the disk is full, or the folder cannot be written.
        """
        plain = plain_vit(encoder)
        header = {
            "format": FORMAT,
            "kind": KIND,
            "encoder": plain.name,
            "options": plain.options(),
            "dimension": plain.dimension,
            "licence": self.licence,
            "decoder": self.decoder.about(),
            "training": dict(self.training),
        }
        save_parts(path, {NETWORK: self.network, DECODER: self.decoder.state_dict()}, header)


class Mask3DEncoder(DistilledEncoder):
    """A network of some architecture with the weights of a pretraining."""

    @property
    def path(self) -> Path:
        """Its file."""
        return Path(self.name.removeprefix(PREFIX))

    def settings(self) -> dict[str, Any]:
        """Those of the architecture."""
        return {**self.student.settings(), "network": self.student.name}

    def fingerprint(self) -> str:
        """Hash of settings and weights: where the file lies changes no map."""
        parts = [PREFIX, self.settings(), self.weights_hash()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make_mask3d(name: str, weights: Path | None, device: torch.device, **options: Any) -> Mask3DEncoder:
    """The encoder ``mask3d:FILE``.

    Args:
        name: As the person typed it.
        weights: None; all are in the file.
        device: Where it computes.
        options: ``window`` and ``stride`` instead of those that it was made with.

    Raises:
        InputError: no such file, damaged, or weights are given.
    """
    path = Path(name.removeprefix(PREFIX))
    if weights is not None:
        raise InputError(f"{path} holds all weights that it needs, found {weights}; leave the weights out.")
    tensors, header = read_parts(path, kind=KIND, layout=FORMAT, command=COMMAND)
    with whole(path, COMMAND):
        known, named = str(header["encoder"]), {**header["options"], **options}
        if has_architecture(known):
            encoder: TrainableEncoder = make_blank(known, device, **named).copied()
        else:
            encoder = trainable(load_encoder(known, None, device, options=named)).copied()
        load_strictly(encoder.network, part_of(tensors, NETWORK), known, path)
        return Mask3DEncoder(PREFIX + str(path.resolve()), encoder, licence=header["licence"])


def load_decoder(path: str | Path, device: torch.device) -> PatchDecoder:
    """The decoder that was trained with the encoder ``mask3d:PATH``.

    Raises:
        InputError: no such file, or damaged.
    """
    path = Path(path)
    tensors, header = read_parts(path, kind=KIND, layout=FORMAT, command=COMMAND)
    with whole(path, COMMAND):
        decoder = PatchDecoder(**{name: int(value) for name, value in header["decoder"].items()})
        load_strictly(decoder, part_of(tensors, DECODER), "a decoder", path)
    return decoder.to(device)


def plain_vit(encoder: TrainableEncoder) -> ViTEncoder:
    """The vision transformer that an encoder stands on.

    Raises:
        InputError: it has none of its own: its features are assembled, or a teacher's.
    """
    plain = plain_student(encoder)
    if not isinstance(plain, ViTEncoder):
        raise InputError(
            f"{encoder.name} cannot be pretrained with masks: expected a vision transformer such as tiny-dino, "
            "mae-base, timm:NAME, distilled:FILE or mask3d:FILE."
        )
    return plain
