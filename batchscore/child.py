"""One worker process, from its start to its end, as the parent holds it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import threading
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import IO

from batchscore import lifeline
from batchscore.channel import Channel
from batchscore.joblog.process import ProcessLog
from batchscore.spawning import Ends, Spawned, Start, WorkerSpec
from batchscore.storage import storage_errors

__all__ = ["Child", "Outgrown", "WorkerSpec"]

_MAX_FRAMES = 20_000
_FRAMES_PATIENCE = 0.2
"""Seconds in which a worker that takes ever more memory may say where it is."""
_POLL = 0.02
"""Seconds between looks at a worker whose end can't be awaited, or that is to say where it is."""
_TURN = 0.002
"""Seconds between looks at whether a worker has ended."""
_STILL = 5
"""Looks at frames that bring nothing more: a worker writes them line by line, and may not get to run in between."""


@dataclass(frozen=True, slots=True)
class Outgrown:
    """A worker that was killed because it held too much memory."""

    held: int
    """Bytes that it had resident with its children."""
    limit: int
    frames: str
    """Where its Python code was."""

    def __str__(self) -> str:
        return f"held {_megabytes(self.held)} of memory, more than the {_megabytes(self.limit)} that it may"


def _megabytes(number: int) -> str:
    return f"{number / (1 << 20):,.0f} MB"


