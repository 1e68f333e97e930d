"""Ways to start workers, in whole jobs with real models: the same predictions, and what job.json says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import quick

from batchscore.face import run
from batchscore.loader import Loader, LoaderLost
from batchscore.redaction import redact
from batchscore.runner import run_job
from batchscore.showing import look, text

MODEL = """
import os, random, threading, time
from pathlib import Path
import numpy as np
import mlflow.pyfunc
from mlflow.models import set_model

class Noisy(mlflow.pyfunc.PythonModel):
    '''Answers with noise from the generators that everybody shares.'''

    def load_context(self, context):
        log = Path(os.environ["LOADS"])
        with log.open("a") as stream:
            stream.write(f"{os.getpid()}\\n")
        if "THREAD" in os.environ:
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    def predict(self, context, model_input, params=None):
        time.sleep(0.05)
        return model_input["x"] + np.random.normal(size=len(model_input)) + random.random()

set_model(Noisy())
"""


@pytest.fixture
def score(tmp_path: Path, save_model: Any) -> Callable[..., tuple[bytes, Any, int]]:
    """Runs a job of eight mini-batches: the predictions, `workers` of job.json, and how often the model was loaded."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    model = save_model(MODEL, ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "y")])))
    (tmp_path / "in").mkdir()
    for name in "abcdefgh":
        (tmp_path / f"in/{name}.csv").write_text("x\n1\n2\n3\n")

    def it(name: str, *, environment: dict[str, str] | None = None, **options: Any) -> tuple[bytes, Any, int]:
        loads, out = tmp_path / f"{name}.loads", tmp_path / name
        environment = {"LOADS": str(loads), **(environment or {})}
        summary = run(model, tmp_path / "in", out, mini_batch_size=1, environment=environment, **options)
        assert summary.status == "Completed", summary.message
        return (out / "predictions.csv").read_bytes(), summary.manifest["workers"], len(loads.read_text().split())

    return it


def test_bytes_do_not_depend_on_how_workers_start_nor_on_which_draws_random_numbers(score: Any, tmp_path: Path) -> None:
    once, workers, loads = score("one", workers=1)
    assert (workers, loads) == ({"number": 1, "start": "each", "why": "there is one worker"}, 1)
    again, workers, loads = score("two", workers=2)
    assert (workers["number"], workers["start"], loads) == (2, "loader", 1)
    assert "one thread" in workers["why"]
    assert again == once
    assert len(set(once.decode().splitlines())) == 25
    shown = list(text.lines(look(str(tmp_path / "two"))))
    assert any(line.split()[:6] == ["workers", "2,", "forked", "from", "a", "loader:"] for line in shown), shown


def test_a_model_that_starts_a_thread_is_loaded_by_each_worker(score: Any) -> None:
    _, workers, loads = score("threaded", workers=2, environment={"THREAD": "1"})
    assert workers == {
        "number": 2,
        "start": "each",
        "why": "2 threads run in the process that has loaded the model",
    }
    assert loads == 2


def test_job_json_tells_how_workers_were_started_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaders that are lost on the way give way to workers that load for themselves."""
    quick.write(tmp_path, a="1", b="2", c="3")
    quick.use(monkeypatch)
    really, forks = Loader.fork, []

    def lost_after_the_first(self: Loader, *given: Any, **named: Any) -> Any:
        forks.append(self)
        if len(forks) > 1:
            raise LoaderLost("was shot")
        return really(self, *given, **named)

    monkeypatch.setattr(Loader, "fork", lost_after_the_first)
    assert run_job(quick.job(tmp_path, worker_start="loader", recycle_after=1)).status == "Completed"
    told = json.loads((tmp_path / "out" / "job.json").read_text())["workers"]
    assert told == {"number": 1, "start": "each", "why": "3 loaders were lost, the last one was shot"}


PARENT = """
import json, sys
from batchscore.face import run
summary = run(**json.loads(sys.argv[1]))
assert summary.status == "Completed", summary.message
print(json.dumps(sorted(sys.modules)))
"""


def test_the_parent_imports_neither_mlflow_nor_pandas_nor_pyarrow(tmp_path: Path, sample_models: Path) -> None:
    """Of a job that reads and writes CSV; with one worker joblib isn't needed either, nor numpy."""
    loaded = _imported_by_the_parent(sample_models.parent / "wine", sample_models / "wine_label", tmp_path / "out")
    assert not loaded & {"mlflow", "pandas", "pyarrow", "sklearn", "fsspec", "joblib", "numpy"}


def test_the_parent_cuts_parquet_without_what_converts_its_columns(tmp_path: Path, sample_models: Path) -> None:
    """Footers are all that it reads."""
    wine = pacsv.read_csv(next((sample_models.parent / "wine").rglob("*.csv")))
    (tmp_path / "in").mkdir()
    pq.write_table(wine, tmp_path / "in" / "a.parquet", row_group_size=20)
    settings = {"mini_batch_size": "1kb"}
    loaded = _imported_by_the_parent(tmp_path / "in", sample_models / "wine_label", tmp_path / "out", **settings)
    assert json.loads((tmp_path / "out" / "job.json").read_text())["counts"]["mini_batches"] > 1
    assert {"pyarrow.parquet", "batchscore.readers.parquet"} <= loaded
    assert not loaded & {"pyarrow.compute", "pyarrow.csv", "pandas", "mlflow", "batchscore.signature"}
    assert not loaded & {"batchscore.writers.parquet", "batchscore.answers.shapes", "batchscore.readers.parquet_rows"}


def test_the_parent_joins_parquet_without_what_computes(tmp_path: Path, sample_models: Path) -> None:
    wine, model = sample_models.parent / "wine", sample_models / "wine_label"
    loaded = _imported_by_the_parent(wine, model, tmp_path / "out", format="parquet")
    assert "batchscore.writers.parquet" in loaded
    assert not loaded & {"pyarrow.compute", "pyarrow.csv", "pandas", "mlflow", "batchscore.writers.casting"}


def _imported_by_the_parent(inputs: Path, model: Path, output: Path, **settings: Any) -> set[str]:
    """The modules that are loaded when a job has ended."""
    arguments = json.dumps({"model": str(model), "inputs": str(inputs), "output": str(output), **settings})
    done = subprocess.run([sys.executable, "-c", PARENT, arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, redact(done.stderr)
    return set(json.loads(done.stdout))
