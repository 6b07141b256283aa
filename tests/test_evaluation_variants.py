"""The variants of the tables do what they say, against features and masks that are known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render.errors import InputError
from tests.miniatures import HEIGHT, OBJECT, OTHER, WIDTH, tiny_objects
from uplift import lift, load_encoder
from uplift.encoders.base import Encoder, Image
from uplift.evaluation import paper, pixel_features
from uplift.evaluation.paper import AVERAGE
from uplift.evaluation.pixel_features import EncodedFeatures, RenderedFeatures, fit_pixel_model
from uplift.evaluation.scribbles import draw_scribbles
from uplift.evaluation.segmentation import evaluate_task, evaluate_tasks, share_left
from uplift.evaluation.store import FigureStore, plain_name
from uplift.evaluation.tasks import Task, object_task
from uplift.evaluation.variants import (
    GEOMETRY,
    RANDOM_WALKER,
    SAM_SINGLE_VIEW,
    SAM_UPLIFTING,
    SINGLE_VIEW,
    UPLIFTING,
    Setting,
    make_setting,
    true_labels,
)
from uplift.field import FeatureField
from uplift.prompts import Prompt
from uplift.sam_masks import SamSegmenter
from uplift.selection import Selection
from uplift.thresholds import iou


def truth(view: str, name: str = OBJECT) -> np.ndarray:
    objects = tiny_objects()
    return objects.mask(view, objects.names.index(name))


def views() -> list[str]:
    return list(tiny_objects().maps)


@cache
def label_field(name: str = "labels") -> FeatureField:
    """Features that tell all objects apart: one channel for each."""
    objects = tiny_objects()
    columns = torch.nn.functional.one_hot(torch.from_numpy(objects.labels).long()).float()
    return FeatureField(columns, torch.ones(len(columns)), name)


class LabelEncoder(Encoder):
    """Gives a photo's true labels, one channel for each object."""

    name = "labels"
    dimension = len(tiny_objects().names)

    def encode(self, image: Image) -> torch.Tensor:
        objects = tiny_objects()
        photos = {view.image().tobytes(): view.name for view in objects.scene.views}
        labels = objects.maps[photos[np.asarray(image).tobytes()]]
        return torch.nn.functional.one_hot(torch.from_numpy(labels).long(), self.dimension).float()


