"""Workers forked from one loader, with real processes: what they share, and what they must not."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from fake_worker import batch, count, gone, is_running, spec

from batchscore import attempts, lifeline, loader
from batchscore.attempts import RetryPolicy
from batchscore.child import WorkerSpec
from batchscore.errors import ModelLoadError
from batchscore.faults import WorkerDied
from batchscore.joblog.process import Nobody, ProcessLog
from batchscore.nursery import HeadStart, Nursery, origin_of
from batchscore.outcome import Scored
from batchscore.slots import Slots
from batchscore.worktime import WorkTime


@pytest.fixture
def forked(tmp_path):
    """Slots whose workers a loader forks."""
    with contextlib.ExitStack() as stack:

        def make(letters="", workers=2, *, start="loader", **more):
            slots = stack.enter_context(Slots(spec(tmp_path, letters, start=start, **more), workers, tmp_path))
            slots.start()
            return slots

        yield make


def loader_of(slots):
    """The loader's process id, once it has loaded."""
    slots.ready()
    return slots._nursery._loader.pid


def surroundings(tmp_path, **more):
    worker = spec(tmp_path, start="loader", **more)
    worker = WorkerSpec({}, loader=worker.loader.replace(":load", ":load_surroundings"), start="loader", **more)
    with Slots(worker, 1, tmp_path) as slots:
        slots.start()
        return slots.ready()


def test_one_load_is_for_all_workers_and_for_those_that_replace_them(forked, tmp_path):
    slots = forked("SXSKSS", workers=3)
    pids = {slot.ready()["pid"] for slot in slots._slots}
    assert len(pids) == 3
    for number in range(6):
        with contextlib.suppress(WorkerDied):
            slots.ask(batch(number), 60)
    pids |= {slot.ready()["pid"] for slot in slots._slots}
    assert len(pids) == 4  # and one more in between
    assert loader_of(slots) not in pids
    assert count(tmp_path, "loads") == 1


def test_a_forked_worker_is_as_one_that_was_started(tmp_path):
    found = surroundings(tmp_path, threads=3)
    assert found["leads_group"]
    assert found["ignores_interrupts"]
    assert found["oom_score_adj"] == 800
    assert found["stdin"] == ""
    assert found["environment"]["OMP_NUM_THREADS"] == "3"


def test_a_forked_worker_holds_no_descriptor_but_its_own(forked):
    slots = forked(workers=3)
    first, *_, last = [slot.ready()["pid"] for slot in slots._slots]
    for pid in (first, last, loader_of(slots)):
        targets = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum("socket:" in target for target in targets) == 1
        assert sum("pipe:" in target for target in targets) == 4  # lifeline, stdout, stderr, log
        assert len(targets) <= 8  # and stdin, stuck frames, the module under execution


def test_a_loader_that_is_killed_costs_no_mini_batch_and_is_replaced(forked, tmp_path):
    slots = forked("SSXSS", workers=1)
    slots.ask(batch(0), 60)
    first = loader_of(slots)
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    assert isinstance(slots.ask(batch(1), 60).slices[0], Scored)  # by the worker that it left
    with pytest.raises(WorkerDied, match="the worker ended"):  # nobody knows how
        slots.ask(batch(2), 60)
    assert isinstance(slots.ask(batch(3), 60).slices[0], Scored)
    assert loader_of(slots) != first
    assert count(tmp_path, "loads") == 2


def test_a_loader_that_does_not_answer_is_replaced_and_its_workers_live_on(forked, tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "_PATIENCE", 2.0)
    slots = forked(workers=2)
    worker = slots._slots[0].ready()["pid"]
    first = loader_of(slots)
    os.kill(first, signal.SIGSTOP)
    assert slots._slots[1].ready()["pid"]
    assert not is_running(first)
    assert is_running(worker)
    assert slots._slots[0].ready()["pid"] == worker
    assert count(tmp_path, "loads") == 2


def test_loaders_that_are_lost_again_and_again_give_way_to_workers_that_load_for_themselves(forked, monkeypatch):
    def lose(self, *_):
        self.child.stop(gently=False)
        raise loader.LoaderLost("was shot")

    monkeypatch.setattr(loader.Loader, "_answer", lose)
    slots = forked(workers=2)
    assert slots.ready()["pid"]
    assert slots.origin.to_json() == {"start": "each", "why": "3 loaders were lost, the last one was shot"}


def test_the_end_of_a_worker_takes_what_it_started_along_but_not_its_siblings(forked, tmp_path):
    slots = forked("G", workers=2)
    sibling = slots._slots[1].ready()["pid"]
    with pytest.raises(Exception, match="no chunk was finished"):
        slots._slots[0].ask(batch(), 0.5)
    assert gone(*map(int, (tmp_path / "hanging").read_text().split()))
    assert is_running(sibling)
    assert is_running(loader_of(slots))


def test_a_worker_that_is_killed_is_told_by_its_signal(forked):
    slots = forked("O", workers=1)
    with pytest.raises(WorkerDied, match="the worker was killed by SIGKILL"):
        slots.ask(batch(), 60)


