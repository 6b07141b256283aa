"""Reading files of weights."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from render.errors import InputError
from uplift.encoders.checkpoints import hash_of, read_weights

TENSORS = {"patch_embed.proj.weight": torch.arange(6.0).reshape(2, 3), "norm.bias": torch.ones(2)}


def same(path: Path) -> bool:
    found = read_weights(path)
    return list(found) == list(TENSORS) and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS, "epoch": 3},
        {"model": TENSORS, "optimizer": {"lr": 0.1}},
        {"model": {"state_dict": TENSORS}},
        {"state_dict": {f"module.{name}": tensor for name, tensor in TENSORS.items()}},
        {"teacher": {f"module.backbone.{name}": tensor for name, tensor in TENSORS.items()}},
        {f"_orig_mod.model.{name}": tensor for name, tensor in TENSORS.items()},
        {f"backbone.{name}": tensor for name, tensor in TENSORS.items()} | {"head.weight": torch.zeros(2)},
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_common_nestings_and_prefixes_are_taken_off(content: dict[str, object], legacy: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    assert same(tmp_path / "w.pth")


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.bin")
    assert sorted(read_weights(tmp_path / "weights.bin")) == sorted(TENSORS)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("harm"),))  # type: ignore[return-value]


def test_code_in_a_file_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"model": Harmful()}, protocol=2))
    with pytest.raises(InputError, match=r"w\.pth could not be read as weights"):
        read_weights(tmp_path / "w.pth")
    torch.save({"model": Harmful()}, tmp_path / "v.pth")
    with pytest.raises(InputError, match=r"v\.pth could not be read as weights"):
        read_weights(tmp_path / "v.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("kept", [0, 3, 200, 700])
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_truncated_files_are_refused_by_name(kept: int, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w"
    torch.save(TENSORS, path) if kind == "torch" else save_file({"a": torch.zeros(500)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=f"{path} "):
        read_weights(path)


def test_files_without_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"model": {"epoch": 3}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="holds no weights"):
        read_weights(tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "l.pth")
    with pytest.raises(InputError, match="holds no weights"):
        read_weights(tmp_path / "l.pth")


def test_the_hash_is_of_the_values_names_and_shapes() -> None:
    def model(scale: float) -> torch.nn.Module:
        made = torch.nn.Linear(3, 2)
        torch.nn.init.constant_(made.weight, scale)
        torch.nn.init.zeros_(made.bias)
        return made

    assert hash_of(model(1)) == hash_of(model(1))
    assert hash_of(model(1)) != hash_of(model(2))
    assert hash_of(model(1)) != hash_of(torch.nn.Sequential(model(1)))
