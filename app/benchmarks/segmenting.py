"""Rows of ``fit3d bench graph`` and ``fit3d bench query``: selecting, and the straightforward ways beside it."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.benchmarks.synthetic import capture_like
from app.benchmarks.worker import median_seconds, peak_bytes
from render.camera import Camera
from render.gaussians import Gaussians
from render.scene import Scene, frame_of, write_scene
from uplift.diffusion import EDGE_THRESHOLD, STEPS, edge_weights, reachable
from uplift.field import FeatureField
from uplift.graph import NeighbourGraph, graph_memory, knn_graph
from uplift.prompts import Prompt
from uplift.random_walker import RandomWalker, walker_memory
from uplift.relevancy import relevancies
from uplift.segmentation import BANDWIDTH, Segmenter, prompt_memory

ASKED_ALONE = 2000  # points of the point-by-point loop, whose time is scaled to all
WAVES = 24  # of the synthetic features
DIMENSIONS = 384
NEIGHBOURS = (16, 50)
WIDE = 1.0  # bandwidth of the diffusion: most of the scene is reached, which takes the longest
TEXT_DIMENSIONS, QUERIES, NEGATIVES = 512, 5, 4


def graph_row(count: int, width: int, height: int, threads: int, runs: int) -> dict[str, Any]:
    """Building the graph, and from a scribble to a mask with the graph there."""
    torch.set_num_threads(threads)
    gaussians, cameras = capture_like(count, width, height)
    features = wavy_features(gaussians, DIMENSIONS)
    row: dict[str, Any] = {"gaussians": count, "width": width, "height": height, "threads": threads}
    small = knn_graph(gaussians.means[:5000], 8, features=features[:5000])  # compiles
    RandomWalker(small, 0.5)
    row["memory"] = {}
    with _Memory(row, "graph", graph_memory(count, NEIGHBOURS[0])):
        graph = knn_graph(gaussians, NEIGHBOURS[0])
    edges = len(graph.neighbours)
    with _Memory(row, "distances", 4 * (edges + 6 * count)):
        graph = graph.with_features(features)
    with _Memory(row, "walker", walker_memory(count, edges)):
        RandomWalker(graph, BANDWIDTH)
    for k in NEIGHBOURS:
        start = time.perf_counter()
        other = knn_graph(gaussians, k)
        row[f"graph {k}"] = time.perf_counter() - start
        row[f"edges {k}"] = len(other.neighbours)
        del other
    row["graph loop"] = _point_by_point(gaussians.means.numpy(), NEIGHBOURS[0])
    row["distances"] = median_seconds(lambda: graph.with_features(features), 1)
    row["walker"] = median_seconds(lambda: RandomWalker(graph, BANDWIDTH), 1)
    row |= _selecting(gaussians, cameras[0], features, row, runs)
    row |= _reaching(graph, runs)
    return row


def query_row(count: int, threads: int, runs: int) -> dict[str, Any]:
    """Relevancies of some texts on features stored as fp16, and as one would write it down."""
    torch.set_num_threads(threads)
    random = torch.Generator().manual_seed(0)
    values = torch.empty(count, TEXT_DIMENSIONS, dtype=torch.float16)
    for block in values.split(1 << 16):
        block.copy_(torch.randn(block.shape, generator=random))
    texts = torch.nn.functional.normalize(torch.randn(QUERIES + NEGATIVES, TEXT_DIMENSIONS, generator=random), dim=1)
    queries, negatives = texts[:QUERIES], texts[QUERIES:]
    row: dict[str, Any] = {"gaussians": count, "threads": threads, "memory": {}}
    relevancies(values[:1000], queries, negatives)  # compiles
    with _Memory(row, "query", 4 * count * (2 * QUERIES + 2)):
        relevancies(values, queries, negatives)
    row["query"] = median_seconds(lambda: relevancies(values, queries, negatives), runs)
    row["straightforward"] = median_seconds(lambda: _written_down(values, queries, negatives), 1)
    return row


def wavy_features(gaussians: Gaussians, channels: int) -> Tensor:
    """Features with patches and borders: signs of random waves through the scene, mixed; ``[n, c]``."""
    random = torch.Generator().manual_seed(1)
    directions = 3 * torch.randn(3, WAVES, generator=random)
    waves = torch.tanh(8 * torch.sin(gaussians.means @ directions))
    mixed = waves @ torch.randn(WAVES, channels, generator=random)
    for block in mixed.split(1 << 16):
        block.add_(torch.randn(block.shape, generator=random))
    return mixed


def _selecting(
    gaussians: Gaussians, camera: Camera, features: Tensor, row: dict[str, Any], runs: int
) -> dict[str, Any]:
    """From a scribble to the mask of its view."""
    field = FeatureField(features, torch.ones(len(gaussians)), "bench")
    with tempfile.TemporaryDirectory() as folder:
        scene = _scene(gaussians, camera, Path(folder) / "scene")
        view = scene.views[0]
        segmenter = Segmenter(scene, field).prepare()
        prompt = _scribble(scene)

        def select() -> Any:
            return segmenter.select([prompt]).mask_in(scene.gaussians, view)

        select()
        result = {"scribble": median_seconds(select, runs), "anchors": segmenter.select([prompt]).about["anchors"]}
        pixels = camera.width * camera.height
        with _Memory(row, "scribble", prompt_memory(len(gaussians), len(segmenter.graph.neighbours), pixels)):
            select()
        return result | _walking(segmenter, prompt)


def _walking(segmenter: Segmenter, prompt: Prompt) -> dict[str, Any]:
    """The random walker's system alone, and by scipy with a diagonal preconditioner."""
    from scipy.sparse import csr_matrix, diags
    from scipy.sparse.linalg import cg

    from uplift.random_walker import FLOOR, TOLERANCE
    from uplift.visibility import largest_weights, lift_prompt

    graph = segmenter.graph
    lifted = lift_prompt(segmenter.gaussians, prompt, largest_weights(segmenter.gaussians, segmenter.scene.views))
    labels = torch.full((graph.n,), -1)
    labels[lifted.background], labels[lifted.foreground] = 0, 1
    walker = RandomWalker(graph, BANDWIDTH)
    walking = median_seconds(lambda: walker.probability(labels), 3)
    weights = (graph.similarities(BANDWIDTH) + FLOOR).double().numpy()
    matrix = csr_matrix((weights, graph.neighbours.numpy(), graph.offsets.numpy()), (graph.n, graph.n))
    laplacian = (diags(np.asarray(matrix.sum(1)).ravel()) - matrix).tocsr()
    nodes = graph.to_nodes(labels).numpy()
    free, ones = np.flatnonzero(nodes < 0), np.flatnonzero(nodes == 1)
    start = time.perf_counter()
    inner = laplacian[free][:, free]
    right = -np.asarray(laplacian[free][:, ones].sum(1)).ravel()
    count = [0]
    cg(
        inner,
        right,
        rtol=TOLERANCE,
        maxiter=2000,
        M=diags(1 / inner.diagonal()),
        callback=lambda _: count.__setitem__(0, count[0] + 1),
    )
    return {
        "walking": walking,
        "steps": walker.steps,
        "straightforward walking": time.perf_counter() - start,
        "straightforward steps": count[0],
    }