def test_a_forked_worker_survives_a_signal_to_all_processes_and_what_it_forks_does_not(forked, tmp_path):
    slots = forked("5", workers=1)
    pid = slots.ready()["pid"]
    for process in (pid, loader_of(slots)):
        os.kill(process, signal.SIGTERM)
    slots.ask(batch(), 10)
    assert slots.ready()["pid"] == pid
    assert (tmp_path / "ends").read_text() == f"{-signal.SIGTERM} {-signal.SIGTERM}"


def test_a_worker_that_is_told_to_end_in_the_moment_in_which_it_is_forked_goes_on(forked):
    outcome = forked(loads="a").ask(batch(), 20)
    assert outcome.slices


def test_nothing_is_left(tmp_path):
    with Slots(spec(tmp_path, start="loader", grace=3600.0), 3, tmp_path) as slots:
        pids = [slot.ready()["pid"] for slot in slots._slots] + [loader_of(slots)]
    assert not any(map(is_running, pids))
    assert slots.peak_rss > 5 << 20


@pytest.mark.parametrize(
    ("loads", "why"),
    [
        ("t", "2 threads run in the process that has loaded the model"),
        ("s", "the model keeps a socket and 1 more open, which workers would share"),
        ("f", "fake_worker.py open, which workers would share"),
        ("c", "the model started processes"),
        ("g", "the model uses CUDA"),
    ],
    ids=["a thread", "sockets", "a file", "a process", "a graphics card"],
)
def test_what_can_not_be_shared_has_each_worker_load_and_the_first_has_loaded_already(forked, tmp_path, loads, why):
    slots = forked(start="auto", loads=loads * 9)
    pids = {slot.ready()["pid"] for slot in slots._slots}
    assert slots.origin.start == "each"
    assert why in slots.origin.why
    assert count(tmp_path, "loads") == len(pids) == 2
    assert isinstance(slots.ask(batch(), 60).slices[0], Scored)


def test_the_shell_that_watches_the_parent_is_no_process_of_the_models(forked, monkeypatch):
    monkeypatch.setenv(lifeline.MODE_VARIABLE, "watcher")
    slots = forked(start="auto")
    slots.ready()
    assert slots.origin.start == "loader", slots.origin.why


def test_who_asks_for_the_loader_gets_it_with_a_note_of_what_speaks_against_it(forked, tmp_path):
    slots = forked(start="loader", loads="f" * 9)
    slots.ready()
    assert slots.origin.start == "loader"
    (note,) = slots.origin.notes("loader")
    assert "although the model keeps" in note
    assert slots.origin.notes("auto") == ()
    assert count(tmp_path, "loads") == 1


def test_a_forked_worker_that_hangs_tells_what_spoke_against_forking(forked):
    slots = forked("H" * 9, loads="t" * 9)
    (outcome,) = attempts.score(slots, batch(), RetryPolicy(0, 0.5))
    said = outcome.slices[0].failure.reason
    assert said.startswith("no chunk was finished within 0.5 s (--timeout); it is forked, although 2 threads run"), said
    assert said.endswith("and may hang for that: give --worker-start auto or each")


def test_auto_takes_the_loader_where_it_is_of_use(tmp_path, monkeypatch):
    worker = spec(tmp_path, start="auto")
    assert origin_of(worker, 2).start == "loader"
    assert origin_of(worker, 1).start == "each"
    assert origin_of(spec(tmp_path, start="auto", recycle_after=5), 1).start == "loader"
    assert origin_of(spec(tmp_path, start="loader", loads_apart="init() runs in each"), 2).why == "init() runs in each"
    monkeypatch.setattr("sys.platform", "darwin")
    assert origin_of(worker, 2).start == origin_of(spec(tmp_path, start="loader"), 2).start == "each"


def test_a_kernel_or_a_sandbox_without_process_descriptors_has_no_loader(monkeypatch):
    def refuse(_pid):
        raise PermissionError

    assert lifeline.can_fork_workers()
    monkeypatch.setattr("os.pidfd_open", refuse)
    assert not lifeline.can_fork_workers()


def test_the_memory_of_four_workers_is_that_of_little_more_than_one(forked):
    """In shares of what several have (PSS): the loader's counts, too."""
    slots = forked(workers=4, setup={"ballast": 150 << 20})
    workers = [slot.ready()["pid"] for slot in slots._slots]
    alone = lifeline._field(f"/proc/{workers[0]}/status", "VmRSS")
    held = sum(lifeline._field(f"/proc/{pid}/smaps_rollup", "Pss") for pid in (*workers, loader_of(slots)))
    assert 150 << 20 < alone < held < 1.6 * alone


