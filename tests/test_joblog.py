"""OUTPUT/logs: what jobs leave there, with real worker processes."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import quick
import talking

from batchscore import __version__
from batchscore.errors import ModelLoadError, Stopped, StorageError, UsageError
from batchscore.face import run
from batchscore.faults import ModelNotLoaded
from batchscore.joblog import capped
from batchscore.joblog.attempttable import COLUMNS
from batchscore.joblog.capped import CappedFile
from batchscore.joblog.printed import Reader
from batchscore.joblog.process import ProcessLog, node_name
from batchscore.runner import run_job
from batchscore.settings import MiniBatchSize
from batchscore.storage import publish

SECRET = "open-sesame-27"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job folder whose workers talk."""
    talking.use(monkeypatch, STORE_KEY=SECRET)
    return tmp_path


def printed(folder: Path, kind: str, process: int = 0) -> str:
    """What a worker's log has, markers without their times."""
    middle = {"entry_script_log": "log"}.get(kind, kind)
    path = folder / f"out/logs/user/{kind}/{node_name()}/process{process:03d}.{middle}.txt"
    if kind == "error":
        path = path.with_name(f"process{process:03d}.txt")
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", path.read_text(errors="backslashreplace"))


def log(folder: Path, name: str) -> str:
    return (folder / "out/logs" / name).read_text()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "out/logs/sys/job_report/processed_mini-batches.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("is_late", [False, True])
def test_all_that_is_printed_is_there_by_mini_batch(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    """Also where the thread that reads comes too late each time."""
    if is_late:
        monkeypatch.setattr(Reader, "_run", reads_nothing)
    quick.write(folder, quiet="1", speaks1="2", speaks2="3")
    run_job(quick.job(folder))
    loading = re.compile(r"--- TIME loading the model, process id \d+ ---\nfound the weights\n")
    found = printed(folder, "stdout")
    assert loading.match(found)
    spoken = "python says a child says\nc says"
    title = "--- TIME mini-batch {0}, attempt 1: file speaks{0}.csv ---\n"
    assert loading.sub("", found) == "\n".join(title.format(number) + spoken for number in (1, 2))
    assert printed(folder, "stderr") == "\n".join(f"{title.format(number)}raw \\xff\nno line end" for number in (1, 2))
    assert capfd.readouterr() == ("", "")


def reads_nothing(reader: Reader) -> None:
    while not reader._is_stopping:
        time.sleep(0.01)
    reader._finish()


def test_what_is_printed_while_the_next_work_is_marked_is_there_once(tmp_path: Path) -> None:
    """As by a thread of the model's own, which knows nothing of mini-batches."""
    log = ProcessLog(tmp_path, 0)
    marking = threading.Thread(target=lambda: log.mark("next"))

    class Late(bytes):
        """What is read in the moment in which the next work begins."""

        def __radd__(self, rest: bytes) -> bytes:
            marking.start()
            marking.join(0.1)  # it has to wait
            return rest + bytes(self)

    log.take("stdout", b"half a ")
    log.take("stdout", Late(b"line\n"))
    marking.join()
    log.close()
    assert (tmp_path / f"user/stdout/{node_name()}/process000.stdout.txt").read_text() == "half a line\n"


def test_what_comes_once_the_logs_are_closed_makes_no_file(tmp_path: Path) -> None:
    """As of a thread that the machine didn't let run until the job was over, and its logs elsewhere."""
    log = ProcessLog(tmp_path, 0)
    log.take("stdout", b"half a line")
    log.close()
    shutil.rmtree(tmp_path / "user")
    log.take("stdout", b"late\n")
    log.failed("late", "reason", "detail")
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_a_job_whose_model_is_silent_has_no_files_for_what_it_prints(folder: Path, monkeypatch) -> None:
    quick.use(monkeypatch)
    quick.write(folder, a="1")
    run_job(quick.job(folder))
    assert sorted(str(path.relative_to(folder / "out/logs")) for path in (folder / "out/logs").rglob("*.*")) == [
        "job_progress_overview.txt",
        "job_result.txt",
        "readme.txt",
        "sys/job_report/processed_mini-batches.csv",
    ]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("warning", ["WARNING script: a warning"]),
        ("info", ["INFO root: loaded", "INFO script: a info", "WARNING script: a warning", "INFO root: by the root"]),
        ("debug", ["INFO root: loaded", "DEBUG script: a debug", "INFO script: a info", "WARNING script: a warning"]),
    ],
)
def test_what_is_logged_is_there_from_the_level_on(folder: Path, level: str, expected: list[str]) -> None:
    quick.write(folder, logs="1")
    run(folder / "model", folder / "in", folder / "out", logging_level=level)
    lines = [line for line in printed(folder, "entry_script_log").splitlines() if not line.startswith("---")]
    assert [line.removeprefix("TIME ") for line in lines][: len(expected)] == expected
    assert not (folder / "out/logs/user/stderr").exists()


