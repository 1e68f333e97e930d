"""OUTPUT on a store: the outputs, going on elsewhere, faults, the lock."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import quick
from stores import Shop

from batchscore.errors import BatchscoreError, OutputLocked, StorageError, UsageError
from batchscore.job import MiniBatchSize
from batchscore.runner import run_job
from batchscore.storage import retrying

LOGS = "logs/"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSES", (0.01,) * 4)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of `quick` with three files, and a cache of its own for the work."""
    quick.write(tmp_path, a="1 2", b="", c="3.5")
    quick.use(monkeypatch)
    monkeypatch.setenv("BATCHSCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def outputs(content: dict[str, bytes], below: str = "out/") -> dict[str, bytes]:
    """What is in OUTPUT, without logs; job.json has times."""
    found = {name.removeprefix(below): data for name, data in content.items() if name.startswith(below)}
    assert {name for name in found if name.startswith(".batchscore")} == set()
    return {name: b"" if name == "job.json" else data for name, data in found.items() if not name.startswith(LOGS)}


def here(folder: Path, name: str = "out") -> dict[str, bytes]:
    root = folder / name
    content = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return outputs(content, "")


@pytest.mark.parametrize("output_files", ["one", "parts", "mirror"])
def test_outputs_are_those_of_a_local_job(shop: Shop, folder: Path, output_files: Any) -> None:
    run_job(quick.job(folder, output_files=output_files))
    summary = run_job(quick.job(folder, output_files=output_files, output=f"{shop.url}/out"))
    assert summary.status == "Completed"
    content = shop.content()
    assert outputs(content) == here(folder)
    there, local = json.loads(content["out/job.json"]), json.loads((folder / "out/job.json").read_text())
    assert there["outputs"] == local["outputs"]
    assert b"Completed" in content["out/logs/job_result.txt"]
    assert not list((folder / "cache").glob("work/*"))
    assert not shop.server.uploads(shop.place)
