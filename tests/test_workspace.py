"""The lock and the life of OUTPUT/.batchscore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from batchscore.errors import OutputLocked, StorageError, UsageError
from batchscore.locking import lock
from batchscore.workspace import Workspace


def test_two_runs_never_hold_one_output(tmp_path: Path) -> None:
    with Workspace(str(tmp_path / "out")), pytest.raises(OutputLocked, match="another run holds OUTPUT .*process "):
        Workspace(str(tmp_path / "out")).__enter__()
    with Workspace(str(tmp_path / "out")):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = (
        "import sys, time; from batchscore.workspace import Workspace\n"
        f"with Workspace({str(tmp_path / 'out')!r}): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with pytest.raises(OutputLocked):
            Workspace(str(tmp_path / "out")).__enter__()
        process.kill()
    with Workspace(str(tmp_path / "out")):
        pass


def test_a_lock_whose_file_a_run_before_removes_this_moment_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening the file and locking it: a lock on a file that nobody finds would keep nobody out."""
    removals = [(tmp_path / "out/.batchscore/lock").unlink]

    def late(handle: int) -> bool:
        if removals:
            removals.pop()()
        return lock(handle)

    monkeypatch.setattr("batchscore.workspace.lock", late)
    with Workspace(str(tmp_path / "out")):
        assert not removals
        with pytest.raises(OutputLocked):
            Workspace(str(tmp_path / "out")).__enter__()


def test_a_job_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    with Workspace(str(tmp_path / "a/out")):
        assert (tmp_path / "a/out/.batchscore/lock").exists()
    assert not (tmp_path / "a/out").exists()


def test_an_unfinished_job_keeps_its_folder_and_a_finished_one_does_not(tmp_path: Path) -> None:
    with Workspace(str(tmp_path / "out")) as workspace:
        Path(workspace.journal).write_text("{}\n")
    assert (tmp_path / "out/.batchscore").exists()
    with Workspace(str(tmp_path / "out")) as workspace:
        workspace.is_done = True
    assert not (tmp_path / "out/.batchscore").exists()


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "sub/x.JSONL"])
def test_a_file_name_as_output_is_refused_with_the_corrected_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"-o {(tmp_path / name).parent} --output-file-name {Path(name).name}"):
        Workspace(str(tmp_path / name))


def test_an_output_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        Workspace(str(tmp_path / "file"))
    with pytest.raises(StorageError, match="can't create OUTPUT"):
        Workspace("/proc/batchscore/out").__enter__()


def test_a_job_json_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("[1]")
    with Workspace(str(tmp_path)) as workspace, pytest.raises(UsageError, match="isn't a summary of batchscore"):
        workspace.manifest()


def test_a_remote_output_is_refused() -> None:
    with pytest.raises(UsageError, match="OUTPUT s3://bucket/out is remote"):
        Workspace("s3://bucket/out")


def test_a_lock_that_a_machine_which_is_gone_left_on_a_shared_disk_is_broken_on_demand(tmp_path: Path) -> None:
    """Here a process holds it that says that it is another machine's; it finds out."""
    with Workspace(str(tmp_path / "out")) as held:
        with pytest.raises(OutputLocked, match="wait for it or stop it$"):
            Workspace(str(tmp_path / "out"), breaks_lock=True).__enter__()
        Path(held.folder, "lock").write_text('{"pid": 12, "host": "elsewhere", "since": null}')
        with pytest.raises(OutputLocked, match="process 12 on elsewhere.*--break-lock if that process"):
            Workspace(str(tmp_path / "out")).__enter__()
        held.check_lock()
        with Workspace(str(tmp_path / "out"), breaks_lock=True) as taken:
            taken.check_lock()
            with pytest.raises(OutputLocked, match="has broken the lock"):
                held.check_lock()
