"""Co-distillation: statistics, losses, dropping, projectors, sharing, what is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from render.errors import InputError
from render.spacing import evenly, evenly_spaced
from tests.co_distilled import SCHEDULE, blank, make_task, photo_folders, two_teachers
from tests.miniatures import tiny_objects
from tests.test_encoders import photo
from tests.test_loop_processes import ROOT
from training.distillation.co.analyses import Spread, analyse, components_for, loss_correlations
from training.distillation.co.losses import distillation_loss, drawn, kept, scale_of, token_loss
from training.distillation.co.outputs import Outputs
from training.distillation.co.photos import (
    Photo,
    Photos,
    Source,
    held_out,
    open_source,
    parse_sources,
    thinned,
)
from training.distillation.co.running import run_task
from training.distillation.co.sampling import Sampler, allowed, evenly_over_owners
from training.distillation.co.seeing import (
    Seen,
    Stages,
    cropped,
    digest_of,
    recoloured,
    together,
    whole,
)
from training.distillation.co.settings import SMALLEST_CROP, Settings
from training.distillation.co.statistics import Statistics
from training.distillation.co.student import Student
from training.distillation.co.teachers import Teacher, mirrored, on_grid
from training.distillation.parts import RATIO, part_of
from training.loop import draws_of
from uplift.encoders import load_encoder
from uplift.encoders.base import Tokens
from uplift.encoders.projectors import (
    LadderProjector,
    SimpleProjector,
    TransformerProjector,
    make_projector,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folders(tmp_path_factory.mktemp("photos"))


def tokens(*, b: int = 2, grid: tuple[int, int] = (2, 3), c: int = 8, cls: bool = True, seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(b, *grid, c, generator=generator)
    return Tokens(patches, torch.randn(b, c, generator=generator) if cls else None)


def test_statistics_are_those_of_everything_seen_until_the_momentum_ends() -> None:
    random = np.random.default_rng(0)
    batches = [random.normal(3 * i, 1 + i, (10 - i, 2, 4)) for i in range(5)]  # fewer and fewer
    statistics, total = Statistics(4), 0
    for number, batch in enumerate(batches):
        count = 2 * len(batch)
        total += count
        assert statistics.momentum(count) == pytest.approx(count / total)
        for half in np.array_split(batch, 2):  # as two processes or two parts of a step would
            statistics.gather(torch.from_numpy(half).float())
        statistics.update(statistics.gathered())
        rows = np.concatenate(batches[: number + 1]).reshape(-1, 4)
        np.testing.assert_allclose(statistics.mean.numpy(), rows.mean(0), rtol=1e-5)
        np.testing.assert_allclose(statistics.deviation.numpy(), rows.std(0), rtol=1e-5)
    standardized = statistics.standardized(torch.from_numpy(rows).float())
    torch.testing.assert_close(standardized.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardized.std(0, correction=0), torch.ones(4), atol=1e-5, rtol=0)


def test_the_momentum_falls_to_a_thousandth_and_nothing_seen_changes_nothing() -> None:
    statistics = Statistics(1)
    statistics.seen.fill_(4000)
    statistics.mean.fill_(1)
    statistics.square.fill_(2)
    assert statistics.momentum(3) == 1e-3
    statistics.update(statistics.gathered())
    assert (float(statistics.mean), int(statistics.seen)) == (1, 4000)
    statistics.gather(torch.full((3, 1), 11.0))
    statistics.update(statistics.gathered())
    assert int(statistics.seen) == 4003
    assert float(statistics.mean) == pytest.approx(1.01)
    assert float(statistics.square) == pytest.approx(2 + 1e-3 * (121 - 2))


def test_small_differences_beside_a_large_mean_are_seen_and_constants_are_not_blown_up() -> None:
    statistics = Statistics(2)
    values = torch.tensor([[1e4, 5.0], [1e4 + 1, 5.0]])
    statistics.gather(values)
    statistics.update(statistics.gathered())
    assert float(statistics.deviation[0]) == pytest.approx(0.5, rel=1e-4)
    assert float(statistics.standardized(torch.tensor([[1e4, 5.0 + 1e-6]])).abs()[0, 1]) < 0.01
    single = Statistics(3)  # the global token of a single photo
    token = torch.tensor([[0.1, -20.3, 3.7]])
    single.gather(token.expand(4, 3))
    single.update(single.gathered())
    assert float(single.standardized(token * (1 + 1e-6)).abs().max()) < 0.2, "rounding is no feature"


def test_the_loss_of_a_token_is_what_one_computes_by_hand() -> None:
    told, wanted = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 2.0])
    cosine = (3 * 4 + 4 * 2) / (5 * np.sqrt(20))
    smooth = (0.5 * 1**2 + (2 - 0.5)) / 2  # quadratic below a distance of 1, linear above
    assert float(token_loss(told, wanted)) == pytest.approx(0.5 * (1 - cosine) + 0.5 * smooth)


def test_the_loss_of_a_photo_is_a_mean_over_patches_then_over_kinds_of_tokens() -> None:
    told, wanted = tokens(seed=1), tokens(seed=2)
    patches = token_loss(told.patches, wanted.patches).mean((1, 2))
    assert told.cls is not None
    assert wanted.cls is not None
    cls = token_loss(told.cls, wanted.cls)
    torch.testing.assert_close(distillation_loss(told, wanted), (patches + cls) / 2)
    torch.testing.assert_close(distillation_loss(told, Tokens(wanted.patches, None)), patches)


def test_the_worst_teacher_always_stays_and_the_others_half_of_the_time() -> None:
    random = np.random.default_rng(0)
    losses, may = random.random((4000, 4)), np.ones((4000, 4), bool)
    may[::2, 1] = False
    losses[:, 1] += 5  # the worst, where it may be
    stay = kept(losses, may, range(4000))
    worst = np.where(may, losses, -np.inf).argmax(1)
    assert stay[np.arange(4000), worst].all()
    assert not stay[~may].any()
    others = may.copy()
    others[np.arange(4000), worst] = False
    for teacher in (0, 2, 3):
        assert abs(stay[others[:, teacher], teacher].mean() - 0.5) < 0.03
    together = stay[1::2][:, [0, 2]].all(1).mean()
    assert abs(together - 0.25) < 0.03, "each other is drawn for itself"
    assert np.array_equal(stay, kept(losses, may, range(4000)))
    assert np.array_equal(kept(losses, may, range(4000), drop=0.0), may)
    assert (kept(losses, may, range(4000), drop=1.0).sum(1) == 1).all()


def test_coefficients_add_up_to_one_whoever_is_worst_and_however_photos_are_shared() -> None:
    random = np.random.default_rng(1)
    may = random.random((50, 3)) < 0.7
    may[:, 2] = True
    seeds = random.integers(2**31, size=50).tolist()
    for shared in (may, np.ones_like(may), np.eye(3, dtype=bool)[random.integers(3, size=50)]):
        scale = scale_of(shared, seeds)
        for _ in range(3):
            stay = kept(random.random((50, 3)), shared, seeds)
            assert (stay * scale / 50).sum() == pytest.approx(1), "in a mean over photos"
    assert scale == 1, "each photo has one teacher, which stays"
    assert scale_of(np.ones_like(may), seeds, drop=0.0) == pytest.approx(1 / 3)
    assert drawn(3, 1).shape == (0,)


def test_the_transformer_projector_is_equations_2_to_4() -> None:
    torch.manual_seed(0)
    projector, student = TransformerProjector(128, 5, whole=True), tokens(c=128)
    for parameter in projector.parameters():
        nn.init.normal_(parameter, std=0.1)
    block = projector.block
    assert student.cls is not None
    f = torch.cat([student.cls[:, None], student.patches.flatten(1, 2)], 1)
    q, k, v = block.self_attn.in_proj_weight.chunk(3)
    biases = block.self_attn.in_proj_bias.chunk(3)
    normed = nn.functional.layer_norm(f, (128,), block.norm1.weight, block.norm1.bias)
    heads = [(normed @ w.T + b).unflatten(2, (2, 64)).transpose(1, 2) for w, b in zip((q, k, v), biases, strict=True)]
    weights = (heads[0] @ heads[1].transpose(2, 3) / 8).softmax(-1)
    a = f + block.self_attn.out_proj((weights @ heads[2]).transpose(1, 2).flatten(2))
    normed = nn.functional.layer_norm(a, (128,), block.norm2.weight, block.norm2.bias)
    m = a + block.linear2(nn.functional.gelu(block.linear1(normed)))
    h = projector.linear(m)
    for mode in (True, False):  # torch takes a quicker way where nothing is trained
        found = projector.train(mode)([student])
        torch.testing.assert_close(found.cls, h[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.patches, h[:, 1:].reshape(2, 2, 3, 5), rtol=1e-4, atol=1e-4)
    assert TransformerProjector(10, 5, whole=False)([tokens(c=10)]).cls is None


def test_a_ladder_sums_perceptrons_of_what_blocks_give_and_the_last_one_is_wide() -> None:
    student = Student(blank(0), two_teachers(), projector="ladder", rungs=3)
    model, given = student.network, {}
    for norm in (model.norm, *(module for module in student.projectors.modules() if isinstance(module, nn.Linear))):
        nn.init.normal_(norm.weight, std=0.1)
        nn.init.normal_(norm.bias, std=0.1)
    for place in (1, 3, 5):  # of six blocks
        model.blocks[place].register_forward_hook(lambda _, __, out, place=place: given.update({place: out}))
    pixels = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    told = student.told(0, student(pixels))
    weights, whole, patches = student.projectors[0].state_dict(), torch.zeros(()), torch.zeros(())
    for rung, (place, hidden) in enumerate(((1, 64), (3, 64), (5, 256))):
        sums = []
        for kind, rows in (("whole", given[place][:, 0]), ("patches", given[place][:, 1:])):
            w, b, v, c = (
                weights[f"steps.{rung}.{kind}.{layer}"] for layer in ("0.weight", "0.bias", "2.weight", "2.bias")
            )
            assert w.shape == (hidden, 64)
            sums.append(nn.functional.gelu(rows @ w.T + b) @ v.T + c)
        whole, patches = whole + sums[0], patches + sums[1]
    torch.testing.assert_close(told.cls, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told.patches, patches.reshape(2, 2, 3, 64), rtol=1e-4, atol=1e-5)
    own = student.described(pixels, student(pixels)).patches
    torch.testing.assert_close(own.flatten(1, 2), model.norm(given[5])[:, 1:], rtol=1e-4, atol=1e-5)
    assert not model.norm.weight.requires_grad, "nothing that is told depends on it"
    ladder, layers = LadderProjector(8, 5, whole=True, rungs=3), [tokens(seed=seed) for seed in range(2)]
    with pytest.raises(ValueError, match="zip"):
        ladder(layers)
    with pytest.raises(ValueError, match="3 rungs have as many hidden layers, found 2"):
        LadderProjector(8, 5, whole=True, rungs=3, hidden=(1, 4))


def test_simple_projectors_look_at_the_last_layer_and_at_each_token_alone() -> None:
    projector, last = SimpleProjector(8, 5, whole=True), tokens(seed=1)
    found = projector([tokens(seed=0), last])
    assert last.cls is not None
    assert projector.whole is not None
    torch.testing.assert_close(found.cls, projector.whole[2](nn.functional.gelu(projector.whole[0](last.cls))))
    last.patches[:, 0, 0] += 1
    again = projector([last])
    assert torch.equal(again.patches[:, 1:], found.patches[:, 1:])
    assert not torch.allclose(again.patches[:, 0, 0], found.patches[:, 0, 0])
    mixing = TransformerProjector(8, 5, whole=False)
    before = mixing([last]).patches
    last.patches[:, 0, 0] += torch.linspace(-1, 1, 8)  # not along what a norm takes away
    assert not torch.allclose(mixing([last]).patches[:, 1:], before[:, 1:])


def test_without_a_class_token_the_mean_patch_stands_for_the_photo() -> None:
    student = tokens(cls=False)
    torch.testing.assert_close(student.whole, student.patches.mean((1, 2)))
    for kind in ("simple", "transformer"):
        found = make_projector(kind, 8, 5, whole=True)([student])
        assert found.cls is not None
        assert found.cls.shape == (2, 5)
    with pytest.raises(InputError, match="Projectors are transformer, ladder, simple; found 'cubic'"):
        make_projector("cubic", 8, 5, whole=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="1 rung or more"):
        make_projector("ladder", 8, 5, whole=True, rungs=0)


def test_sharing_says_which_photos_a_projector_gets() -> None:
    owners, teachers = ["generic", "sam", "depth"], ["dino", "sam", "depth"]
    full = allowed(owners, teachers, "full")
    assert full.all()
    # A teacher without photos of its own is task-agnostic: generic ones are its own.
    np.testing.assert_array_equal(allowed(owners, teachers, "none"), np.eye(3, dtype=bool))
    expected = np.array([[True, True, True], [False, True, False], [False, False, True]])
    np.testing.assert_array_equal(allowed(owners, teachers, "generic"), expected)
    with pytest.raises(InputError, match="dino gets no photos when they are shared generic"):
        allowed(["sam"], ["dino", "sam"], "generic")
    with pytest.raises(InputError, match="No teacher gets the generic photos when they are shared none"):
        allowed(["generic", "sam"], ["sam"], "none")
    with pytest.raises(InputError, match="shared none, generic, full; found 'some'"):
        allowed(["sam"], ["sam"], "some")  # type: ignore[arg-type]


def test_sources_are_folders_of_photos_or_scenes_and_say_whose_they_are(folder: Path, tmp_path: Path) -> None:
    assert parse_sources(["generic=a", "rgb=b=c"], ["rgb"]) == [("generic", Path("a")), ("rgb", Path("b=c"))]
    for texts, complaint in (
        (["a"], "NAME=FOLDER"),
        (["rgb="], "NAME=FOLDER"),
        (["sam=a"], "names 'sam', which is no teacher; the teachers are rgb"),
        ([], "needs photos"),
    ):
        with pytest.raises(InputError, match=complaint):
            parse_sources(texts, ["rgb"])
    source = open_source("rgb", folder / "tall")
    assert [photo.name for photo in source.photos] == [f"more/{i}.png" for i in range(6)]
    (tmp_path / ".kept").mkdir()
    (tmp_path / "run" / "pictures").mkdir(parents=True)
    for place in (".kept", "run/pictures", "."):
        Image.new("RGB", (8, 8)).save(tmp_path / place / "1.png")
    assert [photo.name for photo in open_source("rgb", tmp_path, without=tmp_path / "run").photos] == ["1.png"]
    assert len(open_source("rgb", tmp_path, without=tmp_path.parent).photos) == 2, "it is within, not without"
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "1.png").unlink()
    scene = tiny_objects().scene
    found = open_source("generic", scene.path)
    assert len(found.photos) == len(scene.views)
    np.testing.assert_array_equal(found.photos[1].image(), scene.views[1].image())
    with pytest.raises(InputError, match=r"Expected photos .* or scenes in .*, found none"):
        open_source("rgb", tmp_path)
    with pytest.raises(InputError, match="Expected a folder"):
        open_source("rgb", tmp_path / "nowhere")
    shutil.copytree(scene.path, tmp_path / "scenes" / "one")
    assert len(open_source("generic", tmp_path / "scenes").photos) == len(scene.views)
    Image.new("RGB", (8, 8)).save(tmp_path / "scenes" / "loose.png")
    with pytest.raises(InputError, match=r"holds scenes and, beside them, photos such as .*loose.png"):
        open_source("generic", tmp_path / "scenes")
    shutil.rmtree(tmp_path / "scenes")
    hidden = tmp_path / ".cache" / "x"
    hidden.mkdir(parents=True)
    (hidden / "transforms.json").write_text("{}")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "room.json").write_text("{}")
    with pytest.raises(InputError, match=r"half is a room without its transforms.json"):
        open_source("rgb", tmp_path)
    shutil.rmtree(tmp_path / "half")
    deep = tmp_path / "train" / "room"
    deep.mkdir(parents=True)
    (deep / "transforms.json").write_text("{}")
    Image.new("RGB", (8, 8)).save(deep / "normals.png")
    with pytest.raises(InputError, match=r"Scenes lie deeper in .*: give the folder that holds them, .*train"):
        open_source("rgb", tmp_path)
    train, held = held_out(source)
    assert sorted(p.name for p in [*train.photos, *held.photos]) == [p.name for p in source.photos]
    assert len(held.photos) == 1


def test_photos_are_numbered_over_their_sources(folder: Path) -> None:
    wide, tall = (open_source("generic", folder / name) for name in ("wide", "tall"))
    photos = Photos([wide, held_out(tall)[1]], keep=48 * 64 * 3)
    assert len(photos) == 7
    assert [photos.source_of(index) for index in range(7)] == [0] * 6 + [1]
    assert photos.image(0) is photos.image(0), "kept"
    assert photos.image(1) is not photos.image(1), "no room"
    assert photos.read(0) is not photos.image(0)
    np.testing.assert_array_equal(photos.image(6), held_out(tall)[1].photos[0].image())
    assert photos.evenly(2) == [0, 5, 6]
    assert photos.sizes == [(48, 64), (64, 48)]
    assert (photos.memory(), Photos([wide, tall]).memory()) == (48 * 64 * 3, 12 * 48 * 64 * 3)
    other = Photos([wide])
    assert photos.fingerprint != other.fingerprint
    assert other.fingerprint == Photos([open_source("generic", folder / "wide")]).fingerprint
    assert [photo.name for photo in thinned(wide, 3).photos] == ["0.png", "2.png", "5.png"]
    assert thinned(wide, None) is thinned(wide, 6) is wide
    assert [evenly("abcde", 2), evenly("abc", 0), evenly("abc", None), evenly("", 2)] == [[*"ae"], ["a"], [*"abc"], []]
    assert [evenly_spaced(7, 4), evenly_spaced(3, 9), evenly_spaced(5, 1)] == [[0, 2, 4, 6], [0, 1, 2], [0]]


def sources(**counts: int) -> Photos:
    """Photos of owners, by the names of folders ``OWNER_NUMBER`` and how many they have."""
    pixel = np.zeros((1, 1, 3), np.uint8)
    return Photos(
        [
            Source(name.split("_")[0], name, [Photo(f"{i}", lambda: pixel) for i in range(count)])
            for name, count in counts.items()
        ]
    )


def test_batches_are_balanced_over_owners_then_folders_then_photos() -> None:
    photos = sources(generic_0=100, sam_0=5, depth_0=40, depth_1=10, depth_2=1)
    sampler = Sampler(photos, ["dino", "sam", "depth"], sharing="none", batch=6000, drop=0.5)
    items = sampler.batch(np.random.default_rng(0))
    drawn_of = np.bincount([photos.source_of(item.photo) for item in items], minlength=5) / 6000
    np.testing.assert_allclose(drawn_of, [1 / 3, 1 / 3, 1 / 9, 1 / 9, 1 / 9], atol=0.02)
    assert {item.photo for item in items} == set(range(len(photos)))
    assert len({item.seed for item in items}) > 5990
    assert {item.scale for item in items} == {1.0}, "each photo has one teacher, which stays"
    assert sampler.batch(np.random.default_rng(0)) == items
    assert [sampler.may([0, 100, 155])[row].tolist() for row in range(3)] == np.eye(3, dtype=bool).tolist()
    spread = [round(place * 99 / 8) for place in range(9)]
    assert sampler.evenly(27) == [*spread, *range(100, 105), *(105, 125, 144), *(145, 149, 154), 155]
    assert sampler.evenly(1) == [0, 100, 105, 145, 155], "one of each folder at least"
    held = sources(generic_0=466, depth_0=12)
    chosen = evenly_over_owners(held, 64)
    assert [sum(held.source_of(photo) == place for photo in chosen) for place in range(2)] == [32, 12]
    shown = evenly_over_owners(held, 4, chosen)
    assert [held.source_of(photo) for photo in shown] == [0, 0, 1, 1]
    assert set(shown) <= set(chosen)


def test_the_photos_of_steps_to_come_are_known_ahead() -> None:
    photos = sources(generic_0=300, depth_0=300)
    sampler = Sampler(photos, ["dino", "depth"], batch=8, drop=0.5)
    steps = [{item.photo for item in sampler.batch(draws_of(7, step)[0])} for step in range(5)]
    assert sampler.upcoming(7, range(5)) == sorted(set.union(*steps))
    assert sampler.upcoming(7, range(3, 5)) == sorted(steps[3] | steps[4])
    assert sampler.upcoming(8, range(5)) != sampler.upcoming(7, range(5))
    assert sampler.upcoming(7, range(5, 5)) == []


def test_stages_follow_each_other_by_their_shares() -> None:
    stages = Stages.parse(["32:3", "48:1"], 16)
    assert [stages.side_at(step / 8) for step in range(8)] == [32] * 6 + [48] * 2
    assert stages.side_at(1.0) == 48
    assert Stages.parse(["64"], 16).side_at(0.99) == 64
    for text, complaint in (
        ("40:1", "patches of 16 pixels, found stages of 40; choose a multiple, such as 32"),
        ("a:1", "given as SIDE:SHARE"),
        ("32:0", "share above 0"),
        ("32:nan", "share above 0"),
    ):
        with pytest.raises(InputError, match=complaint):
            Stages.parse([text], 16)
    with pytest.raises(InputError, match="one stage"):
        Stages.parse([], 16)


def test_crops_are_parts_of_the_photo_of_the_asked_area_and_ratio() -> None:
    random = np.random.default_rng(0)
    areas, ratios = [], []
    for _ in range(500):
        top, left, h, w = part_of(90, 120, random, SMALLEST_CROP)
        assert top >= 0
        assert left >= 0
        assert top + h <= 90
        assert left + w <= 120
        areas.append(h * w / (90 * 120))
        ratios.append(w / h)
    assert SMALLEST_CROP - 0.01 < min(areas) < 0.4
    assert 0.9 < max(areas) <= 1.0
    assert RATIO[0] - 0.02 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < RATIO[1] + 0.02
    assert part_of(10, 100, np.random.default_rng(0), 1.0) == (0, 43, 10, 13), "no such part: the middle"


def test_crops_are_a_function_of_their_seed_and_half_are_mirrored() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :, 0] = np.linspace(0, 255, 48).astype(np.uint8)
    found = [cropped(image, np.random.default_rng(seed), 16) for seed in range(60)]
    assert found[0].shape == (3, 16, 16)
    assert found[0].dtype == torch.uint8
    assert torch.equal(found[3], cropped(image, np.random.default_rng(3), 16))
    falling = sum(bool(one[0, 0, 0] > one[0, 0, -1]) for one in found)
    assert 18 < falling < 42
    same = whole(image, (2, 3), 16)
    np.testing.assert_array_equal(same.permute(1, 2, 0).numpy(), image)
    assert whole(image, (1, 2), 16).shape == (3, 16, 32)


def test_colours_vary_with_the_seed_and_places_stay() -> None:
    pixels = torch.from_numpy(photo(0, 32, 48)).permute(2, 0, 1).contiguous()
    found = [recoloured(pixels, np.random.default_rng(seed)) for seed in range(100)]
    assert torch.equal(found[3], recoloured(pixels, np.random.default_rng(3)))
    assert all(one.shape == pixels.shape and one.dtype == torch.uint8 for one in found)
    grey = sum(bool((one[0] == one[1]).all() and (one[1] == one[2]).all()) for one in found)
    same = sum(torch.equal(one, pixels) for one in found)
    assert 10 < grey < 32
    assert 8 < same < 28
    edge = torch.full((3, 9, 40), 60, dtype=torch.uint8)
    edge[:, :, 20:] = 120  # too dark to be inverted, unless it was made brighter
    for seed in range(40):
        values = recoloured(edge, np.random.default_rng(seed)).float()
        for side in (values[..., :16], values[..., 24:]):  # farther from the edge than a blur reaches
            assert float((side - side[:, :1, :1]).abs().max()) == 0
    found = [recoloured(edge, np.random.default_rng(seed)) for seed in range(200)]
    soft = sum(len(one[0].unique()) > 2 for one in found)
    dark = sum(
        bool(recoloured(torch.full_like(edge, 250), np.random.default_rng(seed)).max() < 90) for seed in range(200)
    )
    assert 20 < soft < 64, "one of five is blurred"
    assert 20 < dark < 64, "one of five has its bright colours inverted"
    assert recoloured(edge[:, :1, :1], np.random.default_rng(seed)).shape == (3, 1, 1)


def test_threads_that_read_are_gone_afterwards() -> None:
    before = threading.active_count()
    assert together(lambda value: value + 1, list(range(20)), 4) == list(range(1, 21))
    assert threading.active_count() == before
    here = threading.current_thread()
    assert together(lambda _: threading.current_thread(), [0, 1], 1) == [here, here]


def test_maps_are_interpolated_to_the_students_grid() -> None:
    ramp = torch.arange(4.0)[None, None, :, None].expand(1, 3, 4, 1)
    finer = on_grid(Tokens(ramp.contiguous(), None), (3, 8)).patches
    torch.testing.assert_close(finer[0, 0, :, 0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))
    spot = torch.zeros(1, 8, 8, 1)
    spot[0, 1, 1] = 1
    coarser = on_grid(Tokens(spot, None), (1, 1)).patches
    assert 0 < float(coarser) < 0.1, "all that a node covers counts"
    one = tokens()
    assert on_grid(one, (2, 3)) is one
    assert torch.equal(mirrored(one).patches[:, :, 0], one.patches[:, :, 2])


def test_teachers_see_photos_in_their_own_resolution(folder: Path) -> None:
    large, colours = two_teachers()
    assert large.has_whole
    assert not colours.has_whole
    pixels = torch.from_numpy(np.stack([photo(i, 32, 48) for i in range(2)])).permute(0, 3, 1, 2)
    said = large.describe(pixels)
    assert said.patches.shape == (2, 2, 3, 64), "a side of 48 pixels are three patches"
    resized = nn.functional.interpolate(pixels / 255, (32, 48), mode="bilinear", antialias=True)
    expected = large.encoder.tokens(resized)  # type: ignore[attr-defined]
    torch.testing.assert_close(said.patches, expected.patches)
    torch.testing.assert_close(said.cls, expected.cls)
    smaller = Teacher("again", large.encoder).describe(pixels[..., :40, :40])
    assert smaller.patches.shape == (2, 2, 2, 64), "the nearest multiple of its patch"
    told = colours.describe(pixels)
    assert told.cls is None
    torch.testing.assert_close(told.patches, pixels.permute(0, 2, 3, 1) / 255)
    assert Teacher("rgb", load_encoder("rgb"), side=24).describe(pixels).patches.shape == (2, 16, 24, 3)
    assert len({one.fingerprint for one in (large, colours, Teacher("x", large.encoder))}) == 3
    with pytest.raises(InputError, match="patches of 16 pixels, found a side of 8"):
        Teacher("small", large.encoder, side=8)


class Counted:
    """Counts what teachers are asked, and writes down which photos."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        self.photos: Counter[str] = Counter()
        plain = Teacher.describe

        def counted(teacher: Teacher, pixels: torch.Tensor) -> Tokens:
            self.calls.append(len(pixels))
            self.photos.update(f"{teacher.name} {digest_of(one)}" for one in pixels)
            return plain(teacher, pixels)

        monkeypatch.setattr(Teacher, "describe", counted)


