"""What can go wrong, as types that carry their message and the exit code.

BatchscoreError                 shown without a traceback
├── UsageError            2     wrong options, no such model, no input, OUTPUT holds another job
├── ModelLoadError        3     the model can't be loaded
├── StorageError          4     the output can't be written, a store can't be reached; worth trying again
│   └── StoreUnfit              a store that can't lock, rename or append
├── OutputLocked         75     another run holds this output
├── Stopped         130/143     stopped by a signal; resumable
├── FileRefused                 this file can't be scored; the others can
└── AnswerRefused               what predict returned can't become rows; the mini-batch fails
"""

from __future__ import annotations

import signal

from batchscore.redaction import redact


class BatchscoreError(Exception):
    """An expected failure whose message says what was found, what was expected and what to do; without secrets."""

    exit_code = 1

    def __str__(self) -> str:
        return redact(super().__str__())


class UsageError(BatchscoreError):
    """The command, its settings or what they name are wrong."""

    exit_code = 2


class ModelLoadError(BatchscoreError):
    """The model can't be loaded; the message ends with its own traceback."""

    exit_code = 3


class StorageError(BatchscoreError):
    """The output can't be written or a store can't be reached."""

    exit_code = 4


class StoreUnfit(StorageError):
    """The store lacks what a job in progress needs; the message names the way round."""


class OutputLocked(BatchscoreError):
    """Another run holds this output."""

    exit_code = 75


class Stopped(BatchscoreError):
    """A signal stopped the job; the same command resumes it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {_named(signal_number)}; run the same command again to go on")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # depends on the signal
        """128 + the signal's number, as shells report it."""
        return 128 + self.signal_number


def _named(number: int) -> str:
    """A signal as people know it."""
    if number == signal.SIGINT:
        return "SIGINT (Ctrl-C)"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class FileRefused(BatchscoreError):
    """A file can't be read or doesn't match the signature: it fails alone and isn't retried.

    ``row`` is 0-based in its file; ``value`` and ``record`` are the text found there.
    """

    def __init__(
        self,
        reason: str,
        *,
        row: int | None = None,
        column: str | None = None,
        value: str | None = None,
        record: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row
        self.column = column
        self.value = value
        self.record = record


class AnswerRefused(BatchscoreError):
    """What predict returned can't become one row for each input row."""
