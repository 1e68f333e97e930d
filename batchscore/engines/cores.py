"""Cores that this process may use: as many as joblib counts, without importing it, and numpy with it."""

from __future__ import annotations

import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """Cores that this process may use, by affinity, container limits and LOKY_MAX_CPU_COUNT; at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    stated = os.environ.get("LOKY_MAX_CPU_COUNT", "")
    limits = limit_of(CONTROL_GROUPS), int(stated) if stated.isdecimal() else None
    return max(min(limit or cores for limit in (cores, *limits)), 1)


def limit_of(groups: Path) -> int | None:
    """The cores that a container's CPU time makes, a part of one counting as one; None where it has no limit."""
    old = groups / "cpu"
    texts = _text(groups / "cpu.max") or f"{_text(old / 'cpu.cfs_quota_us')} {_text(old / 'cpu.cfs_period_us')}"
    quota, period, *_ = (*texts.split(), "", "")
    if not quota.isdecimal() or not period.isdecimal() or not int(quota) * int(period):  # `max`, -1, or no such file
        return None
    return -(-int(quota) // int(period))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