def test_a_scripts_own_logging_settings_count_beside(folder: Path) -> None:
    quick.write(folder, configures="1")
    run_job(quick.job(folder, logging_level="debug"))
    assert "DEBUG script: details\n" in printed(folder, "entry_script_log")
    assert "mine: details\n" in printed(folder, "stderr")
    run_job(quick.job(folder, overwrite=True, limit=1))
    assert "details" not in printed(folder, "entry_script_log")
    assert "mine: details\n" in printed(folder, "stderr")


def test_secrets_are_in_no_log_even_where_they_come_in_pieces(folder: Path) -> None:
    quick.write(folder, tells="1")
    run_job(quick.job(folder))
    assert "key: … at https://host/x?…\n" in printed(folder, "stdout")
    assert "WARNING script: logged …\n" in printed(folder, "entry_script_log")
    for path in (folder / "out").rglob("*.*"):
        assert SECRET not in path.read_text(), path
        assert "abcdef" not in path.read_text(), path


def test_a_secret_that_is_no_text_neither_shows_nor_stops_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talking.use(monkeypatch, STORE_KEY=os.fsdecode(b"\xff\xfe" + SECRET.encode()))
    quick.write(tmp_path, quiet="1", tells="2")
    run_job(quick.job(tmp_path))
    assert "found the weights\n" in printed(tmp_path, "stdout")
    assert "key: … at https://host/x?…\n" in printed(tmp_path, "stdout")
    assert SECRET not in "".join(path.read_text() for path in (tmp_path / "out/logs").rglob("*.txt"))


def test_a_flood_leaves_how_it_began_and_how_it_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capped, "BEGINNING", 20_000)
    monkeypatch.setattr(capped, "NEWEST", 10_000)
    quick.write(folder, floods0="1", floods1="2")
    run_job(quick.job(folder))
    files = {path.name: path.read_text() for path in (folder / "out/logs/user/stdout").rglob("*.*")}
    assert files.keys() == {f"process000.stdout{part}.txt" for part in ("", ".newest", ".newest-1")}
    beginning, newest = files["process000.stdout.txt"], files["process000.stdout.newest.txt"]
    assert "\nline      0 ...." in beginning
    assert beginning.endswith("left out ---\n")
    assert newest.endswith(f"line {talking.FLOOD - 1:6} {'.' * 100}\n")
    assert len(beginning) < 20_300
    assert max(map(len, files.values())) < 80_000  # a block that is read at once isn't cut


def test_a_file_that_is_opened_again_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capped, "BEGINNING", 40)
    monkeypatch.setattr(capped, "NEWEST", 20)
    for number in range(20):
        file = CappedFile(tmp_path / "log.txt")
        file.write(f"line {number:3}\n".encode())
        file.close()
    names = ("log.txt", "log.newest-1.txt", "log.newest.txt")
    kept = re.findall(r"line +(\d+)", "".join((tmp_path / name).read_text() for name in names))
    assert kept == ["0", "1", "2", "3", "16", "17", "18", "19"]


