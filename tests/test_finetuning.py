"""3D-aware fine-tuning: targets, loss, training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from render.gaussians import Gaussians
from render.progress import Progress
from render.rasterizer import rasterize
from tests.miniatures import VIEWS
from tests.test_loop_processes import LAUNCH, ROOT
from tests.tiny_models import TINY_VIT, tiny_vit_file
from tests.tuned import SCHEDULE, encoder_of, make_task, two_scenes
from training.finetuning import targets as module
from training.finetuning.export import FILE
from training.finetuning.panels import Row
from training.finetuning.scenes import Forward, TunedScenes
from training.finetuning.targets import (
    BlurredTargets,
    LearnedTargets,
    LiftedTargets,
    TargetKind,
    Targets,
    make_targets,
)
from training.finetuning.task import FineTuning, Item
from training.loop import LOG, PICTURES, train
from training.nerfstudio_plugin.targets import resize_map
from training.scenes import open_scenes
from uplift.encoders import TrainableEncoder, load_encoder
from uplift.field import FeatureField, read_safetensors
from uplift.lifting import lift


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def encoder(weights: Path) -> TrainableEncoder:
    return encoder_of(weights)


@pytest.fixture(scope="module")
def scenes(folder: Path, encoder: TrainableEncoder) -> TunedScenes:
    return TunedScenes(open_scenes([folder]), encoder)


@pytest.fixture(scope="module")
def forward(encoder: TrainableEncoder) -> Forward:
    return lambda pixels: encoder.tokens(pixels).patches


def prepared(kind: TargetKind, scenes: TunedScenes, forward: Forward) -> Targets:
    targets = make_targets(kind, scenes)
    targets.prepare(forward)
    return targets


def gathered(targets: Targets, scene: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features ``[p, c]`` and mask ``[p]`` of all views of a scene."""
    found = [targets.of(scene, view) for view in range(VIEWS)]
    return torch.cat([t.features.flatten(0, 1) for t in found]), torch.cat([t.mask.flatten() for t in found])


def test_lifted_and_rendered_targets_are_the_same_but_for_small_entries(scenes: TunedScenes, forward: Forward) -> None:
    lifted, rendered = (gathered(prepared(kind, scenes, forward)) for kind in ("lifted", "rendered"))
    assert torch.equal(lifted[1], rendered[1])
    assert 0.5 < float(lifted[1].float().mean()) < 1
    moved = float((lifted[0] - scenes.tokens(0, forward)).abs().mean())
    assert float((lifted[0] - rendered[0]).abs().mean()) < 0.03 * moved


def test_a_blur_goes_as_far_as_lifting_does(scenes: TunedScenes, forward: Forward) -> None:
    said = scenes.tokens(0, forward)
    blurred = prepared("blurred", scenes, forward)
    assert isinstance(blurred, BlurredTargets)
    assert blurred.width is not None
    distances = []
    for targets in (blurred, prepared("lifted", scenes, forward)):
        features, mask = gathered(targets)
        distances.append(float((features - said).abs().mean(-1)[mask].mean()))
    assert distances[0] == pytest.approx(distances[1], rel=0.01)


@pytest.mark.parametrize("kind", ["blurred", "own-view"])
def test_controls_know_one_view_alone(kind: TargetKind, scenes: TunedScenes, forward: Forward) -> None:
    def disturbed(pixels: torch.Tensor) -> torch.Tensor:
        said = forward(pixels)
        said[1:] = said[1:].flip(1)  # other views say other things, as far from their lifted ones in the mean or not
        return said

    targets, again = make_targets(kind, scenes), make_targets(kind, scenes)
    targets.prepare(forward)
    again.prepare(disturbed)
    if isinstance(again, BlurredTargets):
        assert isinstance(targets, BlurredTargets)
        again.width = targets.width
        again._features = [again._blurred(scenes.tokens(s, disturbed).half(), s) for s in range(2)]
    torch.testing.assert_close(again.of(0, 0).features, targets.of(0, 0).features)
    assert not torch.allclose(again.of(0, 1).features, targets.of(0, 1).features)


def learned_field(scene: TunedScenes, encoder: TrainableEncoder, **changes: object) -> FeatureField:
    """A field as ``fit3d import`` makes it of a run, whose decoder doubles the features and adds one."""
    generator = torch.Generator().manual_seed(0)
    gaussians = scene.gaussians(0)
    weight = torch.zeros(encoder.dimension, 8, 3, 3)
    weight[torch.arange(8), torch.arange(8), 1, 1] = 2
    field = lift(gaussians, scene.scenes[0].views, [torch.zeros(2, 2, 1)] * VIEWS)
    return replace(
        field,
        values=torch.rand(len(gaussians), 8, generator=generator),
        encoder=encoder.name,
        pca=None,
        metadata={
            "fingerprint": changes.get("fingerprint", encoder.fingerprint()),
            "decoder": {"kernel": 3, "padding": "replicate", "photo_pixels_per_pixel": 4},
        },
        tensors={"decoder.weight": weight, "decoder.bias": torch.ones(encoder.dimension)},
    )


