"""Predictions to a part in Arrow's own file format: all types as they are, and encoded as Parquet when it is joined."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from batchscore.writers.arrow_file import ArrowFile
from batchscore.writers.casting import cast_columns, prepared, slices
from batchscore.writers.parts import PartFile, WrittenPart, part_errors
from batchscore.writers.types import arrow_type, text_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchscore.outcome import Column

_ROWS = 65_536
_WORTH_A_BATCH = 16_384, 1 << 20
"""Rows or bytes: a batch takes as long to write, and to read again, as some hundred rows."""


class ArrowPart(WrittenPart):
    """A PartWriter whose part is an Arrow file; positions are rows."""

    def __init__(self, path: str, roles: Mapping[str, str], *, syncs: bool = True) -> None:
        super().__init__(path, roles, syncs=syncs)
        self._stream: pa.ipc.RecordBatchFileWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        """Small tables that are to be one batch, of the columns so far."""
        self._waiting_size = 0, 0

    def position(self, row: int) -> int:
        return row

    def write(self, table: pa.Table, stops: Sequence[int] = ()) -> None:  # noqa: ARG002  # rows are positions
        for piece in slices(table, _ROWS):
            arrays, columns = prepared(piece, self._roles, has_types=True)
            self._take_in(columns)
            self._append(cast_columns(arrays, columns, self._columns))

    def _append(self, arrays: Sequence[pa.Array]) -> None:
        batch = pa.RecordBatch.from_arrays(arrays, schema=_part_schema(self._columns))
        if batch.num_rows == 0:
            return
        self._rows += batch.num_rows
        size = batch.num_rows, batch.nbytes
        if _is_worth_a_batch(size):
            self._flush()
            self._store(batch)
            return
        self._waiting.append(batch)
        self._waiting_size = self._waiting_size[0] + size[0], self._waiting_size[1] + size[1]
        if _is_worth_a_batch(self._waiting_size):
            self._flush()

    def _flush(self) -> None:
        """Store what waits."""
        waiting, self._waiting, self._waiting_size = self._waiting, [], (0, 0)
        if waiting:
            for batch in pa.Table.from_batches(waiting).combine_chunks().to_batches():
                self._store(batch)

    def _store(self, batch: pa.RecordBatch) -> None:
        with part_errors("write", self._file.path):
            if self._stream is None:
                options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
                self._stream = pa.ipc.new_file(self._file.stream, batch.schema, options=options)
            self._stream.write_batch(batch)

    def _widen(self, columns: tuple[Column, ...]) -> None:
        """Take on wider columns; what was written is written again where it is stored in another type."""
        old, self._columns = self._columns, columns
        if self._rows == 0 or old == columns or _part_schema(old) == _part_schema(columns):
            return
        self._flush()
        narrow = self._file
        self._end_stream()
        self._file, self._rows = PartFile(narrow.path, syncs=self._syncs), 0
        try:
            with part_errors("read", narrow.path):
                narrow.stream.flush()
            with contextlib.closing(ArrowFile(narrow.temporary)) as part:
                for batch in part.batches():
                    self._append(cast_columns(batch.columns, old, columns))
        finally:
            narrow.discard()

    def _end_stream(self) -> None:
        if self._stream is not None:
            with part_errors("write", self._file.path):
                self._stream.close()
            self._stream = None

    def close(self) -> None:
        self._flush()
        if self._stream is None:
            schema = _part_schema(self._columns)
            self._store(pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema))
        self._end_stream()
        super().close()

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._end_stream()
        super().abort()


def _is_worth_a_batch(size: tuple[int, int]) -> bool:
    return size[0] >= _WORTH_A_BATCH[0] or size[1] >= _WORTH_A_BATCH[1]


def _part_schema(columns: Sequence[Column]) -> pa.Schema:
    """How a part stores the columns: a `text<…>` as its text, so that nothing is lost if a later part needs that."""
    return pa.schema(
        [
            (column.name, pa.string() if text_kind(column.type) is not None else arrow_type(column.type))
            for column in columns
        ]
    )
