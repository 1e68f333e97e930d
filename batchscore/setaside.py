"""Rows that are put aside, with the lines that failures.jsonl will have of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, Mended, MiniBatch
from batchscore.outcome import Failure, Quarantined
from batchscore.readers import Chunk, Refuse
from batchscore.redaction import secret_values, without
from batchscore.schema import Schema
from batchscore.settings import ScoringSettings
from batchscore.writers.parts import PartFile, part_errors


class SetAside:
    """A file of lines beside a mini-batch's part, in the order of its rows; none where no row is put aside.

    As a context manager it puts the file under its name, whole, and leaves nothing behind after an exception.
    """

    def __init__(self, path: str, spoilt: Mapping[FileSlice, Sequence[Failure]]) -> None:
        """``spoilt``: rows of each slice that predict is known to fail for, ascending."""
        self._path = path
        self._spoilt = spoilt
        self._file: PartFile | None = None
        self._size = 0
        self._found: dict[FileSlice, Quarantined] = {}
        self._piece: FileSlice
        self._waiting: list[Failure] = []

    @functools.cached_property
    def _secrets(self) -> tuple[str, ...]:
        """What no line may show; looking through the environment costs more than a small mini-batch's rows."""
        return secret_values(os.environ)

    def refuse(self, piece: FileSlice) -> Refuse:
        """What takes the bad rows of a slice, in order."""
        self._piece, self._waiting = piece, list(self._spoilt.get(piece, ()))
        return self._take

    def _take(self, refusal: FileRefused) -> None:
        while self._waiting and refusal.row is not None and (self._waiting[0].row or 0) < refusal.row:
            self._write(self._waiting.pop(0), spoilt=1)
        self._write(failure_of(self._piece, refusal, self._secrets), spoilt=0)

    def left_out(self, chunk: Chunk) -> Chunk:
        """The chunk without the rows that predict fails for."""
        rows = [int(each.row or 0) for each in self._spoilt.get(chunk.slice, ())]
        if not rows:
            return chunk
        return chunk.select(np.flatnonzero(~np.isin(chunk.row_numbers, rows)))

    def finish(self) -> None:
        """The slice that ``refuse`` was asked for last has been read to its end."""
        while self._waiting:
            self._write(self._waiting.pop(0), spoilt=1)

    def _write(self, failure: Failure, *, spoilt: int) -> None:
        piece, line = self._piece, failure.line()
        if self._file is None:
            self._file = PartFile(self._path)
        with part_errors("write", self._path):
            self._file.stream.write(line)
        known = self._found.get(piece) or Quarantined(0, Path(self._path).name, self._size, self._size)
        self._size += len(line)
        self._found[piece] = Quarantined(known.rows + 1, known.part, known.start, self._size, known.spoilt + spoilt)

    def of(self, piece: FileSlice) -> Quarantined | None:
        """Where the lines of a slice's rows lie; None where it has none."""
        return self._found.get(piece)

    def __enter__(self) -> SetAside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file and kind is None:
            self._file.publish()
        elif self._file:
            self._file.discard()


def failure_of(piece: FileSlice, error: FileRefused, secrets: Sequence[str]) -> Failure:
    """A file's or row's refusal as a line of failures.jsonl; the reason without secrets."""
    return Failure(piece.file.name, without(secrets, error.reason), error.row, error.column, error.value, error.record)


def spoilt_rows(
    mini_batch: MiniBatch, schema: Schema | None, settings: ScoringSettings
) -> dict[FileSlice, list[Failure]]:
    """The rows that a Mended leaves out, by slice, each with its number and text; found by reading the slices once."""
    if not isinstance(mini_batch.portion, Mended):
        return {}
    why = {ordinal: (reason, detail) for ordinal, reason, detail in mini_batch.portion.spoilt}
    found: dict[FileSlice, list[Failure]] = {}
    seen = 0
    for piece in mini_batch.slices:
        rows: dict[int, tuple[str, str | None]] = {}
        for chunk in readers.read(piece, schema, settings, _ignore):
            here = [ordinal for ordinal in why if seen <= ordinal < seen + chunk.rows]
            rows |= {int(chunk.row_numbers[ordinal - seen]): why[ordinal] for ordinal in here}
            seen += chunk.rows
        texts = readers.record_texts(piece, rows, settings.csv) if rows else {}
        found[piece] = [
            Failure(piece.file.name, f"row {row}: {reason}", row, record=texts.get(row), detail=detail)
            for row, (reason, detail) in sorted(rows.items())
        ]
    return found


def _ignore(refusal: FileRefused) -> None:
    """A row that doesn't fit is told when the mini-batch is scored."""
