"""Probes find what features hold, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.errors import InputError
from training.probing import (
    VOID,
    DptSettings,
    EncoderSource,
    GivenSource,
    ProbeData,
    ProbePhoto,
    ProbeSettings,
    SideBySide,
    Task,
    compare,
    interval_over_seeds,
    open_source,
    run_probe,
)
from training.probing.bins import DepthBins
from training.probing.heads import fit_depth, fit_segmentation
from training.probing.linear import LinearHeads
from training.probing.rows import gather_rows
from training.probing.scores import ScoreKeeper, Scores, figures_of
from training.probing.targets import class_shares, mean_depth
from uplift.encoders import load_encoder
from uplift.encoders.base import Encoder, Image
from uplift.maps import FeatureMapCache

NAMES = ("red", "green", "blue", "never seen")
QUICK = ProbeSettings(steps=200, batch=512, rate=1e-2)


class Blind(Encoder):
    """Says the same of every patch."""

    name = "blind"
    dimension = 3

    def encode(self, image: Image) -> torch.Tensor:
        return torch.ones(4, 4, 3)


class Counting(Encoder):
    """The mean of the colours as the feature of the photo; counts how often it was asked."""

    name = "counting"
    dimension = 3
    asked = 0

    def encode(self, image: Image) -> torch.Tensor:
        self.asked += 1
        return torch.as_tensor(image).float()[::8, ::8] / 255

    def encode_global(self, image: Image) -> torch.Tensor:
        self.asked += 1
        return torch.as_tensor(image).float().amax((0, 1)) / 255

    def weights_hash(self) -> str:
        return "none"


def give(value: Any) -> Callable[[], Any]:
    return partial(lambda one: one, value)


def photos(count: int, seed: int, *, sides: Sequence[int] = (32,)) -> list[ProbePhoto]:
    """Patches of one of three colours; the brighter, the nearer; the whole photo is of its most frequent colour."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        side = sides[index % len(sides)] // 8
        blocks = random.integers(3, size=(side, side))
        bright = random.uniform(60, 250, size=blocks.shape)
        picture = np.zeros((*blocks.shape, 3))
        np.put_along_axis(picture, blocks[..., None], bright[..., None], axis=2)
        grown = [v.repeat(8, 0).repeat(8, 1) for v in (picture, blocks, 5 - bright / 60)]
        image, classes, depth = (v.astype(t) for v, t in zip(grown, (np.uint8, np.uint8, np.float32), strict=True))
        label = int(np.bincount(blocks.ravel()).argmax())
        name, group = f"{index}", f"group {index % 5}"
        found.append(ProbePhoto(name, group, give(image), classes=give(classes), depth=give(depth), label=label))
    return found


def data(**options: Any) -> ProbeData:
    return ProbeData("blocks", photos(40, 0, **options), photos(10, 1, **options), classes=NAMES)


def figures(task: Task, encoder: Encoder, probed: ProbeData | None = None, **options: Any) -> dict[str, float]:
    settings = options.pop("settings", QUICK)
    found = run_probe(probed or data(), task, EncoderSource(encoder), seeds=(0,), settings=settings, **options)
    return {name: values[0] for name, values in figures_of(found.scores).items()}


def test_a_probe_reads_what_the_features_hold() -> None:
    of_colours, of_nothing = figures("segmentation", load_encoder("rgb")), figures("segmentation", Blind())
    # Between two patches scores are interpolated, so their borders are not exact.
    assert of_colours["miou"] > 0.7
    assert of_colours["aacc"] > 0.8
    assert of_nothing["miou"] < 0.35
    deep, flat = figures("depth", load_encoder("rgb")), figures("depth", Blind())
    assert deep["rmse"] < 0.75 * flat["rmse"]
    assert deep["absrel"] < 0.75 * flat["absrel"]


def test_photos_of_several_sizes_are_probed_together() -> None:
    mixed = data(sides=(32, 48, 64))
    assert figures("segmentation", load_encoder("rgb"), mixed)["miou"] > 0.7


def test_on_its_own_grid_a_probe_is_exact() -> None:
    probed, source = data(), EncoderSource(load_encoder("rgb"))
    device = torch.device("cpu")
    heads = fit_segmentation(probed, source, QUICK, (0,), device, lambda *_: None)
    deep = fit_depth(probed, source, replace(QUICK, steps=400), (0,), device, lambda *_: None)
    for photo in probed.test:
        assert photo.classes is not None
        assert photo.depth is not None
        np.testing.assert_array_equal(next(heads.tell(photo, (4, 4))), photo.classes()[::8, ::8])
        assert np.sqrt(np.mean((next(deep.tell(photo, (4, 4))) - photo.depth()[::8, ::8]) ** 2)) < 0.4


