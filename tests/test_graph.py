"""The neighbour graph: exact, symmetric, with the distances of features on its edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from render.errors import InputError
from uplift.graph import NeighbourGraph, graph_memory, knn_graph


def cloud(n: int = 300, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def dense(graph: NeighbourGraph, edges: torch.Tensor | None = None) -> torch.Tensor:
    """The adjacency matrix in the order of the Gaussians."""
    weights = torch.ones(len(graph.neighbours)) if edges is None else edges
    matrix = torch.zeros(graph.n, graph.n)
    matrix[graph.order[graph.rows], graph.order[graph.neighbours.long()]] = weights.float()
    return matrix


def nearest_by_brute_force(points: torch.Tensor, k: int) -> torch.Tensor:
    distances = torch.cdist(points.double(), points.double())
    distances.fill_diagonal_(torch.inf)
    linked = torch.zeros(len(points), len(points))
    linked.scatter_(1, distances.topk(k, largest=False).indices, 1.0)
    return torch.maximum(linked, linked.T)


@pytest.mark.parametrize("k", [1, 5, 16])
def test_edges_are_those_of_a_brute_force_search(k: int) -> None:
    points = cloud()
    assert torch.equal(dense(knn_graph(points, k)), nearest_by_brute_force(points, k))


def test_every_edge_is_there_from_both_ends_and_none_is_a_loop() -> None:
    matrix = dense(knn_graph(cloud(), 7))
    assert torch.equal(matrix, matrix.T)
    assert not matrix.diagonal().any()


def test_coincident_and_fewer_points_than_neighbours_are_fine() -> None:
    graph = knn_graph(torch.zeros(40, 3), 8)
    assert not dense(graph).diagonal().any()
    assert int(graph.offsets.diff().min()) >= 8
    assert dense(knn_graph(cloud(3), 16)).sum() == 6


def test_an_outlier_does_not_change_the_edges_of_the_others() -> None:
    points = cloud()
    points[0] = torch.tensor([1e6, 0, 0])
    assert torch.equal(dense(knn_graph(points, 4)), nearest_by_brute_force(points, 4))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("channels", [1, 3, 16, 37])
def test_edges_carry_the_squared_distance_of_features(metric: str, channels: int) -> None:
    features = torch.randn(300, channels, generator=torch.Generator().manual_seed(1))
    graph = knn_graph(cloud(), 5, features=features, metric=metric)  # type: ignore[arg-type]
    values = features.double()
    if metric == "cosine":
        values = torch.nn.functional.normalize(values, dim=1)
    expected = torch.cdist(values, values).square() * dense(graph)
    assert graph.feature_distances is not None
    torch.testing.assert_close(dense(graph, graph.feature_distances).double(), expected, atol=2e-5, rtol=1e-4)


def test_similarities_follow_the_equation() -> None:
    graph = knn_graph(cloud(), 5, features=torch.randn(300, 4, generator=torch.Generator().manual_seed(1)))
    assert graph.feature_distances is not None
    scale = graph.feature_distances.sqrt().median().square()
    expected = torch.exp(-graph.feature_distances / (0.3 * scale))
    torch.testing.assert_close(graph.similarities(0.3), expected, atol=1e-3, rtol=1e-2)


def test_zero_features_are_no_nan() -> None:
    graph = knn_graph(cloud(), 5, features=torch.zeros(300, 4))
    assert torch.isfinite(graph.similarities(0.1)).all()


def test_components_are_counted_largest_first() -> None:
    far = torch.cat([cloud(60), cloud(40) + 1000, cloud(20) - 1000])
    shuffled = torch.randperm(120, generator=torch.Generator().manual_seed(2))
    graph = knn_graph(far[shuffled], 6)
    labels, counts = graph.components()
    assert counts.tolist() == [60, 40, 20]
    assert torch.equal(labels == 0, shuffled < 60)
    keep = (shuffled < 60) | (shuffled >= 100)
    labels, counts = graph.components(keep)
    assert counts.tolist() == [60, 20]
    assert torch.equal(labels == -1, ~keep)


def test_spreading_takes_the_extremes_of_neighbours() -> None:
    graph = knn_graph(cloud(), 4)
    values = torch.rand(300, 2, generator=torch.Generator().manual_seed(3))
    linked = (dense(graph) + torch.eye(300)) > 0
    expected = torch.where(linked[..., None], values[None], -torch.inf).amax(1)
    assert torch.equal(graph.spread(values, "max"), expected)
    assert torch.equal(graph.spread(values[:, 0], "min"), torch.where(linked, values[None, :, 0], torch.inf).amin(1))


@pytest.mark.parametrize(
    ("points", "k", "said"),
    [
        (torch.zeros(1, 3), 4, "at least two Gaussians"),
        (cloud(10), 0, "one neighbour"),
        (torch.full((5, 3), torch.nan), 2, "finite centres"),
    ],
)
def test_bad_input_gets_a_sentence(points: torch.Tensor, k: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        knn_graph(points, k)


def test_features_of_other_gaussians_are_refused() -> None:
    with pytest.raises(InputError, match="300 Gaussians"):
        knn_graph(cloud(), 4).with_features(torch.zeros(299, 3))
    with pytest.raises(InputError, match="no features"):
        knn_graph(cloud(), 4).similarities(0.5)
    with pytest.raises(InputError, match="greater than 0"):
        knn_graph(cloud(), 4, features=cloud()).similarities(0)


def test_searching_reports_progress_and_can_be_cancelled() -> None:
    told: list[str] = []
    knn_graph(cloud(), 4, features=cloud(), progress=lambda done, total, what: told.append(what))
    assert {"nearest neighbours", "feature distances"} <= set(told)

    class CancelledError(Exception):
        pass

    def cancel(done: int, total: int, what: str) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        knn_graph(cloud(), 4, progress=cancel)


def test_the_memory_estimate_grows_with_what_is_asked() -> None:
    sizes = [graph_memory(10_000, 16), graph_memory(20_000, 16), graph_memory(20_000, 50)]
    assert np.all(np.diff(sizes) > 0)