def test_failed_attempts_have_their_traces_rows_and_lines(folder: Path) -> None:
    quick.write(folder, a="1", crashes="2", fails="3", hangs="4", oops="oops 5")
    summary = run_job(quick.job(folder, error_threshold=-1, max_retries=1, timeout=3))
    assert summary.counts.files_failed == 4
    errors = printed(folder, "error").split("--- TIME ")[1:]
    assert [error.partition(" ---")[0] for error in errors] == [
        *(f"mini-batch {number}, attempt {attempt}: file {name}.csv"
          for number, name in enumerate(["crashes", "fails", "hangs"], 1) for attempt in (1, 2))
    ]  # fmt: skip
    assert "was killed by SIGSEGV\nlast words in c\n" in errors[0]
    assert errors[2].count("LookupError: never found") == 1
    assert "in fails" in errors[2]
    assert "before it fails" not in errors[2]
    assert "in hangs" in errors[4]
    lines = [line.partition("Z ")[2] for line in log(folder, "user/error.txt").splitlines()]
    assert "process000: mini-batch 2, attempt 1: file fails.csv failed: LookupError: never found" in lines
    assert "file oops.csv failed: found 'oops'" in lines
    table = rows(folder)
    assert tuple(table[0]) == COLUMNS
    found = [tuple(row[name] for name in ("Mini-batch Id", "Picked Count", "Succeeded", "Status")) for row in table]
    assert found == [
        ("0", "1", "1", "RUN_DONE"),
        ("1", "1", "0", "RUN_EXCEPTION"),
        ("1", "2", "0", "RUN_EXCEPTION"),
        ("2", "1", "0", "RUN_EXCEPTION"),
        ("2", "2", "0", "RUN_EXCEPTION"),
        ("3", "1", "0", "RUN_TIMEOUT"),
        ("3", "2", "0", "RUN_TIMEOUT"),
        ("4", "1", "0", "RUN_DONE"),
    ]
    assert {row["Total"] for row in table} == {"1"}
    assert (table[3]["Error Category"], table[3]["Error Message"]) == ("LookupError", "LookupError: never found")
    assert (table[1]["Error Category"], table[1]["Process Seconds"]) == ("WorkerDied", "N/A")
    assert json.loads(table[4]["Mini-batch Detail"]) == [{"file": "fails.csv"}]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", table[0]["Process Start Time"])
    assert 0 <= float(table[0]["Process Seconds"]) < 60
    assert float(table[0]["Run Method Seconds"]) <= float(table[0]["Elapsed Seconds"]) < 60


def test_files_tried_one_by_one_are_further_picks_of_their_mini_batch(folder: Path) -> None:
    quick.write(folder, a="1", fails="2", z="3")
    run_job(quick.job(folder, error_threshold=-1, max_retries=0, mini_batch_size=MiniBatchSize(files=3)))
    found = [(row["Mini-batch Id"], row["Picked Count"], row["Total"], row["Succeeded"]) for row in rows(folder)]
    assert found == [("0", "1", "3", "0"), ("0", "2", "1", "1"), ("0", "3", "1", "0"), ("0", "4", "1", "1")]
    assert "mini-batch 0, attempt 1: 3 files a.csv … z.csv" in printed(folder, "stdout")


def test_the_result_and_what_to_do_are_told(folder: Path) -> None:
    quick.write(folder, a="1", b="oops")
    run_job(quick.job(folder))
    assert log(folder, "job_result.txt").startswith("Status: Failed\nResult: 1 file failed, more than the 0 that may")
    problem = log(folder, "job_error.txt")
    assert "1 of 2 files failed:\n  b.csv: found 'oops'\n" in problem
    assert "--error-threshold -1" in problem
    quick.write(folder, b="2")
    run_job(quick.job(folder))
    assert "rows_scored: 2\n" in log(folder, "job_result.txt")
    assert not (folder / "out/logs/job_error.txt").exists()
    overview = [line.partition("Z ")[2] for line in log(folder, "job_progress_overview.txt").splitlines()]
    job = json.loads((folder / "out/job.json").read_text())["job"]
    assert overview[0] == f"batchscore {__version__} begins job {job}"
    assert f"batchscore {__version__} goes on with job {job}" in overview
    assert "1 mini batches were processed before." in overview
    assert [line.partition(" in ")[0] for line in overview if line.startswith("Processed")] == [
        "Processed 2 of 2 mini batches"
    ] * 2
    assert overview[-1] == "Completed: 2 of 2 rows from 2 files scored, to predictions.csv"
    assert [row["Mini-batch Id"] for row in rows(folder)] == ["0", "1", "1"]


