"""The main job end to end: real models, real files, real worker processes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscore import runner
from batchscore.child import Child
from batchscore.errors import ModelLoadError, OutputLocked, UsageError
from batchscore.face import run
from batchscore.job import Job
from batchscore.progress import Silent
from batchscore.runner import run_job
from batchscore.summary import JobSummary

DOUBLED = """
import os, pathlib
import mlflow.pyfunc
from mlflow.models import set_model

class Doubled(mlflow.pyfunc.PythonModel):
    '''Row-wise: twice x. What FAULTS holds tells a value what to do.'''

    def load_context(self, context):
        log = os.environ.get("LOADS")
        if log:
            with open(log, "a") as stream:
                stream.write(f"{os.getpid()}\\n")

    def predict(self, context, model_input, params=None):
        faults = pathlib.Path(os.environ.get("FAULTS", "/nowhere"))
        if faults.exists():
            for x in model_input["x"]:
                if (faults / str(int(x))).exists():
                    kind = (faults / str(int(x))).read_text()
                    if kind == "raise":
                        raise ValueError(f"no luck with {x}")
                    if kind == "exit":
                        os._exit(3)
                    if kind == "once":
                        (faults / str(int(x))).unlink()
                        raise ValueError("only once")
                    if kind == "wait":
                        import time
                        time.sleep(600)
        calls = os.environ.get("CALLS")
        if calls:
            with open(calls, "a") as stream:
                stream.write(f"{len(model_input)}\\n")
        return model_input["x"] * 2

