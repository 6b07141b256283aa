"""Vision transformers of timm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from render.errors import InputError
from tests.test_encoders import photo
from tests.tiny_models import TINY_DINOV2, dinov2_official, tiny_vit_file
from uplift.encoders import encoder_entries, load_encoder
from uplift.encoders.vit import ViTEncoder
from uplift.encoders.vit_names import VIT_NAMES


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))


def normalised(image: np.ndarray, model: torch.nn.Module) -> torch.Tensor:
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    return ((torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std)[None]


@torch.no_grad()
def test_one_window_gives_what_timms_own_forward_pass_gives(vit: tuple[str, Path]) -> None:
    encoder = load_encoder(*vit, device="cpu")
    model = timm.create_model("test_vit", dynamic_img_size=True).eval()
    model.load_state_dict(load_file(vit[1]))
    image = photo(3, 96, 144)
    tokens = model.forward_features(normalised(image, model))[0, model.num_prefix_tokens :]
    torch.testing.assert_close(encoder.encode(image), tokens.reshape(6, 9, 64), rtol=0, atol=1e-6)


def test_an_encoder_knows_its_preprocessing_patch_dimension_and_licence(vit: tuple[str, Path]) -> None:
    encoder = load_encoder(*vit, device="cpu")
    assert isinstance(encoder, ViTEncoder)
    assert (encoder.patch, encoder.dimension, encoder.licence) == (16, 64, "Apache-2.0")
    assert (encoder.window, encoder.stride) == (160, 80)
    assert encoder.settings()["mean"] == [0.5, 0.5, 0.5]


def test_larger_photos_are_seen_in_windows_and_smaller_ones_at_once(vit: tuple[str, Path]) -> None:
    encoder = load_encoder(*vit, device="cpu")
    assert encoder.encode(photo(0, 160, 240)).shape == (10, 30, 64)
    assert encoder.encode(photo(0, 60, 90)).shape == (4, 6, 64)
    assert encoder.encode(photo(0, 6, 6)).shape == (1, 1, 64)
    whole = load_encoder(*vit, device="cpu", options={"window": 240})
    assert whole.encode(photo(0, 160, 240)).shape == (10, 15, 64)
    assert whole.fingerprint() != encoder.fingerprint()


def test_windows_that_make_no_sense_are_refused(vit: tuple[str, Path]) -> None:
    for options in ({"window": 8}, {"stride": 0}, {"window": 64, "stride": 65}):
        with pytest.raises(InputError, match="takes windows of at least 16 pixels"):
            load_encoder(*vit, device="cpu", options=options)
    with pytest.raises(InputError, match="no setting scales; it has window, stride"):
        load_encoder(*vit, device="cpu", options={"scales": [1]})


@torch.no_grad()
def expected_of_dinov2(tensors: dict[str, torch.Tensor], image: np.ndarray) -> torch.Tensor:
    """DINOv2's forward pass as its paper has it: positions on class and patches, then registers between them."""
    model = timm.create_model("tiny_dinov2", num_classes=0).eval()
    blocks = {name: tensor for name, tensor in tensors.items() if name in model.state_dict() and name != "pos_embed"}
    model.load_state_dict(blocks, strict=False)
    patches = model.patch_embed(normalised(image, model))
    positioned = torch.cat([tensors["cls_token"], patches], 1) + tensors["pos_embed"]
    tokens = torch.cat([positioned[:, :1], tensors["register_tokens"], positioned[:, 1:]], 1)
    return model.norm(model.blocks(tokens))[0, 5:].reshape(4, 4, 32)


def test_files_of_dinov2_itself_are_converted(tmp_path: Path) -> None:
    tensors = dinov2_official()
    torch.save(tensors, tmp_path / "dinov2.pth")
    image = photo(1, 56, 56)
    encoder = load_encoder(TINY_DINOV2, tmp_path / "dinov2.pth", "cpu")
    torch.testing.assert_close(encoder.encode(image), expected_of_dinov2(tensors, image), rtol=1e-4, atol=1e-4)


def test_training_files_of_dinov2_give_the_same_maps_and_fingerprint(tmp_path: Path) -> None:
    tensors = dinov2_official()
    plain, training = tmp_path / "plain.safetensors", tmp_path / "training.pth"
    save_file(tensors, plain)
    chunked = {f"backbone.{name.replace('blocks.', 'blocks.0.')}": tensor for name, tensor in tensors.items()}
    torch.save({"teacher": chunked | {"dino_head.last.weight": torch.zeros(3)}, "iteration": 5}, training)
    encoders = [load_encoder(TINY_DINOV2, path, "cpu") for path in (plain, training)]
    maps = [encoder.encode(photo(2, 56, 70)) for encoder in encoders]
    assert torch.equal(*maps)
    assert encoders[0].fingerprint() == encoders[1].fingerprint()