def test_what_a_completed_job_advises_can_be_done(folder: Path) -> None:
    """Its outputs are there: with the file repaired it is another job."""
    quick.write(folder, a="1", b="oops")
    run_job(quick.job(folder, error_threshold=-1))
    assert "  - With the files repaired it is another job: give another OUTPUT, or --overwrite.\n" in log(
        folder, "job_error.txt"
    )
    assert "same command" not in log(folder, "job_error.txt")
    quick.write(folder, b="2")
    with pytest.raises(UsageError, match="the inputs changed since"):
        run_job(quick.job(folder, error_threshold=-1))
    assert run_job(quick.job(folder, error_threshold=-1, overwrite=True)).counts.files_failed == 0


def test_a_model_that_is_not_loaded_leaves_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "faults").mkdir()
    (folder / "faults/load").write_text("raise")
    quick.use(monkeypatch, FAULTS=str(folder / "faults"))
    quick.write(folder, a="1")
    with pytest.raises(ModelLoadError):
        run_job(quick.job(folder))
    assert {row["Status"] for row in rows(folder)} == {"LOAD_EXCEPTION"}
    assert "Traceback" in printed(folder, "error")
    assert "no luck with load" in log(folder, "job_error.txt")
    assert "Exit code: 3" in log(folder, "job_result.txt")


def test_a_job_whose_summary_cannot_be_written_has_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_summary(root: str, name: str, *given: object) -> None:
        if name == "job.json":
            raise StorageError("can't write job.json: No space left on device")
        publish(root, name, *given)

    monkeypatch.setattr("batchscore.publishing.publish", no_summary)
    quick.write(folder, quiet="1")
    with pytest.raises(StorageError):
        run_job(quick.job(folder))
    result = log(folder, "job_result.txt")
    assert result.startswith("Status: Failed\nResult: can't write job.json: No space left on device\nExit code: 4\n")
    assert "\nmini_batches: 1\n" in result
    assert "it goes on where it ended" in log(folder, "job_error.txt")


def test_a_stopped_job_keeps_its_logs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(folder, a="1", b="2")
    with monkeypatch.context() as patched:
        patched.setattr("batchscore.runner.conclude", lambda *_: (_ for _ in ()).throw(Stopped(15)))
        assert run_job(quick.job(folder)).exit_code == 143
    assert log(folder, "job_result.txt").startswith("Status: Canceled")
    assert len(rows(folder)) == 2
    seen = []
    monkeypatch.setattr("batchscore.runner.write_inputs", lambda *_: seen.extend(os.listdir(folder / "out/logs")))
    run_job(quick.job(folder))
    assert "job_progress_overview.txt" in seen
    assert "job_result.txt" not in seen
    assert log(folder, "job_result.txt").startswith("Status: Completed")
    assert len(rows(folder)) == 2


def test_another_jobs_logs_stay_until_its_outputs_are_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(folder, a="1")
    run_job(quick.job(folder))
    before = log(folder, "job_progress_overview.txt")
    seen = []

    def look(*_: object) -> None:
        seen.append(log(folder, "job_progress_overview.txt"))
        seen.append((folder / "out/.batchscore/job-logs/job_progress_overview.txt").read_text())

    with monkeypatch.context() as patched:
        patched.setattr("batchscore.runner.write_inputs", look)
        run_job(quick.job(folder, overwrite=True, limit=1))
    assert seen[0] == before != seen[1]
    assert log(folder, "job_progress_overview.txt").startswith(seen[1])
    assert len(rows(folder)) == 1
    assert not (folder / "out/.batchscore").exists()


