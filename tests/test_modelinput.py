"""What goes to predict: MLflow's own enforcement takes it, and changes nothing."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models.utils import _enforce_schema
from mlflow.types import schema as mlflow_schema

from batchscore.errors import FileRefused
from batchscore.schema import Schema
from batchscore.signature.conversion import convert, parse_text
from batchscore.signature.modelinput import model_input

# MLflow's own, for a nested column without rows, on pandas 1.5
pytestmark = pytest.mark.filterwarnings("ignore:The default dtype for empty Series:FutureWarning")
NAN = float("nan")


def schema_of(*specs) -> Schema:
    return Schema.from_json([{"name": f"c{number}", **spec} for number, spec in enumerate(specs)])


def frame_of(schema: Schema, *columns: pa.Array):
    arrays = [convert(values, spec, name=spec.name) for values, spec in zip(columns, schema.specs, strict=True)]
    return model_input(schema, pa.table(arrays, names=[spec.name for spec in schema.specs]))


def enforced(schema: Schema, given):
    return _enforce_schema(given, mlflow_schema.Schema.from_json(json.dumps(schema.to_json())))


def shown(value):
    """A value with its type, so that 1, 1.0 and True differ; scalars within dicts compare as Python's."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), shown(value.tolist())]
    if isinstance(value, dict):
        return {key: shown(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shown(part) for part in value]
    if isinstance(value, (np.datetime64, pd.Timestamp)) or value is pd.NaT:
        return str(pd.Timestamp(value))
    return repr(value.item() if isinstance(value, np.generic) else value)


def assert_taken_unchanged(schema: Schema, given: pd.DataFrame):
    before = {name: (given[name].dtype, [shown(value) for value in given[name]]) for name in given}
    after = enforced(schema, given)
    assert list(after.columns) == list(before)
    for name, (dtype, values) in before.items():
        assert [shown(value) for value in after[name]] == values
        if dtype.kind != "O":
            assert after[name].dtype == dtype


SCALARS = {
    "double": ["1", None, "2.5"],
    "float": ["0.1", None, "2.5"],
    "long": ["1", "9007199254740993", "3"],
    "integer": ["1", "-2", "3"],
    "boolean": ["1", "false", "TRUE"],
    "string": ["007", None, " a"],
    "datetime": ["2026-01-31T10:00:00Z", None, "2026-01-31"],
    "binary": ["YQ==", None, ""],
}


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("rows", [3, 1, 0])
def test_every_type_reaches_predict_unchanged(rows, required):
    schema = schema_of(*({"type": kind, "required": required} for kind in SCALARS))
    given = frame_of(schema, *(pa.array(values[:rows], pa.string()) for values in SCALARS.values()))
    assert isinstance(given.index, pd.RangeIndex)
    assert len(given) == rows
    kinds = ["float64", "float32", "int64", "int32", "bool", "object", "datetime64[ns]", "object"]
    assert [str(dtype) for dtype in given.dtypes] == kinds
    assert_taken_unchanged(schema, given)


def test_an_all_missing_column_keeps_its_type_and_passes():
    schema = schema_of(*({"type": kind} for kind in ("double", "float", "string", "datetime", "binary")))
    given = frame_of(schema, *(pa.nulls(2) for _ in schema.columns))
    assert [str(dtype) for dtype in given.dtypes] == ["float64", "float32", "object", "datetime64[ns]", "object"]
    assert_taken_unchanged(schema, given)


def test_strings_are_python_strings_with_nan_where_missing():
    given = frame_of(schema_of({"type": "string"}), pa.array(["007", None]))
    assert given["c0"].dtype == object
    assert type(given["c0"][0]) is str
    assert type(given["c0"][1]) is float


def test_numbers_without_missing_values_arent_copied():
    values = pa.array([1.0, 2.0])
    given = frame_of(schema_of({"type": "double"}), values)
    assert np.shares_memory(given["c0"].to_numpy(), values.to_numpy())


ARRAY = {"type": "array", "items": {"type": "double"}}
OBJECT = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "float"},
        "d": {"type": "double"},
        "s": {"type": "string", "required": False},
        "t": {"type": "datetime"},
        "ok": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "required": False},
        "big": {"type": "long", "required": False},
    },
}
NESTED = [
    (ARRAY, "[1, 2.5, null]", [1.0, 2.5, NAN]),
    (ARRAY, "[]", []),
    ({"type": "sparkml_vector"}, "[1]", [1.0]),
    ({"type": "array", "items": {"type": "float"}}, "[0.5, 1]", np.array([0.5, 1], np.float32)),
    ({"type": "array", "items": {"type": "integer"}}, "[1, 2.0]", np.array([1, 2], np.int32)),
    ({"type": "array", "items": {"type": "long"}}, "[9007199254740993]", [9007199254740993]),
    ({"type": "array", "items": {"type": "boolean"}}, "[true, false]", [True, False]),
    ({"type": "array", "items": {"type": "string"}}, '["007", "b"]', ["007", "b"]),
    ({"type": "array", "items": {"type": "datetime"}}, '["2026-01-31"]', np.array(["2026-01-31"], "datetime64[ns]")),
    ({"type": "array", "items": {"type": "binary"}}, '["YQ=="]', [b"a"]),
    ({"type": "array", "items": ARRAY}, "[[1], [], [2, 3]]", [[1.0], [], [2.0, 3.0]]),
    ({"type": "array", "items": {"type": "any"}}, '[1, "a", null, {"b": [1.5]}]', [1, "a", None, {"b": [1.5]}]),
    ({"type": "map", "values": {"type": "double"}}, '{"a": 1, "b": null}', {"a": 1.0, "b": NAN}),
    ({"type": "map", "values": ARRAY}, '{"a": [1]}', {"a": [1.0]}),
    ({"type": "map", "values": {"type": "any"}}, "{}", {}),
    (
        OBJECT,
        '{"n": 1, "x": 0.5, "d": null, "t": "2026-01-31", "ok": true, "tags": ["a"]}',
        {
            "n": 1,
            "x": 0.5,
            "d": NAN,
            "s": None,
            "t": pd.Timestamp("2026-01-31"),
            "ok": True,
            "tags": ["a"],
            "big": None,
        },
    ),
    (
        {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "long"}}}},
        '[{"a": 1}, {"a": 2}]',
        [{"a": 1}, {"a": 2}],
    ),
]


