"""Segment Anything: its predictor and its image encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from render.errors import InputError
from tests.test_encoders import photo
from tests.tiny_models import tiny_sam, tiny_sam_file
from uplift.encoders import load_encoder, sam
from uplift.encoders.sam import load_sam


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sam_file(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def library(weights: Path) -> SamPredictor:
    """The same weights in the library's own hands."""
    model = tiny_sam()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return SamPredictor(model)


def test_the_architecture_is_read_off_the_checkpoint(weights: Path, library: SamPredictor) -> None:
    loaded, image = load_sam(weights, "cpu"), photo(0)
    points, labels = np.array([[30.0, 20.0], [70.0, 40.0]]), np.array([1, 0])
    library.set_image(image)
    loaded.set_image(image)
    expected = library.predict(points, labels, return_logits=True)
    for made, wanted in zip(loaded.predict(points, labels, return_logits=True), expected, strict=True):
        np.testing.assert_array_equal(made, wanted)
    assert [block.window_size for block in loaded.model.image_encoder.blocks] == [3, 0]


@pytest.mark.parametrize("size", ["b", "l", "h"])
def test_the_published_sizes_would_load_by_the_same_road(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        published = sam_model_registry[f"vit_{size}"]()
        ours = sam._architecture(published.state_dict())
    shapes = [{name: tensor.shape for name, tensor in m.state_dict().items()} for m in (published, ours)]
    assert shapes[0] == shapes[1]
    heads, windows = (
        [[f(block) for block in m.image_encoder.blocks] for m in (published, ours)]
        for f in (lambda block: block.attn.num_heads, lambda block: block.window_size)
    )
    assert heads[0] == heads[1]
    assert windows[0] == windows[1]
    assert sam.WIDTHS[ours.image_encoder.pos_embed.shape[-1]] == size


def test_features_are_those_of_the_predictor(weights: Path, library: SamPredictor) -> None:
    encoder, image = load_encoder("sam-vit-b", weights, "cpu"), photo(1, 64, 96)
    assert (encoder.dimension, encoder.licence) == (32, "Apache-2.0")
    library.set_image(image)
    # 96 pixels become 128: 64 become 85, five patches and a third
    assert library.input_size == (85, 128)
    expected = library.get_image_embedding()[0].permute(1, 2, 0)
    made = encoder.encode(image)
    assert made.shape == (6, 8, 32)
    # Row 3 is promised at 3.5 / 6 of 85 pixels, 49.58; patch centres lie at 8, 24, 40, 56, ...
    share = (3.5 / 6 * 85 - 40) / 16
    torch.testing.assert_close(made[3], torch.lerp(expected[2], expected[3], share), rtol=1e-4, atol=1e-5)


def test_a_square_photo_gives_the_predictors_own_grid(weights: Path, library: SamPredictor) -> None:
    image = photo(2, 60, 60)
    library.set_image(image)
    made = load_encoder("sam-vit-b", weights, "cpu").encode(image)
    assert torch.equal(made, library.get_image_embedding()[0].permute(1, 2, 0))


def test_weights_out_of_reach_are_named_with_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(InputError) as caught:
        load_encoder("sam-vit-l", device="cpu")
    for word in ("sam_vit_l_0b3195.pth", "github.com/facebookresearch/segment-anything", "--weights", "no network"):
        assert word in str(caught.value)


def test_the_published_file_is_taken_from_torchs_cache(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "sam_vit_b_01ec64.pth").write_bytes(weights.read_bytes())
    expected = load_encoder("sam-vit-b", weights, "cpu").fingerprint()
    assert load_encoder("sam-vit-b", device="cpu").fingerprint() == expected


def test_weights_of_another_size_or_family_are_refused(weights: Path, tmp_path: Path) -> None:
    tensors = torch.load(weights, weights_only=True)
    wrong = {
        "headless.pth": ({k: v for k, v in tensors.items() if not k.startswith("mask_decoder")}, "lacks image_encoder"),
        "holed.pth": ({k: v for k, v in tensors.items() if "blocks.1.mlp.lin1.bias" not in k}, "1 tensors missing"),
        "no_neck.pth": ({k: v for k, v in tensors.items() if "neck" not in k}, "not a complete"),
        "more.pth": (tensors | {"extra": torch.zeros(1)}, r"1 unknown \(extra\)"),
    }
    for name, (content, complaint) in wrong.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(InputError, match=complaint):
            load_sam(tmp_path / name, "cpu")
    with pytest.raises(InputError, match="There is no file of weights"):
        load_sam(tmp_path / "absent.pth", "cpu")
    with pytest.raises(InputError, match="sizes b, l and h, found 'x'"):
        load_sam(size="x")


def test_the_name_must_be_that_of_the_published_size(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sam.WIDTHS, 32, "h")
    with pytest.raises(InputError, match="weights of sam-vit-h, but sam-vit-b was asked for"):
        load_encoder("sam-vit-b", weights, "cpu")
