"""Feature fields and their files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from render.errors import InputError
from tests.test_encoders import fitted, photo
from uplift.field import FeatureField


def a_field(n: int = 50, c: int = 6) -> FeatureField:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(n, generator=generator)
    weights[0] = 0
    values = torch.randn(n, c, generator=generator)
    values[0] = 0
    return FeatureField(
        values,
        weights,
        "rgb",
        {"licence": "MIT", "fingerprint": None, "views": 3},
        {"decoder.weight": torch.randn(4, c, 3, 3), "decoder.bias": torch.randn(4)},
    )


def test_saving_and_loading_keeps_everything(tmp_path: Path) -> None:
    saved = a_field()
    saved.save(tmp_path / "fields" / "rgb.safetensors")
    loaded = FeatureField.load(tmp_path / "fields" / "rgb.safetensors", len(saved))
    assert torch.equal(loaded.values, saved.values.half().float())
    assert loaded.values.dtype == loaded.weights.dtype == torch.float32
    assert torch.equal(loaded.weights, saved.weights)
    assert (loaded.encoder, loaded.licence, loaded.dimension) == ("rgb", "MIT", 6)
    assert dict(loaded.metadata) == dict(saved.metadata)
    assert sorted(loaded.tensors) == ["decoder.bias", "decoder.weight"]
    assert torch.equal(loaded.tensors["decoder.weight"], saved.tensors["decoder.weight"])


def test_the_file_is_plain_safetensors_with_fp16_values(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    a_field().save(tmp_path / "f.safetensors")
    tensors = load_file(tmp_path / "f.safetensors")
    assert tensors["values"].dtype == torch.float16
    assert tensors["weights"].dtype == torch.float32
    assert "pca.components" in tensors


def test_colours_are_the_same_before_and_after_saving(tmp_path: Path) -> None:
    saved = a_field().with_pca()
    saved.save(tmp_path / "f.safetensors")
    loaded = FeatureField.load(tmp_path / "f.safetensors")
    picture = torch.randn(4, 5, 6)
    assert torch.equal(loaded.colours(picture), saved.colours(picture))
    assert loaded.colours().shape == (50, 3)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    field = a_field()
    field.save(tmp_path / "a.safetensors")
    field.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_field_that_no_view_saw_can_be_saved(tmp_path: Path) -> None:
    FeatureField(torch.zeros(3, 2), torch.zeros(3), "rgb").save(tmp_path / "f.safetensors")
    assert FeatureField.load(tmp_path / "f.safetensors").pca is None


def test_slices_and_transposed_tensors_can_be_saved(tmp_path: Path) -> None:
    values = torch.randn(6, 40)
    whole = torch.randn(10, 4)
    field = FeatureField(values.T, torch.ones(40), "x", {}, {"a": whole[:5], "b": whole[5:]})
    field.save(tmp_path / "f.safetensors")
    loaded = FeatureField.load(tmp_path / "f.safetensors")
    assert torch.equal(loaded.values, values.T.half().float())
    assert torch.equal(loaded.tensors["b"], whole[5:])


def test_a_field_of_another_scene_is_refused_with_both_counts(tmp_path: Path) -> None:
    a_field().save(tmp_path / "f.safetensors")
    with pytest.raises(InputError, match="50 Gaussians, but the scene has 51"):
        FeatureField.load(tmp_path / "f.safetensors", 51)


@pytest.mark.parametrize("kept", [0, 4, 60, 900])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "f.safetensors"
    a_field().save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"f\.safetensors is truncated"):
        FeatureField.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        FeatureField.load(tmp_path / "f.safetensors")


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "f.safetensors"
    save_file({"values": torch.zeros(2, 2)}, path)
    with pytest.raises(InputError, match="without fit3d's header"):
        FeatureField.load(path)
    save_file({"values": torch.zeros(2, 2)}, path, metadata={"fit3d": "{}"})
    with pytest.raises(InputError, match="lacks weights"):
        FeatureField.load(path)
    header = '{"encoder": "rgb", "gaussians": 3, "dimension": 2}'
    save_file({"values": torch.zeros(2, 2), "weights": torch.ones(2)}, path, metadata={"fit3d": header})
    with pytest.raises(InputError, match=r"says \[3, 2\], its values are \[2, 2\]"):
        FeatureField.load(path)


@pytest.mark.parametrize("bad", [1e6, float("nan"), float("inf")])
def test_values_beyond_fp16_are_refused_and_the_old_file_stays(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "f.safetensors"
    a_field().save(path)
    before = path.read_bytes()
    values = torch.zeros(3, 2)
    values[1, 1] = bad
    with pytest.raises(InputError, match="at most 65504"):
        FeatureField(values, torch.ones(3), "rgb").save(path)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch
    from safetensors import SafetensorError

    path = tmp_path / "f.safetensors"
    a_field().save(path)
    before = path.read_bytes()

    def full(tensors: object, filename: Path, metadata: object = None) -> None:
        Path(filename).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        a_field(60).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_shapes_and_reserved_names_are_checked() -> None:
    with pytest.raises(InputError, match=r"\[n, c\], found \[3\]"):
        FeatureField(torch.zeros(3), torch.zeros(3), "rgb")
    with pytest.raises(InputError, match=r"shape \[3\], found \[4\]"):
        FeatureField(torch.zeros(3, 2), torch.zeros(4), "rgb")
    with pytest.raises(InputError, match=r"pca\.mean are reserved"):
        FeatureField(torch.zeros(3, 2), torch.zeros(3), "rgb", {}, {"pca.mean": torch.zeros(2)})
    with pytest.raises(InputError, match="6 channels, but the field has 5"):
        FeatureField(torch.zeros(3, 5), torch.ones(3), "rgb", pca=a_field().with_pca().pca)


def test_the_encoder_of_a_field_describes_new_photos_as_it_did(tmp_path: Path) -> None:
    encoder = fitted()
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state().items()}
    field = FeatureField(torch.zeros(3, 12), torch.ones(3), encoder.name, {"fingerprint": encoder.fingerprint()}, state)
    field.save(tmp_path / "f.safetensors")
    restored = FeatureField.load(tmp_path / "f.safetensors").load_encoder(device="cpu")
    assert torch.equal(restored.encode(photo(4)), encoder.encode(photo(4)))


def test_an_encoder_with_another_fingerprint_is_refused() -> None:
    field = FeatureField(torch.zeros(3, 3), torch.ones(3), "rgb", {"fingerprint": "0" * 64})
    with pytest.raises(InputError, match="fingerprint 000000000000"):
        field.load_encoder(device="cpu")
