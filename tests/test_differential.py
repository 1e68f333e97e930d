"""batchscore against `mlflow.pyfunc.load_model(...).predict` on frames of the right types: equal values, in order."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import SAMPLE_DATA
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchscore.face import run

ROW_WISE = {"breast_cancer", "iris", "wine_label"}
"""Models whose answer for a row doesn't depend on its neighbours; a linear regression's last bits do."""


@dataclass(frozen=True)
class Sample:
    """A sample model and its data, as files of both formats in one folder and as one frame in their order."""

    model: Path
    folder: Path
    frame: pd.DataFrame
    options: dict[str, Any] = field(default_factory=dict)


def frames_of(name: str) -> dict[str, pd.DataFrame]:
    """The files of a sample by their names without suffix; Hive columns are in their names."""
    folder = SAMPLE_DATA / name
    found = {}
    for path in sorted(folder.rglob("*.*")):
        read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
        found[str(path.relative_to(folder).with_suffix(""))] = read(path)
    return found


def both_formats(folder: Path, files: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Writes each file as CSV and as Parquet; all rows in the order of the names' bytes, with columns file and row."""
    rows = {}
    for name, frame in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_csv(f"{path}.csv", index=False)
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), f"{path}.parquet", row_group_size=20)
        hive = dict(part.split("=") for part in name.split("/") if "=" in part)
        for suffix in (".csv", ".parquet"):
            own = {"file": name + suffix, "row": range(len(frame))}
            rows[name + suffix] = frame.assign(**own, **{key: int(value) for key, value in hive.items()})
    return pd.concat([rows[name] for name in sorted(rows, key=str.encode)], ignore_index=True)


@pytest.fixture(scope="session", params=["breast_cancer", "iris", "diabetes", "wine_label"])
def sample(request, sample_models, tmp_path_factory) -> Sample:
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    files = frames_of("wine" if name == "wine_label" else name)
    options = {"params": {"strong_from": 13.5}} if name == "wine_label" else {}
    return Sample(sample_models / name, folder, both_formats(folder, files), options)


@pytest.fixture(scope="session")
def expected(sample) -> pd.DataFrame:
    """What MLflow itself answers to all rows in one call."""
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has more columns than the model asks for
        model = mlflow.pyfunc.load_model(str(sample.model))
        answer = model.predict(sample.frame, **sample.options)
    outputs = model.metadata.get_output_schema()
    names = outputs.input_names() if outputs.has_input_names() else ["prediction"]
    columns = answer.to_numpy() if isinstance(answer, pd.DataFrame) else np.asarray(answer)
    return pd.DataFrame(columns.reshape(len(sample.frame), -1), columns=names).infer_objects()


def assert_expected(sample: Sample, found: pd.DataFrame, expected: pd.DataFrame, rows: int | None = None) -> None:
    frame = sample.frame.iloc[:rows]
    assert found["file"].tolist() == frame["file"].tolist()
    assert found["row"].tolist() == frame["row"].tolist()
    assert found["id"].astype(str).tolist() == frame["id"].astype(str).tolist()
    assert list(found.columns) == ["file", "row", "id", *expected.columns]
    for name in expected:
        if sample.model.name in ROW_WISE:
            assert found[name].tolist() == expected[name].iloc[:rows].tolist()
        else:
            np.testing.assert_allclose(found[name], expected[name].iloc[:rows], rtol=1e-12)


WORKERS = {"wine_label": (1, 2, 5)}
"""Real processes: this model's need MLflow alone, the others' seconds more to import scikit-learn, so they are 2."""


def test_processes_answer_as_mlflow_does_with_the_same_bytes_for_any_number_of_them(
    sample, expected, tmp_path, run_here
):
    """CSV and Parquet in one job, larger files cut, in this process and in real workers."""
    options = {"mini_batch_size": "2KB", "keep": "id", **sample.options}
    summary = run_here(sample.model, sample.folder, tmp_path / "here", **options)
    assert summary.counts.mini_batches >= 5
    assert_expected(sample, summary.read(), expected)
    here = (tmp_path / "here/predictions.csv").read_bytes()
    for workers in WORKERS.get(sample.model.name, (2,)):
        summary = run(sample.model, sample.folder, tmp_path / f"{workers}", workers=workers, **options)
        assert summary.status == "Completed"
        assert (tmp_path / f"{workers}/predictions.csv").read_bytes() == here


