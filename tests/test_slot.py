"""Slots, with real worker processes."""

import contextlib
import itertools
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_worker import batch, comes_true, count, gone, is_running, spec

from batchscore.child import WorkerSpec
from batchscore.errors import StorageError, UsageError
from batchscore.faults import Abandoned, ModelNotLoaded, ScoringRaised, WorkerDied, WorkerFault, WorkerTimedOut
from batchscore.joblog.process import ProcessLog
from batchscore.lifeline import MODE_VARIABLE
from batchscore.nursery import Nursery
from batchscore.outcome import Scored
from batchscore.slot import Slot


@pytest.fixture(params=["", "watcher"], ids=["linux", "elsewhere"])
def platform(request, monkeypatch):
    """Both ways that platforms take."""
    monkeypatch.setenv(MODE_VARIABLE, request.param)


@pytest.fixture(params=["each", "loader"])
def start(request):
    """Both ways in which workers are started."""
    return request.param


@pytest.fixture
def slot(tmp_path, start):
    with contextlib.ExitStack() as stack:

        def make(*args, **kwargs):
            worker = spec(tmp_path, *args, start=start, **kwargs)
            nursery = Nursery(worker, 1, ProcessLog(tmp_path, None))
            stack.callback(nursery.kill)
            slot = Slot(worker, ProcessLog(tmp_path, 0), nursery)
            stack.callback(slot.kill)
            return slot

        yield make


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_worker_loads_once_for_many_mini_batches(slot, tmp_path):
    slot = slot(setup={"answer": 42})
    assert slot.ready()["answer"] == 42
    pids = set()
    for number in range(50):
        outcome = slot.ask(batch(number, "a.csv", "b.csv"), 60)
        assert outcome.number == number
        assert [entry.rows for entry in outcome.slices if isinstance(entry, Scored)] == [3, 3]
        pids.update(outcome.notes)
    assert pids == {f"pid {slot.ready()['pid']}"}
    assert count(tmp_path, "loads") == 1


@pytest.mark.parametrize(
    ("letters", "workers"),
    [
        ("SF", 1),
        ("SFSFSFS", 1),
        ("FFS", 2),  # two in a row: the third goes to another worker
        ("FF FF FF FF FF FF FF FF".replace(" ", ""), 4),  # after 2, 4 and 8 more
        ("FF FFS FFS".replace(" ", ""), 3),  # what is scored restores the confidence
    ],
)
def test_a_worker_in_which_one_mini_batch_after_another_raises_is_replaced(slot, letters, workers):
    """An error of a graphics card, or memory that is used up, must not cost all other mini-batches."""
    slot = slot(letters)
    seen = set()
    for number, letter in enumerate(letters):
        seen.add(slot.ready()["pid"])
        with contextlib.nullcontext() if letter == "S" else pytest.raises(ScoringRaised):
            slot.ask(batch(number), 60)
    assert len(seen) == workers


def test_attempts_at_one_mini_batch_are_no_reason_to_doubt_the_worker(slot, tmp_path):
    slot = slot("FFFF")
    for _ in range(4):
        with pytest.raises(ScoringRaised):
            slot.ask(batch(7), 60)
    assert count(tmp_path, "loads") == 1


@pytest.mark.parametrize(
    ("letters", "message"),
    [
        ("F", "ValueError: boom"),
        ("E", "fake_worker.UnspeakableError: (its text can't be had: ValueError)"),
        ("L", "ValueError: lone \\ud800 surrogate"),
        ("M", "MemoryError"),
        ("I", "KeyboardInterrupt"),
        ("Z", "SystemExit: goodbye"),
        ("N", "predict returned 2 rows for 3"),
    ],
)
def test_what_a_model_raises_arrives_as_text_and_its_worker_lives_on(slot, letters, message):
    slot = slot(letters)
    pid = slot.ready()["pid"]
    with pytest.raises(ScoringRaised) as fault:
        slot.ask(batch(), 60)
    assert fault.value.reason.replace("batchscore_loader", "fake_worker") == message
    assert ("Traceback" in fault.value.detail) == (letters != "N")
    assert "worker.py" not in fault.value.detail.replace("fake_worker.py", "")
    assert slot.ask(batch(), 60).notes == (f"pid {pid}",)


