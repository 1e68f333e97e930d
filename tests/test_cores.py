"""As many cores as joblib counts."""

import os
from pathlib import Path

import joblib
import pytest

from batchscore.engines import cores


def test_the_cores_are_those_that_joblib_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    assert cores.cpu_count() == joblib.cpu_count()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert cores.cpu_count() == joblib.cpu_count() == 1


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.max": "nonsense\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_limit_is_rounded_up_to_whole_cores(
    files: dict[str, str], found: int | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores.limit_of(tmp_path) == found


def test_there_is_one_core_at_least_and_no_more_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "CONTROL_GROUPS", tmp_path)
    (tmp_path / "cpu.max").write_text("1000 100000")
    assert cores.cpu_count() == 1
    if hasattr(os, "sched_getaffinity"):
        (tmp_path / "cpu.max").write_text("99999999 100000")
        assert cores.cpu_count() == len(os.sched_getaffinity(0))
