"""Diffusion and the reachable set against dense references."""

from __future__ import annotations

import pytest
import torch

from render.errors import InputError
from tests.test_graph import cloud, dense
from uplift.diffusion import diffuse, edge_weights, reachable
from uplift.graph import NeighbourGraph, knn_graph


@pytest.fixture(scope="module")
def graph() -> NeighbourGraph:
    return knn_graph(cloud(), 6, features=torch.randn(300, 5, generator=torch.Generator().manual_seed(1)))


def power_iteration(matrix: torch.Tensor, start: torch.Tensor, steps: int) -> torch.Tensor:
    values = start.double() / start.double().norm(dim=0).clamp_min(1e-300)
    for _ in range(steps):
        values = matrix.double() @ values
        values = values / values.norm(dim=0).clamp_min(1e-300)
    return values


@pytest.mark.parametrize("steps", [0, 1, 7, 60])
def test_diffusing_many_columns_is_the_dense_power_iteration(graph: NeighbourGraph, steps: int) -> None:
    start = torch.rand(300, 4, generator=torch.Generator().manual_seed(2))
    start[:, 3] = 0
    unary = torch.rand(300, 4, generator=torch.Generator().manual_seed(3))
    similarities = graph.similarities(0.7)
    found = diffuse(graph, similarities, start, steps, unary=unary)
    for column in range(4):
        root = unary[:, column].sqrt()
        matrix = root[:, None] * dense(graph, similarities) * root[None]
        expected = power_iteration(matrix, start[:, column], steps)
        torch.testing.assert_close(found[:, column].double(), expected, atol=1e-5, rtol=1e-4)


def test_one_column_is_the_same_as_a_column_of_many(graph: NeighbourGraph) -> None:
    start = torch.rand(300, 3, generator=torch.Generator().manual_seed(2))
    weights = edge_weights(graph, 0.5)
    together = diffuse(graph, weights, start, 9)
    for column in range(3):
        torch.testing.assert_close(diffuse(graph, weights, start[:, column], 9), together[:, column])


def test_edge_weights_follow_the_equation(graph: NeighbourGraph) -> None:
    unary = torch.rand(300, generator=torch.Generator().manual_seed(3))
    expected = dense(graph, graph.similarities(0.5)) * (unary[:, None] * unary[None]).sqrt()
    torch.testing.assert_close(dense(graph, edge_weights(graph, 0.5, unary)), expected)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 100, None])
def test_the_reachable_set_is_where_t_products_are_positive(graph: NeighbourGraph, steps: int | None) -> None:
    edges = edge_weights(graph, 0.5) > 0.2
    start = torch.zeros(300, dtype=torch.bool)
    start[[3, 200]] = True
    matrix = dense(graph, edges) + torch.eye(300)
    values = start.float()
    for _ in range(300 if steps is None else steps):
        values = ((matrix @ values) > 0).float()
    found = reachable(graph, edges, start, steps)
    assert torch.equal(found, values > 0)
    assert 2 <= int(found.sum()) < 300


def test_what_does_not_fit_is_refused(graph: NeighbourGraph) -> None:
    weights = graph.similarities(0.5)
    with pytest.raises(InputError, match="300 values"):
        diffuse(graph, weights, torch.rand(299), 3)
    with pytest.raises(InputError, match="steps >= 0"):
        diffuse(graph, weights, torch.rand(300), -1)
    with pytest.raises(InputError, match="value >= 0"):
        diffuse(graph, weights, torch.rand(300), 1, unary=-torch.ones(300))
    with pytest.raises(InputError, match="starting values"):
        reachable(graph, weights > 0, torch.zeros(5, dtype=torch.bool))
