"""Text queries: relevancies, selections, places and masks."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.devices import is_accelerated, resolve_device
from render.errors import InputError
from render.rasterizer import rasterize
from tests.corner import Corner, corner
from tests.test_relevancy import unit
from tests.tiny_models import tiny_clip
from uplift import FeatureField
from uplift._lean_imports import without
from uplift.encoders import load_encoder
from uplift.graph import knn_graph
from uplift.random_walker import Walkers
from uplift.relevancy import start_nodes
from uplift.scene_graph import everywhere
from uplift.search import CANONICAL, Searcher, reads_texts, relevancies
from uplift.thresholds import iou

CHANNELS = 40
THING = "table"
WAYS: tuple[dict[str, Any], ...] = ({"diffusion": False}, {"method": "random-walker"}, {"method": "diffusion"})


class Words:
    """A text encoder that knows some words, each a direction of its own."""

    def __init__(self, words: tuple[str, ...], channels: int = CHANNELS) -> None:
        self.directions = dict(zip((*words, *CANONICAL), torch.eye(channels), strict=False))
        self.asked: list[str] = []

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        self.asked += texts
        return torch.stack([self.directions[text] for text in texts]) * 3


def room() -> Corner:
    return corner(count=4000, views=4, width=120, height=90)


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


def test_a_text_selects_exactly_its_object() -> None:
    words, field = planted(noise=0.25)
    searcher = Searcher(room().scene, field, words)
    names = [room().names[thing] for thing in room().things[:4]]
    for diffusion in (False, True):
        for name, selection in zip(names, searcher.select(names, diffusion=diffusion), strict=True):
            assert torch.equal(selection.mask, truth(name)), (name, diffusion)
            assert torch.equal(selection.scores, selection.mask.float())


def test_refining_along_better_features_makes_up_for_noisy_relevancies() -> None:
    words, field = planted(noise=2.0)
    _, structure = planted(noise=0.8, seed=1)
    name = THING
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
        everything = searcher.select(room().names[0], threshold=-1, **way).mask
        assert not everything[:10].any()
        assert everything[10:].any()


def test_own_negatives_lower_what_resembles_them() -> None:
    words, field = planted(noise=0.25)
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
    name = THING
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
    thing = objects.names.index(THING)
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
    thing = objects.names.index(THING)
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


def test_damaged_weights_are_not_called_an_encoder_without_texts(tmp_path: Path) -> None:
    n = len(room().scene.gaussians)
    field = FeatureField(torch.rand(n, 64), torch.ones(n), "tiny-clip")
    weights = tmp_path / "cut.safetensors"
    weights.write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not hold the weights of tiny-clip"):
        Searcher(room().scene, field, weights=weights)


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
        expected, found = here.scores(THING, **way), there.scores(THING, **way)
        assert found.device.type == device.type
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_encoders_with_a_text_side_are_known_by_their_names() -> None:
    assert reads_texts("clip:ViT-B-16/laion2b_s34b_b88k")
    assert reads_texts("tiny-clip")
    assert not reads_texts("tiny-dino")


def test_solvers_of_others_are_asked_for_by_the_first_text_that_is_refined() -> None:
    words, field = planted(noise=0.25)
    shared = Walkers(knn_graph(room().scene.gaussians, features=everywhere(field, room().scene.gaussians)))
    asked: list[int] = []

    def walkers() -> Walkers:
        asked.append(1)
        return shared

    searcher = Searcher(room().scene, field, words, walkers=walkers)
    alone = Searcher(room().scene, field, words, graph=shared.graph)
    name = room().names[0]
    searcher.prepare(diffusion=False).relevancy(name)
    assert asked == []
    assert torch.equal(searcher.prepare().scores(name), alone.scores(name))
    assert asked == [1]
    assert searcher.graph is shared.graph


def test_a_library_that_is_left_out_can_be_imported_afterwards() -> None:
    sys.modules.pop("wave", None)
    with without("wave"), pytest.raises(ImportError):
        importlib.import_module("wave")
    assert importlib.import_module("wave")
    with without("wave"):  # it is there already
        assert importlib.import_module("wave")
    assert "wave" in sys.modules
