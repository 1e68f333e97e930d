"""Where the time went, in job.json and in what `show` says of it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import quick
from conftest import RunHere, SaveModel
from here import HereSlots

from batchscore import advice, engines
from batchscore.minibatch import FileSlice, InputFile, Json
from batchscore.outcome import Outcome, Scored
from batchscore.runner import run_job
from batchscore.settings import MiniBatchSize
from batchscore.showing import look, text
from batchscore.showing.unfinished import Tally
from batchscore.stopwatch import STAGES, Lap, Spent
from batchscore.summary import JobSummary

Advised: TypeAlias = Callable[..., list[str]]


def times_of(output: Path) -> Json:
    return json.loads((output / "job.json").read_text())["timings"]


def test_a_jobs_times_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the run's process to its seconds, of the workers to theirs, up to what was rounded."""
    quick.write(tmp_path, a="1 2", b="3 4 5", c="6")
    quick.use(monkeypatch)
    summary = run_job(quick.job(tmp_path, workers=2))
    times = times_of(tmp_path / "out")
    assert set(times["run"]) == {"plan", "list", "environment", "score", "join"}
    assert sum(each["seconds"] for each in times["run"].values()) == pytest.approx(times["seconds"], abs=0.1)
    workers = times["workers"]
    assert list(workers["stages"]) == ["load", *STAGES, "failed", "idle"]
    assert workers["count"] == 2
    assert sum(each["seconds"] for each in workers["stages"].values()) == pytest.approx(workers["seconds"], abs=0.01)
    assert sum(each["share"] for each in workers["stages"].values()) == pytest.approx(1, abs=0.01)
    assert 0 <= workers["busy"] <= 1
    assert 0 < workers["busy_of_run"] < 1
    assert 0 < workers["seconds"] <= 2 * times["seconds"]
    assert times["words"][0].startswith("the time of 2 workers: ")
    assert summary.timings == times


def test_a_resumed_jobs_times_are_its_own_and_the_whole_jobs(
    tmp_path: Path, save_model: SaveModel, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here each mini-batch takes a second to read."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x\n1\n")
    (tmp_path / "in/b.csv").write_text("x\noops\n")
    monkeypatch.setattr(Spent, "of", lambda _: Spent(read=Lap(1, 0.5)))
    run_here(doubling(save_model), tmp_path / "in", tmp_path / "out", mini_batch_size=1)
    first = times_of(tmp_path / "out")["whole_job"]
    assert list(first) == list(STAGES)
    assert first["read"] == {"seconds": 2, "cpu_seconds": 1}
    (tmp_path / "in/b.csv").write_text("x\n2\n")
    summary = run_here(doubling(save_model), tmp_path / "in", tmp_path / "out", mini_batch_size=1)
    times = times_of(tmp_path / "out")
    assert (summary.status, times["rows_scored"]) == ("Completed", 1)
    assert times["whole_job"]["read"]["seconds"] == 3


