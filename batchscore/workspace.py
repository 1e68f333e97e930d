"""OUTPUT/.batchscore: the lock, the journal and the parts of a job that isn't finished."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import socket
from pathlib import Path
from types import TracebackType

from batchscore.errors import OutputLocked, UsageError
from batchscore.job import SUFFIXES
from batchscore.minibatch import Json, compact
from batchscore.storage import local_path, storage_errors

FOLDER = ".batchscore"


class Workspace:
    """The output folder while this process holds its lock.

    The lock is the kernel's (flock), so it goes with the process, however that ends. On leaving, the folder is
    removed where the job is done or never began.
    """

    def __init__(self, output: str) -> None:
        self.root = os.path.realpath(local_path(output, "OUTPUT"))
        self.folder = str(Path(self.root, FOLDER))
        self.parts = str(Path(self.folder, "parts"))
        self.logs = str(Path(self.folder, "logs"))
        self.journal = str(Path(self.folder, "journal.jsonl"))
        self.is_done = False
        self._made_root = False
        self._lock: int | None = None
        _refuse_file(output, self.root)

    def __enter__(self) -> Workspace:
        with storage_errors(f"can't create OUTPUT {self.root}"):
            self._made_root = not Path(self.root).exists()
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            self._lock = self._acquire()
            for folder in (self.parts, self.logs):
                Path(folder).mkdir(mode=0o700, exist_ok=True)
        return self

    def _acquire(self) -> int:
        path = Path(self.folder, "lock")
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(handle, 1000).decode("utf-8", "replace")
                os.close(handle)
                raise OutputLocked(
                    f"another run holds OUTPUT {self.root}{_who(holder)}; wait for it or stop it"
                ) from None
            if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
                break
            os.close(handle)  # the run before removed its folder between our open and flock
            Path(self.folder).mkdir(parents=True, exist_ok=True)
        os.ftruncate(handle, 0)
        os.write(handle, compact({"host": socket.gethostname(), "pid": os.getpid()}).encode())
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_done or not Path(self.journal).exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            if self._made_root and not any(Path(self.root).iterdir()):
                Path(self.root).rmdir()
        if self._lock is not None:
            os.close(self._lock)

    def clear(self) -> None:
        """Forget an unfinished job: its journal and its parts."""
        with storage_errors(f"can't clear {self.folder}"):
            Path(self.journal).unlink(missing_ok=True)
            shutil.rmtree(self.parts, ignore_errors=True)
            Path(self.parts).mkdir(mode=0o700)

    def keep_parts(self, names: set[str]) -> None:
        """Remove parts and temporary files that no receipt speaks of."""
        for entry in os.scandir(self.parts):
            if entry.name not in names:
                Path(entry.path).unlink()

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
        if not isinstance(content, dict) or "status" not in content:
            raise UsageError(f"{path} isn't a summary of batchscore; give another OUTPUT or remove it")
        return content


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


def _who(holder: str) -> str:
    try:
        record = json.loads(holder)
        return f" (process {record['pid']} on {record['host']})"
    except (ValueError, KeyError, TypeError):
        return ""
