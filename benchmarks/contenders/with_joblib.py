"""joblib over files: each process loads the model once and writes a part a file. MODEL INPUT OUTPUT, workers."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import joblib


@functools.cache
def _model(path: str) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(path)


def _score(model_path: str, path: Path, part: Path) -> None:
    import pandas as pd

    is_parquet = path.suffix == ".parquet"
    frame = pd.read_parquet(path) if is_parquet else pd.read_csv(path)
    answer = pd.DataFrame({"prediction": _model(model_path).predict(frame)})
    if is_parquet:
        answer.to_parquet(part)
    else:
        answer.to_csv(part, index=False)


def main(model_path: str, source: Path, target: Path, workers: int) -> None:
    files = sorted(path for path in source.rglob("*.*") if path.is_file())
    target.mkdir(parents=True)
    joblib.Parallel(n_jobs=workers)(
        joblib.delayed(_score)(model_path, path, target / f"part-{number:05d}{path.suffix}")
        for number, path in enumerate(files)
    )


if __name__ == "__main__":
    from with_joblib import main as main_of_module  # the processes that joblib starts find what it has by name

    main_of_module(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
