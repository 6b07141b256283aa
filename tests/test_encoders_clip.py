"""CLIP through open_clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from render.errors import InputError
from tests.test_encoders import photo
from tests.tiny_models import TINY_CLIP, tiny_clip
from uplift.encoders import clip, load_encoder
from uplift.encoders.clip import ClipEncoder, crop_starts


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))[1]


def load(weights: Path, **options: object) -> ClipEncoder:
    encoder = load_encoder(f"clip:{TINY_CLIP}", weights, "cpu", options=options)
    assert isinstance(encoder, ClipEncoder)
    return encoder


@pytest.fixture(scope="module")
def library(weights: Path) -> torch.nn.Module:
    """The same weights in open_clip's own hands."""
    model = open_clip.create_model(TINY_CLIP).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


@torch.no_grad()
def test_texts_are_embedded_as_open_clip_does(weights: Path, library: torch.nn.Module) -> None:
    texts = ["a fox", "the wall behind it", "stuff"]
    expected = library.encode_text(open_clip.get_tokenizer(TINY_CLIP)(texts), normalize=True)
    made = load(weights).encode_text(texts)
    torch.testing.assert_close(made, expected)
    torch.testing.assert_close(made.norm(dim=1), torch.ones(3))


@torch.no_grad()
def test_a_crop_of_the_models_size_is_embedded_as_open_clip_does(weights: Path, library: torch.nn.Module) -> None:
    image = photo(0, 32, 32)
    mean, std = (torch.tensor(library.visual.preprocess_cfg[key])[:, None, None] for key in ("mean", "std"))
    pixels = (torch.from_numpy(image).permute(2, 0, 1) / 255 - mean) / std
    made = load(weights, scales=[1.0]).encode(image)
    assert made.shape == (2, 2, 24)
    torch.testing.assert_close(made[0, 0], library.encode_image(pixels[None], normalize=True)[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_crops_are_resized_as_by_the_models_own_preprocessing(weights: Path, library: torch.nn.Module) -> None:
    from PIL import Image

    image = photo(1, 80, 80)
    preprocess = open_clip.create_model_and_transforms(TINY_CLIP)[2]
    expected = library.encode_image(preprocess(Image.fromarray(image))[None], normalize=True)[0]
    made = load(weights, scales=[1.0]).encode(image)[0, 0]
    assert float(made @ expected) > 0.9999


@torch.no_grad()
def test_the_pyramid_averages_crops_interpolated_to_one_grid(weights: Path) -> None:
    image = photo(2, 64, 64)
    encoder = load(weights, scales=[0.5, 1.0])
    made = encoder.encode(image)
    assert made.shape == (4, 4, 24)
    whole = load(weights, scales=[1.0]).encode(image)[0, 0]
    fine = load(weights, scales=[0.5]).encode(image)
    torch.testing.assert_close(made, (fine + whole) / 2)
    # Crops of 32 pixels begin at 0, 16 and 32: their centres are 16, 32, 48; the first node lies at 8.
    first, second = (load(weights, scales=[1.0]).encode(image[:32, x : x + 32])[0, 0] for x in (0, 16))
    torch.testing.assert_close(fine[0, 0], first)
    torch.testing.assert_close(fine[0, 1], (first + second) / 2)  # at 24, half way


def test_the_default_pyramid_has_seven_sizes_that_overlap_by_half(weights: Path) -> None:
    encoder = load(weights)
    np.testing.assert_allclose(encoder.scales, np.linspace(0.05, 0.5, 7))
    assert encoder.encode(photo(0, 120, 180)).shape == (40, 60, 24)
    starts = crop_starts(120, 6, 0.5)
    assert (starts[0], starts[-1]) == (0, 114)
    assert max(np.diff(starts)) <= 3


def test_a_uniform_photo_has_the_same_feature_everywhere_with_length_one(weights: Path) -> None:
    made = load(weights).encode(np.full((60, 90, 3), 90, np.uint8))
    torch.testing.assert_close(made, made[0, 0].expand_as(made), rtol=0, atol=1e-5)
    torch.testing.assert_close(made[0, 0].norm(), torch.tensor(1.0))


def test_batches_change_nothing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(weights, scales=[0.3])
    whole = encoder.encode(photo(4))
    monkeypatch.setattr(clip, "PIXELS_PER_BATCH", 3 * 32 * 32)
    torch.testing.assert_close(encoder.encode(photo(4)), whole, rtol=0, atol=1e-5)


def test_scales_are_settings(weights: Path) -> None:
    assert load(weights).fingerprint() != load(weights, scales=[0.5]).fingerprint()
    assert load(weights).fingerprint() == load(weights, **load(weights).options()).fingerprint()
    bads: list[list[float]] = [[], [0.0], [1.5]]
    for bad in bads:
        with pytest.raises(InputError, match="Crops take parts between 0 and 1"):
            load(weights, scales=bad)


def test_texts_must_be_a_list(weights: Path) -> None:
    encoder = load(weights)
    with pytest.raises(InputError, match=r"a list of texts, found \[\]"):
        encoder.encode_text([])
    with pytest.raises(InputError, match="a list of texts, found 'fox'"):
        encoder.encode_text("fox")


@pytest.mark.usefixtures("offline")
def test_weights_out_of_reach_are_named_with_where_they_come_from() -> None:
    with pytest.raises(InputError) as caught:
        load_encoder("clip:ViT-B-16/laion2b_s34b_b88k", device="cpu")
    for word in ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", "open_clip_model.safetensors", "github.com", "--weights"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("clip:ViT-B-160", "open_clip has no model 'ViT-B-160'; it has ViT-B-16"),
        ("clip:ViT-B-16/laion", "no weights 'laion' for ViT-B-16; it has openai"),
        ("clip:ViT-B-16", r"not which weights.*clip:ViT-B-16/PRETRAINED"),
    ],
)
def test_unknown_models_and_weights_are_refused_with_the_known_ones(name: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load_encoder(name, device="cpu")


def test_weights_of_another_model_are_refused(weights: Path, tmp_path: Path) -> None:
    tensors = torch.load(weights, weights_only=True)
    del tensors["visual.proj"]
    torch.save(tensors, tmp_path / "holed.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for name in ("holed.pt", "text.pt"):
        with pytest.raises(InputError, match=f"{name} could not be loaded as clip:{TINY_CLIP}"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("tag", "licence"), [("laion2b_s34b_b88k", "MIT"), ("openai", "MIT"), ("webli", "Apache-2.0"), (None, "unknown")]
)
def test_licences_follow_from_the_name_of_the_weights(tag: str | None, licence: str) -> None:
    assert clip._licence(tag).startswith(licence)
