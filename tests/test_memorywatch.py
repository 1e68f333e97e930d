"""Workers that hold too much memory, and workers that are replaced in time, with real processes."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_worker import batch, comes_true, count, gone, is_running, spec

from batchscore import attempts, lifeline
from batchscore.attempts import RetryPolicy
from batchscore.errors import ModelLoadError
from batchscore.faults import WorkerDied, WorkerOutgrew
from batchscore.lifeline import MODE_VARIABLE
from batchscore.outcome import Failed, Scored
from batchscore.slots import Slots

LIMIT = 100 << 20


@pytest.fixture(params=["each", "loader"])
def start(request):
    """Both ways in which workers are started."""
    return request.param


@pytest.fixture
def slots(tmp_path, start):
    """One slot with a limit; all that comes is closed in the end."""
    with Slots(spec(tmp_path, "by file", memory_limit=LIMIT, start=start), 1, tmp_path) as slots:
        slots.start()
        yield slots


@pytest.mark.parametrize("mode", ["", "watcher"], ids=["linux", "elsewhere"])
def test_who_takes_ever_more_memory_is_killed_within_a_second_and_says_where_it_was(tmp_path, monkeypatch, mode):
    monkeypatch.setenv(MODE_VARIABLE, mode)
    with Slots(spec(tmp_path, "2", memory_limit=LIMIT), 1, tmp_path) as slots:
        slots.start()
        pid = slots.ready()["pid"]
        with pytest.raises(WorkerOutgrew, match=r"held \d+ MB of memory, more than the 100 MB that it may") as fault:
            slots.ask(batch(), 30)
        assert "in hoards" in fault.value.detail
        assert not is_running(pid)
        held = int(fault.value.reason.split()[3])
        assert held < 100 + 8 * 100  # what it takes in a second


def test_the_memory_of_a_workers_children_counts_and_they_are_killed_too(slots):
    pid = slots.ready()["pid"]
    with pytest.raises(WorkerOutgrew, match="of memory, more than"):
        slots.ask(batch(0, "3.csv"), 30)
    assert gone(pid)


def test_only_the_mini_batch_that_takes_too_much_fails_and_the_message_says_what_helps(slots, tmp_path, start):
    outcomes = [attempts.score(slots, batch(n, name), RetryPolicy(1, 30))[0] for n, name in enumerate(("a", "2", "s"))]
    kinds = [type(outcome.slices[0]) for outcome in outcomes]
    assert kinds == [Scored, Failed, Scored]
    assert [outcome.retries for outcome in outcomes] == [0, 1, 0]
    reason = outcomes[1].slices[0].failure.reason
    assert "(--memory-limit); fewer rows per call (--rows-per-call)" in reason
    assert count(tmp_path, "loads") == (3 if start == "each" else 1)


def test_a_model_that_is_too_big_by_itself_ends_the_job_and_no_mini_batch_is_charged(tmp_path, start):
    with Slots(spec(tmp_path, memory_limit=1 << 20, start=start), 1, tmp_path) as slots:
        slots.start()
        with pytest.raises(
            ModelLoadError,
            match=r"(while it loaded the model|when it had loaded the model and nothing else).*--memory-limit",
        ):
            slots.ask(batch(), 30)
    assert count(tmp_path, "calls") == 0


def test_what_several_processes_share_counts_once():
    """A forked child has all pages of its parent's resident, and none of its own."""
    program = (
        "import os, sys, time; hoard = b'x' * (200 << 20)\n"
        "for _ in range(3):\n    if not os.fork():\n        time.sleep(60)\nprint('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        held = lifeline.resident(process.pid, 300 << 20)
        alone = lifeline.resident(process.pid, 0)
        lifeline.kill_group(process.pid)
    assert 200 << 20 < alone < 230 << 20
    assert 200 << 20 < held < 300 << 20
    assert lifeline.resident(process.pid, 0) == 0


@pytest.mark.parametrize("letters", ["S" * 10, "SF" * 5])
def test_a_worker_is_replaced_after_so_many_mini_batches(tmp_path, letters, start):
    pids = []
    with Slots(spec(tmp_path, letters, recycle_after=3, start=start), 1, tmp_path) as slots:
        for number in range(7):
            pids.append(slots.ready()["pid"])
            attempts.score(slots, batch(number), RetryPolicy(0, 60))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
    assert count(tmp_path, "loads") == (3 if start == "each" else 1)
    assert gone(*pids)


def test_the_next_worker_loads_while_the_one_before_scores_its_last_mini_batch(tmp_path):
    with Slots(spec(tmp_path, "SwS", recycle_after=2), 1, tmp_path) as slots:
        slots.ask(batch(), 20)
        last = threading.Thread(target=slots.ask, args=(batch(), 60))
        last.start()
        assert comes_true(lambda: count(tmp_path, "loads") == 2)
        (tmp_path / "go").touch()
        last.join()
        slots.ask(batch(), 20)
    assert count(tmp_path, "loads") == 2


def test_no_worker_is_left_of_those_that_were_to_take_over(tmp_path, start):
    with Slots(spec(tmp_path, "X", recycle_after=1, start=start, grace=3600.0), 2, tmp_path) as slots:
        with pytest.raises(WorkerDied):
            slots.ask(batch(), 20)
        slots.ask(batch(), 20)
        pids = [child.pid for slot in slots._slots for child in slot.children]
        assert len(pids) >= 2
    assert gone(*pids)


def test_a_model_that_leaks_stays_below_the_limit_where_its_workers_are_replaced(tmp_path, start):
    with Slots(spec(tmp_path, "4" * 12, memory_limit=LIMIT, recycle_after=2, start=start), 1, tmp_path) as slots:
        slots.start()
        for number in range(6):
            (outcome,) = attempts.score(slots, batch(number), RetryPolicy(0, 60))
            assert isinstance(outcome.slices[0], Scored)
            time.sleep(0.25)  # in which a watch looks
    assert count(tmp_path, "calls") == 6


def test_what_the_next_worker_prints_while_it_loads_is_written_under_its_own_name(tmp_path):
    with Slots(spec(tmp_path, "RS", loads="SP", recycle_after=1), 1, tmp_path) as slots:
        slots.ask(batch(0), 60)
        slots.ask(batch(1), 60)
    (log,) = Path(tmp_path, "user", "stdout").rglob("*.txt")
    titles = [line for line in log.read_text().splitlines() if line.startswith("---")]
    assert len(titles) == 1
    assert "loading the model" in titles[0]
