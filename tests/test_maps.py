"""The disk cache of feature maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.test_encoders import photo
from uplift.encoders import Encoder, Image
from uplift.maps import FeatureMapCache, default_map_folder


class Counting(Encoder):
    """Means of 10 x 10 blocks; counts its calls."""

    name = "counting"
    dimension = 3

    def __init__(self, factor: float = 1.0) -> None:
        self.calls = 0
        self.factor = factor

    def encode(self, image: Image) -> torch.Tensor:
        self.calls += 1
        blocks = torch.as_tensor(image).float().reshape(6, 10, 9, 10, 3)
        return blocks.mean((1, 3)) * self.factor

    def settings(self) -> dict[str, float]:
        return {"factor": self.factor}


def test_a_map_is_computed_once(tmp_path: Path) -> None:
    encoder, cache = Counting(), FeatureMapCache(tmp_path / "maps")
    first = cache.get(photo(0), encoder)
    second = FeatureMapCache(tmp_path / "maps").get(torch.from_numpy(photo(0)), encoder)
    assert encoder.calls == 1
    assert torch.equal(first, second)
    assert first.dtype == torch.float32
    torch.testing.assert_close(first, Counting().encode(photo(0)), rtol=1e-3, atol=0)


def test_another_photo_or_another_setting_is_another_map(tmp_path: Path) -> None:
    encoder, cache = Counting(), FeatureMapCache(tmp_path)
    one_bit_more = photo(0)
    one_bit_more[3, 4, 1] ^= 1
    cache.get(photo(0), encoder)
    cache.get(one_bit_more, encoder)
    assert encoder.calls == 2
    doubled = Counting(2.0)
    torch.testing.assert_close(cache.get(photo(0), doubled), 2 * cache.get(photo(0), encoder))
    assert (encoder.calls, doubled.calls) == (2, 1)


def test_photos_with_the_same_bytes_in_another_shape_are_told_apart(tmp_path: Path) -> None:
    cache = FeatureMapCache(tmp_path)
    flat = np.zeros((60, 90, 3), np.uint8)
    assert cache.path(flat, Counting()) != cache.path(flat.reshape(90, 60, 3), Counting())


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: str) -> None:
    from safetensors.torch import save_file

    encoder, cache = Counting(), FeatureMapCache(tmp_path)
    whole = cache.get(photo(0), encoder)
    path = cache.path(photo(0), encoder)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "flipped":
        content[-5] ^= 0x40
        path.write_bytes(content)
    else:
        save_file({"map": torch.zeros(6, 9, 3)}, path)
    assert torch.equal(cache.get(photo(0), encoder), whole)
    assert encoder.calls == 2
    assert torch.equal(cache.get(photo(0), encoder), whole)
    assert encoder.calls == 2


def test_names_of_families_make_folders_that_every_file_system_takes(tmp_path: Path) -> None:
    encoder = Counting()
    encoder.name = "clip:ViT-B-16/laion2b"
    folder = FeatureMapCache(tmp_path).path(photo(0), encoder).parent
    assert folder.parent == tmp_path
    assert folder.name.startswith("clip_ViT-B-16_laion2b-")


def test_the_default_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_map_folder() == tmp_path / "fit3d" / "maps"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_map_folder() == Path("/home/somebody/.cache/fit3d/maps")


def test_a_cancelled_computation_leaves_nothing(tmp_path: Path) -> None:
    class Cancelled(Counting):
        def encode(self, image: Image) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureMapCache(tmp_path).get(photo(0), Cancelled())
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("factor", [1e6, float("nan")])
def test_values_beyond_fp16_are_refused(tmp_path: Path, factor: float) -> None:
    with pytest.raises(InputError, match="at most 65504"):
        FeatureMapCache(tmp_path).get(photo(0), Counting(factor))
    assert not list(tmp_path.rglob("*.safetensors"))
