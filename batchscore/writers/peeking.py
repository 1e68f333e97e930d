"""The first rows of a prediction file, to be looked at."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchscore.settings import Writer


def first_rows(path: str, form: Writer, count: int) -> list[list[Any]]:
    """At most so many rows as JSON values: a CSV's fields as text, other formats' values by their types."""
    return _READ[form](path, count)


def _csv(path: str, count: int) -> list[list[Any]]:
    with Path(path).open(encoding="utf-8", newline="") as lines:
        return list(islice(csv.reader(lines), 1, count + 1))


def _headerless(path: str, count: int) -> list[list[Any]]:
    with Path(path).open(encoding="utf-8", newline="") as lines:
        return list(islice(csv.reader(lines), count))


def _jsonl(path: str, count: int) -> list[list[Any]]:
    with Path(path).open(encoding="utf-8", newline="\n") as lines:
        return [list(json.loads(line, parse_constant=str).values()) for line in islice(lines, count)]


def _parquet(path: str, count: int) -> list[list[Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=count):
            return [[_plain(value) for value in row.values()] for row in batch.to_pylist()]
    return []


def _plain(value: Any) -> Any:
    """The value itself where JSON has it, else its text."""
    return json.loads(json.dumps(value, default=str), parse_constant=str)


_READ: dict[Writer, Callable[[str, int], list[list[Any]]]] = {
    "csv": _csv,
    "headerless": _headerless,
    "jsonl": _jsonl,
    "parquet": _parquet,
}
