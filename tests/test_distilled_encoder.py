"""The file of a distilled student, and the encoders that are made of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.co_distilled import CPU, blank
from tests.miniatures import tiny_objects
from tests.test_encoders import photo
from tests.tiny_models import TINY_VIT
from uplift import encoders
from uplift.encoders import Encoder, TrainableEncoder, load_encoder
from uplift.encoders.distilled import (
    Distilled,
    DistilledEncoder,
    Kept,
    ReadingEncoder,
    joined_licences,
    plain_student,
    teacher_of,
)
from uplift.encoders.finetuned import FineTuned, trainable
from uplift.encoders.projectors import PROJECTORS, ProjectorKind, TeacherSpace, layers_of, make_projector
from uplift.encoders.untrained import make_blank
from uplift.field import FeatureField, read_safetensors, write_safetensors
from uplift.lifting import lift
from uplift.search import reads_texts

WIDTH = 64


class Reader(Encoder):
    """A teacher that reads texts."""

    name, dimension, licence = "reader", 5, "some licence"

    def __init__(self, weights: str = "its weights") -> None:
        self.said = weights

    def encode(self, image: np.ndarray) -> torch.Tensor:
        return torch.zeros(2, 2, 5)

    def weights_hash(self) -> str:
        return self.said

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(5)[: len(texts)]


def space_of(kind: ProjectorKind, dimension: int, *, whole: bool = True) -> TeacherSpace:
    torch.manual_seed(4)
    moments = (torch.linspace(-1, 1, dimension), torch.linspace(1, 3, dimension))
    hidden = (2, 1, 3)  # other ones than a ladder has by itself
    projector = make_projector(kind, WIDTH, dimension, whole=whole, rungs=3, hidden=hidden)
    return TeacherSpace(projector, patches=moments, whole=(moments[1], moments[0].exp()) if whole else None)


@pytest.fixture(scope="module")
def student() -> TrainableEncoder:
    return blank(7)


@pytest.fixture(scope="module")
def path(student: TrainableEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that keeps a projector of every kind, in a folder whose name has an @."""
    made: dict[str, Kept] = {kind: Kept(space_of(kind, 5), kind, Reader()) for kind in PROJECTORS}
    made["rgb"] = Kept(space_of("transformer", 3, whole=False), "transformer", load_encoder("rgb", device="cpu"))
    file = tmp_path_factory.mktemp("at") / "a@b" / "student.safetensors"
    Distilled(student.network.state_dict(), "some licence", made, {"note": "a test"}).save(file, student)
    return file


def loaded(path: Path, teacher: str | None = None, **more: Any) -> DistilledEncoder:
    encoder = load_encoder(f"distilled:{path}" + (f"@{teacher}" if teacher else ""), device="cpu", **more)
    assert isinstance(encoder, DistilledEncoder)
    return encoder


def test_a_student_is_what_was_saved_without_any_other_file(path: Path, student: TrainableEncoder) -> None:
    encoder, image = loaded(path), photo(5, 40, 56)
    assert torch.equal(encoder.encode(image), student.encode(image))
    found, expected = (one.encode_global(image) for one in (encoder, student))
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)
    pixels = encoder.pixels(image)[None]
    for one, other in zip(encoder.layers(pixels, 3), student.layers(pixels, 3), strict=True):
        assert torch.equal(one.patches, other.patches)
    assert (encoder.dimension, encoder.patch, encoder.window, encoder.licence) == (64, 16, 160, "some licence")
    asked = loaded(path, options={"window": 96, "stride": 48})
    assert (asked.window, asked.stride) == (96, 48)
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())