def some_photos(count: int) -> list[Seen]:
    pixels = [torch.from_numpy(photo(i, 32, 48)).permute(2, 0, 1).contiguous() for i in range(count)]
    return [Seen(one, digest_of(one)) for one in pixels]


def prepare(outputs: Outputs, teachers: list[Teacher], seen: list[Seen], **options: Any) -> None:
    wanted = [(teacher, range(len(seen))) for teacher in teachers]
    outputs.prepare(wanted, lambda some: [seen[number] for number in some], lambda _: (2, 3), **options)


def test_what_teachers_say_of_whole_photos_is_computed_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers, seen = two_teachers(), some_photos(3)
    expected = on_grid(teachers[0].describe(torch.stack([one.pixels for one in seen])), (2, 3))
    counted = Counted(monkeypatch)
    for keep, described in ((1 << 20, 3), (0, 0)):
        outputs = Outputs(tmp_path, keep=keep)
        counted.calls.clear()
        for _ in range(2):
            prepare(outputs, teachers[:1], seen)
        found = outputs.get(teachers[0], seen[1], (2, 3))
        assert sum(counted.calls) == described
        assert found.patches.dtype == torch.float16
        assert found.cls is not None
        torch.testing.assert_close(found.patches.float(), expected.patches[1], atol=2e-3, rtol=2e-3)
    counted.calls.clear()
    files = sorted(tmp_path.rglob("*.safetensors"))
    for file in files:
        file.write_bytes(file.read_bytes()[:50])
    prepare(Outputs(tmp_path, keep=0), teachers[:1], seen)
    assert counted.calls == [], "a file that exists is not opened before it is needed"
    again = Outputs(tmp_path, keep=0).get(teachers[0], seen[0], (2, 3))
    assert counted.calls == [1], "a damaged file is made again"
    torch.testing.assert_close(again.patches.float(), expected.patches[0], atol=2e-3, rtol=2e-3)
    Outputs(tmp_path, keep=0).get(teachers[0], seen[0], (2, 3))
    assert counted.calls == [1]
    Outputs(tmp_path).get(Teacher("other side", teachers[0].encoder), seen[0], (2, 3))
    assert counted.calls == [1, 1], "what is seen in another resolution is something else"
    for _ in range(2):
        Outputs(None).get(teachers[0], seen[0], (2, 3))
    assert counted.calls == [1] * 4, "without a folder"


