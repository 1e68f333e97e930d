"""Validation: what a run would stumble over is found before it, and OUTPUT isn't touched."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import quick
from conftest import ROOT

from batchscore import errors, validate
from batchscore.cli import main_group
from batchscore.estimating import Loaded, Room, estimate, rows_of_a_call, shortages
from batchscore.findings import Report, Sample
from batchscore.inputs import Selection, list_inputs
from batchscore.job import Job
from batchscore.minibatch import InputFile
from batchscore.readers.checking import about_rows
from batchscore.runner import run_job
from batchscore.sampling import Fitting
from batchscore.schema import ColumnSpec
from batchscore.settings import CsvOptions, MiniBatchSize
from batchscore.signature import convert, never_fits
from batchscore.splitting import Cutting, split
from batchscore.translating import job_of
from batchscore.validation import validate_job
from batchscore.workspace import Workspace


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Validates the job of `quick` over files of their numbers; its model scores no sample, as a scoring script."""
    monkeypatch.setattr("batchscore.validation.worker_spec", lambda prepared: quick.spec(prepared, {}))

    def look_at(job=None, **settings) -> Report:
        before = snapshot(tmp_path / "out")
        report = validate_job(job or quick.job(tmp_path, **settings))
        assert snapshot(tmp_path / "out") == before, "OUTPUT was touched"
        return report

    return look_at


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]] | None:
    """Every path below a folder with its modification time and content; None where there is none."""
    if not folder.exists():
        return None
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


def found(report: Report, check: str) -> list[str]:
    return [each.line for each in report.findings if each.check == check]


