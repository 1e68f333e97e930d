"""Jobs with the settings of Azure's batch deployments: calls of predict, thresholds, clocks, status."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import quick
from conftest import SaveModel
from here import HereSlots

from batchscore.job import Job
from batchscore.progress import Silent
from batchscore.readers.parquet_rows import MAX_BATCH_ROWS
from batchscore.runner import run_job
from batchscore.settings import MiniBatchSize
from batchscore.summary import JobSummary

AZURE: dict[str, Any] = {
    "mini_batch_size": MiniBatchSize(files=10),
    "times_mini_batches": True,
    "timeout_name": "settings.retry_settings.timeout in deployment.yml, or --timeout",
    "warns_beyond": 30.0,
    "error_threshold": -1,
    "fail_fast": True,
    "layout": "azure",
    "predicts_whole_files": True,
    "fails_unsupported": True,
}
"""What a deployment's YAML gives where it is silent."""

COUNTING = """
import os
import pandas as pd
import mlflow.pyfunc
from mlflow.models import set_model

class Counting(mlflow.pyfunc.PythonModel):
    '''Writes down each call: rows, and the smallest x.'''

    def predict(self, context, model_input: pd.DataFrame, params=None):
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"{len(model_input)} {model_input['x'].min():g}\\n")
        return model_input["x"] * 2

set_model(Counting())
"""

Score = Callable[..., JobSummary]


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: Told) -> Score:
    """Score tmp_path/in with Azure's settings and a worker in this process."""
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def run(model: Path, output: str = "out", **settings: Any) -> JobSummary:
        monkeypatch.setattr("batchscore.runner.Slots", HereSlots)
        monkeypatch.setattr("batchscore.runner.early_spec", lambda *_: None)
        job = Job(model=str(model), inputs=(str(tmp_path / "in"),), output=str(tmp_path / output), workers=1, **AZURE)
        return run_job(replace(job, **settings), told)

    return run


@pytest.fixture(params=["with", "without"])
def counting(request: pytest.FixtureRequest, save_model: SaveModel) -> Path:
    """The model that writes down its calls, with and without a signature."""
    if request.param == "without":
        return save_model(COUNTING)
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    return save_model(COUNTING, ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "twice")])))


def write_files(folder: Path, **rows: int) -> None:
    """Files of that many rows: x counts on from file to file."""
    folder.mkdir()
    first = 0
    for name, number in rows.items():
        frame = pd.DataFrame({"x": [float(x) for x in range(first, first + number)]})
        if name.startswith("p"):
            frame.to_parquet(folder / f"{name}.parquet", row_group_size=10_000)
        else:
            frame.to_csv(folder / f"{name}.csv", index=False)
        first += number


def calls(folder: Path) -> list[tuple[int, int]]:
    """Rows and smallest x of each call."""
    lines = (folder / "calls").read_text().splitlines()
    return [(int(rows), int(x)) for rows, x in map(str.split, lines)]


def test_predict_is_called_once_a_file_with_all_its_rows(score: Score, counting: Path, tmp_path: Path) -> None:
    """Whatever shares the mini-batch, and however long the file is: longer than what readers read at once."""
    long = MAX_BATCH_ROWS + 5
    write_files(tmp_path / "in", a=3, b=long, c=2, p=long, q=1)
    summary = score(counting, threads_per_worker=1)
    assert summary.counts.mini_batches == 1
    assert calls(tmp_path) == [(3, 0), (long, 3), (2, 3 + long), (long, 5 + long), (1, 5 + 2 * long)]
    frame = summary.read()
    assert frame.iloc[:, 1].tolist() == [2.0 * x for x in range(6 + 2 * long)]
    assert summary.manifest["settings"]["rows_per_call"] is None


def test_rows_per_call_cuts_the_calls_but_no_call_has_rows_of_two_files(
    score: Score, counting: Path, tmp_path: Path
) -> None:
    write_files(tmp_path / "in", a=5, b=2, p=3)
    score(counting, rows_per_call=4)
    assert calls(tmp_path) == [(4, 0), (1, 4), (2, 5), (3, 7)]


