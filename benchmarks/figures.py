"""Single figures that batchscore alone is measured for: memory, many mini-batches, many small files, --help."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.cases import Case, Dataset
from benchmarks.contenders import Contender
from benchmarks.measuring import Measure, measure
from benchmarks.rounds import Setting, make_what_is_missing

HELP_RUNS = 9


@dataclass(frozen=True, slots=True)
class Figure:
    """Something to measure: a case at two sizes, of which the memory is compared."""

    title: str
    small: Case
    large: Case

    def taken(self, batchscore: Contender, setting: Setting, shrink: Callable[[Case], Case]) -> dict[str, Any]:
        """Peaks of the whole process tree and of the first process at both sizes."""
        small, large = (score(shrink(case), batchscore, setting, memory=True) for case in (self.small, self.large))
        setting.say(f"{self.title}: {small.pss >> 20:,} MB, then {large.pss >> 20:,} MB")
        return {
            "title": self.title,
            "rows": [shrink(self.small).dataset.rows, shrink(self.large).dataset.rows],
            "pss": [small.pss, large.pss],
            "first_rss": [small.first_rss, large.first_rss],
            "wall": [small.wall, large.wall],
            "cpu": [small.cpu, large.cpu],
        }


def score(case: Case, batchscore: Contender, setting: Setting, *, memory: bool = False) -> Measure:
    """One run of batchscore."""
    make_what_is_missing(case, setting)
    folder = setting.runs / batchscore.name
    shutil.rmtree(folder, ignore_errors=True)
    command = batchscore.command(setting.python, case, setting.folder, folder / "output")
    return measure(command, batchscore.variables(), folder, memory=memory)


def _help(batchscore: Contender, setting: Setting, _: Callable[[Case], Case]) -> dict[str, Any]:
    """What `batchscore --help` takes."""
    command = [setting.python, "-m", "batchscore", "--help"]
    folder = setting.runs / batchscore.name
    runs = [measure(command, batchscore.variables(), folder) for _ in range(HELP_RUNS)]
    cpu = statistics.median(run.cpu for run in runs)
    setting.say(f"--help: {cpu:.3f} s CPU")
    return {"title": "batchscore --help", "cpu": [cpu], "wall": [statistics.median(run.wall for run in runs)]}


def _ten_times(name: str, model: str, form: str, rows: int) -> Figure:
    """One file, and one of ten times its rows."""
    small = Case(name, model, Dataset(form, 1, rows))
    return Figure(f"one {form.upper() if form == 'csv' else 'Parquet'} file of 10 times the rows", small,
                  replace(small, dataset=replace(small.dataset, rows_per_file=10 * rows)))  # fmt: skip


def _mini_batches(files: int) -> Case:
    return Case("many", "trivial", Dataset("csv", files, 1), ("--mini-batch-size", "1"))


Take = Callable[[Contender, Setting, Callable[[Case], Case]], dict[str, Any]]
FIGURES: dict[str, Take] = {
    "memory-csv": _ten_times("memory-csv", "trivial", "csv", 500_000).taken,
    "memory-parquet": _ten_times("memory-parquet", "trivial", "parquet", 500_000).taken,
    "many": Figure("10,000 and 100,000 mini-batches of one file", _mini_batches(10_000), _mini_batches(100_000)).taken,
    "help": _help,
}
