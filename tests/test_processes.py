"""Whether a process is alive that wrote down who it is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from batchscore import processes
from batchscore.processes import Process, started


def test_this_process_is_alive_and_one_that_ended_or_had_its_number_before_is_not() -> None:
    this = Process.this()
    assert this.is_alive is True
    assert replace(this, started="1").is_alive is False
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        pass
    assert replace(this, pid=other.pid).is_alive is False


def test_a_process_that_nobody_has_awaited_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "print('x')"], stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.read()
        while started(other.pid) is not None:
            pass
        assert other.returncode is None


@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"boot": ""}, {"boot": "b"}, {"namespace": "pid:[1]"}])
def test_of_another_machine_or_container_nothing_is_known(elsewhere: dict[str, str]) -> None:
    assert replace(Process.this(), machine="", pid=2**22 + 1, **elsewhere).is_alive is None


def test_a_machine_that_was_started_again_has_no_process_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    this = replace(Process.this(), machine="m")
    monkeypatch.setattr(Process, "this", lambda: this)
    assert replace(this, boot="before").is_alive is False
    assert replace(this, boot="before", machine="n").is_alive is None


def test_systems_without_proc_ask_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    found = processes._started_by_ps(Process.this().pid)
    assert found
    assert found == processes._started_by_ps(Process.this().pid)
    assert processes._started_by_ps(2**22 + 1) is None
