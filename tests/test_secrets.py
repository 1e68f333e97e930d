"""Secrets planted wherever a job may meet them, and looked for in all that is written and said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

TELLING = """
import logging
import os
import sys
import warnings
import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

def tell():
    if "PLANTED_KEY" not in os.environ:
        return  # older MLflows load the model that they save
    for stream in (sys.stdout, sys.stderr):
        print(os.environ, os.environ["PLANTED_KEY"], os.environ["STORE_URL"].split(":")[2].split("@")[0], file=stream)
        print(dict(os.environ)["PLANTED_KEY"].encode(), file=stream, flush=True)
    warnings.warn(os.environ["GIVEN_TOKEN"])
    logging.warning(os.environ["GIVEN_TOKEN"])

class Telling(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        tell()
        if "FAIL" in os.environ:
            raise RuntimeError(f"no luck: {os.environ}")

    def predict(self, context, model_input, params=None):
        tell()
        if (model_input["x"] == 1).any():
            raise ValueError(f"{os.environ['PLANTED_KEY']} and {os.environ!r}, {params}")
        if (model_input["x"] == 2).any():
            os._exit(3)
        return pd.DataFrame({"twice": model_input["x"] * 2})

set_model(Telling())
"""
KEY = "-----BEGIN KEY-----\nMIIEvQ'IBADAN\"Bgkqhki\nG9w0BAQ\\EFAASCBK\n-----END KEY-----"
ENVIRONMENT = {
    "PLANTED_KEY": KEY,
    "PASSPHRASE": "geheim-söße-Übung",
    "STORE_URL": "postgres://robot:plants-pass@db.example/jobs",
    "CONNECTION": "AccountName=a;AccountKey=plants-account-key==;EndpointSuffix=x",
    "BATCHSCORE_RUN_ENVIRONMENT_VARIABLE": "GIVEN_TOKEN=given-by-env-token",
    "BATCHSCORE_VALIDATE_ENVIRONMENT_VARIABLE": "GIVEN_TOKEN=given-by-env-token",
}
SECRETS = (
    "MIIEvQ", "G9w0BAQ", "geheim", "Übung", "plants-pass", "plants-account-key", "given-by-env-token",
    "given-by-option", "plants-sig", "plants-user", "plants-query", "plants-param", "plants-constant",
)  # fmt: skip
ADDRESS = "https://plants-user:plants-query@host.example/c?sv=1&sig=plants-sig%3D"


@pytest.fixture(scope="module")
def telling(save_model) -> Path:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    params = ParamSchema([ParamSpec("link", "string", "")])
    return save_model(TELLING, ModelSignature(Schema([ColSpec("double", "x")]), None, params))


def written_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Each file with its text, but for predictions and parts, which are data."""
    for path in sorted(folder.rglob("*")):
        is_data = path.name.startswith("predictions.") or path.parent.name == "parts"
        if path.is_file() and not is_data:
            yield str(path), path.read_text(encoding="utf-8", errors="backslashreplace")


@pytest.fixture
def search(run_batchscore, telling: Path, tmp_path: Path):
    """Runs a command and looks for the secrets in all that it says and leaves."""

    def run(command: str, *words: str, code: int, **environment: str) -> str:
        out = tmp_path / "out"
        common = () if command == "show" else ("-m", str(telling), "-i", str(tmp_path / "data"), "-o", str(out))
        result = run_batchscore(command, *common, *words, env={**ENVIRONMENT, **environment})
        assert result.returncode == code, result.stderr
        said = [("stdout", result.stdout), ("stderr", result.stderr), *written_in(out)]
        found = [(where, secret) for where, text in said for secret in SECRETS if secret in text]
        assert not found, next(text for where, text in said if where == found[0][0])
        return result.stdout + result.stderr

    return run


LINKS = (
    "--param",
    "link=https://host.example/?sig=plants-param",
    "--add",
    "link=https://h.example?sig=plants-constant",
)


def test_no_secret_of_a_job_is_written_or_said(search, tmp_path: Path) -> None:
    """Neither by a model that raises, that dies or that can't be loaded, nor by what looks at the job."""
    (tmp_path / "data").mkdir()
    for name in "012":
        (tmp_path / f"data/{name}.csv").write_text(f"x\n{name}\n")
    given = ("--environment-variable", "GIVEN_TOKEN=given-by-option", *LINKS, "--max-retries", "1", "--workers", "1")
    text = search("run", *given, code=1)
    assert "no luck" not in text
    assert "To publish what was scored, which takes seconds (put the secrets back" in text
    assert "GIVEN_TOKEN" not in text
    assert len((tmp_path / "out/failures.jsonl").read_text().splitlines()) == 2
    assert "PLANTED_KEY" in (tmp_path / "out/failures.jsonl").read_text()
    assert "Failed" in search("show", str(tmp_path / "out"), code=0)
    search("show", str(tmp_path / "out"), "--json", code=0)
    search("validate", *given, code=1)
    search("validate", *given, "--json", code=1)
    search("run", *given, "--error-threshold", "-1", "--json", "--logging-level", "debug", code=0)


def test_nor_of_one_whose_model_cannot_be_loaded(search, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/0.csv").write_text("x\n0\n")
    assert "no luck" in search("run", *LINKS, "--overwrite", code=3, FAIL="1")
    assert "no luck" in search("validate", *LINKS, code=1, FAIL="1")


@pytest.mark.parametrize(
    "words",
    [
        ["-m", ADDRESS],
        ["-i", ADDRESS.replace("https", "ftp")],
        ["-o", ADDRESS],
        ["--environment-variable", "given-by-option"],
        ["--param", f"nothing={ADDRESS}"],
        ["--model-digest", ADDRESS],
        ["--python", ADDRESS],
        ["--keep", ADDRESS],
        ["--output-file-name", ADDRESS],
        ["--mini-batch-size", ADDRESS],
        ["--workers", ADDRESS],
        ["--date", ADDRESS],
        [f"--wrong={ADDRESS}"],
    ],
    ids=lambda words: words[0],
)
def test_nor_of_a_command_that_is_refused(search, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/0.csv").write_text("x\n0\n")
    search("run", *words, code=2)


def test_settings_with_secrets_in_them_are_told_apart_without_being_recorded() -> None:
    """Another secret is another job."""
    from batchscore.job import Job

    def settings(secret: str) -> str:
        link = f"https://host.example/?sig={secret}"
        job = Job(model="m", inputs=("i",), output="o", params=(("link", link),), add=(("link", link),))
        return json.dumps(job.shaping())

    one, other = settings("plants-param"), settings("plants-constant")
    assert one != other
    assert one == settings("plants-param")
    assert "plants" not in one + other
    assert "secret" not in repr(Job(model="m", inputs=("i",), output="o", environment=(("K", "secret"),)))
