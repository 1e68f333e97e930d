"""What --python may name, and what is said of what it may not."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest

from batchscore.errors import ModelLoadError, UsageError
from batchscore.interpreter import check_interpreter
from batchscore.job import Job


def check(python: str | Path) -> None:
    check_interpreter(Job(model="m", inputs=("i",), output="o", python=str(python)))


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_with_what_the_workers_need_is_taken(tmp_path: Path) -> None:
    check(sys.executable)
    chatty = script(tmp_path / "python", f'echo "welcome"; exec "{sys.executable}" "$@"')
    check(chatty)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit 0", "isn't a Python interpreter: asked for its version, it said nothing"),
        ("echo usage: sh [FILE]; exit 2", "it said 'usage: sh [FILE]'"),
        ("echo Python 2.7", "is Python 2.7; the workers need Python 3.10 or later"),
        ("echo Python 3.9", "is Python 3.9; the workers need Python 3.10 or later"),
    ],
)
def test_what_is_no_python_or_an_old_one_is_wrong_use(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check(script(tmp_path / "python", text))
    assert message in str(caught.value)
    assert str(tmp_path / "python") in str(caught.value)


def test_what_isnt_there_or_cant_be_started_is_wrong_use(tmp_path: Path) -> None:
    for python in (tmp_path / "none", tmp_path, Path(__file__)):
        with pytest.raises(UsageError, match="can't be started: .*give the path of an interpreter"):
            check(python)


def test_the_folder_of_an_environment_is_corrected(tmp_path: Path) -> None:
    (tmp_path / "env/bin").mkdir(parents=True)
    script(tmp_path / "env/bin/python", "exit 0")
    with pytest.raises(UsageError, match="did you mean .*env/bin/python"):
        check(tmp_path / "env")


def test_an_environment_without_mlflow_and_pandas_says_what_to_install(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env/bin/python"
    with pytest.raises(ModelLoadError, match="lacks mlflow-skinny, pandas, pyarrow") as caught:
        check(python)
    assert f'"{python}" -m pip install mlflow-skinny pandas pyarrow' in str(caught.value)
