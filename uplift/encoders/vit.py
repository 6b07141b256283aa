"""Vision transformers of timm: DINOv2, DINOv3, MAE, DeiT-III, the image towers of CLIP and whatever else it has."""

from __future__ import annotations

from contextlib import nullcontext
from copy import copy, deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from render.errors import InputError
from uplift.encoders._downloads import impatient_hub, out_of_reach
from uplift.encoders.base import Tokens, TrainableEncoder
from uplift.encoders.checkpoints import hash_of, read_weights
from uplift.encoders.vit_names import VIT_NAMES

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from timm.models import Eva, VisionTransformer

PREFIX = "timm:"
WINDOW, STRIDE = 840, 200  # pixels; LUDVIG, appendix C.1.2
# Position embeddings made for pictures this large (DINOv2: 518) bear larger windows; those for 224 do not.
LARGE_INPUT = 448
LICENCES = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "dinov3-license": "the DINOv3 License",
}
LOADING_ERRORS = (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError)


class ViTEncoder(TrainableEncoder):
    """Patch tokens of a vision transformer after its last norm, from overlapping windows (LUDVIG C.1.2).

    Tokens of classes and registers are dropped, position embeddings are interpolated to the size of the window.
    A photo keeps its scale: where its sides are no multiples of the patch it is padded on both sides by less than
    a patch, mirrored, and the tokens are interpolated linearly to the nodes that :meth:`encode` promises.  A
    photo that fits into one window has one node for every started patch, larger ones twice as many along
    each side with several windows.

    """

    def __init__(
        self,
        name: str,
        model: VisionTransformer | Eva,
        *,
        licence: str | None = None,
        window: int | None = None,
        stride: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        config: dict[str, Any] = model.pretrained_cfg
        self.name = name
        self.licence = licence
        self.dimension = int(model.num_features)
        self.patch = int(model.patch_embed.patch_size[0])
        side = min(config["input_size"][1:])
        free = side >= LARGE_INPUT or bool(getattr(model, "rope", None))
        window = (WINDOW if free else side) if window is None else window
        stride = (STRIDE if free else max(1, side // 2)) if stride is None else stride
        if window < self.patch or stride < 1 or stride > window:
            raise InputError(
                f"{name} takes windows of at least {self.patch} pixels and a stride of 1 pixel to the window's side, "
                f"found the window {window} and the stride {stride}."
            )
        self.window, self.stride = window // self.patch * self.patch, stride
        self._hash: str | None = hash_of(model)
        self._device = device or torch.device("cpu")
        self._model = model.eval().requires_grad_(False).to(self._device)
        self._mean, self._std = (torch.tensor(config[k], device=self._device)[:, None, None] for k in ("mean", "std"))

    @property
    def network(self) -> nn.Module:
        """timm's model."""
        return self._model

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self._device

    def copied(self) -> Self:
        """An encoder of its own, whose network has the same weights and may be trained."""
        result = copy(self)
        result._model = deepcopy(self._model).requires_grad_(True)
        result._hash = None  # of weights that will change
        return result

    def weights_hash(self) -> str:
        """SHA-256 of the weights."""
        return self._hash or hash_of(self._model)

    def options(self) -> dict[str, Any]:
        """Window and stride."""
        return {"window": self.window, "stride": self.stride}

    def settings(self) -> dict[str, Any]:
        """Windows and preprocessing."""
        return self.options() | {
            "patch": self.patch,
            "mean": self._mean.flatten().tolist(),
            "std": self._std.flatten().tolist(),
        }

    def tokens(self, pixels: Float[Tensor, "b 3 h w"]) -> Tokens:
        """Tokens of photos with values in [0, 1] after the last norm; differentiable, float32."""
        found = self._model.forward_features(self._normalised(pixels)).to(torch.float32)
        gh, gw = (length // self.patch for length in pixels.shape[2:])
        patches = found[:, self._model.num_prefix_tokens :].reshape(len(pixels), gh, gw, self.dimension)
        return Tokens(patches, found[:, 0] if self._has_cls else None)

    def layers(self, pixels: Float[Tensor, "b 3 h w"], count: int = 4, *, normed: bool = True) -> list[Tokens]:
        """Outputs of ``count`` evenly spaced blocks, the last one among them; differentiable, float32."""
        depth = len(self._model.blocks)
        if not 1 <= count <= depth:
            raise InputError(f"{self.name} has {depth} blocks, expected 1 to {depth} layers, found {count}.")
        found = self._model.forward_intermediates(
            self._normalised(pixels),
            indices=[(k + 1) * depth // count - 1 for k in range(count)],
            return_prefix_tokens=True,
            norm=normed,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return [
            Tokens(
                patches.permute(0, 2, 3, 1).to(torch.float32),
                prefix[:, 0].to(torch.float32) if self._has_cls else None,
            )
            for patches, prefix in found
        ]

    def tokens_of(self, pixels: Float[Tensor, "b 3 h w"], kept: Int[Tensor, "b k"]) -> Float[Tensor, "b k c"]:
        """Tokens of some patches of photos, as if there were no others; differentiable, float32.

        Where patches are embedded by convolutions that see beyond their borders, those see the mean colour there.

        Args:
            pixels: Photos with values in [0, 1] and sides that are multiples of the patch.
            kept: The patches, numbered row by row, of every photo.

        Raises:
            InputError: the network turns queries and keys by learned frequencies of its own for every block.
        """
        model: Any = self._model
        if getattr(model, "rope_mixed", False):
            raise InputError(f"{self.name} cannot be shown a part of its patches; choose another vision transformer.")
        grid = tuple(length // self.patch for length in pixels.shape[2:])
        seen = torch.zeros(len(pixels), grid[0] * grid[1], device=pixels.device).scatter_(1, kept, 1.0)
        shown = nn.functional.interpolate(seen.reshape(-1, 1, *grid), scale_factor=self.patch, mode="nearest")
        placed = model._pos_embed(model.patch_embed(self._normalised(pixels) * shown))
        x, rope = placed if isinstance(placed, tuple) else (placed, None)
        first = model.num_prefix_tokens
        x = torch.cat([x[:, :first], x[:, first:].gather(1, kept[..., None].expand(-1, -1, x.shape[2]))], 1)
        x = model.norm_pre(x)
        turns = {} if rope is None else {"rope": rope[kept][:, None]}  # alike for all heads
        for block in model.blocks:
            x = block(x, **turns)
        found: Tensor = model.norm(x)[:, first:].to(torch.float32)
        return found

    @property
    def _has_cls(self) -> bool:
        return getattr(self._model, "cls_token", None) is not None

    def _normalised(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        if pixels.shape[2] % self.patch or pixels.shape[3] % self.patch:
            raise InputError(
                f"{self.name} takes photos whose sides are multiples of {self.patch}, found {list(pixels.shape[2:])}."
            )
        return (pixels - self._mean) / self._std


def make_vit(name: str, weights: Path | None, device: torch.device, **options: Any) -> ViTEncoder:
    """The encoder ``timm:NAME`` or a short name, from a file of weights or timm's own download.

    Args:
        name: As the person typed it.
        weights: A file in timm's format or in that of the model's project (open_clip's for the towers of CLIP, such
            as ``timm:vit_base_patch16_clip_224.openai``); None = downloaded.
        device: Where it computes.
        options: ``window`` and ``stride``.

    Raises:
        InputError: unknown name, not a ViT, weights of another model, or the download is out of reach.
    """
    import timm

    known, page = VIT_NAMES.get(name, (name.removeprefix(PREFIX), None))
    config = _check(known)
    overlay: dict[str, Any] = {}
    if weights is not None:
        tensors = read_weights(weights)
        for head in ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias"):
            tensors.pop(head, None)
        if "visual.class_embedding" in tensors:  # a CLIP of open_clip: patches have no place in the space of texts
            tensors.pop("visual.proj", None)
        # Without classes on either side timm checks that every tensor of the model is there and fits.
        overlay = {"pretrained_cfg_overlay": {"state_dict": tensors, "num_classes": 0, "classifier": None}}
    try:
        with impatient_hub() if weights is None else nullcontext():
            model = timm.create_model(known, pretrained=True, num_classes=0, dynamic_img_size=True, **overlay)
    except (OSError, *LOADING_ERRORS) as error:
        if weights is not None:
            raise _wrong_weights(name, weights, error) from error
        hub = config.hf_hub_id
        origin = f"{hub} on the Hugging Face hub" if hub else "wherever that model was published"
        file = "model.safetensors"
        if page:
            official = f" ({Path(config.url).name})" if config.url else ""
            origin += f" or the model's own file{official} from {page}"
        raise out_of_reach(name, file, origin, error) from error
    licence = LICENCES.get(config.license or "", config.license or "unknown, see the page of the model")
    return ViTEncoder(name, model, licence=licence, device=device, **options)


def make_architecture(name: str, device: torch.device, **options: Any) -> ViTEncoder:
    """The encoder ``timm:NAME`` or a short name with random weights, drawn from torch's global generator.

    Args:
        name: As the person typed it.
        device: Where it computes.
        options: ``window`` and ``stride``.

    Raises:
        InputError: unknown name, or not a ViT.
    """
    import timm

    known = VIT_NAMES.get(name, (name.removeprefix(PREFIX), None))[0]
    _check(known)
    model = timm.create_model(known, pretrained=False, num_classes=0, dynamic_img_size=True)
    return ViTEncoder(name, model, device=device, **options)


def _check(known: str) -> Any:
    """timm's record of a model's weights; InputError unless timm has that ViT and can interpolate its positions."""
    import timm
    from timm.models import Eva, VisionTransformer

    architecture, _, tag = known.partition(".")
    if not timm.is_model(architecture):
        close = get_close_matches(architecture, timm.list_models("*vit*"), n=3)
        raise InputError(
            f"timm has no model {architecture!r}; {f'close to it are {chr(44).join(close)}; ' if close else ''}"
            f"timm.list_models() lists all."
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise InputError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(tags) or 'none'}.")
    try:
        with torch.device("meta"):  # the architecture without its memory
            model = timm.create_model(known, pretrained=False, num_classes=0, dynamic_img_size=True)
    except (TypeError, AttributeError) as error:
        raise InputError(f"{PREFIX}{known} is no ViT whose position embeddings can be interpolated.") from error
    if not isinstance(model, (VisionTransformer, Eva)) or len(set(model.patch_embed.patch_size)) > 1:
        raise InputError(f"{PREFIX}{known} is no ViT with square patches, found {type(model).__name__}.")
    return timm.get_pretrained_cfg(known)


def _wrong_weights(name: str, weights: Path, error: BaseException) -> InputError:
    text = " ".join(str(error).split())
    return InputError(
        f"{weights} does not hold the weights of {name} ({text[:160]}{'...' if len(text) > 160 else ''}); give the "
        "file of that model, or name the encoder that it belongs to."
    )
