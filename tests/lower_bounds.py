"""Runs the tests with the lowest versions that pyproject.toml admits, in an environment of its own.

Needs Python 3.10 or 3.11, for which those versions have wheels; says so and leaves it at that where neither is found.
`lowest-3.10.txt` and `lowest-3.11.txt` pin the environments. Arguments go to pytest.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-lowest"
VERSIONS = ("3.10", "3.11")
LEFT_OUT = {
    "test_benchmarks.py": "of the repository",
    "test_docs.py": "of the repository",
    "test_from_azure_ml.py": "of the repository",
    "test_layers.py": "of the repository",
    "test_samples.py": "of the repository",
    "test_wheel.py": "makes this environment itself, and runs a whole job in it",
    "test_runner.py": "minutes of whole jobs, whose parts are tested here one by one",
    "test_bad_input.py": "minutes of the command line, whose words click chooses by its version",
    **dict.fromkeys(
        (
            "test_attempts.py",
            "test_component.py",
            "test_configs.py",
            "test_deploying.py",
            "test_environments.py",
            "test_faults.py",
            "test_flavours.py",
            "test_grace.py",
            "test_joblog.py",
            "test_kills.py",
            "test_layout_azure.py",
            "test_memory.py",
            "test_provisioning.py",
            "test_quarantine.py",
            "test_resuming.py",
            "test_scheduling.py",
            "test_secrets.py",
            "test_semantics.py",
            "test_showing.py",
            "test_storage_faults.py",
            "test_threads.py",
            "test_trust.py",
            "test_validation.py",
            "test_work_dir.py",
            "test_worker_start.py",
        ),
        "minutes of whole jobs and of what surrounds them; what runs beside the model is tested here by itself",
    ),
}
"""Test modules and why they don't run here."""
DESELECTED = {
    "test_cli.py::test_a_misspelt_command_is_corrected": "click corrects commands from 8.4 on",
    "test_cli.py::test_wrong_use_exits_2_with_one_message_and_leaves_nothing[arguments0": "click 8.4 words it so",
}
"""Tests and why they don't run here."""


def interpreter() -> tuple[str, str] | None:
    """The first interpreter of a usable version that runs, as (version, path)."""
    for version in VERSIONS:
        installed = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"))  # noqa: PTH207, PTH111  # sorted text
        for path in [sys.executable, shutil.which(f"python{version}"), *sorted(installed)]:
            if path and _version_of(path) == version:
                return version, path
    return None


def _version_of(path: str) -> str:
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def build(version: str, path: str) -> Path:
    """Makes the environment, or brings it to its pinned state, and returns its interpreter."""
    python = ENVIRONMENT / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    if not python.exists() or _version_of(str(python)) != version:
        subprocess.run([*uv, "venv", "--clear", "--python", path, str(ENVIRONMENT)], check=True)
    pins = ROOT / "tests" / f"lowest-{version}.txt"
    subprocess.run([*uv, "pip", "sync", "--python", str(python), str(pins)], check=True)
    subprocess.run([*uv, "pip", "install", "--python", str(python), "--no-deps", "--editable", str(ROOT)], check=True)
    subprocess.run([*uv, "pip", "check", "--python", str(python)], check=True)
    return python


def main() -> int:
    found = interpreter()
    if found is None:
        print(f"test-lower: skipped, found none of Python {' and '.join(VERSIONS)} (python3.10 or python3.11 on PATH)")
        return 0
    python = build(*found)
    print(f"test-lower: Python {found[0]} with the versions of tests/lowest-{found[0]}.txt", flush=True)
    left_out = [f"--ignore=tests/{name}" for name in LEFT_OUT]
    deselected = [f"--deselect=tests/{name}" for name in DESELECTED]
    command = [
        str(python),
        "-m",
        "pytest",
        "--numprocesses",
        "auto",
        "--dist",
        "loadfile",
        "-m",
        "not slow",
        *left_out,
        *deselected,
        *sys.argv[1:],
    ]
    environment = {"FUZZED_INPUTS": "100", **os.environ}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
