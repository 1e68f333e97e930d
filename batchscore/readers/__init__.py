"""Input files as chunks of whole rows, in order; one module for each format, loaded when it is first needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol, cast

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.chunks import Chunk, Refuse
from batchscore.readers.payload_forms import is_payload
from batchscore.storage import can_be_cut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from batchscore.minibatch import InputFile
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings

__all__ = [
    "SUFFIXES",
    "Chunk",
    "Refuse",
    "bytes_of_rows",
    "columns",
    "count_rows",
    "cut",
    "is_csv",
    "is_payload",
    "is_readable",
    "is_typed",
    "open_libraries",
    "read",
    "record_texts",
    "suffixes",
]

IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".tif", ".bmp", ".gif")
_READERS = {
    ".csv": "batchscore.readers.csv",
    ".csv.gz": "batchscore.readers.csv",
    ".csv.zst": "batchscore.readers.csv",
    ".tsv": "batchscore.readers.csv",
    ".tsv.gz": "batchscore.readers.csv",
    ".tsv.zst": "batchscore.readers.csv",
    ".parquet": "batchscore.readers.parquet",
    ".pqt": "batchscore.readers.parquet",
    ".json": "batchscore.readers.payload",
    ".jsonl": "batchscore.readers.jsonl",
    ".jsonl.gz": "batchscore.readers.jsonl",
    ".jsonl.zst": "batchscore.readers.jsonl",
    **dict.fromkeys(IMAGES, "batchscore.readers.image"),
}
SUFFIXES = tuple(_READERS)
_CSV = tuple(suffix for suffix, module in _READERS.items() if module == "batchscore.readers.csv")
_OF_ROWS = {
    "batchscore.readers.csv": ("batchscore.readers.csv_typed",),
    "batchscore.readers.parquet": ("batchscore.readers.parquet_rows",),
}
"""What these modules open when rows are read by a signature."""


class Reader(Protocol):
    """What a module of this package gives for its format."""

    def read(
        self, piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
    ) -> Iterator[Chunk]: ...

    def record_texts(self, piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]: ...

    def columns(self, file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]: ...

    def cut(self, file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]: ...

    def count_rows(self, file: InputFile, csv: CsvOptions, most: int | None = None) -> int: ...


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """The slice's rows, in order, in chunks of exactly ``settings.rows_per_call`` rows; the last one may be shorter.

    A slice without rows gives one chunk of 0 rows, so that its columns are known.
    Raises FileRefused at the first row, column or value that can't be read or doesn't fit the schema;
    which one that is depends neither on the cut nor on the size of the chunks. With ``refuse`` that takes all such rows
    of a model with a schema, each once, in order, with the text of its record, and the others are read on; FileRefused
    is then raised for what is true of the file: it can't be read, has other columns, or no certain records.
    """
    return _reader(piece.file).read(piece, schema, settings, refuse)


def record_texts(piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]:
    """The text of a few of the slice's records, by row: as it stands in a CSV or JSON Lines, else as JSON."""
    return _reader(piece.file).record_texts(piece, rows, csv)


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:
    """The names of the file's columns as they stand there; without a header, those that ``read`` gives them."""
    return _reader(file).columns(file, csv, schema)


def cut(file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]:
    """The file as slices of about ``size`` bytes, in order; the whole file where a cut isn't certain.

    Where cutting costs reading some rows twice, as within a row group of Parquet, pieces are of about ``apart`` bytes;
    None: it isn't cut there. The cuts follow from the file's bytes, ``size`` and ``apart`` alone. A file that can't be
    read isn't cut; reading it says why. One on a server that gives it as a whole only isn't, either.
    """
    if not can_be_cut(file.path):
        return (FileSlice(file),)
    return _reader(file).cut(file, size, csv, apart)


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:
    """How many rows the file has, without looking at their values; where it has more than ``most``, any such number.

    Raises FileRefused where they can't be counted, as in a truncated archive.
    """
    return _reader(file).count_rows(file, csv, most)


def bytes_of_rows(file: InputFile, rows: int, csv: CsvOptions) -> int:
    """About how many bytes so many rows of a CSV take, by its first ones; 0 for what is no CSV that can be cut.

    Raises FileRefused.
    """
    if not is_csv(file.name) or not can_be_cut(file.path):
        return 0
    from batchscore.readers import csv as reader

    return reader.bytes_of_rows(file, rows, csv)


def is_readable(name: str) -> bool:
    """Whether a file of this name has a reader, by its suffix in any case."""
    return name.lower().endswith(SUFFIXES)


def is_csv(name: str) -> bool:
    """Whether files of this name are CSV, with whatever delimiter, compressed or not."""
    return name.lower().endswith(_CSV)


def is_typed(name: str) -> bool:
    """Whether files of this name state the types of their columns, so that no cut can change them."""
    return name.lower().endswith((".parquet", ".pqt"))


def suffixes(files: Iterable[InputFile]) -> list[str]:
    """Those of the files that have readers, as `open_libraries` takes them."""
    return sorted({suffix for file in files if (suffix := _known_suffix(file.name))})


def open_libraries(suffixes: Iterable[str], *, typed: bool) -> None:
    """Import what reading such files takes: once, where workers are forked afterwards."""
    for module in dict.fromkeys(_READERS[suffix] for suffix in suffixes):
        for name in (module, *_OF_ROWS.get(module, ())) if typed else (module,):
            import_module(name)


def _reader(file: InputFile) -> Reader:
    return cast("Reader", import_module(_READERS[_suffix_of(file)]))


def _suffix_of(file: InputFile) -> str:
    if suffix := _known_suffix(file.name):
        return suffix
    kind = PurePosixPath(file.name).suffix or "without suffix"
    raise FileRefused(f"file type {kind} is not supported; supported are {', '.join(SUFFIXES)}")


def _known_suffix(name: str) -> str | None:
    return next((suffix for suffix in _READERS if name.lower().endswith(suffix)), None)
