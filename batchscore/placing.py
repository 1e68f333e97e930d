"""Predictions beside what says which rows they are of: tables as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from batchscore import readers, writers
from batchscore.calls import Part, tables_of
from batchscore.errors import UsageError
from batchscore.readers import Chunk
from batchscore.settings import ScoringSettings


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows of several slices that are written at once."""

    parts: tuple[Part, ...]
    table: pa.Table

    @property
    def stops(self) -> list[int]:
        """Where each part's rows end."""
        return list(accumulate(part.rows for part in self.parts))


def placed(call: Sequence[Part], predictions: pa.Table, settings: ScoringSettings) -> Iterator[Placed]:
    """A call's rows in order, in as few tables as may be.

    file, row, kept, added and prediction columns; in layout azure row, predictions and file. Raises UsageError where
    names clash.
    """
    start = 0
    for parts in _runs(call, settings):
        rows = sum(part.rows for part in parts)
        yield Placed(parts, _output_rows(parts, predictions.slice(start, rows), settings))
        start += rows


def _runs(call: Sequence[Part], settings: ScoringSettings) -> Iterator[tuple[Part, ...]]:
    """Parts whose kept columns make one table.

    In a format with types each part stands alone: what its kept columns are says something of its own values.
    """
    if not settings.keep:
        yield tuple(call)
    elif not writers.is_untyped(settings.writer):
        yield from ((part,) for part in call)
    else:
        for _, run in groupby(call, key=lambda part: _kept_of(part).schema):
            yield tuple(run)


def _kept_of(part: Part) -> pa.Table:
    return part.kept if isinstance(part, Chunk) else part.bundle.kept


def _output_rows(parts: tuple[Part, ...], predictions: pa.Table, settings: ScoringSettings) -> pa.Table:
    is_azure = settings.layout == "azure"
    names = [PurePosixPath(part.slice.file.name).name if is_azure else part.slice.file.name for part in parts]
    counts = np.array([part.rows for part in parts])
    file: tuple[pa.Field, Any] = (pa.field("file", pa.string()), _repeated(names, counts))
    row: tuple[pa.Field, Any] = (pa.field("row", pa.int64()), _row_numbers(parts, counts))
    if is_azure:
        return _table([row, *zip(predictions.schema, predictions.columns, strict=True), file])
    columns = [
        file,
        row,
        *(_kept(parts, settings) if settings.keep else ()),
        *(
            (pa.field(name, pa.string()), pa.repeat(pa.scalar(value), predictions.num_rows))
            for name, value in settings.add
        ),
    ]
    taken = {field.name for field, _ in columns}
    if clashing := [name for name in predictions.column_names if name in taken]:
        remedy = "leave it out of --keep, or name the one of --add otherwise"
        if clashing[0] in {"file", "row"}:
            remedy = "file and row say where each prediction belongs, so the model has to name its own column otherwise"
        raise UsageError(f"the prediction column {clashing[0]!r} has the name of another output column; {remedy}")
    return _table([*columns, *zip(predictions.schema, predictions.columns, strict=True)])


def _table(columns: list[tuple[pa.Field, Any]]) -> pa.Table:
    return pa.Table.from_arrays([values for _, values in columns], schema=pa.schema([field for field, _ in columns]))


def _repeated(names: list[str], counts: Any) -> pa.Array:
    if len(names) == 1:
        return pa.repeat(pa.scalar(names[0], pa.string()), int(counts[0]))
    return pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), counts)))


def _row_numbers(parts: tuple[Part, ...], counts: Any) -> pa.Array:
    """The rows' numbers in their files."""
    if any(isinstance(part, Chunk) and part.numbers is not None for part in parts):
        numbers = [
            part.row_numbers if isinstance(part, Chunk) else np.arange(part.first_row, part.first_row + part.rows)
            for part in parts
        ]
        return pa.array(np.concatenate(numbers), pa.int64())
    if len(parts) == 1:
        return pa.array(np.arange(parts[0].first_row, parts[0].first_row + parts[0].rows), pa.int64())
    begins = np.cumsum(counts) - counts
    shifts = np.array([part.first_row for part in parts]) - begins
    return pa.array(np.arange(counts.sum()) + np.repeat(shifts, counts), pa.int64())


def _kept(parts: tuple[Part, ...], settings: ScoringSettings) -> Iterator[tuple[pa.Field, Any]]:
    """The kept columns, named as asked for; text of a file with types is text, a CSV's may be numbers."""
    kept = pa.concat_tables([table for _, table in tables_of(parts)])
    is_typed = readers.is_typed(parts[0].slice.file.name)
    for field, name, values in zip(kept.schema, settings.keep, kept.columns, strict=True):
        named = field.with_name(name)
        yield named.with_metadata(writers.TYPED) if is_typed else named, values