set_model(Doubled())
"""


@pytest.fixture(scope="session")
def doubled(save_model) -> Path:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "twice")]))
    return save_model(DOUBLED, signature)


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Ten CSV files of ten rows: x is 0 to 99, id is text; b5.csv holds 50 to 59."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    for file in range(10):
        rows = "".join(f"k{x},{x}.5\n" for x in range(file * 10, file * 10 + 10))
        (folder / f"b{file}.csv").write_text(f"id,x\n{rows}")
    return folder


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    return folder


def manifest(output: Path) -> dict[str, Any]:
    return json.loads((output / "job.json").read_text())


def failures(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]


def test_every_row_gets_its_prediction(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    summary = run(doubled, numbers, tmp_path / "out", keep="id", add={"run": "n1"})
    assert summary.status == "Completed"
    frame = pd.read_csv(tmp_path / "out/predictions.csv")
    assert list(frame) == ["file", "row", "id", "run", "twice"]
    assert frame["file"].tolist() == [f"b{file}.csv" for file in range(10) for _ in range(10)]
    assert frame["row"].tolist() == list(range(10)) * 10
    assert frame["id"].tolist() == [f"k{x}" for x in range(100)]
    assert frame["twice"].tolist() == [2 * (x + 0.5) for x in range(100)]
    pd.testing.assert_frame_equal(summary.read(), frame)
    assert summary.failures().empty
    counts = {"files": 10, "files_failed": 0, "files_skipped": 0, "rows": 100, "rows_scored": 100, "rows_failed": 0}
    assert manifest(tmp_path / "out")["counts"].items() >= counts.items()
    assert sorted(os.listdir(tmp_path / "out")) == ["job.json", "logs", "predictions.csv"]


@pytest.mark.parametrize(
    ("format_", "output_files", "workers"),
    [
        ("csv", "one", (1, 2, 5)),
        ("parquet", "one", (1, 2)),
        ("jsonl", "mirror", (1, 2)),
        ("csv", "parts", (1, 2)),
        ("parquet", "mirror", (1,)),
        ("jsonl", "parts", (2,)),
    ],
)
def test_the_bytes_are_the_same_for_any_number_of_workers(
    doubled: Path, numbers: Path, tmp_path: Path, format_: Any, output_files: Any, workers: tuple[int, ...]
) -> None:
    written = set()
    for number in workers:
        out = tmp_path / f"out{number}"
        run(doubled, numbers, out, workers=number, mini_batch_size=2, format=format_, output_files=output_files)
        outputs = manifest(out)["outputs"]
        assert sum(entry["rows"] for entry in outputs) == 100
        assert all((out / entry["path"]).stat().st_size == entry["bytes"] for entry in outputs)
        written.add(tuple((entry["path"], entry["sha256"]) for entry in outputs))
    assert len(written) == 1
    names = [path for path, _ in written.pop()]
    expected = {
        "one": [f"predictions.{format_}"],
        "parts": [f"predictions/part-{number:05d}.{format_}" for number in range(5)],
        "mirror": [f"predictions/b{number}.csv.{format_}" for number in range(10)],
    }
    assert names == expected[output_files]


def test_a_row_wise_model_gives_the_same_bytes_across_cuts(doubled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    frame = pd.DataFrame({"id": [f'k "{x}"\n' for x in range(3000)], "x": np.linspace(-1, 1, 3000)})
    frame.to_csv(folder / "a.csv", index=False)
    pq.write_table(pa.Table.from_pandas(frame), folder / "b.parquet", row_group_size=500)
    written = set()
    for size, rows_per_call in [("auto", None), ("4KB", None), ("16KB", 7), (1, 1000), ("auto", 64)]:
        out = tmp_path / f"out-{size}-{rows_per_call}"
        summary = run(doubled, folder, out, mini_batch_size=size, rows_per_call=rows_per_call, keep="id")
        assert summary.counts.rows_scored == 6000
        written.add((out / "predictions.csv").read_bytes())
    assert len(written) == 1


def test_each_worker_loads_the_model_once(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    log = tmp_path / "loads"
    summary = run(
        doubled, numbers, tmp_path / "out", workers=2, worker_start="each", mini_batch_size=1,
        environment={"LOADS": str(log)},
    )  # fmt: skip
    assert summary.counts.mini_batches == 10
    loads = log.read_text().split()
    assert len(loads) == len(set(loads)) == 2


def test_no_more_workers_than_mini_batches_are_started_and_the_first_before_the_inputs_are_listed(
    doubled: Path, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is the one that loads the model, once it is known which."""
    begun: list[str] = []
    really_start, really_list = Child.__init__, runner.find_inputs

    def start(self: Child, *given: Any, **named: Any) -> None:
        really_start(self, *given, **named)
        begun.append(str(self.pid))

    def find_inputs(*given: Any) -> Any:
        begun.append("list")
        return really_list(*given)

    monkeypatch.setattr(Child, "__init__", start)
    monkeypatch.setattr(runner, "find_inputs", find_inputs)
    log = tmp_path / "loads"
    summary = run(doubled, numbers, tmp_path / "out", workers=5, worker_start="each", environment={"LOADS": str(log)})
    assert begun == [*log.read_text().split(), "list"]
    assert summary.manifest["workers"]["number"] == 1


