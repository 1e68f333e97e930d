"""OUTPUT looked at from outside, here or on a store: nothing there is touched."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from batchscore.errors import StorageError, UsageError
from batchscore.locking import Holder
from batchscore.sharedwork import SharedWork
from batchscore.storage import Changed, StorePlace, in_use, is_remote, local_path, public
from batchscore.storelock import holder_of
from batchscore.storeworkspace import default_folder
from batchscore.workfolder import refuse_file
from batchscore.workspace import Workspace

_LOOKS = 3
"""So often the work of a job that ends is looked at."""


def looked_at(output: str, scratch: str, work_dir: str | None = None) -> Workspace:
    """The workspace of a run, looked at from outside; it isn't to be entered. Raises UsageError, StorageError."""
    return StoreGlance(output, scratch, work_dir) if is_remote(output) else Workspace(output, work_dir)


def glance_at(output: str, scratch: str, work_dir: str | None = None) -> Glance:
    """OUTPUT, looked at without touching it. Raises UsageError, StorageError."""
    return (StoreGlance if is_remote(output) else Glance)(output, scratch, work_dir)


def unseen(output: str, scratch: str) -> Glance:
    """An OUTPUT that can't be looked at: of which nothing is known but where it was to be."""
    glance = Glance(str(Path(scratch, "nowhere")), scratch)
    with contextlib.suppress(UsageError):
        glance.root = public(output) if is_remote(output) else os.path.realpath(local_path(output, "OUTPUT"))
    return glance


class Glance(Workspace):
    """OUTPUT looked at without touching it: what a job writes beside its results goes to a private folder.

    It is never entered. The journal is the run's.
    """

    def __init__(self, output: str, scratch: str, work_dir: str | None = None) -> None:
        super().__init__(output, work_dir)
        self.holder: Holder | None = None
        """Who holds OUTPUT now, as far as that may be known."""
        with contextlib.suppress(OSError):
            self.holder = self.held_by()
        self._move_to(scratch)

    def _move_to(self, scratch: str) -> None:
        """Have all that is written in a private folder."""
        self.folder = scratch
        self.parts, self.ready, self.logs = (str(Path(scratch, name)) for name in ("parts", "ready", "logs"))
        for folder in (self.parts, self.ready, self.logs):
            Path(folder).mkdir(mode=0o700, exist_ok=True)

    @property
    def disk(self) -> str:
        """A folder on the disk that the predictions need room on."""
        return self.root

    def obstacle(self) -> str | None:
        """Why OUTPUT or the work directory couldn't be written, as far as permissions tell; None where they may be."""
        places = {"OUTPUT": self.root, "--work-dir": self.work_dir}
        return next((found for what, path in places.items() if path and (found := obstacle_at(what, path))), None)


class StoreGlance(Glance):
    """See Glance; what is known of the job in progress is copied to the private folder."""

    def __init__(self, output: str, scratch: str, work_dir: str | None = None) -> None:
        self._store = StorePlace(output, in_use())
        refuse_file(self._store.path, self._store.path)
        self._lay_out(self._store, work_dir or default_folder())
        self._move_to(scratch)
        self.journal = str(Path(scratch, "journal.jsonl"))
        self.holder = self.held_by()
        self._work = _brought(self._store, scratch)

    def held_by(self) -> Holder | None:
        """See Glance."""
        return holder_of(self._store)

    @property
    def disk(self) -> str:
        """See Glance: the store has room."""
        return self.work_dir or ""

    def obstacle(self) -> str | None:
        """See Glance. Whether the store lets write is known by writing alone."""
        try:
            self._store.require_store()
        except StorageError as error:
            return str(error)
        return obstacle_at("--work-dir", self.disk)

    def part(self, name: str) -> str:
        """Where a part lies, fetched if need be; it may have gone this moment, with the job's end."""
        path = super().part(name)
        if not Path(path).exists():
            try:
                self._work.fetch(name)
            except StorageError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
        return path


def _brought(store: StorePlace, scratch: str) -> SharedWork:
    """The work of a job that may go on meanwhile, or end and be tidied up: then it is brought again."""
    for look in range(1, _LOOKS + 1):
        work = SharedWork(store, scratch)
        try:
            work.bring()
            break
        except StorageError as error:
            if look == _LOOKS or not isinstance(error.__cause__, (FileNotFoundError, Changed)):
                raise
    return work


def obstacle_at(what: str, path: str) -> str | None:
    """Why a folder can't be made, or written; None where it can be, as far as permissions tell."""
    folder = Path(path)
    try:
        while not _is_there(folder):
            folder = folder.parent
        if not folder.is_dir():
            return f"can't create {what} {path}: {folder} is a file"
    except OSError as error:
        return f"can't create or use {what} {path}: {error.strerror}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"can't write to {folder}: permission denied or read-only"
    return None


def _is_there(path: Path) -> bool:
    """Whether there is something. Raises OSError where that can't be told."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