@pytest.mark.parametrize(("size", "mini_batches"), [(1, 5), (2, 3), (5, 1), (10, 1)])
def test_mini_batches_are_files_whatever_their_size(
    score: Score, counting: Path, tmp_path: Path, size: int, mini_batches: int
) -> None:
    write_files(tmp_path / "in", a=3, b=2000, c=2, d=1, e=1)
    summary = score(counting, mini_batch_size=MiniBatchSize(files=size))
    assert summary.counts.mini_batches == mini_batches
    assert [rows for rows, _ in calls(tmp_path)] == [3, 2000, 2, 1, 1]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JobSummary]:
    """Score files by their names and numbers with quick's model in real workers; `oops` is no number."""
    faults = tmp_path / "faults"
    faults.mkdir()
    quick.use(monkeypatch, FAULTS=str(faults))  # type: ignore[no-untyped-call]  # a test's

    def run(settings: dict[str, Any] | None = None, /, **files: str) -> JobSummary:
        """Without files those of the call before, as they are."""
        quick.write(tmp_path, **files)
        asked = {**AZURE, "layout": "table", "predicts_whole_files": False, **(settings or {})}
        return run_job(quick.job(tmp_path, **asked))

    return run


@pytest.mark.parametrize(
    ("threshold", "status"), [(-1, "Completed"), (3, "Completed"), (2, "Completed"), (1, "Failed"), (0, "Failed")]
)
def test_failed_files_count_over_the_whole_job_and_more_than_the_threshold_fail_it(
    fleet: Callable[..., JobSummary], tmp_path: Path, threshold: int, status: str
) -> None:
    """Two bad files, one of them in a mini-batch with good ones."""
    settings = {"error_threshold": threshold, "mini_batch_size": MiniBatchSize(files=2)}
    summary = fleet(settings, a="1", b="oops", c="2", d="3", e="oops")
    assert summary.status == status
    assert (tmp_path / "out/predictions.csv").exists() == (status == "Completed")
    assert (tmp_path / "out/failures.jsonl").exists()
    if status == "Completed":
        assert (tmp_path / "out/predictions.csv").read_text() == "file,row,twice\na.csv,0,2\nc.csv,0,4\nd.csv,0,6\n"
        assert (summary.counts.files_failed, summary.counts.rows_scored) == (2, 3)


def test_a_job_beyond_its_threshold_stops_at_once_and_says_so(fleet: Callable[..., JobSummary], tmp_path: Path) -> None:
    """Also while another worker is busy for minutes."""
    (tmp_path / "faults/7").write_text("wait")
    settings = {"error_threshold": 0, "mini_batch_size": MiniBatchSize(files=1), "workers": 2, "timeout": 120.0}
    summary = fleet(settings, a="7", b="oops", **{f"c{number}": "1" for number in range(20)})
    assert (summary.status, summary.exit_code) == ("Failed", 1)
    assert summary.counts.files_failed == 1, "the other would have, by its timeout"
    assert summary.message.startswith("stopped early: 1 file failed, more than the 0 that may (--error-threshold)")
    assert summary.counts.rows_scored < 20
    assert json.loads((tmp_path / "out/job.json").read_text())["status"] == "Failed"


def test_a_job_without_any_success_has_failed_and_tries_again(fleet: Callable[..., JobSummary], tmp_path: Path) -> None:
    """What failed everywhere may lie outside the files; a threshold of -1 doesn't make it stand."""
    (tmp_path / "faults/1").write_text("raise")
    first = fleet(a="1", b="oops")
    assert (first.status, first.exit_code) == ("Failed", 1)
    assert "no row was scored" in first.message
    (tmp_path / "faults/1").unlink()
    second = fleet()
    assert (second.status, second.counts.files_failed) == ("Completed", 1)


@pytest.mark.parametrize("threshold", [-1, 0])
def test_a_job_of_empty_files_alone_is_completed(fleet: Callable[..., JobSummary], threshold: int) -> None:
    summary = fleet({"error_threshold": threshold}, a="", b="")
    assert (summary.status, summary.counts.rows, summary.counts.files) == ("Completed", 0, 2)


