"""Daft: a stateful UDF in two processes. MODEL INPUT OUTPUT, workers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import daft


class Model:
    """Loaded once a process."""

    def __init__(self, path: str) -> None:
        import mlflow.pyfunc

        self._model = mlflow.pyfunc.load_model(path)
        self._columns = self._model.metadata.get_input_schema().input_names()

    def __call__(self, *columns: daft.Series) -> Any:
        import pandas as pd
        import pyarrow as pa

        arrays = [column.to_arrow() for column in columns]
        frame = pa.table(dict(zip(self._columns, arrays, strict=True))).to_pandas()
        return pa.array(pd.Series(self._model.predict(frame)))


def main(model_path: str, source: Path, target: Path, workers: int) -> None:
    paths = sorted(map(str, source.rglob("*.*")))
    is_parquet = paths[0].endswith(".parquet")
    frame = daft.read_parquet(paths) if is_parquet else daft.read_csv(paths)
    udf = daft.udf(return_dtype=daft.DataType.float64(), batch_size=65_536, concurrency=workers, use_process=True)
    predict = udf(Model).with_init_args(path=model_path)
    answer = frame.select(predict(*(daft.col(name) for name in frame.column_names)).alias("prediction"))
    if is_parquet:
        answer.write_parquet(str(target))
    else:
        answer.write_csv(str(target))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
