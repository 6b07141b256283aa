"""The file of a fine-tuned encoder, and the encoder that is made of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from render.errors import InputError
from tests.miniatures import tiny_objects
from tests.test_encoders import photo
from tests.tiny_models import TINY_VIT, tiny_vit_file
from tests.tuned import SCHEDULE, encoder_of, make_task, two_scenes
from training.finetuning.export import export, fit_fusion
from training.finetuning.task import FineTuning
from training.loop import train
from uplift.encoders import load_encoder
from uplift.encoders.finetuned import ASSEMBLIES, FineTuned, FineTunedEncoder, trainable
from uplift.field import FeatureField, read_safetensors, write_safetensors
from uplift.lifting import lift

KINDS = (False, True)  # with an adapter


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


@pytest.fixture(scope="module")
def made(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[FineTuning, Path]]:
    """A fine-tuned network and an adapter, with their files."""
    folder, result = two_scenes(tmp_path_factory.mktemp("scenes")), {}
    for adapter in KINDS:
        task, out = make_task(folder, weights, adapter=adapter), tmp_path_factory.mktemp("out")
        train(task, SCHEDULE, out, device="cpu")
        result[adapter] = task, export(task, out, about={"note": "a test"})
    return result


def loaded(path: Path, weights: Path, assembly: str | None = None) -> FineTunedEncoder:
    encoder = load_encoder(f"fit3d:{path}" + (f"@{assembly}" if assembly else ""), weights, "cpu")
    assert isinstance(encoder, FineTunedEncoder)
    return encoder


@pytest.mark.parametrize("adapter", KINDS)
@pytest.mark.parametrize("assembly", ASSEMBLIES)
def test_maps_are_assembled_from_original_and_fine_tuned_features(
    assembly: str, adapter: bool, made: dict[bool, tuple[FineTuning, Path]], weights: Path
) -> None:
    task, path = made[adapter]
    encoder = loaded(path, weights, assembly)
    image = photo(5, 48, 64)
    pixels = encoder.pixels(image)[None]
    with torch.no_grad():
        before, after = task.original(pixels)[0], task.student(pixels)[0]
        both = torch.cat([before, after], -1)
        expected = {"concatenated": both, "alone": after, "added": before + after, "fused": fit_fusion(task)(both)}
    assert not torch.allclose(before, after, atol=1e-3)
    torch.testing.assert_close(encoder.encode(image), expected[assembly], rtol=1e-4, atol=1e-4)
    assert encoder.dimension == expected[assembly].shape[-1]
    found = encoder.encode_global(image)
    assert found is not None
    assert found.shape == (encoder.dimension,)
    last = encoder.layers(pixels, 1 if assembly == "fused" else 2)[-1]
    torch.testing.assert_close(last.patches[0], expected[assembly], rtol=1e-4, atol=1e-4)


def test_concatenation_is_the_way_unless_another_is_asked_for(
    made: dict[bool, tuple[FineTuning, Path]], weights: Path
) -> None:
    path = made[False][1]
    encoder = loaded(path, weights)
    assert (encoder.assembly, encoder.dimension) == ("concatenated", 128)
    assert (encoder.licence, encoder.patch, encoder.window) == ("Apache-2.0", 16, 160)
    asked = load_encoder(f"fit3d:{path}", weights, "cpu", options={"assembly": "alone", "window": 96})
    assert isinstance(asked, FineTunedEncoder)
    assert (asked.assembly, asked.window) == ("alone", 96)
    assert len({loaded(path, weights, assembly).fingerprint() for assembly in ASSEMBLIES}) == len(ASSEMBLIES)


def test_the_linear_layer_comes_closer_to_the_targets_than_either_feature(
    made: dict[bool, tuple[FineTuning, Path]],
) -> None:
    task = made[False][0]
    fusion = fit_fusion(task)
    errors = torch.zeros(3)
    with torch.no_grad():
        for scene, view in task.targets.scenes.index:
            pixels = task.targets.scenes.pixels(scene, view)[None]
            target = task.targets.of(scene, view)
            before, after = task.original(pixels)[0], task.student(pixels)[0]
            for index, found in enumerate((fusion(torch.cat([before, after], -1)), before, after)):
                errors[index] += (found - target.features)[target.mask].square().mean()
    assert errors[0] < 0.9 * errors[1:].min()


def test_a_field_of_it_is_lifted_saved_and_its_encoder_made_again_wherever_the_file_lies(
    made: dict[bool, tuple[FineTuning, Path]], weights: Path, tmp_path: Path
) -> None:
    scene, path = tiny_objects().scene, tmp_path / "moved.safetensors"
    shutil.copyfile(made[False][1], path)
    encoder = loaded(path, weights, "added")
    assert encoder.fingerprint() == loaded(made[False][1], weights, "added").fingerprint()
    lift(scene.gaussians, scene.views, encoder).save(tmp_path / "field.safetensors")
    field = FeatureField.load(tmp_path / "field.safetensors")
    assert field.dimension == 64
    again = field.load_encoder(weights, "cpu")
    assert torch.equal(again.encode(photo(0, 40, 40)), encoder.encode(photo(0, 40, 40)))


def test_a_copy_can_be_trained_and_leaves_the_encoder_as_it_was(
    made: dict[bool, tuple[FineTuning, Path]], weights: Path
) -> None:
    for adapter in KINDS:
        encoder = loaded(made[adapter][1], weights)
        copy = encoder.copied()
        assert copy.fingerprint() == encoder.fingerprint()
        with torch.no_grad():
            for parameter in copy.network.parameters():
                parameter += 0.1
        pixels = torch.rand(1, 3, 32, 32)
        assert not torch.allclose(copy.tokens(pixels).patches, encoder.tokens(pixels).patches)
        assert copy.fingerprint() != encoder.fingerprint()


def test_small_changes_survive_the_file(weights: Path, tmp_path: Path) -> None:
    encoder = encoder_of(weights)
    state = {name: tensor * (1 + 1e-5) for name, tensor in encoder.network.state_dict().items()}
    FineTuned(state, assembly="alone").save(tmp_path / "one.safetensors", encoder)
    found = loaded(tmp_path / "one.safetensors", weights)._own.network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_other_weights_of_the_original_are_refused(
    made: dict[bool, tuple[FineTuning, Path]], weights: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, other)
    with pytest.raises(InputError, match=f"was made from {TINY_VIT} with the weights .* give those weights"):
        load_encoder(f"fit3d:{made[False][1]}", other, "cpu")


def test_damaged_and_foreign_files_are_refused_in_a_sentence(
    made: dict[bool, tuple[FineTuning, Path]], weights: Path, tmp_path: Path
) -> None:
    path = made[False][1]
    tensors, header = read_safetensors(path)
    cases: dict[str, tuple[dict[str, torch.Tensor], dict[str, object]]] = {
        "is not a fine-tuned encoder": (tensors, {**header, "kind": "field"}),
        "has format 99": (tensors, {**header, "format": 99}),
        "is damaged .KeyError": (tensors, {k: v for k, v in header.items() if k != "weights"}),
        "neither a network nor an adapter alone": ({k: v for k, v in tensors.items() if "network" not in k}, header),
        "tensors missing": ({k: v for k, v in tensors.items() if k != "network.norm.weight"}, header),
        "of other shapes": ({**tensors, "fusion.weight": torch.zeros(3, 3)}, header),
        "Features are assembled": (tensors, {**header, "assembly": "stirred"}),
    }
    for number, (complaint, (some, said)) in enumerate(cases.items()):
        file = tmp_path / f"{number}.safetensors"
        write_safetensors(file, some, said)
        with pytest.raises(InputError, match=complaint):
            load_encoder(f"fit3d:{file}", weights, "cpu")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="truncated"):
        load_encoder(f"fit3d:{cut}", weights, "cpu")
    with pytest.raises(InputError, match="There is no file"):
        load_encoder("fit3d:nowhere.safetensors", weights, "cpu")
    write_safetensors(cut, {k: v for k, v in tensors.items() if "fusion" not in k}, header)
    with pytest.raises(InputError, match="no linear layer to fuse"):
        loaded(cut, weights, "fused")


def test_what_cannot_be_fine_tuned_or_written_is_refused(
    made: dict[bool, tuple[FineTuning, Path]], weights: Path, tmp_path: Path
) -> None:
    for encoder in (load_encoder("rgb", device="cpu"), loaded(made[False][1], weights)):
        with pytest.raises(InputError, match="cannot be fine-tuned"):
            trainable(encoder)
    with pytest.raises(InputError, match="either a network of its own or an adapter"):
        FineTuned(None).save(tmp_path / "nothing.safetensors", encoder_of(weights))
    with pytest.raises(InputError, match="needs its linear layer"):
        replace(FineTuned({"a": torch.zeros(1)}), assembly="fused").save(
            tmp_path / "x.safetensors", encoder_of(weights)
        )
    with pytest.raises(InputError, match="fuses the features of the last block alone"):
        loaded(made[False][1], weights, "fused").layers(torch.rand(1, 3, 32, 32), 2)
