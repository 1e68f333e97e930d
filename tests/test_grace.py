"""A job that a signal stops: what is in flight finishes, within the time of grace; real jobs in processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import quick
from fake_worker import PATIENCE, batch, comes_true, gone, spec
from killable import Killable
from test_lifeline import descendants

from batchscore.grace import Grace
from batchscore.joblog.process import ProcessLog
from batchscore.runner import run_job
from batchscore.signals import StopSignals
from batchscore.slot import Slot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """in/ with eight files of a number each; calls/ has a line for each that was scored to its end."""
    quick.write(tmp_path, **{name: str(number) for number, name in enumerate("abcdefgh", 1)})
    (tmp_path / "faults").mkdir()
    return tmp_path


class Job:
    """A job over the folder that is seen to score; what it begins is in begun."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.begun = folder / "begun"
        environment = {"FAULTS": f"{folder}/faults", "CALLS": f"{folder}/calls", "BEGUN": str(self.begun)}
        self.run = Killable(folder, environment=environment, **settings)

    def stop_at(self, lines: int, number: int) -> None:
        self.run.wait_for(self.begun, lines)
        self.run.process.send_signal(number)

    def let_go(self) -> None:
        """Let what is held be scored, once the signal has been heard."""
        overview = self.folder / "out/logs/job_progress_overview.txt"
        assert comes_true(lambda: "nothing new is begun" in overview.read_text(), 60)
        for fault in (self.folder / "faults").iterdir():
            fault.unlink()


@pytest.fixture
def job(folder: Path) -> Iterator[Any]:
    started: list[Job] = []

    def start(**settings: Any) -> Job:
        started.append(Job(folder, **settings))
        return started[-1]

    yield start
    for one in started:
        one.run.process.kill()
        one.run.process.communicate()


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def assert_the_rest_is_scored_and_nothing_twice(folder: Path) -> None:
    scored = len(lines(folder / "calls"))
    for fault in (folder / "faults").iterdir():
        fault.unlink()
    environment = {"CALLS": f"{folder}/calls"}
    code, out, err = Killable(folder, environment=environment).end()
    assert (code, out.split(":")[0]) == (0, "Completed"), err
    assert len(lines(folder / "calls")) - scored == 8 - scored
    code, *_ = Killable(folder, output=str(folder / "undisturbed")).end()
    assert code == 0
    expected = (folder / "undisturbed/predictions.csv").read_bytes()
    assert (folder / "out/predictions.csv").read_bytes() == expected
    assert sorted(os.listdir(folder / "out")) == ["job.json", "logs", "predictions.csv"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_in_flight_is_finished_and_nothing_new_is_begun(
    job: Any, folder: Path, workers: int, number: int, code: int
) -> None:
    for fault in "12345678":
        (folder / "faults" / fault).write_text("held")
    stopped = job(workers=workers)
    stopped.stop_at(workers, number)
    stopped.let_go()
    ended, out, err = stopped.run.end()
    assert (ended, out.split(":")[0]) == (code, "Canceled")
    assert f"{signal.Signals(number).name}: nothing new is begun; waiting up to 20 s (--grace) for " in err
    assert f"for {workers} mini-batch{'es' if workers > 1 else ''} in flight" in err
    assert len(lines(folder / "calls")) == len(lines(stopped.begun)) == workers
    assert_the_rest_is_scored_and_nothing_twice(folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_takes_longer_than_the_grace_is_given_up(job: Any, folder: Path, workers: int) -> None:
    (folder / "faults/2").write_text("wait")
    stopped = job(workers=workers, grace=0.7, max_retries=0)
    stopped.run.wait_for(stopped.begun, 8 if workers == 2 else 2)
    time.sleep(0.3)
    processes = descendants(stopped.run.process.pid)
    stopped.run.process.send_signal(signal.SIGTERM)
    code, _, err = stopped.run.end()
    assert code == 143
    assert "waiting up to 0.7 s (--grace) for 1 mini-batch in flight" in err
    assert gone(*processes)
    assert not (folder / "out/failures.jsonl").exists()
    assert_the_rest_is_scored_and_nothing_twice(folder)


def test_the_grace_that_is_stated_is_waited_for_before_what_is_in_flight_is_given_up() -> None:
    waited: list[Any] = []
    given_up = threading.Event()

    class TimeIsUp(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append((timeout, given_up.is_set()))
            return super().wait(0)

    with StopSignals() as signals, Grace(signals, 77.0, lambda _: None, given_up.set) as grace:
        grace._is_done = TimeIsUp()
        os.kill(os.getpid(), signal.SIGTERM)
        assert given_up.wait(PATIENCE)
        assert grace.is_over
    assert waited == [(77.0, False)]


@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_stops_at_once(job: Any, folder: Path, workers: int, first: int, second: int) -> None:
    (folder / "faults/1").write_text("wait")
    stopped = job(workers=workers, grace=3600)
    stopped.stop_at(1, first)
    time.sleep(0.3)
    assert stopped.run.process.poll() is None
    stopped.run.process.send_signal(second)
    assert stopped.run.end()[0] == 128 + second
    assert_the_rest_is_scored_and_nothing_twice(folder)


def test_no_grace_stops_at_the_first_signal(job: Any, folder: Path) -> None:
    (folder / "faults/1").write_text("wait")
    stopped = job(grace=0)
    stopped.stop_at(1, signal.SIGTERM)
    code, _, err = stopped.run.end()
    assert code == 143
    assert "waiting" not in err


def test_a_service_manager_that_tells_all_processes_to_end_does_not_end_what_is_in_flight(
    job: Any, folder: Path
) -> None:
    (folder / "faults/1").write_text("held")
    stopped = job(max_retries=0)
    stopped.run.wait_for(stopped.begun, 1)
    for worker in descendants(stopped.run.process.pid):
        os.kill(worker, signal.SIGTERM)
    stopped.run.process.send_signal(signal.SIGTERM)
    stopped.let_go()
    assert stopped.run.end()[0] == 143
    assert lines(folder / "calls") == ["1"]
    assert not (folder / "out/failures.jsonl").exists()


def test_what_a_model_forks_and_starts_ends_by_a_sigterm_still(tmp_path: Path) -> None:
    slot = Slot(spec(tmp_path, "5"), ProcessLog(tmp_path, 0))
    slot.ask(batch(), 10)
    slot.kill()
    assert (tmp_path / "ends").read_text() == f"{-signal.SIGTERM} {-signal.SIGTERM}"


def test_what_is_stopped_with_all_done_is_published_by_the_next_run_without_scoring(job: Any, folder: Path) -> None:
    (folder / "faults/8").write_text("held")
    stopped = job()
    stopped.stop_at(8, signal.SIGTERM)
    stopped.let_go()
    assert stopped.run.end()[0] == 143
    assert len(lines(folder / "calls")) == 8
    assert_the_rest_is_scored_and_nothing_twice(folder)


def test_in_a_thread_no_signal_is_heard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.use(monkeypatch)
    found, before = [], threading.active_count()
    thread = threading.Thread(target=lambda: found.append(run_job(quick.job(folder)).status))
    thread.start()
    thread.join()
    assert found == ["Completed"]
    assert comes_true(lambda: threading.active_count() == before)
