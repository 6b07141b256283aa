"""The encoder registry, rgb and dense-descriptors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from render.camera import Camera
from render.errors import InputError
from render.views import View
from uplift.encoders import (
    EncoderEntry,
    EncoderFamily,
    encoder_entries,
    encoder_families,
    fit_encoder,
    load_encoder,
    register_encoder,
    register_family,
)
from uplift.encoders.dense_descriptors import DenseDescriptors, grid_of, raw_descriptors


def photo(seed: int, height: int = 60, width: int = 90) -> np.ndarray:
    """Smooth random texture with colours, [height, width, 3] uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 6, width // 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()


def fitted(dimension: int = 12) -> DenseDescriptors:
    encoder = DenseDescriptors(dimension)
    encoder.fit([photo(0), photo(1)])
    return encoder


def test_rgb_maps_bytes_to_zero_to_one_at_full_size() -> None:
    image = photo(0)
    image[0, 0], image[0, 1] = 0, 255
    encoded = load_encoder("rgb", device="cpu").encode(image)
    assert encoded.shape == (60, 90, 3)
    assert encoded.dtype == torch.float32
    assert encoded[0, 0].tolist() == [0, 0, 0]
    assert encoded[0, 1].tolist() == [1, 1, 1]
    torch.testing.assert_close(encoded, torch.from_numpy(image) / 255)


def test_tensors_and_arrays_are_encoded_alike() -> None:
    encoder = fitted()
    assert torch.equal(encoder.encode(photo(2)), encoder.encode(torch.from_numpy(photo(2))))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
@pytest.mark.parametrize("name", ["rgb", "dense-descriptors"])
def test_what_is_not_a_photo_is_refused_with_its_shape(bad: np.ndarray, name: str) -> None:
    encoder = load_encoder(name, device="cpu", state=fitted().state() if name != "rgb" else None)
    with pytest.raises(InputError, match=r"\[h, w, 3\] uint8, found"):
        encoder.encode(bad)


def test_an_unknown_encoder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'dino'.*dense-descriptors.*rgb"):
        load_encoder("dino")


def test_an_unknown_encoder_is_refused_with_the_families_and_the_closest_name() -> None:
    with pytest.raises(InputError, match=r"did you mean dinov2-small\?.*clip:MODEL/PRETRAINED.*timm:NAME"):
        load_encoder("dinov2-smal")


def test_a_registered_family_gets_the_whole_name_and_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from uplift.encoders import registry

    monkeypatch.setattr(registry, "_FAMILIES", dict(registry._FAMILIES))
    seen: list[tuple[str, dict[str, int]]] = []

    def make(name: str, weights: Path | None, device: torch.device, **options: int) -> DenseDescriptors:
        seen.append((name, options))
        return DenseDescriptors(device=device)

    family = EncoderFamily("mine:", "mine:NAME", "a test", make, ("size",))
    register_family(family)
    assert "mine:" in [known.prefix for known in encoder_families()]
    load_encoder("mine:one", device="cpu", options={"size": 3})
    assert seen == [("mine:one", {"size": 3})]
    with pytest.raises(InputError, match="no setting shape; it has size"):
        load_encoder("mine:one", options={"shape": 3})
    with pytest.raises(InputError, match="prefix of its own"):
        register_family(family)
    with pytest.raises(InputError, match="is taken"):
        register_encoder(EncoderEntry("mine:two", "a test", make))


def test_weights_for_an_encoder_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no weights"):
        load_encoder("rgb", tmp_path / "w.pt")


def test_a_registered_encoder_is_listed_and_gets_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uplift.encoders import registry

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    seen: list[Path | None] = []

    def make(weights: Path | None, device: torch.device) -> DenseDescriptors:
        seen.append(weights)
        return DenseDescriptors(device=device)

    register_encoder(EncoderEntry("mine", "a test", make))
    assert "mine" in [entry.name for entry in encoder_entries()]
    with pytest.raises(InputError, match="is taken"):
        register_encoder(EncoderEntry("mine", "again", make))
    with pytest.raises(InputError, match=r"no file of weights at .*absent\.pt"):
        load_encoder("mine", tmp_path / "absent.pt")
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"x")
    load_encoder("mine", weights, "cpu")
    assert seen == [weights]


def test_descriptors_must_be_fitted_before_they_encode() -> None:
    with pytest.raises(InputError, match="must be fitted first"):
        DenseDescriptors().encode(photo(0))


def test_the_same_photo_gives_the_same_map_whatever_came_before() -> None:
    encoder = fitted()
    first = encoder.encode(photo(3))
    encoder.encode(photo(4))
    assert torch.equal(first, encoder.encode(photo(3)))


