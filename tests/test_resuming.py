"""What a run finds in OUTPUT: unfinished and finished jobs, this one and others, stopped at any moment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import quick

from batchscore.errors import ModelLoadError, StorageError, UsageError
from batchscore.runner import run_job
from batchscore.storage.local import Ready, commit

FILES = {"a": "1 2 3", "b": "4 5", "c": "6", "d": "7 8 9"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """in/ with four files, model/, and out/ to come; workers log their calls and loads, and act out faults/."""
    quick.write(tmp_path, **FILES)
    (tmp_path / "faults").mkdir()
    quick.use(monkeypatch, CALLS=f"{tmp_path}/calls", LOADS=f"{tmp_path}/loads", FAULTS=f"{tmp_path}/faults")
    return tmp_path


def calls(folder: Path) -> list[str]:
    """Rows of each call since this was asked before."""
    log = folder / "calls"
    found = log.read_text().split() if log.exists() else []
    log.unlink(missing_ok=True)
    return found


def predictions(folder: Path) -> str:
    return (folder / "out/predictions.csv").read_text()


def undisturbed(folder: Path, **settings) -> str:
    """The predictions of a job that nothing came between."""
    run_job(quick.job(folder, output=str(folder / "undisturbed"), **settings))
    return (folder / "undisturbed/predictions.csv").read_text()


def test_a_repaired_file_lets_a_job_that_fails_fast_go_on(folder: Path) -> None:
    quick.write(folder, a="oops")
    assert run_job(quick.job(folder, fail_fast=True)).status == "Failed"
    quick.write(folder, a="1 2 3")
    assert run_job(quick.job(folder, fail_fast=True)).status == "Completed"
    assert predictions(folder) == undisturbed(folder)


def test_a_part_that_is_gone_is_scored_again(folder: Path) -> None:
    quick.write(folder, d="oops")
    run_job(quick.job(folder))
    calls(folder)
    next((folder / "out/.batchscore/parts").glob("000001-*")).unlink()
    quick.write(folder, d="7 8 9")
    assert run_job(quick.job(folder)).status == "Completed"
    assert calls(folder) == ["2", "3"]
    assert predictions(folder) == undisturbed(folder)


def test_a_receipt_that_cannot_be_read_is_scored_again(folder: Path) -> None:
    quick.write(folder, d="oops")
    run_job(quick.job(folder))
    calls(folder)
    journal = folder / "out/.batchscore/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"\0" * 50 + b"\n", *lines[2:]]))
    quick.write(folder, d="7 8 9")
    assert run_job(quick.job(folder)).status == "Completed"
    assert calls(folder) == ["3", "3"]
    assert predictions(folder) == undisturbed(folder)


def test_types_do_not_remember_the_rows_of_a_file_that_changed(folder: Path) -> None:
    """Bytes follow from the inputs: a double that is gone leaves no trace in its neighbours' numbers."""
    quick.write(folder, b="4.5", d="oops")
    together = {"mini_batch_size": quick.MiniBatchSize(files=10)}
    assert run_job(quick.job(folder, **together)).status == "Failed"
    quick.write(folder, b="4 5", d="7 8 9")
    assert run_job(quick.job(folder, **together)).status == "Completed"
    assert predictions(folder) == undisturbed(folder, **together)
    assert "." not in predictions(folder).replace(".csv", "")


def test_files_whose_neighbours_changed_keep_their_predictions(folder: Path) -> None:
    quick.write(folder, d="oops")
    together = {"mini_batch_size": quick.MiniBatchSize(files=10)}
    run_job(quick.job(folder, **together))
    calls(folder)
    quick.write(folder, d="7 8 9")
    run_job(quick.job(folder, **together))
    assert calls(folder) == ["3"]
    assert predictions(folder) == undisturbed(folder, **together)


