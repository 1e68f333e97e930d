"""One behaviour for all engines."""

import subprocess
import sys
import threading
import time

import pytest
from fake_worker import batch, comes_true, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore import attempts, engines
from batchscore.attempts import RetryPolicy
from batchscore.errors import StorageError, UsageError
from batchscore.faults import Abandoned
from batchscore.outcome import Scored
from batchscore.slots import Slots

pytestmark = pytest.mark.parametrize("name", engines.ENGINES)


@given(st.lists(st.integers(), max_size=40), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_each_item_gives_one_result(name, items, workers):
    results = engines.fan_out(lambda item: item * 2, items, workers, name=name)
    assert sorted(results) == sorted(item * 2 for item in items)


def test_results_come_as_they_are_done(name):
    is_first_out = threading.Event()

    def task(item):
        if item == 0:
            assert is_first_out.wait(10)
        return item

    results = engines.fan_out(task, range(2), 2, name=name)
    assert next(results) == 1
    is_first_out.set()
    assert list(results) == [0]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_tasks_run_at_once_than_there_are_workers(name, workers):
    running, most, lock, full = [0], [0], threading.Lock(), threading.Barrier(workers)

    def task(_):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        full.wait(20)
        time.sleep(0.005)
        with lock:
            running[0] -= 1

    assert len(list(engines.fan_out(task, range(30), workers, name=name))) == 30
    assert most[0] == workers


@pytest.mark.parametrize("workers", [1, 2])
def test_what_taking_an_item_raises_is_raised(name, workers):
    """Wherever they are taken: nobody waits for ever."""

    def items():
        yield from range(20)
        raise StorageError("full")

    found, raised = [], []

    def gather():
        try:
            found.extend(engines.fan_out(lambda item: time.sleep(0.01) or item, items(), workers, name=name))
        except StorageError as error:
            raised.append(str(error))

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert raised == ["full"]


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_taken_shortly_before_they_are_needed(name, workers):
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    is_open = threading.Event()

    def task(item):
        if item >= 2:
            is_open.wait(10)
        return item

    if workers == 1:
        is_open.set()
    results = engines.fan_out(task, items(), workers, name=name)
    next(results)
    time.sleep(0.05)
    assert len(taken) <= 10
    is_open.set()
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_reaches_the_consumer(name, workers):
    done = []

    def task(item):
        if item == 3:
            raise StorageError("the disk is full")
        time.sleep(0.001)
        done.append(item)

    with pytest.raises(StorageError, match="the disk is full"):
        list(engines.fan_out(task, range(1000), workers, name=name))
    assert len(done) < 500


@pytest.mark.parametrize("workers", [1, 2])
def test_closing_early_takes_no_further_items(name, workers):
    done = []

    def task(item):
        time.sleep(0.002)
        done.append(item)
        return item

    results = engines.fan_out(task, range(1000), workers, name=name)
    next(results)
    results.close()
    count = len(done)
    time.sleep(0.05)
    assert len(done) <= count + workers
    assert len(done) < 500


def test_no_items_are_no_results(name):
    assert list(engines.fan_out(str, [], 4, name=name)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_of_real_workers_with_a_guilty_mini_batch(name, workers, tmp_path):
    """Only the guilty mini-batch fails."""
    with Slots(spec(tmp_path, "by file"), workers, tmp_path) as slots:
        slots.start()
        policy = RetryPolicy(1, 10)
        batches = (batch(number, "x.csv" if number == 9 else "a.csv") for number in range(30))
        results = engines.fan_out(lambda item: attempts.score(slots, item, policy), batches, workers, name=name)
        kinds = {outcome.number: type(outcome.slices[0]) for outcomes in results for outcome in outcomes}
    assert len(kinds) == 30
    assert [number for number, kind in kinds.items() if kind is not Scored] == [9]


def test_stopping_a_job_ends_its_threads(name, tmp_path):
    """Closing the generator and killing the slots leaves no task behind that waits."""
    before = threading.active_count()
    with Slots(spec(tmp_path, "SHHHHHH"), 2, tmp_path) as slots:
        ends = []

        def task(item):
            try:
                return attempts.score(slots, item, RetryPolicy(0, 60))
            except Abandoned:
                ends.append(item)
                raise

        results = engines.fan_out(task, map(batch, range(100)), 2, name=name)
        next(results)
        results.close()
        slots.kill_all()
        assert comes_true(lambda: ends), "what was in flight was waited for"
    assert comes_true(lambda: threading.active_count() <= before + 1)  # joblib may keep one of its own for a moment


def test_an_unknown_engine_is_refused_with_those_there_are(name):
    with pytest.raises(UsageError, match=f"no engine 'loca'; there are: .*{name}"):
        engines.engine("loca")


def test_joblib_is_imported_when_a_job_runs(name):
    code = f"import sys; from batchscore import engines; engines.engine({name!r}); assert 'joblib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_single_worker_takes_no_joblib(name):
    code = (
        f"import sys; from batchscore import engines; "
        f"assert list(engines.fan_out(abs, [-1, 2], 1, name={name!r})) == [1, 2]"
        "; assert engines.cpu_count() >= 1; assert 'joblib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
