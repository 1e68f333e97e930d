"""Which mini-batches are done: an append-only file of receipts, and what a resumed job finds in it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from batchscore.errors import StorageError
from batchscore.minibatch import Column, Failed, FileSlice, Json, Outcome, Scored, SliceOutcome, compact
from batchscore.storage import storage_errors

SYNC_SECONDS = 0.1
"""A power cut costs at most the receipts of this span: those mini-batches are scored again."""


class Journal:
    """The first line says which job it is; each other line is an Outcome. Only whole lines count."""

    def __init__(self, path: str, header: Json) -> None:
        self.header = header
        self._path = Path(path)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        with storage_errors(f"can't write the journal {self._path}"):
            self._stream = self._path.open("a+b")
            self._stream.seek(0)
            whole_lines = self._stream.read().rfind(b"\n") + 1
            self._stream.truncate(whole_lines)
        if not whole_lines:
            self._append(self.header)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_errors(f"can't write the journal {self._path}"):
            os.fsync(self._stream.fileno())
            self._stream.close()

    def record(self, outcome: Outcome) -> None:
        """Append a receipt; the part it speaks of is already in place. Raises StorageError."""
        self._append(outcome.to_json())

    def _append(self, record: Json) -> None:
        with storage_errors(f"can't write the journal {self._path}"):
            self._stream.write(compact(record).encode() + b"\n")
            self._stream.flush()
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()


def read_journal(path: str) -> tuple[Json, Iterator[Outcome]] | None:
    """The header and the receipts of an earlier run; None where there is none.

    Raises StorageError where the file isn't a journal.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    if not lines:
        return None
    try:
        header = json.loads(lines[0])
    except ValueError:
        raise StorageError(f"{path} is not a journal of batchscore; remove its folder to start anew") from None
    return header, (Outcome.from_json(json.loads(line)) for line in lines[1:])


class Receipts:
    """What is known of each slice, the last word winning; found by the rows it speaks of."""

    def __init__(self) -> None:
        self._slices: dict[object, SliceOutcome] = {}
        self.columns: dict[str, tuple[Column, ...]] = {}
        """Of each part."""
        self._mixed: list[Outcome] = []
        self.retries = 0
        self.failed_files: set[str] = set()

    def take(self, outcome: Outcome) -> None:
        self.retries += outcome.retries
        if outcome.is_mixed:
            self._mixed.append(outcome)
        for entry in outcome.slices:
            self._slices[entry.slice.key] = entry
            if isinstance(entry, Failed):
                self.failed_files.add(entry.slice.file.name)
            if isinstance(entry, Scored) and entry.part:
                self.columns[entry.part] = outcome.columns

    def of(self, piece: FileSlice) -> SliceOutcome | None:
        return self._slices.get(piece.key)

    def is_scored(self, piece: FileSlice) -> bool:
        return isinstance(self.of(piece), Scored)

    def is_failed(self, piece: FileSlice) -> bool:
        return isinstance(self.of(piece), Failed)

    def forget(self, piece: FileSlice) -> None:
        self._slices.pop(piece.key, None)
        self.failed_files.discard(piece.file.name)

    def forget_remnants(self, planned: Iterable[FileSlice]) -> None:
        """Forget what is left of a mini-batch where others of its files changed, went or are to be scored again.

        Only where its columns are the work of all its files: what such a file needs by itself isn't known, and the
        types of the predictions must not be those of rows that aren't in them any more.
        """
        keys = {piece.key for piece in planned}
        for outcome in self._mixed:
            standing = [entry for entry in outcome.slices if self._slices.get(entry.slice.key) is entry]
            if len(standing) < len(outcome.slices) or any(entry.slice.key not in keys for entry in standing):
                for entry in standing:
                    self.forget(entry.slice)

    @property
    def parts(self) -> set[str]:
        return {entry.part for entry in self._slices.values() if isinstance(entry, Scored) and entry.part}
