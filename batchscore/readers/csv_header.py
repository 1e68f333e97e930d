"""The first record of a CSV, and the text behind it."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pacsv

from batchscore.errors import FileRefused
from batchscore.readers.records import RecordScanner, record_offsets, whole_records
from batchscore.readers.source import delimiter_of, displayed, utf8_blocks
from batchscore.signature import names_without_header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchscore.minibatch import FileSlice, InputFile
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions

MAX_COLUMNS = 100_000
"""pyarrow takes 8 KB for each."""

_BEGINNING_BYTES = 1 << 16
"""In which a slice of a file looks for the names of its columns."""

_PLAIN_NAME = re.compile(r'"[^"\r\n]*"|[^"\r\n]*')
"""A field, quoted or not, that holds no delimiter where it was split there."""

DISGUISES = {
    codecs.BOM_UTF32_LE: "it begins as UTF-32 does; use --encoding utf-32",
    codecs.BOM_UTF32_BE: "it begins as UTF-32 does; use --encoding utf-32",
    codecs.BOM_UTF16_LE: "it begins as UTF-16 does; use --encoding utf-16",
    codecs.BOM_UTF16_BE: "it begins as UTF-16 does; use --encoding utf-16",
    b"\x1f\x8b": "it begins as gzip does; let its name end in .csv.gz",
    b"\x28\xb5\x2f\xfd": "it begins as Zstandard does; let its name end in .csv.zst",
    b"PAR1": "it begins as Parquet does; let its name end in .parquet",
    b"PK": "it begins as a zip archive or an Excel workbook does; export it as CSV",
}


@dataclass(frozen=True, slots=True)
class Header:
    """The names of a file's columns and the records below them, in blocks of whole records, as UTF-8."""

    names: tuple[str, ...]
    body: Iterator[bytes]


def read_header(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> Header:
    """The names in the first record that isn't blank, and the records behind it.

    Without a header that record is body, and the names are the schema's or made up.
    Raises FileRefused for an empty file and for a header that can't be decoded.
    """
    delimiter = delimiter_of(file, csv)
    blocks = whole_records(utf8_blocks(file, csv.encoding), delimiter)
    for block in blocks:
        offsets = record_offsets(block, delimiter)
        if len(offsets) > 1:
            names = names_of(block[: offsets[1]], csv, delimiter)
            if not csv.header:
                return Header(tuple(names_without_header(schema, len(names))), _chained(block, blocks))
            return Header(names, _chained(block[offsets[1] :], blocks))
    raise FileRefused(
        "the file is empty; a CSV needs at least a header line; remove the file or leave it out with --exclude"
    )


def read_slice(piece: FileSlice, csv: CsvOptions, schema: Schema | None) -> Header:
    """The file's names, and as body the records of the slice alone."""
    if piece.is_whole:
        return read_header(piece.file, csv, schema)
    blocks = utf8_blocks(piece.file, csv.encoding, piece.start, piece.stop)
    return Header(_names(piece.file, csv, schema), whole_records(blocks, delimiter_of(piece.file, csv)))


def _names(file: InputFile, csv: CsvOptions, schema: Schema | None) -> tuple[str, ...]:
    """Those of read_header, for which the file's beginning is enough unless its first record is long."""
    delimiter = delimiter_of(file, csv)
    beginning = b"".join(utf8_blocks(file, csv.encoding, 0, _BEGINNING_BYTES))
    lines = RecordScanner(delimiter).lines(beginning) if beginning else None
    if lines is None or not lines.are_records.any():
        return read_header(file, csv, schema).names
    names = names_of(beginning[: lines.ends[lines.are_records][0]], csv, delimiter)
    return names if csv.header else tuple(names_without_header(schema, len(names)))


def names_of(record: bytes, csv: CsvOptions, delimiter: str) -> tuple[str, ...]:
    where = "header" if csv.header else "first row"
    refuse_disguised(record, where)
    if record.count(delimiter.encode()) >= MAX_COLUMNS:
        raise FileRefused(
            f"the {where} has more than {MAX_COLUMNS:,} columns; is it a header, and the delimiter right?",
            record=displayed(record[:1000]),
        )
    try:
        text = record.decode()
    except UnicodeDecodeError:
        raise FileRefused(
            f"the {where} isn't {csv.encoding}; name the encoding with --encoding, such as latin-1 or cp1252",
            record=displayed(record).strip("\r\n"),
        ) from None
    fields = text.removesuffix("\n").removesuffix("\r").split(delimiter)
    if any(fields) and all(map(_PLAIN_NAME.fullmatch, fields)):
        return tuple(field.strip('"') for field in fields)  # a reader of CSV takes a millisecond for nothing
    reader = pacsv.open_csv(
        pa.py_buffer(record + b"\n"),  # a header alone must end
        read_options=pacsv.ReadOptions(use_threads=False, block_size=len(record) + 2),
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    )
    return tuple(reader.schema.names)


def refuse_disguised(beginning: bytes, where: str = "header") -> None:
    """Refuse what isn't text; ``beginning`` is the first record or a part of it."""
    for mark, hint in DISGUISES.items():
        if beginning.startswith((mark, displayed(mark).encode())):
            raise FileRefused(f"the {where} isn't text: {hint}", record=displayed(beginning[:1000]))
    if b"\0" in beginning:
        raise FileRefused(
            f"the {where} has a NUL byte, which text doesn't; a file in UTF-16 needs --encoding utf-16",
            record=displayed(beginning[:1000]),
        )


def _chained(block: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    if block:
        yield block
    yield from blocks
