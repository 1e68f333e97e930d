"""Which mini-batches are done: an append-only file of receipts, and what a resumed job finds in it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from batchscore.errors import StorageError
from batchscore.minibatch import Json, compact
from batchscore.outcome import Outcome
from batchscore.storage import storage_errors, sync_folder

SYNC_SECONDS = 0.1
"""A power cut costs at most the receipts of this span: those mini-batches are scored again."""
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """The journal's first line: which job it is, and what was settled when it was planned."""

    job: str
    """A name of its own, by which job.json says whether it is this job's."""
    identity: Json
    reference: str
    """The model as the user named it."""
    resolved: str
    """The model with its version."""
    threads: int
    """Per worker."""
    keep: tuple[str, ...]
    """The kept columns by name."""
    targets: tuple[str, ...]
    """Files and folders in OUTPUT that are this job's to write."""
    replaces: tuple[str, ...]
    """Those of jobs before, which go when this one's are ready."""

    @classmethod
    def from_json(cls, record: Json) -> Header:
        lists = {name: tuple(record[name]) for name in ("keep", "targets", "replaces")}
        return cls(**{**record, **lists})


def read_header(path: str) -> Header | None:
    """The header of an earlier run's journal; None where there is none.

    Raises StorageError where the file isn't a journal.
    """
    try:
        with Path(path).open("rb") as stream:
            line = stream.readline()
    except FileNotFoundError:
        return None
    if not line.endswith(b"\n"):
        return None
    try:
        return Header.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError):
        raise StorageError(
            f"{path} is not a journal of this version of batchscore; remove its folder to start anew"
        ) from None


def has_receipts(path: str) -> bool:
    """Whether there is a journal with more than its header."""
    try:
        with Path(path).open("rb") as stream:
            stream.readline()
            return stream.readline().endswith(b"\n")
    except FileNotFoundError:
        return False


class Journal:
    """The header, then an Outcome a line. Only whole lines count.

    A new one takes the place of another job's at once, so that at any time one of the two is there.
    """

    def __init__(self, path: str, header: Header, *, is_new: bool) -> None:
        self.header = header
        self._path = Path(path)
        self._is_new = is_new
        self._synced = time.monotonic()
        self._end = 0

    def __enter__(self) -> Journal:
        with storage_errors(f"can't write the journal {self._path}"):
            if self._is_new:
                temporary = self._path.with_suffix(".tmp")
                with temporary.open("wb") as stream:
                    stream.write(_line(asdict(self.header)))
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.replace(self._path)
                sync_folder(str(self._path.parent))
            self._stream = self._path.open("a+b")
            self._end = _end_of_lines(self._stream)
            self._stream.truncate(self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_errors(f"can't write the journal {self._path}"), self._stream:
            os.fsync(self._stream.fileno())

    def record(self, outcome: Outcome) -> int:
        """Append a receipt, whose part is in place already; where it stands. Raises StorageError."""
        line = _line(outcome.to_json())
        with storage_errors(f"can't write the journal {self._path}"):
            self._stream.write(line)
            self._stream.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        place, self._end = self._end, self._end + len(line)
        return place

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """The receipts so far, each with where it stands."""
        with storage_errors(f"can't read the journal {self._path}"):
            yield from read_outcomes(self._path, self._end)

    @property
    def end(self) -> int:
        """Where the next receipt will stand."""
        return self._end

    def outcome_at(self, place: int) -> Outcome:
        """The receipt that stands there."""
        with storage_errors(f"can't read the journal {self._path}"), self._path.open("rb") as stream:
            stream.seek(place)
            return Outcome.from_json(json.loads(stream.readline()))


def read_outcomes(path: Path, end: int | None = None) -> Iterator[tuple[int, Outcome]]:
    """The receipts of a journal that another run may be writing, each with where it stands. Raises OSError."""
    with path.open("rb") as stream:
        place = len(stream.readline())
        while (end is None or place < end) and (line := stream.readline()).endswith(b"\n"):
            if outcome := _outcome(line):
                yield place, outcome
            place += len(line)


def _outcome(line: bytes) -> Outcome | None:
    """The receipt on a line; None where a failing disk made it unreadable: its mini-batch is scored again."""
    try:
        return Outcome.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None


def _line(record: Json) -> bytes:
    return compact(record).encode() + b"\n"


def _end_of_lines(stream: BinaryIO) -> int:
    """The offset behind the last whole line."""
    position = stream.seek(0, os.SEEK_END)
    while position:
        start = max(position - _BLOCK, 0)
        stream.seek(start)
        end = stream.read(position - start).rfind(b"\n") + 1
        if end:
            return start + end
        position = start
    return 0
