"""What a value in a file becomes on its way to a loaded model, and which values are refused.

Each case is read from CSV and from Parquet, whole and cut between any two rows, with 65,536, 7, 2 and 1 rows a call:
the model gets the same values in the same dtype, or the same failure is told.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import HereSlots, python_model

from batchscore import readers
from batchscore.errors import UsageError
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.outcome import Failed
from batchscore.scoring import ModelScorer, load_scorer
from batchscore.settings import CsvOptions, ScoringSettings

pytestmark = pytest.mark.filterwarnings(
    "ignore:The default dtype for empty Series:FutureWarning",  # MLflow's, on pandas 1.5
    "ignore:Hint. Inferred schema contains integer column:UserWarning",
)

RECORDER = """
import copy
import pandas as pd
import mlflow.pyfunc
from mlflow.models import set_model

class Recorder(mlflow.pyfunc.PythonModel):
    def __init__(self):
        self.seen, self.params = [], []

    def predict(self, context, model_input: pd.DataFrame, params=None):
        self.seen.append(copy.deepcopy(model_input))
        self.params.append(params)
        rows = len(next(iter(model_input.values()))) if isinstance(model_input, dict) else len(model_input)
        return [0] * rows

set_model(Recorder())
"""
NAN = float("nan")
ROWS_PER_CALL = (65_536, 7, 2, 1)


@pytest.fixture
def recorder(save_model):
    """Saves the model that remembers its inputs, with a signature from mlflow.types specs."""

    def save(*specs: Any, params: Any = (), **options: Any) -> Path:
        from mlflow.models import ModelSignature
        from mlflow.types import ParamSchema, Schema

        schemas = {"inputs": Schema(list(specs)) if specs else None, "params": ParamSchema(list(params)) or None}
        stated = {name: schema for name, schema in schemas.items() if schema is not None}
        return save_model(RECORDER, ModelSignature(**stated) if stated else None, **options)

    return save


def column(kind: Any, name: str | None = "x", *, required: bool = True) -> Any:
    from mlflow.types import ColSpec

    return ColSpec(kind, name, required=required)


def tensor(dtype: str, *shape: int, name: str | None = None) -> Any:
    from mlflow.types import TensorSpec

    return TensorSpec(np.dtype(dtype), shape, name)


class Read:
    """What became of a file: the frame that the model got in pieces, the predicted rows, the first failure."""

    def __init__(self, model: Path, path: Path, rows_per_call: int, *, cut: bool, **settings: Any) -> None:
        name = path.name
        setup = {
            "model": str(model),
            "settings": ScoringSettings(rows_per_call=rows_per_call, **settings).to_json(),
            "parts": str(path.parent),
        }
        if str(model) not in LOADED:
            LOADED[str(model)] = load_scorer(setup)
        scorer = ModelScorer(LOADED[str(model)].model, ScoringSettings.from_json(setup["settings"]), setup["parts"])
        recorded = python_model(scorer)
        recorded.seen.clear()
        file = InputFile(
            name, str(path), path.stat().st_size, str(path.stat().st_mtime_ns), tuple(settings.pop("partitions", ()))
        )
        csv_options = settings.get("csv", CsvOptions())
        slices = readers.cut(file, 1, csv_options) if cut else (FileSlice(file),)
        outcome = scorer.score(MiniBatch(0, slices), lambda *_: None)
        self.slices = len(slices)
        self.seen = list(recorded.seen)
        self.notes = outcome.notes
        self.failure = next((entry.failure for entry in outcome.slices if isinstance(entry, Failed)), None)
        self.rows = sum(entry.rows for entry in outcome.slices if not isinstance(entry, Failed))

    @property
    def column(self) -> tuple[set[str], list[Any]]:
        """The dtypes that a frame's only column came in, and its values."""
        return {str(frame.iloc[:, 0].dtype) for frame in self.seen}, [
            shown(value) for frame in self.seen for value in frame.iloc[:, 0]
        ]


LOADED: dict[str, ModelScorer] = {}


