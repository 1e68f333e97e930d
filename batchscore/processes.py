"""Whether a process that wrote down who it is, on whatever machine, is alive on this one."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from batchscore.minibatch import Json

_INITIAL_NAMESPACE = "pid:[4026531836]"
"""Linux's own, of processes outside containers."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it can be told from all others, as far as its system lets it."""

    pid: int
    host: str
    boot: str
    """Of the system's start; empty where it has no word for it."""
    machine: str
    """Of the installation; empty in containers, whose images share it."""
    namespace: str
    """In which the pid counts."""
    started: str
    """Distinguishes processes that had the same pid one after the other."""

    @classmethod
    def this(cls) -> Process:
        """The one that asks."""
        namespace = _namespace()
        machine = _text("/etc/machine-id") if namespace == _INITIAL_NAMESPACE else ""
        return cls(os.getpid(), socket.gethostname(), _boot(), machine, namespace, started(os.getpid()) or "")

    @property
    def is_alive(self) -> bool | None:
        """Whether it is; None where that can't be told from here.

        A machine that was started again since is known by its name and its installation, outside of containers.
        """
        this = Process.this()
        if self.host != this.host or not self.boot:
            return None
        if (self.boot, self.namespace) == (this.boot, this.namespace):
            return started(self.pid) == self.started
        return False if self.boot != this.boot and self.machine and self.machine == this.machine else None

    def to_json(self) -> Json:
        return asdict(self)


def started(pid: int) -> str | None:
    """When a process started, in its system's words; None where there is no such process, or its end isn't heard."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _started_by_ps(pid)
    return None if fields[0] in {"Z", "X"} else fields[19]


def _started_by_ps(pid: int) -> str | None:
    """For systems without /proc."""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


@functools.cache
def _boot() -> str:
    if found := _text("/proc/sys/kernel/random/boot_id"):
        return found
    try:
        command = ["sysctl", "-n", "kern.bootsessionuuid"]  # macOS
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # no path
    except OSError:
        return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