def test_a_huge_message_is_cut_in_its_middle(slot):
    with pytest.raises(ScoringRaised) as fault:
        slot("B").ask(batch(), 60)
    assert len(fault.value.reason) < 21_000
    assert fault.value.reason.startswith("ValueError: startxxx")
    assert fault.value.reason.endswith("xxxend")


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("letters", "reason", "detail"),
    [
        ("X", "the worker exited with code 3", "last words"),
        ("K", "the worker was killed by SIGSEGV", "crashes"),
        ("O", "the worker was killed by SIGKILL", ""),
        ("C", "the worker closed its connection", ""),
        ("J", "announces", ""),
        ("Y", "unexpected kind 'x'", ""),
        ("W", "the outcome of another mini-batch, number 999", ""),
    ],
)
def test_a_worker_that_dies_or_talks_nonsense_is_replaced(slot, letters, reason, detail):
    slot = slot("SP" + letters)
    slot.ask(batch(), 60)
    slot.ask(batch(), 60)
    pid = slot.ready()["pid"]
    with pytest.raises(WorkerDied) as fault:
        slot.ask(batch(), 60)
    assert reason in fault.value.reason
    assert detail in fault.value.detail
    assert "chatter" not in fault.value.detail  # of an earlier mini-batch
    assert not is_running(pid)
    assert slot.ask(batch(), 60).notes != (f"pid {pid}",)


@pytest.mark.usefixtures("platform")
def test_a_death_is_noticed_although_children_keep_the_connection_and_those_in_the_group_die_too(slot, tmp_path):
    slot = slot("V")
    with pytest.raises(WorkerDied, match="exited with code 3"):
        slot.ask(batch(), 30)
    child, outsider = map(int, (tmp_path / "left").read_text().split())
    os.kill(outsider, signal.SIGKILL)
    assert gone(child)


def test_an_outcome_that_is_no_json_is_a_fault_of_the_attempt(slot):
    with pytest.raises(ScoringRaised):
        slot("T").ask(batch(), 60)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("letters", ["H", "G"])
def test_a_worker_that_hangs_is_killed_with_its_children_and_says_where_it_hung(slot, tmp_path, letters):
    slot = slot(letters)
    pid = slot.ready()["pid"]
    with pytest.raises(WorkerTimedOut, match=r"no chunk was finished within 0\.5 s") as fault:
        slot.ask(batch(), 0.5)
    assert {"H": "in hangs", "G": "in hangs_in_c"}[letters] in fault.value.detail
    assert not is_running(pid)
    if letters == "G":
        assert gone(*map(int, (tmp_path / "hanging").read_text().split()))


def test_each_chunk_restarts_the_clock(slot):
    rows = []
    slot("R").ask(batch(), 1.1, lambda number, _: rows.append(number))  # of 1.2 in all
    assert rows == [5, 5, 5, 5]


def test_no_chunk_restarts_the_clock_of_a_whole_mini_batch(slot):
    with pytest.raises(WorkerTimedOut, match=r"the mini-batch was not finished within 0\.8 s") as fault:
        slot("R").ask(batch(), 0.8, restarts_clock=False)
    assert fault.value.seconds >= 0.8


def test_a_failing_progress_callback_is_raised_and_ends_the_worker(slot):
    def fail(rows, _):
        raise LookupError(rows)

    slot = slot("R")
    with pytest.raises(LookupError):
        slot.ask(batch(), 5, fail)
    assert isinstance(slot.ask(batch(), 60).slices[0], Scored)


def test_storage_errors_end_the_job(slot):
    with pytest.raises(StorageError, match="the disk is full"):
        slot("U").ask(batch(), 60)


def test_a_worker_that_died_before_it_got_the_mini_batch_is_not_held_against_it(slot, tmp_path):
    slot = slot()
    pid = slot.ready()["pid"]
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert isinstance(slot.ask(batch(), 60).slices[0], Scored)
    assert count(tmp_path, "calls") == 1


@pytest.mark.usefixtures("platform")
def test_the_children_of_a_worker_that_dies_between_mini_batches_die_at_once(slot, tmp_path):
    slot = slot("1")
    slot.ask(batch(), 60)
    os.kill(slot.ready()["pid"], signal.SIGKILL)
    assert gone(int((tmp_path / "child").read_text()))


def test_a_copy_of_the_worker_that_the_model_forked_does_not_answer_too(slot):
    slot = slot("Q")
    for number in range(20):
        assert slot.ask(batch(number), 60).number == number


@pytest.mark.parametrize(
    ("loads", "message", "detail"),
    [
        ("F", "RuntimeError: no such layer", "Traceback"),
        ("M", "the model needs lightgbm 4", ""),
        ("X", "the worker exited with code 3 while it loaded the model", "about to leave"),
        ("H", "the model wasn't loaded within 5 s", "in load"),
    ],
)
def test_a_model_that_is_not_loaded_says_why(slot, loads, message, detail):
    slot = slot(loads=loads, load_timeout=5 if loads == "H" else 20)
    with pytest.raises(ModelNotLoaded) as failure:
        slot.ready()
    assert failure.value.message == message
    assert detail in failure.value.detail
    assert isinstance(slot.ask(batch(), 20).slices[0], Scored)