@torch.no_grad()
@pytest.mark.parametrize(("short", "known"), [("dinov3-small", "vit_small_patch16_dinov3"), ("deit3-small", None)])
def test_short_names_load_files_of_their_families(short: str, known: str | None, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(known or "deit3_small_patch16_224", num_classes=0, dynamic_img_size=True).eval()
    tensors = model.state_dict()
    if known is None:  # DeiT-III's own files nest the weights, with names of their own for the layer scale
        renamed = {f"ls{i}.gamma": f"gamma_{i}" for i in (1, 2)}
        for old, new in renamed.items():
            tensors = {name.replace(old, new): tensor for name, tensor in tensors.items()}
        torch.save({"model": tensors | {"head.weight": torch.zeros(1000, 384)}}, tmp_path / "w.pth")
    else:
        torch.save(tensors, tmp_path / "w.pth")
    image = photo(6, 48, 80)
    tokens = model.forward_features(normalised(image, model))[0, model.num_prefix_tokens :]
    encoder = load_encoder(short, tmp_path / "w.pth", "cpu")
    assert isinstance(encoder, ViTEncoder)
    torch.testing.assert_close(encoder.encode(image), tokens.reshape(3, 5, 384), rtol=1e-4, atol=1e-4)
    assert (encoder.window, encoder.stride) == ((832, 200) if known else (224, 112))


def test_other_weights_give_another_fingerprint(vit: tuple[str, Path], tmp_path: Path) -> None:
    tensors = load_file(vit[1])
    tensors["norm.bias"][3] += 1e-3
    save_file(tensors, tmp_path / "other.safetensors")
    first, second = (load_encoder(vit[0], path, "cpu") for path in (vit[1], tmp_path / "other.safetensors"))
    assert first.weights_hash() != second.weights_hash()
    assert first.fingerprint() != second.fingerprint()


@pytest.mark.parametrize(
    ("short", "dimension", "licence"),
    [
        ("dinov2-small", 384, "apache-2.0"),
        ("dinov2-reg-giant", 1536, "apache-2.0"),
        ("mae-base", 768, "cc-by-nc-4.0"),
        ("deit3-huge", 1280, "apache-2.0"),
        ("dinov3-large", 1024, "dinov3-license"),
    ],
)
def test_short_names_are_models_of_timm(short: str, dimension: int, licence: str) -> None:
    known, page = VIT_NAMES[short]
    with torch.device("meta"):
        model = timm.create_model(known, num_classes=0, dynamic_img_size=True)
    assert model.num_features == dimension
    record = timm.get_pretrained_cfg(known)
    assert record is not None
    assert record.license == licence
    assert page.startswith("https://github.com/")


def test_all_short_names_have_weights_in_timm() -> None:
    published = set(timm.list_pretrained())
    assert {known for known, _ in VIT_NAMES.values()} <= published
    assert set(VIT_NAMES) <= {entry.name for entry in encoder_entries()}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dinov2-small", ["timm/vit_small_patch14_dinov2.lvd142m", "dinov2_vits14_pretrain.pth", "github.com"]),
        ("timm:vit_tiny_patch16_224.augreg_in21k", ["timm/vit_tiny_patch16_224.augreg_in21k", "model.safetensors"]),
    ],
)
def test_weights_out_of_reach_are_named_with_where_they_come_from(name: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_encoder(name, device="cpu")
    text = str(caught.value)
    for word in [*words, name, "out of reach", "--weights"]:
        assert word in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("timm:vit_tiny_patch16_224", "does not hold the weights of timm:vit_tiny_patch16_224"),
        (TINY_DINOV2, "does not hold the weights of timm:tiny_dinov2"),
        ("timm:resnet18", "no ViT"),
        ("timm:swin_tiny_patch4_window7_224", "no ViT"),
        ("timm:vit_enormous", "timm has no model 'vit_enormous'"),
        ("timm:vit_tiny_patch16_224.mae", "timm has no weights 'mae' for vit_tiny_patch16_224; it has augreg"),
    ],
)
def test_wrong_weights_and_wrong_models_are_refused(vit: tuple[str, Path], name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_encoder(name, vit[1], "cpu")


def test_missing_tensors_are_noticed_although_the_head_is_not_needed(vit: tuple[str, Path], tmp_path: Path) -> None:
    tensors = load_file(vit[1])
    del tensors["blocks.1.attn.qkv.bias"]
    save_file(tensors, tmp_path / "holed.safetensors")
    with pytest.raises(InputError, match=r"Missing key.*blocks\.1\.attn\.qkv\.bias"):
        load_encoder(vit[0], tmp_path / "holed.safetensors", "cpu")
