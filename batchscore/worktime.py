"""How the workers of a run spend their time, by what they are heard doing."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from batchscore.faults import ModelNotLoaded
from batchscore.joblog.process import LOADER, Attempt, Listener
from batchscore.minibatch import MiniBatch
from batchscore.outcome import Outcome
from batchscore.stopwatch import Lap, Spent


@dataclass(slots=True)
class _Place:
    """A worker's place, with all processes that were in it."""

    since: float
    load: Lap = field(default_factory=Lap)
    starts: int = 0
    """How often a process was to load the model here."""
    again: float = 0.0
    """Seconds of ``load`` after the first of them."""
    spent: Spent = field(default_factory=Spent)
    failed: float = 0.0
    """Seconds of attempts that came to nothing."""
    ready: float = 0.0
    """When its last process had the model."""
    until: float = 0.0
    """When its last attempt ended."""
    last: Attempt | None = None

    def started(self, load: Lap) -> None:
        """A process has loaded the model, or hasn't."""
        if self.starts:
            self.again += load.seconds
        self.starts += 1
        self.load += load


@dataclass(frozen=True, slots=True)
class Shifts:
    """The time of all workers of a run together, from when each was first wanted to the end of scoring.

    A run wants workers when it has planned; what a process that was started before did till then isn't in it.
    """

    workers: int = 0
    seconds: float = 0.0
    """All that follows adds up to it."""
    load: Lap = field(default_factory=Lap)
    """Starting processes and loading the model; a recycled worker's successor only where it had to be waited for."""
    successors: int = 0
    """Processes that were started in the place of others."""
    reload: float = 0.0
    """Of the loading time: theirs."""
    spent: Spent = field(default_factory=Spent)
    failed: float = 0.0
    """Attempts that came to nothing."""
    faults: int = 0
    """How many these were, and failed loads."""
    idle: float = 0.0
    tail: float = 0.0
    """Of the idle time: after there was no more to do for a worker, while another was still at it with its model."""
    last: str = ""
    """What they were at."""
    waited_for: MiniBatch | None = None
    """The same."""

    @property
    def busy(self) -> float:
        """The share of the time with a loaded model in which they scored."""
        return self.spent.seconds / max(self.seconds - self.load.seconds, self.spent.seconds, 1e-9)


class WorkTime:
    """Hears what the workers do and hands it on to another Listener; for any thread."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}
        self._ended: float | None = None
        self._faults = 0

    def over(self) -> None:
        """Scoring has ended: what the workers do from now on is no idle time."""
        with self._lock:
            self._ended = self._ended or time.monotonic()

    def shifts(self) -> Shifts:
        """All that was heard so far, in sums."""
        with self._lock:
            places, end, faults = list(self._places.values()), self._ended or time.monotonic(), self._faults
        seconds = sum(max(end - place.since, 0) for place in places)
        load = sum((place.load for place in places), Lap())
        spent = sum((place.spent for place in places), Spent())
        failed = sum(place.failed for place in places)
        latest = max(places, key=lambda place: place.until, default=None)
        last = latest.last if latest else None
        return Shifts(
            workers=len(places),
            seconds=seconds,
            load=load,
            successors=sum(max(place.starts - 1, 0) for place in places),
            reload=sum(place.again for place in places),
            spent=spent,
            failed=failed,
            faults=faults,
            idle=max(seconds - load.seconds - spent.seconds - failed, 0.0),
            tail=sum(
                max(latest.until - max(place.until, latest.ready), 0) for place in places if latest and place.until
            ),
            last=last.title if last else "",
            waited_for=last.mini_batch if last else None,
        )

    # What the workers tell

    def attempt_at(self, mini_batch: MiniBatch) -> int:
        return self._listener.attempt_at(mini_batch)

    def attempted(self, attempt: Attempt) -> None:
        with self._lock:
            place = self._place(attempt.process.name, attempt.begun)
            place.until, place.last = attempt.begun + attempt.seconds, attempt
            if isinstance(attempt.result, Outcome):
                place.spent += attempt.result.spent or Spent(predict=Lap(attempt.seconds, attempt.cpu_seconds or 0.0))
            else:
                place.failed += attempt.seconds
                self._faults += 1
        self._listener.attempted(attempt)

    def loaded(self, process: str, since: float, load: Lap) -> None:
        with self._lock:
            place = self._place(process, since)
            place.started(load)
            place.ready = since + load.seconds
        self._listener.loaded(process, since, load)

    def not_loaded(self, process: str, started: float, failure: ModelNotLoaded) -> None:
        if process != LOADER:  # which has no place: who waits for it says so once there is another one
            seconds = max(time.time() - started, 0.0)  # that clock may be set
            with self._lock:
                self._place(process, time.monotonic() - seconds).started(Lap(seconds))
                self._faults += 1
        self._listener.not_loaded(process, started, failure)

    def detail(self, text: str) -> None:
        self._listener.detail(text)

    def incomplete(self, path: Path, error: OSError) -> None:
        self._listener.incomplete(path, error)

    def _place(self, process: str, since: float) -> _Place:
        return self._places.setdefault(process, _Place(since))
