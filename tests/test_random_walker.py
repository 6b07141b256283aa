"""The random walker against a dense solution of the same system."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import uplift.random_walker as module
from render.errors import InputError
from tests.test_graph import cloud, dense
from uplift.graph import NeighbourGraph, knn_graph
from uplift.random_walker import FLOOR, RandomWalker, Walkers


def harmonic(graph: NeighbourGraph, bandwidth: float, labels: torch.Tensor) -> torch.Tensor:
    """The dense solution in double precision."""
    weights = dense(graph, graph.similarities(bandwidth) + FLOOR).double()
    laplacian = torch.diag(weights.sum(1)) - weights
    free = labels < 0
    values = (labels == 1).double()
    values[free] = torch.linalg.solve(laplacian[free][:, free], -laplacian[free][:, ~free] @ values[~free])
    return values


def labelled(n: int, anchors: int = 5) -> torch.Tensor:
    labels = torch.full((n,), -1)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(5))
    labels[chosen[:anchors]] = 1
    labels[chosen[anchors : 2 * anchors]] = 0
    return labels


@pytest.mark.parametrize("coarsest", [800, 20])
@pytest.mark.parametrize("bandwidth", [0.1, 0.5, 5.0])
def test_probabilities_are_harmonic(bandwidth: float, coarsest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COARSEST", coarsest)
    graph = knn_graph(cloud(600), 8, features=torch.randn(600, 4, generator=torch.Generator().manual_seed(1)))
    labels = labelled(600)
    found = RandomWalker(graph, bandwidth).probability(labels, tolerance=1e-6)
    torch.testing.assert_close(found.double(), harmonic(graph, bandwidth, labels), atol=2e-3, rtol=0)
    assert torch.equal(found[labels >= 0], labels[labels >= 0].float())


def test_a_long_chain_is_solved_exactly() -> None:
    points = torch.zeros(700, 3)
    points[:, 0] = torch.arange(700.0)
    graph = knn_graph(points, 2, features=torch.ones(700, 2))
    labels = torch.full((700,), -1)
    labels[0], labels[-1] = 1, 0
    found = RandomWalker(graph, 1.0).probability(labels)
    torch.testing.assert_close(found.double(), harmonic(graph, 1.0, labels), atol=2e-2, rtol=0)


def test_what_is_short_of_the_tolerance_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 2)
    graph = knn_graph(cloud(3000), 8, features=torch.randn(3000, 4, generator=torch.Generator().manual_seed(1)))
    RandomWalker(graph, 0.1).probability(labelled(3000), tolerance=1e-6)
    assert "short of its tolerance" in caplog.text


def test_a_hierarchy_needs_few_steps_on_a_large_graph() -> None:
    n = 20_000
    features = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    walker = RandomWalker(knn_graph(cloud(n), 12, features=features, metric="euclidean"), 0.5)
    labels = torch.full((n,), -1)
    labels[:3], labels[3:6] = 1, 0
    walker.probability(labels)
    assert walker.steps <= 40  # plain conjugate gradients with a diagonal take hundreds


def test_one_thread_and_two_agree() -> None:
    graph = knn_graph(cloud(6000), 8, features=torch.randn(6000, 4, generator=torch.Generator().manual_seed(1)))
    labels = labelled(6000)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(RandomWalker(graph, 0.5).probability(labels))
    torch.set_num_threads(before)
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_two_clusters_take_their_anchors_labels() -> None:
    points = torch.cat([cloud(200), cloud(200, seed=1) + torch.tensor([6.0, 0, 0])])
    walker = RandomWalker(knn_graph(points, 10, features=points, metric="euclidean"), 1.0)
    labels = torch.full((400,), -1)
    labels[0], labels[200] = 1, 0
    found = walker.probability(labels)
    assert (found[:200] > 0.5).float().mean() > 0.97
    assert (found[200:] < 0.5).float().mean() > 0.97


def test_what_no_anchor_reaches_is_not_selected() -> None:
    points = torch.cat([cloud(100), cloud(50) + 1000])
    walker = RandomWalker(knn_graph(points, 5, features=points, metric="euclidean"), 1.0)
    labels = torch.full((150,), -1)
    labels[0], labels[1] = 1, 0
    assert not walker.probability(labels)[100:].any()


def test_both_labels_are_needed() -> None:
    walker = RandomWalker(knn_graph(cloud(), 5, features=cloud()), 1.0)
    with pytest.raises(InputError, match="mark both"):
        walker.probability(torch.full((300,), -1))
    with pytest.raises(InputError, match="300 Gaussians"):
        walker.probability(torch.zeros(5))


def test_solvers_are_made_once_and_those_of_the_last_bandwidths_kept() -> None:
    walkers = Walkers(knn_graph(cloud(), 5, features=cloud()), kept=2)
    first, second = walkers.get(0.5), walkers.get(0.25)
    assert walkers.get(0.5) is first
    walkers.get(1.0)
    assert walkers.get(0.5) is first
    assert walkers.get(0.25) is not second


def test_a_solver_that_is_there_does_not_wait_for_another_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    walkers = Walkers(knn_graph(cloud(), 5, features=cloud()))
    first, begun, go_on, made = walkers.get(0.5), threading.Event(), threading.Event(), []

    class Slow(RandomWalker):
        def __init__(self, graph: NeighbourGraph, bandwidth: float) -> None:
            begun.set()
            assert go_on.wait(20)
            made.append(bandwidth)
            super().__init__(graph, bandwidth)

    monkeypatch.setattr(module, "RandomWalker", Slow)
    with ThreadPoolExecutor(3) as pool:
        slow = [pool.submit(walkers.get, 1.0) for _ in range(2)]
        assert begun.wait(20)
        assert pool.submit(walkers.get, 0.5).result(timeout=20) is first
        go_on.set()
        assert slow[0].result() is slow[1].result()
    assert made == [1.0]
