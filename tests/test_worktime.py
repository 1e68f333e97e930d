"""How workers spend their time, told by attempts and loads at hours that the tests choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchscore import worktime
from batchscore.faults import ModelNotLoaded, WorkerDied
from batchscore.joblog.process import Attempt, Nobody, ProcessLog
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.outcome import Outcome, Scored
from batchscore.stopwatch import Lap, Spent
from batchscore.worktime import WorkTime


class Day:
    """Workers that begin at 100 s; what they do, a test says."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.heard: list[str] = []
        self.work = WorkTime(Heard(self.heard))
        self.logs = [ProcessLog(folder, number) for number in range(2)]

    def monotonic(self) -> float:
        return self.now

    def attempt(self, worker: int, begun: float, seconds: float, result: Any) -> None:
        piece = FileSlice(InputFile("a.csv", "/a.csv", 1, "1"))
        attempt = Attempt(self.logs[worker], MiniBatch(7, (piece,)), 1, begun=begun, seconds=seconds)
        attempt.result = result if result is not None else Outcome(7, (Scored(piece, 1, "p", 0, 1),))
        self.work.attempted(attempt)


class Heard(Nobody):
    """Remembers that it was told."""

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    def attempted(self, attempt: Attempt) -> None:
        self.heard.append(f"attempt at {attempt.mini_batch.number}")

    def loaded(self, process: str, since: float, load: Lap) -> None:  # noqa: ARG002  # the protocol's
        self.heard.append(f"{process} loaded")

    def not_loaded(self, process: str, started: float, failure: ModelNotLoaded) -> None:  # noqa: ARG002  # as above
        self.heard.append(f"{process} not loaded")


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    day = Day(tmp_path)
    monkeypatch.setattr(worktime.time, "monotonic", day.monotonic)
    return day


def outcome(**laps: Lap) -> Outcome:
    return Outcome(7, (), spent=Spent(**laps, calls=1))


def test_what_workers_do_adds_up_to_their_time(day: Day) -> None:
    day.work.loaded("process000", 100, Lap(2, 1.5))
    day.work.loaded("process001", 100, Lap(3, 1.5))
    day.attempt(0, 102, 5, outcome(read=Lap(1, 1), predict=Lap(4, 4)))
    day.attempt(0, 107, 3, WorkerDied("was killed", ""))
    day.work.loaded("process000", 110, Lap(2, 1.5))  # its successor
    day.attempt(1, 103, 17, outcome(write=Lap(16, 2)))
    day.now = 121
    day.work.over()
    day.now = 200
    day.work.over()
    shifts = day.work.shifts()
    assert (shifts.workers, shifts.seconds) == (2, 42)
    assert (shifts.load, shifts.failed, shifts.faults) == (Lap(7, 4.5), 3, 1)
    assert (shifts.successors, shifts.reload) == (1, 2), "the first loads are nobody's fault"
    assert (shifts.spent.seconds, shifts.spent.calls) == (21, 2)
    assert shifts.idle == 42 - 7 - 3 - 21
    assert shifts.busy == 21 / (42 - 7)
    assert (shifts.tail, shifts.last) == (10, "mini-batch 7, attempt 1: file a.csv"), "process 0 ended at 110"
    assert shifts.waited_for is not None
    assert shifts.waited_for.number == 7
    assert day.heard == [
        "process000 loaded", "process001 loaded", "attempt at 7", "attempt at 7", "process000 loaded", "attempt at 7",
    ]  # fmt: skip


def test_who_waits_for_another_to_load_the_model_is_idle_and_sees_no_tail_yet(day: Day) -> None:
    """Smaller mini-batches would shorten the tail, but no loading."""
    day.work.loaded("process000", 100, Lap(2, 1))
    day.attempt(0, 102, 3, outcome(predict=Lap(3, 3)))
    day.work.loaded("process001", 100, Lap(9, 1))
    day.attempt(1, 109, 4, outcome(predict=Lap(4, 4)))
    day.now = 113
    shifts = day.work.shifts()
    assert (shifts.idle, shifts.tail) == (8, 4)


def test_a_clock_that_is_set_back_makes_no_negative_time(day: Day) -> None:
    day.work.not_loaded("process000", worktime.time.time() + 3600, ModelNotLoaded("no such layer", ""))
    assert day.work.shifts().load.seconds == 0


def test_a_failed_load_is_a_load_and_an_answer_without_times_is_predict(day: Day) -> None:
    """As a worker of another version of batchscore gives it."""
    day.work.not_loaded("process000", worktime.time.time() - 4, ModelNotLoaded("no such layer", ""))
    day.work.loaded("process000", 100, Lap(3, 1))
    day.attempt(0, 103, 5, None)
    day.now = 108
    shifts = day.work.shifts()
    assert (shifts.successors, shifts.reload, shifts.faults) == (1, 3, 1)
    assert shifts.load.seconds == pytest.approx(7, abs=1)
    assert shifts.spent.predict.seconds == 5
    assert day.heard == ["process000 not loaded", "process000 loaded", "attempt at 7"]


def test_a_loader_that_fails_has_no_time_beside_that_of_the_workers_that_wait_for_it(day: Day) -> None:
    day.work.not_loaded("loader", worktime.time.time() - 4, ModelNotLoaded("no such layer", ""))
    day.work.loaded("process000", 100, Lap(6, 1))
    day.now = 110
    shifts = day.work.shifts()
    assert (shifts.workers, shifts.seconds, shifts.load.seconds, shifts.idle) == (1, 10, 6, 4)
    assert day.heard == ["loader not loaded", "process000 loaded"]


def test_without_workers_there_is_no_time(day: Day) -> None:
    assert (day.work.shifts().seconds, day.work.shifts().busy) == (0, 0)
