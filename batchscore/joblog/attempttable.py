"""processed_mini-batches.csv: a row for each attempt, in Azure's columns and words."""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime, timezone

from batchscore.faults import ModelNotLoaded, ScoringRaised, WorkerTimedOut
from batchscore.joblog.process import Attempt, one_line
from batchscore.minibatch import FileSlice, Json, compact
from batchscore.outcome import Outcome

COLUMNS = (
    "Mini-batch Id", "Picked Count", "Process", "Process Start Time", "Total", "Succeeded", "Failed",
    "Elapsed Seconds", "Process Seconds", "Run Method Seconds", "Status", "Error Category", "Error Message",
    "Mini-batch Detail",
)  # fmt: skip
UNKNOWN = "N/A"
_MAX_MESSAGE = 500


def header() -> bytes:
    """The first line of the file."""
    return _line(COLUMNS)


def attempt_row(attempt: Attempt) -> bytes:
    """RUN_DONE, RUN_EXCEPTION or RUN_TIMEOUT: an item is a file, and each attempt is a pick."""
    total, failed = len(attempt.files), attempt.files_failed
    is_done = isinstance(attempt.result, Outcome)
    status = "RUN_TIMEOUT" if isinstance(attempt.result, WorkerTimedOut) else "RUN_EXCEPTION"
    return _line(
        (
            attempt.mini_batch.number,
            attempt.number,
            attempt.process.name,
            _time(attempt.started),
            total,
            total - failed,
            failed,
            _seconds(attempt.seconds),
            _seconds(attempt.cpu_seconds),
            _seconds(attempt.run_seconds),
            "RUN_DONE" if is_done else status,
            "" if is_done else _category(attempt.result),
            "" if is_done else _message(str(attempt.result)),
            compact([_place(piece) for piece in attempt.mini_batch.slices]),
        )
    )


def load_row(process: str, started: float, seconds: float, failure: ModelNotLoaded) -> bytes:
    """LOAD_EXCEPTION or LOAD_TIMEOUT: a process that couldn't load the model, which is no mini-batch's fault."""
    status = "LOAD_TIMEOUT" if "wasn't loaded within" in failure.message else "LOAD_EXCEPTION"
    times = (_seconds(seconds), UNKNOWN, UNKNOWN)
    failed = (status, type(failure).__name__, _message(failure.message), "")
    return _line(("", "", process, _time(started), 0, 0, 0, *times, *failed))


def _line(cells: tuple[object, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _seconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds:.6f}"


def _category(error: object) -> str:
    """The exception's type, as the model or script raised it; else what became of the worker."""
    if isinstance(error, ScoringRaised) and (raised := re.match(r"[\w.]+(?=:|$)", error.reason)):
        return raised[0]
    return type(error).__name__


def _message(text: str) -> str:
    first = one_line((text.splitlines() or [""])[0])
    return first if len(first) <= _MAX_MESSAGE else f"{first[:_MAX_MESSAGE]} …"


def _place(piece: FileSlice) -> Json:
    """A whole file, or where in it: bytes of a CSV, row groups of a Parquet file; and the first row there."""
    if piece.is_whole:
        return {"file": piece.file.name}
    return {"file": piece.file.name, "start": piece.start, "stop": piece.stop, "first_row": piece.first_row}
