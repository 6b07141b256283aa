"""Small networks with random weights, saved as checkpoints in their families' own formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

TINY_VIT = "timm:test_vit"
TINY_DINOV2 = "timm:tiny_dinov2"
TINY_CLIP = "tiny-clip"


def tiny_vit_file(folder: Path) -> tuple[str, Path]:
    """A ViT of timm: the name for ``load_encoder``, and its weights; 64 channels, patches of 16 pixels."""
    with _seeded():
        model = timm.create_model("test_vit", pretrained=False)
    path = folder / "tiny_vit.safetensors"
    save_file(model.state_dict(), path)
    return TINY_VIT, path


# timm looks for a record of this name in the module that registers a model.
default_cfgs = generate_default_cfgs(
    {
        "tiny_dinov2.random": {
            "input_size": (3, 56, 56),
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "license": "apache-2.0",
            "hf_hub_id": "timm/",
            "num_classes": 0,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


@register_model
def tiny_dinov2(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """Two blocks in the manner of DINOv2 with registers; patches of 14 pixels, made for 56 pixels."""
    shape = {"img_size": 56, "patch_size": 14, "embed_dim": 32, "depth": 2, "num_heads": 2}
    manner = {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}
    return build_model_with_cfg(
        VisionTransformer,
        "tiny_dinov2",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        **(shape | manner | options),
    )


def dinov2_official() -> dict[str, torch.Tensor]:
    """Random weights of :func:`tiny_dinov2` as DINOv2's own files name them."""
    with _seeded():
        model = timm.create_model("tiny_dinov2", num_classes=0)
        tensors = {name: torch.randn_like(tensor) * 0.1 for name, tensor in model.state_dict().items()}
        for name in list(tensors):
            if name.endswith("gamma") or "norm" in name:
                tensors[name] = tensors[name] + 1
        tensors["register_tokens"] = tensors.pop("reg_token")
        tensors["pos_embed"] = torch.randn(1, 17, 32)
        tensors["mask_token"] = torch.zeros(1, 32)
    return tensors


def tiny_clip(folder: Path) -> tuple[str, Path]:
    """A CLIP of open_clip: the name for ``load_encoder``, and its weights; 24 channels, pictures of 32 pixels.

    Registers the model with open_clip, for this process.
    """
    import open_clip

    _register_tiny_clip()
    with _seeded():
        model = open_clip.create_model(TINY_CLIP)
    path = folder / "tiny_clip.pt"
    torch.save(model.state_dict(), path)
    return f"clip:{TINY_CLIP}", path


@cache
def _register_tiny_clip() -> None:
    from tempfile import TemporaryDirectory

    import open_clip

    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    with TemporaryDirectory() as folder:
        (Path(folder) / f"{TINY_CLIP}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder)


def tiny_sam_file(folder: Path) -> Path:
    """A checkpoint of a small Segment Anything: pictures of 128 pixels, patches of 16, 32 channels."""
    with _seeded():
        model = tiny_sam()
        for name, parameter in model.named_parameters():
            if "pos" in name:  # zero as they are made: a wrong order would go unnoticed
                torch.nn.init.normal_(parameter, std=0.1)
    path = folder / "tiny_sam.pth"
    torch.save(model.state_dict(), path)
    return path


def tiny_sam() -> Sam:
    """Segment Anything with two small blocks, one of them windowed."""
    side, patch, channels = 128, 16, 32
    grid = side // patch
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            patch_size=patch,
            embed_dim=32,
            depth=2,
            num_heads=2,
            out_chans=channels,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels, image_embedding_size=(grid, grid), input_image_size=(side, side), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=64, num_heads=8),
            transformer_dim=channels,
            iou_head_depth=3,
            iou_head_hidden_dim=32,
        ),
    ).eval()


@contextmanager
def _seeded() -> Iterator[None]:
    """Models made inside get the same random weights every time; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
