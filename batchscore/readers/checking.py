"""What a file's header or footer tells without its rows: whether it fits the model, and about how many rows it has."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.records import count_records
from batchscore.readers.source import BLOCK_BYTES, delimiter_of, is_ascii_compatible, is_compressed, read_blocks
from batchscore.signature import parse_text, plan_reading

if TYPE_CHECKING:
    from batchscore.minibatch import InputFile
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings

_JSONL = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that fits, as far as can be known without its rows."""

    rows: int
    is_counted: bool
    """Whether ``rows`` is exact; else it follows from the rows of the file's first megabyte."""
    notes: tuple[str, ...] = ()


def check(file: InputFile, schema: Schema | None, settings: ScoringSettings) -> Checked:
    """The verdict on a CSV's header, a Parquet file's schema, or the first row of JSON and images.

    Raises FileRefused as ``read`` does, for what holds for the whole file.
    """
    _check_partitions(file, schema, settings)
    if readers.is_typed(file.name):
        from batchscore.readers import parquet_rows

        rows, notes = parquet_rows.check(file, schema, settings)
        return Checked(rows, is_counted=True, notes=notes)
    if readers.is_csv(file.name):
        notes = plan_reading(schema, readers.columns(file, settings.csv, schema), settings, file.partitions).notes
    elif schema is None and file.name.lower().endswith(_JSONL):
        notes = ()  # its types come from all of its lines
    else:
        refuse = _ignore if settings.quarantines else None
        first = next(readers.read(FileSlice(file, max_rows=1), schema, settings, refuse), None)
        notes = first.notes if first else ()
    rows, is_counted = about_rows(file, settings.csv)
    return Checked(rows, is_counted, notes)


def _ignore(refusal: FileRefused) -> None:
    """A row that is put aside says nothing of its file."""


def _check_partitions(file: InputFile, schema: Schema | None, settings: ScoringSettings) -> None:
    """Judge the values in the names of Hive folders, where the model takes them by name."""
    named = {spec.name: spec for spec in schema.specs} if schema and schema.is_named else {}
    renamed = dict(settings.rename)
    for name, text in file.partitions:
        if spec := named.get(renamed.get(name, name)):
            parse_text(pa.array([text], pa.string()), spec, name=name)


def about_rows(file: InputFile, csv: CsvOptions) -> tuple[int, bool]:
    """The number of rows, and whether it is exact: of long text only the first megabyte is looked at."""
    is_csv, is_jsonl = readers.is_csv(file.name), file.name.lower().endswith(_JSONL)
    is_long = file.size > BLOCK_BYTES or is_compressed(file)
    if not (is_csv or is_jsonl) or not is_long or not is_ascii_compatible(csv.encoding):
        return readers.count_rows(file, csv), True
    blocks = read_blocks(file)
    block, is_all = next(blocks, b""), not next(blocks, b"")
    if is_all:
        return readers.count_rows(file, csv), True
    try:
        records = count_records([block], delimiter_of(file, csv), most=0) if is_csv else block.count(b"\n")
    except FileRefused:  # one record that is longer than this
        records = 1
    stored = len(zlib.compress(block, 6)) if is_compressed(file) else len(block)
    return max(int(records * file.size / stored) - (is_csv and csv.header), 1), False
