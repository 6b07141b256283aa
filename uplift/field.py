"""Features on Gaussians, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from render.errors import InputError
from render.files import atomic_file
from render.gaussians import Gaussians
from uplift.encoders.base import Encoder
from uplift.encoders.registry import load_encoder
from uplift.pca import PCAColours

if TYPE_CHECKING:
    from jaxtyping import Float

FORMAT = 1
HALF_MAX = 65504.0
PCA_PREFIX, STATE_PREFIX = "pca.", "encoder."
AGAIN = "make the field again with fit3d lift"


@dataclass(frozen=True, eq=False)
class FeatureField:
    """One feature per Gaussian, in the order of the scene's file.

    Attributes:
        values: Features; ``[n, c]`` float.  Zero where nothing was seen.
        weights: Sum of the blending weights ``w_i(d, p)`` over all views, 0 = never seen; ``[n]`` float.
        encoder: Name of the encoder that made the feature maps.
        metadata: JSON values: ``fingerprint`` (hash of the encoder's weights, settings and state), ``weights``
            (hash of its weights alone), ``options`` (its settings that a person may choose), ``licence``, how
            it was lifted, and whatever else belongs to it.
        tensors: Extra tensors by name: ``encoder.*`` is the encoder's fitted state, ``decoder.weight``
            ``[C, c, 3, 3]`` and ``decoder.bias`` ``[C]`` the decoder of a learned field.
        pca: Basis of the PCA colours, None until one is fitted (:meth:`with_pca`).

    Raises:
        InputError: a shape does not fit, or a name of an extra tensor is reserved.
    """

    values: Float[Tensor, "n c"]
    weights: Float[Tensor, " n"]
    encoder: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    pca: PCAColours | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] == 0:
            raise InputError(f"FeatureField.values must have shape [n, c], found {list(self.values.shape)}.")
        n, found = len(self.values), list(self.weights.shape)
        if found != [n]:
            raise InputError(f"FeatureField.weights must have shape [{n}], found {found}.")
        reserved = [n for n in self.tensors if n in ("values", "weights") or n.startswith(PCA_PREFIX)]
        if reserved:
            raise InputError(f"The tensor names {', '.join(reserved)} are reserved; choose others.")
        if self.pca is not None and len(self.pca.mean) != self.dimension:
            raise InputError(f"The PCA basis has {len(self.pca.mean)} channels, but the field has {self.dimension}.")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dimension(self) -> int:
        """Channels ``c``."""
        return int(self.values.shape[1])

    @property
    def licence(self) -> str | None:
        """Licence of the encoder's weights, None where there are none."""
        return self.metadata.get("licence")

    @property
    def fingerprint(self) -> str | None:
        """Hash of the encoder's weights, settings and state, None where the maps came from elsewhere."""
        return self.metadata.get("fingerprint")

    def to(self, device: torch.device | str) -> FeatureField:
        """Move values and weights."""
        return replace(self, values=self.values.to(device), weights=self.weights.to(device))

    def carried_by(self, gaussians: Gaussians) -> tuple[Gaussians, Float[Tensor, "m c"]]:
        """What to render the field with: all Gaussians, or those that pruning kept, and their values.

        The pruned ones have no features and would only darken what lies behind them.
        """
        self.check(len(gaussians))
        values = self.values.to(gaussians.device)
        if not self.metadata.get("keep"):
            return gaussians, values
        kept = (self.weights > 0).to(gaussians.device)
        return gaussians[kept], values[kept]

    def with_pca(self) -> FeatureField:
        """The field with a basis of PCA colours: its own if it has one, else a fitted one."""
        if self.pca is not None:
            return self
        return replace(self, pca=PCAColours.fit(self.values, self.weights))

    def colours(self, values: Float[Tensor, "... c"] | None = None) -> Float[Tensor, "... 3"]:
        """PCA colours in [0, 1] of the Gaussians, or of other features (a rendering, a map), in one basis."""
        pca = self.pca or PCAColours.fit(self.values, self.weights)
        return pca.colours(self.values if values is None else values)

    def load_encoder(self, weights: str | Path | None = None, device: str | torch.device | None = None) -> Encoder:
        """The encoder that made the maps, fitted state included, so that new photos get comparable maps.

        Raises:
            InputError: the encoder is unknown, or its weights or settings are not those of the field.
        """
        state = {n.removeprefix(STATE_PREFIX): t for n, t in self.tensors.items() if n.startswith(STATE_PREFIX)}
        encoder = load_encoder(self.encoder, weights, device, state=state, options=self.metadata.get("options"))
        found = encoder.fingerprint()
        if self.fingerprint is not None and found != self.fingerprint:
            raise InputError(
                f"The field was made by {self.encoder} with the fingerprint {self.fingerprint[:12]}, found "
                f"{found[:12]}: give the same weights, or lift again."
            )
        return encoder

    def check(self, n: int) -> None:
        """Raise InputError unless the field belongs to ``n`` Gaussians."""
        if len(self) != n:
            raise InputError(f"The field has features for {len(self)} Gaussians, but the scene has {n}; {AGAIN}.")

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, values as fp16; an existing file is replaced at once or not at all.

        Raises:
            InputError: values are not finite or too large for fp16.
            OSError: the disk is full, or the folder cannot be written.
        """
        if len(self) and not bool(self.values.detach().abs().amax() <= HALF_MAX):
            raise InputError(
                f"A field is saved as fp16: values must be finite and at most {HALF_MAX:.0f}, "
                f"found {self.values.detach().abs().amax():g}; scale the features."
            )
        saved = self.with_pca() if bool((self.weights > 0).any()) else self
        tensors = {name: _plain(tensor) for name, tensor in saved.tensors.items()}
        tensors["values"] = _plain(saved.values.detach().to(torch.float16))
        tensors["weights"] = _plain(saved.weights.detach().to(torch.float32))
        if saved.pca is not None:
            tensors |= {PCA_PREFIX + name: _plain(tensor) for name, tensor in saved.pca.tensors().items()}
        header = {
            "format": FORMAT,
            "encoder": self.encoder,
            "dimension": self.dimension,
            "gaussians": len(self),
            "metadata": dict(self.metadata),
        }
        write_safetensors(path, tensors, header)

    @staticmethod
    def load(path: str | Path, n: int | None = None) -> FeatureField:
        """Read a field, values as float32.

        Args:
            path: A file that :meth:`save` wrote.
            n: How many Gaussians the scene has; None = not checked.

        Raises:
            InputError: no such file, truncated, not a field, inconsistent, or of another scene.
        """
        tensors, header = read_safetensors(path)
        missing = {"values", "weights"} - set(tensors) or {"encoder", "dimension", "gaussians"} - set(header)
        if missing:
            raise InputError(f"{path} is not a feature field: it lacks {', '.join(sorted(missing))}; {AGAIN}.")
        values, weights = tensors.pop("values"), tensors.pop("weights")
        stated = [header["gaussians"], header["dimension"]]
        if list(values.shape) != stated:
            raise InputError(
                f"{path} is damaged: its header says {stated}, its values are {list(values.shape)}; {AGAIN}."
            )
        basis = {k.removeprefix(PCA_PREFIX): v for k, v in tensors.items() if k.startswith(PCA_PREFIX)}
        loaded = FeatureField(
            values.to(torch.float32),
            weights,
            header["encoder"],
            header.get("metadata", {}),
            {k: v for k, v in tensors.items() if not k.startswith(PCA_PREFIX)},
            PCAColours.from_tensors(basis) if basis else None,
        )
        if n is not None:
            loaded.check(n)
        return loaded


def write_safetensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header atomically.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_file(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata={"fit3d": json.dumps(dict(header), sort_keys=True)})
        except SafetensorError as error:
            raise OSError(f"{path} could not be written: {error}.") from error


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_safetensors` wrote.

    Raises:
        InputError: no such file, truncated, or not written by fit3d.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"There is no file {path}{', but a folder' if Path(path).is_dir() else ''}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
    except SafetensorError as error:
        raise InputError(f"{path} is truncated or not a safetensors file ({error}); make it again.") from error
    try:
        header = json.loads(metadata.get("fit3d", ""))
    except ValueError as error:
        raise InputError(
            f"{path} is a safetensors file without fit3d's header; expected one that fit3d wrote."
        ) from error
    return tensors, header


def _plain(tensor: Tensor) -> Tensor:
    """Contiguous, on the CPU, and sharing memory with no other tensor, as safetensors demands."""
    plain = tensor.detach().cpu().contiguous()
    shared = plain.untyped_storage().nbytes() != plain.numel() * plain.element_size()
    return plain.clone() if shared else plain
