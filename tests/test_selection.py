"""Selections: combined, grown, saved, rendered."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from render import Gaussians, InputError, Scene, rasterize
from render.undistortion import Lens
from render.views import View
from tests.room import tiny_scene
from tests.test_rasterizer import make_scene
from uplift.graph import NeighbourGraph, knn_graph
from uplift.selection import Selection


def random_selection(n: int, seed: int) -> Selection:
    return Selection.from_scores(torch.rand(n, generator=torch.Generator().manual_seed(seed)), {"seed": seed})


def two_lines() -> tuple[torch.Tensor, NeighbourGraph]:
    """Five points on a line, and three on another one far away; each linked with its nearest."""
    line = torch.stack([torch.arange(8.0), torch.zeros(8), torch.zeros(8)], dim=1)
    line[5:, 1] = 100
    # Gaps grow by turns, so that one nearest neighbour is enough to chain a line.
    line[:, 0] = torch.tensor([0.0, 1, 1.9, 2.7, 3.4, 0, 1, 1.9])
    return line, knn_graph(line, 1)


def as_mask(indices: list[int], n: int = 8) -> torch.Tensor:
    mask = torch.zeros(n, dtype=torch.bool)
    mask[indices] = True
    return mask


def test_the_boundary_of_scores_is_one_half_whatever_the_threshold() -> None:
    scores = torch.tensor([0.0, 0.1, 0.2, 0.4])
    selection = Selection.from_scores(scores, threshold=0.2)
    assert selection.mask.tolist() == [False, False, True, True]
    assert torch.allclose(selection.scores, torch.tensor([0, 0.25, 0.5, 1.0]))
    assert len(selection) == 2
    with pytest.raises(InputError, match="positive"):
        Selection.from_scores(scores, threshold=0)


def test_combining_is_set_algebra_on_masks() -> None:
    a, b = random_selection(200, 0), random_selection(200, 1)
    assert torch.equal((a | b).mask, a.mask | b.mask)
    assert torch.equal((a & b).mask, a.mask & b.mask)
    assert torch.equal((a - b).mask, a.mask & ~b.mask)
    assert torch.equal((~a).mask, ~a.mask)
    assert torch.equal((~~a).mask, a.mask)


def test_scores_of_combinations_keep_their_boundary() -> None:
    a, b = random_selection(200, 0), random_selection(200, 1)
    for combined in (a | b, a & b, a - b, ~a):
        assert torch.equal(combined.scores > 0.5, combined.mask)
        assert float(combined.scores.min()) >= 0
    assert torch.equal((a | b).scores, torch.maximum(a.scores, b.scores))
    above = Selection.from_scores(torch.tensor([3.0, 0.2]))
    assert torch.allclose((~above).scores, torch.tensor([0.0, 0.8]))


def test_combinations_say_what_they_are_made_of() -> None:
    about = (random_selection(5, 0) - random_selection(5, 1)).about
    assert about == {"method": "difference", "of": [{"seed": 0}, {"seed": 1}]}


def test_selections_of_other_scenes_do_not_combine() -> None:
    for combine in (Selection.__or__, Selection.__and__, Selection.__sub__):
        with pytest.raises(InputError, match="4 Gaussians, but the scene has 5"):
            combine(random_selection(5, 0), random_selection(4, 0))


def test_growing_and_shrinking_follow_the_graph() -> None:
    _, graph = two_lines()
    middle = Selection.from_mask(as_mask([2]))
    assert middle.grow(graph).mask.nonzero()[:, 0].tolist() == [1, 2, 3]
    assert middle.grow(graph, 9).mask.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert middle.grow(graph, 0).mask.tolist() == middle.mask.tolist()
    assert middle.grow(graph, 2).shrink(graph).mask.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert Selection.from_mask(as_mask([1, 2, 3])).shrink(graph).mask.nonzero()[:, 0].tolist() == [2]
    soft = Selection.from_scores(torch.tensor([0.1, 0.2, 0.9, 0.4, 0.3, 0.0, 0.7, 0.6]))
    assert torch.allclose(soft.grow(graph).scores, torch.tensor([0.2, 0.9, 0.9, 0.9, 0.4, 0.7, 0.7, 0.7]))
    with pytest.raises(InputError, match="-1"):
        middle.grow(graph, -1)


def test_parts_are_counted_and_the_largest_is_kept() -> None:
    _, graph = two_lines()
    selection = Selection.from_scores(torch.tensor([0.9, 0.1, 0.8, 0.7, 0.6, 0.9, 0.9, 0.4]))
    parts = selection.components(graph)
    assert parts.counts.tolist() == [3, 2, 1]
    assert parts.labels.tolist() == [2, -1, 0, 0, 0, 1, 1, -1]
    assert parts.largest_share == 0.5
    largest = selection.largest_component(graph)
    assert largest.mask.nonzero()[:, 0].tolist() == [2, 3, 4]
    assert torch.allclose(largest.scores, torch.tensor([0, 0.1, 0.8, 0.7, 0.6, 0, 0, 0.4]))
    assert selection.without_small(graph, 2).mask.nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6]
    nothing = Selection.from_mask(as_mask([])).components(graph)
    assert (len(nothing), nothing.largest_share) == (0, 0.0)


def test_a_graph_of_another_scene_is_refused() -> None:
    _, graph = two_lines()
    for change in (Selection.grow, Selection.shrink, Selection.components, Selection.largest_component):
        with pytest.raises(InputError, match="8 Gaussians"):
            change(random_selection(5, 0), graph)


def test_gaussians_that_no_view_saw_go_with_the_nearest_one_that_was_seen() -> None:
    gaussians, _ = make_scene(60, 20, 20)
    selection = random_selection(60, 3)
    weights = torch.ones(60)
    weights[::4] = 0
    carried = selection.with_unseen(gaussians, weights)
    seen = weights > 0
    assert torch.equal(carried.mask[seen], selection.mask[seen])
    distances = torch.cdist(gaussians.means, gaussians.means)
    distances[:, ~seen] = torch.inf
    nearest = distances.argmin(1)
    assert torch.equal(carried.mask[~seen], selection.mask[nearest][~seen])
    assert torch.equal(carried.scores[~seen], selection.scores[nearest][~seen])
    assert not torch.equal(carried.mask, selection.mask)
    assert selection.with_unseen(gaussians, torch.ones(60)) is selection
    with pytest.raises(InputError, match="No view"):
        selection.with_unseen(gaussians, torch.zeros(60))


def test_a_saved_selection_comes_back(tmp_path: Path) -> None:
    selection = random_selection(100, 0).with_about(view="Füchse", bandwidths=[0.02, None])
    path = tmp_path / "selections" / "fox.npz"
    selection.save(path)
    loaded = Selection.load(path, n=100)
    assert torch.equal(loaded.mask, selection.mask)
    assert torch.equal(loaded.scores, selection.scores)
    assert loaded.about == {"seed": 0, "view": "Füchse", "bandwidths": [0.02, None]}
    with pytest.raises(InputError, match="100 Gaussians, but the scene has 99"):
        Selection.load(path, n=99)


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for value in (torch.zeros(2), float("nan")):
        with pytest.raises(InputError, match="JSON"):
            random_selection(5, 0).with_about(value=value).save(tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def damaged_files(folder: Path) -> list[Path]:
    good = folder / "good.npz"
    random_selection(3000, 0).save(good)
    data = good.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    np.savez(folder / "other.npz", pictures=np.zeros(3))
    np.savez(folder / "objects.npz", mask=np.array([None]), scores=np.zeros(1), about=np.array("{}"))
    np.savez(folder / "shapes.npz", mask=np.zeros(3, bool), scores=np.zeros(2, np.float32), about=np.array("{}"))
    contents = {"half": data[: len(data) // 2], "flipped": bytes(flipped), "text": b"hello", "empty": b""}
    for name, content in contents.items():
        (folder / f"{name}.npz").write_bytes(content)
    return [path for path in folder.glob("*.npz") if path != good]


def test_damaged_files_get_a_sentence(tmp_path: Path) -> None:
    for path in [*damaged_files(tmp_path), tmp_path / "missing.npz"]:
        with pytest.raises(InputError):
            Selection.load(path)


def test_scores_that_cannot_be_are_refused() -> None:
    mask = torch.ones(3, dtype=torch.bool)
    for scores in (torch.tensor([1.0, -0.1, 0]), torch.tensor([1.0, torch.nan, 0]), torch.zeros(2)):
        with pytest.raises(InputError):
            Selection(mask, scores)
    with pytest.raises(InputError, match="bool"):
        Selection(torch.ones(3), torch.ones(3))


def test_a_view_shows_the_blended_scores() -> None:
    gaussians, camera = make_scene(300, 50, 40)
    selection = random_selection(300, 0)
    image = selection.render(gaussians, camera)
    assert torch.allclose(image, rasterize(gaussians, camera, selection.scores[:, None]).values[..., 0])
    everything = Selection.from_mask(torch.ones(300, dtype=torch.bool))
    assert torch.allclose(everything.render(gaussians, camera), rasterize(gaussians, camera).alpha, atol=1e-6)
    with pytest.raises(InputError, match="299"):
        selection.render(gaussians[1:], camera)


@pytest.mark.parametrize("distortion", [(), (-0.25, 0.05, 0.001, 0.0)])
def test_the_mask_of_a_photo_has_the_photos_size_and_reaches_its_borders(distortion: tuple[float, ...]) -> None:
    lens = Lens("opencv", 60.0, 60.0, 40.0, 30.0, 80, 60, distortion)
    view = View.from_photo_file("a", Path("a.png"), lens, np.eye(4))
    n = 4000
    places = torch.rand(n, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([8.0, 6.0])
    means = torch.cat([places - torch.tensor([4.0, 3.0]), torch.full((n, 1), 3.0)], dim=1)
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4)
    gaussians = Gaussians(means, quats, torch.full((n, 3), 0.08), torch.full((n,), 0.99), torch.zeros(n, 1, 3))
    everything = Selection.from_mask(torch.ones(n, dtype=torch.bool))
    mask = everything.mask_in(gaussians, view)
    assert (mask.shape, mask.dtype) == ((60, 80), np.bool_)
    assert mask.all()
    right = Selection.from_mask(means[:, 0] > 0).mask_in(gaussians, view)
    assert right[:, 44:].all()
    assert not right[:, :36].any()


def test_a_margin_takes_faint_members_and_their_neighbours() -> None:
    _, graph = two_lines()
    faint = Selection.from_scores(torch.tensor([0.0, 0.3, 0.9, 0.1, 0, 0, 0, 0]))
    wide = faint.with_margin(graph)
    assert wide.mask.nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    assert bool((wide.scores[wide.mask] >= 0.5).all())
    assert faint.with_margin(graph, 0).mask.nonzero()[:, 0].tolist() == [1, 2]


def test_grown_selections_of_a_scene_show_more_and_shrunk_ones_less(tmp_path: Path) -> None:
    scene = Scene.open(tiny_scene(tmp_path))
    gaussians, graph = scene.gaussians, knn_graph(scene.gaussians, 8)
    near = Selection.from_mask(gaussians.means[:, 2] < gaussians.means[:, 2].median())
    shown = [
        int(selection.mask_in(gaussians, scene.views[0]).sum())
        for selection in (near.shrink(graph, 2), near, near.grow(graph, 2))
    ]
    assert all(less < more for less, more in itertools.pairwise(shown))
