"""Where the time went, in job.json and in what `show` says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import quick
from conftest import RunHere, SaveModel
from here import HereSlots

from batchscore.minibatch import FileSlice, InputFile, Json, Outcome, Scored
from batchscore.runner import run_job
from batchscore.showing import look, text
from batchscore.showing.unfinished import Tally
from batchscore.stopwatch import STAGES, Lap, Spent


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
    assert re.match(r"  the run: plan \d", shown[begin + 8])


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


def test_receipts_tell_what_a_job_that_runs_has_spent_its_time_on() -> None:
    """In a resumed job some receipts may be an earlier version's, without times."""
    found = Tally()
    entries = (Scored(FileSlice(InputFile("a.csv", "/a.csv", 1, "1")), 1, "p", 0, 1),)
    for number, spent in enumerate((Spent(read=Lap(5, 1), predict=Lap(1, 1)), None, Spent(read=Lap(1), write=Lap(1)))):
        found.take(number, Outcome(number, entries, spent=spent))
    assert text._spent(found.spent.told()) == "75 % read, 12 % predict, 12 % write"
    assert text._spent(Tally().spent.told()) == ""
