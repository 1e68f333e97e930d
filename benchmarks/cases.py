"""What is scored: models, data sets, and the cases that join them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

COLUMNS = 30
NUMBERS = [f"x{number:02d}" for number in range(COLUMNS)]
WORDS = {"city": 50, "plan": 5, "channel": 8, "device": 20}
"""Columns of words, and how many words each has."""

_NAME = re.compile(r"(numbers|words)-(csv|parquet)(-gz|-group)?-(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files of one kind: 30 columns of numbers, or 15 of numbers and 4 of words."""

    format: str
    files: int
    rows_per_file: int
    has_words: bool = False
    packing: str = ""
    """`gz`: a compressed CSV; `group`: a Parquet file of one row group, whatever its size."""

    @classmethod
    def named(cls, name: str) -> Dataset:
        match = _NAME.fullmatch(name)
        if not match:
            raise ValueError(f"no data set is called {name!r}: expected, for instance, numbers-csv-8x1000")
        kind, form, packing, files, rows = match.groups()
        return cls(form, int(files), int(rows), kind == "words", (packing or "").removeprefix("-"))

    @property
    def name(self) -> str:
        kind = "words" if self.has_words else "numbers"
        form = f"{self.format}-{self.packing}" if self.packing else self.format
        return f"{kind}-{form}-{self.files}x{self.rows_per_file}"

    @property
    def suffix(self) -> str:
        return f".{self.format}.gz" if self.packing == "gz" else f".{self.format}"

    @property
    def rows(self) -> int:
        return self.files * self.rows_per_file

    def path(self, folder: Path) -> Path:
        return folder / "datasets" / self.name

    def smaller(self) -> Dataset:
        """A fiftieth of it, for a look at whether everything works."""
        if self.files > 100:  # noqa: PLR2004  # files count there, not rows
            return replace(self, files=self.files // 50)
        return replace(self, rows_per_file=max(self.rows_per_file // 50, 1000))


@dataclass(frozen=True, slots=True)
class Case:
    """A model and what it scores."""

    name: str
    model: str
    dataset: Dataset
    options: tuple[str, ...] = ()
    """Of `batchscore run`."""
    tolerance: float = 0.0
    """How much predictions may differ, relative to the largest."""
    most_rounds: int = 5
    """Fewer where each takes a minute or more."""

    def smaller(self) -> Case:
        return replace(self, dataset=self.dataset.smaller())


BLAS = 1e-12
"""A tolerance: its last bits depend on the rows of a call."""
CASES = [
    Case("trivial-parquet", "trivial", Dataset("parquet", 8, 312_500)),
    Case("trivial-csv", "trivial", Dataset("csv", 8, 187_500)),
    Case("lightgbm-parquet", "lightgbm", Dataset("parquet", 8, 125_000), most_rounds=3),
    Case("lightgbm-csv", "lightgbm", Dataset("csv", 8, 75_000), most_rounds=3),
    Case(
        "pipeline-parquet", "pipeline", Dataset("parquet", 8, 125_000, has_words=True), tolerance=1e-12, most_rounds=3
    ),
    Case("pipeline-csv", "pipeline", Dataset("csv", 8, 125_000, has_words=True), (), BLAS, 3),
    Case("forest-parquet", "forest", Dataset("parquet", 8, 25_000), (), BLAS, 3),
    Case("big-parquet", "trivial", Dataset("parquet", 1, 2_500_000)),
    Case("big-csv", "trivial", Dataset("csv", 1, 1_500_000)),
    Case("small-csv", "trivial", Dataset("csv", 20_000, 10), most_rounds=2),
    Case("small-parquet", "trivial", Dataset("parquet", 20_000, 10), most_rounds=2),
    Case("start-trivial", "trivial", Dataset("csv", 1, 1_000)),
    Case("start-lightgbm", "lightgbm", Dataset("csv", 1, 1_000)),
]
"""Of sizes with which start-up and scoring both count, but for the last four."""
