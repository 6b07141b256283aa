"""tiny-sam: the model, what it is trained on, its training, and the ways to its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from render.errors import InputError
from tests.tiny_models import tiny_sam_file
from training.loop import save_weights
from training.rooms.cameras import room_cameras
from training.rooms.layout import build_room
from training.rooms.rendering import RoomRenderer
from training.tiny.images import RoomImages
from training.tiny.sam import APART, SamTask, mask_losses
from training.tiny.sam_decoder import begin_at_points, decode, decode_apart
from training.tiny.sam_measures import measure_masks
from training.tiny.sam_prompts import LEAST, draw_prompts
from uplift.encoders import load_encoder
from uplift.encoders.sam import load_sam
from uplift.encoders.tiny_sam import SHAPE, Shape, build_tiny_sam, load_tiny_sam
from uplift.evaluation.runs import sam_predictor

CPU = torch.device("cpu")
STEPS = 150
SMALL = Shape(
    side=64,
    patch=8,
    stem=(16, 16, 32),
    residual=(0, 1, 1),
    below=(32,),
    width=32,
    depth=1,
    heads=2,
    window=4,
    channels=32,
    hidden=32,
)
COLOURS = np.array([[90, 90, 90], [220, 40, 40], [40, 60, 220], [240, 220, 60]], np.uint8)


def disc_images(count: int, side: int = 64) -> RoomImages:
    """Photos of three coloured discs before a gray wall, which is a thing too."""
    random = np.random.default_rng(0)
    instances = np.zeros((count, side, side), np.int16)
    y, x = np.mgrid[:side, :side]
    for ids in instances:
        for thing in (1, 2, 3):
            cy, cx = random.uniform(8, side - 8, 2)
            ids[(y - cy) ** 2 + (x - cx) ** 2 < random.uniform(7, 14) ** 2] = thing
    noise = random.integers(-12, 13, (count, side, side, 1))
    photos = (COLOURS[instances].astype(int) + noise).clip(0, 255).astype(np.uint8)
    return RoomImages(
        photos,
        instances.astype(np.uint8),
        instances,
        np.ones(instances.shape, np.float16),
        np.zeros((count, 3, 3), np.float32),
        np.zeros((count, 4, 4), np.float32),
        np.zeros(count, int),
        [[]],
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the default shape, as the training exports them."""
    torch.manual_seed(0)
    model = build_tiny_sam()
    torch.nn.init.normal_(model.image_encoder.pos_embed, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(model, path)
    return path


def test_several_photos_are_decoded_as_segment_anything_decodes_each() -> None:
    torch.manual_seed(1)
    model = build_tiny_sam(SMALL).eval()
    embeddings = torch.randn(2, 32, 8, 8)
    points, labels = torch.rand(6, 2, 2) * 64, torch.tensor([[1.0, 0.0]]).expand(6, 2)
    sparse, dense = model.prompt_encoder((points, labels), None, torch.randn(6, 1, 32, 32))
    positions = model.prompt_encoder.get_dense_pe()
    with torch.no_grad():
        made = decode(model.mask_decoder, embeddings, positions, sparse, dense)
        for i, rows in enumerate((slice(0, 3), slice(3, 6))):
            wanted = model.mask_decoder.predict_masks(embeddings[i : i + 1], positions, sparse[rows], dense[rows])
            for mine, theirs in zip(made, wanted, strict=True):
                torch.testing.assert_close(mine[rows], theirs, rtol=1e-4, atol=1e-5)


def test_a_decoder_at_its_beginning_needs_not_tell_the_photo_of_prompts() -> None:
    torch.manual_seed(2)
    model = build_tiny_sam(SMALL).eval()
    begin_at_points(model.mask_decoder, model.prompt_encoder)
    embeddings = torch.randn(2, 32, 8, 8)
    sparse, dense = model.prompt_encoder((torch.rand(6, 1, 2) * 64, torch.ones(6, 1)), None, None)
    positions, nothing = model.prompt_encoder.get_dense_pe(), model.prompt_encoder.no_mask_embed.weight
    with torch.no_grad():
        told, guesses = decode(model.mask_decoder, embeddings, positions, sparse, dense)
        apart, others = decode_apart(model.mask_decoder, embeddings, positions, sparse, nothing)
        torch.testing.assert_close(apart, told, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(others, guesses, rtol=1e-4, atol=1e-5)
        for quarter in range(4):
            part, _ = decode_apart(model.mask_decoder, embeddings, positions, sparse, nothing, quarter)
            torch.testing.assert_close(part, apart[..., quarter // 2 :: 2, quarter % 2 :: 2], rtol=1e-4, atol=1e-5)


def test_attention_begins_where_a_point_is() -> None:
    torch.manual_seed(3)
    model = build_tiny_sam().eval()
    begin_at_points(model.mask_decoder, model.prompt_encoder)
    last, looks = model.mask_decoder.transformer.final_attn_token_to_image, []

    def remember(module: torch.nn.Module, args: tuple[()], given: dict[str, torch.Tensor]) -> None:
        query, key = (
            x.unflatten(-1, (last.num_heads, -1)).transpose(1, 2)
            for x in (last.q_proj(given["q"]), last.k_proj(given["k"]))
        )
        looks.append((query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1))

    handle = last.register_forward_pre_hook(remember, with_kwargs=True)
    points = torch.rand(40, 1, 2) * SHAPE.side
    sparse, _ = model.prompt_encoder((points, torch.ones(40, 1)), None, None)
    grid = SHAPE.side // SHAPE.patch
    with torch.no_grad():
        nothing = model.prompt_encoder.no_mask_embed.weight
        embedding, positions = torch.randn(1, SHAPE.channels, grid, grid), model.prompt_encoder.get_dense_pe()
        decode_apart(model.mask_decoder, embedding, positions, sparse, nothing)
    handle.remove()
    looked = looks[0][0].unflatten(1, (40, -1))[:, :, 1]  # heads, prompts, cells: of the token of the first mask
    middles = (torch.arange(grid) + 0.5) * SHAPE.patch
    x, y = points[:, 0, 0, None, None], points[:, 0, 1, None, None]
    near = ((middles[:, None] - y) ** 2 + (middles - x) ** 2).sqrt() < 2 * SHAPE.patch
    share = (looked * near.flatten(1)).sum(-1).mean()
    assert share > 0.7, share
    assert near.float().mean() < 0.03


def test_points_lie_on_what_is_wanted_and_boxes_around_it() -> None:
    images = disc_images(20)
    given = draw_prompts(images, np.random.default_rng(3), batch=12, prompts=5, points=3, side=128)
    x, y = given.points[..., 0].astype(int), given.points[..., 1].astype(int)
    found = given.instances[np.arange(12)[:, None, None], y, x]
    np.testing.assert_array_equal(found, np.broadcast_to(given.wanted[..., None], found.shape))
    assert given.there[np.arange(12)[:, None, None], y, x].all()
    for ids, wanted, boxes in zip(given.instances, given.wanted, given.boxes, strict=True):
        for thing, (left, top, right, bottom) in zip(wanted, boxes, strict=True):
            rows, columns = np.nonzero(ids == thing)
            assert len(rows) >= LEAST
            exact = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
            assert np.abs(np.array([left, top, right, bottom]) - exact).max() <= 20


def test_crops_show_the_things_that_their_maps_name() -> None:
    images = disc_images(20)
    given = draw_prompts(images, np.random.default_rng(4), batch=16, prompts=2, points=1, side=128)
    assert (given.crops[~given.there] == 0).all()
    assert (given.instances[~given.there] == -1).all()
    assert given.there.all((1, 2)).any(), "some crops are square"
    assert not given.there.all((1, 2)).all(), "others are not"
    named = COLOURS[given.instances[given.there]].astype(int)
    off = np.abs(given.crops[given.there].astype(int) - named).max(-1) > 20
    assert off.mean() < 0.06, "but for blurred borders"
    shares = given.shares(4)
    assert shares.shape == (16, 2, 32, 32)
    area = (given.instances[:, None] == given.wanted[..., None, None]).sum((-2, -1))
    np.testing.assert_allclose(shares.sum((-2, -1)) * 16, area, rtol=1e-5)


def test_the_same_seed_draws_the_same_prompts() -> None:
    images = disc_images(6)
    one, two = (draw_prompts(images, np.random.default_rng(5), batch=4, prompts=3, points=2, side=64) for _ in range(2))
    np.testing.assert_array_equal(one.crops, two.crops)
    np.testing.assert_array_equal(one.points, two.points)


def test_the_loss_is_least_for_the_true_mask() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:5, 3:7] = 1
    right = (truth * 2 - 1) * 8
    shifted = right.roll(1, -1)
    loss, overlap = mask_losses(torch.stack([right, shifted, -right], 1), truth)
    assert loss[0, 0] < 0.1 < loss[0, 1] < loss[0, 2]
    torch.testing.assert_close(overlap[0], torch.tensor([1.0, 9 / 15, 0.0]))
    torch.testing.assert_close(mask_losses(torch.stack([right, shifted, -right], 1), truth)[0], loss)


def test_a_perfect_predictor_measures_one_hundred() -> None:
    images = disc_images(4)

    class Perfect:
        """Answers with the thing under the first point, or the one that fills its box."""

        original_size = (64, 64)
        device = CPU

        class transform:  # noqa: N801  as the predictor names it
            apply_coords = staticmethod(lambda xy, shape: xy)
            apply_boxes = staticmethod(lambda boxes, shape: boxes)

        def set_image(self, photo: np.ndarray) -> None:
            index = next(i for i, other in enumerate(images.photos) if np.array_equal(other, photo))
            self.ids = torch.from_numpy(images.instances[index])

        def predict_torch(
            self, points: torch.Tensor | None, labels: object, boxes: torch.Tensor | None, *, multimask_output: bool
        ) -> tuple[torch.Tensor, torch.Tensor, None]:
            if points is not None:
                x, y = points[:, 0].long().unbind(-1)
                ids = self.ids[y, x]
            else:
                assert boxes is not None
                ids = torch.tensor([self._filling(box) for box in boxes])
            masks = (self.ids == ids[:, None, None])[:, None]
            k = 3 if multimask_output else 1
            return masks.repeat(1, k, 1, 1), torch.ones(len(masks), k), None

        def _filling(self, box: torch.Tensor) -> int:
            def exact(thing: int) -> list[int]:
                y, x = np.nonzero(self.ids.numpy() == thing)
                return [x.min(), y.min(), x.max(), y.max()]

            return next(i for i in self.ids.unique().tolist() if exact(i) == box.tolist())

    figures = measure_masks(Perfect(), images.photos, images.instances)
    assert figures == {"click": 100, "best_of_three": 100, "three_points": 100, "box": 100, "guess": 0}


def test_training_learns_to_find_what_was_clicked() -> None:
    images = disc_images(48)
    task = SamTask(images, images, batch=6, device=CPU, prompts=8, shape=SMALL)
    before = task.validate()
    optimizer = torch.optim.AdamW(list(task.trained()), lr=2e-3)
    told = []
    for step in range(STEPS):
        loss, figures = task.step(np.random.default_rng(step), step / STEPS)
        assert {"masks", "iou", "corrected_masks", "corrected_iou"} <= set(figures)
        told.append("groups" not in figures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert not any(told[: round(APART * STEPS)])
    assert any(told)
    after = task.validate()
    assert after["best_of_three"] > before["best_of_three"] + 12, (before, after)
    assert after["box"] > before["box"] + 10, (before, after)


def test_a_step_depends_on_its_generator_alone() -> None:
    images = disc_images(8)
    task = SamTask(images, images, batch=2, device=CPU, prompts=2, shape=SMALL)
    one, two, other = (float(task.step(np.random.default_rng(seed), 0.0)[0].detach()) for seed in (1, 1, 2))
    assert one == two != other


def test_exported_weights_give_the_models_masks(untrained: Path) -> None:
    torch.manual_seed(0)
    model = build_tiny_sam()
    torch.nn.init.normal_(model.image_encoder.pos_embed, std=0.1)
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    expected = SamPredictor(model.eval())
    expected.set_image(photo)
    for loaded in (load_tiny_sam(untrained, CPU), load_sam(untrained, CPU), sam_predictor(str(untrained), CPU)):
        assert loaded is not None
        loaded.set_image(photo)
        for mine, theirs in zip(
            loaded.predict(np.array([[20.0, 30.0]]), np.array([1]), return_logits=True),
            expected.predict(np.array([[20.0, 30.0]]), np.array([1]), return_logits=True),
            strict=True,
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


def test_other_weights_are_refused(tmp_path: Path, untrained: Path) -> None:
    with pytest.raises(InputError, match="does not hold the weights of tiny-sam"):
        load_tiny_sam(tiny_sam_file(tmp_path), CPU)
    other = tmp_path / "other.safetensors"
    save_weights(build_tiny_sam(SMALL), other)
    with pytest.raises(InputError, match="of other shapes"):
        load_tiny_sam(other, CPU)
    with pytest.raises(InputError, match="There is no file of weights"):
        sam_predictor(tmp_path / "absent.safetensors", CPU)


def test_the_encoder_describes_a_photo_on_its_grid(untrained: Path) -> None:
    encoder = load_encoder("tiny-sam", untrained, "cpu")
    photo = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    rows, columns = 60 * SHAPE.side // 80 // SHAPE.patch, SHAPE.side // SHAPE.patch
    assert encoder.encode(photo).shape == (rows, columns, SHAPE.channels)
    assert encoder.licence is not None
    assert "fit3d" in encoder.licence
    assert encoder.name == "tiny-sam"


def photos_of_a_room() -> tuple[np.ndarray, np.ndarray]:
    """Photos of a room that nothing was trained or validated on, and their instances."""
    room = build_room("val", 900)
    renderer = RoomRenderer(room, threads=1)
    cameras = room_cameras(room, 6, 192, 192, 0, surfaces=renderer.surfaces, caster=renderer.caster)
    shown = [renderer.render(camera) for camera in cameras]
    return np.stack([image.rgb for image in shown]), np.stack([image.instances for image in shown])


def test_the_bundled_weights_find_things_of_an_unseen_room() -> None:
    photos, instances = photos_of_a_room()
    trained = measure_masks(load_tiny_sam(device=CPU), photos, instances)
    torch.manual_seed(0)
    untrained = measure_masks(SamPredictor(build_tiny_sam().eval()), photos, instances)
    for name in ("click", "box", "three_points"):
        assert trained[name] > max(25.0, untrained[name] + 15), (name, trained, untrained)