@pytest.mark.parametrize("kind", PROJECTORS)
def test_a_kept_projector_speaks_in_its_teachers_space(
    kind: ProjectorKind, path: Path, student: TrainableEncoder
) -> None:
    encoder, image = loaded(path, kind), photo(5, 32, 48)
    pixels = encoder.pixels(image)[None]
    space = space_of(kind, 5)
    with torch.no_grad():
        said = space.projector(layers_of(student, pixels, space.projector))
        expected = said.patches[0] * torch.linspace(1, 3, 5) + torch.linspace(-1, 1, 5)
        assert said.cls is not None
        whole = said.cls[0] * torch.linspace(-1, 1, 5).exp() + torch.linspace(1, 3, 5)
    torch.testing.assert_close(encoder.encode(image), expected, rtol=1e-4, atol=1e-5)
    found = encoder.encode_global(image)
    assert found is not None
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    assert encoder.dimension == 5
    torch.testing.assert_close(encoder.layers(pixels, 1)[0].patches[0], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="after the last block alone"):
        encoder.layers(pixels, 2)


def test_a_teacher_without_a_global_token_is_told_without(path: Path) -> None:
    encoder = loaded(path, "rgb")
    assert encoder.encode_global(photo(0, 32, 32)) is None
    assert encoder.encode(photo(0, 32, 32)).shape == (2, 2, 3)
    assert not isinstance(encoder, ReadingEncoder)


def test_a_copy_can_be_trained_and_leaves_the_encoder_as_it_was(path: Path) -> None:
    for teacher in (None, "ladder"):
        encoder = loaded(path, teacher)
        copy = encoder.copied()
        assert copy.fingerprint() == encoder.fingerprint()
        pixels = torch.rand(1, 3, 32, 32)
        before = encoder.tokens(pixels).patches
        copy.tokens(pixels).patches.square().mean().backward()
        with torch.no_grad():
            for parameter in copy.network.parameters():
                parameter += 0.1
        assert torch.equal(encoder.tokens(pixels).patches, before)
        assert not torch.allclose(copy.tokens(pixels).patches, before)
        assert copy.fingerprint() != encoder.fingerprint()


def test_a_field_is_lifted_and_its_encoder_made_again_wherever_the_file_lies(path: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copyfile(path, tmp_path / "moved.safetensors"))
    assert loaded(moved, "rgb").fingerprint() == loaded(path, "rgb").fingerprint()
    assert len({loaded(path, name).fingerprint() for name in (None, "simple", "rgb")}) == 3
    scene = tiny_objects().scene
    lift(scene.gaussians, scene.views, loaded(moved, "rgb")).save(tmp_path / "field.safetensors")
    field = FeatureField.load(tmp_path / "field.safetensors")
    again = field.load_encoder(device="cpu")
    assert torch.equal(again.encode(photo(0, 40, 40)), loaded(path, "rgb").encode(photo(0, 40, 40)))