def test_rows_of_small_files_go_to_predict_together(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    run(doubled, numbers, tmp_path / "out", environment={"CALLS": str(log)})
    assert log.read_text().split() == ["100"]


def test_the_guilty_file_alone_fails_and_a_repaired_file_alone_is_redone(
    doubled: Path, numbers: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", tmp_path / "calls"
    good = (numbers / "b3.csv").read_text()
    (numbers / "b3.csv").write_text(good.replace("35.5", "thirty"))
    first = run(doubled, numbers, out)
    assert (first.status, first.exit_code) == ("Failed", 1)
    assert first.counts.rows_scored == 90
    assert first.counts.rows_failed == 10
    (failure,) = failures(out)
    assert failure["file"] == "b3.csv"
    assert (failure["row"], failure["column"], failure["value"]) == (5, "x", "thirty")
    assert "double" in failure["reason"]
    assert not (out / "predictions.csv").exists()
    (numbers / "b3.csv").write_text(good)
    second = run(doubled, numbers, out, environment={"CALLS": str(log)})
    assert second.status == "Completed"
    assert log.read_text().split() == ["10"]
    assert not (out / "failures.jsonl").exists()
    assert not (out / ".batchscore").exists()
    run(doubled, numbers, tmp_path / "undisturbed")
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "undisturbed/predictions.csv").read_bytes()


def test_new_files_are_scored_and_vanished_ones_dropped_in_an_unfinished_job(
    doubled: Path, numbers: Path, tmp_path: Path
) -> None:
    good = (numbers / "b9.csv").read_text()
    (numbers / "b9.csv").write_text("id,x\nk,oops\n")
    run(doubled, numbers, tmp_path / "out")
    (numbers / "b9.csv").write_text(good)
    (numbers / "b0.csv").unlink()
    (numbers / "a.csv").write_text("id,x\nk,1\n")
    log = tmp_path / "calls"
    assert run(doubled, numbers, tmp_path / "out", environment={"CALLS": str(log)}).status == "Completed"
    assert log.read_text().split() == ["1", "10"] or log.read_text().split() == ["11"]
    run(doubled, numbers, tmp_path / "undisturbed")
    assert (tmp_path / "out/predictions.csv").read_bytes() == (tmp_path / "undisturbed/predictions.csv").read_bytes()


def test_a_finished_job_does_nothing_and_another_is_refused(
    doubled: Path, numbers: Path, tmp_path: Path, save_model
) -> None:
    out, log = tmp_path / "out", tmp_path / "loads"
    run(doubled, numbers, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = run(doubled, numbers, out, environment={"LOADS": str(log)}, workers=1, timeout=5)
    assert (again.status, again.exit_code, again.is_fresh) == ("Completed", 0, False)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert not log.exists()
    with pytest.raises(UsageError, match=r"another job.*format \(\"csv\" there, \"jsonl\" now\)"):
        run(doubled, numbers, out, format="jsonl", output_file_name="predictions.jsonl")
    with pytest.raises(UsageError, match=r"another job.*keep"):
        run(doubled, numbers, out, keep="id")
    copy = Path(shutil.copytree(doubled, tmp_path / "model"))
    (copy / "note.txt").write_text("another model")
    with pytest.raises(UsageError, match=r"another job.*the model"):
        run(copy, numbers, out)
    (numbers / "b0.csv").write_text("id,x\nk,1\n")
    with pytest.raises(UsageError, match="the inputs changed"):
        run(doubled, numbers, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_overwrite_removes_the_old_outputs_only_when_the_new_ones_are_ready(
    doubled: Path, numbers: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(doubled, numbers, out, output_files="mirror")
    old = (out / "predictions/b0.csv.csv").read_bytes()
    good = (numbers / "b1.csv").read_text()
    (numbers / "b1.csv").write_text("id,x\nk,oops\n")
    failed = run(doubled, numbers, out, format="jsonl", overwrite=True)
    assert failed.status == "Failed"
    assert (out / "predictions/b0.csv.csv").read_bytes() == old
    (numbers / "b1.csv").write_text(good)
    run(doubled, numbers, out, format="jsonl")
    assert sorted(os.listdir(out)) == ["job.json", "logs", "predictions.jsonl"]


def test_a_foreign_file_in_the_way_is_not_overwritten(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.csv").write_text("mine")
    with pytest.raises(UsageError, match="which no job of batchscore wrote"):
        run(doubled, numbers, out)
    assert (out / "predictions.csv").read_text() == "mine"
    assert os.listdir(out) == ["predictions.csv"]


@pytest.mark.parametrize("kind", ["raise", "exit"])
def test_a_model_that_fails_on_one_row_fails_its_file_alone(
    doubled: Path, numbers: Path, tmp_path: Path, faults: Path, kind: str
) -> None:
    (faults / "42").write_text(kind)
    out = tmp_path / "out"
    summary = run(doubled, numbers, out, environment={"FAULTS": str(faults)}, error_threshold=1, max_retries=1)
    assert summary.status == "Completed"
    (failure,) = failures(out)
    assert failure["file"] == "b4.csv"
    assert {"raise": "no luck with 42.5", "exit": "code 3"}[kind] in failure["reason"]
    assert set(pd.read_csv(out / "predictions.csv")["file"]) == {f"b{n}.csv" for n in range(10) if n != 4}
    assert summary.counts.rows_scored + summary.counts.rows_failed == summary.counts.rows == 100


def test_a_fault_that_passes_is_retried_and_counted(doubled: Path, numbers: Path, tmp_path: Path, faults: Path) -> None:
    (faults / "42").write_text("once")
    summary = run(doubled, numbers, tmp_path / "out", environment={"FAULTS": str(faults)})
    assert summary.status == "Completed"
    assert summary.counts.retries == 1
    assert summary.counts.rows_scored == 100


class Counting(Silent):
    """Sums up what it is told, and keeps how far it had come each time."""

    def __init__(self) -> None:
        self.todo = 0
        self.steps: list[int] = []

    def planned(self, total: int, todo: int) -> None:  # noqa: ARG002  # as it is called
        self.todo = todo

    def finished(self, size: int) -> None:
        self.steps.append(size)


@pytest.mark.parametrize("how", ["compressed", "limited", "retried", "failing"])
def test_progress_goes_on_within_what_is_not_cut_and_ends_with_all(
    how: str, doubled: Path, tmp_path: Path, faults: Path
) -> None:
    """By what is read of a compressed file, and by the rows of a limit."""
    records = "x,text\n" + "".join(
        f"{number}.5,{'a' * 100}\n" for number in range(200_000 if how == "compressed" else 40_000)
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv.gz").write_bytes(gzip.compress(records.encode(), 0))  # many blocks of stored bytes
    if how in {"retried", "failing"}:
        (faults / "29999").write_text("once" if how == "retried" else "raise")
    job = Job(
        model=str(doubled), inputs=(str(tmp_path / "in"),), output=str(tmp_path / "out"), rows_per_call=5_000,
        environment=() if how == "compressed" else (("FAULTS", str(faults)),),
        limit=None if how == "compressed" else 30_000,
    )  # fmt: skip
    watch = Counting()
    assert run_job(job, watch).status == ("Failed" if how == "failing" else "Completed")
    assert sum(watch.steps) == watch.todo > 0
    assert min(watch.steps) >= 0
    assert sum(step > 0 for step in watch.steps) > (1 if how == "compressed" else 5)


def test_a_worker_that_hangs_is_killed_and_the_option_is_named(
    doubled: Path, numbers: Path, tmp_path: Path, faults: Path
) -> None:
    (faults / "42").write_text("wait")
    summary = run(
        doubled, numbers, tmp_path / "out", environment={"FAULTS": str(faults)}, timeout=3, max_retries=0,
        error_threshold=-1, mini_batch_size=1,
    )  # fmt: skip
    assert summary.status == "Completed"
    (failure,) = failures(tmp_path / "out")
    assert failure["file"] == "b4.csv"
    assert "--timeout" in failure["reason"]


def test_one_failed_slice_fails_its_whole_file(doubled: Path, numbers: Path, tmp_path: Path, faults: Path) -> None:
    (numbers / "big.csv").write_text("id,x\n" + "".join(f"k,{x}\n" for x in range(1000, 3000)))
    (faults / "1500").write_text("raise")
    out = tmp_path / "out"
    summary = run(doubled, numbers, out, environment={"FAULTS": str(faults)}, mini_batch_size="2KB", error_threshold=-1)
    assert summary.counts.rows_failed == 2000
    assert summary.counts.rows_scored == 100
    assert "big.csv" not in set(pd.read_csv(out / "predictions.csv")["file"])


def test_fail_fast_stops_and_the_default_scores_everything_first(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    (numbers / "b0.csv").write_text("id,x\nk,oops\n")
    fast = run(doubled, numbers, tmp_path / "fast", workers=1, mini_batch_size=1, fail_fast=True)
    full = run(doubled, numbers, tmp_path / "full", workers=1, mini_batch_size=1)
    assert fast.status == full.status == "Failed"
    assert fast.counts.rows_scored < full.counts.rows_scored == 90
    assert "stopped early" in fast.message


def test_a_job_that_scored_no_row_has_failed_whatever_the_threshold(
    doubled: Path, numbers: Path, tmp_path: Path
) -> None:
    for path in numbers.iterdir():
        path.write_text("id,x\nk,oops\n")
    summary = run(doubled, numbers, tmp_path / "out", error_threshold=-1)
    assert (summary.status, summary.exit_code) == ("Failed", 1)


def test_the_command_that_publishes_a_failed_job_works_and_calls_no_model(
    doubled: Path, numbers: Path, tmp_path: Path, run_batchscore
) -> None:
    (numbers / "b0.csv").write_text("id,x\nk,oops\n")
    out = tmp_path / "out"
    failed = run_batchscore("run", "-m", doubled, "-i", numbers, "-o", out, "--fail-fast", "--error-threshold=0")
    assert failed.returncode == 1
    command = failed.stderr.splitlines()[-1]
    assert command.startswith("batchscore run ")
    assert not (out / "predictions.csv").exists()
    log = tmp_path / "loads"
    import shlex

    published = run_batchscore(*shlex.split(command)[1:], env={"LOADS": str(log)})
    assert published.returncode == 0, published.stderr
    assert not log.exists()
    assert len(pd.read_csv(out / "predictions.csv")) == 90
    assert len(failures(out)) == 1


def test_empty_and_header_only_files(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    (numbers / "header.csv").write_text("id,x\n")
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), numbers / "none.parquet")
    assert run(doubled, numbers, tmp_path / "a").counts.rows_scored == 100
    (numbers / "empty.csv").write_text("")
    summary = run(doubled, numbers, tmp_path / "b", error_threshold=1)
    assert summary.counts.files_failed == 1
    assert summary.counts.rows == 100
    (failure,) = failures(tmp_path / "b")
    assert failure["file"] == "empty.csv"


def test_only_header_files_give_a_header_only_output(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("id,x\n")
    summary = run(doubled, tmp_path / "in", tmp_path / "out", keep="id")
    assert summary.status == "Completed"
    assert (tmp_path / "out/predictions.csv").read_text() == "file,row,id,twice\n"


def test_no_input_is_wrong_use_unless_it_may_be(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UsageError, match="no input"):
        run(doubled, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    summary = run(doubled, tmp_path / "in", tmp_path / "out", allow_empty=True)
    assert (summary.status, summary.counts.files) == ("Completed", 0)


def test_a_limit_takes_the_first_rows_in_input_order(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    for size in ("auto", 1):
        summary = run(doubled, numbers, tmp_path / f"out{size}", limit=25, mini_batch_size=size)
        assert summary.counts.rows == summary.counts.rows_scored == 25
        frame = summary.read()
        assert frame["twice"].tolist() == [2 * (x + 0.5) for x in range(25)]


def test_hive_folders_feed_the_model_and_can_be_kept(doubled: Path, tmp_path: Path) -> None:
    for x in (1, 2):
        (tmp_path / f"in/x={x}").mkdir(parents=True)
        (tmp_path / f"in/x={x}/a.csv").write_text("id\nk\n")
    frame = run(doubled, tmp_path / "in", tmp_path / "out").read()
    assert frame["file"].tolist() == ["x=1/a.csv", "x=2/a.csv"]
    assert frame["twice"].tolist() == [2.0, 4.0]


def test_a_column_that_only_later_files_have_by_its_other_name_is_renamed_there(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, column in zip("abcd", ("x", "x", "x", "value"), strict=True):
        (tmp_path / f"in/{name}.csv").write_text(f"{column}\n1\n")
    assert run(doubled, tmp_path / "in", tmp_path / "out", rename={"value": "x"}).read()["twice"].tolist() == [2.0] * 4


def test_renamed_columns_reach_the_model(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("value\n1\n")
    assert run(doubled, tmp_path / "a.csv", tmp_path / "out", rename={"value": "x"}).read()["twice"].tolist() == [2.0]


def test_names_that_clash_are_refused(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    for options in ({"add": {"row": "1"}}, {"add": {"id": "1"}, "keep": "id"}, {"add": {"twice": "1"}}):
        with pytest.raises(UsageError, match="would have the name"):
            run(doubled, numbers, tmp_path / "out", **options)


def test_a_model_that_cannot_be_loaded_ends_the_job_with_its_own_traceback(
    numbers: Path, tmp_path: Path, save_model
) -> None:
    source = "raise_later = True\n" + DOUBLED.replace(
        "    def load_context(self, context):\n", "    def load_context(self, context):\n        1 / 0\n"
    )
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    broken = save_model(source, ModelSignature(Schema([ColSpec("double", "x")])))
    with pytest.raises(ModelLoadError, match="ZeroDivisionError") as caught:
        run(broken, numbers, tmp_path / "out")
    assert "1 / 0" in str(caught.value)
    assert manifest(tmp_path / "out")["status"] == "Failed"


def test_it_runs_in_a_thread_and_leaves_signal_handlers_alone(doubled: Path, numbers: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    found: list[JobSummary] = []
    thread = threading.Thread(target=lambda: found.append(run(doubled, numbers, tmp_path / "out")))
    thread.start()
    thread.join()
    assert found[0].status == "Completed"
    run(doubled, numbers, tmp_path / "out2")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


class Background:
    """A run in a process of its own that waits in predict until its fault is taken away."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "batchscore", "run", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, path: Path, lines: int) -> None:
        deadline = time.monotonic() + 60
        while not path.exists() or len(path.read_text().splitlines()) < lines:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def stuck_run(doubled: Path, numbers: Path, tmp_path: Path, faults: Path, clean_environment):
    """A run over single-file mini-batches that hangs at b7.csv; the journal has some receipts."""
    (faults / "75").write_text("wait")
    arguments = [
        "-m",
        str(doubled),
        "-i",
        str(numbers),
        "-o",
        str(tmp_path / "out"),
        "--mini-batch-size=1",
        "--workers=2",
        "--grace=0",
    ]
    background = Background(arguments, {**clean_environment, "FAULTS": str(faults)})
    background.wait_for(tmp_path / "out/.batchscore/journal.jsonl", 8)
    yield background
    background.process.kill()
    background.process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_job_is_finished_by_the_same_command_with_the_same_bytes(
    stuck_run: Background, doubled: Path, numbers: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputLocked):
        run(doubled, numbers, out, mini_batch_size=1)
    stuck_run.process.send_signal(number)
    _, errors = stuck_run.process.communicate(timeout=120)
    assert stuck_run.process.returncode == code, errors
    if code > 0:
        assert manifest(out)["status"] == "Canceled"
    assert not (out / "predictions.csv").exists()
    calls = tmp_path / "calls"
    assert run(doubled, numbers, out, mini_batch_size=1, environment={"CALLS": str(calls)}).status == "Completed"
    assert len(calls.read_text().split()) < 5
    run(doubled, numbers, tmp_path / "undisturbed", mini_batch_size=1)
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "undisturbed/predictions.csv").read_bytes()


def test_a_second_run_on_the_same_output_exits_75(stuck_run: Background, run_batchscore, tmp_path: Path) -> None:
    second = run_batchscore("run", "-m", "/no/model", "-i", "/no/input", "-o", tmp_path / "out")
    assert second.returncode == 75
    assert "another run holds OUTPUT" in second.stderr


def test_kept_columns_have_one_name_however_a_header_is_spaced(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(" id , x \na,1\n")
    (tmp_path / "in/b.csv").write_text("id,x\nb,2\n")
    for keep in ("id", "all"):
        frame = run(doubled, tmp_path / "in", tmp_path / keep, keep=keep).read()
        assert frame["id"].tolist() == ["a", "b"]


def test_a_misspelt_column_to_keep_is_wrong_use_and_leaves_nothing(
    doubled: Path, numbers: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="--keep idd: there is no such column, found id, x; did you mean id"):
        run(doubled, numbers, tmp_path / "out", keep="idd")
    assert not (tmp_path / "out").exists()


def test_keep_all_has_the_partition_columns_too(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "in/year=2026").mkdir(parents=True)
    (tmp_path / "in/year=2026/a.csv").write_text("id,x\nk,1\n")
    frame = run(doubled, tmp_path / "in", tmp_path / "out", keep="all").read()
    assert list(frame) == ["file", "row", "id", "x", "year", "twice"]


def test_a_failed_job_has_no_predictions_to_read(doubled: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\noops\n")
    with pytest.raises(UsageError, match="the job is Failed"):
        run(doubled, tmp_path / "a.csv", tmp_path / "out").read()
