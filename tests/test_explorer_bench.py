"""``fit3d bench viewer``: that it measures and prints; how fast is not for tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.bench_tables import LOOKS, READY, WAITS
from app.main import OK, main


def test_bench_viewer_measures_what_a_person_waits_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    assert main(["bench", "viewer", "--quick", "--json", str(file)]) == OK
    out = capfd.readouterr().out
    for word in ("machine:", "command: fit3d bench viewer --quick", "frames per second", "peak memory", "scribble"):
        assert word in out
    (row,) = json.loads(file.read_text())["rows"]
    assert row["gaussians"] == 2000
    assert all(row[f"fps {name}"] > 0 for name in LOOKS)
    assert all(row[name] > 0 for name in (*READY, *WAITS) if name != "page")
    assert row["peak"] >= row["before"] > 10_000_000
