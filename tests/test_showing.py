"""`batchscore show`: jobs that have ended, that run and that were killed, looked at from outside."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import quick
from hypothesis import given
from hypothesis import strategies as st

from batchscore.cli import main_group
from batchscore.errors import OutputLocked, Stopped, UsageError
from batchscore.highlights import MOST, Highlights
from batchscore.joblog.texts import problems
from batchscore.locking import held_by
from batchscore.minibatch import FileSlice, InputFile
from batchscore.moments import utc
from batchscore.outcome import Failed, Failure, Outcome, Scored
from batchscore.progress import Silent
from batchscore.runner import run_job
from batchscore.runplan import RunPlan
from batchscore.showing import look, text
from batchscore.showing.reasons import EXAMPLES, Reasons, pattern
from batchscore.showing.shown import Report
from batchscore.showing.unfinished import Tally
from batchscore.storage import Folder
from batchscore.summary import Counts
from batchscore.workspace import Workspace


def shown(report: Report) -> str:
    """As people see it."""
    return "\n".join(text.lines(report))


def snapshot(folder: Path) -> dict[str, tuple[bytes | None, int]]:
    """All there is in a folder, with times."""
    return {
        str(path): (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def test_a_finished_job_is_told_by_its_job_json_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(tmp_path, a="1 2", b="3 4 5")
    (tmp_path / "in/readme.txt").touch()
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    before = snapshot(tmp_path)
    report = look(str(tmp_path / "out"))
    assert (report.status, report.counts["rows_scored"], report.outputs) == ("Completed", 5, ("predictions.csv",))
    assert {entry["file"]: entry["rows"] for entry in report.slowest} == {"a.csv": 2, "b.csv": 3}
    assert report.warnings == ("1 file was skipped, readme.txt: file type .txt is not supported",)
    assert report.rows_per_second
    assert not report.is_resumable
    lines = shown(report).splitlines()
    assert lines[0] == "Completed: 5 of 5 rows from 2 files scored, to predictions.csv"
    assert "  rows          5, 5 scored, 0 failed" in lines
    assert "Failed mini-batches (0)" not in lines
    assert snapshot(tmp_path) == before


def test_a_failed_job_names_its_mini_batches_and_groups_their_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a file was refused or predict raised; also once the failures were accepted."""
    quick.write(tmp_path, a="1", b="oops", c="7", d="8", e="9", f="4")
    faults = tmp_path / "faults"
    faults.mkdir()
    for number in "789":
        (faults / number).write_text("always")
    quick.use(monkeypatch, FAULTS=str(faults))
    run_job(quick.job(tmp_path))
    report = look(str(tmp_path / "out"))
    assert (report.status, report.mini_batches_failed, report.is_resumable) == ("Failed", 4, True)
    assert [(entry["file"], entry["retries"]) for entry in report.failed] == [
        ("b.csv", 0), ("c.csv", 1), ("d.csv", 1), ("e.csv", 1),
    ]  # fmt: skip
    assert [(reason.reason, reason.count) for reason in report.reasons] == [
        ("ValueError: no luck with #", 3),
        ("found 'oops'", 1),
    ]
    assert [example["file"] for example in report.reasons[0].examples] == ["c.csv", "d.csv", "e.csv"]
    assert "\n  3  ValueError: no luck with #\n       c.csv: ValueError: no luck with 7\n" in shown(report)
    slowest, failed = shown(report).split("\nSlowest mini-batches\n")[1].split("\nFailed mini-batches (4)\n")
    assert (slowest.count("c.csv: failed, see below\n"), slowest.count("no luck")) == (1, 0)
    assert "  c.csv: ValueError: no luck with 7\n" in failed
    assert "to go on      the same command again keeps what was scored" in shown(report)
    run_job(quick.job(tmp_path, error_threshold=-1))
    accepted = look(str(tmp_path / "out"))
    assert (accepted.status, accepted.reasons, accepted.failed) == ("Completed", report.reasons, report.failed)


def test_a_job_that_ends_by_an_error_is_shown_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(tmp_path, a="1")
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "load").write_text("always")
    quick.use(monkeypatch, FAULTS=str(faults))
    with pytest.raises(Exception, match="no luck with load"):
        run_job(quick.job(tmp_path))
    report = look(str(tmp_path / "out"))
    assert report.status == "Failed"
    assert "no luck with load" in report.message


