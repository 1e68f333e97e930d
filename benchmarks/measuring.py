"""Runs one command and says what its whole process tree took: `python measuring.py RESULT memory|time COMMAND…`.

It is a process of its own: processes that the command leaves behind become its children, so that their time counts
too, and it ends them. It needs the standard library alone, since nothing of its own shall be counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLING_SECONDS = 0.03
OF_LOOKS = 0.99
LEFT_BEHIND_SECONDS = 10.0
"""How long processes that the command left behind may take to end by themselves."""
MOST_SECONDS = 1800
"""After which a command is killed."""
_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Measure:
    """What a command took. Memory is 0 where it wasn't watched."""

    exit_code: int
    wall: float
    """Seconds until the command ended."""
    cpu: float
    """Seconds of user and system time, of all processes."""
    pss: int = 0
    """Bytes at most that all processes held at one time, shared pages counted once."""
    rss: int = 0
    """Bytes at most that were resident, summed over the processes: shared pages count for each."""
    first_rss: int = 0
    """Bytes at most that were resident of the command's first process."""
    running: float = 0.0
    """Threads that ran or could have run, of all processes: so many or fewer in 99 of 100 looks."""


class Failed(Exception):
    """A command that ended with an error."""


def measure(command: Sequence[str], environment: Mapping[str, str], folder: Path, *, memory: bool = False) -> Measure:
    """What the command took, run in the folder, in which its output is kept. Raises Failed."""
    folder.mkdir(parents=True, exist_ok=True)
    result, printed = folder / "measure.json", folder / "printed.txt"
    result.unlink(missing_ok=True)
    mode = "memory" if memory else "time"
    with printed.open("wb") as output:
        subprocess.run(
            [sys.executable, "-I", "-S", __file__, str(result), mode, *command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    tail = "\n".join(printed.read_text(errors="replace").splitlines()[-12:])
    if not result.exists():
        raise Failed(f"{command[0]} couldn't be measured:\n{tail}")
    found = Measure(**json.loads(result.read_text()))
    if found.exit_code:
        raise Failed(f"exit code {found.exit_code}:\n{tail}")
    return found


class _Watch:
    """Sees to a command and all that descends from it."""

    def __init__(self, command: Sequence[str], *, memory: bool) -> None:
        self.memory = memory
        self.cpu = 0.0
        self.pss = self.rss = self.first_rss = 0
        self.running: list[int] = []
        self.begun = time.perf_counter()
        self.first = subprocess.Popen(command).pid

    def run(self) -> Measure:
        exit_code, wall = self._first_ended()
        deadline = time.monotonic() + LEFT_BEHIND_SECONDS
        while self._reap(os.WNOHANG) is not None:
            if time.monotonic() > deadline:
                _kill(_descendants(os.getpid()))
            time.sleep(0.002)
        running = float(sorted(self.running)[int(len(self.running) * OF_LOOKS)]) if self.running else 0.0
        return Measure(exit_code, wall, self.cpu, self.pss, self.rss, self.first_rss, running)

    def _first_ended(self) -> tuple[int, float]:
        while True:
            ended = self._reap(os.WNOHANG if self.memory else 0)
            if ended is None:
                raise ChildProcessError("the command was collected by somebody else")
            if ended[0] == self.first:
                return os.waitstatus_to_exitcode(ended[1]), time.perf_counter() - self.begun
            if self.memory:
                self._sample()
                time.sleep(SAMPLING_SECONDS)

    def _reap(self, options: int) -> tuple[int, int] | None:
        """A child that ended, with its status; pid 0 where all still run, None where there is none."""
        try:
            pid, status, usage = os.wait3(options)
        except ChildProcessError:
            return None
        if pid:
            self.cpu += usage.ru_utime + usage.ru_stime
        return pid, status

    def _sample(self) -> None:
        pss = rss = running = 0
        for pid in _descendants(os.getpid()):
            resident = _resident(pid)
            rss += resident
            pss += _proportional(pid)
            running += _running(pid)
            if pid == self.first:
                self.first_rss = max(self.first_rss, resident)
        self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)
        self.running.append(running)


def _descendants(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        children = [child for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]
    except OSError:
        return
    for child in map(int, children):
        yield child
        yield from _descendants(child)


def _read(path: str) -> str:
    """A file of the kernel's; empty where the process has ended."""
    try:
        with open(path) as file:  # noqa: PTH123  # thousands of times
            return file.read()
    except OSError:
        return ""


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _proportional(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _running(pid: int) -> int:
    """Threads that run, or wait for a core alone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0
    return sum(_read(f"/proc/{pid}/task/{thread}/stat").rpartition(")")[2].startswith(" R") for thread in threads)


def _kill(pids: Iterator[int]) -> None:
    for pid in list(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


if __name__ == "__main__":
    _adopt_orphans()
    signal.signal(signal.SIGALRM, lambda *_: _kill(_descendants(os.getpid())))
    signal.alarm(MOST_SECONDS)
    _measured = _Watch(sys.argv[3:], memory=sys.argv[2] == "memory").run()
    Path(sys.argv[1]).write_text(json.dumps(asdict(_measured)))
