"""The values that `batchscore show` is about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from batchscore.locking import Holder
from batchscore.minibatch import Json
from batchscore.redaction import redact


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, by the receipts in its journal: chunks of mini-batches at work don't count yet."""

    percent: int
    """Of the input's bytes, of the whole job."""
    mini_batches: int
    mini_batches_done: int
    mini_batches_left: int
    bytes: int
    bytes_done: int
    rows_scored: int
    """By this run."""
    seconds: float
    """Since this run began to score, to now or to its last receipt."""
    rows_per_second: float | None
    seconds_left: float | None
    """As long as it goes on as since it began; None before the first receipt, and where nobody is at work."""
    seconds_since_receipt: float | None
    workers: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Failures that say the same but for numbers and values."""

    reason: str
    """As it is, where it is the same for all; else numbers as #, values as …."""
    count: int
    examples: tuple[Json, ...]
    """The first: file, row, column, value, reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `show` says of a job."""

    output: str
    status: Literal["Completed", "Failed", "Canceled", "Running", "Killed"]
    message: str
    model: str | None = None
    model_digest: str | None = None
    counts: Json = field(default_factory=dict)
    """As in job.json; of an unfinished job without `rows` and `rows_failed`, which nobody knows yet."""
    started: str | None = None
    """Of the last run."""
    ended: str | None = None
    seconds: float | None = None
    rows_per_second: float | None = None
    """In the last run, the start of workers and publishing included; while it runs, of scoring alone."""
    is_resumable: bool = False
    """Whether the same command goes on with what was scored."""
    holder: Holder | None = None
    progress: Progress | None = None
    times: Json = field(default_factory=dict)
    """As `timings` of job.json: `run`, `workers`, `whole_job`, `words`; of an unfinished job `whole_job` alone."""
    outputs: tuple[str, ...] = ()
    slowest: tuple[Json, ...] = ()
    """Mini-batches: number, file (the first), files, rows, seconds, retries, reason."""
    failed: tuple[Json, ...] = ()
    mini_batches_failed: int = 0
    mini_batches_done: int | None = None
    """Scored or failed, of a job that has ended; None where job.json doesn't say."""
    workers: Json | None = None
    """Of the last run, once it has ended: number, start (`loader`, `each`), why; None where it needed none."""
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """All of it, without secrets."""
        return {**asdict(self), "model": redact(self.model) if self.model else None}