class TruthPredictor:
    """Stands in for Segment Anything: whatever is clicked on, the object's true mask comes back."""

    def __init__(self) -> None:
        self.clicks = 0
        self._mask = np.zeros((HEIGHT, WIDTH), bool)

    def set_image(self, image: np.ndarray) -> None:
        objects = tiny_objects()
        photos = {view.image().tobytes(): view.name for view in objects.scene.views}
        self._mask = truth(photos[image.tobytes()])

    def predict(
        self, point_coords: np.ndarray, point_labels: np.ndarray, *, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.clicks += len(point_coords)
        masks = np.stack([~self._mask, self._mask, np.zeros_like(self._mask)] if multimask_output else [self._mask])
        return masks, np.ones(len(masks)), masks


@cache
def setting(field: str = "labels") -> Setting:
    scene = tiny_objects().scene
    return make_setting(scene, scene.gaussians, label_field(field), LabelEncoder())


def mask_task(reference: str | None = None) -> Task:
    first = reference or views()[0]
    masks = {view: truth(view) for view in views() if view != first}
    task = object_task("rug", first, truth(first), ~truth(first), masks)
    return replace(task, kind="mask", prompt=lambda view: Prompt.from_mask(view, truth(first)))


def scribble_task() -> Task:
    first = views()[0]
    masks = {view: truth(view) for view in views()[1:]}
    return object_task("rug", first, *draw_scribbles(truth(first)), masks)


def figures(task: Task, variant: Any, **changes: Any) -> dict[str, Any]:
    found = evaluate_task(task, replace(setting(), **changes), [variant])["variants"][variant.name]
    return dict(found)


def test_maps_that_are_the_truth_give_it_back() -> None:
    found = figures(mask_task(), SINGLE_VIEW)
    assert found["iou"] == 1.0
    assert found["about"]["reference IoU"] == 1.0
    assert set(found["views"]) == set(views()[1:])
    assert figures(scribble_task(), SINGLE_VIEW)["iou"] == 1.0


@pytest.mark.parametrize("task", [mask_task(), scribble_task()], ids=["mask", "scribbles"])
def test_lifted_labels_find_the_object_in_other_views(task: Task) -> None:
    found = figures(task, UPLIFTING)
    # 4000 Gaussians blur every border by about a pixel of a small picture.
    assert found["iou"] > 0.7
    assert found["iou_tolerant"] > 0.9


def test_features_that_differ_only_in_length_need_their_length() -> None:
    objects = tiny_objects()
    inside = torch.from_numpy(objects.labels == objects.names.index(OBJECT)).float()[:, None]
    grey = FeatureField(0.2 + 0.6 * inside, torch.ones(len(inside)), "grey", {"metric": "euclidean"})
    assert (
        evaluate_task(mask_task(), replace(setting(), features=grey), [UPLIFTING])["variants"]["uplifting"]["iou"] > 0.7
    )
    direction = replace(setting(), features=replace(grey, metadata={}))
    assert evaluate_task(mask_task(), direction, [UPLIFTING])["variants"]["uplifting"]["iou"] < 0.3


def test_reprojection_needs_no_features_and_returns_to_its_own_view() -> None:
    first = views()[0]
    task = mask_task()
    own = replace(task, truths={**task.truths, first: lambda: truth(first)})
    found = figures(own, GEOMETRY)
    assert found["views"][first]["iou"] > 0.9
    assert 0.4 < found["iou"] < 0.9
    assert not GEOMETRY.of_features


def test_sam_that_knows_the_truth_is_right_with_and_without_lifting() -> None:
    predictor = TruthPredictor()
    route = SamSegmenter(tiny_objects().scene, predictor)
    single = figures(mask_task(), SAM_SINGLE_VIEW, sam=route)
    assert single["iou"] == 1.0
    assert single["about"]["mask"] == 1
    assert predictor.clicks > 0
    lifted = figures(mask_task(), SAM_UPLIFTING, sam=route)
    assert lifted["iou"] > 0.7
    assert figures(scribble_task(), SAM_SINGLE_VIEW, sam=route)["iou"] == 1.0


def test_variants_that_cannot_run_say_why() -> None:
    found = evaluate_task(
        mask_task(), replace(setting(), encoder="the weights are gone"), [GEOMETRY, SINGLE_VIEW, SAM_UPLIFTING]
    )
    assert set(found["variants"]) == {"geometry only"}
    assert found["skipped"]["single view"] == "the weights are gone"
    assert "--sam" in found["skipped"]["uplifting SAM"]


def test_channels_may_come_in_any_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = tiny_objects().scene
    prompt = mask_task().prompt(scene.views[0])

    def scores() -> list[np.ndarray]:
        sources = [RenderedFeatures(scene.gaussians, label_field()), EncodedFeatures(LabelEncoder())]
        return [fit_pixel_model(s, prompt, normalize=True).scores(s, scene.views[1]) for s in sources]

    whole = scores()
    monkeypatch.setattr(pixel_features, "CHUNK_BYTES", 3 * 4 * WIDTH * HEIGHT)
    assert len(list(RenderedFeatures(scene.gaussians, label_field()).chunks(scene.views[0], False))) == 4
    for a, b in zip(whole, scores(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_scores_are_those_of_the_features_of_all_pixels() -> None:
    scene = tiny_objects().scene
    vector = torch.linspace(-1, 1, label_field().dimension)
    for source in (RenderedFeatures(scene.gaussians, label_field()), EncodedFeatures(LabelEncoder())):
        every = torch.cat(list(source.chunks(scene.views[1], False)), dim=2)
        products, lengths = source.reduced(scene.views[1], vector, covering=False)
        torch.testing.assert_close(products, every @ vector, atol=1e-4, rtol=0)
        torch.testing.assert_close(lengths, every.norm(dim=2).clamp_min(1e-12), atol=1e-4, rtol=0)
        some = np.array([WIDTH * HEIGHT - 1, 0, 7 * WIDTH + 5, 0])
        rows = source.rows(scene.views[1], some)
        torch.testing.assert_close(rows, every.flatten(0, 1)[torch.from_numpy(some)], atol=1e-4, rtol=0)


def test_tasks_measured_together_are_measured_as_alone() -> None:
    tasks, rows = [mask_task(), scribble_task()], [[UPLIFTING, GEOMETRY], [SINGLE_VIEW, UPLIFTING]]
    together = evaluate_tasks(tasks, setting(), rows)
    for task, own, found in zip(tasks, rows, together, strict=True):
        alone = evaluate_task(task, setting(), own)
        for name, figures in alone["variants"].items():
            for view, values in figures["views"].items():
                assert found["variants"][name]["views"][view] == pytest.approx(values)
            assert found["variants"][name]["threshold"] == figures["threshold"]


def test_masks_of_another_size_are_compared_at_their_own() -> None:
    task = mask_task()
    large = {view: partial(np.kron, truth(view), np.ones((4, 4), bool)) for view in views()[1:]}
    found = figures(replace(task, truths=large), SINGLE_VIEW)
    assert found["iou"] > 0.9


def test_pictures_are_the_masks_that_were_measured(tmp_path: Path) -> None:
    from PIL import Image as Picture

    found = evaluate_task(mask_task(), setting(), [UPLIFTING], pictures=tmp_path)["variants"]["uplifting"]
    for view, row in found["views"].items():
        mask = np.array(Picture.open(tmp_path / "uplifting" / f"{view}.png"))
        assert set(np.unique(mask)) == {0, 255}
        assert iou(mask > 0, truth(view)) == row["iou"]
        assert np.array(Picture.open(tmp_path / "uplifting" / f"{view}_heat.png")).shape == (HEIGHT, WIDTH, 3)


def test_removing_the_object_leaves_nothing_and_removing_nothing_leaves_it() -> None:
    objects = tiny_objects()
    gaussians = objects.scene.gaussians
    members = torch.from_numpy(objects.labels == objects.names.index(OBJECT))
    shown = [(view, truth(view.name)) for view in objects.scene.views]
    nothing = Selection.from_mask(torch.zeros_like(members))
    assert share_left(gaussians, Selection.from_mask(members), members, shown) == 0
    assert share_left(gaussians, nothing, members, shown) > 0.75
    assert share_left(gaussians, Selection.from_mask(torch.ones_like(members)), members, shown) == 0
    other = torch.from_numpy(objects.labels == objects.names.index(OTHER))
    assert share_left(gaussians, Selection.from_mask(other), members, shown) > 0.75


def test_masks_and_removal_are_measured_from_scribbles() -> None:
    objects = tiny_objects()
    thing = objects.names.index("picture")
    best = objects.best_view(thing)
    masks = {view: objects.mask(view, thing) for view in objects.maps if view != best}
    task = object_task("picture", best, *draw_scribbles(objects.mask(best, thing)), masks)
    members = torch.from_numpy(objects.labels == thing)
    encoder = load_encoder("rgb")
    colours = lift(objects.scene.gaussians, objects.scene.views, encoder)
    own = make_setting(objects.scene, objects.scene.gaussians, colours, encoder)
    rows = [UPLIFTING, RANDOM_WALKER, true_labels(members)]
    found = evaluate_task(task, own, rows, members=members)["variants"]
    walker, true = found[RANDOM_WALKER.name], found["true labels"]
    assert walker["iou"] > found[UPLIFTING.name]["iou"]
    assert 0 <= walker["left"] < 0.5
    assert walker["gaussians_recall"] > 0.5
    assert len(walker["views"]) == 3
    assert true["left"] == 0
    assert true["iou_tolerant"] > 0.95


def test_figures_of_the_paper_average_as_it_says() -> None:
    for table in (
        paper.SPIN_NERF,
        paper.SPIN_NERF_ABLATION,
        paper.LERF_2D,
        paper.LERF_3D,
        paper.LERF_LOCALIZATION,
        {name: row for name, row in paper.NVOS.items() if name != "DINOv2"},
    ):
        for name, row in table.items():
            values = [value for scene, value in row.items() if scene != AVERAGE and value is not None]
            if values:
                assert np.mean(values) == pytest.approx(row[AVERAGE], abs=0.07), name


def test_finished_figures_are_kept_and_others_refused(tmp_path: Path) -> None:
    store = FigureStore(tmp_path, {"encoder": "rgb"})
    assert store.get("fern") is None
    store.put("fern", {"iou": 0.5})
    assert FigureStore(tmp_path, {"encoder": "rgb"}).get("fern") == {"iou": 0.5}
    with pytest.raises(InputError, match=r"other settings \(encoder\).*--overwrite"):
        FigureStore(tmp_path, {"encoder": "other"}).check(["fern"])
    assert FigureStore(tmp_path, {"encoder": "other"}, overwrite=True).get("fern") is None
    (tmp_path / "fern" / "figures.json").write_text('{"settings": {}')
    with pytest.raises(InputError, match="damaged"):
        store.get("fern")


@pytest.mark.parametrize(
    ("name", "plain"), [("uplifting + diffusion", "uplifting-diffusion"), ("a/b: c", "a-b-c"), ("/", "unnamed")]
)
def test_names_become_file_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain
