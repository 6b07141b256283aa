"""Selections from prompts on a small scene, where every Gaussian's thing is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import uplift.scene_graph as scene_graph
from render.errors import InputError
from render.scene import Scene
from tests.corner import Corner, corner
from uplift import lift, load_encoder
from uplift.evaluation.scribbles import draw_scribbles
from uplift.evidence import held_out_accuracy
from uplift.field import FeatureField
from uplift.prompts import Prompt
from uplift.scene_graph import everywhere, prepare_graph
from uplift.segmentation import Method, Segmenter
from uplift.selection import Selection
from uplift.thresholds import iou
from uplift.visibility import largest_weights, lift_prompt

TOLERANCE = 2  # pixels: the Gaussians are coarse
FOUND = {"mask": 0.8, "clicks": 0.6, "box": 0.6}  # a prompt that says less finds less
AROUND = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


@pytest.fixture(scope="module")
def room() -> Corner:
    return corner(count=12_000, views=5, width=240, height=180)


@pytest.fixture(scope="module")
def colours(room: Corner) -> FeatureField:
    return lift(room.scene.gaussians, room.scene.views, load_encoder("rgb"))


@pytest.fixture(scope="module")
def segmenter(room: Corner, colours: FeatureField) -> Segmenter:
    return Segmenter(room.scene, colours).prepare()


def knowing(room: Corner, noise: float) -> FeatureField:
    """Features that say which object a Gaussian belongs to, as a foundation model's might."""
    random = torch.Generator().manual_seed(0)
    labels = torch.from_numpy(room.labels.astype(np.int64))
    values = torch.nn.functional.one_hot(labels).float() + noise * torch.randn(
        len(labels), len(room.names), generator=random
    )
    return FeatureField(values, torch.ones(len(labels)), "planted")


def thing(room: Corner, name: str) -> tuple[int, str]:
    index = room.names.index(name)
    return index, room.best_view(index)


def score(room: Corner, selection: Selection, index: int, reference: str) -> float:
    """Mean IoU over the other views that show the object."""
    found = []
    for view in room.scene.views:
        truth = room.mask(view.name, index)
        if view.name != reference and truth.sum() > 60:
            found.append(iou(selection.mask_in(room.scene.gaussians, view), truth, TOLERANCE))
    return float(np.mean(found))


def scribbled(room: Corner, name: str) -> tuple[int, str, Prompt]:
    index, reference = thing(room, name)
    positive, negative = draw_scribbles(room.mask(reference, index))
    return index, reference, Prompt.from_scribbles(room.scene.view(reference), positive, negative)


@pytest.mark.parametrize("name", ["ball", "picture", "vase"])
def test_a_scribble_selects_the_object_in_the_other_views(room: Corner, segmenter: Segmenter, name: str) -> None:
    index, reference, prompt = scribbled(room, name)
    selection = segmenter.select([prompt])
    assert score(room, selection, index, reference) > 0.85
    assert selection.about["method"] == "random-walker"
    assert selection.about["prompts"][0]["view"] == reference
    assert {"bandwidth", "bandwidth_from", "threshold", "threshold_from", "unary", "anchors"} <= set(selection.about)


def test_a_mask_a_click_and_a_box_select_it_too(room: Corner, segmenter: Segmenter) -> None:
    index, reference = thing(room, "vase")
    view, mask = room.scene.view(reference), room.mask(reference, index)
    rows, columns = np.nonzero(mask)
    box = (columns.min() - 4.0, rows.min() - 4.0, columns.max() + 5.0, rows.max() + 5.0)
    inner = [(columns.mean() + dx * np.ptp(columns) / 4, rows.mean() + dy * np.ptp(rows) / 4) for dx, dy in AROUND]
    middle = np.array(inner) + 0.5
    around = np.array([[box[0], box[1]], [box[2], box[1]], [box[0], box[3]], [box[2], box[3]]])
    around = around.clip(1, [view.camera.width - 1, view.camera.height - 1])
    selections = {
        "mask": segmenter.from_mask(view, mask),
        "clicks": segmenter.from_clicks(view, middle, around),
        "box": segmenter.from_box(view, box),
    }
    for kind, selection in selections.items():
        assert selection.about["prompts"][0]["kind"] == kind
        assert score(room, selection, index, reference) > FOUND[kind], kind


