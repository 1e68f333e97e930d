"""Where the records of a CSV begin and end, found in its bytes without splitting them into fields.

The rules are those of pyarrow's parser, which pandas and Python's csv module share: a quote opens a quoted field at the
start of a field alone, is a character elsewhere, and closes the field it opened unless it is doubled; outside quoted
fields LF, CR and CRLF end a record; lines without a single character are no records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from batchscore.errors import FileRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    Offsets: TypeAlias = npt.NDArray[np.intp]
    Codes: TypeAlias = npt.NDArray[np.uint8]

_QUOTE, _CR, _LF = b'"\r\n'

_PIECE = 1 << 18
"""Bytes that are looked at together where masks are made of them, for larger ones go back to the kernel each time."""

MAX_RECORD_BYTES = 256 << 20
"""Of a record held in memory. A longer one is far more likely a quote that was never closed."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines that end in a block."""

    ends: Offsets
    """Offsets behind their line ends, ascending; 0 where the block before ended in the lone CR that ends the line."""
    are_records: npt.NDArray[np.bool_]
    """False for blank lines."""


class RecordScanner:
    """Follows quotes and line ends through text that arrives in blocks; the text starts with a record."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = ord(delimiter)
        self._last = _LF
        self._closed_last = False
        self._unfinished = 0
        self.in_quotes = False
        """Whether the text so far ends inside a quoted field."""
        self.is_certain = True
        """Every quote that could open a field follows a delimiter, a line end or the quote it doubles; no lone CR ends
        a record. Any reader of CSV then finds the same records."""

    @property
    def has_unfinished_record(self) -> bool:
        """Whether a record has begun that no line end has ended yet."""
        return self._unfinished > 1 or (self._unfinished == 1 and self._last != _CR)

    def lines(self, block: bytes) -> Lines:
        """The lines that end in the next block (which isn't empty)."""
        codes = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(codes == _LF) + 1
        lone = self._lone_cr(block, codes)
        toggles = self._toggles(codes) if self._may_toggle(block) else None
        if toggles is not None:
            ends = ends[(np.searchsorted(toggles, ends) + self.in_quotes) % 2 == 0]
            lone = lone[(np.searchsorted(toggles, lone) + self.in_quotes) % 2 == 0]
        elif self.in_quotes:
            ends = lone = ends[:0]
        if len(lone):
            self.is_certain = False
            ends = np.sort(np.concatenate((ends, lone)))
        found = Lines(ends, self._are_records(codes, ends))
        self._unfinished = len(block) - int(ends[-1]) if len(ends) else self._unfinished + len(block)
        self._move_on(block, toggles)
        return found

    def count(self, block: bytes) -> int:
        """How many records end in the next block: those of lines(), much faster where it is plain."""
        if not self.is_plain(block):
            return int(np.count_nonzero(self.lines(block).are_records))
        codes = np.frombuffer(block, np.uint8)
        count = 0 if self._unfinished or block[0] != _LF else -1  # a blank line
        for start in range(0, len(codes), _PIECE):
            are_ends = codes[start : start + _PIECE + 1] == _LF  # with the byte behind it
            count += np.count_nonzero(are_ends[:_PIECE]) - np.count_nonzero(are_ends[1:] & are_ends[:-1])
        end = block.rfind(b"\n") + 1
        self._unfinished = len(block) - end + (0 if end else self._unfinished)
        self._move_on(block, None)
        return int(count)

    def is_plain(self, block: bytes) -> bool:
        """Whether nothing is quoted in the next block and LF alone ends lines, so that each one does."""
        return not (self._may_toggle(block) or self.in_quotes or b"\r" in block or self._last == _CR)

    def last_end(self, block: bytes) -> int | None:
        """The last offset that lines() would give for the next block, None where no line ends.

        Much faster than lines() where nothing is quoted; after it, has_unfinished_record means nothing.
        """
        if self._may_toggle(block) or self.in_quotes:
            ends = self.lines(block).ends
            return int(ends[-1]) if len(ends) else None
        end = max(block.rfind(b"\n"), block.rfind(b"\r", 0, len(block) - 1)) + 1
        ended_before = self._last == _CR and block[0] != _LF
        self._move_on(block, None)
        return end if end or ended_before else None

    @staticmethod
    def _may_toggle(block: bytes) -> bool:
        return b'"' in block

    def _move_on(self, block: bytes, toggles: Offsets | None) -> None:
        self._closed_last = False
        if toggles is not None and len(toggles):
            self.in_quotes ^= len(toggles) % 2 == 1
            self._closed_last = not self.in_quotes and int(toggles[-1]) == len(block) - 1
        self._last = block[-1]

    def _lone_cr(self, block: bytes, codes: Codes) -> Offsets:
        """Offsets behind each CR that no LF follows; a CR that is the block's last byte is left to the next block."""
        if b"\r" not in block and self._last != _CR:
            return np.empty(0, np.intp)
        behind: Offsets = np.flatnonzero(codes[:-1] == _CR) + 1
        lone: Offsets = behind[codes[behind] != _LF]
        if self._last == _CR and codes[0] != _LF:
            lone = np.concatenate((np.zeros(1, np.intp), lone))
        return lone

    def _toggles(self, codes: Codes) -> Offsets:
        """Offsets of the quotes that open or close a quoted field; a doubled quote closes it and opens it again."""
        quotes = np.flatnonzero(codes == _QUOTE)
        before = codes[quotes - 1]
        doubles = before == _QUOTE
        if len(quotes) and quotes[0] == 0:
            before[0], doubles[0] = self._last, self._closed_last
        starts = (before == self._delimiter) | (before == _LF) | (before == _CR)
        if np.all((starts | doubles)[int(self.in_quotes) :: 2]):
            return quotes
        self.is_certain = False
        return self._toggles_one_by_one(quotes, starts)

    def _toggles_one_by_one(self, quotes: Offsets, starts: npt.NDArray[np.bool_]) -> Offsets:
        in_quotes, closed = self.in_quotes, -1 if self._closed_last else -2
        toggles = []
        for offset, starts_field in zip(quotes.tolist(), starts.tolist(), strict=True):
            if in_quotes:
                in_quotes, closed = False, offset
            elif starts_field or closed == offset - 1:
                in_quotes = True
            else:
                continue
            toggles.append(offset)
        return np.array(toggles, np.intp)

    def _are_records(self, codes: Codes, ends: Offsets) -> npt.NDArray[np.bool_]:
        """False where nothing stands before the line end: the line is a LF, a CR or a CRLF."""
        lengths: Offsets = np.diff(ends, prepend=-self._unfinished)
        # where a line of two bytes begins with CR, that CR didn't end it, so LF follows
        first_of_two = np.where(ends > 1, codes[np.maximum(ends - 2, 0)], self._last)
        is_crlf = (lengths == 2) & (first_of_two == _CR) & (ends > 0)  # noqa: PLR2004  # CR and LF
        found: npt.NDArray[np.bool_] = (lengths > 1) & ~is_crlf
        return found


def whole_records(blocks: Iterable[bytes], delimiter: str) -> Iterator[bytes]:
    """The same text in blocks that end where a record ends, none empty.

    Raises FileRefused, when all records before have been given, where a quote is never closed or a record is endless.
    """
    scanner = RecordScanner(delimiter)
    parts: list[bytes] = []
    held = 0
    for block in blocks:
        end = scanner.last_end(block)
        if end is not None:
            yield b"".join((*parts, memoryview(block)[:end]))
            parts, held, block = [], 0, block[end:]  # noqa: PLW2901  # the rest begins a record
        parts.append(block)
        held += len(block)
        if held > MAX_RECORD_BYTES:
            raise FileRefused(f"a row of more than {MAX_RECORD_BYTES >> 20} MB; is there a quote that is never closed?")
    if scanner.in_quotes:
        raise FileRefused("a quote opens here that is never closed")
    if held:
        yield b"".join(parts)


def record_offsets(block: bytes, delimiter: str) -> list[int]:
    """Where each record of a block of whole records begins, and the end of the last one: one offset more than records.

    Blank lines belong to the record after them.
    """
    scanner = RecordScanner(delimiter)
    lines = scanner.lines(block)
    offsets = [0, *lines.ends[lines.are_records].tolist()]
    return [*offsets, len(block)] if scanner.has_unfinished_record else offsets


def count_records(blocks: Iterable[bytes], delimiter: str, most: int | None = None) -> int:
    """How many records the text has; FileRefused where a quote is never closed.

    No further block is looked at once there are more than ``most``.
    """
    scanner = RecordScanner(delimiter)
    count = 0
    for block in blocks:
        count += scanner.count(block)
        if most is not None and count > most:
            return count
    if scanner.in_quotes:
        raise FileRefused("the rows can't be counted: a quote is never closed")
    return count + scanner.has_unfinished_record


def are_certain(blocks: Iterable[bytes], delimiter: str) -> bool:
    """Whether any reader of CSV finds the same records in the text: what `cut_points` asks for, too."""
    scanner = RecordScanner(delimiter)
    for block in blocks:
        scanner.lines(block)
        if not scanner.is_certain:
            return False
    return not scanner.in_quotes


@dataclass(frozen=True, slots=True)
class CutPoint:
    """A place between two records."""

    offset: int
    """Of the first byte behind it."""
    records: int
    """Before it."""


def cut_points(blocks: Iterable[bytes], delimiter: str, size: int, *, header: bool) -> tuple[CutPoint, ...] | None:
    """The body's beginning, each time the first record ``size`` bytes or more behind the point before, then the end.

    The last slice has at least size/2 bytes. None where the records aren't certain or there is no header to skip.
    """
    scanner = RecordScanner(delimiter)
    offset = records = 0
    points: list[CutPoint] = [] if header else [CutPoint(0, 0)]
    target = size
    for block in blocks:
        is_near = points and len(block) <= size and offset + len(block) >= target  # at most one cut is in it
        end = block.find(b"\n", max(target - offset - 1, 0)) + 1 if is_near and scanner.is_plain(block) else 0
        if 0 < end < len(block):
            records += scanner.count(block[:end])
            offset += end
            points.append(CutPoint(offset, records))
            target = offset + size
            block = block[end:]  # noqa: PLW2901  # the rest
        if points and offset + len(block) < target and not scanner.in_quotes:
            records += scanner.count(block)
            if not scanner.is_certain:
                return None
            offset += len(block)
            continue
        lines = scanner.lines(block)
        if not scanner.is_certain:
            return None
        ends = lines.ends + offset
        index = 0
        if not points and (found := np.flatnonzero(lines.are_records)).size:
            index = int(found[0])
            points.append(CutPoint(int(ends[index]), 1))
            target = int(ends[index]) + size
        while points and (index := index + int(np.searchsorted(ends[index:], target))) < len(ends):
            points.append(CutPoint(int(ends[index]), records + int(np.count_nonzero(lines.are_records[: index + 1]))))
            target = int(ends[index]) + size
        records += int(np.count_nonzero(lines.are_records))
        offset += len(block)
    if scanner.in_quotes or not points:
        return None
    while len(points) > 1 and offset - points[-1].offset < size / 2:
        points.pop()
    return (*points, CutPoint(offset, records + scanner.has_unfinished_record))
