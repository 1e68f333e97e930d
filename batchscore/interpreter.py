"""The interpreter that --python names: whether it is one, and has what the workers need."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from batchscore.child import WorkerSpec
from batchscore.errors import ModelLoadError, UsageError
from batchscore.job import Job

NEEDED = {"mlflow": "mlflow-skinny", "pandas": "pandas", "pyarrow": "pyarrow"}
"""Modules and the packages that bring them."""
OLDEST = (3, 10)
PATIENCE = 60.0
"""Seconds for an answer; a first start from a slow disk takes some."""

# Any Python from 2.6 on understands it.
_PROBE = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
print("Python %d.%d" % sys.version_info[:2])
if sys.version_info >= (3, 10):
    import importlib.util
    print(" ".join(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""


def check_interpreter(job: Job) -> None:
    """Refuse an interpreter that no model could be loaded in; the running one needs no look.

    Raises UsageError where it is no Python or too old, ModelLoadError where it lacks what the workers need.
    """
    if job.python in {None, sys.executable}:
        return
    needed = _needed(job)
    spec = WorkerSpec({}, python=str(job.python), environment=job.environment)
    name = f"--python {spec.python}"
    answer = _answer(spec, name, needed)
    found = re.search(r"^Python (\d+)\.(\d+)\n(.*)", answer, re.MULTILINE)  # site packages may print, too
    if not found:
        raise UsageError(f"{name} isn't a Python interpreter{_said(answer)}{_nearby(spec.python)}")
    version = int(found[1]), int(found[2])
    if version < OLDEST:
        raise UsageError(f"{name} is Python {found[1]}.{found[2]}; the workers need Python 3.10 or later")
    if missing := [needed[module] for module in found[3].split()]:
        raise ModelLoadError(
            f"{name} lacks {', '.join(missing)}; the workers need {', '.join(needed.values())} there, and the "
            f'model its own libraries. Install what is missing: "{spec.python}" -m pip install {" ".join(missing)}'
        )


def _needed(job: Job) -> Mapping[str, str]:
    """What the workers import; a scoring script's only what the script itself does, unless a table is made of it."""
    if job.script is None:
        return NEEDED
    is_text = job.layout == "azure" or job.output_action == "summary_only"
    return {} if is_text else {name: package for name, package in NEEDED.items() if name != "mlflow"}


def _answer(spec: WorkerSpec, name: str, needed: Iterable[str]) -> str:
    """What it answers to the question for its version and for the modules that it lacks."""
    command = [spec.python, "-c", _PROBE, *needed]
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=spec.variables(),
            timeout=PATIENCE,
            check=False,
        )
    except OSError as error:
        raise UsageError(f"{name} can't be started: {error.strerror}{_nearby(spec.python)}") from error
    except subprocess.TimeoutExpired:
        raise UsageError(f"{name} isn't a Python interpreter: no answer within {PATIENCE:g} s") from None
    return answer.stdout.decode("utf-8", "replace")


def _said(answer: str) -> str:
    """The end of what it said, on one line."""
    lines = answer.strip().splitlines()
    return (
        f": asked for its version, it said {lines[-1][:200]!r}" if lines else ": asked for its version, it said nothing"
    )


def _nearby(python: str) -> str:
    """The interpreter in the folder of an environment, if that is what was named."""
    inside = Path(python, "bin", "python")
    return (
        f"; did you mean {inside}?" if inside.exists() else "; give the path of an interpreter, such as env/bin/python"
    )
