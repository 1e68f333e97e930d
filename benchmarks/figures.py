"""Single figures that batchscore alone is measured for: big files, many mini-batches, threads, --help."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Dataset
from benchmarks.contenders import Contender
from benchmarks.measuring import Measure, measure
from benchmarks.rounds import Setting, make_what_is_missing

HELP_RUNS = 9
ROWS_PER_GB = 3_500_000
"""Of a CSV of 30 columns."""

Shrink = Callable[[Case], Case]
Take = Callable[[Contender, Setting, Shrink], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of batchscore: what it took, and what its job.json says of its workers."""

    measure: Measure
    busy: float
    """Share of the workers' time with a loaded model in which they scored."""
    tail: float
    """Share of the workers' time after there was no more to do, while another one was still at it."""

    def told(self) -> dict[str, Any]:
        return {**asdict(self.measure), "busy": self.busy, "tail": self.tail}


def score(case: Case, batchscore: Contender, setting: Setting, *, memory: bool = False) -> Run:
    """One run of batchscore."""
    make_what_is_missing(case, setting)
    folder = setting.runs / batchscore.name
    shutil.rmtree(folder, ignore_errors=True)
    command = batchscore.command(setting.python, case, setting.folder, folder / "output")
    measured = measure(command, batchscore.variables(), folder, memory=memory)
    return Run(measured, *_shares(folder / "output" / "job.json"))


def _shares(manifest: Path) -> tuple[float, float]:
    workers = json.loads(manifest.read_text())["timings"]["workers"]
    return workers["busy"], workers["tail"]["seconds"] / workers["seconds"] if workers["seconds"] else 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Cases that differ in one thing, each run once with its memory and its threads watched."""

    title: str
    cases: tuple[tuple[str, Case], ...]
    """With what differs."""

    def taken(self, batchscore: Contender, setting: Setting, shrink: Shrink) -> dict[str, Any]:
        runs = []
        for label, case in self.cases:
            small = shrink(case)
            run = score(small, batchscore, setting, memory=True)
            runs.append({"label": label, "rows": small.dataset.rows, **run.told()})
            setting.say(
                f"{self.title}, {label}: {run.measure.pss >> 20:,} MB, the first process "
                f"{run.measure.first_rss >> 20:,} MB, {run.measure.running:.1f} threads at work, "
                f"workers busy {run.busy:.0%}, tail {run.tail:.1%}"
            )
        return {"title": self.title, "runs": runs}


def _ten_times(title: str, form: str, packing: str = "") -> Take:
    """One file of a tenth of the chosen size, and one of all of it."""

    def take(batchscore: Contender, setting: Setting, shrink: Shrink) -> dict[str, Any]:
        rows = round(setting.big * ROWS_PER_GB)
        large = Dataset(form, 1, rows, packing=packing)
        sizes = ((f"{setting.big / 10:g} GB", replace(large, rows_per_file=rows // 10)), (f"{setting.big:g} GB", large))
        cases = tuple((label, Case("big", "trivial", dataset)) for label, dataset in sizes)
        return Figure(title, cases).taken(batchscore, setting, shrink)

    return take


def _many() -> Take:
    def case(files: int) -> Case:
        return Case("many", "trivial", Dataset("csv", files, 1), ("--mini-batch-size", "1"))

    return Figure("mini-batches of one row", tuple((f"{files:,}", case(files)) for files in (10_000, 100_000))).taken


def _threads() -> Take:
    """A model that would use all cores by itself, with several numbers of workers and threads."""

    def case(workers: int, threads: int) -> Case:
        options = ("--workers", str(workers), "--threads-per-worker", str(threads))
        return Case("threads", "lightgbm", Dataset("parquet", 8, 50_000), options)

    shapes = ((1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2))
    cases = tuple((f"{workers} x {threads}", case(workers, threads)) for workers, threads in shapes)
    return Figure("LightGBM, workers x threads", cases).taken


def _starts(title: str, model: str) -> Take:
    """Workers forked from one loader beside workers that load for themselves."""

    def case(workers: int, start: str) -> Case:
        options = ("--workers", str(workers), "--worker-start", start)
        return Case("starts", model, Dataset("parquet", 8, 25_000), options)

    shapes = ((1, "each"), (2, "loader"), (2, "each"), (4, "loader"), (4, "each"))
    cases = tuple((f"{workers}, {start}", case(workers, start)) for workers, start in shapes)
    return Figure(f"{title}, workers, how they start", cases).taken


def _help(batchscore: Contender, setting: Setting, _: Shrink) -> dict[str, Any]:
    """What `batchscore --help` takes."""
    command = [setting.python, "-m", "batchscore", "--help"]
    folder = setting.runs / batchscore.name
    runs = [measure(command, batchscore.variables(), folder) for _ in range(HELP_RUNS)]
    cpu, wall = (statistics.median(getattr(run, name) for run in runs) for name in ("cpu", "wall"))
    setting.say(f"--help: {cpu:.3f} s CPU")
    return {"title": "batchscore --help", "runs": [{"label": "", "cpu": cpu, "wall": wall}]}


FIGURES: dict[str, Take] = {
    "memory-csv": _ten_times("one CSV file", "csv"),
    "memory-csv-gz": _ten_times("one CSV file, compressed", "csv", "gz"),
    "memory-parquet": _ten_times("one Parquet file", "parquet"),
    "memory-row-group": _ten_times("one Parquet file of one row group", "parquet", "group"),
    "many": _many(),
    "threads": _threads(),
    "starts-forest": _starts("forest", "forest"),
    "starts-lightgbm": _starts("LightGBM", "lightgbm"),
    "help": _help,
}