@pytest.mark.parametrize("kind", ["absent", "empty", "file", "foreign"])
def test_where_there_is_no_job_that_is_said(tmp_path: Path, run_batchscore: Any, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.touch()
    elif kind != "absent":
        out.mkdir()
    if kind == "foreign":
        (out / "job.json").write_text('{"jobs": []}')
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="holds no job of batchscore|is a file|isn't a summary of batchscore"):
        look(str(out))
    assert snapshot(tmp_path) == before
    if kind == "absent":
        done = run_batchscore("show", out)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"Error: OUTPUT {out} holds no job of batchscore; give the folder")


RUNNER = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
from pathlib import Path
import quick
from batchscore import runner
runner.worker_spec = lambda prepared: quick.spec(prepared, {{}})
runner.early_spec = lambda *_: None
class Held(runner.Silent):
    left = {mini_batches}
    def finished(self, size):
        self.left -= 1
        if not self.left:
            print('held', flush=True)
            sys.stdin.readline()
runner.run_job(quick.job(Path({folder!r}), error_threshold=-1), Held())
"""


@contextmanager
def running(folder: Path, mini_batches: int) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own that pauses after so many mini-batches, until it is given a line."""
    here = Path(__file__).resolve().parent
    program = RUNNER.format(here=str(here), root=str(here.parent), folder=str(folder), mini_batches=mini_batches)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdin
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_running_job_is_watched_from_outside_and_then_killed(tmp_path: Path, run_batchscore: Any) -> None:
    quick.write(tmp_path, a="1 2", b="oops", c="3 4 5", d="6")
    out = tmp_path / "out"
    with running(tmp_path, 3) as process:
        before = snapshot(out)
        done = run_batchscore("show", out, "--json")
        assert snapshot(out) == before
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["status"], report["holder"]["pid"]) == ("Running", process.pid)
        progress = report["progress"]
        assert (progress["mini_batches"], progress["mini_batches_done"], progress["mini_batches_left"]) == (4, 3, 1)
        assert (progress["rows_scored"], progress["percent"]) == (5, 100 * 21 // 25)
        assert progress["bytes"] == sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
        assert progress["rows_per_second"] > 0
        assert progress["seconds_left"] < progress["seconds"]
        assert report["counts"]["files_failed"] == 1
        assert report["counts"]["rows_scored"] == 5
        assert report["reasons"][0]["examples"][0]["file"] == "b.csv"
        assert [entry["file"] for entry in report["failed"]] == ["b.csv"]
        people = shown(look(str(out)))
        assert people.startswith(f"Running: 84 % of the input done by process {process.pid} on ")
        assert "  mini-batches  3 of 4 done\n" in people
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        killed = look(str(out))
    assert (killed.status, killed.is_resumable, killed.holder) == ("Killed", True, None)
    assert killed.message.startswith("its run ended without a word after 84 % of the input")
    assert killed.counts["rows_scored"] == 5


def test_a_resumed_run_counts_its_own_work_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures that are tried again don't count until they come back, and those that stand do."""
    quick.write(tmp_path, a="1 2", b="oops", c="3", d="4")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    quick.write(tmp_path, d="4 5 6", e="7")
    with running(tmp_path, 2):
        report = look(str(tmp_path / "out"))
    assert report.status == "Running"
    assert report.progress
    assert (report.progress.mini_batches, report.progress.mini_batches_done) == (5, 5)
    assert report.message.endswith("has scored everything and is publishing")
    assert report.progress.rows_scored == 4, "d and e"
    assert report.counts["rows_scored"] == 2 + 1 + 3 + 1
    assert report.counts["files_failed"] == 1, "the threshold lets b's failure stand"
    assert look(str(tmp_path / "out")).status == "Killed", "job.json says how the run before ended"


def test_failures_that_are_tried_again_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(tmp_path, a="1", b="oops", c="oops")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    seen: list[Report] = []

    class Looking(Silent):
        def planned(self, total: int, todo: int) -> None:
            del total, todo
            seen.append(look(str(tmp_path / "out")))

        def finished(self, size: int) -> None:
            self.planned(size, size)

    run_job(quick.job(tmp_path), Looking())
    assert [report.counts["files_failed"] for report in seen] == [0, 1, 2]
    assert [report.status for report in seen] == ["Running"] * 3, "the lock is asked for, not taken"


def test_a_script_that_returned_too_little_counts(tmp_path: Path) -> None:
    tally = Tally()
    piece = FileSlice(InputFile("a.csv", "/a.csv", 1, "1"))
    scored = Outcome(0, (Scored(piece, 1, "p", 0, 1),), shortfall=Failure("a.csv", "1 of 3 missing", count=2))
    tally.take(0, scored)
    assert tally.counts["files_failed"] == 2
    assert [failure.reason for failure in tally.failures] == ["1 of 3 missing"]
    tally.take(1, replace(scored, shortfall=None))
    assert (tally.counts["files_failed"], tally.counts["rows_scored"]) == (0, 1)


def test_what_a_script_returned_too_little_of_is_not_counted_where_it_is_tried_again(tmp_path: Path) -> None:
    piece = FileSlice(InputFile("a.csv", "/a.csv", 1, "1"))
    short = Outcome(0, (Scored(piece, 1, "p", 0, 1),), shortfall=Failure("a.csv", "1 of 3 missing", count=2))
    for standing, counted in ((2, 2), (0, 0)):
        tally = Tally(RunPlan("", "", 1, 0, standing, 1, 1, 1, 1, 1, journal_end=10))
        tally.take(0, short)
        tally.forget_retried()
        assert tally.counts["files_failed"] == counted


def test_what_is_left_is_estimated_by_the_workers_time_and_not_by_that_of_loading_the_model() -> None:
    """A quarter of what two workers have to do took one of them 8 seconds; 12 s for both of them are left."""
    plan = RunPlan("", utc(time.time() - 1000), 4, 0, 0, 4, 4, 400, 400, 2, journal_end=0)
    tally = Tally(plan)
    tally.take(0, Outcome(0, (Scored(FileSlice(InputFile("a.csv", "/a.csv", 100, "1")), 5, "p", 0, 1),), seconds=8.0))
    running, stopped = tally.progress(is_running=True), tally.progress(is_running=False)
    assert running
    assert stopped
    assert (running.seconds_left, stopped.seconds_left) == (12.0, None)


def test_a_scripts_failed_mini_batch_is_one_failure_of_several_files(tmp_path: Path) -> None:
    pieces = tuple(FileSlice(InputFile(name, f"/{name}", 1, "1")) for name in "abc")
    why = Failure.of_files(["a", "b", "c"], "no luck", 3)
    tally = Tally()
    tally.take(0, Outcome(0, tuple(Failed(piece, why) for piece in pieces)))
    assert (tally.counts["files_failed"], tally.failures) == (3, (why,))
    reasons = Reasons()
    reasons.take(failure.to_json() for failure in tally.failures)
    assert [reason.count for reason in reasons.top()] == [3]
    path = tmp_path / "failures.jsonl"
    path.write_bytes(b"".join(failure.line() for failure in tally.failures))
    told = problems(Folder(str(tmp_path)), "Failed", "3 files failed", Counts(files=4, files_failed=3), None)
    assert "3 of 4 files failed:\n  a and 2 more: no luck\n\n" in told


def test_every_stage_of_a_run_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is planned, while another job's outputs are replaced, and after job.json while it tidies up."""
    quick.write(tmp_path, a="1", b="2")
    quick.use(monkeypatch)
    out = str(tmp_path / "out")
    seen: dict[str, Report] = {}

    def looking(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def first_look(*given: Any, **named: Any) -> Any:
            seen[name] = look(out)
            return real(*given, **named)

        return first_look

    from batchscore import runner, workspace

    monkeypatch.setattr(runner, "find_model", looking("model", runner.find_model))
    monkeypatch.setattr(runner, "split", looking("split", runner.split))
    monkeypatch.setattr(runner, "conclude", looking("conclude", runner.conclude))
    monkeypatch.setattr(workspace, "remove", looking("remove", workspace.remove))
    run_job(quick.job(tmp_path))
    assert [(name, report.status) for name, report in seen.items()] == [
        ("model", "Running"), ("split", "Running"), ("conclude", "Running"), ("remove", "Completed"),
    ]  # fmt: skip
    assert seen["model"].message == f"process {os.getpid()} on {os.uname().nodename} is preparing the job"
    assert shown(seen["model"])
    assert seen["conclude"].message.endswith("has scored everything and is publishing")
    monkeypatch.setattr(Workspace, "__exit__", looking("exit", Workspace.__exit__))
    run_job(replace(quick.job(tmp_path), limit=1, overwrite=True))
    assert seen["model"].status == "Completed", "nothing of the new job is there yet"
    assert seen["split"].status == "Running"
    assert seen["conclude"].warnings[0].startswith("job.json and the predictions in OUTPUT are still those of the job")
    quick.write(tmp_path, a="oops")
    run_job(replace(quick.job(tmp_path), overwrite=True))
    assert seen["exit"].status == "Failed", "it has said its last word, though it holds the lock still"


def test_a_run_that_begins_waits_for_who_only_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow that is, within bounds; a run beside it isn't taken for one."""
    with Workspace(str(tmp_path / "out")) as workspace:
        Path(workspace.journal).touch()
        assert held_by(workspace.folder)
    assert held_by(workspace.folder) is None
    with Path(workspace.folder, "lock").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        timer = threading.Timer(0.5, fcntl.flock, (handle, fcntl.LOCK_UN))
        timer.start()
        with monkeypatch.context() as patient:
            patient.setattr("batchscore.locking._PATIENCE", 60)
            with Workspace(str(tmp_path / "out")):
                with pytest.raises(OutputLocked), Workspace(str(tmp_path / "out")):
                    pass
                assert held_by(workspace.folder)
        timer.join()
        fcntl.flock(handle, fcntl.LOCK_SH)
        monkeypatch.setattr("batchscore.locking._PATIENCE", 0.05)
        with pytest.raises(OutputLocked), Workspace(str(tmp_path / "out")):
            pass


def test_spoiled_files_are_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(tmp_path, a="1", b="oops")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    out = tmp_path / "out"
    failures = out / "failures.jsonl"
    failures.write_bytes(b'\xff{\n[]\n{"reason": 1}\n\n' + failures.read_bytes() + b'{"file"')
    assert [reason.count for reason in look(str(out)).reasons] == [1]
    failures.unlink()
    assert look(str(out)).reasons == ()
    (out / "job.json").unlink()
    (out / ".batchscore/run.json").write_text('{"started": 1}')
    (out / ".batchscore/inputs.jsonl").write_text("[1")
    report = look(str(out))
    assert (report.status, report.progress, report.counts["files_failed"]) == ("Killed", None, 1)
    assert shown(report)
    with (out / ".batchscore/journal.jsonl").open("ab") as journal:
        journal.write(b'\xff\xff{"x"\n{"torn')
    assert look(str(out)).counts == report.counts
    (out / ".batchscore/journal.jsonl").write_text("[]\n")
    with pytest.raises(Exception, match="is not a journal of this version"):
        look(str(out))


def test_a_job_that_was_stopped_shows_what_it_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows how many rows there are left; a second run that is stopped before it has planned changes nothing."""
    quick.write(tmp_path, a="1 2", b="3", c="99", d="4")
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults/99").write_text("wait")
    quick.use(monkeypatch, FAULTS=str(tmp_path / "faults"))
    job = quick.job(tmp_path, grace=0)

    class Stopping(Silent):
        def finished(self, *_: Any) -> None:
            self.done = getattr(self, "done", 0) + 1
            if self.done == 2:
                os.kill(os.getpid(), signal.SIGINT)

    assert run_job(job, Stopping()).status == "Canceled"
    report = look(str(tmp_path / "out"))
    assert report.message == "stopped by SIGINT (Ctrl-C); run the same command again to go on"
    assert (report.counts["rows_scored"], report.mini_batches_done, report.counts["mini_batches"]) == (3, 2, 4)
    assert "rows          3 scored, 0 failed\n" in shown(report)
    assert "mini-batches  2 of 4 done, 0 retries\n" in shown(report)

    def stopped(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("batchscore.runner.split", stopped)
    with pytest.raises(Stopped, match="stopped by SIGTERM;"):
        run_job(job)
    assert look(str(tmp_path / "out")).counts == report.counts


@pytest.mark.parametrize(
    ("reason", "common"),
    [
        ("row 1, column 'x1': found 'it', expected", "row #, column 'x1': found …, expected"),
        ("row 12,345, column \"it's\": found '\\'7', expected", "row #, column \"it's\": found …, expected"),
        ("ValueError: 3.5e-7 is less than -1", "ValueError: # is less than #"),
        ("can't read part-00012.csv, isn't there", "can't read part-#.csv, isn't there"),
        ("<Thing at 0x7f00a1> 550e8400-e29b-41d4-a716-446655440000", "<Thing at #> #"),
        ("a.csv: bad\nTraceback 7", "…: bad"),
        ("", ""),
    ],
)  # fmt: skip
def test_reasons_are_grouped_but_for_numbers_and_values(reason: str, common: str) -> None:
    assert pattern(reason, "a.csv") == common


def test_a_reason_that_is_the_same_for_all_is_shown_as_it_is() -> None:
    """Only where they differ, what differs is left out."""
    reasons = Reasons()
    same, *others = ("row 1: isn't utf-8", "row 2: found 'a', expected 1", "row 3: found 'b', expected 1")
    reasons.take({"file": name, "reason": reason} for name, reason in [("a", same), ("b", same)])
    reasons.take({"file": "c.csv", "reason": reason} for reason in others)
    assert [(each.count, each.reason) for each in reasons.top()] == [(2, same), (2, "row #: found …, expected #")]


def test_an_output_of_a_day_is_found_by_the_day(
    tmp_path: Path, run_batchscore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there as it is written is taken as it is."""
    quick.write(tmp_path, a="1")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path, output=str(tmp_path / "2026/11/03")))
    pattern_of_day = f"{tmp_path}/{{date:%Y/%m/%d}}"
    done = run_batchscore("show", pattern_of_day, "--date", "2026-11-03")
    assert (done.returncode, "Completed: 1 of 1 rows" in done.stdout) == (0, True), done.stderr
    assert run_batchscore("show", pattern_of_day).returncode == 2
    run_job(quick.job(tmp_path, output=str(tmp_path / "{x}")))
    assert run_batchscore("show", str(tmp_path / "{x}"), env={"BATCHSCORE_SHOW_DATE": "yesterday"}).returncode == 0


