"""The calls that differ between platforms: a child that dies with its parent, its group, its memory, its end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MODE_VARIABLE = "BATCHSCORE_LIFELINE"
"""Environment variable: "watcher" takes the way of platforms without F_SETSIG on Linux too."""

_WATCHER = "read -r line; kill -s KILL $PPID 0"
"""Waits for the end of its standard input, then kills the worker and the process group that it shares with it."""

_OOM_SCORE = 800

_watchers: set[int] = set()
"""Shells that this process has started."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended."""

    code: int | None
    """Exit code; negative: the signal that killed it; None: someone else collected it."""
    peak_rss: int
    """Bytes resident at most; 0 where it isn't known. At least what its parent had when it was started (Linux)."""

    def __str__(self) -> str:
        if self.code is None:
            return "ended"
        if self.code >= 0:
            return f"exited with code {self.code}"
        try:
            return f"was killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"was killed by signal {-self.code}"


def die_with_parent(lifeline: int) -> None:
    """Tie this process group's life to the lifeline, a pipe whose other end the parent alone holds and never writes to.

    When the parent goes, however it goes, the group is killed, whether or not Python code gets to run in it. On Linux
    the kernel does it; elsewhere a shell in the same group that waits for the pipe's end. The caller leads its group.
    """
    os.set_inheritable(lifeline, False)
    if _is_plain() or not _let_the_kernel_kill(lifeline):
        watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER], stdin=lifeline, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        watcher.returncode = 0  # nobody waits for it: it dies with the group
        _watchers.add(watcher.pid)
        return
    if select.select([lifeline], [], [], 0)[0]:  # the parent went before the signal was asked for
        os.killpg(0, signal.SIGKILL)


def _let_the_kernel_kill(lifeline: int) -> bool:
    """Whether the kernel will send SIGKILL to the group at the pipe's end (fcntl(2), F_SETOWN and F_SETSIG)."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:  # a sandbox without these calls
        return False
    return True


def has_children() -> bool:
    """Whether processes that somebody else's code started in this one are alive, as far as that can be told."""
    return not _watchers.issuperset(descendants(os.getpid()))


def die_first() -> None:
    """Make the kernel prefer this process to its parent when memory runs out; nothing where there is no such choice."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def allow_descriptors(number: int) -> None:
    """Let this process have so many files open, as far as the system allows; never fewer than now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a system with a bound of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def kill_group(pid: int, *, with_strays: bool = True) -> None:
    """Kill the process group that the process leads; nothing where it is gone.

    On Linux also those of its descendants that have left the group, as long as the process itself is alive, unless
    these aren't to die with it.
    """
    strays = [other for other in descendants(pid) if _group_of(other) != pid] if with_strays else []
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        os.killpg(pid, signal.SIGKILL)
    for stray in strays:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(stray, signal.SIGKILL)


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def descendants(pid: int) -> list[int]:
    """The living process's children and theirs (Linux); none where they can't be known."""
    found: list[int] = []
    parents = [pid]
    while parents:
        for children in Path(f"/proc/{parents.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread or process that has ended
                born = [int(child) for child in children.read_text().split()]
                found += born
                parents += born
    return found


def resident(pid: int, beyond: int) -> int:
    """Bytes that a process has resident: its children's, too, where it is less than ``beyond`` (bytes) without them.

    What several of them share counts once. 0 where the process is gone or it can't be known; elsewhere than on Linux
    without children.
    """
    if sys.platform != "linux" or _is_plain():
        return _resident_by_ps(pid)
    own = _field(f"/proc/{pid}/status", "VmRSS")
    children = descendants(pid) if own <= beyond else []
    if not children or own + sum(_field(f"/proc/{child}/status", "VmRSS") for child in children) <= beyond:
        return own
    shares = [_field(f"/proc/{one}/smaps_rollup", "Pss") for one in (pid, *children)]  # exact, and slow
    return max(own, sum(shares))


def _resident_by_ps(pid: int) -> int:
    try:
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, timeout=5, check=False).stdout
        return int(told) * 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


def _field(path: str, name: str) -> int:
    """Bytes of a line such as `VmRSS:  1234 kB`; 0 where there is none."""
    try:
        match = re.search(rf"^{name}:\s*(\d+) kB", Path(path).read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def peak_rss(pid: int) -> int:
    """Bytes that a living process had resident at most; 0 where it can't be known."""
    return _field(f"/proc/{pid}/status", "VmHWM")


def wait_for_end(pid: int) -> bool:
    """Wait until the child has ended, but leave it to ``collect``: until then its pid can't be another's.

    False, at once, where the platform can't do so.
    """
    if _is_plain() or not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False
    with contextlib.suppress(ChildProcessError):  # collected elsewhere
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return True


def watch(pid: int) -> int | None:
    """A descriptor that can be read once any process has ended (pidfd_open(2)); None where there is no such thing.

    Raises ProcessLookupError where the process is gone.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # an old kernel, or a sandbox without it
        return None


def can_fork_workers() -> bool:
    """Whether the platform has what a loader needs: Linux and pidfd_open (5.3)."""
    if sys.platform != "linux":
        return False
    found = watch(os.getpid())
    if found is not None:
        os.close(found)
    return found is not None


def collect(pid: int) -> Exit | None:
    """The child's exit status and its peak memory, once; None while it lives."""
    try:
        collected, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:  # the embedding program waits for any child, or ignores SIGCHLD
        return Exit(None, 0)
    if not collected:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return Exit(os.waitstatus_to_exitcode(status), usage.ru_maxrss * unit)


def _is_plain() -> bool:
    """Whether to do without what Linux alone offers, so that tests take the other way here too."""
    return os.environ.get(MODE_VARIABLE) == "watcher"
