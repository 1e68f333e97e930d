"""Ray Data: map_batches with two actors. MODEL INPUT OUTPUT, workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import ray


class Model:
    """Loaded once an actor."""

    def __init__(self, path: str) -> None:
        import mlflow.pyfunc

        self._model = mlflow.pyfunc.load_model(path)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": self._model.predict(batch)})


def main(model_path: str, source: Path, target: Path, workers: int) -> None:
    ray.init(include_dashboard=False, log_to_driver=False)
    paths = sorted(map(str, source.rglob("*.*")))
    is_parquet = paths[0].endswith(".parquet")
    rows = ray.data.read_parquet(paths) if is_parquet else ray.data.read_csv(paths)
    answer = rows.map_batches(
        Model,
        fn_constructor_args=(model_path,),
        batch_size=65_536,
        batch_format="pandas",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=0.5,  # the tasks that read and write need cores too
    )
    if is_parquet:
        answer.write_parquet(str(target))
    else:
        answer.write_csv(str(target))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
