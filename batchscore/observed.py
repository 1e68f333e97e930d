"""What a run finds out about itself while it goes: where its time went, and with how many threads."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from batchscore.minibatch import Json, MiniBatch
from batchscore.stopwatch import Stopwatch
from batchscore.worktime import Shifts, WorkTime


@dataclass(slots=True)
class Observed:
    """Filled in as the run goes on."""

    started: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    clock: Stopwatch = field(default_factory=lambda: Stopwatch("plan"))
    """Of this process: plan, list, environment, score, join."""
    work: WorkTime | None = None
    """None where no worker was needed."""
    threads: Mapping[str, int] = field(default_factory=dict)
    """What the first worker gave its libraries."""
    workers: Json | None = None
    """How many there are, how they are started, and why so; None where none was needed."""
    todo: Collection[MiniBatch] = ()
    """What was to be scored."""

    def scored(self) -> None:
        """Scoring is over, one way or another."""
        if self.work:
            self.work.over()
        self.clock.turn_to("join")

    @property
    def shifts(self) -> Shifts:
        return self.work.shifts() if self.work else Shifts()