def test_what_does_not_count_teaches_nothing() -> None:
    def hide(photo: ProbePhoto) -> ProbePhoto:
        assert photo.classes is not None
        assert photo.depth is not None
        hidden = photo.classes() == 1
        classes = np.where(hidden, VOID, photo.classes()).astype(np.uint8)
        depth = np.where(hidden, 0, photo.depth()).astype(np.float32)
        return replace(photo, classes=give(classes), depth=give(depth))

    probed = replace(data(), train=[hide(photo) for photo in photos(20, 0)])
    source, device = EncoderSource(load_encoder("rgb")), torch.device("cpu")
    heads = fit_segmentation(probed, source, QUICK, (0,), device, lambda *_: None)
    assert not any((next(heads.tell(photo, (32, 32))) == 1).any() for photo in probed.test)
    deep = fit_depth(probed, source, QUICK, (0,), device, lambda *_: None)
    told = min(float(next(deep.tell(photo, (4, 4))).min()) for photo in probed.test)
    assert told > 0.5, "unknown depth is not taken for zero"


def test_heads_fitted_at_once_are_those_that_are_fitted_alone_and_torch_is_left_alone() -> None:
    source = EncoderSource(load_encoder("rgb"))
    before = torch.random.get_rng_state()
    settings = replace(QUICK, steps=20)
    several = run_probe(data(), "depth", source, seeds=(0, 1, 7), settings=settings).scores.sums
    for place, seed in enumerate((0, 1, 7)):
        alone = run_probe(data(), "depth", source, seeds=(seed,), settings=settings).scores.sums
        np.testing.assert_allclose(alone[0], several[place], rtol=1e-4)
    assert (several[0] != several[1]).any()
    assert torch.equal(before, torch.random.get_rng_state())


def test_classes_of_photos_are_told_from_the_feature_of_the_whole_or_the_mean_of_patches() -> None:
    """The largest red, green and blue say little of the most frequent colour; their means do."""
    settings = replace(QUICK, batch=40)
    mean = figures("classification", load_encoder("rgb"), settings=settings)
    largest = figures("classification", Counting(), settings=settings)
    both = figures("classification", Counting(), settings=replace(settings, mean_patch=True))
    assert mean["accuracy"] > 0.7
    assert largest["accuracy"] < mean["accuracy"]
    assert both["accuracy"] > largest["accuracy"]


def test_the_feature_of_the_whole_photo_stands_beside_every_patch_for_depth() -> None:
    """How far a photo is, its patches do not say: only one pixel does."""

    def marked(photo: ProbePhoto, index: int) -> ProbePhoto:
        image = np.zeros((32, 32, 3), np.uint8)
        image[-1, -1] = 40 + 20 * (index % 10)
        return replace(photo, image=give(image), depth=give(np.full((32, 32), 1 + index % 10, np.float32)))

    train, test = ([marked(p, i) for i, p in enumerate(photos(count, 0))] for count in (40, 10))
    probed = replace(data(), train=train, test=test)
    assert figures("depth", Counting(), probed, settings=replace(QUICK, steps=400))["rmse"] < 0.7
    assert figures("depth", Blind(), probed)["rmse"] > 2


def test_features_are_computed_once_and_kept(tmp_path: Path) -> None:
    encoder = Counting()
    source = EncoderSource(encoder, FeatureMapCache(tmp_path))
    settings = replace(QUICK, steps=5)
    first = run_probe(data(), "depth", source, settings=settings)
    asked = encoder.asked
    again = run_probe(data(), "depth", source, settings=settings)
    assert encoder.asked == asked, "every map and every feature of a photo is read back"
    np.testing.assert_array_equal(first.scores.sums, again.scores.sums)


def test_several_sources_are_put_side_by_side_on_the_grid_of_the_first() -> None:
    photo = photos(1, 0)[0]
    given = GivenSource("given", lambda _: torch.arange(4.0).reshape(2, 2, 1))
    both = SideBySide([EncoderSource(load_encoder("rgb")), given])
    described = both.describe(photo)
    assert described.patches.shape == (4, 4, 4)
    assert described.whole.shape == (4,)
    np.testing.assert_allclose(described.patches[0, 0, 3], 0)
    np.testing.assert_allclose(described.patches[3, 3, 3], 3)
    assert both.name == "rgb + given"
    twice = open_source("rgb+rgb").describe(photo).patches
    torch.testing.assert_close(twice[..., :3], twice[..., 3:])