def test_what_is_kept_is_in_full_precision_whoever_asks_first(tmp_path: Path) -> None:
    teacher, (seen,) = two_teachers()[0], some_photos(1)
    with torch.autocast("cpu", torch.bfloat16):
        cast = on_grid(teacher.describe(seen.pixels[None]), (2, 3)).patches[0]
        found = [Outputs(folder).get(teacher, seen, (2, 3)).patches for folder in (tmp_path, None)]
        assert torch.is_autocast_enabled("cpu")
    full = on_grid(teacher.describe(seen.pixels[None]), (2, 3)).patches[0]
    assert not torch.equal(cast.half(), full.half())
    for one in (*found, Outputs(tmp_path, keep=0).get(teacher, seen, (2, 3)).patches):
        assert torch.equal(one, full.half())


def test_what_half_precision_cannot_hold_is_kept_in_full_and_what_is_not_finite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, (seen,) = two_teachers()[1], some_photos(1)
    for value in (1e6, float("nan")):
        said = Tokens(torch.full((1, 2, 3, 3), value), None)
        monkeypatch.setattr(Teacher, "describe", lambda self, pixels, said=said: said)
        outputs = Outputs(tmp_path / str(value), keep=0)
        if value == 1e6:
            for _ in range(2):  # computed, then read
                assert torch.equal(outputs.get(teacher, seen, (2, 3)).patches, said.patches[0])
        else:
            with pytest.raises(InputError, match="What rgb says of a photo is not finite, found nan"):
                outputs.get(teacher, seen, (2, 3))