def shown(value: Any) -> Any:
    """A value with its type, so that 1, 1.0 and True differ, and -0.0 and NaN are themselves."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), [shown(item) for item in value.tolist()]]
    if isinstance(value, dict):
        return {key: shown(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shown(part) for part in value]
    if isinstance(value, (dt.datetime, np.datetime64)) or value is pd.NaT:
        return str(pd.Timestamp(value))
    return repr(value.item() if isinstance(value, np.generic) else value)


def write(folder: Path, source: Any, name: str = "x") -> Path:
    """A file of one column: CSV of the texts of a list, Parquet of an Arrow array; None is an empty field."""
    if isinstance(source, list):
        path = folder / "values.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            # a second column, so that an empty field isn't a blank line
            csv.writer(stream, lineterminator="\n").writerows([[name, "unused"], *([text, "u"] for text in source)])
        return path
    path = folder / "values.parquet"
    pq.write_table(pa.table({name: source, "unused": ["u"] * len(source)}), path, row_group_size=1)
    return path


def readings(model: Path, path: Path, **settings: Any) -> list[Read]:
    found = [Read(model, path, rows, cut=cut, **settings) for cut in (False, True) for rows in ROWS_PER_CALL]
    assert [reading.slices > 1 for reading in found] == [False] * 4 + [True] * 4, "cut for real"
    return found


def stamps(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[ns]")


def objects(*values: Any) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


DAY = dt.date(2026, 1, 31)
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone.utc)
NOON_PLAIN = NOON.replace(tzinfo=None)
ARRAY = {"array of double": ("array", "double"), "array of float": ("array", "float")}

READ = {
    "whole numbers as double, CSV": ("double", ["3", "-4", "0"], np.array([3.0, -4, 0])),
    "whole numbers as double, Parquet": ("double", pa.array([3, -4, 2**53]), np.array([3.0, -4, 2**53])),
    "whole numbers as float, CSV": ("float", ["3", "16777217"], np.array([3, 16777216], np.float32)),
    "whole numbers as float, Parquet": ("float", pa.array([3, 16777217]), np.array([3, 16777216], np.float32)),
    "whole numbers as integer, CSV": ("integer", ["3", "-2147483648"], np.array([3, -(2**31)], np.int32)),
    "whole numbers as integer, Parquet": ("integer", pa.array([3, 2**31 - 1]), np.array([3, 2**31 - 1], np.int32)),
    "doubles as float, CSV": ("float", ["0.1", "", "1e-50"], np.array([0.1, NAN, 0], np.float32)),
    "doubles as float, Parquet": ("float", pa.array([0.1, None, NAN]), np.array([0.1, NAN, NAN], np.float32)),
    "every digit of a double": (
        "double", ["0.1", "1.7976931348623157e308", "5e-324", "-0.0", "0.30000000000000004", "inf", "NaN"],
        np.array([0.1, 1.7976931348623157e308, 5e-324, -0.0, 0.30000000000000004, np.inf, NAN]),
    ),
    "1.0, +1, ' 1' as long": ("long", ["1.0", "+1", " 1", "1e3"], np.array([1, 1, 1, 1000])),
    "whole floats as long, Parquet": ("long", pa.array([1.0, -2.0]), np.array([1, -2])),
    "all 64 bits": ("long", ["9223372036854775807", "-9223372036854775808"], np.array([2**63 - 1, -(2**63)])),
    "text as it stands": (
        "string", ["007", "42", " a ", 'say "x"', "a,b\nc", "1.0", "True"],
        objects("007", "42", " a ", 'say "x"', "a,b\nc", "1.0", "True"),
    ),
    "pandas' missing values in text": ("string", ["NA", "", "null", "None", "x"], objects(NAN, NAN, NAN, NAN, "x")),
    "text, Parquet": ("string", pa.array(["007", None, "NA", ""]), objects("007", NAN, "NA", "")),
    "booleans": ("boolean", ["0", "1", "true", "False", "TRUE"], np.array([False, True, True, False, True])),
    "booleans, Parquet": ("boolean", pa.array([True, False]), np.array([True, False])),
    "0 and 1 as boolean, Parquet": ("boolean", pa.array([0, 1], pa.int8()), np.array([False, True])),
    "ISO text": (
        "datetime", ["2026-01-31", "2026-01-31 12:00", "2026-01-31T12:00:00.123456789", ""],
        stamps("2026-01-31", "2026-01-31T12:00", "2026-01-31T12:00:00.123456789", "NaT"),
    ),
    "ISO text with offsets": (
        "datetime", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+02:00"],
        stamps("2026-01-31T12:00", "2026-01-31T10:00"),
    ),
    "ISO text, Parquet": ("datetime", pa.array(["2026-01-31T12:00:00Z", None]), stamps("2026-01-31T12:00", "NaT")),
    "timestamps with a time zone": (
        "datetime", pa.array([NOON, None], pa.timestamp("us", "Europe/Oslo")), stamps("2026-01-31T12:00", "NaT"),
    ),
    "timestamps": ("datetime", pa.array([NOON_PLAIN], pa.timestamp("ms")), stamps("2026-01-31T12:00")),
    "dates": ("datetime", pa.array([DAY, None], pa.date32()), stamps("2026-01-31", "NaT")),
    "decimals": ("double", pa.array([Decimal("1.10"), None]), np.array([1.1, NAN])),
    "decimals as long": ("long", pa.array([Decimal("5.00")]), np.array([5])),
    "categories": ("string", pa.array(["b", "a", None, "b"]).dictionary_encode(), objects("b", "a", NAN, "b")),
    "categories of numbers": ("double", pa.array([2, 1, 2]).dictionary_encode(), np.array([2.0, 1, 2])),
    "uint64 as long": ("long", pa.array([7, 2**63 - 1], pa.uint64()), np.array([7, 2**63 - 1])),
    "nullable integers without nulls": (
        "long", pa.Array.from_pandas(pd.Series([1, 2], dtype="Int64")), np.array([1, 2]),
    ),
    "all empty as string": ("string", ["", ""], objects(NAN, NAN)),
    "all empty as datetime": ("datetime", ["", ""], stamps("NaT", "NaT")),
    "all empty as double": ("double", ["", ""], np.array([NAN, NAN])),
    "all empty as string, Parquet": ("string", pa.array([NAN, None]), objects(NAN, NAN)),
    "all empty as datetime, Parquet": ("datetime", pa.nulls(2), stamps("NaT", "NaT")),
    "all empty as double, Parquet": ("double", pa.array([None, None], pa.string()), np.array([NAN, NAN])),
    "lists as JSON text": (ARRAY["array of double"], ["[1, 2.5]", "[]"], objects([1.0, 2.5], [])),
    "lists of float as JSON text": (
        ARRAY["array of float"], ["[0.1]", "[]"], objects(np.array([0.1], np.float32), np.array([], np.float32)),
    ),
    "lists, Parquet": (ARRAY["array of double"], pa.array([[1, 2], []]), objects([1.0, 2.0], [])),
    "objects as JSON text": (
        "object", ['{"a": 1, "b": "x"}', '{"b": null, "a": 2.5}'], objects({"a": 1.0, "b": "x"}, {"a": 2.5, "b": None}),
    ),
    "structs, Parquet": ("object", pa.array([{"b": "x", "a": 1}]), objects({"a": 1.0, "b": "x"})),
    "maps as JSON text": ("map", ['{"k": 1}', "{}"], objects({"k": 1}, {})),
    "maps, Parquet": ("map", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), objects({"k": 1})),
    "bytes as base64": ("binary", ["YWI=", ""], objects(b"ab", None)),
    "bytes, Parquet": ("binary", pa.array([b"ab", None]), objects(b"ab", None)),
}  # fmt: skip


def kind_of(word: Any) -> Any:
    from mlflow.types.schema import Array, DataType, Map, Object, Property

    if isinstance(word, tuple):
        return Array(DataType[word[1]])
    nested = {
        "object": lambda: Object([Property("a", DataType.double), Property("b", DataType.string, required=False)]),
        "map": lambda: Map(DataType.long),
    }
    return nested[word]() if word in nested else word


@pytest.mark.parametrize(("kind", "source", "expected"), READ.values(), ids=list(READ))
def test_a_value_reaches_the_model_as_the_signature_says(recorder, tmp_path, kind, source, expected):
    model = recorder(column(kind_of(kind)))
    times = -(-9 // len(source))  # so that 7 rows aren't all
    repeated = source * times if isinstance(source, list) else pa.concat_arrays([source] * times)
    path = write(tmp_path, repeated)
    for reading in readings(model, path):
        assert reading.failure is None
        dtypes, values = reading.column
        assert values == [shown(value) for value in expected] * times
        assert dtypes == {str(expected.dtype)}
        assert reading.rows == len(values)


REFUSED = {
    "a whole number beyond 2^53 as double": ("double", "1", "9007199254740993", "a number (double)"),
    "text as double": ("double", "1", "x", "a number (double)"),
    "a comma as double": ("double", "1", "1,5", "a number (double)"),
    "more than a float": ("float", "1", "1e39", "a number (float)"),
    "more than an integer": ("integer", "1", "3000000000", "a whole number from -2147483648 to 2147483647 (integer)"),
    "more than a long": (
        "long", "1", "9223372036854775808",
        "a whole number from -9223372036854775808 to 9223372036854775807 (long)",
    ),
    "a fraction as long": ("long", "1", "1.5", "(long)"),
    "a missing value as long": ("long", "1", None, "(long)"),
    "a missing value as integer": ("integer", "1", None, "(integer)"),
    "a missing value as boolean": ("boolean", "1", None, "true, false, 1 or 0 (boolean)"),
    "yes as boolean": ("boolean", "1", "yes", "true, false, 1 or 0 (boolean)"),
    "no as boolean": ("boolean", "true", "no", "true, false, 1 or 0 (boolean)"),
    "another order of the date": ("datetime", "2026-01-31", "31/01/2026", "an ISO date or timestamp"),
    "a day that isn't": ("datetime", "2026-01-31", "2026-02-30", "(datetime)"),
    "a list as text": (("array", "double"), "[1]", "[1", "Array(double)"),
    "text in a list": (("array", "double"), "[1]", '["x"]', "a number (double); found 'x' in it"),
    "a missing property": ("object", '{"a": 1}', '{"b": "x"}', "{a: double, b: string (optional)}"),
    "bytes that are no base64": ("binary", "YWI=", "ä", "(binary)"),
}  # fmt: skip
REFUSED_TYPED = {
    "a whole number beyond 2^53": ("double", pa.int64(), 1, 2**53 + 1, "a double can't hold this integer exactly"),
    "more than a float": ("float", pa.float64(), 1.0, 1e39, "a number (float)"),
    "more than an integer": ("integer", pa.int64(), 1, 3_000_000_000, "(integer): the column is int64"),
    "uint64 beyond long": ("long", pa.uint64(), 1, 2**63, "(long): the column is uint64"),
    "a fraction": ("long", pa.float64(), 1.0, 1.5, "(long)"),
    "NaN as long": ("long", pa.float64(), 1.0, NAN, "(long)"),
    "null as long": ("long", pa.int64(), 1, None, "(long)"),
    "null as integer": ("integer", pa.int8(), 1, None, "(integer)"),
    "null as boolean": ("boolean", pa.bool_(), True, None, "(boolean)"),
    "2 as boolean": ("boolean", pa.int64(), 1, 2, "(boolean)"),
    "a date beyond 64 bits": ("datetime", pa.date32(), DAY, dt.date(9999, 1, 1), "(datetime)"),
    "yes in a text column": ("boolean", pa.string(), "1", "yes", "(boolean)"),
    "a number in categories": ("long", "dictionary", "1", "x", "(long)"),
    "null in a list": (("array", "long"), pa.list_(pa.int64()), [1], [None], "(long); a value is missing in it"),
}


def refusals(model: Path, path: Path) -> Any:
    """The failure that all readings agree on."""
    found = {reading.failure for reading in readings(model, path)}
    assert len(found) == 1, "the same wherever the file is cut"
    return found.pop()


@pytest.mark.parametrize("row", [0, 1, 6, 7, 8])
@pytest.mark.parametrize(("kind", "good", "bad", "expected"), REFUSED.values(), ids=list(REFUSED))
def test_a_text_that_doesnt_fit_is_told_with_row_column_value_and_type(
    recorder, tmp_path, kind, good, bad, expected, row
):
    texts = [good] * 10
    texts[row] = texts[9] = bad
    failure = refusals(recorder(column(kind_of(kind))), write(tmp_path, texts))
    assert (failure.file, failure.row, failure.column, failure.value) == ("values.csv", row, "x", bad)
    assert f"row {row}, column 'x': " in failure.reason
    assert expected in failure.reason
    assert ("the value is missing" if bad is None else repr(bad)) in failure.reason


@pytest.mark.parametrize("row", [0, 6, 8])
@pytest.mark.parametrize(("kind", "form", "good", "bad", "expected"), REFUSED_TYPED.values(), ids=list(REFUSED_TYPED))
def test_a_parquet_value_that_doesnt_fit_is_told_with_row_column_value_and_type(
    recorder, tmp_path, kind, form, good, bad, expected, row
):
    values = [good] * 10
    values[row] = values[9] = bad
    array = pa.array(values).dictionary_encode() if form == "dictionary" else pa.array(values, form)
    failure = refusals(recorder(column(kind_of(kind))), write(tmp_path, array))
    missing = bad is None or bad != bad  # noqa: PLR0124  # NaN
    assert (failure.file, failure.row, failure.column) == ("values.parquet", row, "x")
    assert failure.value == (None if missing else str(bad) if isinstance(bad, str) else failure.value)
    assert ("the value is missing" if missing else str(bad)) in failure.reason
    assert expected in failure.reason


@pytest.mark.parametrize("kind", ["long", "integer", "boolean"])
@pytest.mark.parametrize("source", [["1", "", "1"], pa.array([1, None, 1]), pa.array([1.0, NAN, 1.0])], ids=str)
def test_whole_numbers_and_booleans_cant_be_missing_even_in_an_optional_column(recorder, tmp_path, kind, source):
    failure = refusals(recorder(column(kind, required=False)), write(tmp_path, source))
    assert (failure.row, failure.column, failure.value) == (1, "x", None)
    assert "can't hold a missing value: fill it in, or log the model with a double" in failure.reason


@pytest.mark.parametrize("kind", ["long", "integer", "boolean"])
@pytest.mark.parametrize("source", [["", ""], pa.array([NAN, NAN]), pa.nulls(2)], ids=str)
def test_a_column_without_any_value_is_missing_from_its_first_row(recorder, tmp_path, kind, source):
    failure = refusals(recorder(column(kind)), write(tmp_path, source))
    assert (failure.row, failure.column, failure.value) == (0, "x", None)


@pytest.mark.parametrize("values", [pa.array([7, 42]), pa.array([1.5, 2.5]), pa.array([DAY, DAY])], ids=str)
def test_numbers_and_dates_of_a_parquet_file_arent_made_into_text(recorder, tmp_path, values):
    failure = refusals(recorder(column("string")), write(tmp_path, values))
    assert (failure.row, failure.column, failure.value) == (0, "x", str(values[0]))
    assert "expected text (string): the column is " in failure.reason
    assert "leading zeros was lost when it was written; store the column as text" in failure.reason


class Table:
    """A file of several columns, as CSV and as Parquet."""

    def __init__(self, folder: Path, frame: pd.DataFrame) -> None:
        self.csv, self.parquet = folder / "table.csv", folder / "table.parquet"
        frame.to_csv(self.csv, index=False)
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), self.parquet, row_group_size=1)

    @property
    def files(self) -> tuple[Path, Path]:
        return self.csv, self.parquet


@pytest.fixture
def table(tmp_path):
    return lambda **columns: Table(tmp_path, pd.DataFrame(columns))


def frames(model: Path, path: Path, **settings: Any) -> list[Any]:
    """What the model got of a file, whole, the same for each way of reading it."""
    whole = []
    for reading in readings(model, path, **settings):
        assert reading.failure is None
        first = reading.seen[0]
        if isinstance(first, pd.DataFrame):
            whole.append(pd.concat(reading.seen, ignore_index=True))
            pd.testing.assert_frame_equal(whole[0], whole[-1])
        elif isinstance(first, dict):
            whole.append({name: np.concatenate([seen[name] for seen in reading.seen]) for name in first})
            assert {name: (array.dtype, array.tolist()) for name, array in whole[0].items()} == {
                name: (array.dtype, array.tolist()) for name, array in whole[-1].items()
            }
        else:
            whole.append(np.concatenate(reading.seen))
            assert (whole[0].dtype, whole[0].tolist()) == (whole[-1].dtype, whole[-1].tolist())
    return whole


def test_extra_columns_arent_read_at_all(recorder, tmp_path):
    """Neither judged nor handed on: MLflow would drop them with a warning on every call (an error here)."""
    model = recorder(column("double", "a"))
    path = tmp_path / "extra.csv"
    path.write_bytes(b"a,junk\n1,x\n2,\xff\n")
    (frame, *_) = frames(model, path)
    assert frame.to_dict("list") == {"a": [1.0, 2.0]}


def test_columns_come_in_the_models_order(recorder, table):
    model = recorder(column("double", "a"), column("string", "b"))
    for path in table(b=["x", "y"], extra=[1, 2], a=[1, 2]).files:
        (frame, *_) = frames(model, path)
        assert list(frame.columns) == ["a", "b"]
        assert frame.to_dict("list") == {"a": [1.0, 2.0], "b": ["x", "y"]}


def test_an_optional_column_that_is_missing_stays_away_from_the_model(recorder, table):
    model = recorder(column("double", "a"), column("double", "b", required=False))
    for path in table(a=[1, 2]).files:
        (frame, *_) = frames(model, path)
        assert list(frame.columns) == ["a"]


def test_a_required_column_that_is_missing_fails_the_file_with_what_is_there_and_similar(recorder, table):
    model = recorder(column("double", "a"), column("double", "radius_mean"))
    for path in table(a=[1, 2], Radius_Mean=[1, 2]).files:
        failure = refusals(model, path)
        assert (failure.row, failure.column) == (None, "radius_mean")
        assert "columns are missing: 'radius_mean'; the file has 'a', 'Radius_Mean'" in failure.reason
        assert "--rename Radius_Mean=radius_mean" in failure.reason


def test_a_column_can_be_renamed_for_the_model(recorder, table):
    model = recorder(column("double", "a"))
    for path in table(A=[1, 2]).files:
        (frame, *_) = frames(model, path, rename=(("A", "a"),))
        assert frame.to_dict("list") == {"a": [1.0, 2.0]}


def test_an_unnamed_signature_takes_columns_by_position_in_its_types(recorder, table):
    model = recorder(column("float", None), column("string", None))
    data = table(p=[1, 2], q=["007", "8"])
    for path in data.files:
        (frame, *_) = frames(model, path)
        assert [str(dtype) for dtype in frame.dtypes] == ["float32", "object"]
        assert frame.to_numpy().tolist() == [[1.0, "007"], [2.0, "8"]]
    other = recorder(column("float", None))
    for path in data.files:
        assert "the file has 2 columns; the model's signature has 1 without names" in refusals(other, path).reason


def test_one_tensor_takes_all_columns(recorder, table):
    for shape in ((-1, 2), (-1, -1)):
        for path in table(p=[1, 3], q=[2, 4]).files:
            (array, *_) = frames(recorder(tensor("float32", *shape)), path)
            assert (array.dtype, array.tolist()) == (np.float32, [[1, 2], [3, 4]])


def test_named_tensors_take_their_columns_in_their_own_types(recorder, table, tmp_path):
    """MLflow takes any integers for any others: what the model was trained with is what it gets."""
    model = recorder(tensor("int32", -1, name="a"), tensor("float64", -1, 2, name="b"))
    path = tmp_path / "tensors.parquet"
    pq.write_table(pa.table({"b": [[1, 2], [3, 4]], "a": pa.array([5, 6])}), path, row_group_size=1)
    text = table(a=[5, 6], b=["[1, 2]", "[3, 4]"]).csv
    for source in (path, text):
        (arrays, *_) = frames(model, source)
        assert {name: (array.dtype, array.tolist()) for name, array in arrays.items()} == {
            "a": (np.int32, [5, 6]),
            "b": (np.float64, [[1.0, 2.0], [3.0, 4.0]]),
        }
    path = tmp_path / "large.parquet"
    pq.write_table(pa.table({"b": [[1, 2]] * 2, "a": pa.array([5, 2**31])}), path, row_group_size=1)
    failure = refusals(model, path)
    assert (failure.row, failure.column, failure.value) == (1, "a", str(2**31))
    assert "(tensor of int32)" in failure.reason


def test_a_file_with_a_header_alone_has_no_rows(recorder, tmp_path):
    model = recorder(column("long", "a"))
    (tmp_path / "none.csv").write_text("a\n")
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "none.parquet")
    for path in (tmp_path / "none.csv", tmp_path / "none.parquet"):
        for rows_per_call in ROWS_PER_CALL:
            reading = Read(model, path, rows_per_call, cut=False)
            assert (reading.failure, reading.rows, reading.seen) == (None, 0, [])


def test_duplicate_names_are_refused_and_spaces_around_names_dont_count(recorder, tmp_path):
    model = recorder(column("double", "a"), column("double", "b"))
    path = tmp_path / "names.csv"
    path.write_text("a,b,a\n1,2,3\n4,5,6\n")
    failure = refusals(model, path)
    assert failure.column == "a"
    assert "more than one column named 'a'" in failure.reason
    path.write_text(" a,b \n1,2\n3,4\n")
    (frame, *_) = frames(model, path)
    assert frame.to_dict("list") == {"a": [1.0, 3.0], "b": [2.0, 4.0]}
    notes = Read(model, path, 1, cut=False).notes
    assert "column ' a' was read as 'a', which differs in the spaces around it" in notes


def test_a_file_without_a_header_has_the_models_names(recorder, tmp_path):
    model = recorder(column("double", "a"), column("string", "b"))
    path = tmp_path / "bare.csv"
    path.write_text("1,007\n2,8\n")
    (frame, *_) = frames(model, path, csv=CsvOptions(header=False))
    assert frame.to_dict("list") == {"a": [1.0, 2.0], "b": ["007", "8"]}


def test_a_model_without_a_signature_gets_what_pandas_reads(recorder, tmp_path):
    """From CSV by pandas' inference over the whole file, whatever the calls; from Parquet the file's own types."""
    model = recorder()
    csv_path, parquet_path = tmp_path / "plain.csv", tmp_path / "plain.parquet"
    csv_path.write_text("i,f,s,m,b\n" + "1,0.1,007,,true\n" * 8 + "2,3,x,5,false\n")
    whole = pd.read_csv(csv_path).astype({"s": object})
    for rows in ROWS_PER_CALL:
        reading = Read(model, csv_path, rows, cut=False)
        pd.testing.assert_frame_equal(pd.concat(reading.seen, ignore_index=True), whole)
        assert {tuple(map(str, frame.dtypes)) for frame in reading.seen} == {tuple(map(str, whole.dtypes))}
    columns = {
        "i": pa.array([1, 2], pa.int32()),
        "s": pa.array(["007", None]),
        "t": pa.array([NOON_PLAIN] * 2, pa.timestamp("ns")),
        "l": [[1], [2, 3]],
    }
    pq.write_table(pa.table(columns), parquet_path, row_group_size=1)
    for rows in (65_536, 1):
        for cut in (False, True):
            seen = pd.concat(Read(model, parquet_path, rows, cut=cut).seen, ignore_index=True)
            assert [str(dtype) for dtype in seen.dtypes] == ["int32", "object", "datetime64[ns]", "object"]
            assert seen["s"].isna().tolist() == [False, True]
            assert [list(cell) for cell in seen["l"]] == [[1], [2, 3]]


@pytest.mark.parametrize("kind", ["double", "string", "long"])
def test_what_the_model_gets_is_what_mlflow_takes_of_a_frame_of_the_right_types(recorder, tmp_path, kind):
    """The oracle: the same values in a frame of the signature's types, handed to MLflow itself."""
    texts = {"double": ["0.1", "", "-5"], "string": ["007", "", "x"], "long": ["1", "2", "-3"]}[kind]
    frame = {
        "double": pd.DataFrame({"x": [0.1, NAN, -5]}),
        "string": pd.DataFrame({"x": pd.Series(objects("007", NAN, "x"), dtype=object)}),
        "long": pd.DataFrame({"x": [1, 2, -3]}),
    }[kind]
    model = recorder(column(kind))
    reading = Read(model, write(tmp_path, texts), 65_536, cut=False)
    loaded = LOADED[str(model)].model._pyfunc
    python_model(LOADED[str(model)]).seen.clear()
    loaded.predict(frame)
    (direct,) = python_model(LOADED[str(model)]).seen
    pd.testing.assert_frame_equal(reading.seen[0], direct)