def test_a_finished_job_is_another_one_once_its_inputs_change_even_where_its_folder_was_left_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between job.json and the end of .batchscore."""
    monkeypatch.setattr("batchscore.workspace.remove", lambda _: None)
    run_job(quick.job(folder))
    assert (folder / "out/.batchscore/journal.jsonl").exists()
    monkeypatch.undo()
    quick.use(monkeypatch)
    quick.write(folder, a="1")
    before = predictions(folder)
    with pytest.raises(UsageError, match="a finished job: the inputs changed since"):
        run_job(quick.job(folder))
    assert predictions(folder) == before
    assert run_job(quick.job(folder, overwrite=True)).status == "Completed"
    assert not (folder / "out/.batchscore").exists()


def test_an_output_that_was_changed_is_not_taken_for_changed_inputs(folder: Path) -> None:
    run_job(quick.job(folder))
    with (folder / "out/predictions.csv").open("a") as stream:
        stream.write("mine\n")
    with pytest.raises(UsageError, match=r"a finished job: predictions\.csv was changed since"):
        run_job(quick.job(folder))
    (folder / "out/predictions.csv").unlink()
    assert run_job(quick.job(folder)).status == "Completed"


def test_the_order_of_added_columns_is_part_of_what_a_job_is(folder: Path) -> None:
    run_job(quick.job(folder, add=(("p", "1"), ("q", "2"))))
    with pytest.raises(UsageError, match="add"):
        run_job(quick.job(folder, add=(("q", "2"), ("p", "1"))))


def test_other_columns_of_keep_all_have_all_files_scored_again(folder: Path) -> None:
    quick.write(folder, d="oops")
    run_job(quick.job(folder, keep=("*",)))
    calls(folder)
    quick.write(folder, d="7 8 9")
    (folder / "in/a.csv").write_text("y,x\n1,1\n")
    assert run_job(quick.job(folder, keep=("*",))).status == "Completed"
    assert len(calls(folder)) == 4


def test_an_overwriting_job_that_is_overwritten_takes_the_first_ones_outputs_along(folder: Path) -> None:
    run_job(quick.job(folder))
    quick.write(folder, d="oops")
    run_job(quick.job(folder, overwrite=True, limit=100))
    assert (folder / "out/predictions.csv").exists()
    quick.write(folder, d="7")
    run_job(quick.job(folder, overwrite=True, output_file_name="scores.csv"))
    assert sorted(os.listdir(folder / "out")) == ["job.json", "logs", "scores.csv"]


def test_what_a_run_put_in_place_before_it_broke_goes_when_another_job_overwrites(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "batchscore.publishing.publish_failures", lambda *_: (_ for _ in ()).throw(StorageError("full"))
        )
        with pytest.raises(StorageError):
            run_job(quick.job(folder))
    assert (folder / "out/predictions.csv").exists()
    run_job(quick.job(folder, overwrite=True, output_file_name="scores.csv"))
    assert sorted(os.listdir(folder / "out")) == ["job.json", "logs", "scores.csv"]


def test_a_job_that_has_scored_nothing_yet_does_not_stand_in_anothers_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("quick.__file__", "/nowhere/quick.py")
        with pytest.raises(ModelLoadError):
            run_job(quick.job(folder))
    (folder / "model/repaired").write_text("")
    assert run_job(quick.job(folder)).status == "Completed"


def test_a_wrong_setting_that_shows_in_a_worker_leaves_what_was_there(folder: Path) -> None:
    with pytest.raises(UsageError, match="can't be started"):
        run_job(quick.job(folder, python="/no/python"))
    assert not (folder / "out").exists()


def test_failures_of_a_stopped_job_are_written_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchscore import errors, runner

    quick.write(folder, a="oops")

    class Stopping(runner.Silent):
        def finished(self, size: int) -> None:  # noqa: ARG002
            raise errors.Stopped(signal.SIGTERM)

    summary = run_job(quick.job(folder), Stopping())
    assert (summary.status, summary.exit_code, summary.counts.files_failed) == ("Canceled", 143, 1)
    assert summary.failures()["file"].tolist() == ["a.csv"]


def test_retries_are_counted_over_all_runs(folder: Path) -> None:
    quick.write(folder, d="oops")
    (folder / "faults/4").write_text("once")
    assert run_job(quick.job(folder)).counts.retries == 1
    quick.write(folder, d="7")
    (folder / "faults/7").write_text("once")
    assert run_job(quick.job(folder)).counts.retries == 2


def test_failures_within_the_threshold_stand_and_others_are_tried_again(folder: Path) -> None:
    (folder / "faults/4").write_text("raise")
    assert run_job(quick.job(folder, max_retries=0)).counts.files_failed == 1
    calls(folder)
    (folder / "faults/4").unlink()
    assert run_job(quick.job(folder, error_threshold=1)).counts.files_failed == 1
    assert calls(folder) == []
    shutil.rmtree(folder / "out")
    (folder / "faults/4").write_text("raise")
    run_job(quick.job(folder, max_retries=0))
    calls(folder)
    (folder / "faults/4").unlink()
    assert run_job(quick.job(folder)).counts.files_failed == 0
    assert calls(folder) == ["2"]


STOPPER = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import quick
from batchscore import runner
from batchscore.runner import run_job
import batchscore.readers.csv  # what runs import late would be taken for their doing

def nothing_is_scored(*_):
    raise AssertionError("a worker is asked for")

runner.Slots = nothing_is_scored
folder = Path({folder!r})
left = None

def count_down(event, arguments):
    global left
    if left is None or not str(arguments and arguments[0]).startswith(str(folder)):
        return
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir") or (event == "open" and arguments[2] & os.O_ACCMODE):
        left -= 1
        if left == -1:
            os.kill(os.getpid(), {number})

sys.addaudithook(count_down)

def attempt(output, events):
    "The exit code of a run in a process of its own: 7 where it ended before that many things had happened."
    global left
    child = os.fork()
    if not child:
        left = events
        summary = run_job(quick.job(folder, output=output, output_files={output_files!r}, overwrite={overwrite!r}))
        os._exit(7 if left is not None and left >= 0 else summary.exit_code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def content(output):
    files = [path for path in output.rglob("*") if path.is_file() and output / "logs" not in path.parents]
    return {{str(path.relative_to(output)): path.read_bytes() for path in files}}

expected = content(folder / "undisturbed")
for events in range(1000):
    output = folder / f"out{{events}}"
    shutil.copytree(folder / "scored", output)
    ended = attempt(str(output), events)
    assert attempt(str(output), None) == 0, events
    found = content(output)
    assert {{**found, "job.json": b""}} == {{**expected, "job.json": b""}}, (events, ended, sorted(found))
    logs = [output / "logs" / name for name in ("job_progress_overview.txt", "job_result.txt", "readme.txt")]
    assert "Completed" in logs[0].read_text() and "Completed" in logs[1].read_text() and logs[2].exists(), events
    shutil.rmtree(output)
    if ended == 7:
        print(events)
        break
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(("output_files", "overwrite"), [("one", False), ("mirror", True)])
def test_a_job_stopped_at_any_moment_of_its_publishing_is_published_by_the_next_run(
    folder: Path, output_files: str, number: int, *, overwrite: bool
) -> None:
    """A process sends itself the signal before the k-th thing that it does to a file, for every k."""
    settings = {"output_files": output_files}
    if overwrite:
        run_job(quick.job(folder, limit=5, output_files="parts"))
    quick.write(folder, d="oops")
    run_job(quick.job(folder, overwrite=overwrite, **settings))
    (folder / "in/d.csv").unlink()
    run_job(quick.job(folder, output=str(folder / "undisturbed"), **settings))
    (folder / "out").rename(folder / "scored")
    tests = str(Path(quick.__file__).parent)
    program = STOPPER.format(tests=tests, folder=str(folder), number=int(number), overwrite=overwrite, **settings)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


@pytest.mark.parametrize("files", ["one", "mirror"])
def test_an_old_job_json_vouches_for_nothing_new(folder: Path, monkeypatch: pytest.MonkeyPatch, files: str) -> None:
    """Whenever a run is killed while it replaces a finished job, job.json is gone or tells of what is there."""
    run_job(quick.job(folder, output_files=files))
    quick.write(folder, a="7 7 7", b="8")
    seen: list[str] = []

    def watched(root: str, ready: Ready) -> None:
        commit(root, ready)
        manifest = Path(root, "job.json")
        for entry in json.loads(manifest.read_text())["outputs"] if manifest.exists() else ():
            assert hashlib.sha256(Path(root, entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
        seen.append(ready.name)

    monkeypatch.setattr("batchscore.storage.places.commit", watched)
    assert run_job(quick.job(folder, output_files=files, overwrite=True)).status == "Completed"
    names = [f"predictions/{name}.csv.csv" for name in FILES] if files == "mirror" else ["predictions.csv"]
    assert seen == [*names, "job.json"]


def test_a_finished_job_has_failed_by_a_lower_threshold_and_stays_as_it_is(folder: Path) -> None:
    """What the run that finished it allowed is no reason to tell the one who allows less that all is well."""
    quick.write(folder, d="oops")
    finished = run_job(quick.job(folder, error_threshold=1))
    assert (finished.status, calls(folder)) == ("Completed", ["3", "2", "1", "1"])
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    again = run_job(quick.job(folder, error_threshold=0))
    assert (again.status, again.exit_code, again.is_fresh, again.manifest["status"]) == ("Failed", 1, False, "Failed")
    assert again.message.startswith("1 file failed, more than the 0 that may (--error-threshold): the job was finished")
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()} == before
    assert run_job(quick.job(folder, error_threshold=1, overwrite=True)).message.startswith("already finished")
    assert calls(folder) == []
    assert run_job(quick.job(folder, error_threshold=0, overwrite=True)).is_fresh
    assert calls(folder) == ["3", "2", "1", "1"]
    assert run_job(quick.job(folder, error_threshold=1, overwrite=True)).is_fresh


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """The folder once it holds a result, and its OUTPUT may not be written by this process."""
    run_job(quick.job(folder))
    closed = [path for path in folder.parents if not path.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode for path in (folder / "out", folder, *closed)}
    for path in modes:
        path.chmod(0o555 if path.name == "out" else 0o755)
    user = os.geteuid()
    if user == 0:  # who may write everywhere
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    for path, mode in modes.items():
        path.chmod(mode)


def test_a_result_that_may_only_be_read_is_finished_still(read_only: Path) -> None:
    assert not run_job(quick.job(read_only)).is_fresh
    with pytest.raises(StorageError, match="can't write to OUTPUT"):
        run_job(quick.job(read_only, limit=1, overwrite=True))


def test_what_job_json_says_of_another_program_is_refused(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/job.json").write_text(json.dumps({"status": "Completed", "outputs": ["a"]}))
    with pytest.raises(UsageError, match="isn't a summary of batchscore"):
        run_job(quick.job(folder))
