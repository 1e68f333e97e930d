"""Makes everything in this folder again from the data sets that ship with scikit-learn: the data and the models.

The same environment gives the same bytes. Run it with `make samples`; an argument names another folder.
"""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

CODE = Path(__file__).resolve().parent / "wine_label.py"
REQUIREMENTS = [f"mlflow-skinny=={mlflow.__version__}", f"scikit-learn=={sklearn.__version__}"]


def breast_cancer(here: Path) -> None:
    """Five CSV files, three of them nested: a string column, missing values; a pipeline that gives probabilities."""
    bunch = load_breast_cancer(as_frame=True)
    frame = bunch.data[["mean radius", "mean texture", "mean smoothness", "mean concavity", "worst area"]].copy()
    frame.columns = ["radius", "texture", "smoothness", "concavity", "worst_area"]
    bins = [0, 500, 1000, np.inf]
    size = pd.cut(frame.pop("worst_area"), bins, labels=["small", "medium", "large"]).astype(object)
    frame.insert(0, "size", size)
    chosen = np.random.default_rng(0)
    for column, share in (("size", 0.05), ("texture", 0.1), ("concavity", 0.02)):
        frame.loc[chosen.random(len(frame)) < share, column] = np.nan
    diagnosis = np.where(bunch.target == 0, "malignant", "benign")
    numbers = ["radius", "texture", "smoothness", "concavity"]
    columns = ColumnTransformer(
        [("words", OneHotEncoder(handle_unknown="ignore"), ["size"]), ("numbers", "passthrough", numbers)]
    )
    forest = RandomForestClassifier(n_estimators=20, max_depth=4, random_state=0)
    pipeline = make_pipeline(columns, forest).fit(frame, diagnosis)
    inputs = Schema(
        [ColSpec(DataType.string, "size", required=False)]
        + [ColSpec(DataType.double, name, required=False) for name in numbers]
    )
    save_estimator(here, "breast_cancer", pipeline, ModelSignature(inputs, Schema([ColSpec(DataType.string)])))
    frame.insert(0, "id", [f"patient-{number:03d}" for number in range(len(frame))])
    names = ["part-1.csv", "part-2.csv", "more/part-3.csv", "more/part-4.csv", "more/last/part-5.csv"]
    for name, part in zip(names, in_parts(frame, len(names)), strict=True):
        path = fresh(here / "breast_cancer" / name)
        part.to_csv(path, index=False, lineterminator="\n")


def iris(here: Path) -> None:
    """Three Parquet files with row groups of 20 rows; a small forest for three classes."""
    bunch = load_iris(as_frame=True)
    frame = bunch.data.rename(columns=lambda name: name.removesuffix(" (cm)").replace(" ", "_"))
    species = bunch.target_names[bunch.target]
    forest = RandomForestClassifier(n_estimators=5, max_depth=3, random_state=0).fit(frame, species)
    save_estimator(here, "iris", forest, ModelSignature(doubles(frame), Schema([ColSpec(DataType.string)])))
    frame.insert(0, "id", range(1, len(frame) + 1))
    for number, part in enumerate(in_parts(frame, 3)):
        write_parquet(part, here / "iris" / f"part-{number}.parquet", row_group_size=20)


def diabetes(here: Path) -> None:
    """A Hive-partitioned Parquet set, its folders named after the column `sex`; a linear regression."""
    bunch = load_diabetes(as_frame=True, scaled=False)
    frame = bunch.data.astype({"age": "int64", "sex": "int64"})
    regression = make_pipeline(StandardScaler(), Ridge()).fit(frame, bunch.target)
    save_estimator(here, "diabetes", regression, infer_signature(frame, regression.predict(frame)))
    frame.insert(0, "id", range(1, len(frame) + 1))
    for sex, part in frame.groupby("sex"):
        for number, piece in enumerate(in_parts(part.drop(columns="sex"), 2)):
            write_parquet(piece, here / "diabetes" / f"sex={sex}" / f"part-{number}.parquet", row_group_size=1000)


def wine(here: Path) -> None:
    """One CSV file; a model written as a Python class, with params."""
    bunch = load_wine(as_frame=True)
    frame = bunch.data[["alcohol", "color_intensity", "hue", "proline"]].astype({"proline": "int64"})
    params = ParamSchema([ParamSpec("strong_from", DataType.double, 13.0), ParamSpec("glass_ml", DataType.long, 125)])
    outputs = Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "alcohol_grams")])
    folder = emptied(here / "models" / "wine_label")
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(CODE),
        signature=ModelSignature(Schema([ColSpec(DataType.double, "alcohol")]), outputs, params),
        pip_requirements=REQUIREMENTS[:1],
        mlflow_model=stated("wine_label"),
    )
    record = folder / "MLmodel"
    record.write_text(record.read_text().replace(str(CODE), CODE.name))
    frame.insert(0, "id", range(1, len(frame) + 1))
    frame.to_csv(fresh(here / "wine" / "wine.csv"), index=False, lineterminator="\n")


def doubles(frame: pd.DataFrame) -> Schema:
    return Schema([ColSpec(DataType.double, name) for name in frame.columns])


def in_parts(frame: pd.DataFrame, parts: int) -> list[pd.DataFrame]:
    """Runs of rows of nearly the same length, in order."""
    edges = [round(len(frame) * part / parts) for part in range(parts + 1)]
    return [frame.iloc[start:stop] for start, stop in pairwise(edges)]


def write_parquet(frame: pd.DataFrame, path: Path, row_group_size: int) -> None:
    """Writes the columns alone, without pandas' own metadata."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, fresh(path), row_group_size=row_group_size)


def save_estimator(here: Path, name: str, estimator: Any, signature: ModelSignature) -> None:
    mlflow.sklearn.save_model(
        estimator,
        emptied(here / "models" / name),
        signature=signature,
        serialization_format="cloudpickle",
        pip_requirements=REQUIREMENTS,
        mlflow_model=stated(name),
    )


def stated(name: str) -> Model:
    """A model record with an id and a time of its own instead of random and current ones."""
    return Model(model_uuid=f"sample-{name}", utc_time_created="2026-01-01 00:00:00.000000")


def fresh(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return fresh(folder)


def make(here: Path) -> None:
    for data_set in (breast_cancer, iris, diabetes, wine):
        data_set(here)
    for folder in sorted(here.rglob("__pycache__")):
        shutil.rmtree(folder)


if __name__ == "__main__":
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # MLflow's advice on how to log models
    make(Path(sys.argv[1] if len(sys.argv) > 1 else CODE.parent))
