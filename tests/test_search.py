"""Text queries: relevancies, selections, places and masks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

from assets.demo_scene import DemoObjects, demo_objects
from render.devices import is_accelerated, resolve_device
from render.errors import InputError
from render.rasterizer import rasterize
from tests.tiny_models import tiny_clip
from uplift import FeatureField, relevancy
from uplift.encoders import load_encoder
from uplift.relevancy import most_relevant_pixel, relevant, start_nodes
from uplift.search import CANONICAL, Searcher, relevancies
from uplift.thresholds import iou

CHANNELS = 40
WAYS: tuple[dict[str, Any], ...] = ({"diffusion": False}, {"method": "random-walker"}, {"method": "diffusion"})


def unit(rows: int, channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, channels, generator=generator), dim=1)


def reference(values: torch.Tensor, queries: torch.Tensor, negatives: torch.Tensor, temperature: float) -> torch.Tensor:
    """(C.2) as it is written, in float64."""
    f = torch.nn.functional.normalize(values.double(), dim=1)
    q, k = (torch.exp(temperature * f @ e.double().T) for e in (queries, negatives))
    return (q[:, :, None] / (q[:, :, None] + k[:, None, :])).amin(2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "c", "q", "k"), [(203, 64, 5, 4), (7, 37, 1, 1), (130, 16, 3, 2), (1, 1, 2, 1)])
def test_relevancies_equal_their_formula_in_float64(dtype: torch.dtype, n: int, c: int, q: int, k: int) -> None:
    values = (unit(n, c, 0) * torch.linspace(0.01, 30, n)[:, None]).to(dtype)
    queries, negatives = unit(q, c, 1), unit(k, c, 2)
    found = relevancies(values, queries, negatives, temperature=7)
    assert (found.shape, found.dtype) == ((n, q), torch.float32)
    torch.testing.assert_close(found.double(), reference(values, queries, negatives, 7), rtol=1e-5, atol=1e-6)


def test_every_fp16_number_is_read_as_what_it_is() -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    every = bits.view(torch.float16)
    every = every[every.isfinite()]
    # One channel carries the number, the other keeps the length from cancelling it.
    values = torch.stack([every, torch.full_like(every, 1.0)], dim=1)
    found = relevancies(values, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]), temperature=1)
    torch.testing.assert_close(
        found.double().logit(),
        reference(values, torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), 1).logit(),
        rtol=1e-5,
        atol=3e-7,
    )
    small = torch.stack([torch.tensor([6e-8, 1e-6, -2e-5]), torch.tensor([-6e-8, 3e-6, 1e-5])], dim=1).half()
    queries, negatives = unit(2, 2, 1), unit(2, 2, 2)
    torch.testing.assert_close(
        relevancies(small, queries, negatives).double(), reference(small, queries, negatives, 10), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_threads_and_chunks_leave_the_bits_alone(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    values, queries, negatives = unit(1001, 24, 0).to(dtype), unit(3, 24, 1), unit(4, 24, 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = relevancies(values, queries, negatives)
        torch.set_num_threads(3)
        assert torch.equal(relevancies(values, queries, negatives), one)
    finally:
        torch.set_num_threads(before)
    whole = relevancy._margins(values, queries, negatives)
    monkeypatch.setattr(relevancy, "CHUNK_BYTES", 4 * 24 * 7)
    torch.testing.assert_close(relevancy._margins(values, queries, negatives), whole)
    torch.testing.assert_close((whole * 10).sigmoid(), one, rtol=1e-5, atol=1e-6)


def test_features_of_zeros_are_relevant_to_nothing() -> None:
    values = unit(9, 20, 0)
    values[[2, 8]] = 0
    for dtype in (torch.float16, torch.float64):
        found = relevancies(values.to(dtype), unit(2, 20, 1), unit(3, 20, 2))
        assert (found[[2, 8]] == 0).all()
        assert (found[[0, 1, 3, 4, 5, 6, 7]] > 0).all()


def test_rows_of_a_larger_field_are_read_in_their_own_order() -> None:
    values = unit(50, 30, 0)
    part = values[::2, 5:21]
    torch.testing.assert_close(
        relevancies(part, unit(2, 16, 1), unit(2, 16, 2)),
        relevancies(part.contiguous(), unit(2, 16, 1), unit(2, 16, 2)),
    )


def test_queries_of_other_channels_and_no_negatives_are_refused() -> None:
    with pytest.raises(InputError, match="same channels"):
        relevancies(unit(4, 8, 0), unit(1, 9, 0), unit(1, 8, 0))
    with pytest.raises(InputError, match="at least one negative"):
        relevancies(unit(4, 8, 0), unit(1, 8, 0), torch.zeros(0, 8))
    with pytest.raises(InputError, match="temperature above 0"):
        relevancies(unit(4, 8, 0), unit(1, 8, 0), unit(1, 8, 0), temperature=0)


def test_otsu_finds_the_positives_and_twice_more_the_start() -> None:
    # Above the middle of the range: a low group, a middle one and a high one, itself of two.
    levels = [0.2] * 50 + [0.45] * 9 + [0.52] * 20 + [0.7] * 6 + [0.71] * 4 + [0.78] * 3 + [0.8]
    values = torch.tensor([*levels, 0.99])
    seen = torch.ones(len(values), dtype=torch.bool)
    seen[-1] = False
    positives, start = start_nodes(values, seen)
    assert positives.sum() == 14
    assert not positives[-1]
    # Among .70 .71 .78 .80 the gap below .78, and among those two the gap below .80.
    assert (start > 0).nonzero().flatten().tolist() == [len(levels) - 1]
    assert float(start[-2]) == 1


def test_relevancies_that_are_the_same_everywhere_start_nowhere() -> None:
    values, seen = torch.full((5,), 0.5), torch.ones(5, dtype=torch.bool)
    for visible in (seen, ~seen):
        positives, start = start_nodes(values, visible)
        assert not positives.any()
        assert not start.any()


def test_what_stands_out_lies_near_the_maximum_and_above_otsu() -> None:
    scores = torch.tensor([0.1] * 30 + [0.6] * 2 + [0.66] * 5 + [0.68] * 5 + [0.8] * 4)
    mask, threshold = relevant(scores, 0.8)
    assert mask.nonzero().flatten().tolist() == [42, 43, 44, 45]
    assert 0.68 < threshold < 0.8
    assert relevant(scores, 0.9)[0].sum() == 4  # one value is left: it is not split
    assert relevant(scores, 0.0)[0].sum() == 16
    nothing, zero = relevant(torch.zeros(3), 0.8)
    assert (bool(nothing.any()), zero) == (False, 0.0)


def test_what_stands_apart_from_the_rest_is_not_split() -> None:
    scores = torch.tensor([0.1] * 5 + [0.9, 0.9, 0.95, 1.0])
    mask, threshold = relevant(scores, 0.8)
    assert mask.tolist() == [False] * 5 + [True] * 4
    assert threshold == pytest.approx(0.5)
    assert relevant(torch.tensor([0.79, 0.84, *scores.tolist()]), 0.8)[0].sum() == 4  # of five above 0.8


def test_a_place_is_found_after_a_mean_over_five_by_five_pixels() -> None:
    image = torch.zeros(12, 20)
    image[2, 3] = 5.0  # a speck: 5 / 25
    image[6:11, 12:17] = 0.5  # a patch
    assert most_relevant_pixel(image) == (14, 8, pytest.approx(0.5))
    corner = torch.zeros(12, 20)
    corner[0, 19] = 1.0
    column, row, score = most_relevant_pixel(corner)
    assert (column, row, score) == (19, 0, pytest.approx(1 / 9))  # of the nine pixels that exist


class Words:
    """A text encoder that knows some words, each a direction of its own."""

    def __init__(self, words: tuple[str, ...], channels: int = CHANNELS) -> None:
        self.directions = dict(zip((*words, *CANONICAL), torch.eye(channels), strict=False))
        self.asked: list[str] = []

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        self.asked += texts
        return torch.stack([self.directions[text] for text in texts]) * 3


@cache
def room() -> DemoObjects:
    return demo_objects(count=4000, views=3, width=120, height=90, cache=Path(mkdtemp(prefix="fit3d-tests-")))


def planted(noise: float, seed: int = 0) -> tuple[Words, FeatureField]:
    """Features of the room's objects: each has its name's direction, with noise; the first ten were never seen."""
    objects = room()
    words = Words(objects.names)
    generator = torch.Generator().manual_seed(seed)
    clean = torch.stack([words.directions[objects.names[label]] for label in objects.labels.tolist()])
    values = clean + noise * torch.randn(clean.shape, generator=generator) / CHANNELS**0.5
    weights = torch.ones(len(values))
    values[:10], weights[:10] = 0, 0
    return words, FeatureField(values, weights, "clip:planted")


def truth(name: str) -> torch.Tensor:
    objects = room()
    inside = torch.from_numpy(objects.labels == objects.names.index(name))
    inside[:10] = False
    return inside


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    return iou(a[None], b[None])


def largest_thing() -> str:
    objects = room()
    return objects.names[max(objects.things, key=lambda thing: int((objects.labels == thing).sum()))]


def test_a_text_selects_exactly_its_object() -> None:
    words, field = planted(noise=0.3)
    searcher = Searcher(room().scene, field, words)
    names = [room().names[thing] for thing in room().things[:4]]
    for diffusion in (False, True):
        for name, selection in zip(names, searcher.select(names, diffusion=diffusion), strict=True):
            assert torch.equal(selection.mask, truth(name)), (name, diffusion)
            assert torch.equal(selection.scores, selection.mask.float())


def test_refining_along_better_features_makes_up_for_noisy_relevancies() -> None:
    words, field = planted(noise=2.0)
    _, structure = planted(noise=0.8, seed=1)
    name = largest_thing()
    raw = Searcher(room().scene, field, words).select(name, diffusion=False)
    refined = Searcher(room().scene, field, words, structure=structure).select(name)
    before, after = overlap(raw.mask, truth(name)), overlap(refined.mask, truth(name))
    assert before < 0.7
    assert after > 0.9
    assert (raw.about["scores"], refined.about["scores"]) == ("raw", "random walker")


def test_diffusion_is_that_of_a_dense_reference() -> None:
    words, field = planted(noise=1.0)
    small = room().scene.gaussians[:300]
    part = FeatureField(field.values[:300], field.weights[:300], "clip:planted")
    name = room().names[int(np.bincount(room().labels[10:300]).argmax())]
    searcher = Searcher(small, part, words, neighbours=6, steps=7)
    found = searcher.scores(name, method="diffusion")
    graph = searcher.graph
    A = torch.zeros(300, 300, dtype=torch.float64)
    A[graph.order[graph.rows], graph.order[graph.neighbours.long()]] = graph.similarities(0.5).double()
    seen = part.weights > 0
    positives, start = start_nodes(searcher.relevancy(name), seen)
    from sklearn.linear_model import LogisticRegression

    features = torch.nn.functional.normalize(part.values, dim=1).numpy()
    model = LogisticRegression(C=0.001, class_weight="balanced").fit(features[seen], positives[seen])
    P = torch.from_numpy(model.predict_proba(features)[:, 1]) ** (1 / 2)
    P[~seen] = 0
    A = P.sqrt()[:, None] * A * P.sqrt()
    g = start.double()
    for _ in range(7):
        g = A @ (g / g.norm())
    torch.testing.assert_close(found.double(), g / g.max(), rtol=2e-3, atol=1e-5)


def test_many_texts_at_once_give_what_each_gives_alone() -> None:
    words, field = planted(noise=2.0)
    names = [room().names[thing] for thing in room().things[:3]]
    together = Searcher(room().scene, field, words)
    for way in WAYS:
        columns = together.scores([*names, names[0]], **way)
        assert columns.shape == (len(field), 4)
        for column, name in zip(columns.unbind(1), [*names, names[0]], strict=True):
            alone = Searcher(room().scene, field, words).scores(name, **way)
            torch.testing.assert_close(column, alone, rtol=1e-4, atol=1e-6)


def test_gaussians_never_seen_have_no_relevancy_and_are_not_selected() -> None:
    words, field = planted(noise=0.3)
    values = field.values.clone()
    values[:10] = words.directions[room().names[0]]  # whatever lies there
    searcher = Searcher(room().scene, replace(field, values=values), words)
    assert (searcher.relevancy(room().names[0])[:10] == 0).all()
    for way in WAYS:
        assert not searcher.select(room().names[0], **way).mask[:10].any()


def test_own_negatives_lower_what_resembles_them() -> None:
    words, field = planted(noise=0.3)
    first, second = (room().names[thing] for thing in room().things[:2])
    words.directions["both"] = torch.nn.functional.normalize(words.directions[first] + words.directions[second], dim=0)
    searcher = Searcher(room().scene, field, words)
    plain = searcher.select("both", diffusion=False)
    without = searcher.select("both", negatives=[second])
    assert torch.equal(plain.mask, truth(first) | truth(second))
    assert torch.equal(without.mask, truth(first))
    assert without.about["negatives"] == [*CANONICAL, second]
    changed = Searcher(room().scene, field, words, negatives=[second])
    assert torch.equal(changed.select("both", diffusion=False).mask, truth(first))


def test_a_selection_reports_its_threshold_and_takes_another() -> None:
    words, field = planted(noise=3.0)
    name = largest_thing()
    searcher = Searcher(room().scene, field, words)
    automatic = searcher.select(name, diffusion=False)
    threshold = automatic.about["threshold"]
    again = searcher.select(name, threshold=threshold, diffusion=False)
    assert torch.equal(again.mask, automatic.mask)
    assert again.about["threshold_by"] == "given"
    assert automatic.about["threshold_by"].startswith("Otsu")
    assert len(searcher.select(name, threshold=0.9 * threshold, diffusion=False)) > len(automatic) > 0
    counts, edges = searcher.histogram(name, diffusion=False)
    assert counts.sum() == len(field) - 10
    assert edges[0] <= threshold <= edges[-1]
    above = int((searcher.relevancy(name) > float(edges[-2])).sum())
    assert counts[-1] == above
    assert searcher.select(name).about["threshold"] == 0.5
    assert searcher.histogram(name)[1].tolist()[::64] == [0, 1]


def test_only_the_largest_or_the_best_part_can_be_kept() -> None:
    words, field = planted(noise=0.3)
    names = sorted((room().names[t] for t in room().things), key=lambda name: -int(truth(name).sum()))
    large, small = names[0], names[-1]
    words.directions["both"] = torch.nn.functional.normalize(
        0.95 * words.directions[large] + words.directions[small], dim=0
    )
    searcher = Searcher(room().scene, field, words)
    every = searcher.select("both", threshold=0.9, diffusion=False)
    parts = every.components(searcher.graph)
    assert len(parts) > 1
    assert torch.equal(searcher.select("both", threshold=0.9, diffusion=False, parts="largest").mask, parts.labels == 0)
    best = searcher.select("both", threshold=0.9, diffusion=False, parts="best")
    assert best.mask[searcher.relevancy("both").argmax()]
    assert best.about["of_parts"] == len(parts)
    assert bool((best.mask & ~every.mask).any()) is False


def test_a_photo_shows_a_text_where_its_object_is() -> None:
    words, field = planted(noise=0.3)
    objects = room()
    thing = objects.names.index(largest_thing())
    name, view = objects.names[thing], objects.scene.view(objects.best_view(thing))
    searcher = Searcher(objects.scene, field, words)
    mask = objects.mask(view.name, thing)
    x, y, score = searcher.localize(view, name)
    assert mask[int(y), int(x)]
    assert x % 1 == y % 1 == 0.5
    smooth = torch.nn.functional.avg_pool2d(searcher.render(view, name)[None], 5, 1)[0]
    assert score == pytest.approx(float(smooth.max()), abs=1e-5)
    for diffusion in (False, True):
        for protocol in ("2d", "3d"):
            found = searcher.mask_in(view, name, diffusion=diffusion, protocol=protocol)
            assert iou(found, mask, tolerance=2) > 0.85, (diffusion, protocol)
    images = searcher.render(view, [name, name])
    assert images.shape == (*mask.shape, 2)
    torch.testing.assert_close(
        images[..., 0],
        rasterize(objects.scene.gaussians, view.camera, searcher.relevancy(name)[:, None]).values[..., 0],
    )


class Discs:
    """A predictor whose mask is a disc around the mean of the points; every call is recorded."""

    def __init__(self) -> None:
        self.photo: np.ndarray | None = None
        self.calls: list[np.ndarray] = []

    def set_image(self, image: np.ndarray) -> None:
        self.photo = image

    def predict(
        self, point_coords: np.ndarray, point_labels: np.ndarray, *, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self.photo is not None
        assert (point_labels == 1).all()
        self.calls.append(point_coords)
        rows, columns = np.indices(self.photo.shape[:2])
        x, y = point_coords.mean(0)
        disc = (columns - x) ** 2 + (rows - y) ** 2 <= 36
        return disc[None], np.ones(1), np.zeros((1, 4, 4))


def test_a_predictor_gets_points_where_scores_are_highest() -> None:
    words, field = planted(noise=0.3)
    objects = room()
    thing = objects.names.index(largest_thing())
    name, view = objects.names[thing], objects.scene.view(objects.best_view(thing))
    searcher = Searcher(objects.scene, field, words)
    sam = Discs()
    found = searcher.mask_in(view, name, sam=sam, diffusion=False)
    assert len(sam.calls) == 20
    inside = objects.mask(view.name, thing)
    points = np.concatenate(sam.calls).astype(int)
    assert len(points) == 60
    assert inside[points[:, 1], points[:, 0]].mean() > 0.8
    # Otsu's threshold of the average of twenty discs lies within them.
    assert 0 < found.sum() < 20 * 120
    assert np.array_equal(searcher.mask_in(view, [name], sam=Discs(), diffusion=False)[0], found)
    with pytest.raises(InputError, match="3d protocol"):
        searcher.mask_in(view, name, sam=sam, protocol="3d")


def test_a_text_is_embedded_once() -> None:
    words, field = planted(noise=0.3)
    searcher = Searcher(room().scene, field, words)
    name = room().names[0]
    searcher.relevancy([name, name])
    searcher.select(name)
    assert sorted(words.asked) == sorted([name, *CANONICAL])


def test_a_clip_field_is_searched_with_its_own_encoder(tmp_path: Path) -> None:
    name, weights = tiny_clip(tmp_path)
    encoder = load_encoder(name, weights, "cpu")
    n = len(room().scene.gaussians)
    field = FeatureField(unit(n, 24, 0), torch.ones(n), name, {"fingerprint": encoder.fingerprint()})
    found = Searcher(room().scene, field, weights=weights).relevancy("a chair")
    embedded = encoder.encode_text(["a chair", *CANONICAL])  # type: ignore[attr-defined]
    expected = relevancies(field.values.half(), embedded[:1], embedded[1:])[:, 0]
    torch.testing.assert_close(found, expected)


def test_fields_and_texts_that_cannot_be_searched_are_refused() -> None:
    n = len(room().scene.gaussians)
    words, field = planted(noise=0.3)
    rgb = FeatureField(torch.rand(n, 3), torch.ones(n), "rgb")
    own = FeatureField(torch.rand(n, 3), torch.ones(n), "my own maps")
    for other in (rgb, own):
        with pytest.raises(InputError, match=f"made by {other.encoder}, which cannot read texts"):
            Searcher(room().scene, other)
    searcher = Searcher(room().scene, field, words)
    for texts in ("", "  ", [], ["chair", ""]):
        with pytest.raises(InputError, match="needs words"):
            searcher.select(texts)
    with pytest.raises(InputError, match="The field has 3 channels, but its encoder makes texts"):
        Searcher(room().scene, rgb, words).relevancy(room().names[0])
    with pytest.raises(InputError, match="features for 5 Gaussians"):
        Searcher(room().scene, FeatureField(torch.rand(5, 3), torch.ones(5), "rgb"), words)
    with pytest.raises(InputError, match="needs words"):
        Searcher(room().scene, field, words, negatives=())


@pytest.mark.gpu
def test_an_accelerator_finds_what_the_cpu_finds() -> None:
    device = resolve_device("auto")
    if not is_accelerated(device):
        pytest.skip("no NVIDIA GPU")
    words, field = planted(noise=1.0)
    gaussians = room().scene.gaussians
    here, there = Searcher(gaussians, field, words), Searcher(gaussians.to(device), field, words)
    for way in WAYS:
        expected, found = here.scores(largest_thing(), **way), there.scores(largest_thing(), **way)
        assert found.device.type == device.type
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
