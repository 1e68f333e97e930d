"""Small files read together: what is done for each column is done once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import pyarrow as pa

from batchscore.errors import FileRefused
from batchscore.readers.bundles import SMALL_BYTES, Apart, Share

if TYPE_CHECKING:
    from batchscore.minibatch import FileSlice
    from batchscore.readers.bundles import Bundle, Members, Small
    from batchscore.schema import Schema
    from batchscore.settings import ScoringSettings

BUNDLE_BYTES = 1 << 20
"""Of files that are read together."""
_READERS = {
    ".csv": "batchscore.readers.csv_together",
    ".tsv": "batchscore.readers.csv_together",
    ".parquet": "batchscore.readers.parquet_together",
    ".pqt": "batchscore.readers.parquet_together",
}


class Reader(Protocol):
    """How a format reads small files together."""

    def load(self, piece: FileSlice, schema: Schema, settings: ScoringSettings) -> Small | None: ...

    def parse(
        self, group: Sequence[tuple[FileSlice, Small]], schema: Schema, settings: ScoringSettings
    ) -> tuple[Bundle, Members]:
        """Raises Apart, and FileRefused or ArrowException where a file may not be good."""


def read_together(
    pieces: Iterable[FileSlice], schema: Schema | None, settings: ScoringSettings
) -> Iterator[FileSlice | list[Share]]:
    """Slices in order: shares of several files that were read together, or a slice that is to be read by itself.

    The rows, their types and the runs of at most ``settings.rows_per_call`` rows are those of reading each file by
    itself; a file that is refused, or may be, is read by itself.
    """
    group: list[tuple[FileSlice, Small]] = []
    size = 0
    for piece in pieces:
        small = _small(piece, schema, settings)
        if group and (small is None or size + small.size > BUNDLE_BYTES or not small.joins(group[0][1])):
            yield from _parsed(group, schema, settings)
            group, size = [], 0
        if small is None:
            yield piece
        else:
            group.append((piece, small))
            size += small.size
    yield from _parsed(group, schema, settings)


def _small(piece: FileSlice, schema: Schema | None, settings: ScoringSettings) -> Small | None:
    """The content of a file that may be read with others."""
    if schema is None or not piece.is_whole or piece.max_rows is not None or piece.file.size > SMALL_BYTES:
        return None
    reader = _reader(piece)
    try:
        return reader.load(piece, schema, settings) if reader else None
    except (FileRefused, pa.ArrowException, OSError, UnicodeDecodeError):  # reading it by itself says why
        return None


def _reader(piece: FileSlice) -> Reader | None:
    name = piece.file.name.lower()
    module = next((module for suffix, module in _READERS.items() if name.endswith(suffix)), None)
    return cast("Reader", import_module(module)) if module else None


def _parsed(
    group: list[tuple[FileSlice, Small]], schema: Schema | None, settings: ScoringSettings
) -> Iterator[FileSlice | list[Share]]:
    """The group's shares; where a file of it isn't good, those of its halves, so that this one is found quickly."""
    if len(group) <= 1 or schema is None:
        yield from (piece for piece, _ in group)
        return
    try:
        bundle, members = cast("Reader", _reader(group[0][0])).parse(group, schema, settings)
    except Apart:
        yield from (piece for piece, _ in group)
        return
    except (FileRefused, pa.ArrowException, OSError, UnicodeDecodeError):
        half = len(group) // 2
        yield from _parsed(group[:half], schema, settings)
        yield from _parsed(group[half:], schema, settings)
        return
    yield list(_shares(bundle, members, settings.rows_per_call))


def _shares(bundle: Bundle, members: Members, rows_per_call: int) -> Iterator[Share]:
    start = 0
    for piece, rows in members:
        for first in range(0, max(rows, 1), rows_per_call):
            yield Share(piece, first, min(rows_per_call, rows - first), bundle, start + first)
        start += rows