def test_a_job_that_will_run_is_fine_and_its_first_rows_are_those_of_the_run(
    run_batchscore, sample_models, sample_data, tmp_path
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["-m", sample_models / "breast_cancer", "-i", sample_data / "breast_cancer", "-o", tmp_path / "out"]
    arguments += ["--keep", "id", "--predict-fn", "predict_proba"]
    done = run_batchscore("validate", *arguments, "--json", env={"TMPDIR": str(scratch)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "out").exists()
    assert list(scratch.iterdir()) == []
    report = json.loads(done.stdout)
    assert (report["status"], report["problems"]) == ("fine", [])
    assert (report["inputs"]["rows"], report["inputs"]["rows_counted"], report["sample"]["rows"]) == (569, True, 569)
    assert report["estimates"]["output_bytes"] > 0
    assert keys_of(report) == documented_keys()
    assert run_batchscore("run", *arguments).returncode == 0
    header, *rows = (tmp_path / "out/predictions.csv").read_text().splitlines()
    assert [column["name"] for column in report["sample"]["columns"]] == header.split(",")
    assert [",".join(row) for row in report["sample"]["first_rows"]] == rows[:5]
    written = (tmp_path / "out/predictions.csv").stat().st_size
    assert report["estimates"]["output_bytes"] == pytest.approx(written, rel=0.1)
    shown = run_batchscore("validate", *arguments)
    assert "a run would do nothing" in shown.stdout
    assert rows[0].split(",")[-1][:20] in shown.stdout
    assert shown.stdout.splitlines()[-1] == "Fine: no problem found"


def keys_of(record, prefix="") -> set[str]:
    """The dotted keys of a JSON object; `[]` is what a list holds."""
    keys = set()
    for name, value in record.items():
        keys.add(prefix + name)
        if isinstance(value, dict):
            keys |= keys_of(value, f"{prefix}{name}.")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            keys |= keys_of(value[0], f"{prefix}{name}[].")
    return keys


def documented_keys() -> set[str]:
    """The keys of the table in docs/validation.md, but for those that a fine report has no example of."""
    text = (ROOT / "docs/validation.md").read_text()
    keys = {key for line in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for key in re.findall(r"`([^`]+)`", line)}
    return {key for key in keys if not key.startswith(("problems[]", "warnings[]", "inputs.skipped[]"))}


def test_every_file_is_looked_at_and_the_same_finding_is_told_once(look, tmp_path):
    quick.write(tmp_path, a="1 2", b="3", c="4")
    for name in ("d", "e", "f", "g"):
        (tmp_path / f"in/{name}.csv").write_text("y\n1\n")
    (tmp_path / "in/h.csv").write_text("")
    pq.write_table(pa.table({"x": [True]}), tmp_path / "in/i.parquet")
    (tmp_path / "in/j.parquet").write_bytes(b"PAR1")
    report = look()
    assert report.exit_code == 1
    first, *others = found(report, "files")
    assert first.startswith("d.csv, e.csv, f.csv and 1 more: columns are missing: 'x'; the file has 'y'")
    assert {line.partition(":")[0] for line in others} == {"h.csv", "i.parquet", "j.parquet"}
    assert "i.parquet: column 'x' is bool, expected a number (double)" in "\n".join(others)
    assert report.problems[0].files == ("d.csv", "e.csv", "f.csv", "g.csv")
    assert report.inputs.rows == 4
    assert any("3 of 10 files fit" in line for line in report.lines())


def test_partition_values_and_kept_columns_are_judged_for_every_file(look, tmp_path):
    quick.write(tmp_path, a="1")
    (tmp_path / "in/x=ten").mkdir()
    (tmp_path / "in/x=ten/b.csv").write_text("k\n1\n")
    report = look(keep=("k",))
    assert any("x=ten/b.csv: " in line and "'ten'" in line for line in found(report, "files"))
    assert any("a.csv: columns to keep are missing: 'k'" in line for line in found(report, "files"))


def test_a_file_that_takes_the_worker_down_is_named_alone(look, tmp_path, monkeypatch):
    quick.write(tmp_path, a="1", b="2")
    (tmp_path / "sitecustomize.py").write_text(
        "import os, builtins\nreal = builtins.open\n"
        "def opened(path, *args, **kw):\n    if str(path).endswith('b.csv'): os._exit(9)\n"
        "    return real(path, *args, **kw)\n"
        "builtins.open = opened\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (line,) = found(look(), "files")
    assert line.startswith("b.csv: the worker ")


def test_a_lock_is_reported_with_its_holder(look, tmp_path):
    quick.write(tmp_path, a="1")
    with Workspace(str(tmp_path / "out")):
        (line,) = found(look(), "output")
        assert f"another run holds OUTPUT (process {os.getpid()} on " in line
    assert found(look(), "output") == []


def test_what_is_in_output_is_said(look, tmp_path, monkeypatch):
    quick.write(tmp_path, a="1", b="2")
    monkeypatch.setattr("batchscore.validation.Draft.try_out", lambda *_: None)  # nothing of it is about OUTPUT
    assert look().output_state == "isn't there yet"
    (tmp_path / "out").mkdir()
    assert look().output_state == "a run would begin anew"
    (tmp_path / "out/predictions.csv").write_text("mine")
    assert "which no job of batchscore wrote" in found(look(), "output")[0]
    assert look(overwrite=True).output_state == "a run would replace predictions.csv"
    (tmp_path / "out/predictions.csv").unlink()
    quick.use(monkeypatch)
    (tmp_path / "in/bad.csv").write_text("x\noops\n")
    assert run_job(quick.job(tmp_path)).status == "Failed"
    assert look().output_state == "holds this job, unfinished: a run goes on with it"
    assert "holds another job, an unfinished job" in found(look(add=(("a", "b"),)), "output")[0]
    (tmp_path / "in/bad.csv").unlink()
    assert run_job(quick.job(tmp_path)).status == "Completed"
    assert look().output_state == "holds this very job, finished: a run would do nothing"
    (tmp_path / "out/job.json").write_text("{}")
    (line,) = found(look(), "output")
    assert "isn't a summary of batchscore" in line


def test_an_output_that_cant_be_written_is_a_problem(look, tmp_path, monkeypatch):
    quick.write(tmp_path, a="1")
    monkeypatch.setattr("batchscore.glance.os.access", lambda *_: False)  # root may write anywhere
    assert "can't write to" in found(look(), "output")[0]
    (tmp_path / "file").write_text("")
    report = validate_job(quick.job(tmp_path, output=str(tmp_path / "file/out")))
    assert "is a file" in found(report, "output")[0]


def test_a_work_directory_that_cant_be_written_is_a_problem(look, tmp_path, monkeypatch):
    quick.write(tmp_path, a="1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("batchscore.glance.os.access", lambda path, _: Path(path) != work)  # root may write anywhere
    assert found(look(work_dir=str(work)), "output") == [f"can't write to {work}: permission denied or read-only"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file", "is a file; give a folder"),
        ("in/x.csv", "did you mean: -o "),
        ("file/out", "is a file"),
        ("loop/out", "Too many levels of symbolic links"),
        ("n" * 300, "File name too long"),
    ],
)
def test_an_output_that_cant_be_one_doesnt_hide_the_rest(look, tmp_path, output, message):
    quick.write(tmp_path, a="1")
    (tmp_path / "in/b.csv").write_text("y\n1\n")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    report = look(output=str(tmp_path / output))
    assert message in found(report, "output")[0]
    assert "columns are missing: 'x'" in found(report, "files")[0]
    assert report.exit_code == 1
    assert not report.is_wrong_use
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_that_may_not_be_read_doesnt_hide_the_rest(look, tmp_path):
    quick.write(tmp_path, a="1")
    (tmp_path / "out/.batchscore").mkdir(parents=True)
    (tmp_path / "out/.batchscore/journal.jsonl").mkdir()
    report = look()
    assert "Is a directory" in found(report, "output")[0]
    assert report.inputs.rows == 1
    (tmp_path / "out/job.json").mkdir()
    assert "job.json isn't a summary of batchscore" in found(look(), "output")[0]


def test_its_work_directory_is_looked_at_beside_the_rest(look, tmp_path):
    quick.write(tmp_path, a="1")
    report = look(work_dir=str(tmp_path / "out/work"))
    assert "lies in OUTPUT" in found(report, "output")[0]
    assert report.inputs.rows == 1


def test_files_are_looked_at_without_a_model_too(look, tmp_path):
    """Only whether they can be read: what they should hold, the model would have said."""
    quick.write(tmp_path, a="1")
    (tmp_path / "in/b.parquet").write_bytes(b"PAR1")
    report = look(model=str(tmp_path / "no-model"), params=(("p", "1"),), keep=("no",))
    assert [each.check for each in report.problems] == ["model", "files"]
    assert report.problems[1].files == ("b.parquet",)
    assert report.exit_code == 2


def test_an_output_of_no_known_store_is_a_problem_in_the_report_as_json(run_batchscore, sample_models, sample_data):
    arguments = ["-m", sample_models / "iris", "-i", sample_data / "iris", "-o", "ftp://host/out?sig=SECRET"]
    done = run_batchscore("validate", *arguments, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (problem,) = report["problems"]
    assert (problem["check"], report["sample"]["rows"], report["disk_free_bytes"]) == ("output", 150, None)
    assert "stores of the scheme ftp:// aren't supported" in problem["message"]
    assert report["output"] == {"path": "ftp://host/out?…", "state": "can't be used as it is"}
    assert "SECRET" not in done.stdout + done.stderr


def test_settings_that_are_refused_dont_hide_the_rest(look, tmp_path):
    quick.write(tmp_path, a="1")
    (tmp_path / "in/b.csv").write_text("y\n1\n")
    report = look(add=(("row", "1"),))
    assert "two output columns would have the name 'row'" in found(report, "settings")[0]
    assert "columns are missing: 'x'" in found(report, "files")[0]
    assert report.exit_code == 1


def test_a_model_and_inputs_that_arent_there_are_both_told_as_wrong_use(look, tmp_path):
    report = look(model=str(tmp_path / "no-model"), inputs=(str(tmp_path / "no-input"),))
    assert report.exit_code == 2
    assert "isn't there" in found(report, "model")[0]
    assert "isn't there" in found(report, "inputs")[0]
    assert any("no-input" in line for line in report.lines())


def test_base_names_that_collide_in_layout_azure_dont_hide_the_rest(look, tmp_path):
    quick.write(tmp_path, a="1")
    (tmp_path / "in/more").mkdir()
    (tmp_path / "in/more/a.csv").write_text("y\n1\n")
    report = look(layout="azure")
    assert "a.csv and more/a.csv would be one" in found(report, "output")[0]
    assert "more/a.csv: columns are missing" in found(report, "files")[0]
    assert report.exit_code == 1


def test_a_call_that_may_take_too_long_is_a_warning():
    sample = Sample(10, 1.0, 10.0, (), (), 1.0, 1.0, 1)
    job = Job(model="m", inputs=("i",), output="o", timeout=5)
    fitting = [Fitting(InputFile(name, name, 100, ""), 50, is_counted=True) for name in "ab"]
    assert rows_of_a_call(job, fitting, 1000) == 100
    assert rows_of_a_call(replace(job, predicts_whole_files=True), fitting, 1000) == 50
    estimates = estimate(job, fitting, sample, Loaded(1000, has_signature=True, seconds=2))
    assert (estimates.output_bytes, estimates.seconds) == (100, 12)
    (warning,) = shortages(job, estimates, sample, 100, Room())
    assert (warning.check, warning.level) == ("time", "warning")
    assert list(shortages(job, estimates, sample, 40, Room(disk=200))) == []
    assert [each.check for each in shortages(job, estimates, sample, 40, Room(disk=199, memory=1))] == [
        "disk",
        "memory",
    ]


@pytest.mark.parametrize(
    ("name", "settings", "mini_batches"),
    [
        ("a.csv", {}, 50),  # of 8 MB
        ("a.parquet", {}, 25),  # of 16 MB
        ("a.jsonl", {}, 25),
        ("a.csv.gz", {}, 1),
        ("a.json", {}, 1),
        ("a.csv", {"limit": 900_000}, 1),
        ("a.csv", {"limit": 1_000_000}, 50),
        ("a.csv", {"mini_batch_size": MiniBatchSize(bytes=50 << 20)}, 8),
        ("a.csv", {"mini_batch_size": MiniBatchSize(files=1)}, 1),
    ],
)
def test_a_file_that_is_not_cut_is_one_mini_batch_and_one_workers(name, settings, mini_batches):
    fitting = [Fitting(InputFile(name, name, 400 << 20, ""), 1_000_000, is_counted=True)]
    job = Job(model="m", inputs=("i",), output="o", workers=2, **settings)
    estimates = estimate(
        job, fitting, Sample(10, 1.0, 10.0, (), (), 1.0, 1.0, 1), Loaded(1000, has_signature=True, seconds=2)
    )
    assert (estimates.mini_batches, estimates.workers) == (mini_batches, min(mini_batches, 2))


def test_slices_of_wide_rows_are_larger():
    fitting = [Fitting(InputFile("a.csv", "a.csv", 400 << 20, ""), 20_000, is_counted=True)]  # of 20 KB
    job = Job(model="m", inputs=("i",), output="o", workers=1)
    sample, model = Sample(10, 1.0, 10.0, (), (), 1.0, 1.0, 1), Loaded(1000, has_signature=True, seconds=2)
    assert estimate(job, fitting, sample, model).mini_batches == 25


@pytest.mark.parametrize(
    ("rows", "name", "settings", "has_signature"),
    [
        ([9] * 5, "{}.csv", {"mini_batch_size": MiniBatchSize(files=2)}, True),
        ([40_000], "{}.csv", {"mini_batch_size": MiniBatchSize(bytes=16 << 10)}, True),
        ([40_000], "{}.csv", {"mini_batch_size": MiniBatchSize(bytes=16 << 10)}, False),
        ([40_000], "{}.jsonl", {"mini_batch_size": MiniBatchSize(bytes=64 << 10)}, True),
        ([200] * 40, "{}.csv", {"mini_batch_size": MiniBatchSize(bytes=16 << 10)}, True),
        ([5000, 10, 10, 5000], "{}.csv", {"mini_batch_size": MiniBatchSize(bytes=8 << 10)}, True),
        ([5000, 5000, 5000], "{}.csv", {"mini_batch_size": MiniBatchSize(bytes=8 << 10), "limit": 6000}, True),
        ([5000, 5000, 5000], "{}.csv", {"mini_batch_size": MiniBatchSize(bytes=8 << 10), "limit": 5000}, True),
        ([4000] * 60, "{}.csv", {}, True),
        ([40_000], "{}.csv", {}, True),
    ],
)
def test_mini_batches_are_counted_as_a_run_makes_them(tmp_path, rows, name, settings, has_signature):
    record = '{{"x": {}}}\n' if name.endswith("jsonl") else "{}\n"
    heading = "" if name.endswith("jsonl") else "x\n"
    for number, count in enumerate(rows):
        text = heading + "".join(record.format(row) for row in range(10_000, 10_000 + count))
        (tmp_path / name.format(f"{number:02d}")).write_text(text)
    job = Job(model="m", inputs=(str(tmp_path),), output="o", workers=1, **settings)
    files = list_inputs(job.inputs, Selection("o")).files
    plan = split(files, Cutting(job.mini_batch_size, job.csv, has_signature, job.limit))
    fitting = [Fitting(file, count, is_counted=True) for file, count in zip(files, rows, strict=True)]
    sample, model = Sample(10, 1.0, 10.0, (), (), 1.0, 1.0, 1), Loaded(1000, has_signature=has_signature, seconds=2)
    assert estimate(job, fitting, sample, model).mini_batches == pytest.approx(len(plan), rel=0.1, abs=1), len(plan)


def test_no_rows_are_scored_by_what_is_no_model(look, tmp_path):
    quick.write(tmp_path, a="1")
    report = look()
    assert (report.problems, report.sample) == ((), None)
    assert report.model.load_seconds is None


def test_a_model_that_isnt_loaded_is_a_problem_beside_those_of_files(look, tmp_path, monkeypatch):
    quick.write(tmp_path, load="1")
    (tmp_path / "in/b.csv").write_text("y\n1\n")
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults/load").write_text("always")
    monkeypatch.setenv("FAULTS", str(tmp_path / "faults"))
    report = look()
    assert "no luck with load" in found(report, "model")[0]
    assert "columns are missing" in found(report, "files")[0]


@pytest.fixture(scope="module")
def picky(save_model):
    """A model of x that raises for what is above 100, logged with another version of a package."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    source = (
        "import mlflow.pyfunc\nfrom mlflow.models import set_model\n"
        "class Picky(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        if (model_input['x'] > 2000).any(): __import__('time').sleep(600)\n"
        "        if (model_input['x'] > 100).any(): raise ValueError('too much')\n"
        "        return model_input['x'] * 2\n"
        "set_model(Picky())\n"
    )
    folder = save_model(source, ModelSignature(Schema([ColSpec("double", "x")])))
    (folder / "requirements.txt").write_text("mlflow-skinny\nnumpy==1.0\nno-such-package==2\n")
    return folder


def test_the_sample_is_scored_for_real(picky, tmp_path, monkeypatch):
    """First rows that don't fit are named, and others are scored; what the job needs is held against what there is."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x\nten\n")
    (tmp_path / "in/b.csv").write_text("x\n" + "1.5\n" * 50)
    monkeypatch.setattr("batchscore.validation.free_disk", lambda _: 100)
    monkeypatch.setattr("batchscore.validation.available_memory", lambda: 1000)
    report = validate(picky, tmp_path / "in", tmp_path / "out", format="parquet", add={"run": "7"})
    assert [each.check for each in report.problems] == ["sample", "disk"]
    assert "a.csv: row 0, column 'x': found 'ten'" in found(report, "sample")[0]
    assert "100 bytes are free" in found(report, "disk")[0]
    assert [each.line for each in report.warnings] == [
        *found(report, "memory"),
        "the model was logged with numpy==1.0; {} here".format(__import__("numpy").__version__),
        "the model was logged with no-such-package==2; missing",
    ]
    assert report.sample.first_rows[0] == ("b.csv", 0, "7", 3.0)
    assert report.sample.rows == 50
    assert report.sample.peak_bytes > 50 << 20
    assert not (tmp_path / "out").exists()


def test_a_model_that_raises_is_a_problem_with_its_traceback(picky, tmp_path):
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 20 + "1000\n")
    report = validate(str(picky), tmp_path / "a.csv", tmp_path / "out")
    (problem,) = report.problems
    assert problem.check == "sample"
    assert "ValueError: too much" in problem.message
    assert "model_code.py" in problem.message
    assert report.sample.first_rows[0] == ("a.csv", "0", "2.0")
    (problem,) = validate(str(picky), tmp_path / "a.csv", tmp_path / "out", keep=["x"]).problems
    assert "the prediction column 'x' has the name of another output column" in problem.message


def test_bad_rows_of_the_sample_are_told_as_a_run_would_put_them_aside(picky, tmp_path):
    """Those that don't fit and those that predict fails for; the others are scored and shown."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x\n1\noops\n1000\n2\n")
    (tmp_path / "in/b.csv").write_text("x\n1001\n3\n")
    report = validate(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine", max_bad_rows=3)
    assert report.problems == ()
    oops = "row 1, column 'x': found 'oops', expected a number (double)"
    assert found(report, "sample") == [
        "a.csv: 2 of its first 4 rows would be quarantined, such as: " + oops,
        "b.csv: 1 of its first 2 rows would be quarantined, such as: row 0: ValueError: too much",
    ]
    assert [row[:2] for row in report.sample.first_rows] == [("a.csv", "0"), ("a.csv", "3"), ("b.csv", "1")]
    (tmp_path / "in/a.csv").unlink()
    (tmp_path / "in/b.csv").write_text("x\n1001\n")
    report = validate(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine", max_bad_rows=0)
    assert [each.message for each in report.problems] == [
        "1 bad row already in the sample, more than the 0 that may be (--max-bad-rows)",
        "no row that was tried can be scored; where all are like these, the job fails",
    ]


def test_a_sample_that_hangs_is_not_waited_for_again(picky, tmp_path):
    """A run would look for the rows that take so long, each with the whole timeout."""
    (tmp_path / "a.csv").write_text("x\n1\n3000\n2\n")
    report = validate(picky, tmp_path / "a.csv", tmp_path / "out", on_bad_row="quarantine", timeout=1)
    (problem,) = report.problems
    assert problem.message.startswith("no chunk was finished within 1 s")


def test_a_file_that_predict_fails_for_is_named_and_the_others_are_shown(picky, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x\n1000\n")
    (tmp_path / "in/b.csv").write_text("x\n1\n")
    report = validate(picky, tmp_path / "in", tmp_path / "out")
    (problem,) = report.problems
    assert (problem.files, problem.message.splitlines()[0]) == (("a.csv",), "ValueError: too much")
    assert [row[0] for row in report.sample.first_rows] == ["b.csv"]


def test_a_signal_ends_it_and_nothing_is_left(tmp_path, clean_environment):
    quick.write(tmp_path, a="1")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import sys, time, quick\nfrom pathlib import Path\nfrom batchscore import validation\n"
        "validation.worker_spec = lambda prepared: quick.spec(prepared, {})\n"
        "validation.examine = lambda *_: (print('ready', flush=True), time.sleep(60))\n"
        f"validation.validate_job(quick.job(Path({str(tmp_path)!r})))\n"
    )
    environment = {**clean_environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TMPDIR": str(scratch)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert process.returncode != -signal.SIGTERM
    assert list(scratch.iterdir()) == []


def test_wrong_arguments_from_python_are_refused_as_runs(tmp_path):
    with pytest.raises(TypeError, match="wrokers"):
        validate("m", "i", tmp_path, wrokers=2)
    with pytest.raises(errors.UsageError, match="workers must be"):
        validate("m", "i", tmp_path, workers=0)


def test_validate_takes_runs_options_with_variables_of_its_own(monkeypatch):
    command = main_group.commands["validate"]
    assert [each.opts for each in command.params] == [each.opts for each in main_group.commands["run"].params]
    monkeypatch.setenv("BATCHSCORE_RUN_TIMEOUT", "1")
    monkeypatch.setenv("BATCHSCORE_VALIDATE_KEEP", "a")
    job = job_of(command.make_context("validate", ["-m", "m", "-i", "a", "-o", "out"]))
    assert (job.timeout, job.keep) == (600, ("a",))


def test_problems_exit_1_and_quiet_tells_them_alone_on_stderr(run_batchscore, tmp_path):
    quick.write(tmp_path, a="1")
    arguments = ["-m", tmp_path / "model", "-i", tmp_path / "in", "-o", tmp_path / "out", "--add", "row=1"]
    arguments += ["--python", tmp_path / "no-python"]
    done = run_batchscore("validate", *arguments, "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    settings, model = done.stderr.splitlines()
    assert settings.startswith("settings: two output columns would have the name 'row'")
    assert model.startswith("model: --python ")
    assert run_batchscore("validate", *arguments[2:]).returncode == 2


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.uint8(), pa.float32(), pa.bool_(), pa.date32(), pa.timestamp("us")], ids=str
)
@pytest.mark.parametrize("stated", ["double", "long", "integer", "float", "boolean", "string", "binary", "datetime"])
def test_a_type_that_never_fits_is_one_whose_values_are_all_refused(kind, stated):
    spec = ColumnSpec("x", stated)
    values = [pa.array([bits], pa.int64()) for bits in (0, 1)]
    values = [each.cast(pa.int32()).view(kind) if pa.types.is_date(kind) else each.cast(kind) for each in values]
    fit = 0
    for value in values:
        try:
            convert(value, spec, name="x")
            fit += 1
        except errors.FileRefused:
            pass
    assert (never_fits(kind, spec) is None) == bool(fit)


def test_a_column_of_missing_values_fits_whatever_its_type(look, tmp_path):
    quick.write(tmp_path)
    pq.write_table(pa.table({"x": pa.array([None, None], pa.bool_())}), tmp_path / "in/a.parquet")
    pq.write_table(pa.table({"x": pa.array([], pa.bool_())}), tmp_path / "in/b.parquet")
    assert found(look(), "files") == []


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl"])
def test_rows_of_long_files_follow_from_their_beginning(tmp_path, name):
    import gzip

    lines = [
        f'{{"x": {number * 7919 % 100_003}}}\n' if name.endswith("jsonl") else f"{number * 7919 % 100_003}\n"
        for number in range(400_000)
    ]
    text = ("" if name.endswith("jsonl") else "x\n") + "".join(lines)
    content = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    (tmp_path / name).write_bytes(content)
    rows, is_counted = about_rows(InputFile(name, str(tmp_path / name), len(content), ""), CsvOptions())
    assert not is_counted
    assert rows == pytest.approx(400_000, rel=0.1)
