"""Spark: MLflow's spark_udf on local[N]. MODEL INPUT OUTPUT, workers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mlflow.pyfunc
from mlflow.models import get_model_info
from mlflow.types import DataType
from pyspark.sql import SparkSession
from pyspark.sql.types import DoubleType, StringType, StructField, StructType


def main(model_path: str, source: Path, target: Path, workers: int) -> None:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{workers}]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "65536")
        .getOrCreate()
    )
    inputs = get_model_info(model_path).signature.inputs
    types = {DataType.double: DoubleType(), DataType.string: StringType()}
    schema = StructType([StructField(column.name, types[column.type]) for column in inputs])
    paths = sorted(map(str, source.rglob("*.*")))
    is_parquet = paths[0].endswith(".parquet")
    reader = spark.read.schema(schema)
    rows = reader.parquet(*paths) if is_parquet else reader.csv(paths, header=True)
    predict = mlflow.pyfunc.spark_udf(spark, model_path, result_type="double", env_manager="local")
    answer = rows.select(predict(*inputs.input_names()).alias("prediction")).write
    if is_parquet:
        answer.parquet(str(target))
    else:
        answer.csv(str(target), header=True)
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