@pytest.mark.parametrize(("kind", "written", "expected"), NESTED)
def test_json_becomes_lists_and_dicts_that_mlflow_takes(kind, written, expected):
    schema = schema_of(kind)
    given = frame_of(schema, pa.array([written, written, written]))
    assert [shown(value) for value in given["c0"]] == [shown(expected)] * 3
    assert_taken_unchanged(schema, given)


@pytest.mark.parametrize("rows", [[None, 0, None, 0], [None], []])
@pytest.mark.parametrize(("kind", "written", "expected"), NESTED)
def test_optional_nested_values_may_be_missing(kind, written, expected, rows):
    schema = schema_of({**kind, "required": False})
    optional = {**expected, "b": None} if isinstance(expected, dict) and "b" in expected else expected
    given = frame_of(schema, pa.array([row if row is None else written for row in rows], pa.string()))
    assert [shown(value) for value in given["c0"]] == [shown(row if row is None else optional) for row in rows]
    assert_taken_unchanged(schema, given)


PARQUET_NESTED = [
    (ARRAY, pa.array([[1, 2], [], [3]])),
    (ARRAY, pa.array([[1.5, None], []], pa.large_list(pa.float32()))),
    (ARRAY, pa.array([[1.5, 2.5]], pa.list_(pa.float64(), 2))),
    (ARRAY, pa.array(["[1]"])),
    ({"type": "array", "items": {"type": "integer"}}, pa.array([[1, 2], [3]], pa.list_(pa.int64()))),
    ({"type": "array", "items": {"type": "float"}}, pa.array([[1.5]], pa.list_(pa.float64()))),
    ({"type": "array", "items": ARRAY}, pa.array([[[1.0], []], []])),
    ({"type": "map", "values": {"type": "long"}}, pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32()))),
    ({"type": "map", "values": {"type": "long"}}, pa.array([{"a": 1, "b": None}])),
    ({"type": "object", "properties": {"a": {"type": "double"}}}, pa.array([{"a": 1}, {"a": 2}])),
    (
        {"type": "object", "properties": {"a": {"type": "integer", "required": False}, "b": ARRAY}},
        pa.array([{"a": 1, "b": [1.0], "c": None}, {"a": None, "b": [], "c": None}]),
    ),
    ({"type": "any"}, pa.array([{"a": 1}, None])),
    ({"type": "any"}, pa.array([[1.5], []])),
]


