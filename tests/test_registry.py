"""Registered models: an MLflow server on loopback, models by version, alias and run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLE_DATA
from stores import await_port

pytestmark = pytest.mark.slow
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
REGISTER = """
import sys, mlflow
from mlflow import MlflowClient
with mlflow.start_run() as run:
    mlflow.log_artifacts(sys.argv[1], "model")
client = MlflowClient()
try:
    client.create_registered_model("wine")
except mlflow.exceptions.MlflowException:
    pass
version = client.create_model_version("wine", f"runs:/{run.info.run_id}/model", run.info.run_id).version
client.set_registered_model_alias("wine", "champion", version)
print(run.info.run_id)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of an MLflow server in an environment of its own: the server isn't part of mlflow-skinny."""
    folder = tmp_path_factory.mktemp("server")
    python = folder / "environment/bin/python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, python.parent.parent], check=True, timeout=60)
    pins = ROOT / "tests" / "mlflow-server.txt"
    subprocess.run([*uv, "pip", "install", "--python", python, "--requirement", pins], check=True, timeout=300)
    command = [
        python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "0", "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination", folder / "artifacts",
    ]  # fmt: skip
    environment = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            port = await_port(folder / "log", r"running on http://127\.0\.0\.1:(\d+)", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 9)


def register(server: str, model: Path) -> str:
    """Log the model folder in a run, register it as a version of `wine`, its champion; gives the run's id."""
    environment = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": server}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REGISTER, model],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()[-1]


def test_registered_models_are_resolved_once_and_kept_by_an_unfinished_job(
    server: str, tmp_path: Path, run_batchscore, sample_models: Path
) -> None:
    model = Path(shutil.copytree(sample_models / "wine_label", tmp_path / "model"))
    run_id = register(server, model)
    env = {**QUIET, "MLFLOW_TRACKING_URI": server}
    local = run_batchscore("run", "-m", model, "-i", SAMPLE_DATA / "wine", "-o", tmp_path / "local")
    assert local.returncode == 0, local.stderr
    for number, reference in enumerate(["models:/wine/1", "models:/wine@champion", f"runs:/{run_id}/model"]):
        out = tmp_path / f"out{number}"
        result = run_batchscore("run", "-m", reference, "-i", SAMPLE_DATA / "wine", "-o", out, env=env)
        assert result.returncode == 0, result.stderr
        assert (out / "predictions.csv").read_bytes() == (tmp_path / "local/predictions.csv").read_bytes()
        found = json.loads((out / "job.json").read_text())["model"]
        assert found["uri"] == reference
        assert found["resolved"] == ("models:/wine/1" if number < 2 else reference)

    own = ("--env-manager", "uv", "-o", tmp_path / "own")
    env["BATCHSCORE_CACHE"] = str(tmp_path / "cache")
    result = run_batchscore("run", "-m", "models:/wine/1", "-i", SAMPLE_DATA / "wine", *own, env=env)
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/own/.batchscore/model/python_env.yaml states, once" in result.stderr
    assert len((tmp_path / "own/predictions.csv").read_text().splitlines()) == len(
        (tmp_path / "local/predictions.csv").read_text().splitlines()
    )

    inputs = tmp_path / "inputs"
    shutil.copytree(SAMPLE_DATA / "wine", inputs)
    (inputs / "bad.csv").write_text("id,alcohol\nx,much\n")
    command = ["run", "-m", "models:/wine@champion", "-i", inputs, "-o", tmp_path / "pinned"]
    assert run_batchscore(*command, env=env).returncode == 1
    (model / "note.txt").write_text("another version")
    register(server, model)
    (inputs / "bad.csv").unlink()
    resumed = run_batchscore(*command, env=env)
    assert resumed.returncode == 0, resumed.stderr
    assert "models:/wine@champion is models:/wine/2 now; this job goes on with models:/wine/1" in resumed.stderr
    assert json.loads((tmp_path / "pinned/job.json").read_text())["model"]["resolved"] == "models:/wine/1"


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        ("models:/wine/99", 2, "models:/wine/99"),
        ("models:/none@champion", 2, "models:/none@champion"),
        ("runs:/0123456789abcdef0123456789abcdef/model", 2, "runs:/0123456789abcdef"),
    ],
)
def test_what_the_registry_does_not_have_is_wrong_use(
    server: str, tmp_path: Path, run_batchscore, reference: str, code: int, message: str
) -> None:
    result = run_batchscore(
        "run", "-m", reference, "-i", SAMPLE_DATA / "wine", "-o", tmp_path / "out",
        env={**QUIET, "MLFLOW_TRACKING_URI": server},
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_down_is_worth_another_try(tmp_path: Path, run_batchscore) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://user:s3cret@127.0.0.1:{closed.getsockname()[1]}"
        result = run_batchscore(
            "run", "-m", "models:/wine/1", "-i", SAMPLE_DATA / "wine", "-o", tmp_path / "out",
            env={**QUIET, "MLFLOW_TRACKING_URI": address},
        )  # fmt: skip
    assert result.returncode == 4, result.stderr
    assert "s3cret" not in result.stderr


def test_a_deployments_latest_model_stays_the_one_that_the_job_began_with(
    server: str, tmp_path: Path, run_batchscore, sample_models: Path
) -> None:
    model = Path(shutil.copytree(sample_models / "wine_label", tmp_path / "model"))
    register(server, model)
    (tmp_path / "deployment.yml").write_text(
        "{name: d, endpoint_name: e, type: model, compute: c, model: 'azureml:wine@latest', settings: {}}"
    )
    shutil.copytree(SAMPLE_DATA / "wine", tmp_path / "in")
    (tmp_path / "in/bad.csv").write_text("id,alcohol\nx,much\n")
    command = ["run", "-f", tmp_path / "deployment.yml", "-i", tmp_path / "in", "-o", tmp_path / "out"]
    env = {**QUIET, "MLFLOW_TRACKING_URI": server}
    assert run_batchscore(*command, "--error-threshold", "0", env=env).returncode == 1
    planned = json.loads((tmp_path / "out/job.json").read_text())["model"]
    assert planned["uri"] == "models:/wine/latest"
    (model / "note.txt").write_text("another version")
    register(server, model)
    resumed = run_batchscore(*command, env=env)
    assert resumed.returncode == 0, resumed.stderr
    assert f"this job goes on with {planned['resolved']}, as planned" in resumed.stderr
    assert json.loads((tmp_path / "out/job.json").read_text())["model"]["resolved"] == planned["resolved"]
    assert planned["resolved"].removeprefix("models:/wine/").isdigit()
