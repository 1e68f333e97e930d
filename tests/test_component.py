"""configs/azureml: its command, run as Azure runs it, and its files as Azure's client reads them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from conftest import ROOT, AskAzure, PlainStore, RunBatchscore

from batchscore.cli import main_group

FOLDER = ROOT / "configs" / "azureml"
COMPONENT = yaml.safe_load((FOLDER / "component.yml").read_text())
PIPELINE = yaml.safe_load((FOLDER / "pipeline.yml").read_text())
INPUTS: dict[str, dict[str, Any]] = COMPONENT["inputs"]

NOT_INPUTS = {
    "inputs": "the input `data`", "output": "the output `score`", "more_inputs": "one folder is scored",
    "file": "for deployments", "deployment_name": "for deployments", "overrides": "for deployments",
    "model_store": "for deployments", "max_concurrency_per_instance": "workers", "instance_count": "workers",
    "output_action": "for scoring scripts", "env_manager": "the image is the environment", "date": "folders are given",
    "output_file_name": "`predictions` names the file", "output_files": "`predictions` is one file",
    "missing_values": "a default set of many", "python": "the image has one",
    "storage_options": "inputs are mounted", "break_lock": "the work is the job's own",
    "environment": "Azure's jobs have environment_variables", "as_json": "job.json is in `score`", "quiet": "for a log",
}  # fmt: skip
"""The parameters of `batchscore run` that the component hasn't got, and why."""
OTHER_NAMES = {"format_": "format", "params": "param"}


def as_azure_runs(given: Mapping[str, Any], outputs: Mapping[str, Path]) -> str:
    """The component's command with its inputs and outputs: defaults filled, optional parts without a value dropped."""
    defaults = {name: spec["default"] for name, spec in INPUTS.items() if "default" in spec}
    values = {name: value for name, value in {**defaults, **given}.items() if value is not None}
    assert values.keys() <= INPUTS.keys()
    assert not [name for name, spec in INPUTS.items() if not spec.get("optional") and name not in values]

    def optional(part: re.Match[str]) -> str:
        return part[1] if all(name in values for name in re.findall(r"\$\{\{inputs\.(\w+)\}\}", part[1])) else ""

    places = {f"inputs.{name}": str(value) for name, value in values.items()}  # a boolean as True or False
    places |= {f"outputs.{name}": str(path) for name, path in outputs.items()}
    kept = re.sub(r"\$\[\[(.*?)\]\]", optional, COMPONENT["command"])
    return re.sub(r"\$\{\{(.+?)\}\}", lambda place: places[place[1]], kept)


@dataclass(frozen=True)
class Step:
    """A step that has ended."""

    process: subprocess.CompletedProcess[str]
    score: Path
    predictions: Path
    refusals: list[str]


RunStep = Callable[..., Step]