def test_processes_that_share_a_folder_describe_each_photo_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers, seen, said = two_teachers(), some_photos(40), []
    counted = Counted(monkeypatch)
    # Each has files of its own open, so that locks are between them as between processes.
    workers = [
        threading.Thread(
            target=prepare,
            args=(Outputs(tmp_path, keep=0), teachers, seen),
            kwargs={"first": first, "progress": lambda done, total, what: said.append(what)},
        )
        for first in (0.0, 0.0, 0.5)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(counted.photos) == 80
    assert set(counted.photos.values()) == {1}
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 80
    counted.photos.clear()
    for teacher in teachers:
        for one in seen:
            Outputs(tmp_path).get(teacher, one, (2, 3))
    assert not counted.photos, "all files are whole"


HOLDER = """
import sys, time
from pathlib import Path
from training.locking import try_to_lock
lock, left = sys.argv[1:]
file = open(lock, "a")
Path(left).write_bytes(b"half of a map")
print(try_to_lock(file), flush=True)
time.sleep(600)
"""


def test_a_part_in_other_hands_is_waited_for_and_taken_over_from_a_killed_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.distillation.co.outputs.LOOK", 0.01)
    teachers, seen, said = two_teachers()[1:], some_photos(1), []
    prepare(Outputs(tmp_path, keep=0), teachers, seen)
    (file,) = tmp_path.rglob("*.safetensors")
    content = file.read_bytes()
    file.unlink()
    (lock,) = (path for path in tmp_path.rglob("*") if path.parent.name == ".locks")
    left, others = file.parent / f".{file.stem}-abc.safetensors", file.parent / ".zz-abc.safetensors"
    others.touch()
    counted = Counted(monkeypatch)
    arguments = [sys.executable, "-c", HOLDER, str(lock), str(left)]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        os.utime(left, (0, 0))
        os.utime(others, (0, 0))

        def told(done: int, total: int, what: str) -> None:
            said.append(what)
            if what.endswith("another process)"):
                holder.kill()

        prepare(Outputs(tmp_path, keep=0), teachers, seen, progress=told)
    assert "what teachers say (waiting for another process)" in said
    assert counted.calls == [1]
    assert file.read_bytes() == content
    assert not left.exists()
    assert others.exists(), "somebody else's"


def test_explained_variance_is_that_of_a_principal_component_analysis() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 6)) @ random.normal(size=(6, 6)) + 5
    spread = Spread(6)
    for part in np.array_split(rows, 3):
        spread.add(torch.from_numpy(part))
    squares = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    np.testing.assert_allclose(spread.explained(), np.cumsum(squares) / squares.sum(), rtol=1e-6)
    assert components_for(np.array([0.5, 0.9, 1.0])) == 2
    assert components_for(np.array([0.5, 0.89, 1.0])) == 3


