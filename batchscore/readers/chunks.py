"""Runs of rows on their way to the model, and regrouping them to the size of a predict call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from batchscore.errors import FileRefused
    from batchscore.minibatch import FileSlice


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one predict call gets, and the input columns to repeat beside its answer."""

    slice: FileSlice
    first_row: int
    """0-based number in the file of its first row."""
    rows: int
    features: pa.Table | pd.DataFrame | np.ndarray | dict[str, np.ndarray]
    """The model's columns, by the model's names. What isn't a Table goes to predict as it is: a DataFrame with pandas'
    own types where there is no signature, tensors of an image or of JSON."""
    kept: pa.Table
    """Columns of the input by their names in the file: text as it stands in a CSV, their own types from Parquet."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows as a reader finds them, in whatever number."""

    count: int
    features: pa.Table
    kept: pa.Table

    def slice(self, start: int, count: int) -> Rows:
        return Rows(count, self.features.slice(start, count), self.kept.slice(start, count))


def join(runs: Sequence[Rows]) -> Rows:
    """Give the rows of all runs, at least one, in order."""
    import pyarrow as pa

    return Rows(
        sum(rows.count for rows in runs),
        pa.concat_tables([rows.features for rows in runs]),
        pa.concat_tables([rows.kept for rows in runs]),
    )


def regroup(runs: Iterable[Rows], piece: FileSlice, rows_per_call: int, notes: tuple[str, ...]) -> Iterator[Chunk]:
    """The same rows in chunks of exactly ``rows_per_call``, the last one shorter; 0 rows give one chunk of 0 rows.

    Holds at most one chunk and one run.
    """
    first_row = piece.first_row
    waiting: list[Rows] = []
    for run in runs:
        waiting.append(run)
        while sum(rows.count for rows in waiting) >= rows_per_call:
            taken, rest = _split(waiting, rows_per_call)
            yield _chunk(taken, piece, first_row, notes)
            first_row += rows_per_call
            waiting = [rest]
    if first_row == piece.first_row or any(rows.count for rows in waiting):
        yield _chunk(waiting, piece, first_row, notes)


def _split(waiting: list[Rows], count: int) -> tuple[list[Rows], Rows]:
    """The first ``count`` rows, and the rest, which lies in the last run alone."""
    *earlier, last = waiting
    taken = count - sum(rows.count for rows in earlier)
    return [*earlier, last.slice(0, taken)], last.slice(taken, last.count - taken)


def _chunk(waiting: list[Rows], piece: FileSlice, first_row: int, notes: tuple[str, ...]) -> Chunk:
    rows = join(waiting)
    return Chunk(piece, first_row, rows.count, rows.features, rows.kept, notes)


def first_refusal(refusals: Iterable[FileRefused]) -> FileRefused:
    """The one of the smallest row; a refusal of a whole column comes before any row's."""
    return min(refusals, key=lambda refusal: -1 if refusal.row is None else refusal.row)