def test_looking_for_garbage_in_a_worker_copies_nothing_of_what_it_shares(forked):
    """A collection writes to each object that it looks at: to those of the loader none may."""
    slots = forked("c", workers=1, setup={"objects": 300_000})
    pid = slots.ready()["pid"]
    alone = lifeline._field(f"/proc/{loader_of(slots)}/status", "VmRSS")
    before = lifeline._field(f"/proc/{pid}/smaps_rollup", "Private_Dirty")
    slots.ask(batch(), 60)
    copied = lifeline._field(f"/proc/{pid}/smaps_rollup", "Private_Dirty") - before
    assert alone > 300_000 * 64
    assert copied < 300_000 * 20, "of each object 80 bytes"


def test_a_model_that_can_not_be_loaded_is_named_in_the_loaders_own_log(tmp_path):
    with Slots(spec(tmp_path, loads="XXX", start="loader"), 2, tmp_path) as slots:
        slots.start()
        with pytest.raises(ModelLoadError, match="(?s)exited with code 3 while it loaded the model.*about to leave"):
            slots.ready()
    (log,) = (tmp_path / "user/stdout").rglob("loader.stdout.txt")
    assert "about to leave" in log.read_text()


def test_a_worker_waits_from_the_first_try_on_for_a_loader_that_fails(tmp_path):
    """That is its time; the loader has none of its own."""
    heard = []

    class Listening(Nobody):
        def not_loaded(self, process, started, failure):  # noqa: ARG002  # the protocol's
            heard.append((process, time.monotonic()))

        def loaded(self, process, since, load):  # noqa: ARG002  # as above
            heard.append((process, since))

    work = WorkTime(Listening())
    with Slots(spec(tmp_path, loads="X.", start="loader"), 2, tmp_path, work) as slots:
        slots.start()
        slots.ready()
        assert work.shifts().workers == 1
    (loader_process, failed), (place, since) = heard
    assert (loader_process, place) == ("loader", "process000")
    assert since < failed


def test_a_worker_that_was_started_ahead_is_taken_where_its_environment_is_the_same(tmp_path):
    worker = spec(tmp_path)
    with HeadStart(worker, tmp_path) as ahead:
        pid = ahead._child.pid
        with Slots(worker, 1, tmp_path, ahead=ahead) as slots:
            slots.start()
            assert slots.ready()["pid"] == pid
    assert gone(pid)


@pytest.mark.parametrize("start", ["each", "loader"])
def test_a_worker_that_was_started_ahead_in_vain_is_ended(tmp_path, start):
    with HeadStart(spec(tmp_path), tmp_path) as ahead:
        pid = ahead._child.pid
        with Slots(spec(tmp_path, threads=2, start=start), 1, tmp_path, ahead=ahead) as slots:
            slots.start()
            assert slots.ready()["pid"] != pid
    assert gone(pid)


def test_a_worker_that_was_started_ahead_can_be_the_loader(tmp_path):
    worker = spec(tmp_path, start="loader")
    with HeadStart(worker, tmp_path) as ahead:
        pid = ahead._child.pid
        with Slots(worker, 2, tmp_path, ahead=ahead) as slots:
            slots.start()
            assert loader_of(slots) == pid
    assert count(tmp_path, "loads") == 1


def test_without_a_spec_nothing_is_started_ahead(tmp_path):
    with HeadStart(None, tmp_path) as ahead:
        assert ahead._child is None
        assert ahead.taken(spec(tmp_path)) is None


def test_a_nursery_that_was_ended_gives_no_worker(tmp_path):
    log = ProcessLog(tmp_path, None)
    nursery = Nursery(spec(tmp_path, start="loader"), 2, log)
    nursery.begin()
    pid = nursery.watched[0].pid
    nursery.kill()
    assert not is_running(pid)
    with pytest.raises(Exception, match="^$"):
        nursery.child(log)


class Answering:
    """A loader's process that answers each question, in place of a child and its channel."""

    def __init__(self):
        self.channel = self

    def send(self, *_):
        pass

    def receive(self, _):
        return {"kind": "ended", "code": 0, "peak_rss": 1}

    def stop(self, **_):
        pass


def test_a_signal_that_breaks_into_a_question_leaves_the_loader_free_for_the_next():
    """Whenever it comes: who collects a worker would wait in vain for who asked."""
    forks = loader.Loader(Answering())

    class Broken(BaseException):
        pass

    def break_in(*_):
        raise Broken

    before = signal.signal(signal.SIGALRM, break_in)
    try:
        for number in range(1_000):
            with contextlib.suppress(Broken):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + number % 10))
                while True:
                    forks.collect(1)
            assert not forks._talk.locked()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_seconds_of_loading_are_told_once_and_none_is_lost(tmp_path):
    """Also where a loader has loaded in the moment in which they are asked for."""
    nursery = Nursery(spec(tmp_path, start="loader"), 2, ProcessLog(tmp_path, None))
    told = []

    def add():
        for _ in range(20_000):
            with nursery._telling:
                nursery._untold += 1

    adders = [threading.Thread(target=add) for _ in range(2)]
    for each in adders:
        each.start()
    while any(each.is_alive() for each in adders):
        told.append(nursery.load_cpu_seconds())
    told.append(nursery.load_cpu_seconds())
    nursery.kill()
    assert sum(told) == 40_000