def test_maps_of_a_folder_are_read_by_group_and_name(tmp_path: Path) -> None:
    photo = photos(1, 0)[0]
    source = open_source(f"maps:{tmp_path}")
    with pytest.raises(InputError, match=r"group 0/0\.npy"):
        source.describe(photo)
    (tmp_path / photo.group).mkdir()
    np.save(tmp_path / photo.group / f"{photo.name}.npy", np.ones((2, 3, 5), np.float16))
    assert source.describe(photo).patches.shape == (2, 3, 5)
    with pytest.raises(InputError, match="folder of maps"):
        open_source(f"maps:{tmp_path / 'none'}")
    with pytest.raises(InputError, match=r"\+ between"):
        open_source("rgb+")


def test_of_more_features_than_memory_holds_every_photo_gives_as_many() -> None:
    def targets(photo: ProbePhoto, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        count = grid[0] * grid[1]
        return np.arange(count, dtype=np.float32), np.ones(count, bool)

    source = EncoderSource(load_encoder("rgb"))
    mixed = photos(6, 0, sides=(32, 48))
    every = gather_rows(mixed, source, targets, memory=10**9, whole=False)
    assert len(every.patches) == 3 * 16 + 3 * 36
    few = gather_rows(mixed, source, targets, memory=6 * 5 * 3 * 2, whole=False)
    assert torch.bincount(few.photo).tolist() == [5] * 6
    place = few.targets[few.photo == 0].long()
    torch.testing.assert_close(few.patches[few.photo == 0], every.patches[:16][place])


def test_shares_and_depths_of_patches_are_those_of_a_count_by_hand() -> None:
    classes = np.array([[0, 1, 2, 2], [0, 0, VOID, VOID], [VOID, VOID, VOID, 1], [1, 1, VOID, VOID]], np.uint8)
    shares, known = class_shares(classes, 3, (2, 2))
    assert known.tolist() == [True, True, True, False]
    wanted = np.array([[0.75, 0.25, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]])
    np.testing.assert_allclose(np.asarray(shares, float) / 255, wanted, atol=1 / 255)
    with pytest.raises(InputError, match="below 2"):
        class_shares(classes, 2, (2, 2))
    depth, known = mean_depth(np.array([[1, 3, 0, 0, 2]], np.float32), (1, 2))
    np.testing.assert_allclose(depth, [2, 2])
    assert known.tolist() == [True, True]
    assert mean_depth(np.array([[1, 3, 0, 0, 2]], np.float32), (1, 1))[1].tolist() == [True]
    few = np.zeros((4, 11), np.float32)
    few[0, :2] = 3
    assert mean_depth(few[:, :10], (1, 1))[1].tolist() == [True], "a laser's two of forty pixels are enough"
    assert mean_depth(few, (1, 1))[1].tolist() == [False]


def test_bins_say_depths_between_the_nearest_and_the_farthest() -> None:
    bins = DepthBins(8.0)
    outputs = torch.full((3, 256), -1.0)
    outputs[1, 200] = 1e6
    outputs[2, 255] = 1e6
    found = bins.depth(outputs)
    assert found[0] == pytest.approx(4, abs=0.01), "without evidence it is the middle"
    assert found[1] == pytest.approx(200 / 255 * 8, abs=0.01)
    assert found[2] == pytest.approx(8, abs=0.01)
    with pytest.raises(InputError, match="above 0"):
        DepthBins(0.0)


def keeper(seeds: int = 1) -> ScoreKeeper:
    return ScoreKeeper("segmentation", NAMES, seeds)


def test_figures_are_those_of_a_count_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1], [2, 2, VOID, VOID]], np.uint8)
    told = np.array([[0, 1, 1, 1], [2, 3, 0, 2]], np.uint8)
    kept = keeper()
    kept.add_classes("a", 0, told, truth)
    scores = kept.scores()
    assert scores.class_ious() == pytest.approx({"red": 1 / 2, "green": 2 / 3, "blue": 1 / 2, "never seen": 0})
    found = {name: values[0] for name, values in figures_of(scores).items()}
    assert found["miou"] == pytest.approx((1 / 2 + 2 / 3 + 1 / 2 + 0) / 4), "a class that is only told has IoU 0"
    assert found["macc"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert found["aacc"] == pytest.approx(4 / 6)
    deep = ScoreKeeper("depth", (), 1)
    depth = np.array([[1.0, 2.0], [0.0, 4.0]], np.float32)
    deep.add_depth("a", 0, depth + 0.5, depth)
    deep.add_depth("a", 0, depth + 1.5, depth)
    deep.add_depth("b", 0, depth, np.zeros_like(depth))
    found = {name: values[0] for name, values in figures_of(deep.scores()).items()}
    assert found["rmse"] == pytest.approx(1.0), "the mean over photos; a photo of which nothing is known does not count"
    assert found["absrel"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)


@pytest.mark.parametrize("true_classes", [4, 3])
@pytest.mark.parametrize("told_classes", [4, 3])
def test_figures_agree_with_those_of_torchmetrics(true_classes: int, told_classes: int) -> None:
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

    random = np.random.default_rng(0)
    told, truth = (random.integers(k, size=(6, 9, 11)).astype(np.uint8) for k in (told_classes, true_classes))
    truth[random.random(truth.shape) < 0.2] = VOID
    kept = keeper()
    for index in range(6):
        kept.add_classes(f"{index % 2}", 0, told[index], truth[index])
    found = {name: values[0] for name, values in figures_of(kept.scores()).items()}
    a, b = (torch.from_numpy(v).long() for v in (told, truth))
    options: dict[str, Any] = {"num_classes": 4, "ignore_index": VOID}
    assert found["miou"] == pytest.approx(float(multiclass_jaccard_index(a, b, **options)), abs=1e-6)
    recalls = multiclass_accuracy(a, b, average=None, **options)[:true_classes]
    assert found["macc"] == pytest.approx(float(recalls.mean()), abs=1e-6), "over the classes that the truth has"
    assert found["aacc"] == pytest.approx(float(multiclass_accuracy(a, b, average="micro", **options)), abs=1e-6)


def scores_of(rng: np.random.Generator, shift: float, *, groups: int = 40) -> Scores:
    errors = rng.normal(1 + shift, 0.001, size=(3, groups)) + np.linspace(-0.5, 0.5, groups)
    sums = np.stack([errors, errors, np.ones_like(errors)], -1)
    return Scores("depth", (), tuple(map(str, range(groups))), sums)


def test_a_difference_that_all_groups_share_is_sure_though_the_groups_differ() -> None:
    rng = np.random.default_rng(0)
    worse, better = scores_of(rng, 0.01), scores_of(rng, 0.0)
    found = compare(worse, better, "rmse")
    assert found.over_groups.mean == pytest.approx(0.01, abs=1e-3)
    assert found.over_groups.low is not None
    assert 0.009 < found.over_groups.low < found.over_groups.mean
    assert compare(better, worse, "rmse").over_groups.mean == pytest.approx(-found.over_groups.mean)
    single = compare(scores_of(rng, 1, groups=1), scores_of(rng, 0, groups=1), "rmse")
    assert single.over_groups.low is None, "of one group nothing is known of others"
    with pytest.raises(InputError, match="same task"):
        compare(worse, scores_of(rng, 0, groups=7), "rmse")
    with pytest.raises(InputError, match="miou"):
        compare(worse, better, "miou")


def test_the_interval_of_three_seeds_is_students() -> None:
    found = interval_over_seeds([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.high == pytest.approx(2 + 4.302653 / np.sqrt(3), abs=1e-5)
    assert interval_over_seeds([1.0]).high is None


def test_resampling_groups_as_they_are_changes_no_figure() -> None:
    found = run_probe(data(), "segmentation", EncoderSource(load_encoder("rgb")), settings=replace(QUICK, steps=10))
    scores = found.scores
    once, twice = scores.figures(), scores.figures(2 * np.ones((1, len(scores.groups))))
    for name, values in once.items():
        np.testing.assert_allclose(values, twice[name])
    assert set(scores.groups) == {f"group {index}" for index in range(5)}
    assert 0 < scores.of_group("group 3")["miou"] <= 1


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_a_dpt_head_reads_the_layers_of_a_network(task: Task, tmp_path: Path) -> None:
    """On odd grids, of photos of several sizes, and better than one answer for all."""
    probed = data(sides=(40, 56))
    source = open_source("tiny-dino-untrained", cache=FeatureMapCache(tmp_path))
    quick = DptSettings(steps=60, batch=4, width=16, rate=3e-3)
    found = run_probe(probed, task, source, head="dpt", seeds=(0,), dpt=quick, show=(1,))
    values = {name: one[0] for name, one in figures_of(found.scores).items()}
    truth = [photo.depth() for photo in probed.test if photo.depth]
    one_answer = float(np.mean([one.std() for one in truth]))
    assert values["miou"] > 0.4 if task == "segmentation" else values["rmse"] < one_answer
    assert found.told[1].shape == (56, 56)


def test_a_dpt_head_needs_layers_and_pixels() -> None:
    with pytest.raises(InputError, match="one map alone"):
        run_probe(data(), "depth", open_source("rgb"), head="dpt")
    with pytest.raises(InputError, match="linear head"):
        run_probe(data(), "classification", open_source("tiny-dino-untrained"), head="dpt")


def test_encoders_that_adapt_are_fitted_to_photos_of_the_training() -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(256, size=(3, 64, 64, 3)).astype(np.uint8)
    encoder = load_encoder("dense-descriptors")
    source = EncoderSource(encoder)
    source.fit([ProbePhoto(str(i), "a", give(picture)) for i, picture in enumerate(pictures)])
    assert encoder.fitted
    assert source.describe(ProbePhoto("0", "a", give(pictures[0]))).patches.shape[:2] == (8, 8)


def test_large_photos_are_shrunk_and_squares_are_cut() -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    photo = ProbePhoto("a", "a", give(wide), label=1)
    seen = ProbeData("x", [photo], [photo], classes=NAMES, side=20).for_task("classification").train[0]
    assert seen.image().shape == (20, 50, 3)
    large = ProbeData("x", [photo], [photo], classes=NAMES, side=80).for_task("classification").train[0]
    assert large.image().shape == (40, 100, 3), "photos are not enlarged"
    same = ProbeData("x", [photo], [photo], classes=NAMES, side=80, enlarge=True).for_task("classification").train[0]
    assert same.image().shape == (80, 200, 3), "unless they are to be"
    wide[:, ::5] = 255
    wide[:, 37:63] = 90
    cut = ProbeData("x", [photo], [photo], classes=NAMES, side=28, square=True).for_task("classification").train[0]
    seen_square = cut.image()
    assert seen_square.shape == (28, 28, 3)
    assert (seen_square == 90).mean() == pytest.approx(26 / 35, abs=0.04), "the square is 7/8 of the height"


def test_wrong_data_are_refused_in_a_sentence() -> None:
    source = EncoderSource(load_encoder("rgb"))
    unknown = replace(data(), train=[replace(photo, depth=None) for photo in photos(4, 0)])
    with pytest.raises(InputError, match="no depth maps in its split train"):
        run_probe(unknown, "depth", source)
    nothing = np.full((32, 32), VOID, np.uint8)
    void = replace(data(), train=[replace(photo, classes=give(nothing)) for photo in photos(4, 0)])
    with pytest.raises(InputError, match="found none"):
        run_probe(void, "segmentation", source)
    with pytest.raises(InputError, match="below 2"):
        run_probe(replace(data(), classes=NAMES[:2]), "segmentation", source)
    wrong = replace(photos(1, 1)[0], name="odd", classes=give(np.full((32, 32), 7, np.uint8)))
    with pytest.raises(InputError, match=r"below 4 .* in the class map of odd, found 7"):
        run_probe(replace(data(), test=[wrong]), "segmentation", source, settings=replace(QUICK, steps=2))
    with pytest.raises(InputError, match="2 to 255 classes"):
        run_probe(replace(data(), classes=()), "segmentation", source)
    with pytest.raises(InputError, match="different seeds"):
        run_probe(data(), "depth", source, seeds=(1, 1))
    with pytest.raises(InputError, match="above 0"):
        ProbeSettings(steps=0)
    with pytest.raises(InputError, match="head of rgb diverged"):
        run_probe(data(), "segmentation", source, settings=replace(QUICK, steps=3, rate=1e30))


def test_a_head_says_the_same_of_features_of_its_own_and_of_all() -> None:
    heads = LinearHeads(5, 3, (0, 1)).eval()
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(heads(features[:, None].repeat(1, 2, 1)), heads.on(features))
    assert not torch.equal(*heads.on(features).detach())