@pytest.mark.parametrize(("kind", "values"), PARQUET_NESTED)
@pytest.mark.parametrize("cut", [0, 1])
def test_parquet_lists_structs_and_maps_become_what_mlflow_takes(kind, values, cut):
    schema = schema_of(kind)
    given = frame_of(schema, values.slice(cut))
    assert len(given) == len(values) - cut
    assert_taken_unchanged(schema, given)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (ARRAY, ["[1, true]", '["x"]', "1", "{}", "[1", "", "[[1]]", "[9007199254740993]"]),
        ({"type": "array", "items": {"type": "long"}}, ["[null]", "[1.5]"]),
        ({"type": "array", "items": {"type": "string"}}, ["[7]", "[null]", "[true]"]),
        ({"type": "map", "values": {"type": "double"}}, ["[]", '{"a": "x"}']),
        (OBJECT, ["{}", '{"n": 1, "x": 1, "d": 1, "t": "2026-01-31", "ok": true, "more": 1}']),
        (OBJECT, ['{"n": 3000000000, "x": 1, "d": 1, "t": "2026-01-31", "ok": true}']),
        (OBJECT, ['{"n": null, "x": 1, "d": 1, "t": "2026-01-31", "ok": true}']),
    ],
)
def test_json_that_doesnt_fit_is_refused_naming_the_first_row(kind, bad):
    schema = schema_of(kind)
    good = {"array": "[]", "map": "{}"}.get(kind["type"], '{"n": 1, "x": 1, "d": 1, "t": "2026-01-31", "ok": true}')
    for value in bad:
        with pytest.raises(FileRefused, match="expected") as caught:
            parse_text(pa.array([good, value, "[" + good, value]), schema.columns[0], name="c0", first_row=5)
        assert (caught.value.row, caught.value.value) == (6, value)


@pytest.mark.parametrize(
    "bad", [pa.array([[1.0], [1.5]]), pa.array([[], [2**40]]), pa.array([[1], None]), pa.array([[1], [None]])]
)
def test_parquet_lists_that_dont_fit_are_refused_naming_the_row(bad):
    schema = schema_of({"type": "array", "items": {"type": "integer"}})
    with pytest.raises(FileRefused) as caught:
        convert(bad, schema.columns[0], name="c0")
    assert caught.value.row == 1


def test_a_struct_with_more_than_the_object_is_refused_at_the_first_value():
    schema = schema_of({"type": "object", "properties": {"a": {"type": "double"}}})
    with pytest.raises(FileRefused, match="no property 'z'") as caught:
        convert(pa.array([{"a": 1, "z": None}, {"a": 1, "z": 2}]), schema.columns[0], name="c0")
    assert caught.value.row == 1