def test_what_is_no_jobs_is_not_taken_for_logs(folder: Path) -> None:
    quick.write(folder, a="1")
    (folder / "out/logs").mkdir(parents=True)
    run_job(quick.job(folder))  # an empty folder is nobody's
    shutil.rmtree(folder / "out")
    (folder / "out/logs").mkdir(parents=True)
    (folder / "out/logs/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds logs, which no job of batchscore wrote"):
        run_job(quick.job(folder))
    assert [path.name for path in (folder / "out").rglob("*")] == ["logs", "mine.txt"]
    run_job(quick.job(folder, overwrite=True))
    assert not (folder / "out/logs/mine.txt").exists()
    assert log(folder, "job_result.txt").startswith("Status: Completed")


def test_a_job_that_never_was_leaves_no_logs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a thread that the machine lets run only when all is over."""
    runs: list[Any] = []

    def finds_a_wrong_setting(*given: Any) -> None:
        assert (folder / "out/logs/job_progress_overview.txt").exists()
        runs.append(given[-1])
        raise UsageError("no method 'predict_probs'")

    monkeypatch.setattr("batchscore.runner._score", finds_a_wrong_setting)
    quick.write(folder, a="1")
    with pytest.raises(UsageError, match="no method"):
        run_job(quick.job(folder))
    runs[0].log.not_loaded("process001", 0.0, ModelNotLoaded("too late", ""))
    assert not (folder / "out").exists()


def test_logs_are_no_input_and_no_bytes_of_the_predictions(folder: Path) -> None:
    quick.write(folder, a="1", speaks="2")
    out = str(folder / "in/out")
    run_job(quick.job(folder, output=out))
    assert (folder / "in/out/logs/sys/job_report/processed_mini-batches.csv").exists()
    quick.write(folder, b="3")
    assert run_job(quick.job(folder, output=out, overwrite=True)).counts.files == 3
    assert run_job(quick.job(folder, output=str(folder / "out"), exclude=("out/*",))).counts.rows_scored == 3
    assert (folder / "out/predictions.csv").read_bytes() == (folder / "in/out/predictions.csv").read_bytes()


def test_logs_have_the_mode_that_the_umask_says(folder: Path) -> None:
    quick.write(folder, speaks="1")
    before = os.umask(0o027)
    try:
        run_job(quick.job(folder))
    finally:
        os.umask(before)
    for path in (folder / "out/logs", *(folder / "out/logs").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_a_log_that_cannot_be_written_is_told_and_ends_no_job(folder: Path) -> None:
    class Told(quiet_watcher()):  # type: ignore[misc]
        notes: list[str] = []  # noqa: RUF012  # the one of this test

        def note(self, text: str) -> None:
            self.notes.append(text)

    quick.write(folder, a="1", speaks="2")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CappedFile, "_append", full)
        assert run_job(quick.job(folder), Told()).status == "Completed"
    assert any("process000.stdout.txt is incomplete: No space left on device" in note for note in Told.notes)


def quiet_watcher() -> type:
    from batchscore.progress import Silent

    return Silent


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_debug_tells_each_step_on_stderr_and_nothing_on_stdout(
    sample_models: Path, sample_data: Path, run_batchscore: Callable, tmp_path: Path
) -> None:
    arguments = ["run", "-m", sample_models / "iris", "-i", sample_data / "iris", "-o", tmp_path / "out"]
    done = run_batchscore(*arguments, "--workers", "1", "--logging-level", "debug")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^process000: process id \d+ started$", done.stderr, re.MULTILINE)
    assert re.search(
        r"^process000: mini-batch 0, attempt 1: .* is done after [\d.]+ seconds$", done.stderr, re.MULTILINE
    )
    assert re.search(r"^process000: process id \d+ exited with code 0$", done.stderr, re.MULTILINE)
    assert len(done.stdout.splitlines()) == 1
    assert "process id" in (tmp_path / "out/logs/job_progress_overview.txt").read_text()
