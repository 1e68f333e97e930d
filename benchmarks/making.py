"""Makes the models and the files that are scored, each once: `python -m benchmarks.making FOLDER NAME…`.

It is a process of its own so that the one that measures stays small and without threads.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import COLUMNS, NUMBERS, WORDS, Dataset

ROWS_AT_ONCE = 100_000
ROWS_PER_GROUP = 122_880
"""Of a Parquet file: as DuckDB writes them."""
GZIP_LEVEL = 1
"""Quick to make; reading takes about the same for all."""
TRAINING_ROWS = 50_000
FOREST_TREES = 48


def make_dataset(folder: Path, dataset: Dataset) -> None:
    """Its files, all there or none."""
    target = dataset.path(folder)
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number in range(dataset.files):
        path = unfinished / f"{number // 1000:03d}" / f"part-{number:06d}{dataset.suffix}"
        path.parent.mkdir(exist_ok=True)
        _write(path, number, dataset)
    unfinished.rename(target)


def _write(path: Path, seed: int, dataset: Dataset) -> None:
    import pyarrow as pa
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    tables = _tables(seed, dataset)
    first = next(tables)
    if dataset.packing == "group":  # its rows are written at once, and so held at once
        whole = pa.concat_tables([first, *tables])
        pq.write_table(whole, path, row_group_size=len(whole))
        return
    with contextlib.ExitStack() as stack:
        if dataset.format == "csv":
            text: Any = gzip.GzipFile(path, "wb", GZIP_LEVEL) if dataset.packing == "gz" else path.open("wb")
            writer: Any = stack.enter_context(pv.CSVWriter(stack.enter_context(text), first.schema))
        else:
            writer = stack.enter_context(pq.ParquetWriter(path, first.schema))
        options = {} if dataset.format == "csv" else {"row_group_size": ROWS_PER_GROUP}
        for table in itertools.chain((first,), tables):
            writer.write_table(table, **options)


def _tables(seed: int, dataset: Dataset) -> Iterator[Any]:
    """The rows of one file, some at a time."""
    for block, start in enumerate(range(0, dataset.rows_per_file, ROWS_AT_ONCE)):
        rows = min(ROWS_AT_ONCE, dataset.rows_per_file - start)
        yield _table(rows, (seed, block), has_words=dataset.has_words)


def _table(rows: int, seed: tuple[int, ...], *, has_words: bool) -> Any:
    """Random numbers with six digits behind the point and, where asked for, words."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(seed)
    numbers = random.normal(size=(COLUMNS, rows)).round(6)
    columns: dict[str, Any] = {NUMBERS[place]: numbers[place] for place in range(COLUMNS)}
    if has_words:
        columns = {name: columns[name] for name in NUMBERS[: COLUMNS // 2]}
        for name, count in WORDS.items():
            words = pa.array([f"{name}-{number}" for number in range(count)])
            columns[name] = words.take(pa.array(random.integers(0, count, rows)))
    return pa.table(columns)


def _training(*, has_words: bool = False) -> Any:
    """A frame and what is to be predicted from it."""
    import numpy as np

    frame = _table(TRAINING_ROWS, (1_000_000, 0), has_words=has_words).to_pandas()
    numbers = frame[NUMBERS[:5]].to_numpy()
    noise = np.random.default_rng(0).normal(size=TRAINING_ROWS)
    return frame, numbers[:, 0] * 3 + np.sin(numbers[:, 1]) + numbers[:, 2] * numbers[:, 3] + noise / 10


def _signature(*, has_words: bool = False) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    names = NUMBERS[: COLUMNS // 2] if has_words else NUMBERS
    words = [ColSpec("string", name) for name in (WORDS if has_words else ())]
    return ModelSignature(
        Schema([*(ColSpec("double", name) for name in names), *words]), Schema([ColSpec("double", "prediction")])
    )


def make_trivial(target: Path) -> None:
    import mlflow.pyfunc

    code = Path(__file__).parent / "models" / "adding.py"
    mlflow.pyfunc.save_model(
        target, python_model=str(code), signature=_signature(), pip_requirements=["mlflow-skinny", "pandas"]
    )


def make_lightgbm(target: Path) -> None:
    """300 trees of 31 leaves."""
    import lightgbm
    import mlflow.lightgbm

    model = lightgbm.LGBMRegressor(n_estimators=300, random_state=0, verbosity=-1).fit(*_training())
    mlflow.lightgbm.save_model(
        model,
        target,
        serialization_format="cloudpickle",
        signature=_signature(),
        pip_requirements=["mlflow-skinny", "lightgbm", "scikit-learn"],
    )


def make_pipeline(target: Path) -> None:
    """Scaled numbers and one-hot encoded words to a linear regression."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline as chained
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), NUMBERS[: COLUMNS // 2]),
            ("words", OneHotEncoder(handle_unknown="ignore"), list(WORDS)),
        ]
    )
    _save_sklearn(chained(columns, Ridge()).fit(*_training(has_words=True)), target, has_words=True)


def make_forest(target: Path) -> None:
    """Trees without a limit to their depth: several hundred MB."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(FOREST_TREES, random_state=0, max_features=5)
    _save_sklearn(forest.fit(*_training()), target, has_words=False)


def _save_sklearn(estimator: Any, target: Path, *, has_words: bool) -> None:
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        estimator,
        target,
        serialization_format="cloudpickle",
        signature=_signature(has_words=has_words),
        pip_requirements=["mlflow-skinny", "scikit-learn"],
    )


MODELS: dict[str, Callable[[Path], None]] = {
    "trivial": make_trivial,
    "lightgbm": make_lightgbm,
    "pipeline": make_pipeline,
    "forest": make_forest,
}


def make_model(folder: Path, name: str) -> None:
    """The model, whole or not at all."""
    target = folder / "models" / name
    unfinished = target.with_name(f"{name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    MODELS[name](unfinished)
    unfinished.rename(target)


def main(folder: Path, names: list[str]) -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_TRACKING_URI"] = (folder / "mlruns").as_uri()
    warnings.simplefilter("ignore")  # MLflow's advice
    logging.disable(logging.WARNING)
    for name in names:
        if name in MODELS:
            make_model(folder, name)
        else:
            make_dataset(folder, Dataset.named(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
