"""What tests of an OUTPUT on a store look at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stores import Shop


def outputs(content: dict[str, bytes], below: str = "out/") -> dict[str, bytes]:
    """What is in OUTPUT, without logs; job.json has times."""
    found = {name.removeprefix(below): data for name, data in content.items() if name.startswith(below)}
    assert {name for name in found if name.startswith(".batchscore")} == set()
    return {name: b"" if name == "job.json" else data for name, data in found.items() if not name.startswith("logs/")}


def here(folder: Path, name: str = "out") -> dict[str, bytes]:
    root = folder / name
    content = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return outputs(content, "")


def settings_of(shop: Shop, folder: Path, **more: Any) -> dict[str, Any]:
    """Of a job in a process of its own."""
    environment = {"FAULTS": str(folder / "faults"), "CALLS": str(folder / "calls")}
    return {"output": f"{shop.url}/out", "environment": environment, "workers": 2, **more}


def wait_until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def receipts(shop: Shop) -> int:
    """How many are on the store."""
    found = [data for name, data in shop.content().items() if "/receipts/" in name]
    return sum(len(json.loads(data)["outcomes"]) for data in found)


def puts(name: str) -> Callable[[str, str], bool]:
    """Requests that write objects whose names have this in them."""
    return lambda method, path: method in {"PUT", "POST"} and name in path
