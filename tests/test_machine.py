"""What a process may use: never more than its container allows."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from render import machine
from render.machine import cores, free_memory


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of a system on which nothing is limited yet."""
    monkeypatch.setattr(machine, "OWN", tmp_path / "own")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
    return tmp_path / "groups"


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_without_limits_there_is_what_the_system_says(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=7000))
    assert cores() == len(os.sched_getaffinity(0))
    assert free_memory() == 7000
    write(groups, memory_max="max", memory_current="5", cpu_max="max 100000")
    (groups.parent / "own").write_text("0::/\n")
    assert cores() == len(os.sched_getaffinity(0))
    assert free_memory() == 7000


def test_the_narrowest_group_limits_and_memory_of_files_counts_as_free(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    (groups.parent / "own").write_text("0::/box/inner\n")
    write(groups / "box", memory_max="9000", memory_current="3000", memory_stat="anon 7\ninactive_file 500")
    write(groups / "box" / "inner", memory_max="max", memory_current="100", cpu_max="max 100000")
    write(groups / "box", cpu_max="350000 100000")
    assert free_memory() == 6500
    assert cores() == 3


def test_version_1_limits_too(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    (groups.parent / "own").write_text("5:cpu,cpuacct:/box\n4:memory:/box\n")
    files = {"limit_in_bytes": "1000", "usage_in_bytes": "400", "stat": "total_inactive_file 50"}
    write(groups / "memory" / "box", **{f"memory_{name}": text for name, text in files.items()})
    assert free_memory() == 650
    assert cores() == 16
    write(groups / "cpu" / "box", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    assert cores() == 16
    write(groups / "cpu" / "box", cpu_cfs_quota_us="200000")
    assert cores() == 2
