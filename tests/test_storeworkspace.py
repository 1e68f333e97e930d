"""What is left in the user's cache of work on OUTPUTs on stores, and when it goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from batchscore.locking import lock
from batchscore.storeworkspace import remove_stale

DAY = 24 * 3600


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Work of an OUTPUT on a store."""
    folder = tmp_path / ".batchscore-0123456789abcdef"
    (folder / "parts").mkdir(parents=True)
    for name in ("store", "journal.jsonl", "lock"):
        (folder / name).touch()
    return folder


def touched(work: Path, days: float) -> None:
    """Make all of it so old."""
    for path in (*work.iterdir(), work):
        os.utime(path, (time.time() - days * DAY,) * 2)


@pytest.mark.parametrize(("days", "left"), [(13.9, 1), (14.1, 0)])
def test_work_that_nobody_touched_for_two_weeks_goes(work: Path, days: float, left: int) -> None:
    touched(work, days)
    remove_stale(str(work.parent))
    assert list(work.parent.iterdir()) == [work] * left


@pytest.mark.parametrize("name", ["journal.jsonl", "parts", "store", "lock"])
def test_any_sign_of_a_run_counts(work: Path, name: str) -> None:
    touched(work, 15)
    os.utime(work / name)
    os.utime(work, (1, 1))
    remove_stale(str(work.parent))
    assert work.exists()


def test_what_a_removal_that_was_cut_short_left_stands_in_no_ones_way(work: Path) -> None:
    (work.parent / f"gone-{work.name}/parts").mkdir(parents=True)
    touched(work, 15)
    remove_stale(str(work.parent))
    assert list(work.parent.iterdir()) == []


def test_a_run_that_begins_this_moment_keeps_its_work(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removed the folder between the look at the lock's file and the lock, and a run made it anew."""

    def taken_over(handle: int) -> bool:
        (work / "lock").unlink()
        (work / "lock").touch()
        return lock(handle)

    touched(work, 15)
    monkeypatch.setattr("batchscore.workfolder.lock", taken_over)
    remove_stale(str(work.parent))
    assert work.exists()
