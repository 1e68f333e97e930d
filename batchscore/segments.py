"""Where the predictions of slices lie, for hundreds of thousands of them in little memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from batchscore.outcome import Column, Quarantined


@dataclass(frozen=True, slots=True)
class Part:
    """A file below the parts folder."""

    name: str
    columns: tuple[Column, ...]
    place: int
    """Of its receipt in the journal."""
    needs: int
    """How many slices of that receipt made its columns what they are together; 0 where each has them by itself."""


@dataclass(frozen=True, slots=True)
class Extra:
    """What a scoring script's mini-batch has besides its rows."""

    place: int
    """Of its receipt in the journal."""
    folder: str
    """Below the parts folder: the files that the script wrote itself; empty where there are none."""
    missing: int
    """Files that count as failed, because the script returned fewer elements."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The predictions of a slice: [start, stop) of a part, in bytes of text or rows of Parquet."""

    rows: int
    part: Part | None
    """None where there is no row."""
    start: int
    stop: int
    extra: Extra | None = None
    """With the first slice of a scoring script's mini-batch."""
    aside: Quarantined | None = None
    """Its rows that were put aside."""


Packed: TypeAlias = bytes | tuple[Any, ...]
"""A segment as it is kept, and as `marshal` takes it: a run of bytes, unless it has more than rows in a part."""


class Packing:
    """Packs segments into a third of their memory: most into one run of bytes, with the part's name at the end."""

    _NUMBERS = struct.Struct("<qqqqi")  # rows, start, stop, the receipt's place, which kind

    def __init__(self) -> None:
        self._kinds: dict[tuple[tuple[Column, ...], int], int] = {}
        """Columns and needs: those of a part, which are few."""
        self._of_number: list[tuple[tuple[Column, ...], int]] = []
        self._last = Part("", (), -1, 0)

    def pack(self, segment: Segment) -> Packed:
        part = segment.part
        if part is None or segment.extra or segment.aside:
            whole = self.pack(replace(segment, extra=None, aside=None)) if part else segment.rows
            extra, aside = segment.extra, segment.aside
            return whole, segment.start, segment.stop, extra and _values(extra), aside and _values(aside)
        kind = (part.columns, part.needs)
        number = self._kinds.setdefault(kind, len(self._kinds))
        if number == len(self._of_number):
            self._of_number.append(kind)
        numbers = self._NUMBERS.pack(segment.rows, segment.start, segment.stop, part.place, number)
        return numbers + part.name.encode("utf-8", "surrogatepass")

    def unpack(self, packed: Packed) -> Segment:
        """The segment as it was; neighbours in one part share it."""
        if isinstance(packed, tuple):
            whole, start, stop, extra, aside = packed
            segment = self.unpack(whole) if isinstance(whole, bytes) else Segment(whole, None, start, stop)
            more = Extra(*extra) if extra else None, Quarantined(*aside) if aside else None
            return Segment(segment.rows, segment.part, segment.start, segment.stop, *more)
        rows, start, stop, place, number = self._NUMBERS.unpack_from(packed)
        name = packed[self._NUMBERS.size :].decode("utf-8", "surrogatepass")
        columns, needs = self._of_number[number]
        part = Part(name, columns, place, needs)
        if part != self._last:
            self._last = part
        return Segment(rows, self._last, start, stop)


def _values(record: Extra | Quarantined) -> tuple[Any, ...]:
    return tuple(getattr(record, each.name) for each in fields(record))
