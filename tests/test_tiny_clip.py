"""tiny-clip: its words, what it is trained on, its training, and the ways to its weights."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from render.errors import InputError
from training.loop import save_weights
from training.rooms.cameras import room_cameras
from training.rooms.captions import vocabulary
from training.rooms.layout import build_room
from training.rooms.rendering import RoomRenderer
from training.rooms.words import ThingWords
from training.tiny.bpe import learn_merges
from training.tiny.clip import ClipTask, caption_loss, caption_tokenizer, truths
from training.tiny.crops import CropSampler
from training.tiny.finding import pixel_relevancies
from training.tiny.images import RoomImages
from training.tiny.pieces import PieceSampler
from uplift.encoders import load_encoder
from uplift.encoders.tiny_clip import TinyClipEncoder, build_tiny_clip, dense_features, make_tiny_clip
from uplift.relevancy import CANONICAL, most_relevant_pixel, relevancies

CPU = torch.device("cpu")
THINGS = (
    ThingWords("wall", colour="grey"),
    ThingWords("ball", colour="red"),
    ThingWords("cushion", colour="blue"),
    ThingWords("box", colour="yellow"),
)
COLOURS = np.array([[128, 128, 128], [220, 30, 30], [30, 50, 220], [240, 220, 40]], np.uint8)
WALL, BALL, CUSHION, BOX = range(4)


def room_images(count: int, side: int = 96) -> RoomImages:
    """Photos of a red ball, a blue cushion and a yellow box before a grey wall, at random places."""
    random = np.random.default_rng(0)
    instances = np.zeros((count, side, side), np.int16)
    y, x = np.mgrid[:side, :side]
    for ids in instances:
        places = random.permutation(4)[:3]  # quarters of the photo, so that nothing is hidden
        for thing, place in zip((BALL, CUSHION, BOX), places, strict=True):
            cy, cx = (np.array(divmod(int(place), 2)) + random.uniform(0.4, 0.6, 2)) * side / 2
            radius = random.uniform(0.1, 0.18) * side
            dy, dx = np.abs(y - cy), np.abs(x - cx)
            ids[(np.hypot(dy, dx) if thing == BALL else np.maximum(dy, dx)) < radius] = thing
    noise = random.integers(-12, 13, (count, side, side, 1))
    return RoomImages(
        (COLOURS[instances].astype(int) + noise).clip(0, 255).astype(np.uint8),
        instances.astype(np.uint8),
        instances,
        np.ones(instances.shape, np.float16),
        np.zeros((count, 3, 3), np.float32),
        np.zeros((count, 4, 4), np.float32),
        np.zeros(count, int),
        [THINGS],
    )


def test_frequent_pairs_are_joined_first_until_words_are_tokens() -> None:
    merges = learn_merges(["rug", "mug", "bed"], 20)
    assert merges == ("u g</w>", "b e", "be d</w>", "m ug</w>", "r ug</w>")  # equal counts by the alphabet
    assert len(learn_merges(["rug", "mug", "bed"], 2)) == 2


def test_every_word_of_captions_is_one_token() -> None:
    tokenizer = caption_tokenizer()
    words = sorted(vocabulary())
    lengths = (tokenizer(words) != 0).sum(1)
    assert (lengths == 3).all(), [word for word, n in zip(words, lengths, strict=True) if n != 3]


def test_unknown_words_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = caption_tokenizer()
    with caplog.at_level(logging.WARNING):
        tokenizer(["a red chair"])
        assert not caplog.records
        tokenizer(["a red locomotive"])
    assert "'locomotive'" in caplog.text
    assert "'red'" not in caplog.text
    (remark,) = tokenizer.remarks(["a red locomotive", "a locomotive"])
    assert remark == caplog.messages[0]


def test_captions_are_true_of_all_that_they_may_be_said_of() -> None:
    things = [ThingWords("chair", colour="red"), ThingWords("chair", colour="blue"), ThingWords("lamp", "table lamp")]
    captions = ["a red chair", "chair", "lamp", "seat", "object", "table lamp"]
    for_things, for_captions = truths(captions, things)
    assert for_things[0].tolist() == [True, True, False, True, False, False]
    assert for_things[1].tolist() == [False, True, False, True, True, False]  # "object" was said of it
    assert for_captions[2].tolist() == [False, False, True, False, True, True]
    assert for_captions[:, 4].all(), "a word without content finds everything"
    assert truths(["lamp", "table"], [things[2], ThingWords("table")])[1][0].tolist() == [True, False]


def test_with_one_caption_each_the_loss_is_that_of_open_clip() -> None:
    random = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 8, generator=random), dim=1) for _ in range(2))
    mine = caption_loss(7.0 * images @ texts.T, torch.eye(6, dtype=torch.bool), torch.eye(6, dtype=torch.bool))
    theirs = open_clip.ClipLoss()(images, texts, torch.tensor(7.0))
    torch.testing.assert_close(mine, theirs)


def test_crops_show_their_thing_in_the_middle() -> None:
    crops = CropSampler(room_images(6), 64).draw(np.random.default_rng(1), 40)
    assert crops.images.shape == (40, 64, 64, 3)
    colours = {words: COLOURS[i] for i, words in enumerate(THINGS)}
    middles = crops.images[:, 26:38, 26:38].reshape(40, -1, 3).astype(int)
    near = [np.abs(m - colours[w]).max(1).min() for m, w in zip(middles, crops.main, strict=True)]
    assert np.mean(np.array(near) < 40) > 0.9
    assert {words.category for words in crops.main} == {"wall", "ball", "cushion", "box"}
    assert all(0 < sum(share for _, share in shares) < 1.3 for shares in crops.shares)


def test_points_lie_on_what_they_are_said_to_show() -> None:
    pieces = PieceSampler(room_images(6), 128).draw(np.random.default_rng(2), 16, 20)
    assert pieces.images.shape == (16, 128, 128, 3)
    assert (pieces.points > 0).all()
    assert (pieces.points < 1).all()
    x, y = (pieces.points * 128).astype(int).transpose(2, 0, 1)
    found = pieces.images[np.arange(16)[:, None], y, x].astype(int)
    expected = np.array([COLOURS[THINGS.index(words)] for words in pieces.things])[pieces.shown]
    # Resizing mixes colours at borders.
    assert np.mean(np.abs(found - expected).max(-1) < 40) > 0.9
    names = [pieces.things[i].category for i in pieces.shown.reshape(-1)]
    assert names.count("ball") > 0.08 * len(names), "small things are marked, too"


def test_photos_without_things_are_refused() -> None:
    images = room_images(2)
    images.instances[:] = -1
    with pytest.raises(InputError, match="show things"):
        PieceSampler(images, 64)
    with pytest.raises(InputError, match="show things"):
        CropSampler(images, 64)
    images.instances[:, :2, :2] = BALL  # too few pixels to name
    with pytest.raises(InputError, match="12 pixels or more"):
        PieceSampler(images, 64).draw(np.random.default_rng(0), 2, 4)


def test_a_step_depends_on_its_generator_alone() -> None:
    task = ClipTask(room_images(8), room_images(4), batch=2, device=CPU)
    one, two, other = (float(task.step(np.random.default_rng(seed), 0.0)[0].detach()) for seed in (1, 1, 2))
    assert one == two != other


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights after a short training on coloured things."""
    torch.manual_seed(0)
    task = ClipTask(room_images(24), room_images(4), batch=2, device=CPU)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-3)
    for step in range(60):
        loss, _ = task.step(np.random.default_rng(step), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(0.0)
    model, metadata = task.exported()
    path = tmp_path_factory.mktemp("clip") / "tiny-clip.safetensors"
    save_weights(model, path, metadata)
    return path


def test_training_learns_what_words_mean(trained: Path) -> None:
    encoder = make_tiny_clip(trained, CPU, heights=(96,))
    images = room_images(30)
    photo, instances = images.photos[-1], images.instances[-1]
    values = encoder.encode(photo)
    assert values.shape == (12, 12, encoder.dimension)
    texts = encoder.encode_text(["red ball", "blue cushion", "yellow box"])
    scores = relevancies(values.reshape(144, -1), texts, encoder.encode_text(CANONICAL))
    shown = instances[4::8, 4::8].reshape(-1)
    for column, thing in enumerate((BALL, CUSHION, BOX)):
        assert shown[int(scores[:, column].argmax())] == thing
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(3))


