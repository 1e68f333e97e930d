"""Results as text: tables for the terminal and for docs/performance.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = ("", "wall s", "from … to", "CPU s", "from … to", "PSS MB", "RSS MB", "first MB", "wall × limit", "CPU × limit")


def case_text(name: str, facts: dict[str, Any]) -> str:
    """A case as a table for the terminal."""
    rows = [HEAD, *(_row(contender, found) for contender, found in facts["contenders"].items())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    excuses = [f"{each}: {found['excuse']}" for each, found in facts["contenders"].items() if "excuse" in found]
    return "\n".join(
        [f"{name}: {facts['rows']:,} rows, {facts['dataset']}, rounds: {facts['rounds']}", *lines, *excuses]
    )


def _row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one contender."""
    if "excuse" in found or "wall" not in found:
        return (name, *["-"] * (len(HEAD) - 1))
    times = []
    for each in (found["wall"], found["cpu"]):
        times += [f"{each['median']:.2f}", f"{each['least']:.2f}…{each['most']:.2f}"]
    memory = [f"{found[each] >> 20:,}" if each in found else "-" for each in ("pss", "rss", "first_rss")]
    ratios = found["ratios"].get("limit", {})
    return (name, *times, *memory, *(f"{ratios[each]:.2f}" if each in ratios else "-" for each in ("wall", "cpu")))


def merged(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    before = json.loads(path.read_text()) if path.exists() else {}
    return {kind: {**before.get(kind, {}), **found} for kind, found in results.items()}


def inserted(document: str, results: dict[str, Any]) -> str:
    return document
