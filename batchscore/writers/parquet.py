"""Parquet: parts in Arrow's own file format, encoded as Parquet once, when they are joined.

The bytes of the prediction file depend on its rows and columns alone: row groups have a fixed number of rows.
"""

from __future__ import annotations

import contextlib
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchscore.writers.arrow_file import ArrowFile
from batchscore.writers.parts import OpenParts, part_errors
from batchscore.writers.types import arrow_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchscore.outcome import Column
    from batchscore.writers import Joiner, PartWriter, Piece

ROW_GROUP_ROWS = 65_536


def open_part(path: str, roles: Mapping[str, str], *, syncs: bool = True) -> PartWriter:
    from batchscore.writers.arrow_part import ArrowPart  # with pyarrow's compute, which who joins does without

    return ArrowPart(path, roles, syncs=syncs)


def open_joiner() -> Joiner:
    return _ParquetJoiner()


class _ParquetJoiner:
    """A Joiner of Parquet files."""

    def __init__(self) -> None:
        self._parts = OpenParts(ArrowFile)

    def join(self, pieces: Iterable[Piece], target: BinaryIO, columns: tuple[Column, ...]) -> None:
        """One Parquet file of the pieces' rows; dictionaries are for strings only, which is where they pay."""
        schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
        strings = [field.name for field in schema if pa.types.is_string(field.type)]
        with (
            _FRUGAL_MEMORY.lent(),
            part_errors("write", "the predictions"),
            pq.ParquetWriter(target, schema, compression="zstd", use_dictionary=strings or False) as writer,
        ):
            for table in _row_groups(self._cast_batches(pieces, schema, columns), schema):
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)

    def _cast_batches(
        self, pieces: Iterable[Piece], schema: pa.Schema, columns: tuple[Column, ...]
    ) -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            for batch in self._parts.at(piece.path).rows(piece.start, piece.stop):
                arrays = _cast(batch.columns, piece.columns, columns)
                final = [
                    array if array.type == field.type else array.cast(field.type)
                    for array, field in zip(arrays, schema, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(final, schema=schema)

    def close(self) -> None:
        self._parts.close()


class _FrugalMemory:
    """Have Arrow take memory where freed memory is used again: its usual pool holds four times what a join needs.

    The pool is the process's, and the encoder takes no other: the first of several joins at once sets it, and the last
    one to end sets it back.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._joins: set[object] = set()
        self._usual: pa.MemoryPool | None = None

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """The pool is lent while this is entered, and given back also where a signal's exception comes in between.

        Both steps may be repeated; a generator that is left halfway runs to its end.
        """
        join = object()
        try:
            self._lend(join)
            yield
        finally:
            try:
                self._give_back(join)
            except BaseException:
                self._give_back(join)
                raise

    def _lend(self, join: object) -> None:
        with self._lock:
            self._joins.add(join)
            if self._usual is None:
                self._usual = pa.default_memory_pool()
                pa.set_memory_pool(_frugal_pool())

    def _give_back(self, join: object) -> None:
        with self._lock:
            self._joins.discard(join)
            if self._usual is not None and not self._joins:
                pa.set_memory_pool(self._usual)
                self._usual = None


_FRUGAL_MEMORY = _FrugalMemory()


def _frugal_pool() -> pa.MemoryPool:
    try:
        return pa.jemalloc_memory_pool()
    except NotImplementedError:  # Arrow is built without it
        return pa.system_memory_pool()


def _cast(arrays: Sequence[pa.Array], old: tuple[Column, ...], new: tuple[Column, ...]) -> Sequence[pa.Array]:
    if old == new:
        return arrays
    from batchscore.writers.casting import cast_columns  # with pyarrow's compute: 9 MB

    return cast_columns(arrays, old, new)


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