def _reaching(graph: NeighbourGraph, runs: int) -> dict[str, Any]:
    """The reachable set of the diffusion, and by T sparse products."""
    from scipy.sparse import csr_matrix, identity

    start = torch.zeros(graph.n, dtype=torch.bool)
    # Some nodes side by side in the largest component: the front has the longest way.
    main = (graph.components()[0] == 0).nonzero()[:, 0]
    start[main[: max(1, len(main) // 1000)]] = True
    edges = edge_weights(graph, WIDE) > EDGE_THRESHOLD
    fast = median_seconds(lambda: reachable(graph, edges, start, STEPS), runs)
    found = reachable(graph, edges, start, STEPS)
    kept = edges.numpy().astype(np.float32)
    matrix = csr_matrix((kept, graph.neighbours.numpy(), graph.offsets.numpy()), (graph.n, graph.n))
    matrix = matrix + identity(graph.n, dtype=np.float32, format="csr")
    values = graph.to_nodes(start).numpy().astype(np.float32)
    begin = time.perf_counter()
    for _ in range(STEPS):
        values = matrix @ values
        values /= np.linalg.norm(values)
    products = time.perf_counter() - begin
    return {
        "diffusion": fast,
        "products": products,
        "reached": int(found.sum()),
        "reached by products": int((values > 0).sum()),
    }


def _point_by_point(points: np.ndarray, k: int) -> float:
    """Seconds that a loop over all points would take, from some of them."""
    from scipy.spatial import cKDTree

    start = time.perf_counter()
    tree = cKDTree(points)
    built = time.perf_counter() - start
    some = points[:: max(1, len(points) // ASKED_ALONE)]
    start = time.perf_counter()
    for point in some:
        tree.query(point, k + 1)
    return built + (time.perf_counter() - start) * len(points) / len(some)


def _written_down(values: Tensor, queries: Tensor, negatives: Tensor) -> Tensor:
    """Equation (C.2) in plain torch."""
    features = torch.nn.functional.normalize(values.float(), dim=1)
    positive = (10 * features @ queries.T).exp()
    canonical = (10 * features @ negatives.T).exp()
    return (positive[:, :, None] / (positive[:, :, None] + canonical[:, None, :])).amin(2)


def _scene(gaussians: Gaussians, camera: Camera, path: Path) -> Scene:
    photo = np.zeros((camera.height, camera.width, 3), np.uint8)
    write_scene(path, gaussians, {"camera_model": "PINHOLE", "frames": [frame_of(camera, "images/view.png")]}, [photo])
    return Scene.open(path)


def _scribble(scene: Scene) -> Prompt:
    """A stroke across the middle, and one along each side."""
    view = scene.views[0]
    height, width = view.camera.height, view.camera.width
    positive, negative = np.zeros((2, height, width), bool)
    positive[height // 2 - 2 : height // 2 + 2, width * 2 // 5 : width * 3 // 5] = True
    negative[height // 8 : -height // 8, width // 10 : width // 10 + 4] = True
    negative[height // 8 : -height // 8, -width // 10 - 4 : -width // 10] = True
    return Prompt.from_scribbles(view, positive, negative)


class _Memory:
    """Notes how much memory a step was said to need, and how much it took at most."""

    def __init__(self, row: dict[str, Any], step: str, announced: int) -> None:
        self._row, self._step, self._announced = row, step, announced

    def __enter__(self) -> None:
        self._before = _forget_peak()

    def __exit__(self, *_: object) -> None:
        self._row["memory"][self._step] = [self._announced, peak_bytes() - self._before]


def _forget_peak() -> int:
    """Start the highest mark of this process's memory anew where the system can; the memory in use now."""
    gc.collect()
    _trim()
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        marks.write_text("5")
    return peak_bytes()


def _trim() -> None:
    """Give back what the allocator keeps, or a step would seem to need nothing; glibc alone can."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


ROWS: dict[str, Callable[..., dict[str, Any]]] = {"graph": graph_row, "query": query_row}
