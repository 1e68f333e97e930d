"""OUTPUT/logs: how a job goes on and ends, by Azure's file names."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from batchscore import __version__
from batchscore.errors import BatchscoreError, OutputLocked, Stopped, StorageError, UsageError
from batchscore.faults import ModelNotLoaded
from batchscore.job import Job
from batchscore.joblog import report, texts
from batchscore.joblog.capped import CappedFile
from batchscore.joblog.process import Attempt, ProcessLog, one_line
from batchscore.locking import utc
from batchscore.minibatch import MiniBatch
from batchscore.nouns import counted
from batchscore.outcome import Failed, Outcome, Scored
from batchscore.progress import LINE_SECONDS, Watcher, opening_line
from batchscore.redaction import secret_values, without
from batchscore.stopwatch import Lap
from batchscore.storage import Folder, Place, clear_folder, storage_errors
from batchscore.summary import Counts, Status
from batchscore.workspace import Workspace

__all__ = ["JobLog", "ProcessLog"]

NAME = "logs"
OVERVIEW = "job_progress_overview.txt"
RESULT = "job_result.txt"
ERROR = "job_error.txt"
REPORT = "sys/job_report/processed_mini-batches.csv"
_README = "readme.txt"
_NAMES = {OVERVIEW, RESULT, ERROR, _README, "sys", "user"}
_NAMED = 10
_FIRST_LINE = re.compile(rb"\S+ batchscore \S+ begins job (\w+)")


def owner(place: Place, folder: str) -> str | None:
    """The job whose logs a folder holds; "" where it isn't there or has nothing in it, None where it is no job's.

    An overview without a whole line, among none but names of logs, is nothing: a disk was full when a job began.
    """
    names: set[str] = set()
    try:
        with place.open(f"{folder}/{OVERVIEW}") as stream:
            line = stream.readline(1000)
        found = _FIRST_LINE.match(line)
        if line.endswith(b"\n"):
            return found[1].decode() if found else None
        names = _NAMES
    except OSError:
        pass  # there is none
    is_free = not place.holds(folder) or (place.has_folder(folder) and place.names(folder) <= names)
    return "" if is_free else None


class JobLog:
    """The logs of one job, while it is entered; a Watcher that hands on what it hears, and the workers' Listener.

    They lie in OUTPUT/logs from the beginning. Only where another job's are there still, they take their place when
    this job ends, as job.json does; until then they are in OUTPUT/.batchscore. A run that goes on with the job appends.
    With a work directory they are there, and OUTPUT/logs is their copy when a run of the job ends.
    A file that can't be written ends no job: it is told once.
    """

    def __init__(self, job: Job, workspace: Workspace, name: str, watch: Watcher) -> None:
        """``name``: the job's own. Raises UsageError where OUTPUT/logs is no job's and may not be overwritten."""
        self._job, self._workspace, self._name, self._watch = job, workspace, name, watch
        self._place = Path(workspace.root, NAME)
        holder = owner(workspace.output, NAME)
        if holder is None and not job.overwrite:
            raise UsageError(
                f"OUTPUT {workspace.root} holds {NAME}, which no job of batchscore wrote; "
                "give another OUTPUT, or --overwrite to replace it"
            )
        self._staged = Path(workspace.staged_logs)
        is_staged = holder != name and (holder != "" or self._staged_for() == name)
        self.folder = self._staged if is_staged or workspace.is_apart else self._place
        """Where the logs are now."""
        self._secrets = secret_values({**os.environ, **dict(job.environment)})
        self._lock = threading.RLock()
        self._files: dict[str, CappedFile] = {}
        self._attempts: dict[int, int] = {}
        self._noted: set[str] = set()
        self._mini_batches = self._done = self._before = 0
        self._begun = self._said = self._finished = time.monotonic()
        self._is_over = False
        self._status: Status | None = None
        """What the job was said to have ended with."""
        self._counts = Counts()

    def _staged_for(self) -> str | None:
        return owner(Folder(str(self._staged.parent)), self._staged.name)

    def __enter__(self) -> JobLog:
        is_resumed = owner(Folder(str(self.folder.parent)), self.folder.name) == self._name
        with storage_errors(f"can't write to {self.folder}"):
            if not is_resumed and self._staged.exists():
                shutil.rmtree(self._staged)
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.folder == self._place:
                _move(self._staged, self._place)  # what a run that was killed has left there
            for name in (RESULT, ERROR):
                (self.folder / name).unlink(missing_ok=True)
            self._say(f"batchscore {__version__} {'goes on with' if is_resumed else 'begins'} job {self._name}")
            (self.folder / _README).write_text(texts.README, encoding="utf-8")
        self._report(b"")
        named = ", ".join(self._job.inputs[:_NAMED]) + (", …" if len(self._job.inputs) > _NAMED else "")
        self._say(f"Model {self._job.model or 'none'}, inputs {named}, output {self._workspace.root}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._workspace.is_done and isinstance(error, UsageError):
            self._end()
            shutil.rmtree(self.folder, ignore_errors=True)  # a job that never was leaves nothing
        elif error is not None and self._status in {None, "Completed"}:  # job.json may be what can't be written
            known = error if isinstance(error, BatchscoreError) else None
            message = str(known) if known else f"{type(error).__name__}: {error}"
            status: Status = "Canceled" if isinstance(error, (Stopped, KeyboardInterrupt)) else "Failed"
            self.conclude(status, message, self._counts, known.exit_code if known else 1, known)
        self._end()

    # What the runner tells

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None:
        self._say(opening_line(files, folders, skipped))
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
        self._say(f"Scheduling finished. Scheduled {mini_batches} mini batches in {seconds:.2f} seconds.")
        if self._before:
            self._say(f"{self._before} mini batches were processed before.")
            done = f"{self._before:,} of {counted(mini_batches, 'mini-batch')}"
            self._watch.note(f"goes on with an unfinished job: {done} done already")
        self._begun = self._said = time.monotonic()

    def planned(self, total: int, todo: int) -> None:
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
                self._error(f"{of}{failure.file} failed: {failure.reason}")
            if rows := outcome.rows_aside:
                first = next(entry.slice for entry in outcome.slices if isinstance(entry, Scored) and entry.aside)
                self._error(f"mini-batch {outcome.number}, from {first.file.name} on: {rows} rows quarantined")
        if now - self._said >= LINE_SECONDS or self._done == self._mini_batches:
            self._said = now
            left = (now - self._begun) * (self._mini_batches - self._done) / (self._done - self._before)
            self._say(
                f"Processed {self._done} of {self._mini_batches} mini batches in {_span(now - self._begun)}. "
                f"Estimate remaining {_span(left)}."
            )

    def finished(self, size: int) -> None:
        self._watch.finished(size)

    def closed(self) -> None:
        self._watch.closed()

    def conclude(
        self, status: Status, message: str, counts: Counts, exit_code: int, error: BatchscoreError | None = None
    ) -> None:
        """Write down how the job ended, and put the logs into their place."""
        self._status, self._counts = status, counts
        if status == "Completed":
            seconds = time.monotonic() - self._finished
            self._say(f"Finished concatenating {counts.mini_batches} parts in {seconds:.2f} seconds.")
        self._say(
            f"There are {counts.mini_batches} mini batches with {counts.files} items. Processed {self._done}: "
            f"{counts.rows_scored} rows scored, {counts.files_failed} items failed. "
            f"The error threshold is {self._job.error_threshold}."
        )
        self._say(f"{status}: {message}")
        self._replace(RESULT, texts.result(status, message, counts, exit_code))
        self._replace(ERROR, texts.problems(self._workspace.output, status, message, counts, error))
        self._move_in()

    # What the workers tell

    def attempt_at(self, mini_batch: MiniBatch) -> int:
        with self._lock:
            number = self._attempts[mini_batch.number] = self._attempts.get(mini_batch.number, 0) + 1
        return number

    def attempted(self, attempt: Attempt) -> None:
        self._report(report.attempt_row(attempt))
        if isinstance(attempt.result, Outcome):
            self.detail(f"{attempt.process.name}: {attempt.title} is done after {attempt.seconds:.2f} seconds")
        else:
            self._error(f"{attempt.process.name}: {attempt.title} failed: {attempt.result}")
            self.detail(f"{attempt.process.name}: {attempt.title} failed: {attempt.result}")

    def loaded(self, process: str, since: float, load: Lap) -> None:
        """Nothing that isn't in the overview already."""

    def not_loaded(self, process: str, started: float, failure: ModelNotLoaded) -> None:
        self._report(report.load_row(process, started, time.time() - started, failure))
        self._error(f"{process}: the model wasn't loaded: {failure.message}")

    def detail(self, text: str) -> None:
        if self._job.logging_level == "debug":
            self._say(text)
            self._watch.detail(without(self._secrets, one_line(text)))

    def incomplete(self, path: Path, error: OSError) -> None:
        self._watch.note(f"the log {path} is incomplete: {error.strerror}")

    # How it is written

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._say(text)

    def _say(self, text: str) -> None:
        """A line of the overview; the further lines of a text are indented."""
        self._append(OVERVIEW, f"{utc(time.time())} " + "\n  ".join(text.splitlines()))

    def _error(self, text: str) -> None:
        self._append("user/error.txt", f"{utc(time.time())} {one_line((text.splitlines() or [''])[0])}")

    def _append(self, name: str, line: str) -> None:
        with self._lock:
            if self._is_over:
                return
            file = self._files.setdefault(name, CappedFile(self.folder / name))
            file.write(without(self._secrets, f"{line}\n").encode("utf-8", "backslashreplace"))

    def _report(self, row: bytes) -> None:
        with self._lock:
            if self._is_over:
                return
            path = self.folder / REPORT
            file = self._files.setdefault(REPORT, CappedFile(path, capped=False))
            text = without(self._secrets, row.decode()).encode()
            file.write(text if path.exists() else report.header() + text)

    def _replace(self, name: str, text: str) -> None:
        """Write a file anew; none where there is no text."""
        path = self.folder / name
        try:
            path.unlink(missing_ok=True)
            if text:
                path.write_text(without(self._secrets, text), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.incomplete(path, error)

    def _move_in(self) -> None:
        """Take the place of another job's logs, which go."""
        if self.folder == self._place:
            return
        self._close()
        try:
            self._workspace.check_lock()
            if self._workspace.is_apart:
                self._workspace.output.mirror(NAME, str(self._staged), OVERVIEW)
                return
            if owner(self._workspace.output, NAME) != self._name:
                clear_folder(str(self._place), OVERVIEW)
                self._place.mkdir(exist_ok=True)
            _move(self._staged, self._place)
            self.folder = self._place
        except OutputLocked:
            pass  # whoever broke the lock has logs there; this run ends with that error
        except OSError as error:
            self.incomplete(self._place, error)
        except StorageError as error:
            self._watch.note(f"the logs are incomplete: {error}")

    def _end(self) -> None:
        """Write nothing any more: a thread that outlasts the job would make files where there are to be none."""
        with self._lock:
            self._is_over = True
            self._close()

    def _close(self) -> None:
        with self._lock:
            files, self._files = self._files, {}
            for file in files.values():
                file.close()
                if file.error:
                    self.incomplete(file.path, file.error)


def _overview_first(path: Path) -> bool:
    return path.name != OVERVIEW


def _move(source: Path, target: Path) -> None:
    """Move logs, first of all the file that says whose they are; to another disk, too."""
    for path in sorted(source.iterdir(), key=_overview_first) if source.exists() else ():
        if not (target / path.name).exists():
            shutil.move(path, target / path.name)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
