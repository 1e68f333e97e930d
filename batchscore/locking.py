"""The lock of an output folder: who holds it, taken and looked at."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

LOCK = "lock"
_PAUSE = 0.01
"""Seconds between two attempts at a lock that is only looked at."""
_PATIENCE = 5.0
"""Seconds that a run waits for those who only look."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock of an output folder, as far as the lock says."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    seen: str | None = None
    """Its last sign of life, where the lock is an object on a store."""
    is_here: bool = False
    """It runs on this machine, which knows when it ends."""

    @classmethod
    def parse(cls, text: str) -> Holder:
        try:
            record = json.loads(text)
            here = record["host"] == socket.gethostname()
            return cls(record["pid"], record["host"], record.get("since"), is_here=here)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid} on {self.host}"

    def refusal(self, output: str) -> str:
        """Why OUTPUT can't be had, and what to do."""
        sign = "" if self.is_here or self.seen is None else f", last sign of life {self.seen or 'unknown'}"
        who = f" ({self}{sign})" if self.pid is not None or sign else ""
        remedy = "" if self.is_here else ", or give --break-lock if that process or its machine is gone"
        return f"another run holds {output}{who}; wait for it or stop it{remedy}"


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


def lock(handle: int) -> bool:
    """Lock the file for this process, if no other run has it. Raises OSError where the store has no locks.

    Who only looks (`held_by`) shares the lock for an instant; however slow it is, it is no run, and is waited for.
    """
    deadline = time.monotonic() + _PATIENCE
    while not _flocked(handle, fcntl.LOCK_EX):
        if time.monotonic() > deadline or not _flocked(handle, fcntl.LOCK_SH):
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)  # or two runs that begin would wait for each other
        time.sleep(_PAUSE)
    return True


def _flocked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(path: Path, handle: int) -> bool:
    """Whether the open file is the one that the path leads to."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
