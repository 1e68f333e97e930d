"""Where time goes: one clock that is handed from stage to stage."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Lap:
    """What one stage took."""

    seconds: float = 0.0
    """By the clock."""
    cpu_seconds: float = 0.0
    """Of all threads of the process."""

    def __add__(self, other: Lap) -> Lap:
        return Lap(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)

    def told(self, whole: float | None = None) -> dict[str, float]:
        """As job.json has it; with its share of ``whole`` seconds."""
        told = {"seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3)}
        return told if whole is None else {**told, "share": round(self.seconds / whole, 3) if whole else 0.0}


@dataclass(frozen=True, slots=True)
class Spent:
    """The time of a mini-batch in its worker, by stages that add up; or of many."""

    read: Lap = field(default_factory=Lap)
    """From the file to typed columns."""
    enforce: Lap = field(default_factory=Lap)
    """Typed columns to what the model takes, and MLflow's enforcement of the signature."""
    predict: Lap = field(default_factory=Lap)
    """The model's own; a scoring script's run()."""
    write: Lap = field(default_factory=Lap)
    """The answer to columns, these to the part, the part to the disk."""
    calls: int = 0
    """Of predict."""

    @classmethod
    def of(cls, watch: Stopwatch) -> Spent:
        """What the watch has measured since it began."""
        laps = watch.laps()
        read, enforce, predict, write = (laps.get(name, Lap()) for name in STAGES)
        return cls(read, enforce, predict, write, watch.turns.get("predict", 0))

    @property
    def seconds(self) -> float:
        return sum(lap.seconds for lap in self.laps.values())

    @property
    def laps(self) -> dict[str, Lap]:
        return {name: getattr(self, name) for name in STAGES}

    def __add__(self, other: Spent) -> Spent:
        read, enforce, predict, write = (lap + getattr(other, name) for name, lap in self.laps.items())
        return Spent(read, enforce, predict, write, self.calls + other.calls)

    def told(self) -> dict[str, dict[str, float]]:
        """Each stage, as job.json has it."""
        return {name: lap.told() for name, lap in self.laps.items()}

    def to_json(self) -> list[Any]:
        """A short form: there may be a hundred thousand in a journal."""
        return [*([round(lap.seconds, 6), round(lap.cpu_seconds, 6)] for lap in self.laps.values()), self.calls]

    @classmethod
    def from_json(cls, record: list[Any]) -> Spent:
        """Raises ValueError, TypeError."""
        *laps, calls = record
        read, enforce, predict, write = (Lap(float(seconds), float(cpu)) for seconds, cpu in laps)
        return cls(read, enforce, predict, write, int(calls))


STAGES = tuple(each.name for each in fields(Spent) if each.name != "calls")


class Beside:
    """CPU time that threads of this process took for a stage so far, whichever stage was on.

    Without a lock, which a forked copy of the process might never get: what is lost, rarely, are milliseconds.
    """

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.cpu_seconds = 0.0


READING_AHEAD = Beside("read")


class Stopwatch:
    """Measures one process, for one thread: at any time exactly one stage is on, so that all stages add up.

    Reading ahead takes CPU time beside that; it is counted as reading.
    """

    def __init__(self, stage: str) -> None:
        self.begin(stage)

    def begin(self, stage: str) -> None:
        """Forget all and start anew in that stage."""
        self.turns: dict[str, int] = {}
        """How often each stage was entered."""
        self._laps: dict[str, Lap] = {}
        self._stage = stage
        self._beside = READING_AHEAD.cpu_seconds
        self._since = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time() - READING_AHEAD.cpu_seconds

    def turn_to(self, stage: str) -> str:
        """Be in that stage from now on; gives the one that it was in."""
        now = self._now()
        before, (since, cpu_since) = self._stage, self._since
        self._laps[before] = self._laps.get(before, Lap()) + Lap(now[0] - since, now[1] - cpu_since)
        self._stage, self._since = stage, now
        self.turns[stage] = self.turns.get(stage, 0) + 1
        return before

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Be in that stage for a while, inside which others may be."""
        before = self.turn_to(name)
        try:
            yield
        finally:
            self.turn_to(before)

    def over(self, name: str, items: Iterable[_Item]) -> Generator[_Item, None, None]:
        """The same items; the time until each is there belongs to the stage."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item
            del item  # which may be large

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, whose time belongs to the stage."""

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            with self.stage(name):
                return function(*args, **named)

        return call

    def laps(self) -> dict[str, Lap]:
        """What each stage took so far."""
        self.turn_to(self._stage)
        laps = dict(self._laps)
        if beside := READING_AHEAD.cpu_seconds - self._beside:
            laps[READING_AHEAD.stage] = laps.get(READING_AHEAD.stage, Lap()) + Lap(0.0, beside)
        return laps
