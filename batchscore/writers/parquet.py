"""Parquet: parts in Arrow's own file format, encoded as Parquet once, when they are joined.

The bytes of the prediction file depend on its rows and columns alone: row groups have a fixed number of rows.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchscore.writers import PartWriter, Piece, unify
from batchscore.writers.casting import cast_columns, prepared, slices
from batchscore.writers.parts import PartFile, storage_errors
from batchscore.writers.types import arrow_type, text_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from batchscore.outcome import Column

ROW_GROUP_ROWS = 65_536
_ROWS = 65_536


class ArrowPart:
    """A PartWriter whose part is an Arrow file; positions are rows."""

    def __init__(self, path: str, roles: Mapping[str, str]) -> None:
        self._roles = roles
        self._file = PartFile(path)
        self._stream: pa.ipc.RecordBatchFileWriter | None = None
        self._columns: tuple[Column, ...] = ()
        self._is_mixed = False
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @property
    def is_mixed(self) -> bool:
        return self._is_mixed

    def position(self, row: int) -> int:
        return row

    def write(self, table: pa.Table, stops: Sequence[int] = ()) -> None:  # noqa: ARG002  # rows are positions
        for piece in slices(table, _ROWS):
            arrays, columns = prepared(piece, self._roles, has_types=True)
            self._is_mixed |= self._columns not in ((), columns)
            self._widen(unify(self._columns, columns))
            self._append(cast_columns(arrays, columns, self._columns))

    def _append(self, arrays: Sequence[pa.Array]) -> None:
        batch = pa.RecordBatch.from_arrays(arrays, schema=_part_schema(self._columns))
        with storage_errors("write", self._file.path):
            if self._stream is None:
                options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
                self._stream = pa.ipc.new_file(self._file.stream, batch.schema, options=options)
            self._stream.write_batch(batch)
        self._rows += batch.num_rows

    def _widen(self, columns: tuple[Column, ...]) -> None:
        """Take on wider columns; what was written is written again where it is stored in another type."""
        old, self._columns = self._columns, columns
        if self._stream is None or _part_schema(old) == _part_schema(columns):
            return
        narrow = self._file
        self._end_stream()
        self._file, self._rows = PartFile(narrow.path), 0
        try:
            with storage_errors("read", narrow.path):
                narrow.stream.flush()
            for batch in _batches(narrow.temporary):
                self._append(cast_columns(batch.columns, old, columns))
        finally:
            narrow.discard()

    def _end_stream(self) -> None:
        if self._stream is not None:
            with storage_errors("write", self._file.path):
                self._stream.close()
            self._stream = None

    def close(self) -> None:
        if self._stream is None:
            self._append([pa.nulls(0, field.type) for field in _part_schema(self._columns)])
        self._end_stream()
        self._file.publish()

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._end_stream()
        self._file.discard()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def open_part(path: str, roles: Mapping[str, str]) -> PartWriter:
    return ArrowPart(path, roles)


def _part_schema(columns: Sequence[Column]) -> pa.Schema:
    """How a part stores the columns: a `text<…>` as its text, so that nothing is lost if a later part needs that."""
    return pa.schema(
        [
            (column.name, pa.string() if text_kind(column.type) is not None else arrow_type(column.type))
            for column in columns
        ]
    )


def join(pieces: Iterable[Piece], target: BinaryIO, columns: tuple[Column, ...]) -> None:
    """One Parquet file of the pieces' rows; dictionaries are for strings only, which is where they pay."""
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
    strings = [field.name for field in schema if pa.types.is_string(field.type)]
    with (
        storage_errors("write", "the predictions"),
        pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=strings or False) as writer,
    ):
        for table in _row_groups(_cast_batches(pieces, schema, columns), schema):
            writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def _cast_batches(pieces: Iterable[Piece], schema: pa.Schema, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        for batch in _rows_between(piece):
            arrays = cast_columns(batch.columns, piece.columns, columns)
            final = [
                array if array.type == field.type else array.cast(field.type)
                for array, field in zip(arrays, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(final, schema=schema)


def _rows_between(piece: Piece) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in _batches(piece.path):
        start, stop = max(piece.start - first, 0), min(piece.stop - first, batch.num_rows)
        if start < stop:
            yield batch.slice(start, stop - start)
        first += batch.num_rows
        if first >= piece.stop:
            return


def _batches(path: str) -> Iterator[pa.RecordBatch]:
    with storage_errors("read", path), pa.memory_map(path) as source:
        try:
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
        except pa.ArrowInvalid as error:
            raise OSError(f"it isn't whole: {error}") from error


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables of a fixed number of rows, the last one with what is left, none without rows."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        start = 0
        while rows + batch.num_rows - start >= ROW_GROUP_ROWS:
            taken = ROW_GROUP_ROWS - rows
            yield pa.Table.from_batches([*waiting, batch.slice(start, taken)], schema).combine_chunks()
            start, waiting, rows = start + taken, [], 0
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            rows += batch.num_rows - start
    if rows:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()
