"""What became of a mini-batch, as it travels from worker to journal: small, frozen, as JSON over the wire."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeAlias

from batchscore.minibatch import FileSlice, Json
from batchscore.stopwatch import Spent

_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Beyond ASCII, whose control characters JSON escapes."""


class Progress(Protocol):
    """Who is told after each chunk of a mini-batch."""

    def __call__(self, rows: int, size: int = 0, /) -> None:
        """``rows`` of the chunk, and how far the mini-batch has come, of its bytes; 0 where that isn't known."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the output: name, Arrow type as text (``str(pa.DataType)``), and where it comes from.

    A kept column of a CSV, where the output has types, is `text<integer>`, `text<long>`, `text<double>`,
    `text<string>` or `text<null>`: what all of its text reads as without losing a character.
    """

    name: str
    type: str
    role: str
    """file, row, kept, added or prediction."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a file or a row has no prediction; a line of failures.jsonl."""

    file: str
    reason: str
    row: int | None = None
    column: str | None = None
    value: str | None = None
    record: str | None = None
    detail: str | None = None
    """Traceback, exit signal or stuck frames, where there is more to know."""
    files: tuple[str, ...] = ()
    """All files of a scoring script's mini-batch, which fails as a whole."""
    count: int = 1
    """Files that count as failed."""

    def to_json(self) -> Json:
        return {
            "file": self.file,
            "row": self.row,
            "column": self.column,
            "value": self.value,
            "reason": self.reason,
            "record": self.record,
            **({"detail": self.detail} if self.detail else {}),
            **({"files": list(self.files), "count": self.count} if self.files else {}),
        }

    def line(self) -> bytes:
        """A line of failures.jsonl; what some readers take for a line end within a text is escaped."""
        text = json.dumps(self.to_json(), ensure_ascii=False).translate(_LINE_ENDS)
        return text.encode("utf-8", "backslashreplace") + b"\n"

    @classmethod
    def from_json(cls, record: Json) -> Failure:
        return cls(**{**record, "files": tuple(record.get("files", ()))})

    @classmethod
    def of_files(cls, files: Sequence[str], reason: str, count: int, detail: str | None = None) -> Failure:
        """Why a scoring script's mini-batch failed with that many of its files."""
        return cls(files[0], reason, detail=detail, files=tuple(files), count=count)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Rows of a slice that were put aside: their lines of failures.jsonl, bytes [start, stop) of a file."""

    rows: int
    part: str
    """File name below the parts folder."""
    start: int
    stop: int
    spoilt: int = 0
    """Of these rows, those that predict failed for; the others don't fit the signature."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A slice whose predictions lie in [start, stop) of its part: bytes of text, rows of Parquet."""

    slice: FileSlice
    rows: int
    part: str
    """File name below the parts folder."""
    start: int
    stop: int
    aside: Quarantined | None = None
    """Rows of the slice without a prediction, where they are put aside."""

    def to_json(self) -> list[Any]:
        aside = self.aside and asdict(self.aside)
        return [self.slice.to_json(), self.rows, self.part, self.start, self.stop, *([aside] if aside else ())]

    @classmethod
    def from_json(cls, record: list[Any]) -> Scored:
        """Raises ValueError, TypeError."""
        piece, rows, part, start, stop, *aside = record
        if not all(type(number) is int and 0 <= number < 1 << 63 for number in (rows, start, stop)):
            raise ValueError(f"no numbers of rows and bytes: {rows!r}, {start!r}, {stop!r}")
        return cls(FileSlice.from_json(piece), rows, part, start, stop, *(Quarantined(**each) for each in aside))


@dataclass(frozen=True, slots=True)
class Failed:
    """A slice without predictions; its whole file fails."""

    slice: FileSlice
    failure: Failure

    def to_json(self) -> list[Any]:
        return [self.slice.to_json(), asdict(self.failure)]


SliceOutcome: TypeAlias = Scored | Failed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mini-batch: one entry for each of its slices, in order."""

    number: int
    slices: tuple[SliceOutcome, ...]
    columns: tuple[Column, ...] = ()
    """Of its part; empty where nothing was written."""
    retries: int = 0
    seconds: float = 0.0
    """Of the attempt that scored it; of all attempts where none did."""
    longest: float = 0.0
    """Seconds of the longest attempt, the model's loading left out."""
    notes: tuple[str, ...] = ()
    """Things to tell the user once, such as names matched after trimming."""
    is_mixed: bool = False
    """The columns are wider than some tables of the part by themselves: they are the whole mini-batch's, no file's."""
    files: tuple[str, ...] = ()
    """What a scoring script wrote itself, relative to its output folder."""
    appended: tuple[tuple[str, int], ...] = ()
    """Those of them that it only appended to, and how many bytes init() had written there."""
    shortfall: Failure | None = None
    """A scoring script returned fewer elements than it got files."""
    spent: Spent | None = field(default=None, compare=False)
    """Where the time of the attempt that scored it went; None where a worker doesn't say."""

    @property
    def rows(self) -> int:
        """Rows with a prediction."""
        return sum(entry.rows for entry in self.slices if isinstance(entry, Scored))

    @property
    def rows_aside(self) -> int:
        """Rows that were put aside."""
        return sum(entry.aside.rows for entry in self.slices if isinstance(entry, Scored) and entry.aside)

    def to_json(self) -> Json:
        return {
            "number": self.number,
            "slices": [entry.to_json() for entry in self.slices],
            "columns": [[column.name, column.type, column.role] for column in self.columns],
            "retries": self.retries,
            "seconds": self.seconds,
            "longest": self.longest,
            "notes": list(self.notes),
            "is_mixed": self.is_mixed,
            "files": list(self.files),
            "appended": [list(each) for each in self.appended],
            "shortfall": asdict(self.shortfall) if self.shortfall else None,
            **({"spent": self.spent.to_json()} if self.spent else {}),
        }

    @classmethod
    def from_json(cls, record: Json) -> Outcome:
        return cls(
            record["number"],
            tuple(_slice_outcome(entry) for entry in record["slices"]),
            tuple(Column(*column) for column in record["columns"]),
            record["retries"],
            record["seconds"],
            record["longest"],
            tuple(record["notes"]),
            record["is_mixed"],
            tuple(record["files"]),
            tuple((name, size) for name, size in record.get("appended", ())),
            Failure.from_json(record["shortfall"]) if record["shortfall"] else None,
            Spent.from_json(record["spent"]) if record.get("spent") else None,
        )


def _slice_outcome(record: list[Any]) -> SliceOutcome:
    if len(record) > 2:  # noqa: PLR2004  # a failed one's slice and failure
        return Scored.from_json(record)
    piece, failure = record
    return Failed(FileSlice.from_json(piece), Failure.from_json(failure))