def test_files_of_unsupported_types_fail_beside_good_ones_and_are_counted(
    counting: Path, score: Score, tmp_path: Path
) -> None:
    write_files(tmp_path / "in", a=2)
    (tmp_path / "in/notes.avro").write_text("Obj")
    (tmp_path / "in/README").write_text("read me")
    summary = score(counting)
    assert summary.status == "Completed"
    assert (summary.counts.files, summary.counts.files_failed, summary.counts.files_unsupported) == (3, 2, 2)
    assert "2 files failed (2 of unsupported types)" in summary.message
    reasons = summary.failures().set_index("file")["reason"]
    assert reasons["notes.avro"].startswith("file type .avro is not supported; supported are .csv")
    assert reasons["README"].startswith("file type without suffix is not supported")
    assert score(counting, "strict", error_threshold=1).status == "Failed"
    assert score(counting, "native", fails_unsupported=False).counts.files_skipped == 2


def test_one_clock_runs_for_the_mini_batch_and_then_for_each_file_alone(
    fleet: Callable[..., JobSummary], tmp_path: Path
) -> None:
    """Files that together take too long are scored one by one; the message names the key to change."""
    (tmp_path / "faults/7").write_text("slow")
    summary = fleet({"timeout": 3.0, "max_retries": 0}, a="7 7 7 7 7 7 7", b="7", c="7")
    assert summary.status == "Completed"
    (failure,) = summary.failures().to_dict("records")
    assert failure["file"] == "a.csv"
    assert failure["reason"] == f"the mini-batch was not finished within 3 s ({AZURE['timeout_name']})"
    assert summary.read()["file"].tolist() == ["b.csv", "c.csv"]
    assert summary.counts.retries == 3


SLOW = """
import time
import pandas as pd
import mlflow.pyfunc
from mlflow.models import set_model

class Slow(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        time.sleep(1.4 * len(model_input))
        return model_input["x"]

set_model(Slow())
"""


def test_mini_batches_that_azure_would_have_stopped_are_told_of_once_with_their_number(
    score: Score, save_model: SaveModel, tmp_path: Path, told: Told
) -> None:
    write_files(tmp_path / "in", a=1, b=1, c=0)
    one_file = MiniBatchSize(files=1)
    summary = score(save_model(SLOW), mini_batch_size=one_file, warns_beyond=1.2)
    (note,) = told.notes
    assert note.startswith("2 mini-batches took more than 1.2 s, which is all that Azure gives")
    assert f"State a longer one ({AZURE['timeout_name']})" in note
    assert summary.manifest["timings"]["mini_batches_beyond_azure"] == 2
    told.notes.clear()
    assert score(save_model(SLOW), "quick", warns_beyond=30.0).manifest["timings"]["mini_batches_beyond_azure"] == 0
    assert "mini_batches_beyond_azure" not in score(save_model(SLOW), "native", warns_beyond=None).manifest["timings"]
    assert told.notes == []


def test_a_mini_batch_that_was_slow_before_the_job_was_stopped_counts_when_it_goes_on(
    fleet: Callable[..., JobSummary], tmp_path: Path
) -> None:
    """The receipts remember."""
    (tmp_path / "faults/7").write_text("wait")
    settings = {
        "mini_batch_size": MiniBatchSize(files=1), "timeout": 1.6, "max_retries": 0, "warns_beyond": 1.4,
        "error_threshold": 0,
    }  # fmt: skip
    assert fleet(settings, a="1", b="7").manifest["timings"]["mini_batches_beyond_azure"] == 1
    (tmp_path / "faults/7").unlink()
    summary = fleet({**settings, "timeout": 60.0})
    assert (summary.status, summary.manifest["timings"]["mini_batches_beyond_azure"]) == ("Completed", 1)


def test_a_stopped_job_is_canceled(tmp_path: Path) -> None:
    quick.write(tmp_path, a="1", b="2")
    code = f"""
import os, signal, sys, threading
sys.path.insert(0, {str(Path(quick.__file__).parent)!r})
import quick
from pathlib import Path
from batchscore.progress import Silent
from batchscore.runner import run_job
class Stopper(Silent):
    def planned(self, total, todo):
        os.kill(os.getpid(), signal.SIGTERM)
import batchscore.runner as runner
runner.worker_spec = lambda prepared: quick.spec(prepared, {{}})
runner.early_spec = lambda *_: None
job = quick.job(Path({str(tmp_path)!r}), fail_fast=True, error_threshold=-1, times_mini_batches=True)
summary = run_job(job, Stopper())
print(summary.status, summary.exit_code)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["Canceled", str(128 + signal.SIGTERM)]
    assert json.loads((tmp_path / "out/job.json").read_text())["status"] == "Canceled"
