"""The encoders by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.devices import resolve_device
from render.errors import InputError
from uplift.encoders.base import Encoder
from uplift.encoders.vit_names import VIT_NAMES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Factory = Callable[..., Encoder]
"""``make(weights, device, **options)``; a family's gets the whole name first."""


@dataclass(frozen=True)
class EncoderEntry:
    """One encoder of the registry.

    Attributes:
        name: What the person types.
        summary: One line for lists and help texts.
        make: ``make(weights, device, **options)``; imports the encoder's libraries when it is called, not before.
        takes_weights: Whether a file of weights may be given.
        options: Names of the settings that ``make`` takes.
    """

    name: str
    summary: str
    make: Factory
    takes_weights: bool = True
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderFamily:
    """Encoders whose names begin alike and go on with a name that some library knows.

    Attributes:
        prefix: How the names begin, with a colon at the end.
        pattern: How such a name looks, for lists and messages.
        summary: One line for lists and help texts.
        make: ``make(name, weights, device, **options)``.
        options: Names of the settings that ``make`` takes.
    """

    prefix: str
    pattern: str
    summary: str
    make: Factory
    options: tuple[str, ...] = ()


VIT_OPTIONS = ("window", "stride")
CLIP_OPTIONS = ("scales", "overlap")
_ENTRIES: dict[str, EncoderEntry] = {}
_FAMILIES: dict[str, EncoderFamily] = {}


def register_encoder(entry: EncoderEntry) -> None:
    """Add an encoder.

    Raises:
        InputError: the name is taken.
    """
    if entry.name in _ENTRIES or any(entry.name.startswith(prefix) for prefix in _FAMILIES):
        raise InputError(f"The encoder name {entry.name!r} is taken; choose another one.")
    _ENTRIES[entry.name] = entry


def register_family(family: EncoderFamily) -> None:
    """Add a family of encoders.

    Raises:
        InputError: the prefix is taken, or has no colon at its end.
    """
    if family.prefix in _FAMILIES or not family.prefix.endswith(":"):
        raise InputError(f"A family needs a prefix of its own that ends in a colon, found {family.prefix!r}.")
    _FAMILIES[family.prefix] = family


def encoder_entries() -> list[EncoderEntry]:
    """All encoders that have a name of their own, by name."""
    return [_ENTRIES[name] for name in sorted(_ENTRIES)]


def encoder_families() -> list[EncoderFamily]:
    """All families, by prefix."""
    return [_FAMILIES[prefix] for prefix in sorted(_FAMILIES)]


