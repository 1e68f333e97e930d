"""The pool of slots, with real worker processes."""

import socket
import threading
import time

import pytest
from fake_worker import PATIENCE, batch, count, is_running, spec

from batchscore.errors import ModelLoadError
from batchscore.faults import Abandoned, WorkerDied
from batchscore.outcome import Scored
from batchscore.slots import Slots


def test_works_where_the_main_thread_does_something_else(tmp_path):
    outcomes = []

    def job():
        with Slots(spec(tmp_path, "SX"), 1, tmp_path) as slots:
            outcomes.append(slots.ask(batch(), 60))
            with pytest.raises(WorkerDied):
                slots.ask(batch(), 60)
            outcomes.append(slots.ask(batch(), 60))

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert len(outcomes) == 2


@pytest.mark.parametrize("start", ["each", "loader"])
def test_workers_and_loaders_end_by_themselves_without_tearing_the_interpreter_down(tmp_path, start):
    """That takes half a second, and what the model has started could keep it from its end."""
    with Slots(spec(tmp_path, loads="ee", start=start, grace=PATIENCE), 2, tmp_path) as slots:
        slots.start()
        pids = [slot.ready()["pid"] for slot in slots._slots]
    assert not any(map(is_running, pids))
    assert count(tmp_path, "closed") == 2
    assert count(tmp_path, "torn down") == 0


def test_a_pool_starts_all_its_workers_and_ends_them(tmp_path):
    with Slots(spec(tmp_path), 3, tmp_path) as slots:
        slots.start()
        pids = [slot.ready()["pid"] for slot in slots._slots]
        assert len(set(pids)) == 3
        assert slots.ready()["pid"] in pids
    assert not any(map(is_running, pids))
    assert slots.peak_rss > 5 << 20
    with pytest.raises(Abandoned):
        slots.ask(batch(), 60)


@pytest.mark.parametrize("workers", [1, 2])
def test_two_failed_loads_without_a_success_end_the_job_with_the_models_traceback(tmp_path, workers):
    with Slots(spec(tmp_path, loads="FFFFFF"), workers, tmp_path) as slots:
        slots.start()
        with pytest.raises(ModelLoadError, match=r"(?s)RuntimeError: no such layer\nTraceback.*in load"):
            slots.ask(batch(), 60)
    assert 2 <= count(tmp_path, "loads") <= workers + 1


def test_one_failed_load_is_forgiven(tmp_path):
    with Slots(spec(tmp_path, loads="F"), 1, tmp_path) as slots:
        assert isinstance(slots.ask(batch(), 60).slices[0], Scored)


def test_later_failed_loads_are_tried_again_and_never_charged(tmp_path):
    with Slots(spec(tmp_path, "SX", loads="SFXF"), 1, tmp_path) as slots:
        slots.ask(batch(), 60)
        with pytest.raises(WorkerDied):
            slots.ask(batch(), 60)
        assert isinstance(slots.ask(batch(), 60).slices[0], Scored)
    assert count(tmp_path, "loads") == 5


def test_later_failed_loads_end_the_job_after_a_few(tmp_path, monkeypatch):
    monkeypatch.setattr("batchscore.slots._FIRST_PAUSE", 0.0)
    with Slots(spec(tmp_path, "SX", loads="S" + "F" * 99), 1, tmp_path) as slots:
        slots.ask(batch(), 60)
        with pytest.raises(WorkerDied):
            slots.ask(batch(), 60)
        with pytest.raises(ModelLoadError, match="no such layer"):
            slots.ask(batch(), 60)
    assert count(tmp_path, "loads") == 6


def test_kill_all_frees_every_thread(tmp_path):
    slots = Slots(spec(tmp_path, "HHH"), 3, tmp_path)
    slots.start()
    ends = []

    def ask():
        try:
            slots.ask(batch(), 60)
        except Abandoned:
            ends.append("abandoned")

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while count(tmp_path, "calls") < 3:
        time.sleep(0.02)
    slots.kill_all()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(ends) == 3, "they would have hung for a minute"
    slots.kill_all()


def test_a_load_that_fails_in_the_place_of_a_worker_that_is_gone_by_its_turn_is_tried_again_too(tmp_path):
    with Slots(spec(tmp_path, loads="SF"), 1, tmp_path) as slots:
        slots.ready()
        slots._slots[0].children[0].channel._socket.shutdown(socket.SHUT_RDWR)  # as if it died in this moment
        assert isinstance(slots.ask(batch(), 60).slices[0], Scored)
    assert (count(tmp_path, "loads"), count(tmp_path, "calls")) == (3, 1)
