"""Parts and prediction files of text: records appended to a part, byte ranges of parts joined."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from batchscore.writers.parts import ByteFile, OpenParts, PartFile, WrittenPart, part_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from batchscore.outcome import Column
    from batchscore.writers import Piece

_LINE_FEED = 10
_ROWS = 16_384
"""Rows that are rendered at a time: the text stays in the processor's cache, and far below Arrow's 2 GB."""

_SAME_DIGITS = frozenset(
    [
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "long<int64>",
        "long<uint64>",
        "text<integer>",
        "text<long>",
        "text<double>",
    ]
)


class Dialect(Protocol):
    """How a format writes records, and reads its own back."""

    has_types: bool
    """Whether a reader of the format sees types, so that kept text is written as what it reads as."""
    has_line_ends_in_quotes: bool

    def header(self, columns: Sequence[Column]) -> bytes: ...

    def encode(self, arrays: Sequence[pa.Array], columns: Sequence[Column]) -> Any: ...

    def decode(self, records: bytes, columns: Sequence[Column]) -> list[pa.Array]: ...


class TextPart(WrittenPart):
    """A PartWriter of records; its header is written when parts are joined."""

    def __init__(self, path: str, roles: Mapping[str, str], dialect: Dialect, *, syncs: bool = True) -> None:
        super().__init__(path, roles, syncs=syncs)
        self._dialect = dialect
        self._offsets = {0: 0}
        """Bytes before the row, for the first row of each table."""

    def position(self, row: int) -> int:
        return self._offsets[row]

    def write(self, table: pa.Table, stops: Sequence[int] = ()) -> None:
        from batchscore.writers.casting import prepared, slices

        start = 0
        for piece in slices(table, _ROWS):
            arrays, columns = prepared(piece, self._roles, has_types=self._dialect.has_types)
            self._take_in(columns)
            within = [stop - start for stop in stops if 0 < stop - start < piece.num_rows]
            self._append(arrays, columns, piece.num_rows, within)
            start += piece.num_rows

    def _append(
        self, arrays: Sequence[pa.Array], columns: Sequence[Column], rows: int, stops: Sequence[int] = ()
    ) -> None:
        from batchscore.writers.casting import cast_columns

        if rows == 0:
            return
        records = self._dialect.encode(cast_columns(arrays, columns, self._columns), self._columns)
        ends = _line_ends(records) if stops else ()
        if stops and len(ends) != rows:  # a text with a line end in it
            for start, stop in itertools.pairwise((0, *stops, rows)):
                self._append([array.slice(start, stop - start) for array in arrays], columns, stop - start)
            return
        with part_errors("write", self._file.path):
            self._file.stream.write(records)
        begin = self._offsets[self._rows]
        self._offsets.update((self._rows + stop, begin + int(ends[stop - 1])) for stop in stops)
        self._rows += rows
        self._offsets[self._rows] = begin + memoryview(records).nbytes

    def _widen(self, columns: tuple[Column, ...]) -> None:
        """Take on wider columns; what was written is encoded again where its text depends on the type."""
        old, self._columns = self._columns, columns
        if _is_same_text(old, columns) or self._rows == 0:
            return
        narrow, offsets = self._file, sorted(self._offsets.items())
        self._file, self._offsets, self._rows = PartFile(narrow.path, syncs=self._syncs), {0: 0}, 0
        try:
            with part_errors("write", narrow.path):
                narrow.stream.seek(0)
            for (first, start), (last, stop) in itertools.pairwise(offsets):
                with part_errors("write", narrow.path):
                    records = narrow.stream.read(stop - start)
                self._append(self._dialect.decode(records, old), old, last - first)
        finally:
            narrow.discard()


def _line_ends(records: Any) -> Any:
    """The offsets behind all line feeds."""
    import numpy as np

    return np.flatnonzero(np.frombuffer(records, np.uint8) == _LINE_FEED) + 1


class TextJoiner:
    """A Joiner of records."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._parts = OpenParts(ByteFile)

    def join(self, pieces: Iterable[Piece], target: BinaryIO, columns: tuple[Column, ...]) -> None:
        """The header and the pieces' bytes; a piece whose text depends on types that are wider now is encoded again."""
        with part_errors("write", "the predictions"):
            target.write(self._dialect.header(columns))
        for piece in pieces:
            blocks: Iterator[Any] = self._parts.at(piece.path).span(piece.start, piece.stop)
            if not _is_same_text(piece.columns, columns):
                blocks = _encoded_again(self._dialect, blocks, piece.columns, columns)
            for block in blocks:
                with part_errors("write", "the predictions"):
                    target.write(block)

    def close(self) -> None:
        self._parts.close()


def _is_same_text(old: Sequence[Column], new: Sequence[Column]) -> bool:
    return all(_is_same_type_text(a.type, b.type) for a, b in zip(old, new, strict=False))


def _is_same_type_text(old: str, new: str) -> bool:
    """Whether every value has the same text in both types: what is missing, and whole numbers however wide."""
    if old == new or old in {"null", "text<null>"}:
        return True
    return old in _SAME_DIGITS and new in _SAME_DIGITS


def _encoded_again(
    dialect: Dialect, blocks: Iterable[bytes], old: tuple[Column, ...], new: tuple[Column, ...]
) -> Iterator[Any]:
    from batchscore.writers.casting import cast_columns

    for records in _whole_records(blocks, has_line_ends_in_quotes=dialect.has_line_ends_in_quotes):
        yield dialect.encode(cast_columns(dialect.decode(records, old), old, new), new)


def _whole_records(blocks: Iterable[bytes], *, has_line_ends_in_quotes: bool) -> Iterator[bytes]:
    """The same bytes, each block ending where a record ends: at a line feed with an even number of quotes before it."""
    kept = b""
    for block in blocks:
        records = kept + block
        end = records.rfind(b"\n")
        if has_line_ends_in_quotes:
            quotes = records.count(b'"', 0, end + 1)
            while end >= 0 and quotes % 2:
                before = records.rfind(b"\n", 0, end)
                quotes -= records.count(b'"', before + 1, end + 1)
                end = before
        kept = records[end + 1 :]
        if end >= 0:
            yield records[: end + 1]
    if kept:
        yield kept
