"""--work-dir: the work in progress apart from OUTPUT, which may then be a store that knows whole files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import PlainStore, RunBatchscore, RunHere

from batchscore.errors import OutputLocked, StorageError, UsageError
from batchscore.showing import look
from batchscore.workspace import Workspace

GOOD, BAD = "x\n1.5\n2.5\n", "x\n1.5\ntwo\n"


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.csv").write_text(GOOD)
    return folder


@pytest.fixture
def model(answering: Any) -> Path:
    return answering(("y", "double"))


def options(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"params": {"answer": "v * 2"}, "work_dir": tmp_path / "work", "mini_batch_size": 1, **more}


def _files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


def test_output_gets_nothing_but_results_and_the_work_goes(
    run_here: RunHere, model: Path, inputs: Path, tmp_path: Path
) -> None:
    one = run_here(model, inputs, tmp_path / "apart", **options(tmp_path))
    run_here(model, inputs, tmp_path / "within", **options(tmp_path, work_dir=None))
    assert one.status == "Completed"
    assert sorted(os.listdir(tmp_path / "apart")) == ["job.json", "logs", "predictions.csv"]
    assert _files(tmp_path / "apart/logs") == _files(tmp_path / "within/logs")
    assert (tmp_path / "apart/predictions.csv").read_bytes() == (tmp_path / "within/predictions.csv").read_bytes()
    assert not (tmp_path / "work").exists()


def test_a_failed_job_goes_on_where_it_stopped(
    run_here: RunHere, model: Path, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSWER", "v * 2")
    (inputs / "b.csv").write_text(BAD)
    assert run_here(model, inputs, tmp_path / "out", **options(tmp_path, params={"answer": ""})).status == "Failed"
    assert sorted(os.listdir(tmp_path / "out")) == ["failures.jsonl", "job.json", "logs"]
    monkeypatch.setenv("ANSWER", "v * 3")
    (inputs / "b.csv").write_text(GOOD)
    summary = run_here(model, inputs, tmp_path / "out", **options(tmp_path, params={"answer": ""}))
    assert summary.status == "Completed"
    assert summary.read()["y"].tolist() == [3.0, 5.0, 4.5, 7.5, 3.0, 5.0]
    assert not os.listdir(tmp_path / "work")


def test_a_finished_job_does_nothing_and_neither_does_it_without_the_option(
    run_here: RunHere, model: Path, inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_here(model, inputs, out, **options(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in [out, *out.iterdir()]}
    assert not run_here(model, inputs, out, **options(tmp_path)).is_fresh
    assert {path: path.stat().st_mtime_ns for path in [out, *out.iterdir()]} == before
    assert not run_here(model, inputs, out, **options(tmp_path, work_dir=None)).is_fresh


def test_runs_of_one_output_lock_each_other_out_and_those_of_others_do_not(tmp_path: Path) -> None:
    work = str(tmp_path / "work")
    with Workspace(str(tmp_path / "out"), work):
        with pytest.raises(OutputLocked, match="another run holds OUTPUT"):
            Workspace(str(tmp_path / "out"), work).__enter__()
        with Workspace(str(tmp_path / "other"), work):
            pass
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "out").exists()


def test_parts_in_a_work_directory_among_the_inputs_are_not_scored(
    run_here: RunHere, model: Path, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "b.csv").write_text(BAD)
    for _ in range(2):
        summary = run_here(model, inputs, tmp_path / "out", **options(tmp_path, work_dir=inputs / "work"))
        assert summary.counts.files == 3


def test_a_job_begun_without_the_option_is_not_mixed_up_with_one_with_it(
    run_here: RunHere, model: Path, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "b.csv").write_text(BAD)
    run_here(model, inputs, tmp_path / "out", **options(tmp_path, work_dir=None))
    with pytest.raises(UsageError, match=r"holds the work of a run without --work-dir.*remove .*\.batchscore to start"):
        run_here(model, inputs, tmp_path / "out", **options(tmp_path))


def test_work_that_is_not_there_any_more_is_told(
    run_batchscore: RunBatchscore, model: Path, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "b.csv").write_text(BAD)
    command = ["run", "-m", model, "-i", inputs, "-o", tmp_path / "out", "--param", "answer=v", "--max-retries", "0"]
    env = {"BATCHSCORE_RUN_WORK_DIR": str(tmp_path / "work")}
    assert run_batchscore(*command, env=env).returncode == 1
    (inputs / "b.csv").write_text(GOOD)
    second = run_batchscore(*command, "--work-dir", tmp_path / "elsewhere", env=env)
    assert second.returncode == 0
    assert f"isn't in {tmp_path}/elsewhere/" in second.stderr
    assert "all files are scored again" in second.stderr


@pytest.mark.parametrize(
    ("work_dir", "message"),
    [
        ("out/work", "--work-dir .*out/work lies in OUTPUT"),
        ("file", "--work-dir .*file is a file"),
        ("file/work", "--work-dir .*work: .*file is a file"),
        ("s3://bucket/work", "--work-dir s3://bucket/work is remote"),
        ("", "--work-dir is empty text"),
    ],
)
def test_an_unfit_work_directory_is_refused(tmp_path: Path, work_dir: str, message: str) -> None:
    (tmp_path / "file").write_text("")
    place = work_dir if work_dir in {"", "s3://bucket/work"} else str(tmp_path / work_dir)
    with pytest.raises(UsageError, match=message):
        Workspace(str(tmp_path / "out"), place)
    assert not (tmp_path / "out").exists()


def test_a_work_directory_in_the_model_is_refused(run_here: RunHere, model: Path, inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--work-dir .* lies in MODEL"):
        run_here(model, inputs, tmp_path / "out", **options(tmp_path, work_dir=model))


def test_a_work_directory_that_cannot_be_made_is_a_storage_error_and_leaves_no_output(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't write to the work directory /proc/batchscore"):
        Workspace(str(tmp_path / "out"), "/proc/batchscore").__enter__()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("abilities", "lacking"),
    [
        ({}, "can't lock files"),
        ({"STORE_LOCKS": "1"}, "can't truncate files"),
        ({"STORE_LOCKS": "1", "STORE_CUTS": "1"}, "can't rename files"),
    ],
)
def test_an_output_that_lacks_what_a_job_needs_names_the_option(
    run_batchscore: RunBatchscore,
    plain_store: PlainStore,
    model: Path,
    inputs: Path,
    tmp_path: Path,
    abilities: Mapping[str, str],
    lacking: str,
) -> None:
    env = plain_store(tmp_path / "out", **abilities)
    run = run_batchscore("run", "-m", model, "-i", inputs, "-o", tmp_path / "out", "--param", "answer=v", env=env)
    assert run.returncode == 4
    assert len(run.stderr.splitlines()) == 1
    assert lacking in run.stderr
    assert "give --work-dir DIR, a folder on a local disk" in run.stderr
    assert not (tmp_path / "out").exists()


WRITTEN = {
    "predictions.csv": "predictions.csv",
    "failures.jsonl": "failures.jsonl",
    "job_result.txt": "logs",
    "job.json": "job.json",
}
"""The files that are copied into the store, in this order, and what they make appear there."""


@pytest.mark.parametrize("killing", WRITTEN)
def test_a_run_killed_while_it_copies_into_the_store_is_published_by_the_next(
    run_batchscore: RunBatchscore, plain_store: PlainStore, model: Path, inputs: Path, tmp_path: Path, killing: str
) -> None:
    """Predictions, failures.jsonl and job.json are written there: whichever is half, no job.json vouches for it."""
    out = tmp_path / "out"
    (inputs / "b.csv").write_text(BAD)
    command = [
        "run", "-m", model, "-i", inputs, "-o", out, "--param", "answer=v * 2", "--work-dir", tmp_path / "work",
        "--error-threshold", "1", "--max-retries", "0",
    ]  # fmt: skip
    killed = run_batchscore(*command, env=plain_store(out, STORE_KILLS=killing))
    assert killed.returncode == -9
    names = list(WRITTEN)
    assert sorted(os.listdir(out)) == sorted(WRITTEN[name] for name in names[: names.index(killing) + 1])
    if killing == "job.json":
        with pytest.raises(json.JSONDecodeError):
            json.loads((out / "job.json").read_text())
    assert look(str(out), str(tmp_path / "work")).status == "Killed"
    again = run_batchscore(*command, env=plain_store(out))
    assert again.returncode == 0, again.stderr
    assert sorted(os.listdir(out)) == sorted(WRITTEN.values())
    overview = (out / "logs/job_progress_overview.txt").read_text()
    assert overview.count(" begins job ") == overview.count(" goes on with job ") == 1
    assert "Completed" in (out / "logs/job_result.txt").read_text()
    assert json.loads((out / "job.json").read_text())["counts"]["rows_scored"] == 4
    assert (out / "predictions.csv").read_text() == "file,row,y\n" + "".join(
        f"{name}.csv,{row},{y}\n" for name in "ac" for row, y in enumerate((3.0, 5.0))
    )


def test_no_old_job_json_stands_beside_half_a_list_of_failures(
    run_batchscore: RunBatchscore, plain_store: PlainStore, model: Path, inputs: Path, tmp_path: Path
) -> None:
    (inputs / "b.csv").write_text(BAD)
    out = tmp_path / "out"
    command = ["run", "-m", model, "-i", inputs, "-o", out, "--param", "answer=v", "--work-dir", tmp_path / "work"]
    assert run_batchscore(*command, env=plain_store(out)).returncode == 1
    assert run_batchscore(*command, env=plain_store(out, STORE_KILLS="failures.jsonl")).returncode == -9
    assert sorted(os.listdir(out)) == ["failures.jsonl", "logs"]


def test_validate_looks_at_the_work_directory_too(
    run_batchscore: RunBatchscore, model: Path, inputs: Path, tmp_path: Path
) -> None:
    """It makes neither folder."""
    arguments = ["-m", model, "-i", inputs, "-o", tmp_path / "out", "--param", "answer=v"]
    fit = run_batchscore("validate", *arguments, "--work-dir", tmp_path / "work")
    assert fit.returncode == 0, fit.stderr + fit.stdout
    (tmp_path / "file").write_text("")
    unfit = run_batchscore("validate", *arguments, "--work-dir", tmp_path / "file" / "work")
    assert unfit.returncode == 1
    assert "file is a file; give a folder" in unfit.stdout + unfit.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "work").exists()