def test_learned_features_are_rendered_decoded_and_resized(
    folder: Path, encoder: TrainableEncoder, tmp_path: Path, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "first", tmp_path / "scene")
    scenes = TunedScenes(open_scenes([tmp_path]), encoder)
    with pytest.raises(InputError, match="has no field learned-timm:test_vit"):
        make_targets("learned", scenes)
    path = tmp_path / "scene" / "fields" / f"learned-{encoder.name}.safetensors"
    field = learned_field(scenes, encoder)
    field.save(path)
    targets = prepared("learned", scenes, forward)
    assert isinstance(targets, LearnedTargets)
    camera = scenes.scenes[0].views[1].camera
    small = rasterize(scenes.gaussians(0), camera.resized(25, 18), FeatureField.load(path).values).values
    found = targets.of(0, 1)
    torch.testing.assert_close(found.features[..., :8], resize_map(2 * small + 1, 5, 7), rtol=1e-4, atol=1e-4)
    assert (found.features[..., 8:] == 1).all()
    expected = make_targets("lifted", scenes)
    expected.prepare(forward)
    assert torch.equal(found.mask, expected.of(0, 1).mask)
    with monkeypatch.context() as patched:
        patched.setattr(module, "lifting_matrix", None)  # for a mask that is known nothing is computed again
        assert torch.equal(targets.of(0, 1).mask, found.mask)
    identity = targets.identity()
    replace(field, values=field.values / 2).save(path)
    assert targets.identity() != identity, "another field of the same name"
    with pytest.raises(InputError, match="choose --refresh once"):
        FineTuning(encoder, targets, refresh="every-epoch")
    learned_field(scenes, encoder, fingerprint="another").save(path)
    with pytest.raises(InputError, match="give the same weights"):
        make_targets("learned", scenes)