@pytest.fixture
def run_step(tmp_path: Path, clean_environment: Mapping[str, str], plain_store: PlainStore) -> RunStep:
    """Runs the component on a node whose inputs may only be read and whose outputs are a store of whole files."""
    command = tmp_path / "bin" / "batchscore"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchscore "$@"\n')
    command.chmod(0o755)

    def run(**given: Any) -> Step:
        mount = tmp_path / "mount"
        outputs = {"score": mount / "score", "predictions": mount / "named" / "predictions"}
        outputs["score"].mkdir(parents=True, exist_ok=True)
        outputs["predictions"].parent.mkdir(exist_ok=True)
        process = subprocess.run(
            ["bash", "-c", as_azure_runs({"work_dir": tmp_path / "work", **given}, outputs)],
            env={
                **clean_environment,
                **plain_store(mount, read_only=Path(given["data"])),
                "PATH": f"{command.parent}:{clean_environment['PATH']}",
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        log = Path(f"{mount}.log")
        return Step(process, **outputs, refusals=log.read_text().splitlines() if log.exists() else [])

    return run


def test_the_step_gives_the_predictions_of_a_plain_run(
    run_step: RunStep, run_batchscore: RunBatchscore, sample_data: Path, sample_models: Path, tmp_path: Path
) -> None:
    inputs = {"model": sample_models / "breast_cancer", "data": sample_data / "breast_cancer"}
    step = run_step(**inputs)
    assert step.process.returncode == 0, step.process.stderr
    run_batchscore("run", "-m", inputs["model"], "-i", inputs["data"], "-o", tmp_path / "plain")
    expected = (tmp_path / "plain" / "predictions.csv").read_bytes()
    assert step.predictions.read_bytes() == (step.score / "predictions.csv").read_bytes() == expected
    assert sorted(os.listdir(step.score)) == ["job.json", "logs", "predictions.csv"]
    assert json.loads((step.score / "job.json").read_text())["status"] == "Completed"
    assert step.refusals == [f"rename-across {step.score}/{name}" for name in ("predictions.csv", "job.json")]
    assert step.process.stdout == "Completed: 569 of 569 rows from 5 files scored, to predictions.csv\n"
    assert step.process.stderr == "5 files in 3 folders, 0 skipped\n"
    assert not (tmp_path / "work").exists()


def test_every_setting_reaches_batchscore(
    run_step: RunStep, run_batchscore: RunBatchscore, sample_data: Path, sample_models: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for part in (sample_data / "breast_cancer").rglob("*.csv"):
        (data / part.name).write_text(part.read_text().replace(",", ";").replace("radius", "r"))
    (data / "broken.csv").write_text("nothing\n1\n")
    (data / "left-out.csv").write_text("nothing\n1\n")
    text = 'a b;c "d" $HOME `e` \\'
    step = run_step(
        model=sample_models / "breast_cancer", data=data, include="part-*\nbroken.csv", exclude="part-4.csv",
        limit=300, allow_empty=True, delimiter=";", encoding="latin-1", no_header=False, predict_fn="predict_proba",
        rename="r=radius", format="jsonl", keep="id", add=f"text={text}\nrun=7", layout="table", overwrite=False,
        mini_batch_size="2", rows_per_call=100, workers=1, threads_per_worker=2, timeout=30.5, max_retries=1,
        error_threshold=1, fail_fast=True, logging_level="warning",
    )  # fmt: skip
    assert step.process.returncode == 0, step.process.stderr
    run_batchscore(
        "run", "-m", sample_models / "breast_cancer", "-i", data, "-o", tmp_path / "plain", "--include", "part-*",
        "--include", "broken.csv", "--exclude", "part-4.csv", "--limit", "300", "--delimiter", ";", "--encoding",
        "latin-1", "--predict-fn", "predict_proba", "--rename", "r=radius", "--format", "jsonl", "--keep", "id",
        "--add", f"text={text}", "--add", "run=7", "--mini-batch-size", "2", "--rows-per-call", "100",
        "--threads-per-worker", "2", "--error-threshold", "1",
    )  # fmt: skip
    predictions = [json.loads(line) for line in step.predictions.read_text().splitlines()]
    expected = [json.loads(line) for line in (tmp_path / "plain" / "predictions.jsonl").read_text().splitlines()]
    assert predictions == [pytest.approx(row) for row in expected]  # two threads of BLAS differ in the last bits
    first = predictions[0]
    assert {"file", "row", "id", "text", "run", "probability_benign"} <= first.keys()
    assert first["text"] == text
    one, other = (json.loads((folder / "job.json").read_text()) for folder in (step.score, tmp_path / "plain"))
    assert one["identity"] == other["identity"]
    assert one["settings"].items() >= {"workers": 1, "timeout": 30.5, "max_retries": 1, "fail_fast": True}.items()
    assert one["counts"]["files_failed"] == 1
    assert "broken.csv" in (step.score / "failures.jsonl").read_text()


@pytest.mark.parametrize(("allow_empty", "code"), [(True, 0), (False, 2)])
def test_booleans_arrive_as_words(
    run_step: RunStep, sample_models: Path, tmp_path: Path, allow_empty: Any, code: int
) -> None:
    (tmp_path / "data").mkdir()
    step = run_step(model=sample_models / "breast_cancer", data=tmp_path / "data", allow_empty=allow_empty)
    assert step.process.returncode == code, step.process.stderr
    assert step.predictions.exists() == allow_empty


def test_a_failed_step_keeps_its_exit_code_and_says_why(run_step: RunStep, sample_models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broken.csv").write_text("nothing\n1\n")
    step = run_step(model=sample_models / "breast_cancer", data=tmp_path / "data")
    assert step.process.returncode == 1
    assert not step.predictions.exists()
    assert sorted(os.listdir(step.score)) == ["failures.jsonl", "job.json", "logs"]
    assert "broken.csv" in step.process.stderr


def test_the_inputs_are_the_options_of_run_with_their_defaults() -> None:
    parameters = {OTHER_NAMES.get(str(each.name), each.name): each for each in main_group.commands["run"].params}  # type: ignore[attr-defined]
    assert INPUTS.keys() - {"data"} == parameters.keys() - NOT_INPUTS.keys()
    assert NOT_INPUTS.keys() <= parameters.keys()
    for name, spec in INPUTS.items():
        is_flag = name != "data" and getattr(parameters[name], "is_flag", False)
        if "default" in spec and name not in {"overwrite", "work_dir", "format"}:  # a job on Azure has its own folders
            assert spec["default"] == (False if is_flag else parameters[name].default), name
        if name != "data" and isinstance(parameters[name].type, click.IntRange):
            assert spec["type"] == "integer", name
            assert spec["min"] == parameters[name].type.min, name  # type: ignore[union-attr]
        assert (spec["type"] == "boolean") == is_flag, name
        if name != "data" and isinstance(parameters[name].type, click.Choice):
            assert set(spec["enum"]) == set(parameters[name].type.choices), name  # type: ignore[union-attr]


def test_every_input_and_output_is_in_the_command_and_optional_ones_can_go() -> None:
    command = COMPONENT["command"]
    without = re.sub(r"\$\[\[.*?\]\]", "", command)
    for name, spec in INPUTS.items():
        place = f"${{{{inputs.{name}}}}}"
        assert place in command, name
        assert (place in without) != spec.get("optional", False), name
    for name in COMPONENT["outputs"]:
        assert f"${{{{outputs.{name}}}}}" in without, name


def test_the_pipeline_gives_inputs_that_are_there() -> None:
    step = PIPELINE["jobs"]["score"]
    assert step["inputs"].keys() <= INPUTS.keys()
    assert step["outputs"].keys() == COMPONENT["outputs"].keys() == PIPELINE["outputs"].keys()
    for spec in PIPELINE["inputs"].values():
        assert (FOLDER / spec["path"]).is_dir()


def test_the_image_has_what_the_sample_model_needs() -> None:
    needed = (ROOT / "sample_data/models/breast_cancer/requirements.txt").read_text().split()
    lines = (FOLDER / "environment/requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == needed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["component", "pipeline"])
def test_azures_client_takes_the_files_and_reads_every_key(ask_azure: AskAzure, kind: str) -> None:
    found = ask_azure(kind, FOLDER / f"{kind}.yml")
    assert found["accepted"], found["error"]
    assert found["unknown"] == []
    if kind == "component":
        read = found["read"]
        assert read["command"] == COMPONENT["command"]
        assert {name: _texts(spec) for name, spec in read["inputs"].items()} == {
            name: _texts(spec) for name, spec in INPUTS.items()
        }
        assert {name: spec["type"] for name, spec in read["outputs"].items()} == {
            "score": "uri_folder",
            "predictions": "uri_file",
        }


def _texts(spec: Mapping[str, Any]) -> dict[str, str]:
    """An input as it compares: the client writes its values as text, and numbers as fractions."""
    as_text = {key: str(value) for key, value in spec.items()}
    if spec["type"] == "number":
        as_text |= {key: str(float(spec[key])) for key in ("default", "min", "max") if key in spec}
    return as_text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("component", "is_deterministic:", "is_determinstic:"),
        ("component", "${{inputs.limit}}", "${{inputs.limits}}"),
        ("component", "type: uri_folder", "type: folder"),
        ("pipeline", "      data: ${{parent.inputs.data}}\n", ""),
        ("pipeline", "default_compute:", "compute:"),
    ],
)
def test_azures_client_would_tell(ask_azure: AskAzure, tmp_path: Path, kind: str, old: str, new: str) -> None:
    """What the test above rests on: a file with a mistake is refused, or has an unknown key."""
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment/Dockerfile").write_text("")
    for name in ("component", "pipeline"):
        text = (FOLDER / f"{name}.yml").read_text().replace("../../sample_data", str(ROOT / "sample_data"))
        assert name != kind or old in text
        (tmp_path / f"{name}.yml").write_text(text.replace(old, new) if name == kind else text)
    found = ask_azure(kind, tmp_path / f"{kind}.yml")
    assert not found["accepted"] or found["unknown"]
