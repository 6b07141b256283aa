"""Feature maps on disk: computed once per photo and encoder, read back on demand."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from render.errors import InputError
from render.files import cache_folder
from uplift.encoders.base import DerivedEncoder, Encoder, Image, as_image
from uplift.field import HALF_MAX, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from jaxtyping import Float

UNSAFE = re.compile(r"[^\w.-]")  # what folders on some system may not be called


def default_map_folder() -> Path:
    """Where feature maps are kept unless told otherwise: ``$XDG_CACHE_HOME/fit3d/maps`` or ``~/.cache/fit3d/maps``."""
    return cache_folder() / "maps"


class FeatureMapCache:
    """A folder of feature maps, keyed by the photo's pixels and the encoder's fingerprint.

    Maps are kept as fp16 and carry a checksum; entries that are truncated, altered or of another photo are
    computed again.  ``get`` gives the same bits whether the map was found or computed.  Nothing is held in
    memory, and several processes may share a folder.  Of an encoder that derives its maps from another one's
    the maps of that one are kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, image: Image, encoder: Encoder) -> Path:
        """The file of one map, whether it exists or not."""
        pixels = as_image(image)
        digest = hashlib.sha256(str(pixels.shape).encode())
        digest.update(pixels.data)
        subfolder = f"{UNSAFE.sub('_', encoder.name)}-{encoder.fingerprint()[:16]}"
        return self.folder / subfolder / f"{digest.hexdigest()[:32]}.safetensors"

    def get(self, image: Image, encoder: Encoder) -> Float[Tensor, "gh gw c"]:
        """The map of a photo ``[h, w, 3]`` uint8, from disk or computed and stored; float32 on the CPU.

        Raises:
            InputError: the encoder refuses the photo, or its values do not fit fp16.
            OSError: the folder cannot be written.
        """
        if isinstance(encoder, DerivedEncoder):
            return encoder.derive(self.get(image, encoder.inner)).cpu()
        path = self.path(image, encoder)
        stored = _read(path)
        if stored is None:
            computed = encoder.encode(image).detach().cpu()
            if not bool(computed.abs().amax() <= HALF_MAX):
                raise InputError(
                    f"A cached map must be finite and at most {HALF_MAX:.0f} (fp16), found "
                    f"{computed.abs().amax():g} from the encoder {encoder.name}."
                )
            stored = computed.to(torch.float16).contiguous()
            header = {"encoder": encoder.name, "checksum": _checksum(stored)}
            write_safetensors(path, {"map": stored}, header)
        return stored.to(torch.float32)


def _read(path: Path) -> Tensor | None:
    """The stored fp16 map, or None if there is none or it is damaged."""
    try:
        tensors, header = read_safetensors(path)
    except InputError:
        return None
    stored = tensors.get("map")
    if stored is None or header.get("checksum") != _checksum(stored):
        return None
    return stored


def _checksum(stored: Tensor) -> str:
    digest = hashlib.sha256(str(list(stored.shape)).encode())
    digest.update(stored.numpy().tobytes())
    return digest.hexdigest()
