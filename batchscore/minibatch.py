"""The unit of work as it travels from planner to worker: small, frozen, as JSON over the wire."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

FAILURES = ".failures.jsonl"
"""How the name of a part's file of rows ends that were put aside."""


@dataclass(frozen=True, slots=True, init=False)
class InputFile:
    """One input file as it was when the job was planned.

    Many files share the text of the folder that they were found under. It is made anew, not by `replace`.
    """

    name: str
    """Relative to the INPUT it was found under, with `/`: the `file` column."""
    _above: str
    """The path up to its name."""
    _is_whole: bool
    """The path doesn't end with the name, and `_above` is all of it."""
    size: int
    """Bytes."""
    version: str
    """Modification time in ns, or etag: with path and size, the file's identity for resuming."""
    partitions: tuple[tuple[str, str | None], ...]
    """Hive partition columns from its folders, in order; None is Hive's null partition."""

    def __init__(
        self, name: str, path: str, size: int, version: str, partitions: tuple[tuple[str, str | None], ...] = ()
    ) -> None:
        is_whole = not path.endswith(name)
        keep = object.__setattr__
        keep(self, "name", name)
        keep(self, "_above", path if is_whole else sys.intern(path.removesuffix(name)))
        keep(self, "_is_whole", is_whole)
        keep(self, "size", size)
        keep(self, "version", version)
        keep(self, "partitions", partitions)

    def __hash__(self) -> int:
        return hash(self.name)  # a text knows its hash, and names differ

    @property
    def path(self) -> str:
        """Absolute local path, or URL."""
        return self._above if self._is_whole else self._above + self.name

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
        return hash((self.file.name, self.start))

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

    def bytes_done(self, rows: int, read: int) -> int:
        """How far it has come, of its bytes: by its rows if it is known how many there are, else by the bytes read.

        0 for one of several slices, which are small, and where all is read and not yet scored.
        """
        if len(self.slices) > 1:
            return 0
        [piece] = self.slices
        if piece.max_rows:
            return min(piece.bytes * rows // piece.max_rows, piece.bytes)
        return read if read < piece.bytes else 0

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


_encoded = json.JSONEncoder(separators=(",", ":")).encode


def compact(record: Any) -> str:
    """JSON on one line, the form of the journal and of the wire."""
    return _encoded(record)
