"""Small networks with random weights, saved as checkpoints in their families' own formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

TINY_VIT = "timm:test_vit"
TINY_CLIP = "tiny-clip"


def tiny_vit_file(folder: Path) -> tuple[str, Path]:
    """A ViT of timm: the name for ``load_encoder``, and its weights; 64 channels, patches of 16 pixels."""
    import timm
    from safetensors.torch import save_file

    with _seeded():
        model = timm.create_model("test_vit", pretrained=False)
    path = folder / "tiny_vit.safetensors"
    save_file(model.state_dict(), path)
    return TINY_VIT, path


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