def test_an_image_is_the_mean_of_its_pixels(trained: Path) -> None:
    encoder = make_tiny_clip(trained, CPU)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        whole = encoder._model.encode_image(pixels)
        torch.testing.assert_close(dense_features(encoder._model, pixels).mean((1, 2)), whole, rtol=1e-4, atol=1e-5)


def test_a_photo_is_seen_in_all_sizes(trained: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    sizes = (64, 96)
    one, two = (make_tiny_clip(trained, CPU, heights=(size,)).encode(photo) for size in sizes)
    both = make_tiny_clip(trained, CPU, heights=sizes)
    assert both.options() == {"heights": [64, 96]}
    coarse = torch.nn.functional.interpolate(one.permute(2, 0, 1)[None], two.shape[:2], mode="bilinear")
    torch.testing.assert_close(both.encode(photo), (coarse[0].permute(1, 2, 0) + two) / 2)
    assert two.shape[:2] == (12, 18)  # 96 x 144 pixels, the nearest multiples of 16
    small = make_tiny_clip(trained, CPU).encode(photo[:40])
    assert small.shape[0] <= 20, "no grid finer than the photo's pixels allow"
    with pytest.raises(InputError, match="16 pixels or more"):
        make_tiny_clip(trained, CPU, heights=())


def test_weights_travel_in_half_precision_with_their_words(trained: Path) -> None:
    encoder = load_encoder("tiny-clip", trained)
    assert isinstance(encoder, TinyClipEncoder)
    assert trained.stat().st_size < 12e6
    model = build_tiny_clip()
    random = TinyClipEncoder(model, caption_tokenizer())
    assert encoder.weights_hash() != random.weights_hash()
    state = encoder._model.state_dict()
    assert all(torch.equal(value, value.half().float()) for value in state.values() if value.is_floating_point())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(torch.nn.Linear(3, 3), path)
    with pytest.raises(InputError, match="weights of tiny-clip"):
        load_encoder("tiny-clip", path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="weights of tiny-clip"):
        load_encoder("tiny-clip", path)


def test_the_bundled_weights_name_things_of_an_unseen_room() -> None:
    renderer = RoomRenderer(build_room("val", 0), threads=1)
    cameras = room_cameras(renderer.room, 3, 160, 120, 1, surfaces=renderer.surfaces, caster=renderer.caster)
    encoder = load_encoder("tiny-clip")
    assert isinstance(encoder, TinyClipEncoder)
    names = [thing.words.category for thing in renderer.room.things]
    texts = sorted({*names, "wall", "floor"})
    embedded, negatives = encoder.encode_text(texts), encoder.encode_text(CANONICAL)
    hits, chances = [], []
    for camera in cameras:
        image = renderer.render(camera)
        scores = pixel_relevancies(encoder.encode(image.rgb), embedded, negatives, image.rgb.shape[:2])
        shown = np.array(names)[image.instances]
        for text, score in zip(texts, scores, strict=True):
            share = float((shown == text).mean())
            if share > 0.005:
                column, row, _ = most_relevant_pixel(score)
                hits.append(shown[row, column] == text)
                chances.append(share)
    assert len(hits) > 12
    assert np.mean(hits) > max(0.4, 2 * np.mean(chances)), (np.mean(hits), np.mean(chances))
