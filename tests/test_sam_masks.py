"""Selections by Segment Anything's masks, lifted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from render.errors import InputError
from render.rasterizer import rasterize, rasterize_transposed, reference
from render.views import View
from tests.corner import Corner, corner
from tests.tiny_models import tiny_sam_file
from uplift.encoders.sam import load_sam
from uplift.prompts import Prompt
from uplift.sam_masks import EmbeddingCache, SamSegmenter, average_masks
from uplift.thresholds import best_iou_threshold, iou, li_threshold


def room() -> Corner:
    return corner(count=4000, views=4, width=120, height=90)


def table() -> int:
    return room().names.index("table")


def prompt_of(thing: int, kind: str = "mask") -> Prompt:
    objects = room()
    view = objects.scene.view(objects.best_view(thing))
    mask = objects.mask(view.name, thing)
    if kind == "mask":
        return Prompt.from_mask(view, mask)
    from scipy.ndimage import binary_erosion

    return Prompt.from_scribbles(view, binary_erosion(mask, iterations=3), None)


class KnowsTheRoom:
    """A predictor that answers with the object under most of the points; of three masks the second is right.

    It knows which photo it was given by the pixels, and records every call.
    """

    def __init__(self) -> None:
        objects = room()
        self._labels = {view.image().tobytes(): objects.maps[view.name] for view in objects.scene.views}
        self._names = {view.image().tobytes(): view.name for view in objects.scene.views}
        self.photo = ""
        self.calls: list[tuple[str, np.ndarray, bool]] = []

    def set_image(self, image: np.ndarray) -> None:
        self.photo = self._names[image.tobytes()]
        self._map = self._labels[image.tobytes()]

    def predict(
        self, point_coords: np.ndarray, point_labels: np.ndarray, *, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.calls.append((self.photo, point_coords, multimask_output))
        assert (point_labels == 1).all()
        columns, rows = point_coords.astype(int).T
        under = self._map[rows, columns] + 1
        right = self._map == np.bincount(under).argmax() - 1
        small = right & (np.indices(right.shape)[1] > columns[0])
        masks = np.stack([small, right, np.ones_like(right)]) if multimask_output else right[None]
        return masks, np.ones(len(masks)), np.zeros((len(masks), 4, 4))


def test_averages_are_means_over_random_points_of_the_object() -> None:
    predictor = KnowsTheRoom()
    view = room().scene.views[0]
    predictor.set_image(view.image())
    pixels = np.zeros((90, 120), bool)
    pixels[40:50, 30:60] = True
    found = average_masks(predictor, pixels, points=3, repeats=10, random=np.random.default_rng(1))
    assert (found.shape, found.dtype) == ((90, 120, 1), np.float32)
    assert len(predictor.calls) == 10
    points = np.stack([call[1] for call in predictor.calls]).astype(int)
    assert points.shape == (10, 3, 2)
    assert pixels[points[..., 1], points[..., 0]].all()
    assert all(len(np.unique(three, axis=0)) == 3 for three in points)
    labels = room().maps[view.name]
    found_labels = [np.bincount(labels[three[:, 1], three[:, 0]] + 1).argmax() - 1 for three in points]
    expected = np.mean([labels == label for label in found_labels], axis=0)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)
    again = average_masks(predictor, pixels, points=3, repeats=10, random=np.random.default_rng(1))
    assert np.array_equal(again, found)
    one = np.zeros((90, 120), bool)
    one[5, 7] = True
    average_masks(predictor, one, repeats=1, several=True, random=np.random.default_rng(1))
    assert predictor.calls[-1][1].tolist() == [[7, 5]]
    with pytest.raises(InputError, match="found 0 pixels"):
        average_masks(predictor, ~one & one, random=np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["mask", "scribbles"])
def test_a_prompt_in_one_view_selects_the_object_in_all(kind: str) -> None:
    objects, thing = room(), table()
    prompt = prompt_of(thing, kind)
    predictor = KnowsTheRoom()
    selection = SamSegmenter(objects.scene, predictor).select([prompt], repeats=4)
    for view in objects.scene.views:
        found = selection.mask_in(objects.scene.gaussians, view)
        assert iou(found, objects.mask(view.name, thing), tolerance=1) > 0.8, view.name
    assert {name for name, _, _ in predictor.calls} == {view.name for view in objects.scene.views}
    assert all(several == (kind == "mask") for _, _, several in predictor.calls)
    assert selection.about["mask"] == (1 if kind == "mask" else 0)
    assert selection.about["tau"] == (0.4 if kind == "mask" else 1.0)
    assert selection.about["prompts"] == [prompt.about]


def test_points_of_the_reference_view_come_from_the_foreground_alone() -> None:
    prompt = prompt_of(table(), "scribbles")
    predictor = KnowsTheRoom()
    SamSegmenter(room().scene, predictor).select([prompt], repeats=10)
    points = np.concatenate([xy for name, xy, _ in predictor.calls if name == prompt.view.name]).astype(int)
    assert len(points) == 30
    assert prompt.positive[points[:, 1], points[:, 0]].all()


def test_the_threshold_is_the_best_on_a_mask_half_on_scribbles_or_lis() -> None:
    gaussians = room().scene.gaussians
    mask, scribbles = prompt_of(table()), prompt_of(table(), "scribbles")
    segmenter = SamSegmenter(room().scene, KnowsTheRoom())
    best = segmenter.select([mask], repeats=4)
    # Scores are scaled so that the threshold became one half.
    drawn = best.render(gaussians, mask.view.camera).numpy() * 2 * best.about["threshold"]
    expected, overlap = best_iou_threshold(drawn, mask.positive)
    assert best.about["threshold"] == pytest.approx(expected, rel=0.02)
    assert best.about["iou_in_reference_views"] == pytest.approx(overlap, abs=1e-3)
    half = segmenter.select([scribbles], repeats=4)
    assert half.about["threshold"] == 0.5
    li = segmenter.select([scribbles], repeats=4, threshold="li")
    assert li.about["threshold"] == pytest.approx(li_threshold(half.render(gaussians, scribbles.view.camera)), rel=0.02)
    given = segmenter.select([mask], repeats=2, threshold=0.3)
    assert (given.about["threshold"], given.about["mask"]) == (0.3, 0)


def test_the_foreground_is_lifted_as_its_formula_says() -> None:
    gaussians = room().scene.gaussians[::10]
    segmenter = SamSegmenter(gaussians, KnowsTheRoom(), views=room().scene.views)
    other = room().scene.views[0]
    prompts = [prompt_of(table()), Prompt.from_mask(other, room().mask(other.name, table()))]
    assert prompts[0].view.name != other.name
    W = torch.cat(
        [reference.contributions(gaussians, p.view.camera).to_sparse(len(gaussians)).to_dense() for p in prompts]
    )
    F = torch.from_numpy(np.concatenate([p.positive.reshape(-1) for p in prompts])).float()
    expected = (W.T @ F) / W.sum(0).clamp_min(1e-12)
    plain = segmenter.lifted_foreground(prompts, visible_only=False)
    torch.testing.assert_close(plain, expected, rtol=1e-3, atol=1e-4)


def test_what_lies_behind_the_object_is_left_out_of_the_foreground() -> None:
    objects, prompt = room(), prompt_of(table())
    segmenter = SamSegmenter(objects.scene, KnowsTheRoom())
    plain = segmenter.lifted_foreground([prompt], visible_only=False)
    kept = segmenter.lifted_foreground([prompt])
    dropped = (plain > 0.5) & (kept == 0)
    gaussians = objects.scene.gaussians
    ones = torch.ones(90, 120, 1)
    weights = [rasterize_transposed(gaussians, v.camera, ones)[1] for v in objects.scene.views]
    here = rasterize_transposed(gaussians, prompt.view.camera, ones)[1]
    assert dropped.sum() > 10
    assert (here[dropped] < 0.1 * torch.stack(weights).amax(0)[dropped]).all()
    assert torch.equal(kept[~dropped & (plain > 0.5)], plain[~dropped & (plain > 0.5)])


def test_point_pixels_exceed_tau_times_the_mean() -> None:
    objects, prompt = room(), prompt_of(table())
    segmenter = SamSegmenter(objects.scene, KnowsTheRoom())
    lifted = segmenter.lifted_foreground([prompt])
    other = next(view for view in objects.scene.views if view.name != prompt.view.name)
    drawn = rasterize(objects.scene.gaussians, other.camera, lifted[:, None]).values[..., 0]
    for tau in (0.4, 1.0):
        pixels = segmenter.point_pixels(other, lifted, tau, floor=0)
        assert np.array_equal(pixels, (drawn / drawn.mean() > tau).numpy())
    inside = objects.mask(other.name, table())
    surer = segmenter.point_pixels(other, lifted, 0.4)
    assert np.array_equal(surer, (drawn > drawn.max() / 2).numpy())
    assert inside[surer].mean() > inside[segmenter.point_pixels(other, lifted, 0.4, floor=0)].mean() + 0.2
    assert segmenter.point_pixels(other, lifted, 1e9).sum() == 1


def test_views_that_do_not_see_the_object_get_no_points() -> None:
    objects = room()
    away = objects.scene.views[0]
    turned = away.camera.world_to_camera.clone()
    turned[[0, 2]] *= -1  # looks the other way
    blind = View("blind", dataclasses.replace(away.camera, world_to_camera=turned), away.image)
    predictor = KnowsTheRoom()
    segmenter = SamSegmenter(objects.scene.gaussians, predictor, views=[*objects.scene.views, blind])
    selection = segmenter.select([prompt_of(table())], repeats=2)
    assert selection.about["views_without_the_object"] == 1
    assert len(predictor.calls) == 2 * len(objects.scene.views)


def test_the_seed_and_the_view_decide_the_points_and_nothing_else() -> None:
    prompt = prompt_of(table())
    runs = []
    for views, seed in ((room().scene.views, 0), (room().scene.views[::-1], 0), (room().scene.views, 1)):
        predictor = KnowsTheRoom()
        SamSegmenter(room().scene.gaussians, predictor, views=views).select([prompt], repeats=2, seed=seed)
        runs.append({name: xy.tolist() for name, xy, _ in predictor.calls})
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_progress_cancels_and_missing_prompts_and_views_are_refused() -> None:
    def cancel(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SamSegmenter(room().scene, KnowsTheRoom()).select([prompt_of(table())], progress=cancel)
    with pytest.raises(InputError, match="at least one prompt"):
        SamSegmenter(room().scene, KnowsTheRoom()).select([])
    predictor = KnowsTheRoom()
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="threshold must be greater than 0"):
            SamSegmenter(room().scene, predictor).select([prompt_of(table())], threshold=bad)
    assert not predictor.calls
    with pytest.raises(InputError, match="found none; give the scene's views"):
        SamSegmenter(room().scene.gaussians, KnowsTheRoom())
    with pytest.raises(InputError, match="SamPredictor alone"):
        SamSegmenter(room().scene, KnowsTheRoom(), cache="nowhere")


def test_a_real_predictor_selects_and_its_embeddings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tiny_sam_file(tmp_path)
    prompt = prompt_of(table())
    predictor = load_sam(weights, "cpu")
    plain = SamSegmenter(room().scene, predictor).select([prompt], repeats=2)
    first = SamSegmenter(room().scene, predictor, cache=tmp_path / "kept").select([prompt], repeats=2)
    files = sorted((tmp_path / "kept").rglob("*.safetensors"))
    assert len(files) == first.about["views"]
    fresh = load_sam(weights, "cpu")
    encoded: list[torch.Tensor] = []
    fresh.model.image_encoder.register_forward_hook(lambda module, given, made: encoded.append(made))
    files[0].write_bytes(b"damaged")
    second = SamSegmenter(room().scene, fresh, cache=tmp_path / "kept").select([prompt], repeats=2)
    assert len(encoded) == 1
    assert torch.equal(first.scores, plain.scores)
    assert torch.equal(second.scores, first.scores)
    assert plain.mask.shape == (len(room().scene.gaussians),)


def test_embeddings_of_other_weights_or_photos_are_not_taken(tmp_path: Path) -> None:
    predictor = load_sam(tiny_sam_file(tmp_path), "cpu")
    cache = EmbeddingCache(tmp_path / "kept", predictor)
    first, second = (view.image() for view in room().scene.views[:2])
    cache.set_image(predictor, first)
    features = predictor.features.clone()
    cache.set_image(predictor, second)
    assert not torch.equal(predictor.features, features)
    other = load_sam(tiny_sam_file(tmp_path), "cpu")
    with torch.no_grad():
        other.model.image_encoder.patch_embed.proj.weight.mul_(1.5)
    EmbeddingCache(tmp_path / "kept", other).set_image(other, first)
    assert not torch.equal(other.features, features)
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 3
