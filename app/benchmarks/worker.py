"""One row of a benchmark table: measured in this process, printed as one line of JSON.

Run as ``python -m app.benchmarks.worker rasterize|lift|reference|graph|viewer COUNT WIDTH HEIGHT THREADS RUNS``, or
``query COUNT THREADS RUNS``.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from app.benchmarks.synthetic import capture_like
from render.camera import Camera
from render.gaussians import Gaussians

PATCH = 14  # pixels, as vision transformers have them
DIMENSIONS = (40, 384)
VIEWS = 8  # lifted together, as uplift.lift does


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Median wall time, after one run that does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes() -> int:
    """Most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux's ru_maxrss also counts what the parent had when it forked.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rasterizing(gaussians: Gaussians, camera: Camera, runs: int, implementation: ModuleType) -> dict[str, Any]:
    """Seconds of one forward rendering of the colours, and of its backward pass to all inputs."""
    leaves = Gaussians(
        *(
            tensor.clone().requires_grad_()
            for tensor in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)
        )
    )
    random = torch.Generator().manual_seed(0)
    gradient = torch.rand(camera.height, camera.width, 3, generator=random)
    with torch.no_grad():
        forward = median_seconds(lambda: implementation.rasterize(gaussians, camera), runs)
    backward = []
    for _ in range(runs + 1):
        values = implementation.rasterize(leaves, camera).values
        start = time.perf_counter()
        values.backward(gradient)
        backward.append(time.perf_counter() - start)
    return {"forward": forward, "backward": statistics.median(backward[1:])}


def lifting(gaussians: Gaussians, cameras: list[Camera], runs: int, implementation: ModuleType) -> dict[str, Any]:
    """Seconds per view of the lifting matrix, of its products, and of lifting as ``uplift.lift`` does it."""
    camera, n = cameras[0], len(gaussians)
    grid = (camera.height // PATCH, camera.width // PATCH)
    result: dict[str, Any] = {"grid": grid}
    result["matrix"] = median_seconds(lambda: implementation.lifting_matrix(gaussians, camera, grid), runs)
    matrix = implementation.lifting_matrix(gaussians, camera, grid)
    result["entries"] = int(matrix.values().numel())
    random = torch.Generator().manual_seed(0)
    for c in DIMENSIONS:
        grid_map = torch.rand(*grid, c, generator=random)
        flat = grid_map.reshape(-1, c)
        result[f"product {c}"] = median_seconds(lambda flat=flat: matrix @ flat, runs)  # type: ignore[misc]
        sums, weights, maps = torch.zeros(n, c), torch.zeros(n), [grid_map] * len(cameras)
        if hasattr(implementation, "lift_views_"):
            total = median_seconds(
                lambda s=sums, w=weights, m=maps: implementation.lift_views_(s, w, gaussians, cameras, m),  # type: ignore[misc]
                runs,
            )
            result[f"lift {c}"] = total / len(cameras)
    return result


def measure(kind: str, count: int, width: int, height: int, threads: int, runs: int) -> dict[str, Any]:
    """One row."""
    from render import rasterizer
    from render.rasterizer import reference

    torch.set_num_threads(threads)
    views = VIEWS if kind == "lift" else 1
    gaussians, cameras = capture_like(count, width, height, views=views)
    row: dict[str, Any] = {"gaussians": count, "width": width, "height": height, "threads": threads}
    if kind == "reference":
        for name, module in (("fast", rasterizer), ("reference", reference)):
            row[name] = rasterizing(gaussians, cameras[0], runs, module)
            row[name] |= lifting(gaussians, cameras, runs, module)
        return row
    row["before"] = peak_bytes()
    if kind == "rasterize":
        row |= rasterizing(gaussians, cameras[0], runs, rasterizer)
    else:
        row |= lifting(gaussians, cameras, runs, rasterizer)
    row["peak"] = peak_bytes()
    # Last, since listing all pairs takes more memory than anything measured above.
    row["pairs"] = len(rasterizer.contributions(gaussians, cameras[0]).ids)
    return row


if __name__ == "__main__":
    from app.benchmarks import segmenting, viewing

    kind, numbers = sys.argv[1], [int(number) for number in sys.argv[2:]]
    rows = segmenting.ROWS | viewing.ROWS
    print(json.dumps(rows[kind](*numbers) if kind in rows else measure(kind, *numbers)))