def test_wrong_use_found_while_loading_ends_the_job(slot):
    with pytest.raises(UsageError, match="predict_probs"):
        slot(loads="U").ready()


def test_a_loader_that_is_not_there_is_a_failed_load(tmp_path):
    slot = Slot(WorkerSpec(setup={}, loader="batchscore.nowhere:load"), ProcessLog(tmp_path, 0))
    with pytest.raises(ModelNotLoaded, match=r"No module named 'batchscore.nowhere'"):
        slot.ready()
    slot.kill()


def test_an_interpreter_that_is_not_there_is_wrong_use(slot):
    with pytest.raises(UsageError, match=r"'/no/python' can't be started: No such file"):
        slot(python="/no/python").start()


def test_a_log_that_cannot_be_written_stops_no_worker_and_is_told(slot, tmp_path):
    (tmp_path / "user").write_text("in the way")
    slot = slot("PX")
    told = []
    slot._log.listener.incomplete = lambda path, error: told.append((path.name, error.strerror))
    slot.ask(batch(), 60)
    with pytest.raises(WorkerDied) as fault:
        slot.ask(batch(), 60)
    assert "last words" in fault.value.detail
    slot.kill()
    assert {("process000.stdout.txt", "Not a directory"), ("process000.stderr.txt", "Not a directory")} <= set(told)


def test_who_says_slowly_where_it_hangs_is_heard_to_the_end(slot):
    with pytest.raises(WorkerTimedOut) as fault:
        slot("h").ask(batch(), 0.5)
    assert "in the second frame" in fault.value.detail


def test_how_a_worker_died_is_told_on_a_machine_that_stood_still_meanwhile(slot, monkeypatch):
    slot = slot("SX")
    slot.ask(batch(), 60)
    hours = itertools.count(0, 3600)
    monkeypatch.setattr("batchscore.child.time", SimpleNamespace(sleep=time.sleep, monotonic=lambda: next(hours)))
    with pytest.raises(WorkerDied, match="exited with code 3"):
        slot.ask(batch(), 30)


def test_a_worker_that_was_killed_is_replaced_before_its_end_is_noticed(slot, start, monkeypatch):
    kind = {"each": "batchscore.spawning.Spawned", "loader": "batchscore.loader.Forked"}[start]
    slot = slot("HS")
    slot.ready()
    with monkeypatch.context() as slow:
        slow.setattr(f"{kind}.collect", lambda _: None)
        slow.setattr("batchscore.child.Child._ended_within", lambda *_: None)
        with pytest.raises(WorkerTimedOut):
            slot.ask(batch(), 0.5)
        assert slot.ask(batch(), 20).slices


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("letters", ["H", "G"])
def test_kill_from_another_thread_frees_who_waits(slot, letters):
    slot = slot(letters)
    pid = slot.ready()["pid"]
    timer = threading.Timer(0.3, slot.kill)
    timer.start()
    with pytest.raises(Abandoned):
        slot.ask(batch(), 60)
    assert gone(pid)
    slot.kill()
    with pytest.raises(Abandoned):
        slot.ask(batch(), 60)


def test_kill_from_a_signal_handler_frees_the_thread_that_it_interrupted(slot):
    slot = slot("H")
    slot.ready()
    before = signal.signal(signal.SIGALRM, lambda *_: slot.kill())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Abandoned):
            slot.ask(batch(), 60)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_ask_leaves_no_worker_behind_in_the_middle_of_an_answer(slot):
    slot = slot("H")
    pid = slot.ready()["pid"]

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            slot.ask(batch(), 60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert gone(pid)


@pytest.mark.usefixtures("platform")
def test_a_slot_gives_back_its_descriptors_and_threads(slot):
    slot = slot("XXX")
    slot.ready()
    before = descriptors(), threading.active_count()
    for _ in range(3):
        with pytest.raises(WorkerFault):
            slot.ask(batch(), 60)
    slot.ask(batch(), 60)
    slot._log.close()  # one file, which stays open for what the next worker prints
    assert comes_true(lambda: (descriptors(), threading.active_count()) == before)
    slot.kill()
    assert comes_true(lambda: descriptors() < before[0])


def test_peak_memory_is_known_after_the_end(slot):
    """The parent's own memory doesn't count, although wait4 starts from it."""
    ballast = b"x" * (100 << 20)
    slot = slot()
    slot.ask(batch(), 60)
    slot.kill()
    assert 5 << 20 < slot.peak_rss < len(ballast)
