"""Who scores: batchscore, the hand-written limit, loops, and other tools in environments of their own.

Each script here takes a model, a folder of files and a folder for its answer, and knows nothing of the others.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to score."""

    name: str
    script: str = ""
    """Beside this module; empty for batchscore itself."""
    environment: str = ""
    """Which of benchmarks/environments it needs; empty for that of batchscore."""
    keeps_order: bool = True
    """Whether its predictions come in the order of the files' names and rows."""
    formats: tuple[str, ...] = ("csv", "parquet")
    source: Path = ROOT
    """The folder that holds batchscore's package."""
    most_files: int = 1_000
    """Beyond which it would take minutes."""

    def takes(self, case: Case) -> bool:
        return case.dataset.format in self.formats and case.dataset.files <= self.most_files

    def command(self, python: str, case: Case, folder: Path, output: Path) -> list[str]:
        """The command that scores the case, whose model and files are in the folder."""
        model, files = str(folder / "models" / case.model), str(case.dataset.path(folder))
        if self.script:
            return [python, str(HERE / self.script), model, files, str(output), str(cores())]
        form = ["--format", case.dataset.format]
        return [
            python,
            "-m",
            "batchscore",
            "run",
            "-m",
            model,
            "-i",
            files,
            "-o",
            str(output),
            "-q",
            *form,
            *case.options,
        ]

    def variables(self) -> dict[str, str]:
        """What its process has in its environment: nothing of the user's that could change what is measured."""
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME") if name in os.environ
        }
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
        path = {} if self.script else {"PYTHONPATH": str(self.source)}
        return {**kept, **quiet, **path}


ANY = 1_000_000
BATCHSCORE = Contender("batchscore", most_files=ANY)
LIMIT = Contender("limit", "limit.py", most_files=ANY)
LOOP = Contender("loop", "loop.py", most_files=ANY)
JOBLIB = Contender("joblib", "with_joblib.py", most_files=ANY)
HOUSE = [BATCHSCORE, LIMIT, LOOP, JOBLIB]
PEERS = [
    Contender("daft", "with_daft.py", "daft", keeps_order=False),
    Contender("dask", "with_dask.py", "dask"),
    Contender("mlflow", "with_mlflow.py", "mlflow", formats=("csv",)),
    Contender("ray", "with_ray.py", "ray", keeps_order=False),
    Contender("spark", "with_spark.py", "spark", keeps_order=False),
]


def chosen(names: str, *, with_peers: bool) -> list[Contender]:
    """The contenders of these names, separated by commas; all where there is none. Raises ValueError."""
    there = {each.name: each for each in [*HOUSE, *PEERS]}
    if not names:
        return [*HOUSE, *(PEERS if with_peers else [])]
    if unknown := [name for name in names.split(",") if name not in there]:
        raise ValueError(f"no contender is called {unknown[0]!r}: there are {', '.join(there)}")
    return [there[name] for name in names.split(",")]


DEFAULT_PYTHON = sys.executable
