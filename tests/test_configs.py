"""configs/: each example deployment runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, RunBatchscore

from batchscore.azure import read_deployment

CONFIGS = ROOT / "configs"
DEPLOYMENTS = sorted(CONFIGS.glob("*/deployment*.yml"))
COMMANDS = re.findall(r"^batchscore (run .+)$", (CONFIGS / "README.md").read_text(), re.MULTILINE)


def test_every_sample_model_has_a_deployment_and_every_deployment_a_line(sample_data: Path) -> None:
    models = {Path(read_deployment(str(file)).model.path).name for file in DEPLOYMENTS}
    assert models == {folder.name for folder in (sample_data / "models").iterdir()}
    listed = re.findall(r"^\| `(.+?)`", (CONFIGS / "README.md").read_text(), re.MULTILINE)
    assert {CONFIGS / name for name in listed} == {*DEPLOYMENTS, *CONFIGS.glob("*/endpoint.yml")}


def test_both_styles_a_script_and_an_endpoint_are_shown() -> None:
    found = [read_deployment(str(file)) for file in DEPLOYMENTS]
    assert {each.style for each in found} == {"settings", "root"}
    assert any(each.code_configuration for each in found)
    assert read_deployment(str(CONFIGS / "breast-cancer" / "endpoint.yml")).name == "forest"


@pytest.mark.usefixtures("sample_models")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split("/")[1])
def test_each_command_of_its_readme_runs(run_batchscore: RunBatchscore, tmp_path: Path, command: str) -> None:
    words = shlex.split(command)
    words[words.index("-o") + 1] = str(tmp_path / "out")
    done = run_batchscore(*words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Completed")
    name = re.search(r"to (\S+)$", done.stdout.strip())[1]
    wines = {"sep": " ", "header": None} if "wine" in command else {}
    rows = {"breast-cancer": 569, "iris": 150, "diabetes": 442, "wine": 178}[command.split("/")[1]]
    header = "infer" if "--layout table" in command else None
    assert len(pd.read_csv(tmp_path / "out" / name, **{"header": header, **wines})) == rows


@pytest.mark.usefixtures("sample_models")
def test_an_endpoints_other_deployment_runs_by_its_name(run_batchscore: RunBatchscore, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("size,radius,texture,smoothness,concavity\nsmall,eleven,1,1,1\n")
    command = ("run", "-f", "configs/breast-cancer/endpoint.yml", "-o", tmp_path / "out", "-i", bad)
    done = run_batchscore(*command, "sample_data/breast_cancer", "--deployment-name", "forest-strict", cwd=ROOT)
    assert done.returncode == 1, done.stderr
    assert "Failed: stopped early: 1 file failed" in done.stdout


@pytest.mark.usefixtures("sample_models")
def test_the_scoring_script_sees_its_model_its_files_and_its_variables(
    run_batchscore: RunBatchscore, sample_data: Path, tmp_path: Path
) -> None:
    done = run_batchscore(
        "run", "-f", CONFIGS / "wine/deployment.yml", "-i", sample_data / "wine", "-o", tmp_path / "o"
    )
    assert done.returncode == 0, done.stderr
    columns = ["id", "label", "grams", "file"]
    frame = pd.read_csv(tmp_path / "o/labels.csv", sep=" ", header=None, names=columns)
    wines = pd.read_csv(sample_data / "wine" / "wine.csv")
    assert frame["id"].tolist() == wines["id"].tolist()
    assert (frame["label"] == "strong").tolist() == (wines["alcohol"] >= 14).tolist()
    assert set(frame["file"]) == {"wine.csv"}