@given(st.text(), st.text())
def test_a_pattern_is_one_line_of_bounded_length(reason: str, file: str) -> None:
    assert len(pattern(reason, file).splitlines()) <= 1


def test_few_examples_of_many_failures_are_kept() -> None:
    reasons = Reasons()
    words = [str(number).translate(str.maketrans("0123456789", "abcdefghij")) for number in range(3_000)] * 3
    reasons.take({"file": "f.csv", "reason": f"no {word}"} for word in words)
    top = reasons.top()
    assert [reason.count for reason in top] == [6_000] + [3] * 9
    assert top[0].reason == "other reasons"
    assert all(len(reason.examples) == EXAMPLES for reason in top)


def test_highlights_are_bounded_and_the_slowest_first() -> None:
    highlights = Highlights()
    for number in range(1_000):
        piece = FileSlice(InputFile(f"{number}.csv", "/", 1, "1"))
        scored = Scored(piece, 1, "p", 0, 1)
        highlights.take(Outcome(number, (scored,), seconds=float(number * 7919 % 1_000), notes=(f"note {number}",)))
    assert [glimpse.seconds for glimpse in highlights.slowest] == [float(999 - place) for place in range(MOST)]
    assert highlights.notes[0] == "note 0"
    assert len(highlights.notes) < 1_000


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path, run_batchscore: Any, monkeypatch: Any) -> None:
    quick.write(tmp_path, **{"a\x1b[31m\nb": "oops", "c": "1"})
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    for arguments in ([], ["--json"]):
        done = run_batchscore("show", tmp_path / "out", *arguments)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
    assert "\\x1b[31m b.csv: found 'oops'\n" in run_batchscore("show", tmp_path / "out").stdout


def test_its_options_come_from_variables_of_its_own() -> None:
    command = main_group.commands["show"]
    names = [each.envvar for each in command.params if each.param_type_name == "option"]
    assert names == [f"BATCHSCORE_SHOW_{name}" for name in ("JSON", "WORK_DIR", "STORAGE_OPTION", "DATE")]
