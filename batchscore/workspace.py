"""OUTPUT/.batchscore, or its like in a work directory: the lock, the journal and the parts of an unfinished job."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from batchscore.errors import BatchscoreError, OutputLocked, StorageError, StoreUnfit, UsageError
from batchscore.locking import LOCK, Holder, held_by, is_at, lock
from batchscore.minibatch import Json, compact
from batchscore.moments import utc
from batchscore.sharing import Sharing
from batchscore.shelf import Names
from batchscore.storage import Folder, Place, local_path, storage_errors
from batchscore.workfolder import refuse_file, refuse_work_dir, remove, work_folder

_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MANIFEST_KEYS = {"status", "job", "identity", "inputs", "outputs", "counts"}
_MANIFEST_START = '{\n  "status": "'


class Workspace:
    """The output folder while this process holds its lock.

    The lock is the kernel's (flock), so it goes with the process, however that ends. On leaving, the folder is
    removed where the job is done or never began. An OUTPUT with a result that may only be read, or that can't lock,
    isn't locked. With a work directory OUTPUT gets finished files alone: it needs neither locks nor renaming.
    """

    def __init__(self, output: str, work_dir: str | None = None, *, breaks_lock: bool = False) -> None:
        """``breaks_lock``: take the lock from a process that isn't one of this machine, too."""
        root = os.path.realpath(local_path(output, "OUTPUT"))
        self._lay_out(Folder(root), work_dir, breaks_lock=breaks_lock)
        refuse_file(output, root)
        if self.work_dir is not None:
            refuse_work_dir(self.work_dir, self.root)

    def _lay_out(self, output: Place, work_dir: str | None, *, breaks_lock: bool = False) -> None:
        self._breaks_lock = breaks_lock
        self.output = output
        """Where finished files go."""
        self.root = output.path
        self.work_dir = None if work_dir is None else os.path.realpath(local_path(work_dir, "--work-dir"))
        self.folder = work_folder(self.root, self.work_dir)
        self.parts = str(Path(self.folder, "parts"))
        self.ready = str(Path(self.folder, "ready"))
        """Finished files that aren't in their places yet."""
        self.logs = str(Path(self.folder, "logs"))
        self.staged_logs = str(Path(self.folder, "job-logs"))
        """OUTPUT/logs to be, as long as another job's are there."""
        self.journal = str(Path(self.folder, "journal.jsonl"))
        self.is_done = False
        """Whether nothing in the folder is needed any more."""
        self._made: list[Path] = []
        self._lock: int | None = None
        self._refusal: StorageError | None = None

    @property
    def models(self) -> str:
        """AZUREML_MODEL_DIR of a scoring script."""
        return str(Path(self.folder, "models"))

    @property
    def workers(self) -> str:
        """Where each worker has the folder that its scoring script writes to."""
        return str(Path(self.folder, "workers"))

    def __enter__(self) -> Workspace:
        roots = [Path(path) for path in (self._here, self.work_dir) if path]
        self._made = [path for path in roots if not os.path.exists(path)]  # noqa: PTH110  # False for too long a name
        try:
            with storage_errors(f"can't create OUTPUT {self.root}"):
                if self._here:
                    Path(self._here).mkdir(parents=True, exist_ok=True)
            with storage_errors(f"can't write to {self._place}"):
                self._acquire()
                for folder in (self.parts, self.ready, self.logs):
                    Path(folder).mkdir(mode=0o700, exist_ok=True)
                self._try_out()
        except StorageError as error:
            self.explain(error)
            self._leave()
            cause = error.__cause__
            is_unfit = isinstance(error, StoreUnfit) or (isinstance(cause, OSError) and cause.errno in _READ_ONLY)
            if not is_unfit or not self.output.holds("job.json"):
                raise
            self._refusal = error
        return self

    @property
    def _here(self) -> str | None:
        """OUTPUT, where it is a folder of this machine's."""
        return self.root

    @property
    def is_apart(self) -> bool:
        """Whether the work lies in a work directory, so that OUTPUT may get its files by copies."""
        return self.work_dir is not None

    @property
    def _place(self) -> str:
        """Where the lock, the journal and the parts lie, in words."""
        return f"OUTPUT {self.root}" if self.work_dir is None else f"the work directory {self.work_dir}"

    @contextlib.contextmanager
    def _needing(self, ability: str) -> Iterator[None]:
        """Turn the refusal of what a job in progress needs into StoreUnfit."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise
            advice = "give one" if self.work_dir is not None else "give --work-dir DIR, a folder"
            raise StoreUnfit(
                f"{self._place} is in a store that can't {ability} ({error.strerror or error}), as a job in progress "
                f"must; {advice} on a local disk"
            ) from error

    def _try_out(self) -> None:
        """Rename and append once, as the journal and the parts will."""
        probe, renamed = Path(self.folder, "probe.tmp"), Path(self.folder, "probe")
        probe.write_bytes(b"")
        with self._needing("rename files"):
            probe.replace(renamed)
        with self._needing("append to files"), renamed.open("a+b") as stream:
            stream.write(b"\n")
        renamed.unlink()

    def require_writing(self) -> None:
        """Raise StorageError where OUTPUT may only be read, or can't do without a work directory."""
        if self._refusal:
            raise self._refusal
        if self.is_apart and Path(self.root).exists() and not os.access(self.root, os.W_OK | os.X_OK):
            raise StorageError(
                f"can't write OUTPUT {self.root}: it may only be read; give a folder that can be written"
            )

    def _acquire(self) -> None:
        path = Path(self.folder, LOCK)
        while True:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # the run before removed its folder this moment
            self._lock = handle
            with self._needing("lock files"):
                is_ours = lock(handle)
            if not is_ours:
                self._lock = None
                holder = Holder.parse(os.read(handle, 1000).decode("utf-8", "replace"))
                os.close(handle)
                self._break_or_refuse(path, holder)
                continue
            if is_at(path, handle):
                break
            self._lock = None
            os.close(handle)  # the run before removed it between our open and flock
        this = Holder(os.getpid(), socket.gethostname(), utc(time.time()))
        with self._needing("truncate files"):
            os.ftruncate(handle, 0)
            os.write(handle, compact(asdict(this)).encode())

    def _break_or_refuse(self, path: Path, holder: Holder) -> None:
        """Take the lock's file away, so that a new one can be locked, where the user says that its holder is gone.

        The kernel frees the locks of processes that have ended. Only another machine's lock can be left, on a disk that
        is shared. Raises OutputLocked.
        """
        if holder.is_here or not self._breaks_lock:
            raise OutputLocked(holder.refusal(f"OUTPUT {self.root}"))
        path.unlink(missing_ok=True)
        self._breaks_lock = False

    def held_by(self) -> Holder | None:
        """Who holds OUTPUT now; None where nobody does. Raises OSError, StorageError."""
        return held_by(self.folder)

    def check_lock(self) -> None:
        """Raise OutputLocked where somebody broke this run's lock."""
        if self._lock is not None and not is_at(Path(self.folder, LOCK), self._lock):
            raise OutputLocked(f"somebody has broken the lock of OUTPUT {self.root}, and this run stops")

    def begin(self, job: str) -> None:
        """Make known whose work this is, once the journal says so. Raises StorageError."""

    def share(self, name: str) -> None:
        """Make a small file of the folder known to who may go on elsewhere. Raises StorageError."""

    def sharing(self, *, syncs_parts: bool) -> Sharing:
        """What makes parts and receipts safe as they come; ``syncs_parts``: the workers leave that to us."""
        return Sharing(self.parts if syncs_parts else None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StorageError):
            self.explain(error)
        self._leave()

    def explain(self, error: BatchscoreError) -> None:
        """Have the message of a full disk say whose it is, and what to do: the path may be one that nobody knows."""
        text = str(error.args[0]) if error.args else ""
        is_ours = any(place in text for place in (self.root, self.folder, "the predictions"))
        if is_ours and text.endswith(tuple(map(os.strerror, _FULL))):
            place = f"OUTPUT {self.root}" if f"{self.root}/" in text.replace(self.folder, "") else self._place
            error.args = (f"{text}; make room on the disk of {place}, and run the same command again",)

    def _leave(self) -> None:
        """Let go of the lock; where nothing is to be kept, remove the folder and what was made for it."""
        if self._lock is not None:
            if self.is_done or not Path(self.journal).exists():
                with contextlib.suppress(OSError):  # what is left does no harm
                    remove(self.folder)
            os.close(self._lock)
            self._lock = None
        for path in self._made:
            with contextlib.suppress(OSError):  # it isn't empty
                path.rmdir()

    def part_names(self) -> Names:
        with storage_errors(f"can't list {self.parts}"), os.scandir(self.parts) as there:
            return Names(entry.name for entry in there)

    def part(self, name: str) -> str:
        """Where a file lies whose name is relative to the parts folder."""
        return str(Path(self.parts, name))

    def keep_parts(self, names: Collection[str]) -> None:
        """Remove parts and temporary files that no receipt speaks of, and what an earlier run had ready."""
        with storage_errors(f"can't clear {self.folder}"):
            for name in Workspace.part_names(self):
                if name in names:
                    continue
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
            self.share(self._announcement.name)

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
        """The content of job.json; None where there is none, or one whose copying was stopped halfway."""
        path, text = f"{self.root}/job.json", ""
        try:
            with self.output.open("job.json") as stream:
                text = stream.read().decode("utf-8", "replace")
            content = json.loads(text)
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            if self.is_apart and isinstance(error, json.JSONDecodeError) and _begins_alike(text, _MANIFEST_START):
                return None
            raise UsageError(
                f"{path} isn't a summary of batchscore ({error}); give another OUTPUT or remove it"
            ) from error
        if not isinstance(content, dict) or not content.keys() >= _MANIFEST_KEYS:
            raise UsageError(f"{path} isn't a summary of batchscore; give another OUTPUT or remove it")
        return content


def _begins_alike(text: str, start: str) -> bool:
    return text.startswith(start) or start.startswith(text)