def test_a_second_view_adds_what_the_first_does_not_show(room: Corner, segmenter: Segmenter) -> None:
    index, reference, first = scribbled(room, "table")
    others = [v for v in room.scene.views if v.name != reference and room.mask(v.name, index).sum() > 400]
    positive, negative = draw_scribbles(room.mask(others[0].name, index))
    second = Prompt.from_scribbles(others[0], positive, negative)
    one, two = segmenter.select([first]), segmenter.select([first, second])
    assert two.about["anchors"]["object"] > one.about["anchors"]["object"]
    assert score(room, two, index, reference) > score(room, one, index, reference) - 0.02


def test_without_background_strokes_the_border_of_the_view_is_background(room: Corner, segmenter: Segmenter) -> None:
    index, _, prompt = scribbled(room, "vase")
    selection = segmenter.from_scribbles(prompt.view, prompt.positive)
    assert "border" in selection.about["background"]
    assert 0 < len(selection) < 0.9 * selection.n
    assert bool(selection.mask[torch.from_numpy(room.labels) == index].float().mean() > 0.5)


def test_several_objects_at_once_exclude_each_other(room: Corner, segmenter: Segmenter) -> None:
    names = ["table", "book", "bowl", "vase"]
    prompts = {name: [scribbled(room, name)[2]] for name in names}
    found = segmenter.select_labels(prompts)
    assert list(found) == names
    assert int(torch.stack([s.mask for s in found.values()]).sum(0).max()) == 1
    index, reference = thing(room, "table")
    alone = segmenter.select(prompts["table"])
    assert score(room, found["table"], index, reference) > score(room, alone, index, reference) - 0.01


def test_features_that_know_the_object_are_used_and_colours_are_not(room: Corner, segmenter: Segmenter) -> None:
    index, reference = thing(room, "vase")
    prompt = Prompt.from_mask(room.scene.view(reference), room.mask(reference, index))
    assert segmenter.select([prompt]).about["unary"].startswith("not used")
    used = Segmenter(room.scene, knowing(room, 0.05)).select([prompt])
    assert used.about["unary"] == "logistic regression"
    assert used.about["evidence"] > 0.98
    assert score(room, used, index, reference) > 0.9


def test_evidence_is_that_of_the_other_half(room: Corner, segmenter: Segmenter) -> None:
    labels = torch.from_numpy(room.labels.astype(np.int64))
    inside = labels == room.names.index("rug")
    random = torch.randn(len(labels), 30, generator=torch.Generator().manual_seed(1))
    options = {"complete": True, "normalize": True}
    assert held_out_accuracy(segmenter.graph, random, inside, ~inside, **options) < 0.6
    assert held_out_accuracy(segmenter.graph, knowing(room, 0.05).values, inside, ~inside, **options) > 0.99


@pytest.mark.parametrize("complete", [True, False])
def test_diffusion_selects_with_features_that_know_the_object(room: Corner, complete: bool) -> None:
    index, reference, prompt = scribbled(room, "ball")
    if complete:
        prompt = Prompt.from_mask(prompt.view, room.mask(reference, index))
    segmenter = Segmenter(room.scene, knowing(room, 0.05), method="diffusion")
    selection = segmenter.select([prompt])
    assert score(room, selection, index, reference) > 0.9
    assert selection.about["bandwidth_from"] == ("the overlap with the reference mask" if complete else "the strokes")
    assert selection.about["threshold_from"].startswith("the overlap" if complete else "Li's method")


def test_what_is_given_is_used_and_said(room: Corner, segmenter: Segmenter) -> None:
    prompt = scribbled(room, "vase")[2]
    methods: tuple[Method, ...] = ("random-walker", "diffusion")
    for method in methods:
        about = segmenter.select([prompt], method=method, bandwidth=0.7, threshold=0.3).about
        assert (about["bandwidth"], about["threshold"]) == (0.7, 0.3)
        assert (about["bandwidth_from"], about["threshold_from"]) == ("given", "given")
    few = segmenter.select([prompt], threshold=0.9)
    many = segmenter.select([prompt], threshold=0.1)
    assert len(few) < len(many)


