"""Inputs to mini-batches: a pure function of the files, their order and the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile
from batchscore.plan import Plan
from batchscore.settings import (
    AUTO_CSV_BYTES,
    AUTO_CSV_ROWS,
    AUTO_FILE_BYTES,
    AUTO_LEAST_BYTES,
    AUTO_MINI_BATCHES,
    AUTO_MOST_BYTES,
    CsvOptions,
    MiniBatchSize,
)

DEAR_MINI_BATCHES = 4
"""A job is cut into so many or more where cutting costs reading rows twice: enough for a few workers."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """How files become mini-batches."""

    size: MiniBatchSize
    csv: CsvOptions
    cuts_csv: bool
    """False for a model without a signature: types inferred from a slice would depend on the cut."""
    limit: int | None = None
    """Rows of the whole job."""


def split(files: Sequence[InputFile], cutting: Cutting) -> Plan:
    """The mini-batches of a job: every row of every file once, in order.

    By files: groups of that many whole files. By bytes: files above the size are cut where that is certain,
    each slice a mini-batch; smaller files go together up to the size.
    """
    target = cutting.size.bytes or auto_bytes(files)
    apart = max(target, _share(files, DEAR_MINI_BATCHES))
    slices = (
        piece
        for file, rows in _limited(files, cutting)
        for piece in _slices(file, cutting, (target, apart), max_rows=rows)
    )
    groups = _by_number(slices, cutting.size.files) if cutting.size.files else _by_bytes(slices, cutting, target)
    return Plan(groups)


def finest(file: InputFile, files: Iterable[InputFile], csv: CsvOptions) -> tuple[FileSlice, ...]:
    """A file of a job as the smallest mini-batches would cut it; one that can't be read isn't cut."""
    return readers.cut(file, 1, csv, _share(files, DEAR_MINI_BATCHES))


def auto_bytes(files: Iterable[InputFile]) -> int:
    """How large `auto` mini-batches are."""
    return min(max(_share(files, AUTO_MINI_BATCHES), AUTO_LEAST_BYTES), AUTO_MOST_BYTES)


def _share(files: Iterable[InputFile], parts: int) -> int:
    """About so many equal parts of the input: a power of two, so that another file seldom changes how all are cut."""
    weight = sum(file.size + AUTO_FILE_BYTES for file in files)
    return 1 << max((weight // parts).bit_length() - 1, 0)


def _limited(files: Iterable[InputFile], cutting: Cutting) -> Iterator[tuple[InputFile, int | None]]:
    """The files that hold the job's first rows, the last one with how many of its rows these are."""
    left = cutting.limit
    for file in files:
        if left is None:
            yield file, None
        elif left > 0:
            rows = _rows(file, cutting.csv, left)
            yield file, left if rows > left else None
            left -= min(rows, left)


def _rows(file: InputFile, csv: CsvOptions, most: int) -> int:
    try:
        return readers.count_rows(file, csv, most)
    except (FileRefused, OSError):
        return 0  # a file that can't be counted fails with 0 rows


def _slices(file: InputFile, cutting: Cutting, sizes: tuple[int, int], *, max_rows: int | None) -> Iterable[FileSlice]:
    """The file cut, or whole; one of which only the first rows count isn't cut, so that they are all that is read."""
    target, apart = sizes
    is_cut = cutting.size.files is None and file.size > target and max_rows is None
    if is_cut and (cutting.cuts_csv or readers.is_typed(file.name)):
        try:
            return readers.cut(file, _piece_bytes(file, target, cutting), cutting.csv, apart)
        except (FileRefused, OSError):
            pass  # the worker that reads it says what is wrong
    return (FileSlice(file, max_rows=max_rows),)


def _piece_bytes(file: InputFile, target: int, cutting: Cutting) -> int:
    """The size of a file's slices. Raises FileRefused."""
    if cutting.size.bytes or target <= AUTO_CSV_BYTES:
        return target
    filling = readers.bytes_of_rows(file, AUTO_CSV_ROWS, cutting.csv)
    return auto_csv_bytes(target, filling) if filling else target


def auto_csv_bytes(target: int, filling: int) -> int:
    """The size of a CSV's slices under `auto`, no larger than they need be for well-filled calls of ``filling`` bytes.

    What a worker holds is in proportion to them.
    """
    return min(target, max(filling, AUTO_CSV_BYTES))


def _by_number(slices: Iterable[FileSlice], files: int) -> Iterator[list[FileSlice]]:
    group: list[FileSlice] = []
    for piece in slices:
        group.append(piece)
        if len(group) == files:
            yield group
            group = []
    if group:
        yield group


def _by_bytes(slices: Iterable[FileSlice], cutting: Cutting, target: int) -> Iterator[list[FileSlice]]:
    overhead = 0 if cutting.size.bytes else AUTO_FILE_BYTES
    group: list[FileSlice] = []
    weight = 0
    for piece in slices:
        own = piece.file.size + overhead if piece.is_whole else target
        if group and weight + own > target:
            yield group
            group, weight = [], 0
        group.append(piece)
        weight += own
    if group:
        yield group
