"""Predictions to a part, and parts to the prediction file: one registry, a module for each format.

Neither pandas nor pyarrow is imported before a format asks for it: joining the bytes of text parts needs neither.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from batchscore.errors import AnswerRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    import pandas as pd
    import pyarrow as pa

    from batchscore.outcome import Column
    from batchscore.settings import Writer

_MODULES: dict[Writer, str] = {
    "csv": "batchscore.writers.csv",
    "headerless": "batchscore.writers.headerless",
    "parquet": "batchscore.writers.parquet",
    "jsonl": "batchscore.writers.jsonl",
}

TYPED = {b"batchscore": b"typed"}
"""Metadata of an Arrow field whose strings are strings, such as a Parquet file's: their types aren't inferred."""


class PartWriter(Protocol):
    """Appends tables to a part that appears under its name, whole, when it is closed.

    As a context manager it closes at the end and leaves nothing behind after an exception. ``write`` raises
    AnswerRefused for a column whose type changes other than by widening, and StorageError where the disk refuses.
    """

    @property
    def rows(self) -> int:
        """Rows written so far: where the next table starts, for ``position``."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all that was written; empty before the first table."""

    @property
    def is_mixed(self) -> bool:
        """Whether the tables' own columns differ, so that those of all are wider than some."""

    def write(self, table: pa.Table, stops: Sequence[int] = ()) -> None:
        """Append the table; ``position`` will be asked for its beginning, its end, and behind so many of its rows."""

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def position(self, row: int) -> int:
        """Where the table that began at ``row`` starts in the closed part, or its end: bytes of text, rows of Parquet.

        Known after ``close`` only, because widening a column moves what was written before.
        """

    def __enter__(self) -> PartWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a part that go into the prediction file: [start, stop) in bytes of text or rows of Parquet."""

    path: str
    start: int
    stop: int
    columns: tuple[Column, ...]


class Joiner(Protocol):
    """Writes prediction files; a part stays open from one piece to the next, and from one file to the next."""

    def join(self, pieces: Iterable[Piece], target: BinaryIO, columns: tuple[Column, ...]) -> None:
        """Write a prediction file: its header, then the pieces in the order given, in bounded memory.

        A piece whose columns have other types than ``columns`` is re-encoded on the way. The bytes depend on the rows
        and on ``columns`` alone. Raises StorageError where a part can't be read or the target can't be written.
        """

    def close(self) -> None: ...


class _Writer(Protocol):
    def open_part(self, path: str, roles: Mapping[str, str], *, syncs: bool = True) -> PartWriter: ...

    def open_joiner(self) -> Joiner: ...


def _writer(format: Writer) -> _Writer:  # noqa: A002  # the design's word
    return cast("_Writer", importlib.import_module(_MODULES[format]))


def open_libraries(format: Writer) -> None:  # noqa: A002  # the design's word
    """Import what writing parts takes: once, where workers are forked afterwards."""
    _writer(format)
    if format == "parquet":
        importlib.import_module("batchscore.writers.arrow_part")
    importlib.import_module("batchscore.writers.casting")


def is_untyped(format: Writer) -> bool:  # noqa: A002  # the design's word
    """Whether a file of the format states no types, so that a kept column is each file's own text."""
    return format in {"csv", "headerless"}


def open_part(
    format: Writer,  # noqa: A002  # the design's word
    path: str,
    roles: Mapping[str, str],
    *,
    syncs: bool = True,
) -> PartWriter:
    """A writer of one part; ``roles`` gives columns by name as file, row, kept or added; the others are predictions.

    With ``syncs`` the part is on the disk before it has its name.
    """
    return _writer(format).open_part(path, roles, syncs=syncs)


def open_joiner(format: Writer) -> Joiner:  # noqa: A002  # the design's word
    """What writes prediction files of the format, one or many; whoever opens it closes it."""
    return _writer(format).open_joiner()


def join(
    format: Writer,  # noqa: A002  # the design's word
    pieces: Iterable[Piece],
    target: BinaryIO,
    columns: tuple[Column, ...],
) -> None:
    """Write one prediction file; see Joiner."""
    with contextlib.closing(open_joiner(format)) as joiner:
        joiner.join(pieces, target, columns)


def read_frame(paths: Sequence[str], format: Writer, columns: Sequence[Column]) -> pd.DataFrame:  # noqa: A002  # the design's word
    """The rows of prediction files as one frame, with the names and types that the columns state."""
    from batchscore.writers import reading

    return reading.read_frame(paths, format, columns)


def published(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns as a reader of the prediction file sees them: `text<…>` and `long<…>` are what becomes of them."""
    return tuple(replace(column, type=_PUBLISHED.get(column.type, column.type)) for column in columns)


_PUBLISHED = {
    "text<null>": "string", "text<integer>": "int64", "text<long>": "int64", "text<double>": "double",
    "text<string>": "string", "long<int64>": "int64", "long<uint64>": "uint64",
}  # fmt: skip


def unify(a: Sequence[Column], b: Sequence[Column]) -> tuple[Column, ...]:
    """The columns that hold the rows of both; no columns at all (nothing was written) hold nothing.

    Raises AnswerRefused for other names, another order, or types that don't widen to one another.
    """
    if a == b or not b:
        return tuple(a)
    if not a:
        return tuple(b)
    names, others = [column.name for column in a], [column.name for column in b]
    if names != others:
        raise AnswerRefused(
            f"one mini-batch gave the columns {', '.join(names)}, another one {', '.join(others)}; "
            "a model must answer with the same columns in the same order for every call"
        )
    from batchscore.writers.types import widen_column

    return tuple(widen_column(one, other) for one, other in zip(a, b, strict=True))