class Child:
    """A worker process; it leads a group of its own, which dies with it and with this process.

    What it prints and logs goes to ``log``, where it ``waits`` once it takes over. ``kill`` may be called from
    any thread and, the locks being re-entrant, from a signal handler. Raises UsageError where the interpreter can't be
    started.
    """

    def __init__(self, spec: WorkerSpec, log: ProcessLog, *, waits: bool = False, start: Start | None = None) -> None:
        """``start`` makes the process; without it, it is an interpreter of its own."""
        self._log = log
        self._was_forked = start is not None
        self.has_forked = False
        """Its children are workers, which don't end with it."""
        self._exit: lifeline.Exit | None = None
        self._is_released = False
        self._measured_rss = 0
        self.outgrown: Outgrown | None = None
        """Why it was killed, where it held too much memory."""
        self._lock = threading.RLock()
        ours, theirs = socket.socketpair()
        lifeline_end, self._lifeline = os.pipe()
        self._frames = _unnamed_file(log.folder)  # closed by kill
        self.channel = Channel(ours)
        self._printed = log.reader()
        try:
            ends = Ends(theirs.fileno(), lifeline_end, self._frames.fileno(), **self._printed.ends)
            self._process = start(ends) if start else Spawned(spec, ends)
            self._printed.give_ends_away()
            if not waits:
                self.take_over()
            log.listener.detail(f"{log.name}: process id {self.pid} started")
            threading.Thread(target=self._watch, name=f"worker-{self.pid}", daemon=True).start()
        except BaseException:
            self._release()
            raise
        finally:
            theirs.close()
            os.close(lifeline_end)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._exit is None

    @property
    def is_usable(self) -> bool:
        """Whether it may be asked: one that was killed can't, even while its end hasn't been noticed yet."""
        return self.is_alive and not self._is_released

    @property
    def peak_rss(self) -> int:
        """Bytes resident at most; 0 where it isn't known (yet)."""
        return self._measured_rss or (self._exit.peak_rss if self._exit else 0)

    def _watch(self) -> None:
        """Wait for the end, kill what is left of the group, wake up who waits for an answer."""
        is_awaited = self._process.wait()
        if is_awaited:
            lifeline.kill_group(self.pid)
        while self._exit is None:
            with self._lock:  # so that nobody kills a pid that may be another's by now
                ended = self._exit = self._process.collect()
            if not ended:
                time.sleep(_POLL)
        if not is_awaited:
            lifeline.kill_group(self.pid)
        self.channel.interrupt()
        self._log.listener.detail(f"{self._log.name}: process id {self.pid} {self._exit}")

    def ending(self, patience: float) -> str:
        """How it ended, in words, once it has lost its connection; it is killed where it hasn't ended in time."""
        ending = self._ended_within(patience)
        self.kill()
        return str(ending or "closed its connection")

    def _ended_within(self, patience: float) -> lifeline.Exit | None:
        """Poll for its end, without a lock that an interrupting signal handler could wait for in vain.

        The patience is counted in looks, so that a machine that stands still or is slow takes none of it away.
        """
        for _ in range(ceil(patience / _TURN)):
            if self._exit is not None:
                break
            time.sleep(_TURN)
        return self._exit

    def take_over(self, log: ProcessLog | None = None) -> None:
        """Have what it prints written down, from now on, to another log if one is given; before, the pipes hold it."""
        if log:
            self._log = log
            self._printed.give_to(log.take)
            log.listener.detail(f"{log.name}: process id {self.pid} started")
        self._log.mark(f"{'forked' if self._was_forked else 'loading the model'}, process id {self.pid}")
        self._printed.start()

    def resident(self, beyond: int) -> int:
        """Bytes resident now, as lifeline.resident; 0 where it has ended."""
        return lifeline.resident(self.pid, beyond) if self.is_alive else 0

    def kill_beyond(self, limit: int) -> None:
        """Kill it where it holds more bytes than the limit; ``outgrown`` then says so, from any thread."""
        held = self.resident(limit)
        if held > limit and self.is_alive and not self.outgrown:
            self.outgrown = Outgrown(held, limit, "")  # first: one that only begins dies of being asked for its frames
            self.outgrown = Outgrown(held, limit, self.stuck_frames(_FRAMES_PATIENCE))
            self.stop(gently=False)

    def mark_log(self, title: str) -> None:
        """What it has written up to here is none of the business of what comes now."""
        self._printed.drain()
        self._log.mark(title)

    def log_tail(self) -> str:
        """The last lines it has printed since the mark, without secrets."""
        self._printed.drain()
        return self._log.tail()

    def stuck_frames(self, patience: float = 0.5) -> str:
        """Where its Python code is now; empty where it doesn't say so within the patience (seconds, in looks)."""
        text, still = b"", 0
        with contextlib.suppress(OSError, ValueError):  # killed or closed meanwhile
            descriptor = self._frames.fileno()
            before = os.fstat(descriptor).st_size
            with self._lock:
                if self.is_alive:
                    os.kill(self.pid, signal.SIGUSR1)
            for _ in range(ceil(patience / _POLL)):
                time.sleep(_POLL)
                seen, text = text, os.pread(descriptor, _MAX_FRAMES, before)
                still = still + 1 if text and text == seen else 0
                if still == _STILL or not self.is_alive:
                    break
        return text.decode("utf-8", "replace").strip()

    def stop(self, *, gently: bool) -> None:
        """Begin its end by hanging up, after which an idle worker ends by itself, or by a kill; then call ``kill``."""
        self._measured_rss = self._measured_rss or lifeline.peak_rss(self.pid)
        if gently:
            self.channel.interrupt()
            return
        with self._lock:
            if self.is_alive:
                lifeline.kill_group(self.pid, with_strays=not self.has_forked)

    def kill(self, patience: float = 0.0) -> None:
        """Kill the process, where it doesn't end within the patience (seconds), and its group; returns when it is gone.

        Again does nothing.
        """
        if not self._ended_within(patience):
            self.stop(gently=False)
        self._release()
        self._ended_within(5)  # a process may take a moment to give gigabytes back

    def _release(self) -> None:
        self._is_released = True
        self.channel.close()
        self._printed.stop()
        self._frames.close()
        with self._lock:
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1


def _unnamed_file(folder: Path) -> IO[bytes]:
    """A temporary file; in the folder where the system has no place for one, as in a container that is read-only."""
    try:
        return tempfile.TemporaryFile()
    except FileNotFoundError:
        with storage_errors(f"can't write to {folder}"):
            return tempfile.TemporaryFile(dir=folder)
