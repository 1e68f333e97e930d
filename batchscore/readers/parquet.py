"""Parquet files: what their footers tell, and cuts between row groups; the rows are `parquet_rows`' affair."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.parquet_footer import names_of, opened_parquet, row_groups_of
from batchscore.readers.row_groups import RowGroup, cut_row_groups

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow.parquet as pq

    from batchscore.minibatch import InputFile
    from batchscore.readers.chunks import Chunk, Refuse
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings


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