def test_the_first_bad_row_is_named_whatever_property_it_is_in():
    kind = {"type": "object", "properties": {name: {"type": "integer"} for name in "abc"}}
    rows = [{"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 2**40, "c": 1}, {"a": 2**40, "b": 1, "c": 2**40}]
    for values in (pa.array(rows), pa.array([json.dumps(row) for row in rows])):
        with pytest.raises(FileRefused, match="its 'b'") as caught:
            convert(values, schema_of(kind).columns[0], name="c0")
        assert caught.value.row == 1


@pytest.mark.parametrize("values", [pa.array([None, [1], None, [2**40]]), pa.array([None, "[1]", None, "[1.5]"])])
def test_rows_are_counted_with_missing_ones_in_between(values):
    schema = schema_of({"type": "array", "items": {"type": "integer"}, "required": False})
    with pytest.raises(FileRefused) as caught:
        convert(values, schema.columns[0], name="c0")
    assert caught.value.row == 3


def test_missing_required_nested_values_are_refused():
    with pytest.raises(FileRefused, match="required") as caught:
        parse_text(pa.array(["[1]", None, "x"]), schema_of(ARRAY).columns[0], name="c0")
    assert caught.value.row == 1


OBJECT = {"type": "object", "properties": {"a": {"type": "double"}, "b": {"type": "long", "required": False}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pa.array(['{"a": 1}', '{"b": 1}']),
            r"""row 1, .* found '{"b": 1}', expected JSON text of .* \(it has no 'a'\)""",
        ),
        (pa.array([{"b": 1}]), r"row 0, .* found \"{'b': 1}\", expected a value \(required\) as its 'a'"),
    ],
    ids=["JSON text", "a struct"],
)
def test_a_required_property_that_is_absent_is_refused(values, message):
    """As MLflow does; one that is null is missing, as in a column."""
    with pytest.raises(FileRefused, match=message):
        convert(values, schema_of(OBJECT).columns[0], name="c0")
    assert frame_of(schema_of(OBJECT), pa.array(['{"a": null}']))["c0"][0]["a"] != 0


def test_what_is_missing_within_a_list_is_shown_in_it():
    schema = schema_of({"type": "array", "items": {"type": "long"}})
    for values, shown_value in (
        (pa.array([[1], [2, None]]), "[2, None]"),
        (pa.array(["[1]", "[2, null]"]), "[2, null]"),
    ):
        with pytest.raises(FileRefused, match="a value is missing in it") as caught:
            convert(values, schema.columns[0], name="c0")
        assert (caught.value.row, caught.value.value) == (1, shown_value)


def test_without_names_the_files_names_stay():
    schema = Schema.from_json([{"type": "long"}, {"type": "string"}])
    given = model_input(schema, pa.table({"b": pa.array([1]), "a": pa.array(["x"])}))
    assert list(given.columns) == ["b", "a"]
    assert_taken_unchanged(schema, given)


def test_an_optional_column_that_is_absent_stays_absent():
    schema = schema_of({"type": "long"}, {"type": "double", "required": False})
    given = model_input(schema, pa.table({"c0": pa.array([1])}))
    assert list(given.columns) == ["c0"]
    assert_taken_unchanged(schema, given)


def test_without_a_signature_the_frame_is_pandas_own_with_python_strings():
    moment = dt.datetime(2026, 1, 31)  # noqa: DTZ001
    table = pa.table(
        {
            "n": pa.array([1, 2]),
            "x": pa.array([1.5, None]),
            "s": pa.array(["a", None]),
            "k": pa.array(["a", "b"]).dictionary_encode(),
            "l": pa.array([[1], []]),
            "t": pa.array([moment, None]),
        }
    )
    given = model_input(None, table)
    assert [str(dtype) for dtype in given.dtypes][:5] == ["int64", "float64", "object", "category", "object"]
    assert given["l"].tolist() == [[1], []]
    assert type(given["s"][0]) is str
    assert type(given["s"][1]) is float
    given.loc[0, "n"] = 7  # not Arrow's read-only memory
    assert table["n"][0].as_py() == 1


def tensor(dtype, shape, name=None) -> dict:
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}


DTYPES = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "str",
]


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [[-1], [-1, 1], [-1, 2], [-1, -1], [-1, 2, 3]])
def test_an_unnamed_tensor_is_filled_by_columns(dtype, shape, rows):
    from batchscore.settings import ScoringSettings
    from batchscore.signature import plan_reading

    schema = Schema.from_json([tensor(dtype, shape)])
    width = abs(int(np.prod(shape[1:]))) if shape[1:] != [-1] else 2
    plan = plan_reading(schema, [f"c{number}" for number in range(width)], ScoringSettings())
    columns = {
        column.name: parse_text(pa.array(["1", "0", "1"][:rows], pa.string()), column.spec, name=column.name)
        for column in plan.features
    }
    given = model_input(schema, pa.table(columns))
    assert given.shape == (rows, *(shape[1:] if shape[1:] != [-1] else [2]))
    np.testing.assert_array_equal(given, enforced(schema, given))
    if rows == 3 and dtype != "str":
        assert given.reshape(3, -1)[:, 0].astype(int).tolist() == [1, 0, 1]


