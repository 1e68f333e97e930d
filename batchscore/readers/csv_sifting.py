"""The bad rows of a block of CSV records, found by masks, and the good ones that stand between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from batchscore.errors import FileRefused
from batchscore.readers.csv_defects import is_utf8, not_in, of_width, ragged, record_at, with_nul, with_record
from batchscore.readers.records import record_offsets
from batchscore.signature import sift

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchscore.readers.chunks import Numbers, Refuse, Rows
    from batchscore.settings import CsvOptions
    from batchscore.signature import ReadColumn

UNCERTAIN = (
    "; where its records begin and end isn't certain, because a quote in the file stands elsewhere than around a field "
    "or is never closed, so the file fails as a whole"
)


_MASKED = bytes(byte if byte < 0x80 else ord("x") for byte in range(256))  # noqa: PLR2004  # ASCII
"""Bytes for bytes, text of the same fields that pyarrow can show to who handles a row: it decodes all of it."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records, and where each begins; the last offset is the end."""

    text: bytes
    offsets: list[int]

    def text_of(self, numbers: Numbers) -> bytes:
        """These records one behind the other."""
        return b"".join(self.text[self.offsets[index] : self.offsets[index + 1]] for index in numbers)


class Columns(Protocol):
    """What a parser of CSV makes of columns of text, named by their positions."""

    @property
    def features(self) -> Sequence[ReadColumn]: ...

    @property
    def needed(self) -> Sequence[int]: ...

    @property
    def names(self) -> Sequence[str]: ...

    def values(self, column: ReadColumn, table: pa.Table) -> pa.Array: ...

    def parse_good(self, text: bytes, first_row: int, *, has_bad: bool) -> Rows: ...


class BlockSifter:
    """Puts bad rows aside, a block of whole records at a time, and gives the others."""

    def __init__(self, columns: Columns, csv: CsvOptions, refuse: Refuse, is_certain: Callable[[], bool]) -> None:
        """``is_certain``: whether the file's records are, which is asked where a row's own bounds are in doubt."""
        self._columns = columns
        self._csv = csv
        self._refuse = refuse
        self._is_certain = is_certain

    def sift(self, block: bytes, first_row: int) -> Rows:
        """The good rows; FileRefused where the whole file is in doubt."""
        offsets = record_offsets(block, self._csv.delimiter)
        records = Block(block, offsets)
        bad: dict[int, FileRefused] = {}
        there = np.arange(len(offsets) - 1)
        text, there = self._without_nuls(block, offsets, there, first_row, bad)
        table, there = self._split(text, there, first_row, bad, records)
        table, there = self._decoded(table, there, first_row, bad)
        there = self._fitting(table, there, first_row, bad)
        for index in sorted(bad):
            refusal = bad[index]
            refusal.record = record_at(block, offsets, index)
            self._refuse(refusal)
        if not bad:
            return self._columns.parse_good(block, first_row, has_bad=False)
        rows = self._columns.parse_good(records.text_of(there), first_row, has_bad=True)
        return replace(rows, numbers=there.astype(np.int64) + first_row, refused=len(bad))

    def _without_nuls(
        self, block: bytes, offsets: list[int], there: Numbers, first_row: int, bad: dict[int, FileRefused]
    ) -> tuple[bytes, Numbers]:
        if b"\0" not in block:
            return block, there
        places = np.flatnonzero(np.frombuffer(block, np.uint8) == 0)
        spoilt = np.unique(np.searchsorted(offsets, places, side="right") - 1)
        self._require_certain(with_nul(first_row + int(spoilt[0])), block, first_row)
        bad.update({int(index): with_nul(first_row + int(index)) for index in spoilt})
        there = np.delete(there, spoilt)
        return b"".join(block[offsets[index] : offsets[index + 1]] for index in there), there

    def _split(
        self, text: bytes, there: Numbers, first_row: int, bad: dict[int, FileRefused], block: Block
    ) -> tuple[pa.Table, Numbers]:
        """The needed columns as they stand, in bytes, without the rows that have another number of fields."""
        wrong: list[int] = []

        def skip(row: pacsv.InvalidRow) -> str:
            index = row.number - 1
            found = of_width(
                int(there[index]) + first_row, row.expected_columns, row.actual_columns, header=self._csv.header
            )
            bad[int(there[index])] = found
            wrong.append(index)
            return "skip"

        is_text = is_utf8(text)
        try:
            table = self._parsed(text if is_text else text.translate(_MASKED), skip)
            left = np.delete(there, wrong)
            if not is_text:
                table = self._parsed(block.text_of(left), None)
        except pa.ArrowInvalid as error:
            raise ragged(str(error), first_row, header=self._csv.header) from None
        if wrong:
            self._require_certain(bad[int(there[wrong[0]])], block.text, first_row)
        return table, left

    def _parsed(self, text: bytes, skip: Callable[[pacsv.InvalidRow], str] | None) -> pa.Table:
        """The needed columns, in bytes. Raises ArrowInvalid."""
        types = {str(position): pa.binary() for position in self._columns.needed}
        if not text:
            return pa.schema(types).empty_table()
        return pacsv.open_csv(
            pa.py_buffer(text),
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=len(text) + 1,
                column_names=[str(position) for position in range(len(self._columns.names))],
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self._csv.delimiter, newlines_in_values=b'"' in text, invalid_row_handler=skip
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(types), column_types=types, null_values=[], strings_can_be_null=False
            ),
        ).read_all()

    def _require_certain(self, refusal: FileRefused, block: bytes, first_row: int) -> None:
        if not self._is_certain():
            doubted = with_record(refusal, block, self._csv.delimiter, first_row)
            raise FileRefused(doubted.reason + UNCERTAIN, row=doubted.row, record=doubted.record)

    def _decoded(
        self, table: pa.Table, there: Numbers, first_row: int, bad: dict[int, FileRefused]
    ) -> tuple[pa.Table, Numbers]:
        """The columns as text, without the rows that aren't in the file's encoding."""
        wrong: dict[int, FileRefused] = {}
        for name in table.column_names:
            try:
                pc.cast(table[name], pa.string())
            except pa.ArrowInvalid:
                for index, value in enumerate(table[name].to_pylist()):
                    if not is_utf8(value):
                        of = self._columns.names[int(name)]
                        wrong.setdefault(index, not_in(self._csv.encoding, value, of, int(there[index]) + first_row))
        table, there = _without(table, there, wrong, bad)
        return table.cast(pa.schema({name: pa.string() for name in table.column_names})), there

    def _fitting(self, table: pa.Table, there: Numbers, first_row: int, bad: dict[int, FileRefused]) -> Numbers:
        """The rows that fit the signature; of each other one the first column that doesn't has its say."""
        wrong: dict[int, FileRefused] = {}
        for column in self._columns.features:
            if column.position == -1:
                continue  # its one value is the file's
            values = self._columns.values(column, table)
            for index, refusal in sift(values, column.spec, name=column.source, numbers=there + first_row).items():
                wrong.setdefault(index, refusal)
        return _without(table, there, wrong, bad)[1]


def _without(
    table: pa.Table, there: Numbers, wrong: dict[int, FileRefused], bad: dict[int, FileRefused]
) -> tuple[pa.Table, Numbers]:
    """The rows that aren't wrong, and where they were in the block."""
    if not wrong:
        return table, there
    bad.update({int(there[index]): refusal for index, refusal in wrong.items()})
    left = np.delete(np.arange(len(there)), list(wrong))
    return table.take(left), there[left]