def test_trainings_share_the_targets_of_the_first_epoch_alone(
    scenes: TunedScenes, encoder: TrainableEncoder, forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = prepared("lifted", scenes, forward)
    first, made, prepare = gathered(shared)[0], [], LiftedTargets.prepare

    def counted(self: LiftedTargets, forward: Forward, progress: Progress) -> None:
        made.append(self)
        prepare(self, forward, progress)

    monkeypatch.setattr(LiftedTargets, "prepare", counted)
    for _ in range(2):
        made.clear()
        task = FineTuning(encoder, copy(shared), epochs=2, refresh="every-epoch", prepared=True)
        task.begin(0)
        assert not made
        assert torch.equal(gathered(task.targets)[0], first)
        with torch.no_grad():
            next(iter(task.trained())).add_(1)
        task.forward([Item(0, 0, flipped=False)], 0.5)
        assert made == [task.targets]
        assert not torch.allclose(gathered(task.targets)[0], first)
    assert torch.equal(gathered(shared)[0], first)
    task.begin(0.5)  # goes on in its second epoch
    assert len(made) == 2


def test_photos_and_targets_are_mirrored_together(folder: Path, weights: Path) -> None:
    task = make_task(folder, weights)
    task.begin(0)
    upright, mirrored = ([Item(1, 2, flipped)] for flipped in (False, True))
    features, mask = task.targets.of(1, 2)
    pixels = task.targets.scenes.pixels(1, 2)[None]
    for items, picture, wanted, known in (
        (upright, pixels, features, mask),
        (mirrored, pixels.flip(-1), features.flip(1), mask.flip(1)),
    ):
        expected = (task.student(picture)[0] - wanted).abs().mean(-1)[known].mean()
        torch.testing.assert_close(task(items, 0.0)[0], expected)


def test_the_loss_is_a_mean_over_items_and_ignores_patches_without_target(folder: Path, weights: Path) -> None:
    task = make_task(folder, weights)
    task.begin(0)
    items = [Item(0, 1, False), Item(1, 3, True), Item(0, 0, False)]
    parts = torch.stack([task([item], 0.0)[0] for item in items])
    loss, figures = task(items, 0.0)
    torch.testing.assert_close(loss, parts.mean())
    assert 0 < figures["patches_with_target"] < 1
    for features, masks in zip(task.targets._features, task.targets._masks, strict=True):  # type: ignore[attr-defined]
        features[~masks] = 1e4
    torch.testing.assert_close(task(items, 0.0)[0], loss)


def test_batches_draw_all_views_in_both_ways(folder: Path, weights: Path) -> None:
    task = make_task(folder, weights, batch=200)
    items = list(task.batch(np.random.default_rng(0)))
    assert {item[:2] for item in items} == set(task.targets.scenes.index)
    assert 60 < sum(item.flipped for item in items) < 140
    assert task.batch(np.random.default_rng(0)) == items


@pytest.mark.parametrize("adapter", [False, True])
def test_a_network_or_an_adapter_learns_the_targets(adapter: bool, folder: Path, weights: Path, tmp_path: Path) -> None:
    task = make_task(folder, weights, adapter=adapter, validation=True)
    before = {name: tensor.clone() for name, tensor in task.student.state_dict().items()}
    original = task.encoder.fingerprint()
    pixels = task.targets.scenes.pixels(0, 0)[None]
    torch.testing.assert_close(task.student(pixels), task.original(pixels))  # it begins as the original
    items = [Item(scene, view, False) for scene, view in task.targets.scenes.index]
    task.begin(0)
    loss = float(task(items, 0.0)[0].detach())
    schedule = replace(SCHEDULE, steps=40, picture_every=40, validate_every=40, save_every=1e9)
    figures = train(task, schedule, tmp_path, device="cpu")
    assert float(task(items, 0.0)[0].detach()) < 0.8 * loss
    assert figures["inconsistency"] < 0.9 * figures["inconsistency_original"]
    assert figures["moved"] > 0.05
    assert task.encoder.fingerprint() == original
    changed = {name for name, tensor in task.student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in changed} == {"adapter" if adapter else "network"}
    assert {path.name for path in (tmp_path / PICTURES).iterdir()} == {
        f"{name}-{step:06d}.png" for name in ("pca", "clusters") for step in (0, 40)
    }


@pytest.mark.parametrize("kind", ["lifted", "rendered"])
def test_targets_are_in_full_precision_whatever_the_network_computes_in(
    kind: TargetKind, folder: Path, weights: Path, tmp_path: Path
) -> None:
    task = make_task(folder, weights, targets=kind, refresh="every-epoch")
    train(task, replace(SCHEDULE, steps=2, precision="bf16", rate=1e-8), tmp_path, device="cpu")
    assert int(task.epoch) == 1
    exact = make_task(folder, weights, targets=kind)
    exact.begin(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = task._target(Item(0, 1, True)).features
    # A step of so small a rate moves features by far less than bfloat16 would round them.
    apart = (found - exact.targets.of(0, 1).features.flip(1)).abs().mean()
    assert float(apart) < 1e-4 * float(found.abs().mean())


def test_pictures_show_the_targets_without_a_matrix_of_the_scene(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(folder, weights, targets="rendered")
    task.begin(0)
    shown: list[Row] = []
    monkeypatch.setattr(TunedScenes, "transport", None)
    monkeypatch.setattr("training.finetuning.task.panels", shown.extend)
    with torch.no_grad():
        task.pictures()
    assert len(shown) == 4
    for (photo, before, now, target), pair in zip(shown, task.targets.scenes.index[::2], strict=True):
        np.testing.assert_array_equal(photo, task.targets.scenes.photo(*pair))
        torch.testing.assert_close(now, before)  # nothing is learned yet
        torch.testing.assert_close(target, task.targets.of(*pair).features)


def test_scenes_of_the_same_names_but_other_content_are_another_training(
    folder: Path, weights: Path, encoder: TrainableEncoder, tmp_path: Path
) -> None:
    def fingerprint(path: Path) -> str:
        return TunedScenes(open_scenes([path]), encoder).fingerprint

    known = make_task(folder, weights).identity()["contents"]
    for change in ("none", "Gaussians", "poses", "photos"):
        copied = Path(shutil.copytree(folder, tmp_path / change))
        scene = copied / "second"
        if change == "Gaussians":
            gaussians = Gaussians.load(scene / "gaussians.ply")
            gaussians.with_values(opacities=gaussians.opacities / 2).save(scene / "gaussians.ply")
        elif change == "poses":
            transforms = json.loads((scene / "transforms.json").read_text())
            transforms["frames"].reverse()
            (scene / "transforms.json").write_text(json.dumps(transforms))
        elif change == "photos":
            photo = next((scene / "images").iterdir())
            photo.write_bytes(photo.read_bytes() + b"more")
        assert (fingerprint(copied) == known) == (change == "none"), change


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
@pytest.mark.parametrize("kind", ["lifted", "rendered"])
def test_on_cuda_targets_are_those_of_the_processor(
    kind: TargetKind, folder: Path, weights: Path, tmp_path: Path, scenes: TunedScenes, forward: Forward
) -> None:
    shutil.copytree(folder, tmp_path / "scenes", ignore=shutil.ignore_patterns("transports"))
    encoder = load_encoder(TINY_VIT, weights, "cuda")
    assert isinstance(encoder, TrainableEncoder)
    there = TunedScenes(open_scenes([tmp_path / "scenes"]), encoder)
    found = gathered(prepared(kind, there, lambda pixels: encoder.tokens(pixels).patches))
    expected = gathered(prepared(kind, scenes, forward))
    assert found[0].device.type == found[1].device.type == "cpu"
    assert float((found[1] != expected[1]).float().mean()) < 0.01
    moved = float((expected[0] - scenes.tokens(0, forward)).abs().mean())
    assert float((found[0] - expected[0]).abs().mean()) < 0.03 * moved


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As many as the processes that are killed have: sums of other numbers of threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(
    folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None
) -> dict[str, torch.Tensor]:
    """The student of an uninterrupted training whose targets are refreshed every epoch."""
    task = make_task(folder, weights, refresh="every-epoch")
    train(task, SCHEDULE, tmp_path_factory.mktemp("whole"), device="cpu")
    assert int(task.epoch) == 1
    return task.student.state_dict()


def test_every_epoch_learns_from_the_network_as_it_begins(
    folder: Path, weights: Path, tmp_path: Path, whole: dict[str, torch.Tensor]
) -> None:
    once = make_task(folder, weights)
    train(once, SCHEDULE, tmp_path, device="cpu")
    assert any(not torch.equal(tensor, whole[name]) for name, tensor in once.student.state_dict().items())


@pytest.mark.parametrize("step", [2, 6])
def test_killed_in_the_middle_of_an_epoch_it_goes_on_with_the_same_targets(
    step: int, folder: Path, weights: Path, tmp_path: Path, whole: dict[str, torch.Tensor]
) -> None:
    killed = run("-m", "tests.tuned", str(tmp_path), str(folder), str(weights), "--kill-step", str(step))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    task = make_task(folder, weights, refresh="every-epoch")
    train(task, SCHEDULE, tmp_path, device="cpu")
    torch.testing.assert_close(task.student.state_dict(), whole, rtol=0, atol=0)
    assert len((tmp_path / LOG).read_text().splitlines()) == 4


def test_the_command_fine_tunes_in_two_processes_as_in_one(
    folder: Path, weights: Path, tmp_path: Path, whole: dict[str, torch.Tensor]
) -> None:
    options = ["--encoder", TINY_VIT, "--weights", str(weights), "--device", "cpu", "--precision", "no"]
    options += ["--epochs", "2", "--refresh", "every-epoch", "--rate", str(SCHEDULE.rate)]
    done = run(*LAUNCH, "-m", "app", "finetune", str(folder), "--out", str(tmp_path), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("8 photos of 2 scenes") == 1, "one of the two speaks"
    tensors, _ = read_safetensors(tmp_path / FILE)
    student = {name: tensor for name, tensor in tensors.items() if name.startswith("network.")}
    begun = make_task(folder, weights).student.state_dict()
    assert set(student) == set(whole)
    moved, apart = (
        torch.cat([(one[name] - other[name]).double().flatten() for name in whole])
        for one, other in ((whole, begun), (student, whole))
    )
    # Where a gradient is next to zero, AdamW makes a hundredth of a step of its last bits: weights are judged together.
    assert apart.norm() < 1e-4 * moved.norm()
    assert apart.abs().max() < 0.05 * SCHEDULE.rate


def test_a_training_of_other_targets_is_not_gone_on_with(folder: Path, weights: Path, tmp_path: Path) -> None:
    train(make_task(folder, weights), replace(SCHEDULE, steps=1), tmp_path, device="cpu")
    with pytest.raises(InputError, match="targets blurred, found targets lifted"):
        train(make_task(folder, weights, targets="blurred"), replace(SCHEDULE, steps=1), tmp_path, device="cpu")


def test_scenes_are_found_and_what_is_none_is_refused(folder: Path, tmp_path: Path, encoder: TrainableEncoder) -> None:
    assert [scene.path.name for scene in open_scenes([folder])] == ["first", "second"]
    assert [scene.path.name for scene in open_scenes([folder / "second", folder], 2)] == ["second", "first"]
    with pytest.raises(InputError, match="Expected a scene, or a folder of scenes"):
        open_scenes([tmp_path])
    shutil.copytree(folder / "first", tmp_path / "bare")
    (tmp_path / "bare" / "gaussians.ply").unlink()
    with pytest.raises(InputError, match="has no Gaussians yet"):
        TunedScenes(open_scenes([tmp_path]), encoder)
    assert TINY_VIT in encoder.name