MIXED = {
    "n": ("double", 'n\n1\n"x"\n', pa.array([1, 2**53 + 1])),
    "w": ("long", "w\n1\n1.5\n", pa.array([1, None])),
}


@pytest.mark.parametrize("name", MIXED)
def test_the_command_tells_what_is_wrong_in_each_file(recorder, tmp_path, run_batchscore, name):
    """One job over good and bad files of both formats, in processes, cut by bytes."""
    kind, text, values = MIXED[name]
    folder = tmp_path / "in"
    folder.mkdir()
    good = folder / "good.csv"
    good.write_text(f"{name}\n" + "7\n" * 3000)
    (folder / "bad.csv").write_text(text)
    pq.write_table(pa.table({name: values}), folder / "bad.parquet")
    options = ["--error-threshold", "-1", "--mini-batch-size", "1KB", "--rows-per-call", "7", "--workers", "2"]
    done = run_batchscore("run", "-m", recorder(column(kind, name)), "-i", folder, "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    failures = [json.loads(line) for line in (tmp_path / "out/failures.jsonl").read_text().splitlines()]
    assert [(line["file"], line["row"], line["column"]) for line in failures] == [
        ("bad.csv", 1, name),
        ("bad.parquet", 1, name),
    ]
    assert all(f"({kind})" in line["reason"] for line in failures)
    assert len((tmp_path / "out/predictions.csv").read_text().splitlines()) == 3001


def test_partition_folders_give_columns_in_the_signatures_types(recorder, tmp_path, run_here):
    model = recorder(column("long", "year"), column("string", "part"), column("double", "a"))
    for year, part in ((2025, "007"), (2026, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / "in" / f"year={year}" / f"part={part}"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("a\n1\n")
        pq.write_table(pa.table({"a": [2]}), folder / "b.parquet")
    assert run_here(model, tmp_path / "in", tmp_path / "out").counts.rows_scored == 4
    assert HereSlots.last is not None
    (frame,) = python_model(HereSlots.last.scorer).seen
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "object", "float64"]
    assert frame["year"].tolist() == [2025, 2025, 2026, 2026]
    assert frame["part"].tolist()[:2] == ["007", "007"]
    assert frame["part"].isna().tolist() == [False, False, True, True]
    bad = tmp_path / "in" / "year=x" / "part=1"
    bad.mkdir(parents=True)
    (bad / "a.csv").write_text("a\n1\n")
    failure = run_here(model, tmp_path / "in", tmp_path / "other").failures().iloc[0]
    assert (failure["file"], failure["row"], failure["column"], failure["value"]) == (
        "year=x/part=1/a.csv",
        0,
        "year",
        "x",
    )


class TestParams:
    """--param by the model's params schema."""

    @pytest.fixture
    def model(self, recorder):
        from mlflow.types import DataType, ParamSpec

        specs = [
            ParamSpec("threshold", DataType.double, 0.5),
            ParamSpec("top", DataType.long, 3),
            ParamSpec("label", DataType.string, "a"),
            ParamSpec("exact", DataType.boolean, False),
            ParamSpec("weights", DataType.double, [1.0], shape=(-1,)),
            ParamSpec("since", DataType.datetime, np.datetime64("2026-01-01")),
        ]
        return recorder(column("double"), params=specs)

    def params(self, run_here, model, tmp_path, **given):
        (tmp_path / "x.csv").write_text("x\n1\n")
        run_here(model, tmp_path / "x.csv", tmp_path / "out", params=given)
        assert HereSlots.last is not None
        (found,) = python_model(HereSlots.last.scorer).params
        return found

    def test_defaults_are_the_models(self, run_here, model, tmp_path):
        found = self.params(run_here, model, tmp_path)
        assert found == {
            "threshold": 0.5, "top": 3, "label": "a", "exact": False, "weights": [1.0],
            "since": np.datetime64("2026-01-01"),
        }  # fmt: skip

    def test_values_come_in_their_types(self, run_here, model, tmp_path):
        found = self.params(
            run_here, model, tmp_path, threshold=1, top="7", label="007", exact=True, weights=[1, 2.5],
            since="2026-02-01T10:00:00Z",
        )  # fmt: skip
        assert {name: shown(value) for name, value in found.items()} == {
            "threshold": "1.0", "top": "7", "label": "'007'", "exact": "True", "weights": ["1.0", "2.5"],
            "since": "2026-02-01 10:00:00",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "given", "expected"),
        [
            ("top", np.int64(7), 7),
            ("top", Decimal(7), 7),
            ("threshold", np.float32(0.5), 0.5),
            ("exact", np.True_, True),
            ("weights", np.array([1, 2]), [1.0, 2.0]),
            ("weights", (np.float64(1.5), 2), [1.5, 2.0]),
            ("since", NOON, NOON_PLAIN),
            ("since", DAY, dt.datetime(2026, 1, 31)),  # noqa: DTZ001  # as MLflow has it
            ("since", pd.Timestamp(NOON_PLAIN), NOON_PLAIN),
            ("since", np.datetime64("2026-01-31T12:00"), NOON_PLAIN),
        ],
    )
    def test_what_numpy_and_pandas_have_can_be_given(self, run_here, model, tmp_path, name, given, expected):
        found = self.params(run_here, model, tmp_path, **{name: given})[name]
        assert type(found) is type(expected)
        assert found == expected

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"label": None}, "parameter 'label' is None; leave it out for the model's default"),
            ({"label": object()}, "parameter 'label': found a object; numbers, text"),
            ({"treshold": 1}, "unknown parameter 'treshold'.*did you mean 'threshold'"),
            ({"top": 1.5}, "parameter 'top': found '1.5', expected long"),
            ({"exact": "yes"}, "parameter 'exact'"),
            ({"weights": 1}, r"expected Array\(double\).*lists and objects are JSON"),
        ],
    )
    def test_what_doesnt_fit_is_refused_before_anything_is_scored(self, run_here, model, tmp_path, given, message):
        with pytest.raises(UsageError, match=message):
            self.params(run_here, model, tmp_path, **given)

    def test_params_for_a_model_without_any_end_the_command_with_2(self, recorder, tmp_path, run_batchscore):
        (tmp_path / "x.csv").write_text("x\n1\n")
        model = recorder(column("double"))
        done = run_batchscore("run", "-m", model, "-i", tmp_path / "x.csv", "-o", tmp_path / "out", "--param", "a=1")
        assert done.returncode == 2
        assert "the model has no params schema" in done.stderr
