"""The first rows of a job, scored for real in a worker: what comes out, and how fast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

from batchscore import attempts, halving, writers
from batchscore.attempts import RetryPolicy
from batchscore.errors import BatchscoreError, Stopped
from batchscore.faults import ScoringRaised, WorkerFault, WorkerTimedOut
from batchscore.findings import Finding, Sample
from batchscore.job import Job
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.nouns import counted
from batchscore.outcome import Column, Failed, Outcome, Progress, Quarantined, Scored
from batchscore.planning import Prepared
from batchscore.redaction import redact
from batchscore.slots import Slots
from batchscore.storage import storage_errors
from batchscore.writers.peeking import first_rows

FIRST_ROWS = 10
SHOWN_ROWS = 5
TARGET_SECONDS = 1.0
"""How long the longest call of the sample is to take."""
LONG_SECONDS = 10.0
"""A first call that took as long isn't repeated."""
GROWTH = 100
"""Times as many rows as in the call before, at most."""
MAX_ROWS = 65_536
MAX_FILES = 200
MAX_REFUSALS = 5
"""Files whose first rows can't be scored, until no further one is tried."""
MAX_DEATHS = 10
"""Workers that a call may cost until it is given up."""
TYPED_WHOLE = 64 << 20
"""Bytes of a file that is read whole for its first rows, at most, where smaller ones are there."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """A file that can be scored, as far as its header or schema tells, and about how many rows it has."""

    file: InputFile
    rows: int
    is_counted: bool


@dataclass(frozen=True, slots=True)
class _Call:
    """One of the sample's mini-batches, scored."""

    rows: int
    seconds: float
    part_bytes: int
    output: Path
    columns: tuple[Column, ...]

    @property
    def output_bytes(self) -> int:
        return self.output.stat().st_size


def take_sample(slots: Slots, prepared: Prepared, fitting: Sequence[Fitting]) -> tuple[Sample | None, list[Finding]]:
    """Score ever more first rows until a call takes about a second; what goes wrong are findings.

    The first call warms the model up and gives the rows to show; the last one gives the rate.
    """
    found = _Found()
    calls: list[_Call] = []
    left = [each for each in fitting if each.rows]
    wanted: int | None = FIRST_ROWS
    while wanted and left and not found.is_enough(calls):
        batch = MiniBatch(len(calls), _first_slices(left, wanted, prepared.job.limit))
        if not batch.slices:
            break
        try:
            outcomes = attempts.score(_Impatient(slots), batch, _policy(prepared.job))
            refused = found.take(outcomes, prepared)
            rows, rows_aside = sum(each.rows for each in outcomes), sum(each.rows_aside for each in outcomes)
            if rows:
                calls.append(_published(batch.number, outcomes, prepared))
        except Stopped:
            raise
        except (BatchscoreError, _TooSlow) as error:
            found.problems.append(Finding("sample", "problem", str(error)))
            break
        left = [each for each in left if each.file.name not in refused]
        if rows:
            is_short = not refused and rows + rows_aside < wanted and len(calls) > 1
            wanted = None if is_short else _next(calls, prepared.settings.rows_per_call)
        elif not refused:
            left = left[1:]  # of no rows after all, or of none that can be scored
    return _summed_up(slots, calls, prepared), found.all(prepared.job, has_rows=bool(calls))


class _TooSlow(Exception):
    """The sample takes more time than anybody would wait for."""


class _Impatient:
    """The workers of a sample: what a run would wait for many times is the end of it."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._deaths = 0

    def ask(
        self, mini_batch: MiniBatch, timeout: float, on_progress: Progress, *, restarts_clock: bool = True
    ) -> Outcome:
        try:
            return self._slots.ask(mini_batch, timeout, on_progress, restarts_clock=restarts_clock)
        except ScoringRaised:
            raise
        except WorkerFault as fault:
            self._deaths += 1
            if isinstance(fault, WorkerTimedOut) or self._deaths > MAX_DEATHS:
                raise _TooSlow("\n".join(filter(None, (fault.reason, fault.detail)))) from fault
            raise


def _policy(job: Job) -> RetryPolicy:
    """A sample's mini-batches are tried once; guilty files and bad rows are told as in a run."""
    return RetryPolicy(
        0,
        job.timeout,
        not job.times_mini_batches,
        job.timeout_name,
        halvings=halving.MOST if job.on_bad_row == "quarantine" else 0,
    )


@dataclass(slots=True)
class _Found:
    """What goes wrong with first rows."""

    problems: list[Finding] = field(default_factory=list)
    aside: dict[str, Finding] = field(default_factory=dict)
    rows_aside: dict[str, int] = field(default_factory=dict)
    """Of each file with bad rows, by its longest sample."""

    def is_enough(self, calls: Sequence[_Call]) -> bool:
        return len(self.problems) + (0 if calls else len(self.aside)) >= MAX_REFUSALS

    def take(self, outcomes: Sequence[Outcome], prepared: Prepared) -> set[str]:
        """The names of the files that can't be scored."""
        entries = [entry for outcome in outcomes for entry in outcome.slices]
        for entry in entries:
            if isinstance(entry, Scored) and entry.aside:
                self.aside[entry.slice.file.name] = _warning(entry, entry.aside, prepared)
                self.rows_aside[entry.slice.file.name] = entry.aside.rows
        refused = [entry.failure for entry in entries if isinstance(entry, Failed)]
        for failure in refused:
            message = "\n".join(filter(None, (failure.reason, failure.detail)))
            self.problems.append(Finding("sample", "problem", message, (failure.file,)))
        return {failure.file for failure in refused}

    def all(self, job: Job, *, has_rows: bool) -> list[Finding]:
        """Also that the job will fail for its bad rows, as far as the first ones tell."""
        sure: list[str] = []
        number, most = sum(self.rows_aside.values()), job.max_bad_rows
        if isinstance(most, int) and number > most:
            there = f"{counted(number, 'bad row')} already in the sample"
            sure.append(f"{there}, more than the {most:,} that may be (--max-bad-rows)")
        if self.aside and not has_rows:
            sure.append("no row that was tried can be scored; where all are like these, the job fails")
        files = tuple(self.aside)
        return [*self.problems, *self.aside.values(), *(Finding("sample", "problem", each, files) for each in sure)]


