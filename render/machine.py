"""What this process may use of the machine: cores and memory, also in a container that has less than the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

OWN, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")  # Linux' control groups, with which containers limit
# Files of a memory limit, of what is used, and the line of memory.stat that counts what can be taken back.
MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def cores() -> int:
    """Cores that this process may run on."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups("cpu"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        quota, period = quota or _text(group / "cpu.cfs_quota_us"), period or _text(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            found = min(found, int(quota) // int(period))
    return max(1, found)


def free_memory() -> int:
    """Bytes that this process and its children may still take, without swapping."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for group in _groups("memory"):
        for limit_file, used_file, reclaimable in MEMORY:
            limit, used = _text(group / limit_file), _text(group / used_file)
            if limit.isdigit() and used.isdigit():
                stat = dict(line.split() for line in _text(group / "memory.stat").splitlines())
                free = min(free, int(limit) - int(used) + int(stat.get(reclaimable, 0)))
    return max(0, free)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's groups and of those that they are in; each of them limits."""
    for line in _text(OWN).splitlines():
        _, controllers, own = line.split(":", 2)  # no controllers: version 2, which has them all in one folder
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        folder = root / own.lstrip("/")
        yield from [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""  # another system, or a group that cannot be seen from a container
