"""The workspace of a job, and what it is where OUTPUT is on a store: work in a local folder, shared as it comes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection
from itertools import chain
from pathlib import Path

from batchscore.cache import cache_folder
from batchscore.errors import OutputLocked, StorageError, UsageError
from batchscore.job import Job
from batchscore.sharedwork import SharedWork
from batchscore.sharing import Sharing, StoreSharing
from batchscore.shelf import Names
from batchscore.storage import StorePlace, in_use, is_remote, storage_errors
from batchscore.storelock import StoreLock
from batchscore.workfolder import FOLDER, GONE, refuse_file, remove_unlocked
from batchscore.workspace import Workspace

_NAMES = {".batchscore", "logs", "failures.jsonl", "job.json"}
"""What a job has in OUTPUT beside its prediction files."""
_MARK = "store"
"""A file that says of which OUTPUT on a store a folder has the work."""
_STALE_SECONDS = 14 * 24 * 3600.0


def workspace_of(job: Job) -> Workspace:
    """The workspace that a job asks for. Raises UsageError."""
    if is_remote(job.output):
        return StoreWorkspace(job.output, job.work_dir, breaks_lock=job.break_lock)
    return Workspace(job.output, job.work_dir, breaks_lock=job.break_lock)


class StoreWorkspace(Workspace):
    """A local folder that holds the work of this machine, and the store's, which is what counts.

    While it is entered, this process holds a lock there and one here: that of OUTPUT is an object. On leaving, nothing
    but outputs is on the store where the job is done.
    """

    def __init__(self, output: str, work_dir: str | None = None, *, breaks_lock: bool = False) -> None:
        place = StorePlace(output, in_use())
        refuse_file(place.path, place.path)
        self._lay_out(place, work_dir or default_folder(), breaks_lock=breaks_lock)
        self._is_in_cache = work_dir is None
        self._store: StorePlace = place
        self._work = SharedWork(place, self.folder)
        self._object = StoreLock(place)

    @property
    def _here(self) -> None:
        return None

    def __enter__(self) -> StoreWorkspace:
        super().__enter__()
        try:
            with storage_errors(f"can't write to {self.folder}"):
                Path(self.folder, _MARK).write_text(f"{self.root}\n")
            if self._is_in_cache:
                remove_stale(str(Path(self.folder).parent))
            self._object.acquire(breaks=self._breaks_lock)
            self._work.bring()
        except BaseException as error:
            self._leave()
            if not isinstance(error, StorageError) or not isinstance(error.__cause__, PermissionError):
                raise
            if not self.output.holds("job.json"):
                raise
            self._refusal = error  # a finished job that may only be read is looked at
        return self

    def check_lock(self) -> None:
        """See Workspace."""
        super().check_lock()
        self._object.check()

    def begin(self, job: str) -> None:
        """See Workspace."""
        with Path(self.journal).open("rb") as stream:
            header = stream.readline()
        self._work.begin(job, header)
        self._store.forget_uploads({*_NAMES, *(name.partition("/")[0] for name in json.loads(header)["targets"])})

    def share(self, name: str) -> None:
        """See Workspace."""
        self._work.share(name)

    def sharing(self, *, syncs_parts: bool) -> Sharing:  # noqa: ARG002  # what is uploaded is safe
        """See Workspace."""
        return StoreSharing(self._work, self._store, self._object.token, self._object.check_heard)

    def part_names(self) -> Names:
        """Those that are here, and those that can be fetched."""
        return Names(chain(super().part_names(), self._work.names()))

    def part(self, name: str) -> str:
        """Where a part lies here, fetched if need be."""
        path = super().part(name)
        if not Path(path).exists():
            self._work.fetch(name)
        return path

    def keep_parts(self, names: Collection[str]) -> None:
        """See Workspace."""
        self._work.forget({name for name in self._work.names() if name not in names})
        super().keep_parts(names)

    def _leave(self) -> None:
        if self._lock is not None:
            if self.is_done and self._refusal is None:
                with contextlib.suppress(StorageError, OutputLocked):  # what is left does no harm
                    self._object.check()
                    self._work.remove()
            self._object.release()
        super()._leave()


def remove_stale(folder: str) -> None:
    """Remove work on OUTPUTs on stores that was left in the user's cache, and has not been touched for long.

    It is that of jobs which were finished, or are to be, on other machines: these have it from the store. A run at work
    holds the lock, and its work stays, however old.
    """
    for mark in Path(folder).glob(f"{FOLDER}-*/{_MARK}"):
        path = mark.parent
        with contextlib.suppress(OSError):  # what is left does no harm
            touched = max(each.stat().st_mtime for each in (path, *path.iterdir()))
            if _is_own(path) and time.time() - touched > _STALE_SECONDS:
                remove_unlocked(str(path))
    for path in Path(folder).glob(f"{GONE}{FOLDER}-*"):  # of removals that were cut short
        with contextlib.suppress(OSError):
            if _is_own(path):
                shutil.rmtree(path)


def _is_own(path: Path) -> bool:
    """Whether a folder is this user's and no link. Raises OSError."""
    return not path.is_symlink() and path.stat().st_uid == os.geteuid()


def default_folder() -> str:
    """Where work lies that no --work-dir has a place for: in the user's cache.

    It may go at any time when no job runs, since the store has what counts; the next run removes what wasn't touched
    for two weeks. Raises UsageError where there is no home.
    """
    folder = cache_folder("work")
    if folder is None:
        raise UsageError("there is no home folder for the work on an OUTPUT on a store; give --work-dir DIR")
    return str(folder)