def test_texts_are_read_by_the_teacher_that_taught(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Reader()
    asked: list[tuple[Any, ...]] = []

    def load(*arguments: Any, **options: Any) -> Encoder:
        asked.append(arguments)
        return teacher

    monkeypatch.setattr(encoders.distilled, "load_encoder", load)
    encoder = loaded(path, "simple")
    assert isinstance(encoder, ReadingEncoder)
    assert not asked, "it is loaded when it is to read"
    assert torch.equal(encoder.encode_text(["a", "b"]), torch.eye(5)[:2])
    assert encoder.remarks(["a"]) == []
    assert [arguments[0] for arguments in asked] == ["reader"]
    teacher.said = "other weights"
    with pytest.raises(InputError, match="learned from reader with the weights its weights, found other weight"):
        replace_reader(encoder).encode_text(["a"])
    assert not hasattr(loaded(path), "encode_text")


def replace_reader(encoder: ReadingEncoder) -> ReadingEncoder:
    encoder._reader = None
    return encoder


def test_names_tell_whose_features_they_are(path: Path) -> None:
    assert teacher_of("tiny-clip") is None
    assert teacher_of(f"distilled:{path}") is None
    assert teacher_of(f"distilled:{path}@clip:ViT-B-16/openai") == "clip:ViT-B-16/openai"
    assert reads_texts(f"distilled:{path}@clip:ViT-B-16/openai")
    assert reads_texts("distilled:gone/student.safetensors@tiny-clip")
    assert not reads_texts(f"distilled:{path}@rgb")
    assert not reads_texts(f"distilled:{path}")


def test_a_student_of_a_student_names_the_architecture_alone(
    path: Path, student: TrainableEncoder, tmp_path: Path
) -> None:
    first = trainable(loaded(path))
    assert plain_student(first).name == TINY_VIT
    Distilled(first.network.state_dict()).save(tmp_path / "second.safetensors", first)
    image = photo(1, 32, 32)
    assert torch.equal(loaded(tmp_path / "second.safetensors").encode(image), student.encode(image))
    with pytest.raises(InputError, match="a student is named without @"):
        plain_student(loaded(path, "rgb"))


def test_a_student_can_be_fine_tuned(path: Path, tmp_path: Path) -> None:
    student = trainable(loaded(path))
    state = {name: tensor + 0.01 for name, tensor in student.network.state_dict().items()}
    FineTuned(state, assembly="alone").save(tmp_path / "tuned.safetensors", student)
    tuned = load_encoder(f"fit3d:{tmp_path / 'tuned.safetensors'}", device="cpu")
    image = photo(1, 32, 32)
    copy = student.copied()
    copy.network.load_state_dict(state)
    assert torch.equal(tuned.encode(image), copy.encode(image))


def test_licences_are_all_that_must_be_heeded() -> None:
    kinds = [Reader(), load_encoder("rgb", device="cpu"), Reader(), Reader()]
    kinds[2].licence = "another"
    assert joined_licences(kinds) == "some licence and another"
    assert joined_licences(kinds[1:2]) is None


def test_blank_networks_are_those_of_their_seed_and_need_no_download() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (make_blank("dinov2-reg-small", CPU, seed=seed, window=56, stride=28) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.weights_hash() == again.weights_hash() != other.weights_hash()
    assert (first.patch, first.window, first.dimension, first.licence) == (14, 56, 384, None)
    tiny = make_blank("tiny-dino", CPU, seed=3)
    assert (tiny.name, tiny.patch, tiny.window) == ("tiny-dino", 8, 192)
    depth = make_blank("tiny-depth", CPU)
    assert (depth.name, depth.dimension, depth.window) == ("tiny-depth", 192, 448)
    with pytest.raises(InputError, match="tiny-clip cannot be made without its weights"):
        make_blank("tiny-clip", CPU)


def test_damaged_and_foreign_files_are_refused_in_a_sentence(path: Path, tmp_path: Path) -> None:
    tensors, header = read_safetensors(path)
    cases: dict[str, tuple[dict[str, torch.Tensor], dict[str, object]]] = {
        "is not a distilled encoder": (tensors, {**header, "kind": "fine-tuned encoder"}),
        "has format 99, expected 2": (tensors, {**header, "format": 99}),
        "is damaged .KeyError": (tensors, {k: v for k, v in header.items() if k != "teachers"}),
        "is damaged .TypeError": (tensors, {**header, "teachers": 3}),
        "tensors missing": ({k: v for k, v in tensors.items() if k != "network.norm.weight"}, header),
    }
    for number, (complaint, (some, said)) in enumerate(cases.items()):
        file = tmp_path / f"{number}.safetensors"
        write_safetensors(file, some, said)
        with pytest.raises(InputError, match=complaint):
            loaded(file)
    with pytest.raises(InputError, match="no projector of 'sam', it has transformer, ladder, simple, rgb; keep it"):
        loaded(path, "sam")
    with pytest.raises(InputError, match="There is no file nowhere"):
        loaded(Path("nowhere.safetensors"), "sam")
    with pytest.raises(InputError, match="holds all weights that it needs"):
        load_encoder(f"distilled:{path}", path, "cpu")
    write_safetensors(tmp_path / "x", {k: v for k, v in tensors.items() if not k.startswith("space3.")}, header)
    with pytest.raises(InputError, match="does not hold the weights of the projector of rgb"):
        loaded(tmp_path / "x", "rgb")
