"""A model that isn't the expected one doesn't run: --model-digest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import quick
from conftest import ROOT

from batchscore.cli import job_of, main_group
from batchscore.errors import UsageError
from batchscore.face import run, validate
from batchscore.modelfolder import digest, read_model_folder

MARKING = """
import os
import pathlib
import mlflow.pyfunc
from mlflow.models import set_model

with pathlib.Path(os.environ["MARKS"]).open("a") as stream:
    stream.write("ran\\n")

class Marking(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x"] * 2

set_model(Marking())
"""
LOCKED_UP = """
import socket, sys
from batchscore import run
from batchscore.errors import BatchscoreError

def refuse(*args, **kwargs):
    raise SystemExit("reached for the network")

socket.create_connection = socket.getaddrinfo = socket.socket.connect = refuse
model, data = sys.argv[1:]
for inputs, output in (
    (data, "s3://bucket/out"), ("abfss://c@account.dfs.core.windows.net/in", "out"), ("gs://bucket/in", "out")
):
    try:
        run(model, inputs, output)
    except BatchscoreError as error:
        print(error.exit_code)
assert not {"azure.identity", "google.auth"} & set(sys.modules)
"""
OTHER = f"sha256:{'0' * 64}"


@pytest.fixture
def place(save_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model whose code leaves a mark when it runs, and data for it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    monkeypatch.setenv("MARKS", str(tmp_path / "saving"))
    save_model(MARKING, ModelSignature(Schema([ColSpec("double", "x")])), copy_to=tmp_path / "model")
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.csv").write_text("x\n1\n2\n")
    return tmp_path


def arguments(place: Path) -> tuple[Path, Path, Path]:
    return place / "model", place / "data", place / "out"


def test_another_model_is_refused_before_its_code_runs_by_run_and_by_validate(place: Path, run_batchscore) -> None:
    """The message has the digest that was found."""
    words = ["-m", place / "model", "-i", place / "data", "-o", place / "out", "--model-digest", OTHER]
    refused = run_batchscore("run", *words, env={"MARKS": str(place / "marks")})
    assert refused.returncode == 2
    found = digest(str(place / "model"))
    assert f"isn't the expected one: its digest is {found}, expected {OTHER}" in refused.stderr
    report = validate(*arguments(place), model_digest=OTHER)
    assert report.exit_code == 2
    assert [problem.check for problem in report.problems] == ["model"]
    assert not (place / "marks").exists()
    assert not (place / "out").exists()


def test_the_digest_of_validate_and_of_job_json_is_the_one_to_pin(place: Path) -> None:
    report = validate(*arguments(place))
    assert report.model
    assert any(report.model.digest in line for line in report.lines())
    summary = run(*arguments(place), model_digest=report.model.digest.upper().replace("SHA", "sha"))
    assert summary.status == "Completed"
    stated = json.loads((place / "out/job.json").read_text())["model"]["digest"]
    assert stated == report.model.digest
    (place / "model/model_code.py").write_text(MARKING.replace("* 2", "* 3"))
    with pytest.raises(UsageError, match="isn't the expected one"):
        run(*arguments(place), model_digest=stated)


def test_bytecode_that_the_digest_leaves_out_is_refused_beside_a_pinned_digest(place: Path) -> None:
    """Python would run it in the place of the source that was hashed."""
    expected = digest(str(place / "model"))
    cache = place / "model/__pycache__"
    cache.mkdir()
    (cache / "model_code.cpython-311.pyc").write_bytes(b"")
    assert digest(str(place / "model")) == expected
    with pytest.raises(UsageError, match=r"has bytecode, __pycache__/model_code.cpython-311.pyc"):
        run(*arguments(place), model_digest=expected)
    assert not (place / "marks").exists()


def test_a_registered_model_is_compared_once_it_is_downloaded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    store = (place / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = mlflow.MlflowClient(tracking_uri=store)
        started = client.create_run("0")
        client.log_artifacts(started.info.run_id, str(place / "model"), "model")
    uri = f"runs:/{started.info.run_id}/model"
    with pytest.raises(UsageError, match=f"expected {OTHER}"):
        run(uri, *arguments(place)[1:], model_digest=OTHER)
    assert not (place / "marks").exists()
    assert not (place / "out").exists()
    assert run(uri, *arguments(place)[1:], model_digest=digest(str(place / "model"))).status == "Completed"


def test_no_environment_is_built_for_another_model(tmp_path: Path, uv_calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one runs what the model's requirements name."""
    quick.write(tmp_path, a="1")
    quick.use(monkeypatch)
    monkeypatch.setenv("BATCHSCORE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model/requirements.txt").write_text("mlflow\n")
    folders = [tmp_path / name for name in ("model", "in", "out")]
    with pytest.raises(UsageError, match="isn't the expected one"):
        run(*folders, env_manager="uv", model_digest=OTHER)
    (problem,) = validate(*folders, env_manager="uv", model_digest=OTHER).problems
    assert "isn't the expected one" in problem.message
    assert uv_calls() == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("given", ["", "sha256:", "0" * 64, OTHER[:-1], OTHER.replace("0", "g"), f"md5:{'0' * 64}"])
def test_what_is_no_digest_is_refused(tmp_path: Path, given: str) -> None:
    """An empty one too: a variable of the shell that is unset must not switch the check off."""
    command = main_group.commands["run"].make_context(
        "run", ["-m", "model", "-i", "data", "-o", str(tmp_path), "--model-digest", given]
    )
    with pytest.raises(UsageError, match="sha256: and 64 hexadecimal digits"):
        job_of(command)


def test_links_in_a_model_neither_hide_files_nor_lead_in_circles(tmp_path: Path) -> None:
    """What a link leads to counts; a link upwards counts by its name; a maze of links is refused."""
    quick.write(tmp_path, a="1")
    model, shared = tmp_path / "model", tmp_path / "shared"
    shared.mkdir()
    (shared / "code.py").write_text("a = 1")
    before = digest(str(model))
    (model / "up").symlink_to(".")
    (model / "over").symlink_to(tmp_path)
    (model / "linked").symlink_to(shared)
    found = digest(str(model))
    (shared / "code.py").write_text("a = 2")
    assert len({before, found, digest(str(model))}) == 3
    for level in range(40):
        (shared / f"{level}").mkdir()
        for way in "ab":
            (shared / f"{level}/{way}").symlink_to(shared / f"{level + 1}")
    with pytest.raises(UsageError, match="links to folders"):
        read_model_folder(str(model))


def test_nobody_looks_for_credentials_in_a_cloud(place: Path) -> None:
    """An address of a store without credentials ends the job by itself: no cloud's library is asked for a login."""
    hidden = ("AWS_", "AZURE_", "GOOGLE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    ended = subprocess.run(
        [sys.executable, "-c", LOCKED_UP, place / "model", place / "data"],
        env={**environment, "PYTHONPATH": str(ROOT)}, cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.split()) == (0, ["2", "2", "2"]), ended.stderr
