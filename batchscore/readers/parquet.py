"""Parquet files: what their footers tell, and cuts between row groups; the rows are `parquet_rows`' affair."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.row_groups import RowGroup, cut_row_groups
from batchscore.readers.source import displayed, opened

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchscore.job import CsvOptions, ScoringSettings
    from batchscore.minibatch import InputFile
    from batchscore.readers.chunks import Chunk, Refuse
    from batchscore.schema import Schema

BUFFER_BYTES = 1 << 20
"""What is read at once of each column; without it pyarrow holds whole row groups."""

_MARKS = (b"PAR1", b"PARE")
"""At both ends; the other one of files whose footer is encrypted."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """Chunks of the slice's row groups; without a schema all columns with their own types, but for pandas' index.

    Kept columns have their own types, dictionaries decoded.
    """
    from batchscore.readers import parquet_rows  # what converts columns, which who cuts files does without

    return parquet_rows.read(piece, schema, settings, refuse)


def record_texts(piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]:  # noqa: ARG001  # as for CSV
    """These rows of the slice with all their columns, as JSON, by row."""
    from batchscore.readers import parquet_rows

    return parquet_rows.record_texts(piece, rows)


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:  # noqa: ARG001  # as for CSV
    """The names of the top-level columns, but for the index that pandas writes without a name."""
    with opened_parquet(file) as parquet:
        return names_of(parquet)


def cut(file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]:  # noqa: ARG001  # as for CSV
    """Runs of row groups that make about ``size`` bytes of the file; a group of several times ``apart`` in pieces."""
    try:
        with opened_parquet(file) as parquet:
            groups = _weighed(parquet, file.size)
    except FileRefused:
        return (FileSlice(file),)
    return cut_row_groups(file, groups, size, apart)


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:  # noqa: ARG001  # as for CSV
    """The number of rows that the file's footer states."""
    with opened_parquet(file) as parquet:
        return int(parquet.metadata.num_rows)


def row_groups_of(parquet: pq.ParquetFile) -> list[pq.RowGroupMetaData]:
    return [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]


def _weighed(parquet: pq.ParquetFile, size: int) -> list[RowGroup]:
    """The row groups, each with its part of the file's bytes, by what it is when decompressed.

    The columns' compressed sizes aren't asked for: damaged ones end the whole process.
    """
    groups = [(max(group.total_byte_size, 0), group.num_rows) for group in row_groups_of(parquet)]
    total = max(sum(weight for weight, _ in groups), 1)
    first_rows = accumulate((rows for _, rows in groups), initial=0)
    return [
        RowGroup(number, first_row, rows, weight * size // total)
        for number, (first_row, (weight, rows)) in enumerate(zip(first_rows, groups, strict=False))
    ]


@contextmanager
def opened_parquet(file: InputFile) -> Iterator[pq.ParquetFile]:
    """The file, its footer read; what pyarrow raises about it while it is open becomes FileRefused."""
    with opened(file) as stored:
        try:
            yield open_parquet(stored)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of names
            raise FileRefused(f"the file can't be read as Parquet: {_first_line(error)}; is it complete?") from error


def open_parquet(stored: Any, buffer_size: int = BUFFER_BYTES) -> pq.ParquetFile:
    """A stream's footer. Raises FileRefused for what isn't Parquet, and whatever pyarrow raises."""
    _refuse_other_formats(stored)
    parquet = pq.ParquetFile(stored, pre_buffer=False, buffer_size=buffer_size)
    _refuse_contradictions(parquet)
    return parquet


def _refuse_contradictions(parquet: pq.ParquetFile) -> None:
    rows = [group.num_rows for group in row_groups_of(parquet)]
    if min(rows, default=0) < 0 or sum(rows) != parquet.metadata.num_rows:
        raise FileRefused(
            f"the file states {parquet.metadata.num_rows:,} rows, and {sum(rows):,} in its row groups; it is damaged"
        )


def _refuse_other_formats(stored: BinaryIO) -> None:
    """Look at the marks that a Parquet file has at its beginning and at its end."""
    head = stored.read(4)
    if not head:
        raise FileRefused("the file is empty; a Parquet file has at least a footer; was its writer stopped?")
    if head not in _MARKS:
        raise FileRefused(
            f"the file isn't Parquet, as its name says: it begins with {displayed(head)!r}; "
            "let its name end as its content is, such as .csv"
        )
    stored.seek(-4, os.SEEK_END)
    if stored.read(4) not in _MARKS:
        raise FileRefused(
            "the file has no end, where a Parquet file lists its content; was its writer or copy stopped?"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def names_of(parquet: pq.ParquetFile) -> list[str]:
    return [name for name in parquet.schema_arrow.names if not _PANDAS_INDEX.fullmatch(name)]
