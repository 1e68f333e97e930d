"""The pool of slots: whoever needs a worker takes a free one; failed loads are counted here."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from batchscore import errors, lifeline
from batchscore.child import Child, WorkerSpec
from batchscore.faults import ModelNotLoaded
from batchscore.joblog.process import Listener, ProcessLog
from batchscore.memorywatch import MemoryWatch
from batchscore.minibatch import Json, MiniBatch
from batchscore.nursery import HeadStart, Nursery, Origin
from batchscore.outcome import Outcome, Progress
from batchscore.redaction import secret_values
from batchscore.slot import Slot

_LATER_LOADS = 5
"""Attempts to load a model that has loaded before."""
_FIRST_PAUSE = 0.2
"""Seconds before such an attempt is repeated; doubled each time."""
_DESCRIPTORS = 28
"""That a slot has open at most: pipes, socket, log files; those of a worker that is about to take over, too."""
_OTHER_DESCRIPTORS = 200


class Slots:
    """A job's slots, each used by one thread at a time; leaving the context ends all workers."""

    def __init__(
        self,
        spec: WorkerSpec,
        count: int,
        logs: Path,
        listener: Listener | None = None,
        *,
        ahead: HeadStart | None = None,
    ) -> None:
        """``count`` slots whose workers' output and failures go to files below ``logs``; see ProcessLog.

        ``ahead`` may have a worker already.
        """
        self._grace = spec.grace
        lifeline.allow_descriptors(_DESCRIPTORS * count + _OTHER_DESCRIPTORS)
        secrets = secret_values(spec.variables())
        self._nursery = Nursery(spec, count, ProcessLog(logs, None, secrets, listener), ahead)
        self._slots = [
            Slot(spec, ProcessLog(logs, number, secrets, listener), self._nursery) for number in range(count)
        ]
        self._free: queue.LifoQueue[Slot] = queue.LifoQueue()  # who is loaded is used first
        for slot in reversed(self._slots):
            self._free.put(slot)
        self._lock = threading.Lock()
        self._failed_loads = 0
        self._has_loaded = False
        self._is_stopped = False
        self._memory = MemoryWatch(spec.memory_limit, self._watched)

    def __enter__(self) -> Slots:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        except BaseException:  # a signal broke in
            kind = BaseException
            raise
        finally:
            if kind is not None:
                self.kill_all()

    @property
    def peak_rss(self) -> int:
        """Bytes that one worker had resident at most; certain once all have ended."""
        return max(slot.peak_rss for slot in self._slots)

    def _watched(self) -> list[Child]:
        return [*self._nursery.watched, *(child for slot in self._slots for child in slot.children)]

    @property
    def origin(self) -> Origin:
        """How the workers are started; certain once the first one is ready."""
        return self._nursery.origin

    def start(self) -> None:
        """Start the loader, or all workers, without waiting for them."""
        self._memory.start()
        if self._nursery.is_loader:
            self._nursery.begin()
            return
        for slot in self._slots:
            slot.start()

    def ready(self) -> Json:
        """The facts about the model, once a worker has loaded it; raises ModelLoadError."""
        with self._taken() as slot:
            return self._made_ready(slot)

    def ask(
        self,
        mini_batch: MiniBatch,
        timeout: float,
        on_progress: Progress = lambda *_: None,
        *,
        restarts_clock: bool = True,
    ) -> Outcome:
        """As Slot.ask, by any free slot; a model that can't be loaded is ModelLoadError and ends the job."""
        with self._taken() as slot:
            for attempt in range(_LATER_LOADS):
                self._made_ready(slot)
                try:
                    return slot.ask(mini_batch, timeout, on_progress, restarts_clock=restarts_clock)
                except ModelNotLoaded as failure:  # of one in the place of a worker that died before it was asked
                    self._count(failure, is_last=attempt == _LATER_LOADS - 1)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _taken(self) -> Iterator[Slot]:
        slot = self._free.get()
        try:
            yield slot
        finally:
            self._free.put(slot)

    def _made_ready(self, slot: Slot) -> Json:
        """The facts.

        Two failed loads without a success before them, or several in a row by one slot after one, end the job.
        """
        for attempt in range(_LATER_LOADS):
            try:
                facts = slot.ready()
            except ModelNotLoaded as failure:
                self._count(failure, is_last=attempt == _LATER_LOADS - 1)
                if self._has_loaded:
                    self._pause(_FIRST_PAUSE * 2**attempt)
            else:
                self._has_loaded = True
                return facts
        raise AssertionError("the last attempt returns or raises")

    def _count(self, failure: ModelNotLoaded, *, is_last: bool) -> None:
        with self._lock:
            self._failed_loads += 1
            ends_job = is_last or (self._failed_loads >= 2 and not self._has_loaded)  # noqa: PLR2004  # in a row
        if ends_job:
            raise errors.ModelLoadError("\n".join(filter(None, (failure.message, failure.detail)))) from None

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_stopped and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """End all workers, letting the idle ones end by themselves."""
        self._is_stopped = True
        self._memory.stop()
        self._nursery.stop()
        for slot in self._slots:
            slot.stop(gently=True)
        deadline = time.monotonic() + self._grace
        for slot in self._slots:
            slot.kill(max(deadline - time.monotonic(), 0))
        self._nursery.kill()

    def kill_all(self) -> None:
        """Kill all workers and their children at once; from any thread or a signal handler; again does nothing."""
        self._is_stopped = True
        self._memory.stop()
        self._nursery.stop()
        for slot in self._slots:
            slot.stop(gently=False)
        for slot in self._slots:
            slot.kill()
        self._nursery.kill()
