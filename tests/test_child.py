"""How a worker process is started: what it sees, and what it must not see."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_worker import spec

import batchscore
from batchscore.child import Child, WorkerSpec
from batchscore.faults import ModelNotLoaded
from batchscore.joblog.process import ProcessLog
from batchscore.slot import Slot


def surroundings(tmp_path, **more):
    """What a worker finds around itself."""
    worker = spec(tmp_path, **more)
    loader = worker.loader.replace(":load", ":load_surroundings")
    slot = Slot(WorkerSpec(setup={}, loader=loader, **more), ProcessLog(tmp_path, 0))
    try:
        return slot.ready()
    finally:
        slot.kill()


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A working directory whose modules must never be imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("json", "csv", "importlib", "signal", "sitecustomize"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("pythonpath", [None, "", ":", ".", "./", "../here", f"{os.pardir}/here:"])
def test_modules_in_the_working_directory_are_not_imported(trap, tmp_path, monkeypatch, pythonpath):
    if pythonpath is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", pythonpath)
    found = surroundings(tmp_path)
    assert not {"", ".", str(trap)} & set(found["path"])
    assert not any(str(trap) in file for file in found["files"])


def test_a_folder_that_pythonpath_names_absolutely_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:/elsewhere:relative")
    assert {str(tmp_path), "/elsewhere", str(tmp_path / "relative")} <= set(surroundings(tmp_path)["path"])


def test_a_working_directory_that_is_gone_is_no_obstacle(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setenv("PYTHONPATH", "relative:")
    try:
        assert surroundings(tmp_path)["leads_group"]
    finally:
        os.chdir(tmp_path)


def test_a_worker_sees_this_very_batchscore_and_only_the_standard_library_so_far(tmp_path):
    found = surroundings(tmp_path)
    assert found["files"][2] == batchscore.__file__
    assert found["argv"] == ["-c"]
    assert not {"mlflow", "pandas", "numpy", "pyarrow", "joblib", "multiprocessing", "pickle"} & set(found["modules"])


def test_another_interpreter_gets_batchscore_without_this_ones_packages(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    found = surroundings(tmp_path, python=str(environment / "bin" / "python"))
    assert found["executable"] == str(environment / "bin" / "python")
    assert found["files"][2] == batchscore.__file__
    here = Path(pytest.__file__).parent.parent
    assert not {str(here), str(Path(batchscore.__file__).parent.parent)} & set(found["path"])


def test_threads_and_the_users_variables_are_set_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    found = surroundings(tmp_path, threads=3, environment=(("TOKEN", "s3cret"), ("MKL_NUM_THREADS", "1")))
    variables = found["environment"]
    assert variables["OMP_NUM_THREADS"] == variables["OPENBLAS_NUM_THREADS"] == variables["LOKY_MAX_CPU_COUNT"] == "3"
    assert variables["MKL_NUM_THREADS"] == "1"
    assert variables["TOKEN"] == "s3cret"
    assert "s3cret" not in repr(WorkerSpec(setup={}, environment=(("TOKEN", "s3cret"),)))


@pytest.mark.parametrize(("stated", "found"), [(None, "system"), ("jemalloc", "jemalloc")])
def test_arrow_takes_its_memory_where_what_is_freed_is_kept_unless_the_user_says_otherwise(monkeypatch, stated, found):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    if stated:
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", stated)
    assert WorkerSpec(setup={}).variables()["ARROW_DEFAULT_MEMORY_POOL"] == found


def test_a_worker_leads_its_group_ignores_ctrl_c_reads_nothing_and_is_killed_first(tmp_path):
    found = surroundings(tmp_path)
    assert found["leads_group"]
    assert found["ignores_interrupts"]
    assert found["stdin"] == ""
    assert found["oom_score_adj"] == 800


def test_a_worker_holds_no_descriptor_of_its_parents(tmp_path):
    leak = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leak, True)
    worker = spec(tmp_path)
    child = Child(worker, ProcessLog(tmp_path, 0))
    other = Child(worker, ProcessLog(tmp_path, 1))
    try:
        child.channel.send(worker.request({}))
        other.channel.send(worker.request({}))
        assert child.channel.receive(20)["kind"] == other.channel.receive(20)["kind"] == "ready"
        targets = [str(path.readlink()) for path in Path(f"/proc/{other.pid}/fd").iterdir()]
        assert str(tmp_path) not in targets
        assert sum("socket:" in target for target in targets) == 1
        assert sum("pipe:" in target for target in targets) == 4  # lifeline, stdout, stderr, log
    finally:
        os.close(leak)
        child.kill()
        other.kill()


def test_an_old_interpreter_is_named(tmp_path):
    """What such an interpreter does with the bootstrap is shown by one that claims to be old."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nshift\ncode="import sys; sys.version_info = (3, 8); $1"\nshift\n'
        f'exec {sys.executable} -c "$code" "$@"\n'
    )
    python.chmod(0o755)
    with pytest.raises(ModelNotLoaded) as failure:
        surroundings(tmp_path, python=str(python))
    assert "workers need Python 3.10 or later" in failure.value.detail
