"""A job that runs or was killed, by its journal: what is done, how fast, and what failed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.highlights import Glimpse, Highlights
from batchscore.journal import read_outcomes
from batchscore.minibatch import FileSlice, Json
from batchscore.moments import seconds_of
from batchscore.outcome import Failure, Outcome, Quarantined, Scored
from batchscore.runplan import RunPlan
from batchscore.showing.shown import Progress
from batchscore.stopwatch import Spent
from batchscore.workspace import Workspace


@dataclass(slots=True)
class _Run:
    """What the last run has done so far."""

    numbers: set[int] = field(default_factory=set)
    """Of its mini-batches."""
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """Of its workers, in the attempts that ended the mini-batches."""
    last: float | None = None
    """When its last receipt came, seconds since the epoch."""


class Tally:
    """The receipts of an unfinished job in figures; on each slice the last word wins.

    Of runs before the last one, receipts count whose files are as they were when that was planned; their failures, as
    long as they aren't tried again.
    """

    def __init__(self, plan: RunPlan | None = None, files: set[tuple[str, str]] | None = None) -> None:
        self.plan = plan
        self._files = files
        """Path and version of each; None where any counts."""
        self.run = _Run()
        self.highlights = Highlights()
        self._scored: dict[FileSlice, int] = {}
        self.aside: dict[FileSlice, Quarantined] = {}
        """Where the lines of rows put aside lie."""
        self._failed: dict[FileSlice, tuple[Glimpse, Failure]] = {}
        self._shortfalls: dict[int, Failure] = {}
        """Of a scoring script's mini-batches."""
        self._retries = 0
        self.spent = Spent()
        """Of the attempts that scored something."""

    def take(self, place: int, outcome: Outcome) -> None:
        """Count the receipt that stands there in the journal."""
        self._retries += outcome.retries
        self.spent += outcome.spent or Spent()
        self.highlights.take(outcome)
        if self.plan and place >= self.plan.journal_end:
            if not self.run.numbers:
                self.forget_retried()
            self.run.numbers.add(outcome.number)
            self.run.rows += outcome.rows
            self.run.seconds += outcome.seconds
            self.run.bytes += sum(entry.slice.bytes for entry in outcome.slices)
        self._shortfalls.pop(outcome.number, None)
        if outcome.shortfall:
            self._shortfalls[outcome.number] = outcome.shortfall
        for entry in outcome.slices:
            file = entry.slice.file
            if self._files is not None and (file.path, file.version) not in self._files:
                continue
            self._scored.pop(entry.slice, None)
            self.aside.pop(entry.slice, None)
            self._failed.pop(entry.slice, None)
            if isinstance(entry, Scored):
                self._scored[entry.slice] = entry.rows
                if entry.aside:
                    self.aside[entry.slice] = entry.aside
            else:
                self._failed[entry.slice] = Glimpse.of(outcome), entry.failure

    def forget_retried(self) -> None:
        """Drop the failures of the runs before where the last one tries them again."""
        if self.plan and not self.plan.files_failed:
            self._failed.clear()
            self._shortfalls.clear()

    @property
    def failures(self) -> tuple[Failure, ...]:
        """As lines of failures.jsonl: one for each failed file, with a scoring script one for each mini-batch."""
        return tuple(dict.fromkeys((*self._failed_files.values(), *self._shortfalls.values())))

    @property
    def _failed_files(self) -> dict[str, Failure]:
        return {piece.file.name: failure for piece, (_, failure) in self._failed.items()}

    @property
    def failed(self) -> tuple[Glimpse, ...]:
        """The mini-batches with a failed file."""
        by_number = {glimpse.number: glimpse for glimpse, _ in self._failed.values()}
        return tuple(by_number[number] for number in sorted(by_number))

    @property
    def counts(self) -> Json:
        """By job.json's names, as far as they are known."""
        plan, failed = self.plan, self._failed_files
        return {
            "files": plan.files if plan else None,
            "files_failed": len(failed) + sum(failure.count for failure in self._shortfalls.values()),
            "files_skipped": plan.files_skipped if plan else None,
            "mini_batches": plan.mini_batches if plan else None,
            "rows_quarantined": sum(aside.rows for piece, aside in self.aside.items() if piece.file.name not in failed),
            "rows_scored": sum(rows for piece, rows in self._scored.items() if piece.file.name not in failed),
            "retries": self._retries,
        }

    def progress(self, *, is_running: bool) -> Progress | None:
        """How far the run has come; None where it hasn't planned yet."""
        plan, run = self.plan, self.run
        if plan is None:
            return None
        begun, now = seconds_of(plan.scoring_since), time.time()
        elapsed = max((now if is_running else run.last or begun) - begun, 0.0)
        done = plan.bytes - plan.bytes_todo + run.bytes
        left = plan.mini_batches_todo - len(run.numbers)
        todo = plan.bytes_todo - run.bytes
        seconds_left = run.seconds / max(plan.workers, 1) * todo / run.bytes if run.bytes and is_running else None
        return Progress(
            percent=100 * done // plan.bytes if plan.bytes else 100 * (not left),
            mini_batches=plan.mini_batches,
            mini_batches_done=plan.mini_batches - left,
            mini_batches_left=left,
            bytes=plan.bytes,
            bytes_done=done,
            rows_scored=run.rows,
            seconds=round(elapsed, 1),
            rows_per_second=round(run.rows / elapsed, 1) if run.rows and elapsed else None,
            seconds_left=None if seconds_left is None else round(seconds_left, 3),
            seconds_since_receipt=round(max(now - run.last, 0.0), 1) if run.last else None,
            workers=plan.workers,
        )


def tally(workspace: Workspace, plan: RunPlan | None) -> Tally:
    """The journal as it is now, counted. Raises OSError."""
    found = Tally(plan, _files(workspace))
    journal = Path(workspace.journal)
    for place, outcome in read_outcomes(journal):
        found.take(place, outcome)
    if found.run.numbers:
        found.run.last = journal.stat().st_mtime
    else:
        found.forget_retried()
    return found


def _files(workspace: Workspace) -> set[tuple[str, str]] | None:
    """The files of the last run, each with its version; None where they aren't written down whole."""
    try:
        with Path(workspace.folder, "inputs.jsonl").open(encoding="ascii") as stream:
            return {(path, version) for _, path, _, version in map(json.loads, stream)}
    except (FileNotFoundError, ValueError):
        return None
