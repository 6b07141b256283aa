"""Distillation for one task: losses, splits, heads, augmentation, mixed images, and what a step learns from."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from render.errors import InputError
from tests.taught import BATCH, CLASSES, SIDE, make_task, map_of, network_of, photo_of, pixels_of, small_data
from tests.tiny_models import tiny_vit_file
from training.augmentation import Augmentation, Policy
from training.distillation.specific.augmentation import (
    AUGMENTS,
    Augment,
    Drawn,
    Recipe,
    augmented,
    make_sample,
    plain_samples,
)
from training.distillation.specific.features import FrozenFeatures
from training.distillation.specific.heads import ClassHead, PixelHead, class_features, class_width, hidden_width
from training.distillation.specific.losses import Weighting, distillation_losses, task_losses
from training.distillation.specific.measuring import figures_on, told_classes
from training.distillation.specific.mixing import FolderMixer, RegionMixer, regions
from training.distillation.specific.models import ConvModel, Goal, ModelSpec, TaskModel, VitModel, build_model
from training.distillation.specific.norms import ItemDropout, SharedBatchNorm
from training.distillation.specific.reading import KeptPhotos, side_by_side
from training.distillation.specific.samples import TaskPhotos, as_tensor
from training.distillation.specific.settings import grid_of, numbers_for, recipe_for, side_for
from training.distillation.specific.splitting import split_by_group
from training.distillation.specific.task import Item, TaskTraining, blended
from training.probing.photos import VOID, ProbePhoto
from uplift.encoders import load_encoder
from uplift.encoders.base import TrainableEncoder

GOALS: list[Goal] = ["classification", "segmentation"]
RECIPE = Recipe(side=SIDE, scale=0.4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vit_file(tmp_path_factory.mktemp("vit"))[1]


def photos_of(goal: Goal) -> TaskPhotos:
    return TaskPhotos(small_data(goal).train, goal, len(CLASSES))


class Constant(TaskModel):
    """Says what depends on the mean of the photo alone, and remembers what it saw."""

    def __init__(self, goal: Goal, factor: float) -> None:
        super().__init__()
        self.spec = ModelSpec(
            name="resnet18" if goal == "classification" else "deeplabv3-resnet18", goal=goal, classes=3
        )
        self.factor = nn.Parameter(torch.tensor(factor))
        self.seen: list[Tensor] = []

    def features(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels.detach().clone())
        return pixels

    def read(self, features: Tensor, seeds: object = None) -> Tensor:
        said: Tensor = self.factor * features
        return said.mean((2, 3)) if self.spec.goal == "classification" else said[..., ::4, ::4]

    def embedding(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 2, 3, 1)


def test_the_distillation_loss_is_hintons() -> None:
    student, teacher = (torch.randn(4, 5, generator=torch.Generator().manual_seed(i)) for i in range(2))
    told = (teacher / 3).softmax(1)
    by_hand = 9 * (told * (told.log() - (student / 3).log_softmax(1))).sum(1)
    torch.testing.assert_close(distillation_losses(student, teacher, 3.0), by_hand)
    by_torch = 4 * functional.kl_div((student / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean")
    torch.testing.assert_close(distillation_losses(student, teacher).mean(), by_torch)
    student.requires_grad_(True)
    distillation_losses(student, teacher, 3.0).sum().backward()
    # Of the cross entropy with the teacher's soft targets, times T^2: T (softmax(s / T) - softmax(t / T)).
    torch.testing.assert_close(student.grad, 3 * ((student / 3).softmax(1) - told), atol=1e-6, rtol=1e-5)


def test_void_pixels_teach_by_distillation_alone_and_padding_by_nothing() -> None:
    student, teacher = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(2))
    truth = torch.randint(3, (2, 4, 4), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
    truth[0, :2] = VOID
    inside = torch.ones(2, 4, 4, dtype=torch.bool)
    inside[1, :, 3] = False
    found = task_losses(student, truth)
    by_hand = functional.cross_entropy(student[:1, :, 2:], truth[:1, 2:].long(), reduction="sum") / 16
    torch.testing.assert_close(found[0], by_hand)
    torch.testing.assert_close(found[1], functional.cross_entropy(student[1:], truth[1:].long()))
    apart = distillation_losses(student, teacher, 2.0, inside)
    pixels = [distillation_losses(student[..., i // 4, i % 4], teacher[..., i // 4, i % 4], 2.0) for i in range(16)]
    torch.testing.assert_close(apart[0], torch.stack(pixels)[:, 0].mean())
    torch.testing.assert_close(apart[1], torch.stack(pixels).view(4, 4, 2)[:, :3, 1].sum() / 16)


@pytest.mark.parametrize("goal", GOALS)
def test_the_loss_of_a_step_is_the_weighted_sum_of_both(goal: Goal) -> None:
    student, teacher = Constant(goal, 2.0), Constant(goal, 5.0)
    task = make_task(goal, student, teacher, weighting=Weighting(alpha=0.3, temperature=4.0))
    loss, figures = task(task.batch(np.random.default_rng(0)), 0.0)
    assert float(loss.detach()) == pytest.approx(0.7 * figures["task"] + 0.3 * figures["distillation"], rel=1e-5)
    assert min(figures.values()) > 0
    alone = make_task(goal, Constant(goal, 2.0))
    loss, found = alone(alone.batch(np.random.default_rng(0)), 0.0)
    assert found.keys() == {"task"}
    assert float(loss.detach()) == pytest.approx(figures["task"], rel=1e-6), "the same photos without a teacher"


@pytest.mark.parametrize("goal", GOALS)
def test_teacher_and_student_see_exactly_the_same(goal: Goal) -> None:
    student, teacher = Constant(goal, 2.0), Constant(goal, 5.0)
    task = make_task(goal, student, teacher, mixed=True)
    items = task.batch(np.random.default_rng(1))
    task(items, 0.0)
    task(items, 0.0)
    assert len(student.seen) == len(teacher.seen) == 2
    for mine, theirs in zip(student.seen, teacher.seen, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(student.seen[0], student.seen[1]), "augmentation follows from the items alone"
    assert student.seen[0].shape == (BATCH + BATCH // 2, 3, SIDE, SIDE)


def losses_by_kind(task: TaskTraining, random: int) -> tuple[list[Item], Tensor, dict[str, float]]:
    items = list(task.batch(np.random.default_rng(random)))
    loss, figures = task(items, 0.0)
    return items, loss.detach(), figures


@pytest.mark.parametrize("goal", GOALS)
def test_networks_of_any_precision_see_the_same_photos(goal: Goal, weights: Path) -> None:
    student = Constant(goal, 2.0)
    task = make_task(goal, student, Constant(goal, 5.0), mixed=True)
    items = task.batch(np.random.default_rng(1))
    task(items, 0.0)
    plain = Recipe(augment="plain", side=SIDE)
    probe = make_task(goal, network_of(goal, weights, frozen=True), recipe=plain, features=FrozenFeatures(10**9))
    probe.begin(0.0)
    expected = probe(probe.batch(np.random.default_rng(1)), 0.0)[0]
    with torch.autocast("cpu", torch.bfloat16):
        task(items, 0.0)
        found = probe(probe.batch(np.random.default_rng(1)), 0.0)[0]
    assert torch.equal(student.seen[0], student.seen[1])
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("goal", GOALS)
def test_mixed_images_never_teach_the_task_unless_asked(goal: Goal, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(goal, Constant(goal, 2.0), Constant(goal, 5.0), mixed=True)
    items, _, figures = losses_by_kind(task, 3)
    originals, mixed = ([item for item in items if (item.mix is None) == kind] for kind in (True, False))
    assert (len(originals), len(mixed)) == (BATCH, BATCH // 2)
    # As a batch of originals alone: what is mixed changes nothing of the task's loss.
    alone = make_task(goal, Constant(goal, 2.0), Constant(goal, 5.0))
    plain = alone([item._replace(task=1.0, distillation=1.0) for item in originals], 0.0)[1]
    assert figures["task"] == pytest.approx(plain["task"], rel=1e-5)
    # Half of the distillation is of originals, half of mixed ones.
    only = [item._replace(task=0.0, distillation=1.0) for item in mixed]
    of_mixed = task(only, 0.0)[1]["distillation"]
    assert figures["distillation"] == pytest.approx((plain["distillation"] + of_mixed) / 2, rel=1e-5)
    asked = make_task(goal, Constant(goal, 2.0), Constant(goal, 5.0), mixed=True, mixed_in="task")
    _, _, told = losses_by_kind(asked, 3)
    labels = task([item._replace(task=1.0) for item in mixed], 0.0)[1]["task"]
    assert labels != pytest.approx(plain["task"], rel=1e-3)
    assert told["task"] == pytest.approx((plain["task"] + labels) / 2, rel=1e-5)


def test_mixed_images_without_a_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a teacher"):
        make_task("classification", Constant("classification", 1.0), mixed=True)
    write_images(tmp_path)
    photos = photos_of("segmentation")
    model = Constant("segmentation", 1.0)
    mixer = FolderMixer(tmp_path, photos, CLASSES, RECIPE)
    with pytest.raises(InputError, match="What the mixed images show is not known"):
        TaskTraining(model, photos, RECIPE, batch=2, mixer=mixer, mixed_in="task")
    with pytest.raises(InputError, match="a batch of 2 photos at least, found 1"):
        TaskTraining(model, photos, RECIPE, batch=1)


def test_mixup_blends_originals_and_their_labels() -> None:
    photos = photos_of("classification")
    task = make_task("classification", Constant("classification", 1.0), Constant("classification", 2.0), mixed=True)
    items = task.batch(np.random.default_rng(5))
    batch = task._gathered(items)
    for k, item in enumerate(items[:BATCH]):
        assert item.drawn is not None
        assert item.partner is not None
        assert item.partner == items[(k + BATCH // 2) % BATCH].drawn
        first, second = (make_sample(photos, drawn, RECIPE) for drawn in (item.drawn, item.partner))
        torch.testing.assert_close(batch.pixels[k], item.share * first.pixels + (1 - item.share) * second.pixels)
        torch.testing.assert_close(batch.truth[k], blended(first, second, item.share).truth)
    assert all(item.partner is None for item in items[BATCH:]), "mixed images are not blended again"
    shares = np.array([item.share for seed in range(50) for item in task.batch(np.random.default_rng(seed))[:BATCH]])
    assert ((shares < 0.05) | (shares > 0.95)).mean() > 0.5, "Beta(0.2, 0.2) leaves most photos as they are"
    for parts in (2, BATCH // 2):  # a photo and its partner are in the same process
        places = {item.drawn: k % parts for k, item in enumerate(items[:BATCH])}
        assert all(places[item.partner] == k % parts for k, item in enumerate(items[:BATCH]))
    for augment in AUGMENTS[1:]:
        other = make_task("classification", Constant("classification", 1.0), recipe=replace(RECIPE, augment=augment))
        assert all(item.partner is None for item in other.batch(np.random.default_rng(0)))


def test_a_validation_split_keeps_whole_groups_back() -> None:
    photos = small_data("classification", 40).train
    learned, kept = split_by_group(photos, 0.1, seed=0)
    assert {p.group for p in learned}.isdisjoint(p.group for p in kept)
    assert len(learned) + len(kept) == 40
    assert len(kept) == 4
    assert [p.name for p in split_by_group(photos, 0.1, seed=0)[1]] == [p.name for p in kept]
    assert any({p.name for p in split_by_group(photos, 0.1, seed=s)[1]} != {p.name for p in kept} for s in (1, 2))
    two = [replace(photo, group=f"half {i // 20}") for i, photo in enumerate(photos)]
    assert [len(part) for part in split_by_group(two)] == [20, 20]
    with pytest.raises(InputError, match="two at least, found 1"):
        split_by_group([replace(photo, group="one") for photo in photos])


def test_heads_are_as_wide_as_the_text_says(weights: Path) -> None:
    assert class_width(384, 4, True) == 384 * 5
    assert class_width(384, 3, False) == 384 * 3
    assert hidden_width(1536 * 5, 345, "geometric") == round((1536 * 5 * 345) ** 0.5)
    head = ClassHead(20, 5, "geometric")
    assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == [(10, 20), (5, 10)]
    encoder = load_encoder("timm:test_vit", weights, "cpu")
    assert isinstance(encoder, TrainableEncoder)
    pixels = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = class_features(encoder, pixels, 2, mean_patch=True)
        layers = encoder.layers(pixels, 6)
    expected = [layers[4].cls, layers[5].cls, layers[5].patches.mean((1, 2))]
    torch.testing.assert_close(features, torch.cat([one for one in expected if one is not None], 1))
    with pytest.raises(InputError, match="has 6 blocks"):
        class_features(encoder, pixels, 7, mean_patch=False)
    pixelwise = PixelHead(4, 3).train()
    patches = torch.randn(2, 5, 6, 4, generator=torch.Generator().manual_seed(1))
    normed = nn.BatchNorm1d(4)(patches.flatten(0, 2)).view_as(patches)
    torch.testing.assert_close(pixelwise(patches), pixelwise.linear(normed).permute(0, 3, 1, 2))


def test_a_frozen_transformer_is_neither_trained_nor_kept_with_its_head(weights: Path) -> None:
    model = network_of("segmentation", weights, frozen=True)
    assert isinstance(model, VitModel)
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"head"}
    assert model.features(torch.rand(1, 3, 32, 32)).grad_fn is None
    tuned = network_of("segmentation", weights)
    left = [name for name, p in tuned.named_parameters() if not p.requires_grad]
    assert len(left) < 0.1 * len(list(tuned.parameters()))
    with torch.no_grad():
        next(iter(tuned.parameters())).add_(1)
    assert isinstance(tuned, VitModel)
    assert tuned.base[0].fingerprint() == model.base[0].fingerprint(), "the original stays as it was"


@pytest.mark.parametrize(("side", "kernel", "grid"), [(32, 3, 4), (64, 7, 2)])
def test_the_stem_of_a_resnet_is_small_for_small_photos(side: int, kernel: int, grid: int) -> None:
    spec = ModelSpec(name="resnet18", goal="classification", classes=5, side=side)
    with torch.device("meta"):
        model = ConvModel(spec)
    stem = model.get_submodule("trunk.conv1")
    assert isinstance(stem, nn.Conv2d)
    assert stem.kernel_size == (kernel, kernel)
    assert model.get_submodule("trunk")(torch.empty(1, 3, side, side, device="meta")).shape == (1, 512, grid, grid)
    assert model(torch.empty(2, 3, side, side, device="meta")).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "side", "rates"),
    [
        ("deeplabv3-resnet18", 96, (1, 2, 3)),
        ("deeplabv3-resnet50", 96, (2, 4, 6)),
        ("deeplabv3-resnet18", 176, (2, 4, 6)),
        ("deeplabv3-resnet18", 560, (6, 12, 18)),
        ("deeplabv3-resnet50", 560, (12, 24, 36)),
    ],
)
def test_deeplabs_head_reaches_nodes_and_not_padding_alone(name: str, side: int, rates: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = ConvModel(ModelSpec(name=name, goal="segmentation", classes=7, side=side))
    dilations = [module.dilation[0] for module in model.head.modules() if isinstance(module, nn.Conv2d)]
    assert [one for one in dilations if one > 1] == [rate for rate in rates if rate > 1]
    assert max(dilations) < side / (8 if name.endswith("50") else 16)


@pytest.mark.parametrize(("name", "grid"), [("deeplabv3-resnet18", 6), ("deeplabv3-resnet50", 12)])
def test_deeplab_tells_nodes_of_a_grid(name: str, grid: int) -> None:
    with torch.device("meta"):
        model = ConvModel(ModelSpec(name=name, goal="segmentation", classes=7, side=96))
    assert model.eval()(torch.empty(1, 3, 96, 96, device="meta")).shape == (1, 7, grid, grid)
    kinds = [type(module) for module in model.modules()]
    assert SharedBatchNorm in kinds
    assert ItemDropout in kinds
    assert not any(kind in (nn.BatchNorm2d, nn.Dropout) for kind in kinds)


def test_a_resnet_begins_with_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    own = resnet18(weights=None)
    torch.save(own.state_dict(), tmp_path / "resnet18.pth")
    spec = ModelSpec(name="resnet18", goal="classification", classes=5, side=64)
    model = build_model(spec, weights=tmp_path / "resnet18.pth")
    torch.testing.assert_close(model.get_parameter("trunk.layer4.1.conv2.weight"), own.layer4[1].conv2.weight)
    with pytest.raises(InputError, match="does not hold the weights of resnet50"):
        build_model(replace(spec, name="resnet50"), weights=tmp_path / "resnet18.pth")


def test_dropout_follows_from_the_items() -> None:
    drop = ItemDropout(0.5).train()
    values = torch.ones(3, 4, 5, 5)
    drop.seeds = [7, 8, 7]
    dropped = drop(values)
    assert torch.equal(dropped[0], dropped[2])
    assert not torch.equal(dropped[0], dropped[1])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    drop.seeds = [8]
    assert torch.equal(drop(values[:1])[0], dropped[1])
    assert torch.equal(drop.eval()(values[:1]), values[:1])


@pytest.mark.parametrize("augment", ["standard", "trivial", "centre"])
def test_photos_are_augmented_by_their_seed_alone(augment: Augment) -> None:
    recipe = Recipe(augment=augment, side=24)
    image, truth = as_tensor(photo_of(0, 0, 40)), torch.tensor([1.0, 0, 0])
    torch.manual_seed(3)
    first = augmented(image, truth, "classification", recipe, 11)
    after = torch.rand(1)
    second = augmented(image, truth, "classification", recipe, 11)
    assert torch.equal(first.pixels, second.pixels)
    assert not torch.equal(first.pixels, augmented(image, truth, "classification", recipe, 12).pixels)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after), "the global generator is left as it was"
    assert first.pixels.shape == (3, 24, 24)
    assert 0 <= float(first.pixels.min()) <= float(first.pixels.max()) <= 1


def test_crops_show_part_of_a_photo_and_keep_colours_without_jitter() -> None:
    # Columns and rows are counted by two channels, so a crop tells what it shows.
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image[0], image[1] = torch.arange(40)[:, None] * 6, torch.arange(60) * 4
    areas, aspects, mirrored = [], [], 0
    for seed in range(60):
        recipe = Recipe(side=32, scale=0.3, jitter=0.0)
        pixels = augmented(image, torch.zeros(3), "classification", recipe, seed).pixels * 255
        rows, columns = pixels[0, :, 16] / 6, pixels[1, 16] / 4
        # Each of 32 pixels stands for as many of the photo as lie between two of them.
        high, wide = ((one[-2] - one[1]).abs() / 29 * 32 for one in (rows, columns))
        areas.append(float(high * wide) / (40 * 60))
        aspects.append(float(wide / high))
        mirrored += bool(columns[0] > columns[-1])
    assert 0.25 < min(areas) < 0.45
    assert 0.75 < max(areas) < 1.05
    assert 0.7 < min(aspects) < 0.95 < 1.1 < max(aspects) < 1.4
    assert 15 < mirrored < 45
    bright = augmented(image, torch.zeros(3), "classification", Recipe(side=32, scale=1.0, jitter=0.4), 3).pixels
    assert not torch.allclose(bright * 255, pixels, atol=5)


@pytest.mark.parametrize("goal", GOALS)
def test_a_policy_takes_the_place_of_other_augmentation(goal: Goal) -> None:
    turned = Augmentation(Policy(("Rotate", "Invert"), torch.tensor([[9.0, -9.0]]), torch.ones(2)), flip=False)
    nothing = Augmentation(None, flip=False)
    recipe = Recipe(side=32, ratio=(1.0, 1.0), augmentation=nothing)
    image, classes = as_tensor(pixels_of(4)), torch.from_numpy(map_of(4))
    truth = classes if goal == "segmentation" else torch.tensor([0.0, 1.0, 0.0])
    found, other = (augmented(image, truth, goal, replace(recipe, augmentation=one), 11) for one in (nothing, turned))
    assert not torch.equal(found.pixels, other.pixels)
    assert not torch.equal(found.pixels, augmented(image, truth, goal, recipe, 12).pixels), "it is cut anywhere"
    assert other.pixels.shape == (3, 32, 32)
    again = augmented(image, truth, goal, replace(recipe, augmentation=turned), 11)
    assert torch.equal(again.pixels, other.pixels)
    whole = image.float() / 255
    columns = range(whole.shape[2] - 31)
    assert any(torch.equal(found.pixels, whole[:, :, x : x + 32]) for x in columns)
    assert replace(recipe, augmentation=turned).json()["augmentation"] == turned.title
    assert "augmentation" not in Recipe(side=32).json()
    assert Recipe(augment="plain").plain
    assert not Recipe(augment="plain", augmentation=nothing).plain, "what is seen differs from step to step"
    if goal == "classification":
        assert torch.equal(other.truth, truth)
        return
    assert found.inside is not None
    assert other.inside is not None
    assert bool(found.inside.all())
    assert not bool(other.inside.all()), "corners show nothing of the photo"
    assert bool((other.truth[~other.inside] == VOID).all())
    assert other.truth.dtype == torch.uint8
    # Colours are those of the classes more often than not, also where they were moved to.
    known = (other.truth != VOID) & other.inside
    assert float((other.pixels.argmax(0)[known] == other.truth[known]).float().mean()) > 0.8


def test_crops_of_photos_and_class_maps_show_the_same() -> None:
    calm = Recipe(side=32, ratio=(1.0, 1.5))
    image, truth = as_tensor(pixels_of(4)), torch.from_numpy(map_of(4))
    agree = []
    for seed in range(20):
        sample = augmented(image, truth, "segmentation", calm, seed)
        assert sample.inside is not None
        assert bool(sample.inside.all())
        known = sample.truth != VOID
        # Colours change, but what is reddest stays the red class more often than not.
        agree.append(float((sample.pixels.argmax(0)[known] == sample.truth[known]).float().mean()))
    assert np.mean(agree) > 0.8
    small = augmented(image, truth, "segmentation", Recipe(side=64, ratio=(0.5, 0.5)), 0)
    assert small.inside is not None
    assert small.inside.sum() == 32 * 48
    assert bool((small.truth[~small.inside] == VOID).all())
    assert float(small.pixels[:, ~small.inside].max()) == 0


def test_a_crop_is_drawn_again_while_one_class_fills_it() -> None:
    classes = torch.zeros(64, 64, dtype=torch.uint8)
    classes[:, 48:] = 1
    image = as_tensor(np.zeros((64, 64, 3), np.uint8))
    shares = {}
    for most in (0.75, 1.0):
        recipe = Recipe(side=32, ratio=(2.0, 2.0), most=most)
        found = [augmented(image, classes, "segmentation", recipe, seed).truth for seed in range(40)]
        shares[most] = sum(float((one == 0).float().mean()) > 0.75 for one in found)
    assert shares[0.75] < shares[1.0]


def test_plain_windows_cover_a_photo() -> None:
    image, truth = as_tensor(pixels_of(0)), torch.from_numpy(map_of(0))
    windows = plain_samples(image, truth, "segmentation", 32)
    assert len(windows) == 2
    assert torch.equal(windows[0].truth, truth[:, :32])
    assert torch.equal(windows[1].truth, truth[:, 16:])
    torch.testing.assert_close(windows[1].pixels, image[:, :, 16:].float() / 255)
    plain = Recipe(augment="plain", side=32)
    seen = {int(augmented(image, truth, "segmentation", plain, seed).truth.float().sum()) for seed in range(8)}
    assert len(seen) == 2
    tiny = as_tensor(photo_of(1, 0))
    assert torch.equal(plain_samples(tiny, torch.zeros(3), "classification", 32)[0].pixels, tiny.float() / 255)
    assert plain_samples(image, torch.zeros(3), "classification", 24)[0].pixels.shape == (3, 24, 24)


def test_regions_fill_their_share_and_have_irregular_borders() -> None:
    for share in (0.2, 0.5, 0.8):
        found = [regions(48, share, seed) for seed in range(8)]
        assert np.mean([float(one.mean()) for one in found]) == pytest.approx(share, abs=0.05)
        assert min(float(one.min()) for one in found) < 0.01
        assert max(float(one.max()) for one in found) > 0.99
        # A rectangle would cut every row that it touches in the same places.
        assert np.mean([len((one > 0.5).float().sum(1).unique()) for one in found]) > 6


@pytest.mark.parametrize("goal", GOALS)
def test_a_blend_has_the_labels_of_what_it_shows(goal: Goal) -> None:
    photos, plain = photos_of(goal), Recipe(augment="plain", side=SIDE)
    mixer = RegionMixer(photos, plain)
    mix = mixer.draw(np.random.default_rng(2))
    found, first, second = mixer.make(mix), *(make_sample(photos, one, plain) for one in (mix.first, mix.second))
    weight = regions(SIDE, mix.share, mix.seed)
    torch.testing.assert_close(found.pixels, weight * first.pixels + (1 - weight) * second.pixels)
    if goal == "classification":
        share = float(weight.mean())
        torch.testing.assert_close(found.truth, share * first.truth + (1 - share) * second.truth)
        intra = RegionMixer(photos, plain, intra=True)
        drawn = [intra.draw(np.random.default_rng(seed)) for seed in range(20)]
        assert all(photos.labels[one.first.photo] == photos.labels[one.second.photo] for one in drawn)
        assert len({(one.first.photo, one.second.photo) for one in drawn}) > 5
    else:
        assert torch.equal(found.truth, torch.where(weight >= 0.5, first.truth, second.truth))
        with pytest.raises(InputError, match="no class of their own"):
            RegionMixer(photos, plain, intra=True)


def write_images(folder: Path, *classes: str) -> None:
    from PIL import Image

    for name in classes or ("",):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            Image.fromarray(photo_of(i, i, 40)).save(folder / name / f"{i}.png")


def test_images_mixed_elsewhere_are_read_from_a_folder(tmp_path: Path) -> None:
    photos, plain = photos_of("classification"), Recipe(augment="plain", side=SIDE)
    with pytest.raises(InputError, match="found none"):
        FolderMixer(tmp_path / "missing", photos, CLASSES, plain)
    (tmp_path / "any").mkdir()
    with pytest.raises(InputError, match="Expected images"):
        FolderMixer(tmp_path / "any", photos, CLASSES, plain)
    write_images(tmp_path / "any")
    any_pair = FolderMixer(tmp_path / "any", photos, CLASSES, plain)
    assert not any_pair.labelled
    assert float(any_pair.make(any_pair.draw(np.random.default_rng(0))).truth.sum()) == 0
    write_images(tmp_path / "intra", "red", "blue")
    intra = FolderMixer(tmp_path / "intra", photos, CLASSES, plain)
    assert intra.labelled
    labels = {int(intra.make(intra.draw(np.random.default_rng(seed))).truth.argmax()) for seed in range(20)}
    assert labels == {0, 2}
    assert intra.identity() != any_pair.identity()
    pixelwise = FolderMixer(tmp_path / "any", photos_of("segmentation"), CLASSES, replace(plain, augment="standard"))
    sample = pixelwise.make(pixelwise.draw(np.random.default_rng(0)))
    assert bool((sample.truth == VOID).all())
    assert sample.inside is not None
    assert bool(sample.inside.any())
    write_images(tmp_path / "intra", "mauve")
    with pytest.raises(InputError, match="mauve, which is none of the classes"):
        FolderMixer(tmp_path / "intra", photos, CLASSES, plain)


def test_diffusion_says_what_it_lacks_and_its_images_are_made_once(tmp_path: Path) -> None:
    import importlib.util

    from training.distillation.specific.diffusion import DiffusionPipeline, folder_of, make_mixed_images

    lacks = "install diffusers" if importlib.util.find_spec("diffusers") is None else "with model_index.json"
    with pytest.raises(InputError, match=lacks):
        DiffusionPipeline(tmp_path, torch.device("cpu"))
    made: list[int] = []

    def mean(first: np.ndarray, second: np.ndarray, seed: int) -> np.ndarray:
        made.append(seed)
        return ((first.astype(int) + second) // 2).astype(np.uint8)

    photos = small_data("classification", 4).train
    folder, odd = tmp_path / "mixed", ("a/b", "../up", "")  # no names of folders
    for part in (0, 1):  # two processes share the work
        make_mixed_images(lambda: mean, photos, folder, times=2, classes=odd, part=(part, 2))
        assert len(made) == len(set(made)) == 4 * (part + 1)
    names = [str(path.relative_to(folder).parent) for path in folder.rglob("*.png")]
    assert sorted(names) == ["0000"] * 4 + ["0001"] * 2 + ["0002"] * 2
    make_mixed_images(lambda: pytest.fail("all are there"), photos, folder, times=2, classes=odd)
    mixer = FolderMixer(folder, photos_of("classification"), odd, RECIPE)
    assert mixer.labelled
    assert mixer._files[0][1] == 0
    with pytest.raises(InputError, match="lists other classes"):
        FolderMixer(folder, photos_of("classification"), CLASSES, RECIPE)
    (tmp_path / "weights").mkdir()
    usual: dict[str, Any] = {"times": 5, "intra": False, "seed": 0}
    changed = [usual, usual | {"times": 6}, usual | {"intra": True}, usual | {"seed": 1}]
    folders = {folder_of(tmp_path / "weights", "photos", **one) for one in changed}
    (tmp_path / "weights" / "model_index.json").write_text("{}")
    folders |= {folder_of(tmp_path / "weights", photos, **usual) for photos in ("photos", "others")}
    assert len(folders) == 6


@pytest.mark.parametrize("goal", GOALS)
def test_features_of_a_frozen_encoder_are_computed_once(goal: Goal, weights: Path) -> None:
    recipe = Recipe(augment="plain", side=SIDE)
    shared = FrozenFeatures(10**9)
    tasks = [
        make_task(goal, network_of(goal, weights, frozen=True), recipe=recipe, features=features)
        for features in (None, shared, FrozenFeatures(100))
    ]
    losses = []
    for task in tasks:
        task.begin(0.0)
        losses.append(float(task.eval()(task.batch(np.random.default_rng(0)), 0.0)[0].detach()))
    assert [len(task._known) for task in tasks] == [0, 12, 0], "of more than the memory none are kept"
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert losses[2] == losses[0]
    # Another seed's head on the same encoder does not ask it again, neither in training nor when it is measured.
    test = small_data(goal).test
    expected = figures_on(tasks[0].model, test, CLASSES)
    assert figures_on(tasks[1].model, test, CLASSES, shared) == expected
    used = shared.used
    again = make_task(goal, network_of(goal, weights, frozen=True), recipe=recipe, features=shared)
    assert isinstance(again.model, VitModel)
    again.model._own = ()  # type: ignore[assignment]
    again.begin(0.0)
    again(again.batch(np.random.default_rng(1)), 0.0)
    figures_on(again.model, test, CLASSES, shared)
    assert shared.used == used > 0
    finished = make_task(goal, network_of(goal, weights, frozen=True), recipe=recipe, features=FrozenFeatures(10**9))
    finished.begin(1.0)
    assert not finished._known, "a training that is done needs none"


def test_features_make_room_for_those_of_later_trainings(weights: Path) -> None:
    model = network_of("classification", weights, frozen=True)
    one = FrozenFeatures(10**9)
    photos = photos_of("classification")
    assert len(one.learned(model, photos, SIDE)) == 12
    small = FrozenFeatures(int(one.used * 1.5))
    test = small_data("classification").test
    small.learned(model, photos, SIDE)
    figures_on(model, test, CLASSES, small)
    assert small.used == one.used, "what is measured takes no room of what is learned"
    assert len(small.learned(model, TaskPhotos(test, "classification", 3), SIDE)) == 12
    assert small.used == one.used, "the photos before are forgotten"


def test_photos_are_read_once_within_the_memory() -> None:
    read: list[int] = []

    def image(number: int) -> np.ndarray:
        read.append(number)
        return photo_of(0, number)

    photos = [ProbePhoto(str(i), str(i), partial(image, i), label=0) for i in range(4)]
    kept = KeptPhotos(2 * 3 * SIDE * SIDE)
    assert kept.expected(photos) == 2 * 3 * SIDE * SIDE
    read.clear()
    again = kept.keeping(photos)
    for _ in range(3):
        assert all(np.array_equal(photo.image(), photo_of(0, i)) for i, photo in enumerate(again))
    assert [read.count(i) for i in range(4)] == [1, 1, 3, 3]


def test_threads_prepare_samples_as_one_does_and_leave_torch_its_threads() -> None:
    photos, drawn = photos_of("segmentation"), [Drawn(i % 12, i) for i in range(24)]
    make = partial(make_sample, photos, recipe=RECIPE)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = side_by_side(make, drawn)
        torch.set_num_threads(3)
        together = side_by_side(make, drawn)
        seen = side_by_side(lambda _: (threading.get_ident(), torch.get_num_threads()), range(50))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3, "threads that begin later have all"
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(alone, together, strict=True))
    assert {count for _, count in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}


def test_a_fingerprint_knows_all_maps_and_labels(tmp_path: Path) -> None:
    data = small_data("segmentation")

    def of(photos: Sequence[ProbePhoto]) -> str:
        return TaskPhotos(photos, "segmentation", 3).fingerprint

    usual = of(data.train)
    assert usual == of(small_data("segmentation").train) == of(KeptPhotos().keeping(data.train))
    changed = [*data.train]
    changed[7] = replace(changed[7], classes=partial(map_of, 99))
    assert of(changed) != usual
    changed[7] = replace(data.train[7], image=partial(pixels_of, 99))
    assert of(changed) != usual
    # Of more photos than are looked at the sizes of the others' files are known.
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        file.write_bytes(b"a" * 10)
    many = [replace(data.train[0], image=partial(lambda _: pixels_of(0), files[i % 3])) for i in range(2500)]
    before = of(many)
    files[1].write_bytes(b"a" * 11)
    assert of(many) != before


def test_pixels_are_told_from_windows_whose_logits_are_averaged() -> None:
    class Left(Constant):
        """Says of every window that it shows red on the left and green on the right, the right less surely."""

        def read(self, features: Tensor, seeds: object = None) -> Tensor:
            ramp = torch.linspace(1.0, -0.5, features.shape[3])
            said = torch.stack([ramp, torch.zeros_like(ramp), torch.full_like(ramp, -9.0)])
            return said[None, :, None].expand(len(features), -1, features.shape[2], -1)

    model = Left("segmentation", 1.0)
    model.spec = replace(model.spec, side=32)
    told = told_classes(model, np.zeros((32, 64, 3), np.uint8), (32, 64))
    assert [tuple(window.shape[1:]) for window in model.seen] == [(3, 32, 32)]
    assert len(model.seen[0]) == 3
    # Between pixels 16 and 48 two windows speak: the mean of their ramps is above zero up to where one alone is not.
    ramp = np.linspace(1.0, -0.5, 32)
    sums, counts = np.zeros(64), np.zeros(64)
    for start in (0, 16, 32):
        sums[start : start + 32] += ramp
        counts[start : start + 32] += 1
    np.testing.assert_array_equal(told[0], (sums / counts < 0).astype(int))
    assert set(np.unique(told)) == {0, 1}


def test_figures_are_those_of_what_is_told() -> None:
    model = Constant("classification", 1.0)
    model.spec = replace(model.spec, side=SIDE)
    data = small_data("classification")
    assert figures_on(model, data.test, CLASSES) == {"accuracy": 1.0}, "the channel that is brightest is the class"
    wrong = [replace(photo, label=0) for photo in data.test]
    assert figures_on(model, wrong, CLASSES)["accuracy"] == pytest.approx(1 / 3)


def test_grids_are_those_of_the_text() -> None:
    def of(goal: Goal, name: str, frozen: bool = False) -> ModelSpec:
        return ModelSpec(name=name, goal=goal, classes=10, frozen=frozen)

    tuned = of("segmentation", "dinov2-small")
    usual = numbers_for(tuned, "segmentation", "paper")
    assert (usual.rate, usual.weight_decay, usual.batch, usual.epochs) == (2e-5, 0.01, 16, 80)
    grid = grid_of(tuned, "segmentation", "paper", usual)
    assert {(one.rate, one.weight_decay) for one in grid} == {
        (r, d) for r in (1e-5, 2e-5, 4e-5) for d in (1e-3, 0.01, 0.1)
    }
    assert {one.rate for one in grid_of(tuned, "segmentation", "small", usual)} == {1e-4, 2e-4, 4e-4}
    frozen, large = of("segmentation", "dinov2-giant", True), of("segmentation", "dinov2-large")
    head = numbers_for(frozen, "segmentation", "paper", width=1536)
    assert (head.rate, head.weight_decay, head.batch, head.epochs) == (0.008, 0.0, 32, 20)
    assert numbers_for(frozen, "segmentation", "paper", width=384).epochs == 30
    wide = numbers_for(large, "segmentation", "paper", width=1024)
    assert (wide.rate, wide.weight_decay, wide.batch, wide.epochs) == (1e-5, 0.01, 8, 50)
    wide = numbers_for(of("classification", "dinov2-large"), "domainnet", "paper", width=1024)
    assert (wide.rate, wide.weight_decay, wide.batch, wide.epochs) == (5e-6, 0.05, 32, 50)
    assert numbers_for(large, "segmentation", "small", width=1024).epochs == 20, "the small scale knows no widths"
    resnet = numbers_for(of("classification", "resnet50"), "domainnet", "paper")
    assert (resnet.rate, resnet.weight_decay, resnet.batch, resnet.epochs) == (0.1, 5e-4, 128, 200)
    assert resnet.optimizer == "sgd"
    assert resnet.schedule(1280, seed=1).steps == 2000
    assert recipe_for(of("classification", "resnet50"), "fine-grained", "paper", 300).augment == "trivial"
    assert recipe_for(of("classification", "resnet50"), "fine-grained", "paper", 300).scale == 0.4
    assert recipe_for(of("classification", "dinov2-giant", True), "fine-grained", "paper", 300).augment == "centre"
    assert recipe_for(tuned, "segmentation", "paper", 300).augment == "standard"
    assert (side_for("segmentation", "paper", 180), side_for("segmentation", "small", 180)) == (560, 176)
    assert side_for("classification", "small", 32) == 32


def test_what_does_not_fit_a_network_is_refused(weights: Path) -> None:
    with pytest.raises(InputError, match="resnet18 is no network for segmentation"):
        ModelSpec(name="resnet18", goal="segmentation", classes=3)
    with pytest.raises(InputError, match="has no head to be probed"):
        ModelSpec(name="resnet18", goal="classification", classes=3, frozen=True)
    with pytest.raises(InputError, match="alpha from 0 to 1"):
        Weighting(alpha=1.5)
    with pytest.raises(InputError, match="cannot be fine-tuned"):
        build_model(ModelSpec(name="rgb", goal="classification", classes=3))
    with pytest.raises(InputError, match="takes no weights"):
        build_model(ModelSpec(name="timm:test_vit", goal="classification", classes=3, scratch=True), weights=weights)


def test_a_transformer_from_scratch_has_the_weights_of_its_seed(weights: Path) -> None:
    spec = ModelSpec(name="timm:test_vit", goal="classification", classes=3, scratch=True, side=SIDE)
    first, again, other = (build_model(spec, seed=seed).fingerprint() for seed in (0, 0, 1))
    assert first == again != other
    assert first != build_model(replace(spec, scratch=False), weights=weights).fingerprint()


def test_drawn_photos_are_all_of_them() -> None:
    task = make_task("segmentation", Constant("segmentation", 1.0), batch=100)
    items = task.batch(np.random.default_rng(0))
    assert {item.drawn.photo for item in items if item.drawn is not None} == set(range(12))
    assert len({item.drawn for item in items}) == len({item.seed for item in items}) == 100
    assert isinstance(items[0].drawn, Drawn)
