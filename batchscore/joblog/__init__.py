"""OUTPUT/logs: how a job goes on and ends, by Azure's file names."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from batchscore.errors import BatchscoreError, Stopped, UsageError
from batchscore.faults import ModelNotLoaded
from batchscore.job import Job
from batchscore.joblog import attempttable, texts
from batchscore.joblog.files import ERROR, RESULT, LogFiles
from batchscore.joblog.process import Attempt, ProcessLog, one_line
from batchscore.minibatch import MiniBatch
from batchscore.nouns import counted
from batchscore.outcome import Failed, Outcome, Scored
from batchscore.progress import LINE_SECONDS, Watcher, opening_line
from batchscore.redaction import secret_values, without
from batchscore.stopwatch import Lap
from batchscore.summary import Counts, Status
from batchscore.workspace import Workspace

__all__ = ["JobLog", "ProcessLog"]

_NAMED = 10


class JobLog:
    """The logs of one job, while it is entered; a Watcher that hands on what it hears, and the workers' Listener.

    A run that goes on with the job appends. A file that can't be written ends no job: it is told once.
    """

    def __init__(self, job: Job, workspace: Workspace, name: str, watch: Watcher) -> None:
        """``name``: the job's own. Raises UsageError where OUTPUT/logs is no job's and may not be overwritten."""
        self._job, self._workspace, self._watch = job, workspace, watch
        self._secrets = secret_values({**os.environ, **dict(job.environment)})
        self._files = LogFiles(workspace, name, self._secrets, watch, overwrites=job.overwrite)
        self._lock = threading.RLock()
        self._attempts: dict[int, int] = {}
        self._noted: set[str] = set()
        self._mini_batches = self._done = self._before = 0
        self._bytes = self._bytes_todo = 0
        """Of this run's input: done, and to do."""
        self._begun = self._said = self._finished = time.monotonic()
        self._status: Status | None = None
        """What the job was said to have ended with."""
        self._counts = Counts()

    @property
    def folder(self) -> Path:
        """Where the logs are now."""
        return self._files.folder

    def __enter__(self) -> JobLog:
        self._files.open()
        named = ", ".join(self._job.inputs[:_NAMED]) + (", …" if len(self._job.inputs) > _NAMED else "")
        self._files.say(f"Model {self._job.model or 'none'}, inputs {named}, output {self._workspace.root}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._workspace.is_done and isinstance(error, UsageError):
            self._files.discard()  # a job that never was leaves nothing
        elif error is not None and self._status in {None, "Completed"}:  # job.json may be what can't be written
            known = error if isinstance(error, BatchscoreError) else None
            message = str(known) if known else f"{type(error).__name__}: {error}"
            status: Status = "Canceled" if isinstance(error, (Stopped, KeyboardInterrupt)) else "Failed"
            self.conclude(status, message, self._counts, known.exit_code if known else 1, known)
        self._files.end()

    # What the runner tells

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None:
        self._files.say(opening_line(files, folders, skipped))
        for note in notes:
            self._note(note)
        self._watch.opened(files, folders, skipped, notes)

    def note(self, text: str) -> None:
        self._note(text)
        self._watch.note(text)

    def scheduled(self, mini_batches: int, left: int) -> None:
        """How many mini-batches there are, and how many of them are still to do."""
        self._mini_batches, self._done, self._before = mini_batches, mini_batches - left, mini_batches - left
        seconds = time.monotonic() - self._begun
        self._files.say(f"Scheduling finished. Scheduled {mini_batches} mini batches in {seconds:.2f} seconds.")
        if self._before:
            self._files.say(f"{self._before} mini batches were processed before.")
            done = f"{self._before:,} of {counted(mini_batches, 'mini-batch')}"
            self._watch.note(f"goes on with an unfinished job: {done} done already")
        self._begun = self._said = time.monotonic()

    def planned(self, total: int, todo: int) -> None:
        self._bytes_todo = todo
        self._watch.planned(total, todo)

    def scored(self, rows: int) -> None:
        self._watch.scored(rows)

    def recorded(self, mini_batch: MiniBatch, outcomes: tuple[Outcome, ...]) -> None:
        """What became of a mini-batch in the end."""
        with self._lock:
            self._attempts.pop(mini_batch.number, None)
            self._done += 1
            self._finished = now = time.monotonic()
        for outcome in outcomes:
            failures = [entry.failure for entry in outcome.slices if isinstance(entry, Failed)]
            if outcome.shortfall:
                failures.append(outcome.shortfall)
            for failure in dict.fromkeys(failures):  # a scoring script's is one for all its files
                of = f"{failure.count} of {len(failure.files)} files from " if len(failure.files) > 1 else "file "
                self._files.error(f"{of}{failure.file} failed: {failure.reason}")
            if rows := outcome.rows_aside:
                first = next(entry.slice for entry in outcome.slices if isinstance(entry, Scored) and entry.aside)
                self._files.error(f"mini-batch {outcome.number}, from {first.file.name} on: {rows} rows quarantined")
        self._say_how_far(now, is_last=self._done == self._mini_batches)

    def finished(self, size: int) -> None:
        """So many bytes of the input more are done."""
        self._watch.finished(size)
        with self._lock:
            self._bytes += size
        self._say_how_far(time.monotonic())

    def _say_how_far(self, now: float, *, is_last: bool = False) -> None:
        with self._lock:
            if not is_last and (now - self._said < LINE_SECONDS or not self._bytes):
                return
            self._said = now
        left = 0.0 if is_last else (now - self._begun) * (self._bytes_todo - self._bytes) / self._bytes
        self._files.say(
            f"Processed {self._done} of {self._mini_batches} mini batches in {_span(now - self._begun)}. "
            f"Estimate remaining {_span(left)}."
        )

    def closed(self) -> None:
        self._watch.closed()

    def conclude(
        self, status: Status, message: str, counts: Counts, exit_code: int, error: BatchscoreError | None = None
    ) -> None:
        """Write down how the job ended, and put the logs into their place."""
        self._status, self._counts = status, counts
        if status == "Completed":
            seconds = time.monotonic() - self._finished
            self._files.say(f"Finished concatenating {counts.mini_batches} parts in {seconds:.2f} seconds.")
        self._files.say(
            f"There are {counts.mini_batches} mini batches with {counts.files} items. Processed {self._done}: "
            f"{counts.rows_scored} rows scored, {counts.files_failed} items failed. "
            f"The error threshold is {self._job.error_threshold}."
        )
        self._files.say(f"{status}: {message}")
        self._files.replace(RESULT, texts.result(status, message, counts, exit_code))
        self._files.replace(ERROR, texts.problems(self._workspace.output, status, message, counts, error))
        self._files.move_in()

    # What the workers tell

    def attempt_at(self, mini_batch: MiniBatch) -> int:
        with self._lock:
            number = self._attempts[mini_batch.number] = self._attempts.get(mini_batch.number, 0) + 1
        return number

    def attempted(self, attempt: Attempt) -> None:
        self._files.report(attempttable.attempt_row(attempt))
        if isinstance(attempt.result, Outcome):
            self.detail(f"{attempt.process.name}: {attempt.title} is done after {attempt.seconds:.2f} seconds")
        else:
            self._files.error(f"{attempt.process.name}: {attempt.title} failed: {attempt.result}")
            self.detail(f"{attempt.process.name}: {attempt.title} failed: {attempt.result}")

    def loaded(self, process: str, since: float, load: Lap) -> None:
        """Nothing that isn't in the overview already."""

    def not_loaded(self, process: str, started: float, failure: ModelNotLoaded) -> None:
        self._files.report(attempttable.load_row(process, started, time.time() - started, failure))
        self._files.error(f"{process}: the model wasn't loaded: {failure.message}")

    def detail(self, text: str) -> None:
        if self._job.logging_level == "debug":
            self._files.say(text)
            self._watch.detail(without(self._secrets, one_line(text)))

    def incomplete(self, path: Path, error: OSError) -> None:
        self._files.incomplete(path, error)

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._files.say(text)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