def load_encoder(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    state: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Encoder:
    """Make an encoder ready to use.

    Args:
        name: A name of :func:`encoder_entries`, or one of a family, such as ``timm:NAME``.
        weights: A local file of weights; None = the encoder's own.
        device: Where it computes; None = ``auto``.
        state: What an earlier ``fit`` learned (:meth:`Encoder.state`), so that maps come out the same.
        options: Settings of the encoder, by the names of its ``options()``.

    Raises:
        InputError: unknown name (the known ones are listed), weights that do not exist, are not taken, belong to
            another model or are out of reach, or options that the encoder does not have.
    """
    family = next((f for prefix, f in _FAMILIES.items() if name.startswith(prefix)), None)
    entry = None if family is not None else _ENTRIES.get(name)
    found = family or entry
    if found is None:
        raise InputError(_unknown(name))
    if weights is not None and entry is not None and not entry.takes_weights:
        raise InputError(f"The encoder {name} has no weights, found {weights}; leave the weights out.")
    if weights is not None and not Path(weights).is_file():
        raise InputError(f"There is no file of weights at {weights}.")
    foreign = sorted(set(options or {}) - set(found.options))
    if foreign:
        raise InputError(
            f"The encoder {name} has no setting {', '.join(foreign)}; it has {', '.join(found.options) or 'none'}."
        )
    path, where = None if weights is None else Path(weights), resolve_device(device or "auto")
    arguments = (path, where) if entry is not None else (name, path, where)
    encoder = found.make(*arguments, **dict(options or {}))
    if not state:
        return encoder
    from uplift.reduction import restored

    return restored(encoder, state)


def _unknown(name: str) -> str:
    close = get_close_matches(name, list(_ENTRIES), n=1)
    families = ", ".join(f"{family.pattern} ({family.summary})" for family in encoder_families())
    return (
        f"Unknown encoder {name!r}{f' (did you mean {close[0]}?)' if close else ''}; the known ones are "
        f"{', '.join(sorted(_ENTRIES))}, and {families}."
    )


def _make_rgb(weights: Path | None, device: torch.device) -> Encoder:  # noqa: ARG001  the signature is Factory
    from uplift.encoders.rgb import RGBEncoder

    return RGBEncoder(device)


def _make_dense_descriptors(weights: Path | None, device: torch.device) -> Encoder:  # noqa: ARG001  see above
    from uplift.encoders.dense_descriptors import DenseDescriptors

    return DenseDescriptors(device=device)


def _make_clip(name: str, weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.clip import make_clip

    return make_clip(name, weights, device, **options)


def _make_finetuned(name: str, weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.finetuned import make_finetuned

    return make_finetuned(name, weights, device, **options)


def _make_distilled(name: str, weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.distilled import make_distilled

    return make_distilled(name, weights, device, **options)


def _make_mask3d(name: str, weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.mask3d import make_mask3d

    return make_mask3d(name, weights, device, **options)


def _make_vit(name: str, weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.vit import make_vit

    return make_vit(name, weights, device, **options)


def _make_tiny_dino(weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.tiny_dino import make_tiny_dino

    return make_tiny_dino(weights, device, **options)


def _make_untrained(weights: Path | None, device: torch.device, **options: Any) -> Encoder:  # noqa: ARG001  see above
    from uplift.encoders.tiny_dino import make_untrained

    return make_untrained(device, **options)


def _make_tiny_depth(weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.tiny_depth import make_tiny_depth

    return make_tiny_depth(weights, device, **options)


def _make_tiny_clip(weights: Path | None, device: torch.device, **options: Any) -> Encoder:
    from uplift.encoders.tiny_clip import make_tiny_clip

    return make_tiny_clip(weights, device, **options)


def _make_tiny_sam(weights: Path | None, device: torch.device) -> Encoder:
    from uplift.encoders.tiny_sam import make_tiny_sam_encoder

    return make_tiny_sam_encoder(weights, device)


def _sam_maker(size: str) -> Factory:
    def make(weights: Path | None, device: torch.device) -> Encoder:
        from uplift.encoders.sam import SamEncoder, load_sam

        return SamEncoder(f"sam-vit-{size}", load_sam(weights, device, size=size), size)

    return make


register_encoder(EncoderEntry("rgb", "the photo's colours, at full size", _make_rgb, takes_weights=False))
register_encoder(
    EncoderEntry(
        "dense-descriptors",
        "multi-scale DAISY and colour, reduced by a PCA over the scene; no weights",
        _make_dense_descriptors,
        takes_weights=False,
    )
)
register_encoder(
    EncoderEntry(
        "tiny-dino",
        "small ViT trained without labels on synthetic rooms; bundled",
        _make_tiny_dino,
        options=VIT_OPTIONS,
    )
)
register_encoder(
    EncoderEntry(
        "tiny-dino-untrained",
        "the same network with random weights, for comparison",
        _make_untrained,
        takes_weights=False,
        options=VIT_OPTIONS,
    )
)
register_encoder(
    EncoderEntry(
        "tiny-depth",
        "small ViT trained for depth in metres on synthetic rooms; made by fit3d tiny depth",
        _make_tiny_depth,
        options=VIT_OPTIONS,
    )
)
register_encoder(
    EncoderEntry("tiny-clip", "small CLIP trained on synthetic rooms; bundled", _make_tiny_clip, options=("heights",))
)
register_encoder(
    EncoderEntry("tiny-sam", "image encoder of a small SAM trained on synthetic rooms; bundled", _make_tiny_sam)
)
for _size in ("b", "l", "h"):
    register_encoder(
        EncoderEntry(f"sam-vit-{_size}", f"image encoder of Segment Anything, ViT-{_size.upper()}", _sam_maker(_size))
    )
for _name, (_known, _) in VIT_NAMES.items():
    register_encoder(EncoderEntry(_name, f"{_known} of timm", partial(_make_vit, _name), options=VIT_OPTIONS))
register_family(
    EncoderFamily(
        "timm:", "timm:NAME", "any ViT of timm, such as timm:vit_base_patch16_siglip_512", _make_vit, VIT_OPTIONS
    )
)
register_family(
    EncoderFamily(
        "clip:",
        "clip:MODEL/PRETRAINED",
        "any CLIP of open_clip, such as clip:ViT-B-16/laion2b_s34b_b88k",
        _make_clip,
        CLIP_OPTIONS,
    )
)
register_family(
    EncoderFamily(
        "fit3d:",
        "fit3d:FILE",
        "what `fit3d finetune` wrote; --weights are the original encoder's",
        _make_finetuned,
        (*VIT_OPTIONS, "assembly"),
    )
)
register_family(
    EncoderFamily(
        "distilled:",
        "distilled:FILE",
        "what `fit3d distill` wrote; distilled:FILE@TEACHER for a teacher's features",
        _make_distilled,
        VIT_OPTIONS,
    )
)
register_family(
    EncoderFamily(
        "mask3d:",
        "mask3d:FILE",
        "the colour encoder that `fit3d pretrain mask3d` wrote",
        _make_mask3d,
        VIT_OPTIONS,
    )
)
