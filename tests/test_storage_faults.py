"""Disks that are full or may only be read, and inputs that change or stop in the middle: what is there, and resuming."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import quick
import small_disk
from killable import command_of


def may_mount() -> bool:
    """Whether this machine lets a user have a file system of his own (user name spaces)."""
    if not shutil.which("unshare"):
        return False
    probe = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=100k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def on_small_disks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a command on disks of these sizes (KB)."""
    if not may_mount():
        pytest.skip("no file system of a small size can be made here (user name spaces)")

    def play(place: Path, command: list[str], sizes: list[int]) -> list[dict[str, Any]]:
        program = [sys.executable, small_disk.__file__, str(place), json.dumps(command), json.dumps(sizes)]
        done = subprocess.run(["unshare", "-rm", *program], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return play


def test_a_full_disk_ends_the_job_with_nothing_half_written_and_the_same_command_goes_on(
    tmp_path: Path, on_small_disks: Any
) -> None:
    """About 90 KB of parts and as much of predictions: the disk is full anywhere from the lock to job.json."""
    numbers = {f"f{n}": " ".join(str(n * 1000 + x) for x in range(500)) for n in range(12)}
    quick.write(tmp_path, **numbers)
    _, expected = small_disk.run(command_of(tmp_path, output=str(tmp_path / "undisturbed")))
    whole = (tmp_path / "undisturbed/predictions.csv").read_text()
    sizes = [8, 24, 28, 32, 36, 44, 60, 120, 160, 200, 260, 276, 280, 284, 288, 292, 300, 320]
    full = set()
    for found in on_small_disks(tmp_path / "out", command_of(tmp_path), sizes):
        names = {name for name in found["found"] if not name.startswith((".batchscore/", "logs/"))}
        if found["code"] == 4:
            assert "No space left on device" in found["said"], found["said"]
            assert "Traceback" not in found["said"]
            assert names <= {"job.json", "predictions.csv"}
            assert found["found"].get("predictions.csv", whole) == whole
            if "job.json" in names:
                assert json.loads(found["found"]["job.json"])["status"] == "Failed"
            full.add(found["said"].partition("can't ")[2].partition(":")[0].split(" (")[0].split("/")[-1])
        else:
            assert found["code"] == 0, found["said"]
        assert found["then"] == 0, found["more"]
        assert found["result"]["predictions.csv"] == whole
        assert not any(name.startswith(".batchscore") for name in found["result"])
    print(full, expected)
    assert len(full) >= 3
