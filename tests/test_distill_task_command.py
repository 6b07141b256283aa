"""``fit3d distill task``: what it trains, writes and refuses, on data and networks in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from app.commands.distill_task import DistillTask
from render.errors import InputError
from tests.taught import CLASSES, SIDE, map_of, network_of, photo_of, pixels_of, small_data, spec_of
from tests.tiny_models import TINY_VIT, tiny_vit_file
from training.augmentation import POOLS, Augmentation, Policy, save_policy
from training.distillation.specific.embedding import NO_CLASS, Points, nearest_to_median, points_of, principal, scatter
from training.distillation.specific.files import load_model, save_encoder, save_model
from training.distillation.specific.mixing import RegionMixer
from training.distillation.specific.models import Goal, VitModel
from training.distillation.specific.rows import Row
from training.distillation.specific.running import Workbench
from training.distillation.specific.samples import TaskPhotos
from training.distillation.specific.settings import recipe_for
from uplift.encoders import load_encoder
from uplift.encoders.base import TrainableEncoder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of one class each, laid out as CIFAR-10 is."""
    folder = tmp_path_factory.mktemp("arrays")
    for split, first in (("train", 0), ("test", 500)):
        images = np.stack([photo_of(i % 3, first + i) for i in range(12)])
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(12) % 3, classes=np.array(CLASSES))
    return folder


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with class maps, in folders of one's own."""
    folder = tmp_path_factory.mktemp("maps")
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    for split, first in (("train", 0), ("test", 500)):
        for i in range(4):
            for kind, values in (("images", pixels_of(first + i)), ("labels", map_of(first + i))):
                (folder / split / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(folder / split / kind / f"{i}.png")
    return folder


def command(*arguments: object) -> DistillTask:
    config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
    return tyro.cli(DistillTask, args=[str(one) for one in arguments], config=config)


def vit(weights: Path, name: str) -> list[object]:
    return [f"--{name}", TINY_VIT, f"--{name}-weights", weights]


def results(out: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((out / "results.json").read_text())
    return {row["row"]["name"]: row for row in content["rows"]}


SHORT = ["--device", "cpu", "--precision", "no", "--epochs", 1, "--teacher-epochs", 8, "--batch", 4, "--blocks", 2]


def test_a_probed_teacher_teaches_a_student_to_tell_photos(
    arrays: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["auto", arrays, "--out", tmp_path, "--task", "classification", "--seeds", 2, *SHORT]
    given += [*vit(weights, "teacher"), *vit(weights, "student"), "--mixed", "blend", "--rate", 1e-4]
    command(*given).run()
    printed = capsys.readouterr().out
    assert "12 photos to learn from, 12 to measure" in printed
    assert "fine-tuned, taught by timm:test_vit (probed), mixed images (blend)" in printed
    found = results(tmp_path)
    assert list(found) == ["teacher", "student"]
    assert found["teacher"]["figures"] == {"accuracy": [1.0, 1.0]}
    assert found["student"]["intervals"]["accuracy"]["mean"] > 0.5
    assert found["student"]["row"]["teacher"] == "teacher"
    assert (tmp_path / "results.md").is_file()
    assert Image.open(tmp_path / "embedding.png").width > 3 * 480, "teacher, student before and after"
    for seed in (0, 1):
        assert not (tmp_path / "teacher" / f"seed-{seed}" / "encoder.safetensors").exists(), "it is as it was"
        assert (tmp_path / "student" / f"seed-{seed}" / "encoder.safetensors").is_file()
    student = load_encoder(f"distilled:{tmp_path}/student/seed-0/encoder.safetensors", None, "cpu")
    before = load_encoder(TINY_VIT, weights, "cpu")
    maps = [encoder.encode(photo_of(0, 0)) for encoder in (student, before)]
    assert maps[0].shape == maps[1].shape
    assert not torch.allclose(maps[0], maps[1])


def test_a_convolutional_student_learns_alone_and_is_read_again(maps: Path, tmp_path: Path) -> None:
    given = ["folder", maps, "--out", tmp_path, "--student", "deeplabv3-resnet18", "--alone", "--seeds", 1]
    command(*given, "--device", "cpu", "--precision", "no", "--epochs", 1, "--batch", 2, "--side", 16).run()
    assert list(results(tmp_path)) == ["student"]
    model, classes = load_model(tmp_path / "student" / "seed-0" / "model.safetensors")
    assert classes == CLASSES
    assert model.spec.name == "deeplabv3-resnet18"
    log = (tmp_path / "student" / "seed-0" / "log.jsonl").read_text()
    assert "distillation" not in log
    assert json.loads(log.splitlines()[-1])["step"] == 2
    assert not (tmp_path / "student" / "seed-0" / "encoder.safetensors").exists()


def test_a_file_of_a_policy_augments_what_a_student_learns_from(arrays: Path, weights: Path, tmp_path: Path) -> None:
    path, policy = tmp_path / "policy.safetensors", Policy.uniform(POOLS["standard"])
    save_policy(path, policy)
    given = ["auto", arrays, "--out", tmp_path / "out", "--task", "classification", "--seeds", 1, "--device", "cpu"]
    given += ["--precision", "no", "--epochs", 1, "--batch", 4, "--blocks", 2, *vit(weights, "student")]
    given += ["--probe", "--augmentation", path, "--no-flips"]
    command(*given).run()
    (row,) = results(tmp_path / "out").values()
    assert row["row"]["recipe"]["augmentation"] == Augmentation(policy, flip=False).title
    assert row["row"]["recipe"]["augment"] == "plain"


def test_rates_are_searched_by_the_command(arrays: Path, weights: Path, tmp_path: Path) -> None:
    given = ["auto", arrays, "--out", tmp_path, "--task", "classification", "--seeds", 1, "--blocks", 1]
    given += [*vit(weights, "student"), "--probe", "--search", "--epochs", 4, "--batch", 4, "--device", "cpu"]
    command(*given).run()
    written = json.loads((tmp_path / "student" / "search.json").read_text())
    assert [one["numbers"]["rate"] for one in written["tried"]] == [1e-3, 2e-3, 4e-3]
    chosen = written["tried"][written["best"]]["numbers"]["rate"]
    assert results(tmp_path)["student"]["row"]["numbers"]["rate"] == chosen
    with pytest.raises(InputError, match="belongs to another search, with other rows and seed"):
        command(*given, "--seed", 1).run()


def test_mixed_images_of_a_folder_teach_the_task_if_asked(arrays: Path, weights: Path, tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.fromarray(photo_of(label, 9)).save(tmp_path / "images" / name / "0.png")
    given = ["auto", arrays, "--out", tmp_path / "out", "--task", "classification", "--seeds", 1, *SHORT]
    given += [*vit(weights, "teacher"), *vit(weights, "student"), "--mixed", f"folder:{tmp_path}/images"]
    command(*given, "--mixed-in", "task").run()
    row = results(tmp_path / "out")["student"]["row"]
    assert (row["mixed"], row["mixed_in"]) == ("folder", "task")
    with pytest.raises(InputError, match=r"student.*belongs to another training.*mixed"):
        command(*given).run()


def test_mixed_images_are_made_by_a_pipeline_after_all_was_checked(
    arrays: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.distillation.specific import diffusion

    made: list[Path] = []

    class Pretended:
        def __init__(self, folder: Path, device: torch.device) -> None:
            made.append(folder)

        def __call__(self, first: np.ndarray, second: np.ndarray, seed: int) -> np.ndarray:
            return ((first.astype(int) + second) // 2).astype(np.uint8)

    monkeypatch.setattr(diffusion, "DiffusionPipeline", Pretended)
    (tmp_path / "weights").mkdir()
    given = ["auto", arrays, "--out", tmp_path / "out", "--task", "classification", "--seeds", 1, *SHORT]
    given += [*vit(weights, "teacher"), "--mixed", f"diffusion:{tmp_path}/weights", "--mixed-times", 2]
    with pytest.raises(InputError, match="is no network for classification"):
        command(*given, "--student", "deeplabv3-resnet18").run()
    with pytest.raises(InputError, match="expected a head on the last of them"):
        command(*given[:-1], 1, *vit(weights, "student"), "--blocks", 40).run()
    assert not made
    given += vit(weights, "student")
    command(*given, "--intra-class").run()
    assert len(made) == 1
    folders = list((tmp_path / "out").glob("mixed-*"))
    assert sorted(len(list(one.glob("*.png"))) for one in folders[0].iterdir() if one.is_dir()) == [8, 8, 8]
    assert results(tmp_path / "out")["student"]["row"]["mixed"] == "diffusion"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--alone", "--alpha", 0.5], "--alpha"),
        (["--probe", "--temperature", 1], "--temperature"),
        (["--alone", "--teacher", "tiny-dino", "--teacher-rate", 1], "--teacher and --teacher-rate"),
        (["--alone", "--teacher-kind", "probed"], "--teacher-kind"),
        (["--probe", "--teacher-batch", 4], "--teacher-batch"),
        (["--teacher-kind", "tuned", "--teacher-augmented"], "--teacher-augmented"),
        (["--mixed", "folder:any", "--intra-class"], "--intra-class"),
        (["--mixed", "blend", "--mixed-times", 5], "--mixed-times"),
        (["--task", "segmentation", "--blocks", 1], "--blocks"),
        (["--task", "segmentation", "--family", "fine-grained", "--least-crop", 1], "--least-crop and --family"),
        (["--student", "resnet18", "--alone", "--mixup", 0.2], "--mixup"),
        (["--student", "resnet18", "--alone", "--enlarge", 2], "--enlarge"),
        (["--probe", "--mixup", 0.2], "--mixup"),
        (["--probe", "--least-crop", 0.2], "--least-crop"),
        (["--alone", "--augmentation", "none", "--least-crop", 0.2], "--least-crop"),
    ],
)
def test_options_without_an_effect_are_refused(options: list[object], named: str, arrays: Path, tmp_path: Path) -> None:
    task = [] if "--task" in options else ["--task", "classification"]
    with pytest.raises(InputError, match=f"^{named} would have no effect"):
        command("auto", arrays, "--out", tmp_path / "out", "--device", "cpu", *task, *options).run()
    assert not (tmp_path / "out").exists()


def test_a_teacher_has_its_own_batch_seeds_and_augmentation(arrays: Path, weights: Path, tmp_path: Path) -> None:
    given = ["auto", arrays, "--out", tmp_path, "--task", "classification", "--batch", 4, "--blocks", 2]
    given += [*vit(weights, "teacher"), *vit(weights, "student")]

    def rows(*options: object) -> tuple[Row, Row]:
        asked = command(*given, *options)
        teacher, student = asked._rows(Workbench(asked._data(), "classification", tmp_path, device="cpu"))
        assert student.teacher == teacher
        assert teacher.apart > 100 > student.apart, "no teacher has the seed of a student"
        return teacher, student

    teacher, student = rows()
    assert (teacher.numbers.batch, student.numbers.batch) == (4, 4)
    assert teacher.recipe.plain
    teacher, student = rows("--teacher-batch", 8, "--teacher-augmented")
    assert (teacher.numbers.batch, student.numbers.batch) == (8, 4)
    assert teacher.recipe == student.recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alone", "--probe"], "choose one of them"),
        (["--mixed", "stirred"], "Expected --mixed none, blend, folder:DIR or diffusion:DIR, found 'stirred'"),
        (["--mixed", "folder:"], "Expected --mixed"),
        (["--mixed", "blend", "--alone"], "name a teacher"),
        (["--mixed", "blend", "--intra-class", "--task", "segmentation"], "no class of their own"),
        (["--mixed", "diffusion:nowhere"], "folder of a diffusion pipeline at nowhere, found none"),
        (["--mixed", "blend", "--probe"], "leave --mixed or --probe out"),
        (["--mixed-in", "task"], "choose some with --mixed"),
        (["--mixed", "folder:nowhere"], "folder of mixed images at nowhere, found none"),
        (["--alpha", "2"], "alpha from 0 to 1"),
        (["--temperature", "0"], "temperature above 0"),
        (["--temperature", "inf"], "temperature above 0"),
        (["--mixup", "nan"], "a mixup of 0 or more"),
        (["--batch", "1"], "a batch of at least 2"),
        (["--rate", "-1"], "--rate must be a number greater than 0"),
        (["--search", "--rate", "1"], "--search chooses rates"),
        (["--student", "deeplabv3-resnet18"], "is no network for classification"),
        (["--student", "resnet18", "--probe"], "has no head to be probed with"),
        (["--student", "tiny-dyno"], "tiny-dyno"),
        (["--student", "dense-descriptors"], "cannot be fine-tuned"),
        (["--scratch", "--probe"], "leave --scratch out"),
        (["--blocks", "40"], "expected a head on the last of them, found 40"),
        (["--task", "segmentation"], "has no class maps"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--no-flips"], "--no-flips is about --augmentation"),
        (["--augmentation", "policy"], "found no file policy"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_is_trained(
    options: list[str], message: str, arrays: Path, weights: Path, tmp_path: Path
) -> None:
    given = ["auto", arrays, "--out", tmp_path / "out", "--task", "classification", "--device", "cpu"]
    given += [] if {"--blocks", "--task"} & {*options} else ["--blocks", 1]
    given += [] if {"--alone", "--probe"} & {*options} else vit(weights, "teacher")
    given += [] if "--student" in options else vit(weights, "student")
    with pytest.raises(InputError, match=message) as caught:
        command(*given, *options).run()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("goal", "frozen"), [("segmentation", True), ("classification", False)])
def test_a_network_that_is_read_again_tells_the_same(goal: Goal, frozen: bool, weights: Path, tmp_path: Path) -> None:
    model = network_of(goal, weights, frozen=frozen)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    path = tmp_path / "model.safetensors"
    save_model(path, model, CLASSES, {"seed": 0})
    again, classes = load_model(path, weights=weights if frozen else None)
    pixels = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(again(pixels), model(pixels))
    assert (classes, again.spec) == (CLASSES, model.spec)
    assert isinstance(model, VitModel)
    if not frozen:
        save_encoder(tmp_path / "encoder.safetensors", model, None, {})
        encoder = load_encoder(f"distilled:{tmp_path}/encoder.safetensors", None, "cpu")
        assert isinstance(encoder, TrainableEncoder)
        cut = pixels[:, :, :32]
        with torch.no_grad():
            torch.testing.assert_close(encoder.tokens(cut).patches, model._own[0].tokens(cut).patches)
        return
    assert path.stat().st_size < 20_000, "the head alone"
    with pytest.raises(InputError, match="was not trained"):
        save_encoder(tmp_path / "encoder.safetensors", model, None, {})
    other = {name: tensor + 1 for name, tensor in model.base[0].network.state_dict().items()}
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(InputError, match="give those weights"):
        load_model(path, weights=tmp_path / "other.pth")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="truncated"):
        load_model(path)


def test_pictures_show_patches_of_one_class_and_mixed_images_in_grey(weights: Path) -> None:
    labels = torch.tensor([0] * 50 + [1] * 9 + [2] * 10 + [3] * 11 + [4])
    assert nearest_to_median(labels, 3) == [1, 2, 3]
    photos = TaskPhotos(small_data("segmentation").test, "segmentation", 3)
    points = points_of(network_of("segmentation", weights), photos)
    assert points.features.shape[1] == 64
    # Of the two windows of each photo all patches are of one class but those of the row of void, which is one pixel.
    assert len(points.labels) == 12 * 2 * 4
    whole = TaskPhotos(small_data("classification").train, "classification", 3)
    mixer = RegionMixer(whole, recipe_for(spec_of("classification", TINY_VIT), "domainnet", "small", SIDE))
    found = points_of(network_of("classification", weights), whole, mixer)
    assert sorted(found.labels.unique().tolist()) == [NO_CLASS, 0, 1, 2]
    colours = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250)], np.uint8)
    drawn = scatter(principal(found), found.labels, colours).reshape(-1, 3)
    there = {tuple(int(v) for v in colour) for colour in np.unique(drawn, axis=0)}
    assert {(250, 0, 0), (0, 250, 0), (0, 0, 250), (190, 190, 190)} <= there


def test_principal_components_are_those_of_points_with_a_class() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(200, 5, generator=generator) * torch.tensor([1.0, 9.0, 0.1, 4.0, 0.1])
    far = torch.full((1, 5), 50.0)
    points = Points(torch.cat([spread, far]), torch.tensor([0] * 200 + [NO_CLASS]))
    places = principal(points)
    centred = spread - spread.mean(0)
    for axis, channel in ((0, 1), (1, 3)):
        correlation = torch.corrcoef(torch.stack([places[:200, axis], centred[:, channel]]))[0, 1]
        assert float(correlation) > 0.99
    torch.testing.assert_close(places[:200].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
