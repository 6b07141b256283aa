"""Segment Anything (Kirillov et al. 2023): its predictor, and its image encoder as an encoder of features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from render.devices import resolve_device
from render.errors import InputError
from uplift.encoders._downloads import out_of_reach
from uplift.encoders.base import Encoder, Image, as_image
from uplift.encoders.checkpoints import hash_of, load_strictly, read_weights
from uplift.encoders.tiny_sam import NAME as TINY
from uplift.encoders.tiny_sam import STEM_KEY, load_tiny_sam
from uplift.encoders.windows import node_matrix

if TYPE_CHECKING:
    from jaxtyping import Float
    from segment_anything import SamPredictor
    from segment_anything.modeling import Sam

LICENCE = "Apache-2.0"
PROJECT = "https://github.com/facebookresearch/segment-anything"
URL = "https://dl.fbaipublicfiles.com/segment_anything/"
FILES = {"b": "sam_vit_b_01ec64.pth", "l": "sam_vit_l_0b3195.pth", "h": "sam_vit_h_4b8939.pth"}
WIDTHS = {768: "b", 1024: "l", 1280: "h"}  # channels of the published image encoders
# What the shapes of a checkpoint do not tell is the same in every published model.
DECODER_HEADS = 8


def load_sam(
    weights: str | Path | None = None, device: str | torch.device | None = None, *, size: str = "h"
) -> SamPredictor:
    """Segment Anything, ready for ``set_image`` and ``predict``.

    The architecture is read off the shapes in the checkpoint, so every size loads by the same road.

    Args:
        weights: A checkpoint in Segment Anything's own format, or one of ``tiny-sam``; that name itself = the
            bundled one; None = the published one of that ``size``, from torch's cache or downloaded.
        device: Where it computes; None = ``auto``.
        size: ``b``, ``l`` or ``h``; used only where there is no file.

    Raises:
        InputError: no such file, not a Segment Anything checkpoint, or the download is out of reach.
    """
    from segment_anything import SamPredictor

    if str(weights) == TINY:
        return load_tiny_sam(None, device)
    source = _downloaded(size) if weights is None else Path(weights)
    tensors = read_weights(source)
    if STEM_KEY in tensors:
        return load_tiny_sam(source, device)
    if "image_encoder.patch_embed.proj.weight" not in tensors or "mask_decoder.mask_tokens.weight" not in tensors:
        raise InputError(
            f"{source} is not a Segment Anything checkpoint: it lacks image_encoder.* or mask_decoder.*; "
            f"expected a file such as {FILES['b']} from {PROJECT}."
        )
    try:
        model = _architecture(tensors)
    except (KeyError, ZeroDivisionError) as error:
        raise InputError(
            f"{source} is not a complete Segment Anything checkpoint: it lacks {error}; expected a file such as "
            f"{FILES['b']} from {PROJECT}."
        ) from error
    load_strictly(model, tensors, "Segment Anything", source)
    return SamPredictor(model.to(resolve_device(device or "auto")).eval().requires_grad_(False))


def _downloaded(size: str) -> Path:
    """The published checkpoint in torch's cache, downloaded if it is not there yet."""
    if size not in FILES:
        raise InputError(f"Segment Anything comes in the sizes b, l and h, found {size!r}.")
    name = FILES[size]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL + name, str(path), hash_prefix=name[-10:-4], progress=False)
        except (OSError, RuntimeError) as error:
            raise out_of_reach(f"sam-vit-{size}", name, PROJECT, error) from error
    return path


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers ``prefix.0``, ``prefix.1``, ... there are."""
    return len({name[len(prefix) + 1 :].split(".")[0] for name in tensors if name.startswith(f"{prefix}.")})


def _architecture(tensors: Mapping[str, Tensor]) -> Sam:
    """An untrained Sam with the shapes of a checkpoint."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    blocks = "image_encoder.blocks"
    _, grid, _, width = tensors["image_encoder.pos_embed"].shape
    patch = tensors["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = _count(tensors, blocks)
    # Relative positions span 2 s - 1 offsets, s the side of the window that the block attends to.
    sides = [(tensors[f"{blocks}.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    channels = tensors["image_encoder.neck.0.weight"].shape[0]
    decoder = "mask_decoder.transformer.layers"
    side = grid * patch
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=width // tensors[f"{blocks}.0.attn.rel_pos_h"].shape[1],
            mlp_ratio=tensors[f"{blocks}.0.mlp.lin1.weight"].shape[0] / width,
            out_chans=channels,
            qkv_bias=f"{blocks}.0.attn.qkv.bias" in tensors,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=min(sides) if min(sides) < grid else 0,
            global_attn_indexes=tuple(i for i in range(depth) if sides[i] == grid),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(side, side),
            mask_in_chans=tensors["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=channels,
            transformer=TwoWayTransformer(
                depth=_count(tensors, decoder),
                embedding_dim=channels,
                num_heads=DECODER_HEADS,
                mlp_dim=tensors[f"{decoder}.0.mlp.lin1.weight"].shape[0],
            ),
            num_multimask_outputs=tensors["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            iou_head_depth=_count(tensors, "mask_decoder.iou_prediction_head.layers"),
            iou_head_hidden_dim=tensors["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
    )


class SamEncoder(Encoder):
    """The image encoder of Segment Anything, after its neck.

    The photo is resized so that its longest side is the model's (1024 pixels) and padded at the right and
    bottom, as the model's predictor does; what covers the padding is cut off.

    Attributes:
        patch: Pixels of the resized photo per node.
        predictor: The whole model.
    """

    licence = LICENCE

    def __init__(self, name: str, predictor: SamPredictor, size: str | None = None, *, licence: str = LICENCE) -> None:
        encoder = predictor.model.image_encoder
        width = encoder.pos_embed.shape[-1]
        found = WIDTHS.get(width)
        if size is not None and found not in (size, None):
            raise InputError(
                f"These are the weights of sam-vit-{found}, but {name} was asked for; use --encoder sam-vit-{found}."
            )
        self.name, self.licence = name, licence
        self.dimension = encoder.neck[-1].weight.shape[0]
        self.patch = encoder.img_size // encoder.pos_embed.shape[1]
        self.predictor = predictor
        self._hash = hash_of(predictor.model)

    def encode(self, image: Image) -> Float[Tensor, "gh gw c"]:
        """Describe a photo ``[h, w, 3]`` uint8: one node for every started patch of the resized photo."""
        self.predictor.set_image(as_image(image))
        features = self.predictor.get_image_embedding()[0].permute(1, 2, 0)
        height, width = self.predictor.input_size
        self.predictor.reset_image()
        rows = node_matrix(-(-height // self.patch), height, self.patch).to(features)
        columns = node_matrix(-(-width // self.patch), width, self.patch).to(features)
        return torch.einsum("yi,xj,ijc->yxc", rows, columns, features[: rows.shape[1], : columns.shape[1]])

    def weights_hash(self) -> str:
        """SHA-256 of the weights."""
        return self._hash

    def settings(self) -> dict[str, Any]:
        """Patch and input size."""
        return {"patch": self.patch, "side": self.predictor.model.image_encoder.img_size}