@pytest.mark.parametrize("name", ["table", "ball", "book", "vase"])
def test_gaussians_that_the_view_hardly_sees_are_no_anchors(room: Corner, segmenter: Segmenter, name: str) -> None:
    gaussians = room.scene.gaussians
    index, reference = thing(room, name)
    prompt = Prompt.from_mask(room.scene.view(reference), room.mask(reference, index))
    largest = largest_weights(gaussians, room.scene.views)
    labels = torch.from_numpy(room.labels.astype(np.int64))
    ruled, unruled = (
        labels[lift_prompt(gaussians, prompt, largest, visible=visible).foreground] != index for visible in (0.1, 0.0)
    )
    assert ruled.float().mean() < 0.5 * unruled.float().mean()


def test_never_seen_gaussians_follow_their_nearest_seen_neighbour(room: Corner, colours: FeatureField) -> None:
    gaussians = room.scene.gaussians
    weights = colours.weights.clone()
    weights[::3] = 0
    blind = replace(colours, values=torch.where(weights[:, None] > 0, colours.values, 0.0), weights=weights, pca=None)
    filled = everywhere(blind, gaussians)
    seen = torch.nonzero(weights > 0)[:, 0]
    nearest = seen[torch.cdist(gaussians.means[:30:3], gaussians.means[seen]).argmin(1)]
    assert torch.equal(filled[:30:3], colours.values[nearest])
    assert torch.equal(filled[seen], colours.values[seen])


def test_the_graph_is_read_back_and_made_again_for_other_features(
    room: Corner, colours: FeatureField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaussians, views = room.scene.gaussians, room.scene.views
    path = tmp_path / "graphs" / "rgb-8.safetensors"
    made = prepare_graph(gaussians, views, colours, neighbours=8, path=path)
    built: list[int] = []
    original = scene_graph.knn_graph

    def counting(*args: object, **options: object) -> object:
        built.append(1)
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(scene_graph, "knn_graph", counting)
    again = prepare_graph(gaussians, views, colours, neighbours=8, path=path)
    assert not built
    assert torch.equal(again.graph.neighbours, made.graph.neighbours)
    assert torch.equal(again.graph.similarities(0.5), made.graph.similarities(0.5))
    assert torch.equal(again.largest, made.largest)
    prepare_graph(gaussians, views, replace(colours, values=colours.values + 0.5, pca=None), neighbours=8, path=path)
    assert len(built) == 1
    whole = path.read_bytes()
    for damaged in (whole[:1000], whole[:-4000] + bytes(4000)):
        path.write_bytes(damaged)
        before = len(built)
        prepare_graph(gaussians, views, colours, neighbours=8, path=path)
        assert len(built) == before + 1


def test_bad_prompts_get_a_sentence(room: Corner, segmenter: Segmenter, tmp_path: Path) -> None:
    prompt = scribbled(room, "vase")[2]
    with pytest.raises(InputError, match="at least one prompt"):
        segmenter.select([])
    with pytest.raises(InputError, match="method"):
        segmenter.select([prompt], method="magic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="greater than 0"):
        segmenter.select([prompt], threshold=0.0)
    with pytest.raises(InputError, match="unary bandwidth must be greater than 0"):
        segmenter.select([prompt], unary="yes", unary_bandwidth=-1.0)
    with pytest.raises(InputError, match="at least one object"):
        segmenter.select_labels({})
    other = FeatureField(torch.ones(10, 2), torch.ones(10), "rgb")
    with pytest.raises(InputError, match="10 Gaussians"):
        Segmenter(room.scene, other).prepare()


def test_scenes_keep_the_graph_beside_their_fields(room: Corner, colours: FeatureField) -> None:
    scene = Scene.open(room.scene.path)
    Segmenter(scene, colours, name="rgb", neighbours=4).prepare()
    assert scene.graph_path("rgb-4").is_file()


def test_several_threads_may_ask_at_once(room: Corner, colours: FeatureField) -> None:
    prompts = [scribbled(room, name)[2] for name in ("vase", "table", "picture", "ball")]
    fresh = Segmenter(room.scene, colours)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda prompt: fresh.select([prompt], bandwidth=0.5), prompts))
    for prompt, found in zip(prompts, together, strict=True):
        assert torch.equal(found.mask, fresh.select([prompt]).mask)


def test_segmenters_of_other_opacities_share_graph_and_solvers(room: Corner, segmenter: Segmenter) -> None:
    gaussians = room.scene.gaussians
    faint = gaussians.with_values(opacities=gaussians.opacities * 0.5)
    other = segmenter.on(faint)
    assert other.gaussians is faint
    assert other.graph is segmenter.graph
    assert other.walkers is segmenter.walkers
    assert other.method == segmenter.method