def test_a_restored_state_gives_the_same_map_and_fingerprint() -> None:
    encoder = fitted()
    restored = load_encoder("dense-descriptors", device="cpu", state=encoder.state())
    assert restored.dimension == 12
    assert torch.equal(restored.encode(photo(5)), encoder.encode(photo(5)))
    assert restored.fingerprint() == encoder.fingerprint()


def test_another_scene_gives_another_fingerprint() -> None:
    other = DenseDescriptors(12)
    other.fit([photo(7)])
    assert other.fingerprint() != fitted().fingerprint()


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(InputError, match="expects the tensors mean"):
        DenseDescriptors().load_state({"mean": torch.zeros(3), "components": torch.zeros(2, 3)})
    with pytest.raises(InputError, match="has no state"):
        load_encoder("rgb", state={"mean": torch.zeros(3)})


FINGERPRINT = """
import torch
from tests.test_encoders import fitted, photo
encoder = fitted()
print(encoder.fingerprint(), encoder.encode(photo(9)).double().sum().item().hex())
"""


def test_two_processes_agree_on_every_bit() -> None:
    root = Path(__file__).resolve().parents[1]
    runs = [
        subprocess.run([sys.executable, "-c", FINGERPRINT], cwd=root, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 64


def test_the_grid_is_bounded_for_large_photos_and_never_empty() -> None:
    assert grid_of(480, 270) == (96, 54)
    assert grid_of(3000, 4000) == (96, 128)
    assert grid_of(2, 300) == (1, 60)
    assert raw_descriptors(np.zeros((2, 300, 3), np.uint8)).shape[:2] == (1, 60)


def test_descriptors_sit_at_the_centres_of_their_cells() -> None:
    # A photo mirrored left-right has the colours of the mirrored grid: an offset would break the symmetry.
    image = photo(11, 50, 75)
    colours = raw_descriptors(image)[..., -9:]
    mirrored = raw_descriptors(np.ascontiguousarray(image[:, ::-1]))[..., -9:]
    np.testing.assert_allclose(mirrored[:, ::-1], colours, atol=1e-5)


def test_daisy_is_centred_on_its_cell_at_every_scale() -> None:
    # A dot in the middle of the photo: the descriptor's ring is symmetric at the central node.
    image = np.zeros((55, 55, 3), np.uint8)
    image[26:29, 26:29] = 255
    daisy = raw_descriptors(image)[..., :216].reshape(11, 11, 3, 72)
    energy = (daisy**2).sum(-1)
    for scale in range(3):
        rows, columns = energy[5, :, scale], energy[:, 5, scale]
        np.testing.assert_allclose(rows, rows[::-1], atol=0.05)
        np.testing.assert_allclose(columns, columns[::-1], atol=0.05)


def test_a_grey_shift_hardly_changes_the_texture_part() -> None:
    image = (photo(12) // 2 + 20).astype(np.uint8)
    brighter = image + np.uint8(60)
    daisy, shifted = raw_descriptors(image)[..., :216], raw_descriptors(brighter)[..., :216]
    np.testing.assert_allclose(shifted, daisy, atol=0.02)


def test_descriptors_tell_textures_apart() -> None:
    encoder = fitted()
    same = (encoder.encode(photo(0)) - encoder.encode(photo(0))).norm()
    other = (encoder.encode(photo(0)) - encoder.encode(photo(1))).norm()
    assert same == 0
    assert other > 1


def test_too_little_to_fit_is_refused_with_the_counts() -> None:
    with pytest.raises(InputError, match=r"at least 40 grid nodes.*found 1[;,]"):
        DenseDescriptors().fit([np.zeros((5, 5, 3), np.uint8)])


def test_small_photos_are_pooled_until_they_are_enough() -> None:
    encoder = DenseDescriptors(4)
    encoder.fit([photo(seed, 12, 18) for seed in range(9)])
    assert encoder.encode(photo(1, 12, 18)).shape == (2, 4, 4)


def test_fitting_reads_no_more_photos_than_it_needs() -> None:
    reads: list[int] = []

    def reader(index: int) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            reads.append(index)
            return photo(index, 30, 30)

        return read

    camera = Camera(torch.eye(3), torch.eye(4), 30, 30)
    views = [View(str(i), camera, reader(i)) for i in range(50)]
    reports: list[tuple[int, int]] = []
    encoder = DenseDescriptors(8)
    fit_encoder(encoder, views, lambda done, total, what: reports.append((done, total)))
    assert len(reads) == len(set(reads)) == 24
    assert {0, 49} <= set(reads)
    assert reports[0] == (0, 24)
    assert reports[-1] == (24, 24)
    fit_encoder(encoder, views)
    assert len(reads) == 24
