"""Halving: the rows that predict fails for are found, whatever else ends workers meanwhile."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.faults import ScoringRaised, WorkerDied, WorkerFault, WorkerTimedOut
from batchscore.halving import Halved, find_bad_rows
from batchscore.minibatch import FileSlice, InputFile, Mended, MiniBatch, Trial
from batchscore.outcome import Outcome, Scored

PIECE = FileSlice(InputFile("a.csv", "a.csv", 1, "1"))
WHOLE = MiniBatch(0, (PIECE,))


class FakeWorker:
    """Answers Trials of rows by a map string: S scores, F raises, X ends the worker, H hangs.

    K has the worker killed that is the first to get it with just these rows.
    """

    def __init__(self, rows: str) -> None:
        self.rows = rows
        self.killed: set[Trial] = set()
        self.asked: Counter[Trial] = Counter()

    def ask(self, mini_batch: MiniBatch) -> Outcome | WorkerFault:
        trial = mini_batch.portion
        assert isinstance(trial, Trial)
        self.asked[trial] += 1
        is_count = trial == Trial()
        rows = self.rows if is_count else self.rows[trial.start : trial.stop]
        if "K" in rows and trial not in self.killed:
            self.killed.add(trial)
            return WorkerDied("the worker was killed by SIGKILL")
        if is_count:
            return Outcome(0, (Scored(PIECE, len(rows), "", 0, 0),))
        faults = {"F": ScoringRaised("boom"), "X": WorkerDied("code 3"), "H": WorkerTimedOut("slow")}
        return next((fault for kind, fault in faults.items() if kind in rows), Outcome(0, ()))

    def halved(self, most: int = 10_000) -> Halved:
        return find_bad_rows(self.ask, WHOLE, ScoringRaised("boom"), most, lambda fault: fault.reason)


@given(st.text("SSSFXHK", min_size=1, max_size=60))
def test_the_rows_that_predict_fails_for_are_found_and_no_others(rows: str) -> None:
    """A worker that is killed once, whatever it is asked, makes no row a bad one."""
    if len(rows) == 1:  # which is to blame for what its whole mini-batch came to
        rows = "F"
    portion = FakeWorker(rows).halved().portion
    assert isinstance(portion, Mended)
    assert [row for row, _, _ in portion.spoilt] == [row for row, kind in enumerate(rows) if kind in "FXH"]
    assert sum(portion.calls) == len(rows) - len(portion.spoilt)


@pytest.mark.parametrize(("kind", "asked"), [("F", 1), ("X", 2), ("H", 2), ("K", 2)])
def test_a_single_row_is_asked_again_only_where_its_worker_may_have_ended_by_chance(kind: str, asked: int) -> None:
    worker = FakeWorker(f"SS{kind}F")
    worker.halved()
    assert worker.asked[Trial(2, 3)] == asked
    assert worker.asked[Trial(0, 2)] == 1


def test_each_attempt_counts_and_there_are_no_more_of_them_than_there_may_be() -> None:
    worker = FakeWorker("FXFXFXFX")
    assert worker.halved(7) == Halved(None, 7)
    assert sum(worker.asked.values()) == 7 + 1  # the first question is for the number of rows
