"""What is wrong with a block of CSV records, with the row, column and text where it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchscore.errors import FileRefused
from batchscore.readers.records import record_offsets
from batchscore.readers.source import displayed, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 200
"""Characters of a value that a message shows."""

# pyarrow's words, the same from 19 to 26
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


def ragged(error: str, first_row: int, *, header: bool) -> FileRefused:
    """Say what pyarrow's error says, with the number of the row in the file."""
    match = _RAGGED.search(error)
    if match is None:
        return FileRefused(f"from row {first_row} on: the rows can't be read: {error}", row=first_row)
    return of_width(int(match[1]) - 1 + first_row, int(match[2]), int(match[3]), header=header)


def of_width(row: int, expected: int, found: int, *, header: bool) -> FileRefused:
    """Say that a row has another number of fields than the others."""
    fields = "1 field" if found == 1 else f"{found} fields"
    return FileRefused(
        f"row {row}: found {fields}, expected {expected} as in the {'header' if header else 'first row'}; "
        "is a delimiter or a quote missing or too many?",
        row=row,
    )


def undecodable(values: Sequence[bytes], encoding: str, name: str, first_row: int) -> FileRefused:
    """Name the first of a column's values that isn't UTF-8, which the file's encoding was turned into."""
    index = next(index for index, value in enumerate(values) if not is_utf8(value))
    return not_in(encoding, values[index], name, first_row + index)


def not_in(encoding: str, found: bytes, name: str, row: int) -> FileRefused:
    """Show a value that isn't UTF-8, which the file's encoding was turned into."""
    value = displayed(found)[:SHOWN]
    return FileRefused(
        f"row {row}, column {name!r}: found {quoted(found, SHOWN)}, which isn't {encoding}; "
        "name the encoding with --encoding, such as latin-1 or cp1252",
        row=row,
        column=name,
        value=value,
    )


def nul(block: bytes, delimiter: str, first_row: int) -> FileRefused:
    """Name the row of the block's first NUL byte."""
    place = block.index(b"\0")
    return with_nul(first_row + max(sum(offset <= place for offset in record_offsets(block, delimiter)) - 1, 0))


def with_nul(row: int) -> FileRefused:
    """Say that a row has a NUL byte."""
    return FileRefused(
        f"row {row}: found a NUL byte, which text doesn't have; the file is damaged, or in UTF-16, "
        "which needs --encoding utf-16",
        row=row,
    )


def with_record(refusal: FileRefused, block: bytes, delimiter: str, first_row: int) -> FileRefused:
    """Add the text of the refused row, which is in the block."""
    if refusal.row is None or refusal.record is not None:
        return refusal
    refusal.record = record_at(block, record_offsets(block, delimiter), refusal.row - first_row)
    return refusal


def record_at(block: bytes, offsets: Sequence[int], index: int) -> str:
    """The text of a record as it stands in the block, without its line end."""
    return displayed(block[offsets[index] : offsets[index + 1]]).strip("\r\n")


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
