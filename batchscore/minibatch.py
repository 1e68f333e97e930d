"""The values that travel between planner, worker and journal: small, frozen, as JSON over the wire."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from batchscore.stopwatch import Spent

Json: TypeAlias = dict[str, Any]

FAILURES = ".failures.jsonl"
"""How the name of a part's file of rows ends that were put aside."""
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Beyond ASCII, whose control characters JSON escapes."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input file as it was when the job was planned."""

    name: str
    """Relative to the INPUT it was found under, with `/`: the `file` column."""
    path: str
    """Absolute local path, or URL."""
    size: int
    """Bytes."""
    version: str
    """Modification time in ns, or etag: with path and size, the file's identity for resuming."""
    partitions: tuple[tuple[str, str | None], ...] = ()
    """Hive partition columns from its folders, in order; None is Hive's null partition."""

    def __hash__(self) -> int:
        return hash(self.path)  # a text knows its hash, and paths differ

    @property
    def facts(self) -> list[str | int]:
        """What is looked at to see whether it is the same file as in the run before."""
        return [self.name, self.path, self.size, self.version]


@dataclass(frozen=True, slots=True)
class FileSlice:
    """A run of whole rows of one file.

    A whole file has start 0 and stop None. Otherwise start and stop bound bytes of a CSV (each on a
    record's first byte; the header lies before the first slice's start) or row groups of a Parquet file, where
    first_row and max_rows tell which rows of a group are the slice's that isn't its alone.
    """

    file: InputFile
    start: int = 0
    stop: int | None = None
    first_row: int = 0
    """0-based number in the file of the slice's first row."""
    max_rows: int | None = None
    """Read at most this many rows: a job with a row limit ends here, or the next slice has those behind them."""
    weight: int = field(default=0, compare=False)
    """About how many bytes of its file a slice holds that isn't the whole."""

    def __hash__(self) -> int:
        return hash((self.file.path, self.start))

    @property
    def is_whole(self) -> bool:
        return self.start == 0 and self.stop is None

    @property
    def bytes(self) -> int:
        """Of input, roughly."""
        return self.file.size if self.is_whole else self.weight

    def to_json(self) -> list[Any]:
        """As a list: there are thousands of them in a message and in the journal."""
        file = self.file
        whole = [file.name, file.path, file.size, file.version, file.partitions]
        if self.is_whole and self.first_row == 0 and self.max_rows is None and not self.weight:
            return whole
        return [*whole, self.start, self.stop, self.first_row, self.max_rows, self.weight]

    @classmethod
    def from_json(cls, record: list[Any]) -> FileSlice:
        """Raises ValueError and TypeError for what isn't a slice's."""
        name, path, size, version, partitions, *bounds = record
        pairs = tuple((column, value) for column, value in partitions) if partitions else ()
        return cls(InputFile(name, path, size, version, pairs), *bounds)


@dataclass(frozen=True, slots=True)
class Trial:
    """Asks whether predict takes some of a mini-batch's rows, for which nothing is written.

    Rows are counted over all slices, those left out that don't fit the signature. The outcome has the number of
    fitting rows of each slice where none are asked for.
    """

    start: int = 0
    stop: int = 0


@dataclass(frozen=True, slots=True)
class Mended:
    """Asks for a mini-batch without the rows that predict fails for, in the calls that it is known to take."""

    calls: tuple[int, ...]
    """Rows of each run that made a Trial of its own, in order."""
    spoilt: tuple[tuple[int, str, str | None], ...]
    """The rows in between, counted as in a Trial: which, why, and what more there is to know."""


Portion: TypeAlias = Trial | Mended


@dataclass(frozen=True, slots=True)
class MiniBatch:
    """The unit of work: slices that one worker scores together, in order."""

    number: int
    slices: tuple[FileSlice, ...]
    portion: Portion | None = None
    """Where predict failed for the whole of it, and bad rows are to be found."""

    @property
    def part_name(self) -> str:
        """A name that depends on the rows alone, so that redoing overwrites and a rest never does."""
        digest = hashlib.sha256()
        for piece in self.slices:
            digest.update(repr((*piece.file.facts, piece.start, piece.stop, piece.first_row, piece.max_rows)).encode())
        return f"{self.number:06d}-{digest.hexdigest()[:12]}"

    @property
    def files_name(self) -> str:
        """The folder beside the part of what a scoring script wrote itself."""
        return f"{self.part_name}.files"

    @property
    def failures_name(self) -> str:
        """The file beside the part of the rows that were put aside."""
        return f"{self.part_name}{FAILURES}"

    @property
    def size(self) -> int:
        """Bytes of input, roughly."""
        return sum(piece.bytes for piece in self.slices)

    def only(self, slices: tuple[FileSlice, ...]) -> MiniBatch:
        """Some of the slices, as a mini-batch of the same number."""
        return self if len(slices) == len(self.slices) else replace(self, slices=slices)

    def to_json(self) -> Json:
        slices = [piece.to_json() for piece in self.slices]
        return {"number": self.number, "slices": slices, "portion": self.portion and asdict(self.portion)}

    @classmethod
    def from_json(cls, record: Json) -> MiniBatch:
        slices = tuple(FileSlice.from_json(piece) for piece in record["slices"])
        return cls(record["number"], slices, _portion(record.get("portion")))


def _portion(record: Json | None) -> Portion | None:
    if record is None:
        return None
    if "calls" in record:
        return Mended(tuple(record["calls"]), tuple((row, why, detail) for row, why, detail in record["spoilt"]))
    return Trial(**record)


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
        piece, rows, part, start, stop, *aside = record
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


_encoded = json.JSONEncoder(separators=(",", ":")).encode


def compact(record: Any) -> str:
    """JSON on one line, the form of the journal and of the wire."""
    return _encoded(record)
