"""Runs of rows on their way to the model, and regrouping them to the size of a predict call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from batchscore.errors import FileRefused

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import pyarrow as pa

    from batchscore.minibatch import FileSlice

    Numbers: TypeAlias = npt.NDArray[np.int64]

_MOST_EMPTY = 16
"""Runs of no rows, all refused, that wait for a chunk's first row."""

Refuse: TypeAlias = Callable[[FileRefused], None]
"""Takes each row that can't be read or doesn't fit, in order; the others are read on."""


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
    numbers: Numbers | None = None
    """In the file, of all its rows; None where they follow each other."""

    @property
    def row_numbers(self) -> Numbers:
        return _numbers(self.first_row, self.rows, self.numbers)

    def select(self, places: Numbers) -> Chunk:
        """Some of its rows, ascending; the chunk itself where these are all."""
        if len(places) == self.rows:
            return self
        numbers = self.row_numbers[places]
        return replace(
            self,
            first_row=int(numbers[0]) if len(numbers) else self.first_row,
            rows=len(places),
            features=_selected(self.features, places),
            kept=self.kept.take(places),
            numbers=numbers,
        )


def _selected(features: Any, places: Numbers) -> Any:
    if isinstance(features, dict):
        return {name: array[places] for name, array in features.items()}
    if hasattr(features, "iloc"):
        return features.iloc[places].reset_index(drop=True)
    return features.take(places) if hasattr(features, "schema") else features[places]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as a reader finds them one after the other, in whatever number; those that were refused are left out."""

    count: int
    features: pa.Table
    kept: pa.Table
    first_row: int
    """0-based number in the file of the first."""
    numbers: Numbers | None = None
    """In the file, of all; None where they follow each other."""
    refused: int = 0
    """Rows that were found and are left out."""

    def slice(self, start: int, count: int) -> Rows:
        numbers = None if self.numbers is None else self.numbers[start : start + count]
        first = self.first_row + start if numbers is None or not count else int(numbers[0])
        return Rows(count, self.features.slice(start, count), self.kept.slice(start, count), first, numbers)


def join(runs: Sequence[Rows]) -> Rows:
    """Give the rows of all runs, at least one, in order."""
    import numpy as np
    import pyarrow as pa

    filled = [rows for rows in runs if rows.count] or runs[:1]
    follows = all(
        one.numbers is None and one.first_row + one.count == other.first_row for one, other in pairwise(filled)
    )
    numbers = None
    if not follows or filled[-1].numbers is not None:
        numbers = np.concatenate([_numbers(rows.first_row, rows.count, rows.numbers) for rows in filled])
    return Rows(
        sum(rows.count for rows in runs),
        pa.concat_tables([rows.features for rows in runs]),
        pa.concat_tables([rows.kept for rows in runs]),
        filled[0].first_row,
        numbers,
        sum(rows.refused for rows in runs),
    )


def _numbers(first_row: int, count: int, numbers: Numbers | None) -> Numbers:
    import numpy as np

    return np.arange(first_row, first_row + count, dtype=np.int64) if numbers is None else numbers


def regroup(runs: Iterable[Rows], piece: FileSlice, rows_per_call: int, notes: tuple[str, ...]) -> Iterator[Chunk]:
    """The same rows in chunks of exactly ``rows_per_call``, the last one shorter; 0 rows give one chunk of 0 rows.

    Holds at most one chunk and one run.
    """
    is_first = True
    waiting: list[Rows] = []
    for run in runs:
        waiting.append(run)
        while sum(rows.count for rows in waiting) >= rows_per_call:
            chunk, waiting = _next_chunk(waiting, rows_per_call, piece, notes)
            yield chunk
            del chunk  # before more is read
            is_first = False
        if len(waiting) > _MOST_EMPTY and not any(rows.count for rows in waiting):
            waiting = waiting[:1]
    if is_first or any(rows.count for rows in waiting):
        yield _chunk(waiting, piece, notes)


def _next_chunk(waiting: list[Rows], count: int, piece: FileSlice, notes: tuple[str, ...]) -> tuple[Chunk, list[Rows]]:
    taken, rest = _split(waiting, count)
    return _chunk(taken, piece, notes), [rest]


def _split(waiting: list[Rows], count: int) -> tuple[list[Rows], Rows]:
    """The first ``count`` rows, and the rest, which lies in the last run alone."""
    *earlier, last = waiting
    taken = count - sum(rows.count for rows in earlier)
    return [*earlier, last.slice(0, taken)], last.slice(taken, last.count - taken)


def _chunk(waiting: list[Rows], piece: FileSlice, notes: tuple[str, ...]) -> Chunk:
    rows = join(waiting)
    return Chunk(piece, rows.first_row, rows.count, rows.features, rows.kept, notes, rows.numbers)


def first_refusal(refusals: Iterable[FileRefused]) -> FileRefused:
    """The one of the smallest row; a refusal of a whole column comes before any row's."""
    return min(refusals, key=lambda refusal: -1 if refusal.row is None else refusal.row)
