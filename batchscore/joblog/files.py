"""The files of a job's logs: where they lie, and how they are written."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path

from batchscore import __version__
from batchscore.errors import OutputLocked, StorageError, UsageError
from batchscore.joblog import texts
from batchscore.joblog.attempttable import header
from batchscore.joblog.capped import CappedFile
from batchscore.joblog.process import one_line
from batchscore.moments import utc
from batchscore.progress import Watcher
from batchscore.redaction import without
from batchscore.storage import Folder, Place, clear_folder, storage_errors
from batchscore.workspace import Workspace

NAME = "logs"
OVERVIEW = "job_progress_overview.txt"
RESULT = "job_result.txt"
ERROR = "job_error.txt"
REPORT = "sys/job_report/processed_mini-batches.csv"
_README = "readme.txt"
_NAMES = {OVERVIEW, RESULT, ERROR, _README, "sys", "user"}
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


class LogFiles:
    """The files of one job's logs, written without secrets.

    They lie in OUTPUT/logs from the beginning. Only where another job's are there still, they take their place when
    this job ends, as job.json does; until then they are in OUTPUT/.batchscore.
    With a work directory they are there, and OUTPUT/logs is their copy when a run of the job ends.
    """

    def __init__(
        self, workspace: Workspace, name: str, secrets: tuple[str, ...], watch: Watcher, *, overwrites: bool
    ) -> None:
        """``name``: the job's own. Raises UsageError where OUTPUT/logs is no job's and may not be overwritten."""
        self._workspace, self._name, self._secrets, self._watch = workspace, name, secrets, watch
        self._place = Path(workspace.root, NAME)
        holder = owner(workspace.output, NAME)
        if holder is None and not overwrites:
            raise UsageError(
                f"OUTPUT {workspace.root} holds {NAME}, which no job of batchscore wrote; "
                "give another OUTPUT, or --overwrite to replace it"
            )
        self._staged = Path(workspace.staged_logs)
        is_staged = holder != name and (holder != "" or self._staged_for() == name)
        self.folder = self._staged if is_staged or workspace.is_apart else self._place
        """Where the logs are now."""
        self._lock = threading.RLock()
        self._files: dict[str, CappedFile] = {}
        self._is_over = False

    def _staged_for(self) -> str | None:
        return owner(Folder(str(self._staged.parent)), self._staged.name)

    def open(self) -> None:
        """Begin the logs, or go on with them. Raises StorageError."""
        is_resumed = owner(Folder(str(self.folder.parent)), self.folder.name) == self._name
        with storage_errors(f"can't write to {self.folder}"):
            if not is_resumed and self._staged.exists():
                shutil.rmtree(self._staged)
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.folder == self._place:
                _move(self._staged, self._place)  # what a run that was killed has left there
            for name in (RESULT, ERROR):
                (self.folder / name).unlink(missing_ok=True)
            self.say(f"batchscore {__version__} {'goes on with' if is_resumed else 'begins'} job {self._name}")
            (self.folder / _README).write_text(texts.README, encoding="utf-8")
        self.report(b"")  # its header

    def say(self, text: str) -> None:
        """A line of the overview; the further lines of a text are indented."""
        self._append(OVERVIEW, f"{utc(time.time())} " + "\n  ".join(text.splitlines()))

    def error(self, text: str) -> None:
        self._append("user/error.txt", f"{utc(time.time())} {one_line((text.splitlines() or [''])[0])}")

    def _append(self, name: str, line: str) -> None:
        with self._lock:
            if self._is_over:
                return
            file = self._files.setdefault(name, CappedFile(self.folder / name))
            file.write(without(self._secrets, f"{line}\n").encode("utf-8", "backslashreplace"))

    def report(self, row: bytes) -> None:
        with self._lock:
            if self._is_over:
                return
            path = self.folder / REPORT
            file = self._files.setdefault(REPORT, CappedFile(path, capped=False))
            text = without(self._secrets, row.decode()).encode()
            file.write(text if path.exists() else header() + text)

    def replace(self, name: str, text: str) -> None:
        """Write a file anew; none where there is no text."""
        path = self.folder / name
        try:
            path.unlink(missing_ok=True)
            if text:
                path.write_text(without(self._secrets, text), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.incomplete(path, error)

    def move_in(self) -> None:
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

    def end(self) -> None:
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

    def incomplete(self, path: Path, error: OSError) -> None:
        """Tell of a file that couldn't be written."""
        self._watch.note(f"the log {path} is incomplete: {error.strerror}")

    def discard(self) -> None:
        """Leave nothing."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)


def _overview_first(path: Path) -> bool:
    return path.name != OVERVIEW


def _move(source: Path, target: Path) -> None:
    """Move logs, first of all the file that says whose they are; to another disk, too."""
    for path in sorted(source.iterdir(), key=_overview_first) if source.exists() else ():
        if not (target / path.name).exists():
            shutil.move(path, target / path.name)
