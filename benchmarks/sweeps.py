"""Throughput of batchscore against workers, file size and rows per call."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cases import Case, Dataset
from benchmarks.contenders import Contender
from benchmarks.figures import score
from benchmarks.rounds import Setting

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Sweep:
    """Cases that differ in one setting."""

    label: str
    """What differs, as a plot's axis says it."""
    points: Callable[[str, str], Sequence[tuple[int, Case]]]
    """The values of the setting and the cases, for a model and a format."""

    def taken(self, batchscore: Contender, setting: Setting, shrink: Callable[[Case], Case]) -> dict[str, Any]:
        """Rows a second of wall time, and CPU seconds per million rows, for each value; medians of some rounds."""
        lines: dict[str, Any] = {}
        for model, form in (("trivial", "csv"), ("trivial", "parquet"), ("lightgbm", "parquet")):
            found = []
            for value, case in self.points(model, form):
                small = shrink(case)
                runs = [score(small, batchscore, setting).measure for _ in range(min(ROUNDS, setting.rounds))]
                rows = small.dataset.rows
                rate = rows / statistics.median(run.wall for run in runs)
                cpu = statistics.median(run.cpu for run in runs) / rows * 1e6
                setting.say(f"{self.label} {value:,}: {model} {form}: {rate:,.0f} rows/s, {cpu:.2f} CPU s per million")
                found.append({"value": value, "rows": rows, "rows_per_second": rate, "cpu_per_million": cpu})
            lines[f"{model} {form}"] = found
        return {"label": self.label, "lines": lines}


_ROWS = {"trivial": 1_500_000, "lightgbm": 400_000}


def _by_workers(model: str, form: str) -> list[tuple[int, Case]]:
    dataset = Dataset(form, 8, _ROWS[model] // 8)
    return [(count, Case("workers", model, dataset, ("--workers", str(count)))) for count in (1, 2, 4)]


def _by_file_size(model: str, form: str) -> list[tuple[int, Case]]:
    """The same rows in ever fewer files."""
    return [(rows, Case("files", model, Dataset(form, _ROWS[model] // rows, rows))) for rows in (500, 5_000, 50_000)]


def _by_rows_per_call(model: str, form: str) -> list[tuple[int, Case]]:
    dataset = Dataset(form, 8, _ROWS[model] // 8)
    sizes = (1_000, 8_192, 65_536)
    return [(rows, Case("calls", model, dataset, ("--rows-per-call", str(rows)))) for rows in sizes]


SWEEPS: dict[str, Callable[[Contender, Setting, Callable[[Case], Case]], dict[str, Any]]] = {
    "workers": Sweep("workers", _by_workers).taken,
    "file-size": Sweep("rows per file", _by_file_size).taken,
    "rows-per-call": Sweep("rows per call", _by_rows_per_call).taken,
}