def test_losses_that_change_together_correlate_and_missing_steps_count_for_nothing() -> None:
    random = np.random.default_rng(0)
    walk = random.normal(size=50).cumsum()
    losses = np.stack([walk, 2 * walk + 3, -walk, random.normal(size=50)], 1)
    found = loss_correlations(losses)
    np.testing.assert_allclose(found[:3, :3], [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-9)
    assert abs(found[0, 3]) < 0.4
    losses[10, 1] = np.nan
    assert loss_correlations(losses)[0, 1] == pytest.approx(1)
    losses[:, 2] = np.nan
    assert np.isnan(loss_correlations(losses)[0, 2])


def test_what_cannot_be_trained_is_refused(folder: Path, tmp_path: Path) -> None:
    twice = [Teacher("rgb", load_encoder("rgb")) for _ in range(2)]
    for changes, complaint in (
        ({"teachers": twice}, "each once; found rgb, rgb"),
        ({"steps": 0}, "steps of 1 or more, found 0"),
        ({"batch": 0}, "a batch of 1 or more, found 0"),
        ({"drop": 1.5}, "probability from 0 to 1, found 1.5"),
        ({"crop_scale": 1.5}, "from above 0 to 1 of a photo, found 1.5"),
        ({"augment": "flips"}, "is kept: expected a folder for it, found none"),
        ({"augment": "none"}, "Expected augment to be crops, flips; found 'none'"),
        ({"augment": "flips", "colours": True}, r"\(flips\) have no crops, found other colours"),
        ({"augment": "flips", "crop_scale": 0.5}, r"\(flips\) have no crops, found a crop scale"),
        ({"projector": "ladder", "rungs": 7}, "has 6 blocks"),
        ({"rungs": 4}, "A ladder has rungs, found 4 of a transformer projector"),
    ):
        with pytest.raises(InputError, match=complaint):
            make_task(folder, **changes)
    with pytest.raises(InputError, match="on photos that are not trained on, found none"):
        analyse(make_task(folder, validation=None))
    with pytest.raises(InputError, match="expected 6 steps with the seed 0, found 3 with 0; make the task of the same"):
        run_task(make_task(folder), replace(SCHEDULE, steps=3), tmp_path)
    assert replace(Settings(), augment="flips").recolours is False
