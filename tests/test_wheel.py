"""The wheel: what it holds, and that it runs where nothing else of the repository is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLE_DATA
from lower_bounds import interpreter

pytestmark = pytest.mark.slow
UV = [sys.executable, "-m", "uv", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*UV, "build", "--wheel", "--out-dir", folder, ROOT], check=True, timeout=120)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_its_licence_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "batchscore/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"batchscore"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "batchscore").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources


@pytest.mark.parametrize("versions", ["newest", "lowest"])
def test_the_wheel_installs_and_scores(wheel, versions, tmp_path, clean_environment):
    """In an empty environment with the newest libraries, and in one with the oldest, on an old Python."""
    pins = ROOT / "constraints.txt"
    path = sys.executable
    if versions == "lowest":
        found = interpreter()
        if found is None:
            pytest.skip("there is neither Python 3.10 nor 3.11")
        pins = ROOT / "tests" / f"lowest-{found[0]}.txt"
        path = found[1]
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([*UV, "venv", "--python", path, python.parent.parent], check=True, timeout=60)
    install = [*UV, "pip", "install", "--python", python, "--constraint", pins, wheel]
    subprocess.run(install, check=True, timeout=300)

    environment = {name: value for name, value in clean_environment.items() if name != "PYTHONPATH"}
    run = {"cwd": tmp_path, "env": environment, "text": True, "timeout": 120}
    if not (ROOT / "batchscore" / "cli.py").exists():
        subprocess.run([python, "-c", "import batchscore"], check=True, **run)
        pytest.skip("batchscore.cli isn't there yet")
    model, inputs = SAMPLE_DATA / "models" / "wine_label", SAMPLE_DATA / "wine"
    command = [python.parent / "batchscore", "run", "-m", model, "-i", inputs, "-o", "out", "--keep", "id"]
    done = subprocess.run(command, check=False, capture_output=True, **run)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert lines[0] == "file,row,id,label,alcohol_grams"
    assert len(lines) == 1 + 178
