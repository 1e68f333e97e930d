"""OUTPUT/.batchscore: the lock, the journal and the parts of a job that isn't finished."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import shutil
import socket
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from batchscore.errors import OutputLocked, StorageError, UsageError
from batchscore.job import SUFFIXES
from batchscore.minibatch import Json, compact
from batchscore.storage import local_path, storage_errors

FOLDER = ".batchscore"
LOCK = "lock"
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_MANIFEST_KEYS = {"status", "job", "identity", "inputs", "outputs", "counts"}
_GLANCE_SECONDS = 0.02
_GLANCES = 5
"""So often a run asks for the lock, since who only looks (`held_by`) holds it for an instant."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock of an output folder, as far as the lock says."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None

    @classmethod
    def parse(cls, text: str) -> Holder:
        try:
            record = json.loads(text)
            return cls(record["pid"], record["host"], record.get("since"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid} on {self.host}"


class Workspace:
    """The output folder while this process holds its lock.

    The lock is the kernel's (flock), so it goes with the process, however that ends. On leaving, the folder is
    removed where the job is done or never began. An OUTPUT with a result that may only be read isn't locked.
    """

    def __init__(self, output: str) -> None:
        self.root = os.path.realpath(local_path(output, "OUTPUT"))
        self.folder = str(Path(self.root, FOLDER))
        self.parts = str(Path(self.folder, "parts"))
        self.ready = str(Path(self.folder, "ready"))
        """Finished files that aren't in their places yet."""
        self.logs = str(Path(self.folder, "logs"))
        self.staged_logs = str(Path(self.folder, "job-logs"))
        """OUTPUT/logs to be, as long as another job's are there."""
        self.journal = str(Path(self.folder, "journal.jsonl"))
        self.is_done = False
        """Whether nothing in the folder is needed any more."""
        self._made_root = False
        self._lock: int | None = None
        self._refusal: StorageError | None = None
        _refuse_file(output, self.root)

    @property
    def models(self) -> str:
        """AZUREML_MODEL_DIR of a scoring script."""
        return str(Path(self.folder, "models"))

    @property
    def workers(self) -> str:
        """Where each worker has the folder that its scoring script writes to."""
        return str(Path(self.folder, "workers"))

    def __enter__(self) -> Workspace:
        try:
            with storage_errors(f"can't create OUTPUT {self.root}"):
                self._made_root = not Path(self.root).exists()
                self._lock = self._acquire()
                for folder in (self.parts, self.ready, self.logs):
                    Path(folder).mkdir(mode=0o700, exist_ok=True)
        except StorageError as error:
            if (
                not isinstance(error.__cause__, OSError)
                or error.__cause__.errno not in _READ_ONLY
                or not self._has_result
            ):
                raise
            self._refusal = error
        return self

    @property
    def _has_result(self) -> bool:
        return Path(self.root, "job.json").is_file()

    def require_writing(self) -> None:
        """Raise StorageError where OUTPUT may only be read."""
        if self._refusal:
            raise self._refusal

    def _acquire(self) -> int:
        path = Path(self.folder, LOCK)
        while True:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # the run before removed its folder this moment
            if not _is_locked(handle):
                holder = Holder.parse(os.read(handle, 1000).decode("utf-8", "replace"))
                os.close(handle)
                who = "" if holder.pid is None else f" ({holder})"
                raise OutputLocked(f"another run holds OUTPUT {self.root}{who}; wait for it or stop it")
            if _is_at(path, handle):
                break
            os.close(handle)  # the run before removed it between our open and flock
        os.ftruncate(handle, 0)
        this = Holder(os.getpid(), socket.gethostname(), utc(time.time()))
        os.write(handle, compact(asdict(this)).encode())
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is None:
            return
        if self.is_done or not Path(self.journal).exists():
            with contextlib.suppress(OSError):  # what is left does no harm
                self._remove()
        os.close(self._lock)

    def _remove(self) -> None:
        """Remove the folder, the lock last: from then on the next run may make its own."""
        for entry in os.scandir(self.folder):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.name != LOCK:
                Path(entry.path).unlink()
        Path(self.folder, LOCK).unlink()
        Path(self.folder).rmdir()
        if self._made_root:
            Path(self.root).rmdir()

    def part_names(self) -> set[str]:
        with storage_errors(f"can't list {self.parts}"):
            return set(os.listdir(self.parts))  # noqa: PTH208 (names, of 100,000 files)

    def keep_parts(self, names: Collection[str]) -> None:
        """Remove parts and temporary files that no receipt speaks of, and what an earlier run had ready."""
        with storage_errors(f"can't clear {self.folder}"):
            for name in self.part_names() - set(names):
                path = Path(self.parts, name)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        self.clear_ready()

    def clear_ready(self) -> None:
        """Remove what waits to be put into its place."""
        with storage_errors(f"can't clear {self.ready}"):
            for path in Path(self.ready).iterdir():
                path.unlink()

    def announce(self, names: Collection[str]) -> None:
        """Write down which files of a scoring script are about to be put into OUTPUT, before the first one is."""
        if names or self.announced():
            with storage_errors(f"can't write {self._announcement}"):
                temporary = self._announcement.with_suffix(".tmp")
                temporary.write_text(json.dumps(sorted(names)))
                temporary.replace(self._announcement)

    def announced(self) -> tuple[str, ...]:
        """The files of a scoring script that this unfinished job, or the one before it, may have put into OUTPUT."""
        try:
            return tuple(json.loads(self._announcement.read_text()))
        except (OSError, ValueError):
            return ()

    @property
    def _announcement(self) -> Path:
        return Path(self.folder, "files.json")

    def manifest(self) -> Json | None:
        """The content of job.json; None where there is none."""
        path = Path(self.root, "job.json")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            raise UsageError(
                f"{path} isn't a summary of batchscore ({error}); give another OUTPUT or remove it"
            ) from error
        if not isinstance(content, dict) or not content.keys() >= _MANIFEST_KEYS:
            raise UsageError(f"{path} isn't a summary of batchscore; give another OUTPUT or remove it")
        return content


class Glance(Workspace):
    """OUTPUT looked at without touching it: what a job writes beside its results goes to a private folder.

    It is never entered. The journal is the one in OUTPUT.
    """

    def __init__(self, output: str, scratch: str) -> None:
        super().__init__(output)
        self.holder: Holder | None = None
        """Who holds OUTPUT now, as far as that may be known."""
        with contextlib.suppress(OSError):
            self.holder = held_by(self.folder)
        self.folder = scratch
        self.parts, self.ready, self.logs = (str(Path(scratch, name)) for name in ("parts", "ready", "logs"))
        for folder in (self.parts, self.ready, self.logs):
            Path(folder).mkdir(mode=0o700, exist_ok=True)

    def obstacle(self) -> str | None:
        """Why OUTPUT couldn't be written, as far as permissions tell; None where they allow it."""
        folder = Path(self.root)
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            return f"can't create OUTPUT {self.root}: {folder} is a file"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"can't write to {folder}: permission denied or read-only"
        return None


def utc(seconds: float) -> str:
    """A time as it is written everywhere: `2026-11-03T06:15:02.123Z`."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def held_by(folder: str) -> Holder | None:
    """Who holds the lock of a workspace's folder; None where nobody does.

    Asks the kernel for a shared lock and gives it back at once; a run that begins at this instant waits so long.
    """
    try:
        handle = os.open(Path(folder, LOCK), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder.parse(os.read(handle, 1000).decode("utf-8", "replace"))
    else:
        return None
    finally:
        os.close(handle)


def _is_locked(handle: int) -> bool:
    """Lock the file for this process, if no other run has it."""
    for glance in range(_GLANCES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if glance < _GLANCES - 1:
                time.sleep(_GLANCE_SECONDS)
        else:
            return True
    return False


def _is_at(path: Path, handle: int) -> bool:
    """Whether the open file is the one that the path leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _refuse_file(output: str, root: str) -> None:
    if os.path.isdir(root):  # noqa: PTH112  # False for a name that is too long, too
        return
    if os.path.exists(root):  # noqa: PTH110
        raise UsageError(f"OUTPUT {output} is a file; give a folder")
    name = Path(root).name.removesuffix(".gz").removesuffix(".zst")
    if Path(name).suffix.lower() in SUFFIXES:
        parent = os.path.dirname(output.rstrip("/")) or "."  # noqa: PTH120 (as the user wrote it)
        raise UsageError(
            f"OUTPUT is a folder, found {output}; did you mean: "
            f"-o {shlex.quote(parent)} --output-file-name {shlex.quote(name)}"
        )
