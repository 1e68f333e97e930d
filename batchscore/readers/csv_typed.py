"""CSV records to columns of the signature's types, and to the text of kept columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from batchscore.errors import FileRefused
from batchscore.readers.chunks import Chunk, Rows, first_refusal, regroup
from batchscore.readers.csv import delimiter_of
from batchscore.readers.csv_header import read_slice
from batchscore.readers.records import record_offsets
from batchscore.readers.source import displayed
from batchscore.signature import check_typed, parse_text, plan_reading, reading_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchscore.job import CsvOptions, ScoringSettings
    from batchscore.minibatch import FileSlice, InputFile
    from batchscore.schema import Schema
    from batchscore.signature import ReadColumn, ReadPlan

    Refusals: TypeAlias = list[FileRefused]

# pyarrow's words, the same from 19 to 26
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_COLUMN = re.compile(r"In CSV column #(\d+)")
_INVALID_UTF8 = "invalid UTF8"

SHOWN = 200
"""Characters of a value that a message shows."""
MAX_RECORD_CHARS = 65_536
"""Of a record in a message; the rest is left out."""


def read_typed(piece: FileSlice, schema: Schema, settings: ScoringSettings) -> Iterator[Chunk]:
    """Chunks whose features have the signature's types; kept columns are text as it stands, null where it's empty."""
    header = read_slice(piece, settings.csv, schema)
    plan = plan_reading(schema, header.names, settings, piece.file.partitions)
    parser = RecordParser(plan, header.names, piece.file, settings.csv)
    yield from regroup(read_rows(header.body, parser, piece), piece, settings.rows_per_call, plan.notes)


def read_rows(blocks: Iterator[bytes], parser: RecordParser, piece: FileSlice) -> Iterator[Rows]:
    """The rows of the slice, up to its max_rows, in whatever runs; one run of 0 rows where there are none.

    Raises FileRefused with the row reached where the text ends badly.
    """
    row, left = piece.first_row, piece.max_rows
    while left != 0 and (block := _next_block(blocks, row)) is not None:
        if left is not None:
            offsets = record_offsets(block, parser.delimiter)
            block = block[: offsets[min(left, len(offsets) - 1)]]  # what is left of it
        rows = parser.parse(block, row)
        row += rows.count
        left = None if left is None else left - rows.count
        yield rows
    if row == piece.first_row:
        yield parser.parse(b"", row)


def _next_block(blocks: Iterator[bytes], row: int) -> bytes | None:
    try:
        return next(blocks, None)
    except FileRefused as refusal:
        raise FileRefused(f"row {row}: {refusal.reason}", row=row) from refusal


class RecordParser:
    """Parses blocks of whole records by a plan.

    Columns that pyarrow may convert are read typed, until a block doesn't convert or its values don't tell the verdict:
    from there on that column is read as text and parsed by the signature's rules, which give the same values. Within a
    block the refusal of the first bad row wins, whatever is wrong with it.
    """

    def __init__(self, plan: ReadPlan, names: Sequence[str], file: InputFile, csv: CsvOptions) -> None:
        self.delimiter = delimiter_of(file, csv)
        self._plan = plan
        self._names = tuple(names)
        self._csv = csv
        self._partitions = dict(file.partitions)
        self._kept = {name: self._names.index(name) for name in plan.kept if name in self._names}
        needed = {column.position for column in plan.features} | set(self._kept.values())
        self._needed = sorted(needed - {-1}) or [0]
        self._typed: dict[int, pa.DataType] = {
            column.position: kind
            for column in plan.features
            if column.position not in {-1, *self._kept.values()}
            and (kind := reading_type(column.spec)) not in (None, pa.string())
        }
        self._missing = pa.array(csv.missing_values, pa.string())

    def parse(self, block: bytes, first_row: int) -> Rows:
        """The block's rows; FileRefused at the first that can't be split, decoded or converted."""
        if b"\0" in block:
            raise self._first_of(block, first_row, self._nul(block, first_row))
        try:
            table = self._table(block, self._needed, pa.string())
        except pa.ArrowInvalid as error:
            column = _COLUMN.search(str(error))
            if column and self._typed.pop(int(column[1]), None) is not None:
                return self.parse(block, first_row)
            raise self._first_of(block, first_row, self._defect(str(error), block, first_row)) from None
        checked = self._check_typed(table)
        if checked is None:
            return self.parse(block, first_row)
        try:
            return self._rows(table, checked, first_row)
        except FileRefused as refusal:
            raise self._with_record(refusal, block, first_row) from None

    def _table(self, block: bytes, positions: Sequence[int], text: pa.DataType) -> pa.Table:
        """Columns by their positions as names: typed where they still are, else text without nulls."""
        types = {str(position): self._typed.get(position, text) for position in positions}
        if not block:
            return pa.schema(types).empty_table()
        # read_csv does the same, with an expensive handling of signals around each call
        return pacsv.open_csv(
            pa.py_buffer(block),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(block) + 1, column_names=[str(i) for i in range(len(self._names))]
            ),
            parse_options=pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=b'"' in block),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=self._csv.missing_values
            ),
        ).read_all()

    def _check_typed(self, table: pa.Table) -> dict[int, pa.Array] | None:
        """Typed columns in the signature's types; None where some must be read as text, from now on."""
        checked = {
            column.position: check_typed(_one_array(table.column(str(column.position))), column.spec)
            for column in self._plan.features
            if column.position in self._typed
        }
        untold = [position for position, column in checked.items() if column is None]
        for position in untold:
            del self._typed[position]
        return None if untold else checked

    def _rows(self, table: pa.Table, checked: dict[int, pa.Array], first_row: int) -> Rows:
        features: list[pa.Array] = []
        refusals: Refusals = []
        for column in self._plan.features:
            try:
                typed = checked.get(column.position)
                features.append(self._parsed(column, table, first_row) if typed is None else typed)
            except FileRefused as refusal:
                refusals.append(refusal)
        if refusals:
            raise first_refusal(refusals)
        kept = [self._kept_text(name, table) for name in self._plan.kept]
        return Rows(
            table.num_rows,
            pa.table(features, names=[column.name for column in self._plan.features]),
            pa.table(kept, names=list(self._plan.kept)),
        )

    def _parsed(self, column: ReadColumn, table: pa.Table, first_row: int) -> pa.Array:
        if column.position == -1:
            text = self._partition(column.source, table.num_rows)
        else:
            text = _one_array(table.column(str(column.position)))
            text = pc.if_else(pc.is_in(text, value_set=self._missing), pa.scalar(None, pa.string()), text)
        return parse_text(text, column.spec, name=column.source, first_row=first_row)

    def _kept_text(self, name: str, table: pa.Table) -> pa.Array:
        if name not in self._kept:
            return self._partition(name, table.num_rows)
        text = _one_array(table.column(str(self._kept[name])))
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)

    def _partition(self, name: str, rows: int) -> pa.Array:
        return pa.repeat(pa.scalar(self._partitions[name], pa.string()), rows)

    def _first_of(self, block: bytes, first_row: int, defect: FileRefused) -> FileRefused:
        """The defect, unless a row before it is refused."""
        offsets = record_offsets(block, self.delimiter)
        before = block[: offsets[(defect.row or first_row) - first_row]]
        if before:
            self.parse(before, first_row)
        return self._with_record(defect, block, first_row)

    def _defect(self, error: str, block: bytes, first_row: int) -> FileRefused:
        if ragged := _RAGGED.search(error):
            row, expected, found = map(int, ragged.groups())
            row += first_row - 1
            return FileRefused(
                f"row {row}: found {found} fields, expected {expected} as in the {'header' if self._csv.header else 'first row'}; "
                "is a delimiter or a quote missing or too many?",
                row=row,
            )
        column = _COLUMN.search(error)
        if column and _INVALID_UTF8 in error:
            return self._undecodable(int(column[1]), block, first_row)
        return FileRefused(f"from row {first_row} on: the rows can't be read: {error}", row=first_row)

    def _undecodable(self, position: int, block: bytes, first_row: int) -> FileRefused:
        values = self._table(block, [position], pa.binary()).column(0).to_pylist()
        index = next(index for index, value in enumerate(values) if not _is_utf8(value))
        row, name, value = first_row + index, self._names[position], displayed(values[index])[:SHOWN]
        return FileRefused(
            f"row {row}, column {name!r}: found {value!r}, which isn't {self._csv.encoding}; "
            "name the encoding with --encoding, such as latin-1 or cp1252",
            row=row,
            column=name,
            value=value,
        )

    def _nul(self, block: bytes, first_row: int) -> FileRefused:
        offsets = record_offsets(block, self.delimiter)
        place = block.index(b"\0")
        row = first_row + sum(offset <= place for offset in offsets) - 1
        return FileRefused(
            f"row {row}: found a NUL byte, which text doesn't have; the file is damaged, or in UTF-16, "
            "which needs --encoding utf-16",
            row=row,
        )

    def _with_record(self, refusal: FileRefused, block: bytes, first_row: int) -> FileRefused:
        if refusal.row is None:
            return refusal
        offsets = record_offsets(block, self.delimiter)
        index = refusal.row - first_row
        record = displayed(block[offsets[index] : offsets[index + 1]]).strip("\r\n")
        return FileRefused(
            refusal.reason,
            row=refusal.row,
            column=refusal.column,
            value=refusal.value,
            record=record if len(record) <= MAX_RECORD_CHARS else record[:MAX_RECORD_CHARS] + " …",
        )


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
