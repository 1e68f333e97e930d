"""An environment in the cache: found there by what determines it, or built, once, whoever else builds it too."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore.cache import cache_folder
from batchscore.environments.installing import install, interpreter_of
from batchscore.environments.interpreters import Interpreter, fitting
from batchscore.environments.lines import Lines, Requirement
from batchscore.environments.uv import Uv, command
from batchscore.errors import UsageError
from batchscore.modelfolder import digest
from batchscore.redaction import redact
from batchscore.storage import storage_errors

Note = Callable[[str], None]

_MARKER = "complete.json"
"""Written into a finished environment, last."""
_FORMAT = 1
"""Counted up where environments built by earlier versions of this code won't do."""
_POLL = 0.1
"""Seconds between tries to take the lock."""


@dataclass(frozen=True, slots=True)
class Environment:
    """All that determines an environment, but for the platform."""

    source: str
    """The file that states it."""
    python: str
    """A specifier such as `==3.10.*`; empty: any that batchscore works with."""
    lines: Lines

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the files were understood."""
        return self.lines.notes

    def digest(self) -> str:
        """A name for the environment: equal where the same would be built."""
        facts = {
            "format": _FORMAT,
            "platform": [sys.platform, os.uname().machine],
            "python": self.python,
            "requirements": [_identity(line) for line in self.lines.requirements],
            "constraints": [_identity(line) for line in self.lines.constraints],
            "options": [redact(option) for option in self.lines.options],
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def environments_folder() -> Path:
    """Where environments are kept: in the user's cache. Raises UsageError where there is no home folder."""
    folder = cache_folder("environments")
    if folder is None:
        raise UsageError("there is no home folder to keep environments in; name a folder with BATCHSCORE_CACHE")
    return folder


def build(environment: Environment, *, cache: Path, note: Note) -> str:
    """The path of the environment's interpreter, built with uv unless it lies in the cache.

    Raises UsageError: no uv; ModelLoadError: no interpreter, requirements that can't be met; StorageError: the cache
    can't be written, an index can't be reached.
    """
    key = environment.digest()
    folder = cache / key
    if not _is_complete(folder):
        command()  # without it there is nothing to wait for
        with storage_errors(f"can't keep environments in {cache} (BATCHSCORE_CACHE names another folder)"):
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(cache / f"{key}.lock", note) as lock:
                if not _is_complete(folder):
                    _build(environment, folder, fitting(environment.python, environment.source), lock, note)
    return str(interpreter_of(folder))


def _is_complete(folder: Path) -> bool:
    """Whether it was finished, and the interpreter that it was built with is still there."""
    return (folder / _MARKER).is_file() and os.access(interpreter_of(folder), os.X_OK)


@contextlib.contextmanager
def _locked(path: Path, note: Note) -> Iterator[int]:
    """Hold a lock that the kernel frees, however its holders end."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        is_said = False
        while not _is_taken(handle):
            if not is_said:
                note("another run is building this environment; waiting for it")
                is_said = True
            time.sleep(_POLL)
        yield handle
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _build(environment: Environment, folder: Path, base: Interpreter, lock: int, note: Note) -> None:
    """Build the environment in its place, since it can't be moved; whatever lay there is removed.

    An end before its time leaves nothing behind, but for what a killed process can't tidy up.
    """
    begun = time.monotonic()
    if folder.exists():
        shutil.rmtree(folder)
    note(f"building the environment that {environment.source} states, once, with Python {base.version} in {folder}")
    folder.mkdir(mode=0o700)
    what = f"the environment that {environment.source} states can't be built with Python {base.version}"
    facts = {"python": base.version, "requirements": [redact(str(line)) for line in environment.lines.requirements]}
    try:
        install(environment.lines, base.path, Uv(folder, lock, note, what))
        temporary = folder / f"{_MARKER}.tmp"
        temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / _MARKER)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    note(f"built the environment in {time.monotonic() - begun:.0f} s")


def _identity(line: Requirement) -> str:
    """The line, with the content of what lies at a local path instead of the path."""
    if not line.is_local:
        return redact(str(line))
    path = Path(line.address)
    content = digest(line.address) if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return str(replace(line, address=f"/{path.name}")) + f" {content}"
