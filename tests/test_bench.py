"""``fit3d bench``: that it measures and prints; how fast is not for tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.benchmarks.synthetic import capture_like
from app.main import BAD_INPUT, OK, main
from render.rasterizer import contributions, rasterize


@pytest.mark.parametrize(
    ("kind", "measured"),
    [("rasterize", ["forward", "backward"]), ("lift", ["matrix", "product 40", "lift 40", "lift 384"])],
)
def test_bench_prints_the_machine_and_what_it_measured(
    kind: str, measured: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    assert main(["bench", kind, "--quick", "--json", str(file)]) == OK
    out = capfd.readouterr().out
    for word in ("machine:", f"command: fit3d bench {kind} --quick", "torch", "pairs/pixel", "reference"):
        assert word in out
    report = json.loads(file.read_text())
    assert report["rows"][0]["threads"] == 1
    for row in report["rows"]:
        assert all(row[name] > 0 for name in measured)
        assert row["peak"] > row["before"] > 10_000_000
    assert report["reference"]["reference"]["forward"] > 0
    assert main(["bench", kind, "--quick", "--json", str(file)]) == BAD_INPUT
    assert "--overwrite" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("kind", "measured"),
    [
        ("graph", ["graph 16", "graph 50", "scribble", "walking", "diffusion", "products", "straightforward walking"]),
        ("query", ["query", "straightforward"]),
    ],
)
def test_bench_measures_selecting_beside_the_straightforward_way(
    kind: str, measured: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    assert main(["bench", kind, "--quick", "--json", str(file)]) == OK
    out = capfd.readouterr().out
    for word in ("machine:", "ratio", "announced", "measured"):
        assert word in out
    (row,) = json.loads(file.read_text())["rows"]
    assert all(row[name] > 0 for name in measured)
    if kind == "graph":
        assert row["steps"] < row["straightforward steps"]


def test_synthetic_scenes_load_the_rasterizer_like_captures() -> None:
    for count, width, height in ((5_000, 160, 90), (20_000, 214, 160)):
        gaussians, (camera,) = capture_like(count, width, height)
        assert len(gaussians) == count
        pairs = len(contributions(gaussians, camera).ids) / (width * height)
        assert 15 < pairs < 60
        alpha = rasterize(gaussians, camera).alpha
        assert 0.9 < alpha.mean() <= 1


def test_synthetic_scenes_are_the_same_for_the_same_seed() -> None:
    one, _ = capture_like(300, 32, 24, seed=4)
    same, _ = capture_like(300, 32, 24, seed=4)
    other, _ = capture_like(300, 32, 24, seed=5)
    assert torch.equal(one.means, same.means)
    assert torch.equal(one.scales, same.scales)
    assert not torch.equal(one.means, other.means)
