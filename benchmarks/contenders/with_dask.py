"""Dask: map_partitions on two processes of one thread each. MODEL INPUT OUTPUT, workers."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
from dask.distributed import Client, LocalCluster


@functools.cache
def _model(path: str) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(path)


def predicted(frame: pd.DataFrame, model_path: str) -> pd.DataFrame:
    return pd.DataFrame({"prediction": _model(model_path).predict(frame)})


def main(model_path: str, source: Path, target: Path, workers: int) -> None:
    paths = sorted(map(str, source.rglob("*.*")))
    is_parquet = paths[0].endswith(".parquet")
    cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster):
        frame = dd.read_parquet(paths) if is_parquet else dd.read_csv(paths)
        answer = frame.map_partitions(predicted, model_path, meta={"prediction": "float64"})
        if is_parquet:
            answer.to_parquet(target, write_index=False)
        else:
            answer.to_csv(str(target / "part-*.csv"), index=False, name_function="{:06d}".format)


if __name__ == "__main__":
    from with_dask import main as main_of_module  # the workers find its functions by name

    main_of_module(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
