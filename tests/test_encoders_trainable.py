"""Encoders whose networks run on batches with gradients."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch

from render.errors import InputError
from tests.test_encoders import photo
from tests.tiny_models import TINY_DINOV2, dinov2_official, tiny_clip, tiny_vit_file
from uplift.encoders import TrainableEncoder, load_encoder
from uplift.encoders.tiny_dino import make_untrained


def trainable(kind: str, folder: Path) -> TrainableEncoder:
    if kind == "tiny-dino":
        return make_untrained(torch.device("cpu"))
    if kind == "vit":
        name, weights = tiny_vit_file(folder)
    else:
        name, weights = TINY_DINOV2, folder / "dinov2.pth"
        torch.save(dinov2_official(), weights)
    encoder = load_encoder(name, weights, "cpu")
    assert isinstance(encoder, TrainableEncoder)
    return encoder


KINDS = ("tiny-dino", "vit", "dinov2")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_the_map_where_one_window_holds_the_photo(kind: str, tmp_path: Path) -> None:
    encoder = trainable(kind, tmp_path)
    image = photo(1, 2 * encoder.patch, 3 * encoder.patch)
    pixels = encoder.pixels(image)
    found = encoder.tokens(pixels[None])
    torch.testing.assert_close(found.patches[0], encoder.encode(image))
    assert found.cls is not None
    torch.testing.assert_close(found.cls[0], encoder.encode_global(image))


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_is_what_tokens_says(kind: str, tmp_path: Path) -> None:
    encoder = trainable(kind, tmp_path)
    pixels = encoder.pixels(photo(1, 4 * encoder.patch, 3 * encoder.patch))[None].repeat(2, 1, 1, 1)
    layers = encoder.layers(pixels, 2)
    expected = encoder.tokens(pixels)
    assert len(layers) == 2
    assert layers[0].patches.shape == (2, 4, 3, encoder.dimension)
    for found, wanted in zip(layers[-1], expected, strict=True):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(InputError, match="blocks, expected 1 to"):
        encoder.layers(pixels, 99)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_can_be_trained_and_leaves_the_original_as_it_was(kind: str, tmp_path: Path) -> None:
    encoder = trainable(kind, tmp_path)
    copy = encoder.copied()
    assert copy.fingerprint() == encoder.fingerprint()
    pixels = copy.pixels(photo(2, 2 * copy.patch, 2 * copy.patch))[None]
    before = encoder.tokens(pixels).patches
    copy.tokens(pixels).patches.square().mean().backward()
    with torch.no_grad():
        for parameter in copy.network.parameters():
            if parameter.grad is not None:
                parameter -= parameter.grad
    assert not encoder.tokens(pixels).patches.requires_grad
    assert torch.equal(encoder.tokens(pixels).patches, before)
    assert not torch.equal(copy.tokens(pixels).patches.detach(), before)
    assert copy.fingerprint() != encoder.fingerprint()


def test_photos_are_resized_to_whole_patches_and_shrunk_where_asked() -> None:
    encoder = make_untrained(torch.device("cpu"))
    assert encoder.grid(60, 90) == (8, 12)
    assert encoder.pixels(photo(0, 60, 90)).shape == (3, 64, 96)
    assert encoder.grid(60, 90, 48) == (4, 6)
    assert encoder.pixels(photo(0, 60, 90), 48).shape == (3, 32, 48)
    assert encoder.pixels(photo(0, 60, 90), 480).shape == (3, 64, 96)
    with pytest.raises(InputError, match="patches of 8 pixels"):
        encoder.pixels(photo(0, 60, 90), 4)
    with pytest.raises(InputError, match="sides are multiples of 8"):
        encoder.tokens(torch.zeros(1, 3, 60, 90))


def test_photos_have_no_global_feature_unless_the_network_has_one() -> None:
    assert load_encoder("rgb", device="cpu").encode_global(photo(0, 20, 20)) is None


def test_clips_patches_are_those_of_open_clips_own_file(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32").eval()
    torch.save(model.state_dict(), tmp_path / "open_clip.pt")
    encoder = load_encoder("timm:vit_base_patch32_clip_224.laion2b", tmp_path / "open_clip.pt", "cpu")
    assert isinstance(encoder, TrainableEncoder)
    pixels = torch.rand(1, 3, 224, 224)
    mean, std = (torch.tensor(encoder.settings()[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        found = encoder.tokens(pixels)
        expected = model.visual.forward_intermediates(
            (pixels - mean) / std, indices=1, normalize_intermediates=True, output_fmt="NCHW"
        )["image_intermediates"][0]
        projected = found.cls @ model.visual.proj
        embedded = model.encode_image((pixels - mean) / std)
    torch.testing.assert_close(found.patches, expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(projected, embedded, rtol=1e-4, atol=1e-4)


def test_clip_embeds_whole_photos_too(tmp_path: Path) -> None:
    encoder = load_encoder(*tiny_clip(tmp_path), device="cpu")
    found = encoder.encode_global(photo(0, 40, 30))
    assert found is not None
    assert found.shape == (encoder.dimension,)
    assert float(found.norm()) == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(found, encoder.encode_global(photo(1, 40, 30)))
