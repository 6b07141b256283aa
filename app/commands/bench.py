"""``fit3d bench``: how fast rendering, lifting, selecting and exploring are on this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from app.bench_tables import (
    graph_table,
    memory_table,
    query_table,
    straightforward_table,
    viewer_frames_table,
    viewer_ready_table,
    viewer_waits_table,
)
from app.console import progress_bars, say, show, size, wrote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from render.progress import Progress

SIZES = ((50_000, 480, 270), (200_000, 640, 480), (500_000, 986, 728))
SMALL = (5_000, 120, 68)  # what the dense reference can do
QUICK_SIZES = ((2_000, 96, 64),)
QUICK_SMALL = (500, 48, 32)
RUNS, QUICK_RUNS = 7, 1
SELECTING_SIZES = ((100_000, 640, 480), (600_000, 986, 728))
SELECTING_RUNS = 5
VIEWED = (480, 270)  # pixels of a frame while the camera moves
VIEWED_SIZES = ((0, *VIEWED), (500_000, *VIEWED))  # 0 Gaussians: the demo room


@dataclass(frozen=True)
class _Options:
    """What both tables take."""

    quick: bool = False
    """One tiny scene and a single run: shows that everything works, measures nothing."""
    json: Path | None = None
    """Also write all figures to this JSON file."""
    overwrite: bool = False
    """Replace the JSON file if it exists."""


@dataclass(frozen=True)
class BenchRasterize(_Options):
    """Rendering: forward, and backward to every input.

    Median times of the colours (projection, sorting and blending in one), on one core and on all; ns per pair =
    per Gaussian that contributes to a pixel.  Memory is the most that a process of its own has had, Python and
    torch included.
    """

    def run(self) -> None:
        """Measure and print."""
        report(self, "rasterize", _rasterize_table)


@dataclass(frozen=True)
class BenchLift(_Options):
    """Lifting: the transposed pass onto a patch grid, and what 40 and 384 dimensions add.

    Median times per view: matrix = projection, sorting and the fused transposed pass; product = that sparse matrix
    times a feature map; lift = all of it the way fit3d lift does it, eight views together.  Memory is the most that
    a process of its own has had, Python and torch included.
    """

    def run(self) -> None:
        """Measure and print."""
        report(self, "lift", _lift_table)


@dataclass(frozen=True)
class BenchGraph(_Options):
    """Selecting: the neighbour graph, and from a scribble to a mask once it is there.

    Wall times on all cores, 384 feature dimensions; scribble = lifting the strokes, the random walker, the mask of the
    view.  Beside them the straightforward ways in the same process: a k-d tree asked point by point (from 2000
    points), conjugate gradients of scipy with a diagonal, and T = 100 sparse products.  Memory is what a step adds,
    announced and measured.
    """

    def run(self) -> None:
        """Measure and print."""
        from render.machine import cores

        jobs = [(*size, cores()) for size in (QUICK_SIZES if self.quick else SELECTING_SIZES)]
        report_rows(self, "graph", jobs, graph_table, straightforward_table, memory_table)


@dataclass(frozen=True)
class BenchQuery(_Options):
    """Text queries: relevancies of five texts against four canonical phrases, 512 dimensions stored as fp16.

    Wall times on all cores, beside equation (C.2) written down in torch in the same process.
    """

    def run(self) -> None:
        """Measure and print."""
        from render.machine import cores

        sizes = QUICK_SIZES if self.quick else SELECTING_SIZES
        report_rows(self, "query", [(size[0], cores()) for size in sizes], query_table, memory_table)


@dataclass(frozen=True)
class BenchViewer(_Options):
    """The explorer: what a person waits for, on the demo room and on a synthetic scene of 500,000 Gaussians.

    Wall times on all cores from what a person does to the frame that shows it, median of several; ready = what is made
    while the page opens, first = the first of the process after that.  Text to heat includes the text's embedding, by
    the encoder (demo room) or made up (synthetic).  Fields of 24 and 64 dimensions.  Memory is the most that the
    process has had, Python and torch included.
    """

    def run(self) -> None:
        """Measure and print."""
        from render.machine import cores

        jobs = [(*size, cores()) for size in (QUICK_SIZES if self.quick else VIEWED_SIZES)]
        report_rows(self, "viewer", jobs, viewer_frames_table, viewer_ready_table, viewer_waits_table)


@dataclass(frozen=True)
class Bench:
    """Measure how fast rendering, lifting, selecting and exploring are on this machine."""

    what: (
        Annotated[BenchRasterize, tyro.conf.subcommand("rasterize")]
        | Annotated[BenchLift, tyro.conf.subcommand("lift")]
        | Annotated[BenchGraph, tyro.conf.subcommand("graph")]
        | Annotated[BenchQuery, tyro.conf.subcommand("query")]
        | Annotated[BenchViewer, tyro.conf.subcommand("viewer")]
    )

    def run(self) -> None:
        """Print a table."""
        self.what.run()


def report(options: _Options, kind: str, table: Any) -> None:
    """Measure all rows, print the machine, the table and the ratio to the reference, write the JSON file."""
    from app.scenes import refuse_existing
    from render.files import atomic_file
    from render.machine import cores

    if options.json is not None:
        refuse_existing(options.json, options.overwrite)
    machine = describe_machine(kind, options.quick)
    for line in machine.values():
        say(line)
    with progress_bars() as progress:
        rows, small = _measure_all(kind, options.quick, cores(), progress)
    show(table(rows))
    show(_ratio_table(small))
    if options.json is not None:
        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps({"machine": machine, "rows": rows, "reference": small}, indent=1))
        wrote(options.json)


def report_rows(options: _Options, kind: str, jobs: Sequence[tuple[int, ...]], *tables: Any) -> None:
    """Measure rows that need no reference of their own, and print them in several tables."""
    from app.scenes import refuse_existing
    from render.files import atomic_file

    if options.json is not None:
        refuse_existing(options.json, options.overwrite)
    machine = describe_machine(kind, options.quick)
    for line in machine.values():
        say(line)
    rows = []
    with progress_bars() as progress:
        for done, job in enumerate(jobs):
            progress(done, len(jobs), "measuring")
            rows.append(_in_own_process(kind, *job, QUICK_RUNS if options.quick else SELECTING_RUNS))
        progress(len(jobs), len(jobs), "measuring")
    for table in tables:
        show(table(rows))
    if options.json is not None:
        with atomic_file(options.json) as temporary:
            temporary.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
        wrote(options.json)


def describe_machine(kind: str, quick: bool) -> dict[str, str]:
    """Lines that belong above every table: machine, command, versions."""
    import platform
    from importlib.metadata import version

    from render.machine import cores

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "torch"))
    return {
        "machine": f"machine: {model}, {cores()} cores, {platform.system()} {platform.release()}",
        "command": f"command: fit3d bench {kind}{' --quick' if quick else ''}",
        "versions": f"versions: fit3d {version('fit3d')}, Python {platform.python_version()}, {packages}",
    }


def _measure_all(kind: str, quick: bool, cores: int, progress: Progress) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    runs = QUICK_RUNS if quick else RUNS
    counts = [1] if cores == 1 or quick else [1, cores]
    jobs = [(kind, *scene, threads) for scene in (QUICK_SIZES if quick else SIZES) for threads in counts]
    jobs.append(("reference", *(QUICK_SMALL if quick else SMALL), 1))
    rows = []
    for done, job in enumerate(jobs):
        progress(done, len(jobs), "measuring")
        rows.append(_in_own_process(*job, runs))
    progress(len(jobs), len(jobs), "measuring")
    return rows[:-1], rows[-1]


def _in_own_process(kind: str, *numbers: int) -> dict[str, Any]:
    import subprocess

    command = [sys.executable, "-m", "app.benchmarks.worker", kind, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"The measurement {' '.join(command[3:])} failed: {last[0]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("Gaussians", "size", "cores", *columns):
        table.add_column(column, justify="right")
    return table


def _scene_cells(row: dict[str, Any]) -> list[str]:
    return [f"{row['gaussians']:,}", f"{row['width']}x{row['height']}", str(row["threads"])]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _ns(seconds: float, pairs: int, cores: int) -> str:
    """Nanoseconds of one core per pair."""
    return f"{1e9 * seconds * cores / max(pairs, 1):.2f}"


def _rasterize_table(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "rasterize: RGB, median ms",
        "pairs/pixel",
        "forward ms",
        "ns/pair/core",
        "backward ms",
        "ns/pair/core",
        "peak memory",
        "beside the scene",
    )
    for row in rows:
        pairs, cores = row["pairs"], row["threads"]
        table.add_row(
            *_scene_cells(row),
            f"{pairs / (row['width'] * row['height']):.1f}",
            _ms(row["forward"]),
            _ns(row["forward"], pairs, cores),
            _ms(row["backward"]),
            _ns(row["backward"], pairs, cores),
            size(row["peak"]),
            size(row["peak"] - row["before"]),
        )
    return table


def _lift_table(rows: list[dict[str, Any]]) -> Table:
    table = _table(
        "lift: one view onto a patch grid, median ms",
        "grid",
        "pairs/pixel",
        "matrix",
        "ns/pair/core",
        "product 40",
        "product 384",
        "lift 40",
        "lift 384",
        "384 / 40",
        "peak memory",
    )
    for row in rows:
        table.add_row(
            *_scene_cells(row),
            f"{row['grid'][1]}x{row['grid'][0]}",
            f"{row['pairs'] / (row['width'] * row['height']):.1f}",
            _ms(row["matrix"]),
            _ns(row["matrix"], row["pairs"], row["threads"]),
            _ms(row["product 40"]),
            _ms(row["product 384"]),
            _ms(row["lift 40"]),
            _ms(row["lift 384"]),
            f"{row['lift 384'] / row['lift 40']:.2f}",
            size(row["peak"]),
        )
    return table


def _ratio_table(row: dict[str, Any]) -> Table:
    """The same work by the torch reference, in the same process."""
    table = _table("against the dense torch reference, median ms", "work", "fast", "reference", "ratio")
    for work in ("forward", "backward", "matrix"):
        fast, reference = row["fast"][work], row["reference"][work]
        table.add_row(*_scene_cells(row), work, _ms(fast), _ms(reference), f"{reference / fast:.0f}")
    return table
