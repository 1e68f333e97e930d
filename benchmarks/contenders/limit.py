"""The hand-written limit: what two forked workers can do at most, without any fault handling.

One process imports MLflow and loads the model, forks the workers, and joins their parts; these take pieces of the
input in turn, read and write with Arrow, predict 65,536 rows at a time, and end without tearing the interpreter down.
MODEL INPUT OUTPUT, and the number of workers.
"""

from __future__ import annotations

import gc
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries start their threads
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # as batchscore's workers have it: quicker with Parquet
gc.disable()

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import mlflow.pyfunc
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
from mlflow.types import DataType

ROWS_PER_CALL = 65_536
LARGEST, SMALLEST, TASKS = 32 << 20, 1 << 20, 16
"""Bytes of a task at most and at least, and how many tasks there should be."""
NUMBER_BYTES = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a CSV, or row groups of a Parquet file: from start to stop."""

    path: Path
    start: int
    stop: int


Task: TypeAlias = list[Piece]
Columns: TypeAlias = dict[str, pa.DataType]


def main(model_path: str, source: Path, target: Path, workers: int) -> None:
    model = mlflow.pyfunc.load_model(model_path)
    _use_one_thread(model)
    files = sorted(path for path in source.rglob("*.*") if path.is_file())
    tasks = list(_tasks(files))
    target.mkdir(parents=True)
    suffix = files[0].suffix
    parts = [target / f"part-{number}{suffix}" for number in range(len(tasks))]
    types = {DataType.double: pa.float64(), DataType.string: pa.string()}
    columns = {column.name: types[column.type] for column in model.metadata.get_input_schema()}
    read_end, write_end = os.pipe()
    gc.freeze()
    children = []
    for _ in range(workers):
        child = os.fork()
        if not child:
            os.close(write_end)
            while number := os.read(read_end, NUMBER_BYTES):
                task = int.from_bytes(number, "big")
                _score(model, columns, tasks[task], parts[task])
            os._exit(0)
        children.append(child)
    for task in range(len(tasks)):
        os.write(write_end, task.to_bytes(NUMBER_BYTES, "big"))
    os.close(write_end)
    for child in children:
        if os.waitpid(child, 0)[1]:
            sys.exit("a worker failed")
    (_join_parquet if suffix == ".parquet" else _join_csv)(parts, target / f"predictions{suffix}")
    sys.stdout.flush()
    os._exit(0)


def _use_one_thread(model: Any) -> None:
    pa.set_cpu_count(1)
    pd.set_option("future.infer_string", False)  # scikit-learn takes Python strings faster than pandas' own
    try:
        raw = model.get_raw_model()
    except Exception:  # noqa: BLE001  # a Python model has none
        return
    if hasattr(raw, "n_jobs"):
        raw.n_jobs = 1


def _tasks(files: list[Path]) -> Iterator[Task]:
    """Pieces of about one size, small files together."""
    total = sum(path.stat().st_size for path in files)
    size = min(max(total // TASKS, SMALLEST), LARGEST)
    task: Task = []
    weight = 0
    for path in files:
        file_size = path.stat().st_size
        if task and weight + file_size > size:
            yield task
            task, weight = [], 0
        if file_size > size:
            cut = _cut_parquet if path.suffix == ".parquet" else _cut_csv
            yield from ([piece] for piece in cut(path, file_size, size))
        else:
            task.append(Piece(path, 0, -1))
            weight += file_size
    if task:
        yield task


def _cut_csv(path: Path, file_size: int, size: int) -> Iterator[Piece]:
    """At line ends: no field of this data has one in quotes."""
    with path.open("rb") as file:
        start = 0
        while start < file_size:
            file.seek(min(start + size, file_size))
            file.readline()
            stop = file.tell()
            yield Piece(path, start, stop)
            start = stop


def _cut_parquet(path: Path, file_size: int, size: int) -> Iterator[Piece]:
    groups = pq.read_metadata(path).num_row_groups
    each = max(1, groups * size // file_size)
    yield from (Piece(path, start, min(start + each, groups)) for start in range(0, groups, each))


def _score(model: Any, columns: Columns, task: Task, part: Path) -> None:
    read = _parquet_batches if part.suffix == ".parquet" else _csv_batches
    batches = (batch for piece in task for batch in read(piece, columns))
    calls = batches if len(task) == 1 else _together(batches)
    answers = [pa.array(model.predict(batch.to_pandas())) for batch in calls]
    table = pa.table({"prediction": pa.chunked_array(answers)})
    if part.suffix == ".parquet":
        pq.write_table(table, part, use_dictionary=False)
    else:
        pv.write_csv(table, part, pv.WriteOptions(include_header=False))


def _together(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Rows of small files in calls of full size."""
    table = pa.concat_tables(batches)
    yield from (table.slice(start, ROWS_PER_CALL) for start in range(0, len(table), ROWS_PER_CALL))


def _csv_batches(piece: Piece, columns: Columns) -> Iterator[pa.Table]:
    with piece.path.open("rb") as file:
        names = file.readline().rstrip().decode().replace('"', "").split(",")
        start = max(piece.start, file.tell())
        file.seek(start)
        content = file.read(piece.stop - start if piece.stop >= 0 else -1)
    table = pv.read_csv(
        pa.BufferReader(content),
        pv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 20),
        convert_options=pv.ConvertOptions(include_columns=list(columns), column_types=columns),
    )
    yield from (table.slice(start, ROWS_PER_CALL) for start in range(0, len(table), ROWS_PER_CALL))


def _parquet_batches(piece: Piece, columns: Columns) -> Iterator[pa.Table]:
    file = pq.ParquetFile(piece.path, pre_buffer=False, buffer_size=1 << 20)
    groups = range(piece.start, piece.stop if piece.stop >= 0 else file.num_row_groups)
    for batch in file.iter_batches(ROWS_PER_CALL, groups, list(columns), use_threads=False):
        yield pa.Table.from_batches([batch])


def _join_csv(parts: list[Path], target: Path) -> None:
    with target.open("wb") as joined:
        joined.write(b"prediction\n")
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)
            part.unlink()


def _join_parquet(parts: list[Path], target: Path) -> None:
    with pq.ParquetWriter(target, pq.read_schema(parts[0]), use_dictionary=False) as joined:
        for part in parts:
            joined.write_table(pq.read_table(part, use_threads=False))
            part.unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
