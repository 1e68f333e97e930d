"""Blocks of CSV records to columns of the signature's types, and to the text of kept columns."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from batchscore.errors import FileRefused
from batchscore.readers.chunks import Rows, first_refusal, join
from batchscore.readers.csv_defects import nul, ragged, undecodable, with_record
from batchscore.readers.records import record_offsets
from batchscore.settings import MISSING_VALUES
from batchscore.signature import FALSE_VALUES, TRUE_VALUES, check_typed, parse_text, reading_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchscore.settings import CsvOptions
    from batchscore.signature import ReadColumn, ReadPlan

# pyarrow's words, the same from 19 to 26
_COLUMN = re.compile(r"In CSV column #(\d+)")
_INVALID_UTF8 = "invalid UTF8"

_WORDS_FOR_MISSING = frozenset(MISSING_VALUES) - {""}
"""None of them reads as a finite number or a truth value."""


class RecordParser:
    """Parses blocks of whole records by a plan.

    Columns that pyarrow may convert are read typed, until a block doesn't convert or its values don't tell the verdict:
    from there on that column is read as text and parsed by the signature's rules, which give the same values. Of all
    that is wrong with the blocks, the first row's refusal is raised.
    """

    def __init__(
        self, plan: ReadPlan, names: Sequence[str], partitions: Sequence[tuple[str, str | None]], csv: CsvOptions
    ) -> None:
        """Take the plan for a file with these names and partitions; the delimiter is that of ``csv``."""
        self._plan = plan
        self.features: Sequence[ReadColumn] = plan.features
        self.names: Sequence[str] = tuple(names)
        self._partitions = dict(partitions)
        self._csv = csv
        self._kept = {name: self.names.index(name) for name in plan.kept if name in self.names}
        needed = {column.position for column in plan.features} | set(self._kept.values())
        self.needed: Sequence[int] = sorted(needed - {-1}) or [0]
        self.sift: Callable[[bytes, int], Rows] | None = None
        """Gives the good rows of a block with bad ones, which go elsewhere; None: the first one is refused."""
        self._typed: dict[int, pa.DataType] = {
            column.position: kind
            for column in plan.features
            if column.position not in {-1, *self._kept.values()}
            and (kind := reading_type(column.spec)) is not None
            and (kind != pa.string() or not self._kept)
        }
        self._nulls = self._first_nulls()
        self._missing = pa.array(csv.missing_values, pa.string())

    def _first_nulls(self) -> Sequence[str]:
        """The texts for missing values that blocks are read with until one doesn't convert.

        The words among them are left out where all columns are numbers or truth values: looking each value up costs a
        tenth of the reading, and a word that is met doesn't convert, or is NaN, which doesn't tell the verdict.
        """
        if self._typed.keys() == set(self.needed) and pa.string() not in self._typed.values():
            return [text for text in self._csv.missing_values if text not in _WORDS_FOR_MISSING]
        return self._csv.missing_values

    def parse(self, blocks: Sequence[bytes], first_row: int) -> Rows:
        """Give the rows of the blocks; FileRefused at the first that can't be split, decoded or converted."""
        try:
            if not any(b"\0" in block for block in blocks):
                return self._parse_at_once(blocks, first_row, is_hasty=self.sift is not None and bool(blocks))
        except (FileRefused, pa.ArrowInvalid) as problem:
            if len(blocks) == 1 and not self.sift:
                raise self._refusal(blocks[0], first_row, problem) from None
        if len(blocks) == 1:
            if self.sift:
                return self.sift(blocks[0], first_row)
            raise self._unless_before(blocks[0], first_row, nul(blocks[0], self._csv.delimiter, first_row))
        return self._parse_one_by_one(blocks, first_row)

    def _parse_one_by_one(self, blocks: Sequence[bytes], first_row: int) -> Rows:
        """Let the first bad row speak; which problem is met at once depends on the columns' order."""
        runs: list[Rows] = []
        for block in blocks:
            runs.append(self.parse([block], first_row))
            first_row += runs[-1].count + runs[-1].refused
        return join(runs)

    def parse_good(self, text: bytes, first_row: int, *, has_bad: bool) -> Rows:
        """Give the rows of records that fit; where bad ones were among them the next block is read typed again."""
        typed = dict(self._typed)
        rows = self._parse_at_once([text], first_row)
        if has_bad:
            self._typed = typed
        return rows

    def _parse_at_once(self, blocks: Sequence[bytes], first_row: int, *, is_hasty: bool = False) -> Rows:
        """Give the rows of the blocks; in haste, ArrowInvalid as soon as a column doesn't read typed."""
        try:
            table = self._table(blocks, self.needed, pa.string())
        except pa.ArrowInvalid as error:
            column = _COLUMN.search(str(error))
            if column is None or not self._reads_more_carefully([int(column[1])], is_hasty=is_hasty):
                raise
            return self._parse_at_once(blocks, first_row, is_hasty=is_hasty)
        checked = {
            column.position: check_typed(_one_array(table, column.position), column.spec)
            for column in self._plan.features
            if column.position in self._typed
        }
        untold = [position for position, column in checked.items() if column is None]
        if not untold:
            return self._checked_rows(table, checked, first_row)
        if not self._reads_more_carefully(untold, is_hasty=is_hasty):
            raise pa.ArrowInvalid("a column's values have to be looked at one by one")
        return self._parse_at_once(blocks, first_row, is_hasty=is_hasty)

    def _reads_more_carefully(self, positions: Sequence[int], *, is_hasty: bool) -> bool:
        """Whether these columns may be read in another way: with all texts for missing values, then as text.

        In haste they aren't read as text.
        """
        if len(self._nulls) < len(self._csv.missing_values):
            self._nulls = self._csv.missing_values
            return True
        typed = [] if is_hasty else [position for position in positions if position in self._typed]
        for position in typed:
            del self._typed[position]
        return bool(typed)

    def _table(self, blocks: Sequence[bytes], positions: Sequence[int], text: pa.DataType) -> pa.Table:
        """Give columns named by their positions: typed where they still are, else text.

        Text is null where a value is missing; without any null where columns are kept, which tell `NA` from nothing.
        """
        types = {str(position): self._typed.get(position, text) for position in positions}
        blocks = [block for block in blocks if block]
        if not blocks:
            return pa.schema(types).empty_table()
        is_quoted = any(b'"' in block for block in blocks)
        if is_quoted and len(blocks) > 1:  # between blocks pyarrow would look for the ends of quoted fields once more
            return pa.concat_tables([self._table([block], positions, text) for block in blocks])
        if blocks[0].startswith(codecs.BOM_UTF8):  # of another file that was appended: pyarrow would leave out one
            blocks[0] = codecs.BOM_UTF8 + blocks[0]
        # read_csv does the same, with an expensive handling of signals around each call
        return pacsv.open_csv(
            pa.py_buffer(blocks[0]) if len(blocks) == 1 else pa.PythonFile(_File(blocks), mode="r"),
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=max(map(len, blocks)) + 1,
                column_names=[str(i) for i in range(len(self.names))],
            ),
            parse_options=pacsv.ParseOptions(delimiter=self._csv.delimiter, newlines_in_values=is_quoted),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(types),
                column_types=types,
                null_values=self._nulls,
                true_values=TRUE_VALUES,
                false_values=FALSE_VALUES,
                strings_can_be_null=not self._kept,
            ),
        ).read_all()

    def _checked_rows(self, table: pa.Table, checked: dict[int, pa.Array], first_row: int) -> Rows:
        features: list[pa.Array] = []
        refusals: list[FileRefused] = []
        for column in self._plan.features:
            try:
                typed = checked.get(column.position)
                features.append(self._judged(column, table, first_row) if typed is None else typed)
            except FileRefused as refusal:  # each column has its say
                refusals.append(refusal)
        if refusals:
            raise first_refusal(refusals)
        kept = [self._kept_text(name, table) for name in self._plan.kept]
        return Rows(
            table.num_rows,
            pa.table(features, names=[column.name for column in self._plan.features]),
            pa.table(kept, names=list(self._plan.kept)),
            first_row,
        )

    def _judged(self, column: ReadColumn, table: pa.Table, first_row: int) -> pa.Array:
        has_nulls = column.position != -1 and not self._kept
        text = _one_array(table, column.position) if has_nulls else self.values(column, table)
        return parse_text(text, column.spec, name=column.source, first_row=first_row)

    def values(self, column: ReadColumn, table: pa.Table) -> pa.Array:
        """A column's text, null where a value is missing, of a table in which it isn't yet."""
        if column.position == -1:
            return self._partition(column.source, table.num_rows)
        text = _one_array(table, column.position)
        return pc.if_else(pc.is_in(text, value_set=self._missing), pa.scalar(None, pa.string()), text)

    def _kept_text(self, name: str, table: pa.Table) -> pa.Array:
        if name not in self._kept:
            return self._partition(name, table.num_rows)
        text = _one_array(table, self._kept[name])
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)

    def _partition(self, name: str, rows: int) -> pa.Array:
        return pa.repeat(pa.scalar(self._partitions[name], pa.string()), rows)

    def _refusal(self, block: bytes, first_row: int, problem: FileRefused | pa.ArrowInvalid) -> FileRefused:
        """Turn what parsing the block raised into the refusal of its first bad row."""
        if isinstance(problem, FileRefused):
            return with_record(problem, block, self._csv.delimiter, first_row)
        column = _COLUMN.search(str(problem))
        if column and _INVALID_UTF8 in str(problem):
            position = int(column[1])
            values = self._table([block], [position], pa.binary()).column(0).fill_null(b"").to_pylist()
            defect = undecodable(values, self._csv.encoding, self.names[position], first_row)
        else:
            defect = ragged(str(problem), first_row, header=self._csv.header)
        return self._unless_before(block, first_row, defect)

    def _unless_before(self, block: bytes, first_row: int, defect: FileRefused) -> FileRefused:
        """Give the defect; raises FileRefused where a row before it is refused."""
        offsets = record_offsets(block, self._csv.delimiter)
        if defect.row is not None and (before := block[: offsets[defect.row - first_row]]):
            self.parse([before], first_row)
        return with_record(defect, block, self._csv.delimiter, first_row)


class _File:
    """Blocks as a file that gives one at a time, of whatever size is asked for."""

    closed = False

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)

    def read(self, _size: int) -> bytes:
        return next(self._blocks, b"")

    def close(self) -> None:
        self.closed = True


def _one_array(table: pa.Table, position: int) -> pa.Array:
    column = table.column(str(position))
    if column.num_chunks == 0:
        return pa.array([], column.type)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
