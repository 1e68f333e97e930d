"""The plain loop: one process, each file read, predicted and written with pandas. MODEL INPUT OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow.pyfunc
import pandas as pd


def main(model_path: str, source: Path, target: Path) -> None:
    model = mlflow.pyfunc.load_model(model_path)
    files = sorted(path for path in source.rglob("*.*") if path.is_file())
    target.mkdir(parents=True)
    if files[0].suffix == ".parquet":
        answers = [model.predict(pd.read_parquet(path)) for path in files]
        pd.DataFrame({"prediction": pd.concat(map(pd.Series, answers))}).to_parquet(
            target / "predictions.parquet", index=False
        )
        return
    with (target / "predictions.csv").open("w") as file:
        for path in files:
            answer = pd.DataFrame({"prediction": model.predict(pd.read_csv(path))})
            answer.to_csv(file, index=False, header=path == files[0])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