CUTS = [("auto", None), (2, 7), ("1KB", 64), ("4KB", 1000), (1, 20)]


def test_any_cut_gives_the_same_values_and_of_row_wise_models_the_same_bytes(sample, expected, tmp_path, run_here):
    written = set()
    for size, rows_per_call in CUTS:
        out = tmp_path / f"out-{size}-{rows_per_call}"
        options = {"mini_batch_size": size, "rows_per_call": rows_per_call, "keep": "id", **sample.options}
        summary = run_here(sample.model, sample.folder, out, **options)
        assert_expected(sample, summary.read(), expected)
        written.add((out / "predictions.csv").read_bytes())
    if sample.model.name in ROW_WISE:
        assert len(written) == 1


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_rows_one_by_one_give_the_same_values_in_every_format(sample, expected, tmp_path, run_here, form):
    options = {"rows_per_call": 1, "limit": 70, "keep": "id", "format": form, **sample.options}
    summary = run_here(sample.model, sample.folder, tmp_path / "out", **options)
    assert_expected(sample, summary.read(), expected, 70)


ECHO = """
import pandas as pd
import mlflow.pyfunc
from mlflow.models import set_model

class Echo(mlflow.pyfunc.PythonModel):
    '''Answers with its input.'''

    def predict(self, context, model_input: pd.DataFrame, params=None):
        return model_input.add_prefix("p_")

set_model(Echo())
"""
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=5)
VALUES = {
    "d": (pa.float64(), st.none() | st.floats(allow_nan=False)),
    "l": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "s": (
        pa.string(),
        st.none() | TEXT.filter(lambda text: text not in {"", "NA", "None", "nan", "null", "n/a", "NaN"}),
    ),
    "b": (pa.bool_(), st.booleans()),
    "t": (pa.timestamp("us"), st.none() | st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01"))),
}
TYPES = {"d": "double", "l": "long", "s": "string", "b": "boolean", "t": "datetime"}


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 12))
    return pa.table(
        {
            name: pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)
            for name, (kind, values) in VALUES.items()
        }
    )


@pytest.fixture
def echo(save_model) -> Path:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = [ColSpec(kind, name, required=kind in {"long", "boolean"}) for name, kind in TYPES.items()]
    return save_model(ECHO, ModelSignature(Schema(columns)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(tables(), st.sampled_from(["csv", "parquet"])), min_size=1, max_size=4),
    size=st.sampled_from(["auto", 1, 2, "1KB"]),
    rows_per_call=st.integers(1, 14),
    form=st.sampled_from(["csv", "parquet", "jsonl"]),
)
def test_every_row_comes_once_in_order_and_unchanged(echo, run_here, files, size, rows_per_call, form):
    """Any values, files, formats and cuts: what a model that repeats its input gets is what stands in the files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        for number, (table, suffix) in enumerate(files):
            path = folder / f"{number}.{suffix}"
            if suffix == "parquet":
                pq.write_table(table, path, row_group_size=max(1, table.num_rows // 2))
            else:
                table.to_pandas().to_csv(path, index=False)
        options = {"mini_batch_size": size, "rows_per_call": rows_per_call, "format": form, "allow_empty": True}
        summary = run_here(echo, folder, Path(name, "out"), **options)
        assert summary.status == "Completed", summary.failures()["reason"].tolist()
        whole = pa.concat_tables([table for table, _ in files])
        assert summary.counts.rows_scored == whole.num_rows
        found = summary.read()
        assert found["row"].tolist() == [row for table, _ in files for row in range(table.num_rows)]
        for column in VALUES if whole.num_rows else ():
            values = found[f"p_{column}"].tolist()
            assert [None if pd.isna(value) else value for value in values] == whole[column].to_pylist(), column
