"""The first rows of a job, scored for real in a worker: what comes out, and how fast."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore import writers
from batchscore.errors import BatchscoreError, Stopped
from batchscore.faults import WorkerFault
from batchscore.minibatch import Column, Failed, FileSlice, InputFile, MiniBatch, Outcome, Quarantined, Scored
from batchscore.planning import Prepared
from batchscore.report import Finding, Sample
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
"""Files whose first rows don't fit, until no further one is tried."""
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
    job = prepared.job
    findings: list[Finding] = []
    aside: dict[str, Finding] = {}
    calls: list[_Call] = []
    left = [each for each in fitting if each.rows]
    wanted: int | None = FIRST_ROWS
    while wanted and left and len(findings) < MAX_REFUSALS:
        batch = MiniBatch(len(calls), _first_slices(left, wanted, job.limit))
        if not batch.slices:
            break
        try:
            outcome = slots.ask(batch, job.timeout, restarts_clock=not job.times_mini_batches)
        except WorkerFault as fault:
            findings.append(Finding("sample", "problem", "\n".join(filter(None, (fault.reason, fault.detail)))))
            break
        except Stopped:
            raise
        except BatchscoreError as error:
            findings.append(Finding("sample", "problem", str(error)))
            break
        for entry in outcome.slices:
            if isinstance(entry, Scored) and entry.aside:
                aside[entry.slice.file.name] = _warning(entry, entry.aside, prepared)
        refused = [entry.failure for entry in outcome.slices if isinstance(entry, Failed)]
        findings += [Finding("sample", "problem", failure.reason, (failure.file,)) for failure in refused]
        left = [each for each in left if each.file.name not in {failure.file for failure in refused}]
        if outcome.rows:
            calls.append(_published(outcome, prepared))
            wanted = (
                _next(calls, prepared.settings.rows_per_call)
                if refused or outcome.rows + outcome.rows_aside >= wanted or len(calls) == 1
                else None
            )
        elif not refused:
            left = left[1:]  # of no rows after all
    return _summed_up(slots, calls, prepared), [*findings, *aside.values()]


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


def _published(outcome: Outcome, prepared: Prepared) -> _Call:
    """The outcome's part joined to a prediction file, as the job itself would."""
    scored = [entry for entry in outcome.slices if isinstance(entry, Scored) and entry.rows]
    paths = {entry.part: Path(prepared.workspace.parts, entry.part) for entry in scored}
    pieces = [writers.Piece(str(paths[entry.part]), entry.start, entry.stop, outcome.columns) for entry in scored]
    target = Path(prepared.workspace.ready, f"sample-{outcome.number}")
    with storage_errors(f"can't write {target}"), target.open("wb") as stream:
        writers.join(prepared.settings.writer, pieces, stream, outcome.columns)
    size = sum(path.stat().st_size for path in paths.values())
    return _Call(outcome.rows, outcome.seconds, size, target, writers.published(outcome.columns))


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
        first_rows=tuple(map(tuple, first_rows(str(first.output), prepared.settings.writer, SHOWN_ROWS))),
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