def _warning(entry: Scored, aside: Quarantined, prepared: Prepared) -> Finding:
    """What would be put aside of a file's first rows."""
    path = Path(prepared.workspace.parts, aside.part)
    with storage_errors(f"can't read {path}"), path.open("rb") as stream:
        stream.seek(aside.start)
        reason = json.loads(stream.readline())["reason"]
    first = entry.rows + aside.rows
    message = f"{aside.rows:,} of its first {first:,} rows would be quarantined, such as: {reason}"
    return Finding("sample", "warning", message, (entry.slice.file.name,))


def _first_slices(fitting: Sequence[Fitting], rows: int, limit: int | None) -> tuple[FileSlice, ...]:
    """The first files' rows, so many as are wanted."""
    left = rows if limit is None else min(rows, limit)
    slices: list[FileSlice] = []
    for each in fitting[:MAX_FILES]:
        if left <= 0:
            break
        is_all = each.is_counted and each.rows <= left
        slices.append(FileSlice(each.file) if is_all else FileSlice(each.file, max_rows=left))
        left -= min(each.rows, left)
    return tuple(slices)


def _next(calls: Sequence[_Call], rows_per_call: int) -> int | None:
    """How many rows the next call gets; None where the last one was long enough to tell the rate."""
    last = calls[-1]
    if len(calls) == 1:  # what it took was for the most part the model's and its libraries' warming up
        return FIRST_ROWS if last.seconds < LONG_SECONDS else None
    factor = min(GROWTH, TARGET_SECONDS / max(last.seconds, 0.001))
    rows = min(int(last.rows * factor), rows_per_call, MAX_ROWS)
    return rows if rows >= 2 * last.rows else None


def _published(number: int, outcomes: Sequence[Outcome], prepared: Prepared) -> _Call:
    """The outcomes' parts joined to a prediction file, as the job itself would. Raises AnswerRefused."""
    scored = [
        (entry, outcome.columns)
        for outcome in outcomes
        for entry in outcome.slices
        if isinstance(entry, Scored) and entry.rows
    ]
    columns: tuple[Column, ...] = reduce(writers.unify, (each for _, each in scored), ())
    paths = {entry.part: Path(prepared.workspace.parts, entry.part) for entry, _ in scored}
    pieces = [writers.Piece(str(paths[entry.part]), entry.start, entry.stop, each) for entry, each in scored]
    target = Path(prepared.workspace.ready, f"sample-{number}")
    with storage_errors(f"can't write {target}"), target.open("wb") as stream:
        writers.join(prepared.settings.writer, pieces, stream, columns)
    size = sum(path.stat().st_size for path in paths.values())
    rows, seconds = sum(each.rows for each in outcomes), sum(each.seconds for each in outcomes)
    return _Call(rows, seconds, size, target, writers.published(columns))


def _summed_up(slots: Slots, calls: Sequence[_Call], prepared: Prepared) -> Sample | None:
    if not calls:
        return None
    first, last = calls[0], max(calls[1:] or calls, key=lambda call: call.rows)
    # what every file has, such as a footer, counts once: the difference is what a row takes
    rows = last.rows - first.rows or last.rows
    parts = (last.part_bytes - first.part_bytes) or last.part_bytes
    output = (last.output_bytes - first.output_bytes) or last.output_bytes
    return Sample(
        rows=last.rows,
        seconds=last.seconds,
        rows_per_second=last.rows / max(last.seconds, 1e-6),
        columns=last.columns,
        first_rows=tuple(map(_shown, first_rows(str(first.output), prepared.settings.writer, SHOWN_ROWS))),
        part_bytes_per_row=max(parts, 0) / rows,
        output_bytes_per_row=max(output, 0) / rows,
        peak_bytes=slots.peak_rss,
    )


def with_peak(sample: Sample, slots: Slots) -> Sample:
    """The sample with the memory of its worker, which is known once that has ended."""
    return replace(sample, peak_bytes=slots.peak_rss)


def sampled_first(fitting: Sequence[Fitting], *, has_signature: bool) -> list[Fitting]:
    """The files in the order in which they are sampled: the job's, but a file that is read whole isn't a huge one."""
    if has_signature:
        return list(fitting)
    return sorted(fitting, key=lambda each: each.file.size > TYPED_WHOLE)


def _shown(row: Sequence[Any]) -> tuple[Any, ...]:
    """A row without secrets, which a constant column may have."""
    return tuple(redact(value) if isinstance(value, str) else value for value in row)
