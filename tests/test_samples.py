"""sample_data/: what it says of itself, and the demo."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, SAMPLE_DATA

STAMPS = ("python_version", "mlflow_version", "sklearn_version", "cloudpickle_version", "model_size_bytes")


def test_sample_data_is_small():
    files = [path for path in SAMPLE_DATA.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_no_file_of_the_samples_names_the_machine_that_made_it():
    for path in (path for path in SAMPLE_DATA.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        for trace in (str(ROOT), f"{Path.home()}/", "/tmp/"):
            assert trace.encode() not in content, path


def test_the_models_state_what_they_need(sample_models):
    for folder in sample_models.iterdir():
        requirements = (folder / "requirements.txt").read_text().split()
        assert all("==" in line for line in requirements), folder
        assert yaml.safe_load((folder / "MLmodel").read_text())["signature"], folder


@pytest.fixture(scope="module")
def made_again(tmp_path_factory, sample_models, clean_environment):
    del sample_models  # skips with an old scikit-learn
    folder = tmp_path_factory.mktemp("samples")
    subprocess.run([sys.executable, SAMPLE_DATA / "make.py", folder], env=clean_environment, check=True, timeout=120)
    return folder


def test_make_gives_the_same_files(made_again):
    """Every data file and model can be made again, and only the notes and scripts are written by hand."""
    made = {str(path.relative_to(made_again)) for path in made_again.rglob("*") if path.is_file()}
    kept = {
        str(path.relative_to(SAMPLE_DATA))
        for path in SAMPLE_DATA.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert kept - made == {"README.md", "demo.sh", "make.py", "wine_label.py"}
    assert made - kept == set()


def test_make_gives_the_same_data(made_again):
    for path in made_again.rglob("*.csv"):
        assert path.read_bytes() == (SAMPLE_DATA / path.relative_to(made_again)).read_bytes(), path
    for path in made_again.rglob("*.parquet"):
        kept = pq.ParquetFile(SAMPLE_DATA / path.relative_to(made_again))
        made = pq.ParquetFile(path)
        assert made.num_row_groups == kept.num_row_groups, path
        assert made.read().equals(kept.read()), path


def test_make_gives_the_same_models(made_again, sample_models):
    for path in made_again.rglob("MLmodel"):
        kept = sample_models / path.parent.name / "MLmodel"
        assert without_stamps(yaml.safe_load(path.read_text())) == without_stamps(yaml.safe_load(kept.read_text()))


def without_stamps(record):
    """An MLmodel record without the versions of the environment that it was made in."""
    if not isinstance(record, dict):
        return record
    return {key: without_stamps(value) for key, value in record.items() if key not in STAMPS}


@pytest.mark.skipif(not (ROOT / "batchscore" / "cli.py").exists(), reason="batchscore.cli isn't there yet")
def test_the_demo_spoils_repairs_and_agrees_with_itself(tmp_path, clean_environment):
    shutil.copytree(SAMPLE_DATA, tmp_path / "sample_data", ignore=shutil.ignore_patterns("__pycache__"))
    command = tmp_path / "bin" / "batchscore"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchscore "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "sample_data" / "demo.sh"],
        env={**clean_environment, "PATH": f"{command.parent}:{clean_environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit code 1" in done.stdout
    assert '"value": "eleven"' in done.stdout
    assert done.stdout.endswith("identical\n")
