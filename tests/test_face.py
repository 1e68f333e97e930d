"""The face for Python: `batchscore.run`."""

from __future__ import annotations

import datetime as dt
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import quick

import batchscore
from batchscore import runner
from batchscore.errors import Stopped, UsageError


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    quick.write(tmp_path, a="1 2", b="3")
    quick.use(monkeypatch)
    return {"model": tmp_path / "model", "inputs": tmp_path / "in", "output": tmp_path / "out", "mini_batch_size": 1}


def test_a_summary_reads_its_outputs(arguments: dict[str, Any]) -> None:
    summary = batchscore.run(**arguments, add={"run": 7})
    assert summary.manifest["settings"]["add"] == [["run", "7"]]
    assert summary.read()["twice"].tolist() == [2, 4, 6]
    assert summary.failures().empty
    assert "rows_scored" in summary._repr_html_()


def test_a_day_stands_in_paths_and_constants_and_is_recorded(arguments: dict[str, Any], tmp_path: Path) -> None:
    arguments |= {"output": tmp_path / "{date:%Y/%m}", "output_file_name": "{date}.csv", "add": {"day": "{date:%d}"}}
    summary = batchscore.run(**arguments, date=dt.date(2026, 11, 3))
    assert summary.outputs == (str(tmp_path / "2026/11/2026-11-03.csv"),)
    assert summary.manifest["settings"]["add"] == [["day", "03"]]
    assert summary.manifest["settings"]["date"] == "2026-11-03"
    plain = batchscore.run(
        **arguments | {"output": tmp_path / "2026/11", "output_file_name": "2026-11-03.csv"}, date="2026-11-03"
    )
    assert not plain.is_fresh, "the same job by the resolved texts"


def test_without_a_placeholder_no_day_is_recorded(arguments: dict[str, Any]) -> None:
    assert batchscore.run(**arguments, date="yesterday").manifest["settings"]["date"] is None
    with pytest.raises(UsageError, match="no placeholder"):
        batchscore.run(**arguments | {"inputs": "{day}"})


@pytest.mark.parametrize(("where", "number"), [("find_inputs", signal.SIGINT), ("split", signal.SIGINT)])
def test_ctrl_c_is_a_keyboard_interrupt_at_any_time(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    real = getattr(runner, where)

    def interrupted(*given: Any) -> Any:
        os.kill(os.getpid(), number)
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(runner, where, interrupted)
        with pytest.raises(KeyboardInterrupt, match="run the same command again to go on"):
            batchscore.run(**arguments)
    assert batchscore.run(**arguments).status == "Completed"


def test_sigterm_before_the_job_has_begun_is_stopped(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "find_inputs", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        batchscore.run(**arguments)
    assert not arguments["output"].exists()


def test_a_second_signal_while_workers_end_is_not_heard_and_one_after_that_is(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    class Ending(runner.Slots):
        def kill_all(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().kill_all()
            ended.append(True)

    class Stopping(runner.Silent):
        def finished(self, size: int) -> None:
            del size
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(runner, "Slots", Ending)
    monkeypatch.setattr("batchscore.face.watcher", lambda *_, **__: Stopping())
    assert batchscore.run(**arguments, grace=0).status == "Canceled"
    assert ended == [True]
    monkeypatch.setattr(runner, "cut_short", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        batchscore.run(**arguments, grace=0)
