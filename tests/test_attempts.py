"""Retries, and files one by one, with real worker processes."""

import itertools

import pytest
from fake_worker import batch, count, spec
from hypothesis import given
from hypothesis import strategies as st

from batchscore import attempts
from batchscore.attempts import RetryPolicy
from batchscore.errors import ModelLoadError, StorageError
from batchscore.faults import Abandoned, ScoringRaised, WorkerDied
from batchscore.joblog.process import ProcessLog
from batchscore.outcome import Failed, Outcome, Scored
from batchscore.slot import Slot
from batchscore.slots import Slots


@pytest.fixture
def score(tmp_path):
    """Score a mini-batch of these files with a model that acts by these letters."""

    def run(letters, *names, max_retries=3, timeout=10.0, loads=""):
        with Slots(spec(tmp_path, letters, loads=loads), 1, tmp_path) as slots:
            return attempts.score(slots, batch(7, *names), RetryPolicy(max_retries, timeout))

    return run


def reasons(outcomes):
    return [entry.failure.reason for outcome in outcomes for entry in outcome.slices if isinstance(entry, Failed)]


@pytest.mark.parametrize(
    ("letters", "retries"), [("S", 0), ("FS", 1), ("DDDS", 3), ("XS", 1), ("OKXS", 3), ("FXFS", 3), ("NS", 1)]
)
def test_what_passes_in_the_end_is_scored_and_its_retries_are_counted(score, letters, retries, tmp_path):
    (outcome,) = score(letters)
    assert isinstance(outcome.slices[0], Scored)
    assert outcome.retries == retries == count(tmp_path, "calls") - 1


@pytest.mark.parametrize(
    ("letters", "calls", "reason"),
    [
        ("FFFF", 2, "ValueError: boom"),
        ("NNNN", 2, "predict returned 2 rows for 3"),
        ("DDDD", 4, "ValueError: another boom, 3"),
        ("XXXX", 4, "the worker exited with code 3"),
        ("FXFX", 4, "the worker exited with code 3"),
        ("OOOO", 4, "the worker was killed by SIGKILL; often the system's answer to a lack of memory"),
    ],
)
def test_what_fails_to_the_end_fails_its_file(score, tmp_path, letters, calls, reason):
    """An exception that comes back with the same text isn't tried a third time."""
    (outcome,) = score(letters)
    assert count(tmp_path, "calls") == calls
    assert outcome.retries == calls - 1
    (entry,) = outcome.slices
    assert entry.failure.file == "a.csv"
    assert entry.failure.reason.startswith(reason)


@pytest.mark.parametrize(("letters", "detail"), [("FF", "Traceback"), ("XXXX", "last words"), ("NN", None)])
def test_a_failure_carries_what_more_there_is_to_know(score, letters, detail):
    (outcome,) = score(letters)
    found = outcome.slices[0].failure.detail
    assert found is None if detail is None else detail in found


def test_a_timeout_says_so_and_where_the_model_hung(score):
    (outcome,) = score("HG", max_retries=1, timeout=0.4)
    assert reasons([outcome]) == ["no chunk was finished within 0.4 s (--timeout)"]
    assert "in hangs_in_c" in outcome.slices[0].failure.detail
    assert outcome.seconds >= 0.8


def test_no_retries_are_no_retries(score, tmp_path):
    (outcome,) = score("DS", max_retries=0)
    assert reasons([outcome]) == ["ValueError: another boom, 0"]
    assert count(tmp_path, "calls") == 1


def test_only_the_guilty_files_of_several_fail(score, tmp_path):
    outcomes = score("by file", "a.csv", "x.csv", "a2.csv", "f.csv", max_retries=1)
    kinds = [type(entry).__name__ for outcome in outcomes for entry in outcome.slices]
    assert kinds == ["Scored", "Failed", "Scored", "Failed"]
    assert [entry.slice.file.name for outcome in outcomes for entry in outcome.slices] == [
        "a.csv", "x.csv", "a2.csv", "f.csv",
    ]  # fmt: skip
    assert reasons(outcomes) == ["the worker exited with code 3", "ValueError: boom"]
    assert {outcome.number for outcome in outcomes} == {7}
    parts = [entry.part for outcome in outcomes for entry in outcome.slices if isinstance(entry, Scored)]
    assert len({*parts, batch(7, "a.csv", "x.csv", "a2.csv", "f.csv").part_name}) == 3
    assert sum(outcome.retries for outcome in outcomes) == count(tmp_path, "calls") - 1 == 5


def test_slices_of_one_file_stay_together_when_files_are_tried_one_by_one(score):
    outcomes = score("by file", "a.csv", "a.csv", "f.csv", max_retries=0)
    assert [len(outcome.slices) for outcome in outcomes] == [2, 1]


def test_an_output_that_can_not_be_written_ends_the_job(score):
    with pytest.raises(StorageError, match="the disk is full"):
        score("FU", "a.csv", "b.csv")


def test_a_model_that_does_not_load_ends_the_job(score, tmp_path):
    with pytest.raises(ModelLoadError, match="no such layer"):
        score("S", loads="FF")
    assert count(tmp_path, "calls") == 0


def test_a_failed_load_is_not_a_retry(score):
    (outcome,) = score("XS", loads="SFF")
    assert outcome.retries == 1


def test_a_stopped_job_charges_nothing(tmp_path):
    slots = Slots(spec(tmp_path), 1, tmp_path)
    slots.kill_all()
    with pytest.raises(Abandoned):
        attempts.score(slots, batch(), RetryPolicy(3, 5))


def test_one_slot_will_do(tmp_path):
    slot = Slot(spec(tmp_path, "FR"), ProcessLog(tmp_path, 0))
    rows = []
    (outcome,) = attempts.score(slot, batch(), RetryPolicy(1, 5), lambda number, _: rows.append(number))
    slot.kill()
    assert isinstance(outcome.slices[0], Scored)
    assert rows == [5, 5, 5, 5]


class Attempts:
    """Workers whose n-th attempt does what the n-th letter says: S scores, F raises, D raises anew, X dies."""

    def __init__(self, letters):
        self.letters = letters
        self.count = 0

    def ask(self, mini_batch, _timeout, _on_progress, *, restarts_clock):  # noqa: ARG002  # the protocol has it
        letter = self.letters[self.count % len(self.letters)]
        self.count += 1
        if letter == "F":
            raise ScoringRaised("boom")
        if letter == "D":
            raise ScoringRaised(f"boom {self.count}")
        if letter == "X":
            raise WorkerDied("the worker exited with code 1")
        return Outcome(
            mini_batch.number,
            tuple(Scored(piece, 3, mini_batch.part_name, 0, 1) for piece in mini_batch.slices),
        )


@given(st.text("SFDX", min_size=1, max_size=8), st.integers(0, 4), st.lists(st.sampled_from("abc"), min_size=1))
def test_each_slice_has_one_outcome_in_order_and_each_attempt_is_counted(letters, max_retries, names):
    workers = Attempts(letters)
    mini_batch = batch(3, *names)
    outcomes = attempts.score(workers, mini_batch, RetryPolicy(max_retries, 1))
    entries = list(itertools.chain.from_iterable(outcome.slices for outcome in outcomes))
    assert tuple(entry.slice for entry in entries) == mini_batch.slices
    assert sum(outcome.retries for outcome in outcomes) == workers.count - 1
    assert workers.count <= 1 + max_retries + len(names)
