"""Masked 3D pretraining: what is shown, what is told, the loss, the data."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from render.errors import InputError
from tests.pretrained import (
    GRID,
    HEIGHT,
    NUMBERS,
    PATCH,
    PLACES,
    SHAPE,
    WIDTH,
    frames,
    make_task,
    photo_of,
    slope,
    tiny_encoder,
)
from tests.small_rooms import small_room
from tests.tiny_models import TINY_VIT
from training.loop import Schedule
from training.pretraining.mask3d.frames import Frame, Frames, open_frames
from training.pretraining.mask3d.losses import in_patches, in_photos, patch_losses, standardized
from training.pretraining.mask3d.model import MaskedModel
from training.pretraining.mask3d.running import Start, pretrain
from training.pretraining.mask3d.seeing import Kept, Shown, draw_kept, part_of, shown
from training.pretraining.mask3d.settings import MAE, SHAPES, Augment, Masking, schedule_of
from training.pretraining.mask3d.settings import NUMBERS as USUAL
from training.probing.photos import ProbePhoto
from uplift.encoders import load_encoder
from uplift.encoders.finetuned import trainable
from uplift.encoders.mask3d import Pretrained
from uplift.encoders.masked import PatchDecoder, sine_cosine
from uplift.encoders.untrained import make_blank
from uplift.encoders.vit import ViTEncoder

CPU = torch.device("cpu")


def seen_of(*seeds: int) -> Shown:
    return shown([Frame(photo_of(seed), slope(seed)) for seed in seeds], CPU)


def kept_of(masking: Masking, count: int, seed: int = 0) -> Kept:
    random = np.random.default_rng(seed)
    drawn = [draw_kept(PLACES, *masking.counts(PLACES), random) for _ in range(count)]
    return Kept(*(torch.from_numpy(np.stack(one)) for one in zip(*drawn, strict=True)))


def entering(encoder: ViTEncoder, pixels: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    """What comes to the first block, of the patches that are kept or of all."""
    found: list[torch.Tensor] = []
    block = encoder.network.blocks[0]
    with block.register_forward_pre_hook(lambda _, given: found.append(given[0])), torch.no_grad():
        encoder.tokens(pixels) if kept is None else encoder.tokens_of(pixels, kept)
    return found[0]


def test_patches_of_the_plain_network_are_embedded_alike_whatever_is_hidden(tmp_path: Path) -> None:
    pixels = seen_of(0, 1).pixels
    kept = kept_of(Masking(), 2).colour
    plain, stem = make_blank("plain-vit", CPU, seed=1), tiny_encoder()
    assert (plain.patch, plain.dimension, len(plain.network.blocks)) == (PATCH, 192, 4)
    whole = entering(plain, pixels, None)
    torch.testing.assert_close(entering(plain, pixels, kept), whole.gather(1, kept[..., None].expand(-1, -1, 192)))
    first = stem.network.num_prefix_tokens
    convolved = entering(stem, pixels, None)[:, first:].gather(1, kept[..., None].expand(-1, -1, stem.dimension))
    assert (entering(stem, pixels, kept)[:, first:] - convolved).abs().max() > 0.1, "its convolutions see further"
    grey = torch.full((1, 3, 16, 40), 0.5)  # another grid, and the mean colour: positions are all that is left
    bias = plain.network.patch_embed.proj.bias
    torch.testing.assert_close(entering(plain, grey, None)[0], sine_cosine((2, 5), 192) + bias.detach())
    file = tmp_path / "encoder.safetensors"
    Pretrained(plain.network.state_dict(), PatchDecoder(192, 8, 1)).save(file, plain)
    again = trainable(load_encoder(f"mask3d:{file}", device="cpu"))
    torch.testing.assert_close(again.tokens(pixels).patches, plain.tokens(pixels).patches, rtol=0, atol=0)


@pytest.mark.parametrize(("colour", "depth"), [(0.2, 0.2), (0.5, 0.5), (0.2, 0.8), (0.25, 0.0)])
def test_colour_and_depth_never_share_a_place_as_long_as_there_are_enough(colour: float, depth: float) -> None:
    counts = Masking(colour=colour, depth=depth).counts(100)
    for seed in range(20):
        first, second = draw_kept(100, *counts, np.random.default_rng(seed))
        assert (len(first), len(second)) == (round(100 * colour), round(100 * depth))
        assert len(np.unique(np.concatenate([first, second]))) == len(first) + len(second)
    assert not np.array_equal(first, draw_kept(100, *counts, np.random.default_rng(0))[0])


def test_more_than_there_are_places_share_as_few_as_they_can() -> None:
    first, second = draw_kept(100, 80, 50, np.random.default_rng(0))
    assert (len(first), len(second)) == (80, 50)
    assert len(np.intersect1d(first, second)) == 30
    assert [len(one) for one in draw_kept(10, 10, 10, np.random.default_rng(0))] == [10, 10]
    assert Masking(colour=0.001).counts(24) == (1, 5)


def test_parts_out_of_range_are_refused() -> None:
    for colour, depth in ((1.2, 0.2), (0.2, -0.1), (0.0, 0.0)):
        with pytest.raises(InputError, match="from 0 to 1, not both 0"):
            Masking(colour=colour, depth=depth)
    with pytest.raises(InputError, match="hidden nowhere"):
        Masking(colour=1.0, depth=0.0, reconstruct="colour", loss_on="hidden")


def vit_of(name: str) -> ViTEncoder:
    return tiny_encoder() if name == "tiny-dino" else make_blank(name, CPU)


@pytest.mark.parametrize("name", ["tiny-dino", TINY_VIT])
def test_all_patches_kept_say_what_the_encoder_says(name: str) -> None:
    encoder = vit_of(name)
    pixels = torch.rand(2, 3, 2 * encoder.patch, 3 * encoder.patch, generator=torch.Generator().manual_seed(0))
    expected = encoder.tokens(pixels).patches.flatten(1, 2)
    order = torch.tensor([[3, 1, 0, 5, 4, 2], [0, 1, 2, 3, 4, 5]])
    found = encoder.tokens_of(pixels, order)
    wanted = torch.stack([rows[one] for rows, one in zip(expected, order, strict=True)])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tiny-dino", TINY_VIT])
def test_patches_that_are_not_kept_are_not_seen(name: str) -> None:
    encoder = vit_of(name)
    p = encoder.patch
    pixels = torch.rand(1, 3, 2 * p, 3 * p, generator=torch.Generator().manual_seed(0))
    kept = torch.tensor([[0, 4]])
    before, other = encoder.tokens_of(pixels, kept), pixels.clone()
    other[:, :, :p, p:] = 0.5  # 1 and 2, which lie beside both
    torch.testing.assert_close(encoder.tokens_of(other, kept), before, rtol=0, atol=0)
    other[:, :, p:, p : 2 * p] = 0.5  # 4 itself
    assert not torch.allclose(encoder.tokens_of(other, kept), before)


def test_what_is_told_depends_on_kept_patches_alone() -> None:
    model = MaskedModel(tiny_encoder(), Masking(), SHAPE).eval()
    seen, kept = seen_of(1), kept_of(Masking(), 1)
    told = model(seen, kept)["depth"]
    assert told.shape == (1, PLACES, PATCH**2)
    hidden = {
        kind: in_photos(torch.ones(1, PLACES, PATCH**2).scatter(1, places[..., None].expand(-1, -1, 64), 0), GRID, 8)
        > 0
        for kind, places in kept._asdict().items()
    }
    blind = Shown(torch.where(hidden["colour"][:, None], 0.3, seen.pixels), seen.depth, seen.known)
    torch.testing.assert_close(model(blind, kept)["depth"], told, rtol=0, atol=0)
    for changed in (
        Shown(torch.where(hidden["colour"][:, None], seen.pixels, 0.3), seen.depth, seen.known),
        Shown(seen.pixels, torch.where(hidden["depth"], seen.depth, seen.depth.flip(1)), seen.known),
    ):
        assert not torch.allclose(model(changed, kept)["depth"], told)


def test_holes_of_a_sensor_are_told_from_depth() -> None:
    depth, known = torch.tensor([[[1.0, 3.0], [0.0, 99.0]]]), torch.tensor([[[True, True], [False, False]]])
    torch.testing.assert_close(standardized(depth, known), torch.tensor([[[-1.0, 1.0], [0.0, 0.0]]]))
    model = MaskedModel(tiny_encoder(), Masking(), SHAPE).eval()
    seen, kept = seen_of(1), kept_of(Masking(), 1)
    less = seen.known.clone()
    less[:, ::2] = False
    assert not torch.allclose(model(seen._replace(known=less), kept)["depth"], model(seen, kept)["depth"])


def test_ratios_say_which_encoders_there_are() -> None:
    alone = MaskedModel(tiny_encoder(), Masking(colour=1.0, depth=0.0), SHAPE)
    assert not [name for name, _ in alone.named_parameters() if name.startswith("depth_")]
    assert list(alone.heads) == ["depth"]
    blind = MaskedModel(tiny_encoder(), Masking(colour=0.0), SHAPE)
    assert not any(parameter.requires_grad for parameter in blind.network.parameters())
    both = MaskedModel(tiny_encoder(), Masking(colour=0.8, depth=0.5, reconstruct="both"), SHAPE)
    told = both(seen_of(1, 2), kept_of(both.masking, 2))
    assert {name: values.shape[2] for name, values in told.items()} == {"depth": 64, "colour": 192}
    assert list(MaskedModel(tiny_encoder(), MAE, SHAPE).heads) == ["colour"]
    with pytest.raises(InputError, match="nothing trains the colour encoder"):
        pretrain(
            Start(tiny_encoder()),
            frames().photos,
            "nowhere",
            scale="small",
            numbers=NUMBERS,
            masking=Masking(colour=0.0),
            shape=SHAPE,
        )


def test_where_both_were_kept_the_bottleneck_has_their_mean() -> None:
    model = MaskedModel(tiny_encoder(), Masking(), SHAPE)
    tokens = torch.arange(3.0)[None, :, None].expand(1, 3, SHAPE.width)
    full = model._bottleneck(tokens, torch.tensor([[1, 2, 1]]), 4)[0]
    torch.testing.assert_close(full[1], torch.full((SHAPE.width,), 1.0))
    torch.testing.assert_close(full[2], torch.full((SHAPE.width,), 1.0))
    torch.testing.assert_close(full[0], model.hidden)
    torch.testing.assert_close(full[3], model.hidden)


def test_positions_are_sines_and_cosines() -> None:
    found = sine_cosine((3, 5), 8)
    assert found.shape == (15, 8)
    y, x = 2, 3
    waves = np.array([1.0, 0.01])
    expected = np.concatenate([np.sin(y * waves), np.cos(y * waves), np.sin(x * waves), np.cos(x * waves)])
    np.testing.assert_allclose(found[y * 5 + x].numpy(), expected, atol=1e-6)
    encoder = make_blank(TINY_VIT, CPU)
    model = MaskedModel(encoder, Masking(), SHAPE)
    embedding = model.network.pos_embed
    assert not embedding.requires_grad
    torch.testing.assert_close(embedding[0, 1:], sine_cosine(encoder.network.patch_embed.grid_size, 64))
    own = MaskedModel(encoder, Masking(), SHAPE, scratch=False).network.pos_embed
    torch.testing.assert_close(own, encoder.network.pos_embed)
    with pytest.raises(InputError, match="multiple of 4"):
        sine_cosine((2, 2), 6)


def test_patches_are_cut_row_by_row_and_put_back() -> None:
    values = torch.arange(2 * 16 * 24.0).reshape(2, 16, 24)
    patches = in_patches(values, 8)
    assert torch.equal(patches[1, 4].reshape(8, 8), values[1, 8:, 8:16])
    assert torch.equal(in_photos(patches, (2, 3), 8), values)


def test_the_loss_is_that_of_a_count_by_hand() -> None:
    true = torch.tensor([[[1.0, 3.0, 50.0], [7.0, 7.0, 7.0]]])
    known = torch.tensor([[[True, True, False], [True, True, True]]])
    told = torch.tensor([[[0.5, 0.0, 9.0], [1.0, 2.0, 3.0]]])
    plain = patch_losses(told, true, known, normalize="none")
    assert float(plain) == pytest.approx(((0.5**2 + 3**2) / 2 + (36 + 25 + 16) / 3) / 2)
    # The target is -1, 1 and flat.
    target = patch_losses(told, true, known, normalize="target", floor=1e-6)
    assert float(target) == pytest.approx(((1.5**2 + 1) / 2 + (1 + 4 + 9) / 3) / 2, rel=1e-4)
    first = torch.tensor([[True, False]])
    both = patch_losses(told, true, known, first, normalize="both")
    said = 0.25 / np.sqrt(0.25**2 + 0.1**2)
    assert float(both) == pytest.approx((1 + said) ** 2, rel=1e-4)


def test_unknown_depth_is_out_of_statistics_and_loss() -> None:
    random = torch.Generator().manual_seed(0)
    told, true = (torch.rand(2, 3, 64, generator=random) for _ in range(2))
    known = torch.rand(2, 3, 64, generator=random) < 0.7
    known[0, 1] = False
    known[0, 1, :15] = True  # less than a quarter
    for normalize in ("both", "target", "none"):
        loss = patch_losses(told, true, known, normalize=normalize)
        wild = patch_losses(told, torch.where(known, true, 1e4), known, normalize=normalize)
        torch.testing.assert_close(wild, loss)
        few = true.clone()
        few[0, 1] = 5.0
        torch.testing.assert_close(patch_losses(told, few, known, normalize=normalize), loss)
        single = torch.stack(
            [patch_losses(*(v[i : i + 1] for v in (told, true, known)), normalize=normalize)[0] for i in range(2)]
        )
        torch.testing.assert_close(single, loss)
    shifted = patch_losses(told * 3 + 7, true * 2 + 1, known)
    torch.testing.assert_close(shifted, patch_losses(told, true, known), rtol=0.2, atol=0)
    assert patch_losses(told, true, torch.zeros_like(known)).tolist() == [0, 0]


def test_a_loss_on_hidden_patches_leaves_those_that_were_shown_out() -> None:
    task = make_task(replace(MAE, colour=0.5))
    seen, kept = task._seen(task._frames, task.batch(np.random.default_rng(0)), "none")
    told = task.model(seen, kept)
    before = task._losses(seen, kept, told)["colour"]
    wrong = told["colour"].scatter(1, kept.colour[..., None].expand(-1, -1, 192), 1e3)
    torch.testing.assert_close(task._losses(seen, kept, {"colour": wrong})["colour"], before)
    task._masking = replace(task._masking, loss_on="all")
    assert float(task._losses(seen, kept, {"colour": wrong})["colour"].detach().min()) > 1e3


@pytest.mark.parametrize("augment", ["crops", "flips", "none"])
def test_photo_and_depth_show_the_same_part(augment: Augment) -> None:
    x, y = np.meshgrid(np.arange(120), np.arange(90))
    frame = Frame(np.stack([2 * x, 2 * y, 0 * x], -1).astype(np.uint8), (2 * x + 1000.0 * y + 1).astype(np.float32))
    parts = [part_of(frame, (32, 48), augment, 0.5, np.random.default_rng(seed)) for seed in range(12)]
    for photo, depth in parts:
        assert photo.shape == (32, 48, 3)
        assert set(np.unique(depth)) <= set(np.unique(frame.depth)), "no depth that is nowhere"
        np.testing.assert_allclose(photo[..., 0], (depth - 1) % 1000, atol=8)
        np.testing.assert_allclose(photo[..., 1], (depth - 1) // 1000 * 2, atol=8)
    widths = {int(np.ptp(photo[0, :, 0].astype(int))) for photo, _ in parts}
    rising = {bool(photo[0, -1, 0] > photo[0, 0, 0]) for photo, _ in parts}
    assert rising == ({True} if augment == "none" else {True, False})
    assert (len(widths) > 4) == (augment == "crops")


def test_frames_are_shrunk_kept_and_told_apart() -> None:
    reads = []

    def image(seed: int) -> np.ndarray:
        reads.append(seed)
        return photo_of(seed, height=64, width=96)

    photos = [
        ProbePhoto(str(i), "g", partial(image, i), depth=partial(slope, i, height=32, width=48)) for i in range(2)
    ]
    small = Frames(photos, side=16)
    assert small[0].photo.shape == (16, 24, 3)
    assert small[0].depth.shape == (16, 24)
    assert reads == [0]
    forgetful = Frames(photos, memory=100)
    assert forgetful[1].depth.shape == (64, 96)
    assert forgetful[1].photo.shape == (64, 96, 3)
    assert reads == [0, 1, 1]
    assert small.fingerprint != forgetful.fingerprint != Frames(photos[::-1]).fingerprint
    assert Frames([photos[0], replace(photos[1], image=partial(image, 7))]).fingerprint != forgetful.fingerprint
    with pytest.raises(InputError, match=r"show the same, found 1\.50 and 1\.00 times as wide as high"):
        Frames([replace(photos[0], depth=partial(slope, 0, height=48, width=48))])[0]
    with pytest.raises(InputError, match="none of 0"):
        Frames([replace(photos[0], depth=None)])
    nothing = replace(photos[1], depth=partial(np.zeros, (32, 48), np.float32))
    Frames([photos[0], nothing]).check_depth()
    with pytest.raises(InputError, match="depth of some pixels, found none in 1 of 1 photos, such as 1"):
        Frames([nothing]).check_depth()


def write_pair(photo: Path, depth: Path, seed: int) -> None:
    for file, values in ((photo, photo_of(seed)), (depth, (1000 * slope(seed)).astype(np.uint16))):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(file)


def test_depth_of_8_bits_and_folders_without_depth_are_refused(tmp_path: Path) -> None:
    write_pair(tmp_path / "images/a.png", tmp_path / "depths/a.png", 0)
    Image.fromarray(np.full((32, 48), 100, np.uint8)).save(tmp_path / "depths/a.png")
    with pytest.raises(InputError, match=r"depth of 16 bits at .*a\.png, found 8"):
        Frames(open_frames([tmp_path]))[0]
    with pytest.raises(InputError, match=r"photos with depth at .*images: rooms, .* found none of these"):
        open_frames([tmp_path / "images"])


def test_scans_of_scannet_are_read_in_order_and_held_to_the_list(tmp_path: Path) -> None:
    for scene in ("scene0000_00", "scene0001_00"):
        for number in (0, 100, 20, 3):
            write_pair(tmp_path / scene / f"color/{number}.png", tmp_path / scene / f"depth/{number}.png", number)
    found = open_frames([tmp_path])
    assert [photo.name for photo in found] == ["0", "3", "20", "100"] * 2
    assert [photo.name for photo in open_frames([tmp_path], every=3)] == ["0", "100"] * 2
    assert [photo.group for photo in open_frames([tmp_path / "scene0001_00"])] == ["scene0001_00"] * 4
    np.testing.assert_allclose(Frames(found)[2].depth, slope(20), atol=0.0011)
    (tmp_path / "scannetv2_train.txt").write_text("scene0001_00\nscene0009_00\n")
    assert {photo.group for photo in open_frames([tmp_path])} == {"scene0001_00"}


def test_photos_beside_depth_maps_are_read_with_their_unit(tmp_path: Path) -> None:
    write_pair(tmp_path / "a/images/x.png", tmp_path / "a/depths/x.png", 1)
    Image.fromarray(photo_of(2)).save(tmp_path / "a/images/without.png")
    write_pair(tmp_path / "b/y.png", tmp_path / "b/y_depth.png", 3)
    found = open_frames([tmp_path / "a", tmp_path / "b"], unit=0.002)
    assert [(photo.group, photo.name) for photo in found] == [("a", "x"), ("b", "y")]
    np.testing.assert_allclose(Frames(found)[1].depth, 2 * slope(3), atol=0.0021)
    (tmp_path / "a/depths/x.png").unlink()
    with pytest.raises(InputError, match=r"depth maps at .*depths/NAME.png"):
        open_frames([tmp_path / "a"])
    with pytest.raises(InputError, match="Expected a folder of photos with depth"):
        open_frames([tmp_path / "gone"])
    with pytest.raises(InputError, match=r"photos with depth at .*: rooms, .*; found none of these"):
        open_frames([tmp_path])


def test_captures_and_rooms_are_read_whole(tmp_path: Path) -> None:
    for number in range(5):
        write_pair(tmp_path / f"images/{number}.png", tmp_path / f"depths/{number}.png", number)
    shots = [{"file_path": f"images/{i}.png", "depth_file_path": f"depths/{i}.png"} for i in range(5)]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": shots, "depth_unit_scale_factor": 0.01}))
    found = open_frames([tmp_path])
    assert [photo.name for photo in found] == list("01234")
    np.testing.assert_allclose(Frames(found)[4].depth, 10 * slope(4), atol=0.011)
    room = small_room("train")
    photos = open_frames([room.path, room.path.parent], every=2)
    assert [photo.name for photo in photos] == ["view_000", "view_002"] * 2
    np.testing.assert_array_equal(Frames(photos)[1].depth, room.depth("view_002"))


def test_pretraining_learns_shapes() -> None:
    task = make_task(numbers=replace(NUMBERS, augment="none", batch=8))
    optimizer = torch.optim.AdamW(task.trained(), lr=1e-3, betas=(0.9, 0.95))
    losses = []
    for step in range(45):
        loss, figures = task(task.batch(np.random.default_rng(step)), 0.0)
        assert figures == {"depth_loss": pytest.approx(float(loss.detach()))}
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(task.trained()), 3.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[:3]) > 1.7, "shapes that have nothing to do with each other are 2 apart"
    assert np.mean(losses[-3:]) < 1.4


def test_a_loss_is_a_mean_over_frames() -> None:
    task = make_task()
    items = task.batch(np.random.default_rng(0))
    assert items != task.batch(np.random.default_rng(1))
    single = [float(task([item], 0.0)[0].detach()) for item in items]
    assert float(task(items, 0.0)[0].detach()) == pytest.approx(np.mean(single), rel=1e-5)
    assert np.ptp(single) > 1e-3


def test_pictures_show_what_was_kept_told_and_true() -> None:
    task = make_task(Masking(colour=0.5, depth=0.25, reconstruct="both")).eval()
    with torch.no_grad():
        pictures = task.pictures()
    assert set(pictures) == {"depth", "colours"}
    cell = (round(WIDTH * 240 / HEIGHT) + 4, 244)
    assert pictures["depth"].shape == (3 * cell[1], 4 * cell[0], 3)
    first = [pictures["depth"][:240, i * cell[0] : i * cell[0] + cell[0] - 4].astype(int) for i in range(4)]
    grey = [float((np.abs(picture - 128).max(-1) < 2).mean()) for picture in first[:2]]
    assert grey == [pytest.approx(0.5, abs=0.05), pytest.approx(0.75, abs=0.05)]
    given = np.abs(first[1] - 128).max(-1) > 20
    assert np.abs(first[1] - first[3])[given].mean() < 6
    assert pictures["colours"].shape == (3 * cell[1], 3 * cell[0], 3)


def test_sizes_are_whole_patches() -> None:
    with pytest.raises(InputError, match="multiples of it, found 30 x 48"):
        make_task(numbers=replace(NUMBERS, size=(30, 48)))


def test_the_papers_numbers_are_those_of_section_4_1() -> None:
    numbers = USUAL["paper"]
    schedule = schedule_of("paper", numbers, 128 * 50, seed=0)
    assert (numbers.size, schedule.steps, schedule.optimizer) == ((240, 320), 5000, "sgd")
    rates = [schedule.rate_at(step) for step in (0, 999, 1000, 2000)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.099, 0.09801])
    assert (numbers.batch, schedule.accumulate) == (128, 2)
    assert SHAPES["paper"].depth_blocks is None
    small = schedule_of("small", USUAL["small"], 3200, seed=0)
    assert (small.optimizer, small.steps) == ("adamw", 4000)


def test_rates_fall_as_a_polynomial_or_down_a_staircase() -> None:
    falling = Schedule(steps=100, rate=2.0, warmup=0.1, decay="polynomial", power=0.5)
    assert falling.rate_at(10) == 2.0
    assert falling.rate_at(55) == pytest.approx(2 * 0.5**0.5)
    assert falling.rate_at(100) == 0
    stairs = Schedule(steps=100, rate=2.0, warmup=0.0, decay="staircase", stair=(0.5, 10))
    assert [stairs.rate_at(step) for step in (9, 10, 29)] == [2.0, 1.0, 0.5]
    assert falling.identity()["power"] == 0.5
    assert "stair" not in falling.identity()
    assert not {"power", "stair"} & set(Schedule(steps=1).identity())
    for wrong in ({"power": 0.0}, {"stair": (1.5, 10)}, {"stair": (0.5, 0)}):
        with pytest.raises(InputError, match="power above 0 and a stair"):
            replace(stairs, **wrong)