def test_a_tensors_columns_stand_in_the_files_order():
    schema = Schema.from_json([tensor("int32", [-1, 2, 2])])
    given = model_input(schema, pa.table({str(n): pa.array([n, 10 + n], pa.int32()) for n in range(4)}))
    assert given.tolist() == [[[0, 1], [2, 3]], [[10, 11], [12, 13]]]


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("nesting", ["flat", "nested", "json", "flat json", "fixed"])
def test_named_tensors_are_filled_by_columns_of_lists(rows, nesting):
    schema = Schema.from_json(
        [tensor("float32", [-1, 2, 2], "a"), tensor("int64", [-1, 1], "b"), tensor("int32", [-1], "c")]
    )
    lists = {
        "flat": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]]),
        "nested": pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        "json": pa.array(["[[1, 2], [3, 4]]", "[[5, 6], [7, 8]]"]),
        "flat json": pa.array(["[1, 2, 3, 4]", "[5, 6, 7, 8]"]),
        "fixed": pa.array([[1, 2, 3, 4], [5, 6, 7, 8]], pa.list_(pa.int16(), 4)),
    }[nesting]
    columns = [lists, pa.array([[1], [2]]), pa.array([1, 2], pa.int64())]
    given = frame_of(schema, *(values.slice(0, rows) for values in columns))
    assert {name: (str(array.dtype), array.shape) for name, array in given.items()} == {
        "a": ("float32", (rows, 2, 2)),
        "b": ("int64", (rows, 1)),
        "c": ("int32", (rows,)),
    }
    assert given["a"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]][:rows]
    for name, array in enforced(schema, given).items():
        np.testing.assert_array_equal(array, given[name])


@pytest.mark.parametrize(
    "bad",
    [
        pa.array([[1, 2, 3, 4], [1, 2, 3]]),
        pa.array([[[1, 2], [3, 4]], [[1, 2, 3], [4]]]),
        pa.array([[[1, 2], [3, 4]], None]),
        pa.array(["[1, 2, 3, 4]", "[1, 2, 3]"]),
        pa.array(["[[1, 2], [3, 4]]", "[[1], [2, 3, 4]]"]),
        pa.array(["[1, 2, 3, 4]", '[1, 2, 3, "x"]']),
        pa.array([[1, 2, 3, 4], [1, 2, 3, 2**60]]),
    ],
)
def test_a_tensors_row_of_another_shape_is_refused(bad):
    schema = Schema.from_json([tensor("int32", [-1, 2, 2], "a")])
    with pytest.raises(FileRefused) as caught:
        convert(bad, schema.tensors[0], name="a", first_row=10)
    assert caught.value.row == 11


def test_object_tensors_take_values_as_they_are():
    schema = Schema.from_json([tensor("object", [-1], "a"), tensor("str", [-1], "b")])
    given = frame_of(schema, pa.array(["x", None]), pa.array(["x", "yz"]))
    assert given["a"].dtype == object
    assert given["b"].tolist() == ["x", "yz"]
    enforced(schema, given)


@pytest.mark.parametrize(
    "specs",
    [
        [tensor("float64", [-1, 1])],
        [tensor("float64", [-1])],
        [tensor("float64", [-1, -1])],
        [tensor("float64", [-1], "a")],
        [tensor("float64", [-1, 1], "a")],
    ],
    ids=str,
)
def test_a_model_may_write_into_its_tensors(specs):
    """MLflow hands arrays on as they are: Arrow's own memory would be read-only."""
    column = pa.array([1.0, 2.0])
    given = model_input(Schema.from_json(specs), pa.table({"a": column}))
    array = given["a"] if isinstance(given, dict) else given
    array *= 2
    assert array.reshape(-1).tolist() == [2.0, 4.0]
    assert column.to_pylist() == [1.0, 2.0]
