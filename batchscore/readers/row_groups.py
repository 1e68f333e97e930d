"""The row groups of a Parquet file as slices: runs of small ones, pieces of huge ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from batchscore.minibatch import FileSlice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from batchscore.minibatch import InputFile

PIECE_ROWS = 65_536
"""Pieces have these or a multiple, so that predict gets full calls."""
MAX_PIECES = 4
"""Of a row group: rows before a piece are decoded for nothing, which for four costs reading it one and a half times."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group's place in its file, and its share of the file's bytes."""

    number: int
    first_row: int
    rows: int
    weight: int

    def pieces(self, apart: int | None) -> int:
        """How many pieces of about ``apart`` bytes it makes."""
        if apart is None:
            return 1
        return max(min(round(self.weight / apart), MAX_PIECES, -(-self.rows // PIECE_ROWS)), 1)


def cut_row_groups(file: InputFile, groups: Sequence[RowGroup], size: int, apart: int | None) -> tuple[FileSlice, ...]:
    """Runs of row groups that make about ``size`` bytes; a group of several times ``apart`` in pieces."""
    slices: list[FileSlice] = []
    run: list[RowGroup] = []
    for group in groups:
        pieces = group.pieces(apart)
        weight = sum(each.weight for each in run)
        if weight and (pieces > 1 or weight + group.weight / 2 > size):
            slices.append(_slice_of(file, run))
            run = []
        if pieces > 1:
            slices += _in_pieces(file, group, pieces)
        else:
            run.append(group)
    if not slices:
        return (FileSlice(file),)
    return (*slices, _slice_of(file, run)) if run else tuple(slices)


def _slice_of(file: InputFile, run: Sequence[RowGroup]) -> FileSlice:
    first, last = run[0], run[-1]
    weight = sum(group.weight for group in run)
    return FileSlice(file, first.number, last.number + 1, first.first_row, weight=weight)


def _in_pieces(file: InputFile, group: RowGroup, pieces: int) -> Iterator[FileSlice]:
    """A row group by its rows, about the same number in each piece; the last one has those that are left."""
    calls = -(-group.rows // PIECE_ROWS)
    starts = [piece * calls // pieces * PIECE_ROWS for piece in range(pieces)]
    for start, stop in pairwise([*starts, group.rows]):
        most = stop - start if stop < group.rows else None
        weight = group.weight * (stop - start) // group.rows
        yield FileSlice(file, group.number, group.number + 1, group.first_row + start, most, weight=weight)


def behind(rows: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches without the first rows."""
    for batch in batches:
        if batch.num_rows > rows:
            yield batch.slice(rows)
        rows = max(rows - batch.num_rows, 0)