def test_a_models_own_work_is_told_from_reading_checking_and_writing(
    tmp_path: Path, save_model: SaveModel, run_here: RunHere
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x\n1\n2\n3\n")
    run_here(doubling(save_model), tmp_path / "in", tmp_path / "out", rows_per_call=2)
    assert HereSlots.last is not None
    assert HereSlots.last.scorer is not None
    turns = HereSlots.last.scorer.model.watch.turns
    assert turns["predict"] == 2, "two calls of two rows at most"
    assert turns["read"] >= 2, "the rows, and that there are no more"


def doubling(save_model: SaveModel) -> Path:
    import pandas as pd
    from mlflow.models import infer_signature

    source = (
        "from mlflow.models import set_model\n"
        "from mlflow.pyfunc import PythonModel\n"
        "class Doubling(PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return model_input['x'] * 2\n"
        "set_model(Doubling())\n"
    )
    frame = pd.DataFrame({"x": [1.0]})
    return save_model(source, infer_signature(frame, frame["x"]))


def test_show_tells_where_the_time_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(tmp_path, a="1 2", b="3 4 5")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    shown = list(text.lines(look(str(tmp_path / "out"))))
    title = "Where the time went: 1 worker, busy for "
    begin = next(number for number, line in enumerate(shown) if line.startswith(title))
    stages = [line.rsplit(maxsplit=4)[0].strip() for line in shown[begin + 1 : begin + 8]]
    assert stages == [
        "start and load the model", "read", "make the model's input", "predict", "write", "failed attempts", "idle",
    ]  # fmt: skip
    assert all(line.endswith(" %") for line in shown[begin + 1 : begin + 8])
    assert re.match(r"  the run: plan \d\.\d s \(\d+ %\), list inputs", shown[begin + 8])
    assert shown[begin].endswith(" % of the run's")


def test_show_has_nothing_to_tell_of_a_job_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.write(tmp_path, a="1 2")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    path = tmp_path / "out/job.json"
    manifest = json.loads(path.read_text())
    kept = {"started", "ended", "seconds", "rows_scored"}
    manifest["timings"] = {name: value for name, value in manifest["timings"].items() if name in kept}
    path.write_text(json.dumps(manifest))
    report = look(str(tmp_path / "out"))
    assert report.times == {}
    assert "Where" not in "".join(text.lines(report))


def test_a_publishing_run_has_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was scored before is in the whole job's times alone."""
    quick.write(tmp_path, a="1 2", b="oops")
    quick.use(monkeypatch)
    run_job(quick.job(tmp_path))
    run_job(quick.job(tmp_path, error_threshold=1))
    times = times_of(tmp_path / "out")
    assert times["workers"]["count"] == 0
    assert times["words"] == []


def advice_of(summary: JobSummary) -> list[str]:
    return list(summary.timings["words"][1:])


@pytest.fixture
def advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Advised:
    """Runs a job as on four cores, and has advice given of however short a run."""
    (tmp_path / "faults").mkdir()
    monkeypatch.setattr(advice, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(engines, "cpu_count", lambda: 4)

    def it(*, stage: str = "", faults: dict[str, str] | None = None, **settings: Any) -> list[str]:
        for word, fault in (faults or {}).items():
            (tmp_path / "faults" / word).write_text(fault)
        quick.use(monkeypatch, FAULTS=str(tmp_path / "faults"), **({"STAGE": stage} if stage else {}))
        return advice_of(run_job(quick.job(tmp_path, **settings)))

    return it


@pytest.mark.parametrize(
    ("types", "share"),
    [(["double"], "a fifth"), (["long", "integer", "float"], "a third"), (["datetime", "boolean"], "a third"),
     (["string"], None), (["double", "binary"], None)],
)  # fmt: skip
def test_a_real_jobs_reading_of_csv_is_compared_with_parquet_by_its_models_types(
    tmp_path: Path, advised: Advised, types: list[str], share: str | None
) -> None:
    """By the table in docs/logs.md."""
    quick.write(tmp_path, a="1 2")
    columns = [{"type": kind, "name": f"x{number}", "required": True} for number, kind in enumerate(types)]
    signature = f"signature:\n  inputs: {json.dumps(json.dumps(columns))}\n"
    (tmp_path / "model/MLmodel").write_text("flavors:\n  python_function: {}\n" + signature)
    told = [words for words in advised(stage="read", mini_batch_size=MiniBatchSize()) if "CSV parsing" in words]
    assert len(told) == (share is not None)
    assert share is None or f"reading the same data as Parquet would take about {share} of that, less" in told[0]


def test_a_real_jobs_words_tell_what_is_not_shared_out(tmp_path: Path, advised: Advised) -> None:
    quick.write(tmp_path, a="1 2")
    plain = tmp_path / "in/a.csv"
    (tmp_path / "in/a.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    words = advised(stage="predict", mini_batch_size=MiniBatchSize())
    assert (
        "the run was on 1 of 4 cores, with only 1 mini-batch to share out, and a smaller --mini-batch-size makes no "
        "more: compressed files aren't cut: unpacked they would be"
    ) in words


@pytest.mark.parametrize(("start", "remedy"), [("each", ["--workers 1 would take at most"]), ("loader", [])])
def test_starting_several_workers_is_weighed_where_each_loads_the_model(
    tmp_path: Path, advised: Advised, start: str, remedy: list[str]
) -> None:
    """And not where they are forked from one that has loaded it."""
    quick.write(tmp_path, a="1", b="2", c="3")
    words = advised(worker_start=start, workers=2, faults={"load": "slow"})
    told = [each for each in words if "went into starting them" in each]
    assert len(told) == len(remedy)
    assert "".join(remedy) in "".join(told)


@pytest.mark.parametrize(
    ("faults", "settings", "cause"),
    [
        ({"1": "exit", "2": "exit"}, {"max_retries": 0}, ": logs/user/error.txt says why those came to nothing"),
        ({}, {"recycle_after": 1}, ": a larger --recycle-after starts fewer"),
    ],
)
def test_starting_workers_in_the_place_of_others_is_no_reason_to_have_one(
    tmp_path: Path, advised: Advised, faults: dict[str, str], settings: Any, cause: str
) -> None:
    """Which would start as many, one after the other."""
    quick.write(tmp_path, a="1", b="2", c="3", d="4", e="5", f="6")
    words = advised(workers=2, worker_start="each", faults={"load": "slow", **faults}, **settings)
    assert "--workers 1" not in "".join(words)
    [told] = [each for each in words if "in the place of others" in each]
    assert told.endswith(cause)


def test_receipts_tell_what_a_job_that_runs_has_spent_its_time_on() -> None:
    """In a resumed job some receipts may be an earlier version's, without times."""
    found = Tally()
    entries = (Scored(FileSlice(InputFile("a.csv", "/a.csv", 1, "1")), 1, "p", 0, 1),)
    for number, spent in enumerate((Spent(read=Lap(5, 1), predict=Lap(1, 1)), None, Spent(read=Lap(1), write=Lap(1)))):
        found.take(number, Outcome(number, entries, spent=spent))
    assert text._spent(found.spent.told()) == "75 % read, 12 % predict, 12 % write"
    assert text._spent(Tally().spent.told()) == ""
