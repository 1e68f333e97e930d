"""A Parquet file opened: its footer read, looked at, and what pyarrow raises put into words."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchscore.errors import FileRefused
from batchscore.readers.source import opened, quoted
from batchscore.storage import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchscore.minibatch import InputFile

BUFFER_BYTES = 1 << 18
"""What is read at once of each column, and held; without it pyarrow holds whole row groups. Larger ones are slower."""
STORE_BUFFER_BYTES = 1 << 20
"""The same of a file on a store, where each reading is a request."""

_MARKS = (b"PAR1", b"PARE")
"""At both ends; the other one of files whose footer is encrypted."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


@contextmanager
def opened_parquet(file: InputFile) -> Iterator[pq.ParquetFile]:
    """The file, its footer read; what pyarrow raises about it while it is open becomes FileRefused."""
    with opened(file) as stored:
        try:
            yield open_parquet(stored, STORE_BUFFER_BYTES if is_remote(file.path) else BUFFER_BYTES)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of names
            raise FileRefused(f"the file can't be read as Parquet: {_first_line(error)}; is it complete?") from error


def open_parquet(stored: Any, buffer_size: int) -> pq.ParquetFile:
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
            f"the file isn't Parquet, as its name says: it begins with {quoted(head)}; "
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


def row_groups_of(parquet: pq.ParquetFile) -> list[pq.RowGroupMetaData]:
    return [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
