"""Small Parquet files of one schema, read one by one and converted at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from batchscore.errors import FileRefused
from batchscore.readers.bundles import SMALL_BYTES, Apart, Bundle, plan_for_all
from batchscore.readers.parquet_footer import names_of, open_parquet
from batchscore.readers.parquet_rows import BatchReader
from batchscore.readers.source import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow.parquet as pq

    from batchscore.minibatch import FileSlice
    from batchscore.readers.bundles import Members, Small
    from batchscore.schema import Schema
    from batchscore.settings import ScoringSettings

_VALUE_BYTES = 8
"""Of a number in memory, and about what a short text takes."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file in memory, its footer read."""

    size: int
    """As a table, roughly: Parquet holds millions of equal values in a few bytes."""
    parquet: pq.ParquetFile
    partitions: tuple[tuple[str, str | None], ...]

    def joins(self, other: Small) -> bool:
        if not isinstance(other, Content) or self.partitions != other.partitions:
            return False
        one, two = self.parquet.metadata, other.parquet.metadata  # quicker than the schemas that Arrow makes of them
        return bool(one.schema.equals(two.schema)) and _arrow_schema(one) == _arrow_schema(two)


def _arrow_schema(footer: pq.FileMetaData) -> bytes | None:
    """What Arrow's writer says of the types beyond Parquet's own."""
    stated: bytes | None = (footer.metadata or {}).get(b"ARROW:schema")
    return stated


def load(piece: FileSlice, schema: Schema, settings: ScoringSettings) -> Content | None:  # noqa: ARG001  # as for CSV
    """The content of a file; None where it isn't as long as it was, or isn't small once it is a table."""
    with opened(piece.file) as stored:
        content = stored.read(piece.file.size + 1)
    if len(content) != piece.file.size:
        return None
    parquet = open_parquet(pa.BufferReader(content), buffer_size=0)
    values = parquet.metadata.num_rows * parquet.metadata.num_columns
    size = max(len(content), values * _VALUE_BYTES)
    return Content(size, parquet, piece.file.partitions) if size <= 2 * SMALL_BYTES else None


def parse(
    group: Sequence[tuple[FileSlice, Small]], schema: Schema, settings: ScoringSettings
) -> tuple[Bundle, Members]:
    """The rows of files of one schema. Raises Apart, and FileRefused or ArrowException where a file may not be good."""
    contents = [small for _, small in group if isinstance(small, Content)]
    first = contents[0]
    plan = plan_for_all(schema, names_of(first.parquet), settings, first.partitions)
    reader = BatchReader(first.parquet, plan.features, plan, group[0][0], None)
    needed = reader.needed
    batches = [list(small.parquet.iter_batches(columns=needed, use_threads=False)) for small in contents]
    counts = [sum(batch.num_rows for batch in found) for found in batches]
    if counts != [small.parquet.metadata.num_rows for small in contents] or not sum(counts):
        raise FileRefused("rows are lost, or there are none")
    table = pa.Table.from_batches([batch for found in batches for batch in found])
    if not all(_is_plain(field.type) for field in table.schema):
        raise Apart
    rows = reader.rows(table.combine_chunks().to_batches()[0], 0)
    members = tuple((piece, count) for (piece, _), count in zip(group, counts, strict=True))
    return Bundle(rows.features, rows.kept, plan.notes), members


def _is_plain(kind: pa.DataType) -> bool:
    """Whether columns of many files make one without a second thought."""
    types = pa.types
    return bool(
        types.is_primitive(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_decimal(kind)
    )
