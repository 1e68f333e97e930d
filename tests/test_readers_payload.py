"""Request payloads and JSON Lines: their formats, verdicts as of other files, cuts, and refusals."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile
from batchscore.readers import is_payload
from batchscore.schema import ColumnSpec, Schema, TensorSpec
from batchscore.settings import CsvOptions, ScoringSettings
from batchscore.signature.modelinput import model_input

NAMED = Schema(columns=(ColumnSpec("a", "long"), ColumnSpec("b", "double"), ColumnSpec("s", "string")))
UNNAMED = Schema(columns=(ColumnSpec(None, "long"), ColumnSpec(None, "double")))
CSV = CsvOptions()


def tensors(**specs: tuple[str, tuple[int, ...]]) -> Schema:
    return Schema(tensors=tuple(TensorSpec(name, dtype, shape) for name, (dtype, shape) in specs.items()))


def tensor(dtype: str, *shape: int) -> Schema:
    return Schema(tensors=(TensorSpec(None, dtype, shape),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("payloads")


@pytest.fixture
def written(tmp_path):
    """Writes a document (or its text) and describes the file."""

    def write(content: Any, name: str = "x.json", partitions=()) -> InputFile:
        return write_in(tmp_path, content, name, partitions)

    return write


def write_in(folder: Path, content: Any, name: str = "x.json", partitions=()) -> InputFile:
    path = folder / name
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return InputFile(name, str(path), path.stat().st_size, "1", partitions)


def read(
    file: InputFile, schema: Schema | None = NAMED, piece: FileSlice | None = None, **options
) -> list[readers.Chunk]:
    return list(readers.read(piece or FileSlice(file), schema, ScoringSettings(**options)))


def rows(chunks: list[readers.Chunk]) -> list[tuple]:
    return [row for chunk in chunks for row in zip(*chunk.features.to_pydict().values(), strict=True)]


def refusal(file: InputFile, schema: Schema | None = NAMED, **options) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(file, schema, **options)
    return caught.value


TABLE = {"columns": ["s", "a", "b"], "index": [7, 8], "data": [["007", 1, 2], [None, 2.0, None]]}
RECORDS = [{"s": "007", "a": 1, "b": 2}, {"a": 2.0, "s": None}]
LISTS = {"s": ["007", None], "a": [1, 2.0], "b": [2, None]}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(TABLE, "x.json", id="split"),
        pytest.param({"input_data": TABLE}, "x.json", id="input_data, split"),
        pytest.param({"dataframe_split": TABLE}, "x.json", id="dataframe_split"),
        pytest.param(RECORDS, "x.json", id="records"),
        pytest.param({"input_data": RECORDS, "params": {}}, "x.json", id="input_data, records"),
        pytest.param({"dataframe_records": RECORDS}, "x.json", id="dataframe_records"),
        pytest.param({"instances": RECORDS}, "x.json", id="instances"),
        pytest.param({"inputs": RECORDS}, "x.json", id="inputs, records"),
        pytest.param({"inputs": LISTS}, "x.json", id="inputs, lists"),
        pytest.param({"input_data": LISTS}, "X.JSON", id="input_data, lists"),
        pytest.param(LISTS, "x.json", id="lists"),
        pytest.param("\ufeff" + json.dumps(LISTS, indent=2), "x.json", id="a byte order mark"),
        pytest.param("\n".join(map(json.dumps, RECORDS)), "x.jsonl", id="lines"),
        pytest.param(
            "\ufeff\n \t\r\n" + "\r\n\n".join(map(json.dumps, RECORDS)) + "\r\n\n  ",
            "x.jsonl",
            id="blank lines",
        ),
        pytest.param(gzip.compress("\n".join(map(json.dumps, RECORDS)).encode()), "x.jsonl.gz", id="compressed"),
    ],
)
def test_every_format_gives_the_same_typed_rows(written, content, name):
    """Columns by name, in the model's order and types; what a record lacks is missing."""
    file = written(content, name)
    (chunk,) = read(file, keep=("b", "s"))
    assert chunk.features.schema.types == [pa.int64(), pa.float64(), pa.string()]
    assert rows([chunk]) == [(1, 2.0, "007"), (2, None, None)]
    assert chunk.kept.to_pydict() == {"b": ["2", None], "s": ["007", None]}
    assert readers.count_rows(file, CSV) == 2
    assert sorted(readers.columns(file, CSV)) == ["a", "b", "s"]
    assert readers.cut(file, 1 << 20, CSV) == (FileSlice(file),)
    if name.lower().endswith(".json"):
        assert is_payload(file.path)


@pytest.mark.parametrize(
    "content", [[[1, 2], [3, 4.5]], {"inputs": [[1, 2], [3, 4.5]]}, {"columns": [0, 1], "data": [[1, 2], [3, 4.5]]}]
)
def test_rows_without_names_go_by_position(written, content):
    """For a signature without names."""
    assert rows(read(written(content), UNNAMED)) == [(1, 2.0), (3, 4.5)]
    assert "the rows have no names" in refusal(written([[1, 2]])).reason
    one = Schema(columns=(ColumnSpec("text", "string"),))
    assert rows(read(written(["a", None]), one)) == [("a",), (None,)]


def test_rows_of_other_widths_are_refused_in_order(written):
    """The first bad row speaks, whatever is wrong with it and wherever calls begin."""
    for rows_per_call in (1, 2, 10):
        refused = refusal(written([[1, 2], ["x", 2], [3]]), UNNAMED, rows_per_call=rows_per_call)
        assert (refused.row, refused.column, refused.value) == (1, "0", "x")
        refused = refusal(written([[1, 2], [3], ["x", 2]]), UNNAMED, rows_per_call=rows_per_call)
        assert refused.reason == "row 1: found 1 values; expected a list of 2, one for each column"
    assert refusal(written({"columns": ["a"], "data": [[1], [2, 3]]})).row == 1


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (True, "double", "a boolean in the JSON"),
        (7, "string", "write it in quotes"),
        ([1], "double", "a list in the JSON"),
        ({"k": 1}, "string", "an object in the JSON"),
        (20260101, "datetime", "a number in the JSON"),
        (1.5, "long", "a whole number"),
        (2**63, "long", "a whole number"),
        (2**53 + 1, "double", "can't hold this integer exactly"),
        ("yes", "boolean", "true, false, 1 or 0"),
        (2, "boolean", "true, false, 1 or 0"),
        (None, "long", "is missing"),
        ("x", "double", "a number"),
    ],
)
def test_a_value_is_judged_by_what_it_is(written, value, kind, reason):
    """The refusal names row, column and value; good values before and after it change nothing."""
    schema = Schema(columns=(ColumnSpec("c", kind),))
    good = {"double": 1, "string": "a", "datetime": "2026-01-01", "long": 1, "boolean": True}[kind]
    for name, content in (("x.json", [{"c": good}, {"c": value}, {"c": good}]), ("x.jsonl", None)):
        text = content or "\n".join(json.dumps({"c": each}) for each in (good, value, good))
        refused = refusal(written(text, name), schema)
        assert reason in refused.reason
        assert (refused.row, refused.column) == (1, "c")
        assert refused.value == (None if value is None else value if isinstance(value, str) else json.dumps(value))
        assert refused.record == (json.dumps({"c": value}) if name == "x.jsonl" else None)


def test_numbers_are_read_as_they_are_written(written):
    """No digit is lost on the way, and texts are read as texts of other files are."""
    text = '{"a": [9007199254740993, 1e3, "12", -0], "b": [0.1, 1E400, "1.5", null], "s": ["", "NA", "a", "b"]}'
    refused = refusal(written(text))
    assert (refused.row, refused.column, refused.value) == (1, "b", "1E400")
    found = rows(read(written(text.replace("1E400", "1E40"))))
    assert found == [(9007199254740993, 0.1, ""), (1000, 1e40, "NA"), (12, 1.5, "a"), (0, None, "b")]


def test_booleans_are_read_however_they_are_written(written):
    """As in a Parquet column of booleans, of numbers or of text."""
    schema = Schema(columns=(ColumnSpec("c", "boolean"),))
    found = read(written('{"c": [true, 1, 1.0, 1e0, "True", "1", false, 0, -0.0, "false"]}'), schema)
    assert rows(found) == [(True,)] * 6 + [(False,)] * 4


CELLS = {
    "long": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([1.0, 0.5, "3", "x", True, None, -1e300]),
    "double": st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1, 2**60 + 1, "3", "nan", True, None]),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1, "3", None, 1e39]),
    "integer": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([2**31, 1.0, "3", None]),
    "boolean": st.booleans() | st.sampled_from([0, 1, 1.0, 2, "true", "1", None]),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    | st.sampled_from([1, None, "", "NA", True]),
    "datetime": st.sampled_from(["2026-01-01", "2026-01-01T00:00:00Z", "2026", None, 5, "x"]),
}


@given(st.data(), st.sampled_from(sorted(CELLS)))
def test_verdicts_are_those_of_a_parquet_file(folder, data, kind):
    """A column of one natural type gives the same values, or is refused at the same row."""
    values = data.draw(st.lists(CELLS[kind], max_size=6))
    families = {bool: "b", int: "n", float: "f", str: "s"}
    kinds = {families[type(value)] for value in values if value is not None}
    if len(kinds) > 1:
        values = [value for value in values if value is None or families[type(value)] == min(kinds)]
    schema = Schema(columns=(ColumnSpec("c", kind),))
    path = folder / "y.parquet"
    pq.write_table(pa.table({"c": pa.array(values)}), path)
    parquet = InputFile("y.parquet", str(path), path.stat().st_size, "1")
    expected = _outcome(parquet, schema)
    if values:
        assert _outcome(write_in(folder, {"c": values}), schema) == expected
        assert (
            _outcome(write_in(folder, "\n".join(json.dumps({"c": v}) for v in values), "x.jsonl"), schema) == expected
        )


def _outcome(file: InputFile, schema: Schema, piece: FileSlice | None = None, **options) -> Any:
    try:
        return [tuple(map(_comparable, row)) for row in rows(read(file, schema, piece, **options))]
    except FileRefused as refused:
        return refused.row, refused.column


def _comparable(value: Any) -> Any:
    return "nan" if isinstance(value, float) and math.isnan(value) else repr(value)


@example([[{"a": 1, "b": 2, "s": "x"}], [{"a": "x"}]], 10, 1)
@given(
    st.lists(
        st.lists(
            st.dictionaries(st.sampled_from(["a", "b", "s"]), CELLS["long"] | CELLS["string"]), min_size=1, max_size=3
        ),
        max_size=5,
    ),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_cuts_of_lines_change_neither_values_nor_refusals(folder, groups, size, rows_per_call):
    """Slices hold each line once, in order, and the first refusal of all slices is the whole file's."""
    text = "\n\n".join("\n".join(map(json.dumps, group)) for group in groups)
    file = write_in(folder, text, "cut.jsonl")
    whole = _outcome(file, NAMED)
    pieces = readers.cut(file, size, CSV)
    assert pieces[0].start == 0
    assert all(one.stop == two.start for one, two in pairwise(pieces))
    assert pieces[-1].stop in (None, file.size)
    assert readers.count_rows(file, CSV) == sum(map(len, groups))
    found = [_outcome(file, NAMED, piece, rows_per_call=rows_per_call) for piece in pieces]
    refused = [each for each in found if isinstance(each, tuple)]
    if isinstance(whole, list):
        assert not refused
        assert [row for each in found for row in each] == whole
        assert [piece.first_row for piece in pieces] == [sum(map(len, found[:place])) for place in range(len(found))]
    else:
        assert refused[0] == whole


def test_a_column_that_appears_late_is_read_in_every_slice(written):
    """Writers leave nulls out; a column that no record has is refused in every slice."""
    late = [{"a": 1, "s": "x"}] * 4 + [{"a": 1, "s": "x", "b": 1.5}]
    file = written("\n".join(map(json.dumps, late)), "x.jsonl")
    pieces = readers.cut(file, 30, CSV)
    assert len(pieces) > 2
    assert [row[1] for piece in pieces for row in rows(read(file, NAMED, piece))] == [None] * 4 + [1.5]
    file = written("\n".join(map(json.dumps, late[:4])), "y.jsonl")
    for piece in readers.cut(file, 30, CSV):
        with pytest.raises(FileRefused, match="columns are missing: 'b'"):
            read(file, NAMED, piece)


@pytest.mark.parametrize("rows_per_call", [1, 2, 3, 100])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_chunks_have_rows_per_call_rows(written, rows_per_call, name):
    """All but the last, from their first row on, up to the rows that are asked for."""
    records = [{"a": number, "b": None, "s": None} for number in range(7)]
    file = written(records if name == "x.json" else "\n".join(map(json.dumps, records)), name)
    chunks = read(file, rows_per_call=rows_per_call)
    assert [chunk.first_row for chunk in chunks] == list(range(0, 7, rows_per_call))
    assert [chunk.rows for chunk in chunks[:-1]] == [rows_per_call] * (len(chunks) - 1)
    assert [row[0] for row in rows(chunks)] == list(range(7))
    limited = read(file, piece=FileSlice(file, max_rows=4), rows_per_call=rows_per_call)
    assert [row[0] for row in rows(limited)] == [0, 1, 2, 3]
    untyped = read(file, None, FileSlice(file, max_rows=4), rows_per_call=rows_per_call)
    assert [value for chunk in untyped for value in chunk.features["a"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("content", "name"),
    [("[]", "x.json"), ("", "x.jsonl"), ({"a": [], "b": [], "s": []}, "x.json"), ("\n \n", "x.jsonl")],
)
def test_no_rows_are_rows_of_the_models_columns(written, content, name):
    """One chunk of 0 rows, kept columns too."""
    (chunk,) = read(written(content, name), keep=("a",))
    assert (chunk.rows, chunk.features.schema.types) == (0, [pa.int64(), pa.float64(), pa.string()])
    assert chunk.kept.column_names == ["a"]
    assert read(written(content, name), None)[0].rows == 0


def test_kept_columns_are_text_as_it_stands(written):
    """Numbers as written, lists and objects as JSON; text of the JSON is marked as text."""
    content = '{"dataframe_records": [{"a": 1, "b": 2.50, "s": "x", "n": 1E2, "l": [1, {"k": null}], "t": "01"}]}'
    (chunk,) = read(written(content, partitions=(("day", "02"),)), keep=("n", "l", "t", "b", "day"))
    assert chunk.kept.to_pydict() == {
        "n": ["1E2"],
        "l": ['[1, {"k": null}]'],
        "t": ["01"],
        "b": ["2.50"],
        "day": ["02"],
    }
    assert [field.metadata is not None for field in chunk.kept.schema] == [False, False, True, False, False]
    assert "columns to keep are missing: 'id'" in refusal(written(content), keep=("id",)).reason


def test_partitions_and_renamed_columns(written):
    """As for other files."""
    file = written([{"a": 1, "old": 2}], partitions=(("s", "x"),))
    assert rows(read(file, rename=(("old", "b"),))) == [(1, 2.0, "x")]
    file = written('{"a": 1, "old": 2}', "x.jsonl", partitions=(("s", "x"),))
    assert rows(read(file, rename=(("old", "b"),))) == [(1, 2.0, "x")]


NESTED = Schema(
    columns=(
        ColumnSpec("v", {"type": "array", "items": {"type": "double"}}),
        ColumnSpec("o", {"type": "object", "properties": {"k": {"type": "long", "required": True}}}, required=False),
        ColumnSpec("m", {"type": "map", "values": {"type": "string"}}),
        ColumnSpec("z", "any", required=False),
    )
)


def test_arrays_objects_and_maps_are_read_as_they_stand(written):
    """The values of JSON itself; one record under `inputs` is a row, as for MLflow's server."""
    records = [{"v": [1, 2.5], "o": {"k": 1}, "m": {"x": "y"}, "z": [1, "a"]}, {"v": [], "m": {}, "z": None}]
    frame = model_input(NESTED, read(written(records), NESTED)[0].features)
    assert frame["v"].tolist() == [[1.0, 2.5], []]
    assert frame["o"].tolist() == [{"k": 1}, None]
    assert frame["m"].tolist() == [{"x": "y"}, {}]
    assert frame["z"].tolist() == [[1, "a"], None]
    one = {"inputs": {"v": [1, 2], "m": {"x": "y"}}}
    assert model_input(NESTED, read(written(one), NESTED)[0].features)["v"].tolist() == [[1.0, 2.0]]
    assert model_input(NESTED, read(written({"inputs": {"v": [1, 2], "m": {}}}), NESTED)[0].features)["v"].tolist() == [
        [1, 2]
    ]
    refused = refusal(written([records[0], {**records[0], "o": {"k": "x"}}]), NESTED)
    assert (refused.row, refused.column, refused.value) == (1, "o", '{"k": "x"}')


@pytest.mark.parametrize(
    ("schema", "content", "expected"),
    [
        (tensor("float32", -1, 2, 2), {"inputs": [[[1, 2], [3, 4]]]}, np.array([[[1, 2], [3, 4]]], "float32")),
        (tensor("float32", -1, 2, 2), [[1, 2, 3, 4]], np.array([[[1, 2], [3, 4]]], "float32")),
        (tensor("int64", -1), [1, 2.0], np.array([1, 2])),
        (tensor("int64", -1, 1), {"instances": [[1], 2]}, np.array([[1], [2]])),
        (tensor("float64", -1, -1), {"input_data": [[1, 2], [3, 4]]}, np.array([[1.0, 2], [3, 4]])),
        (tensor("float64", -1, 2), {"columns": ["x", "y"], "data": [[1, 2], [3, 4]]}, np.array([[1.0, 2], [3, 4]])),
        (tensor("float64", -1, -1), {"columns": ["x", "y"], "data": [[1, 2], [3, 4]]}, np.array([[1.0, 2], [3, 4]])),
        (tensor("uint8", -1, -1, -1, 3), [[[[1, 2, 3]], [[4, 5, 6]]]], np.array([[[[1, 2, 3]], [[4, 5, 6]]]], "uint8")),
        (tensor("str", -1, 2), [["a", "b"]], np.array([["a", "b"]])),
        (tensor("bool", -1), [True, 0], np.array([True, False])),
        (tensor("object", -1), [1, "a", [2], None], np.array([1, "a", [2], None], object)),
        (tensor("object", -1, 2), [[1, "a"], ["b", None]], np.array([[1, "a"], ["b", None]], object)),
    ],
)
@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_lists_are_tensors(written, schema, content, expected, name):
    """The array has the tensor's dtype, and unknown sizes are those of the first row."""
    if name == "x.jsonl":
        items = content if isinstance(content, list) else next(iter(content.values()))
        content = "\n".join(
            map(json.dumps, items if not isinstance(content, dict) or "data" not in content else content["data"])
        )
    (chunk,) = read(written(content, name), schema)
    found = model_input(schema, chunk.features) if isinstance(chunk.features, pa.Table) else chunk.features
    assert found.shape == expected.shape
    assert found.dtype.kind == expected.dtype.kind
    assert found.tolist() == expected.tolist()


NAMED_TENSORS = tensors(x=("float32", (-1, -1, 2)), y=("int64", (-1,)))


@pytest.mark.parametrize("rows_per_call", [1, 9])
@pytest.mark.parametrize(
    "content",
    [
        {"inputs": {"x": [[[1, 2]], [[3, 4]]], "y": [5, 6]}},
        {"input_data": {"y": [5, 6], "x": [[[1, 2]], [[3, 4]]]}},
        {"instances": [{"x": [[1, 2]], "y": 5}, {"x": [[3, 4]], "y": 6}]},
        {"x": [[[1, 2]], [[3, 4]]], "y": [5, 6]},
        {"columns": ["x", "y"], "data": [[[[1, 2]], 5], [[[3, 4]], 6]]},
    ],
)
def test_lists_by_name_are_named_tensors(written, content, rows_per_call):
    """In all formats that have names."""
    chunks = read(written(content), NAMED_TENSORS, rows_per_call=rows_per_call)
    assert np.concatenate([chunk.features["x"] for chunk in chunks]).tolist() == [[[1, 2]], [[3, 4]]]
    assert np.concatenate([chunk.features["y"] for chunk in chunks]).tolist() == [5, 6]
    assert {chunk.features["x"].dtype for chunk in chunks} == {np.dtype("float32")}


def test_tensors_of_other_shapes_and_values_are_refused(written):
    """With the row, and the shape that is expected."""
    refused = refusal(written([[[1, 2], [3, 4]], [[1, 2]]]), tensor("float32", -1, -1, 2))
    assert (refused.row, "(2, 2)" in refused.reason) == (1, True)
    assert "(2, 3); expected (-1, 2)" in refusal(written([[[1, 2, 3], [3, 4, 5]]]), tensor("float32", -1, -1, 2)).reason
    assert "is empty" in refusal(written([[]]), tensor("float32", -1, -1)).reason
    refused = refusal(written([[1, 2], [3, "x"]]), tensor("int64", -1, 2))
    assert refused.row == 1
    assert refusal(written([[1, 2], None]), tensor("int64", -1, 2)).row == 1
    assert "300" in refusal(written([[1, 300]]), tensor("uint8", -1, 2)).reason


def test_without_signature_as_pandas_and_mlflows_server_make_of_them(written):
    """Frames of records, splits and lists by name; arrays of lists and of what is under inputs and instances."""
    frame = read(written([{"x": 1, "y": "a", "z": [1]}, {"x": 2.5}]), None)[0].features
    pd.testing.assert_frame_equal(
        frame, pd.DataFrame({"x": [1, 2.5], "y": pd.Series(["a", math.nan], dtype=object), "z": [[1], None]})
    )
    frame = read(written({"dataframe_split": TABLE}, partitions=(("p", "1"),)), None)[0].features
    assert frame.columns.tolist() == ["s", "a", "b", "p"]
    assert frame["a"].tolist() == [1, 2]
    assert frame["p"].tolist() == ["1", "1"]
    array = read(written([[1, 2], [3, 4.5]]), None)[0].features
    assert array.tolist() == [[1, 2], [3, 4.5]]
    named = read(written({"inputs": {"x": [1, 2], "y": ["a", "b"]}}), None)[0].features
    assert {name: each.tolist() for name, each in named.items()} == {"x": [1, 2], "y": ["a", "b"]}
    lines = read(written('{"x": 1}\n{"y": true}\n', "x.jsonl"), None)[0].features
    assert lines.columns.tolist() == ["x", "y"]
    assert refusal(written([[1, 2], [3]]), None).row == 1
    assert "lists of different lengths" in refusal(written([[[1], [2, 3]]]), None).reason
    assert refusal(written("[1, " + "9" * 5000 + "]"), None).row == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is it complete?"),
        ('{"input_data": {"columns": ["a"], "da', "is it complete?"),
        ('[{"a": 1, "b": 2, "a": 3}]', "the key 'a' twice"),
        ('[{"a": NaN}]', "found NaN, which isn't JSON; write null"),
        ('[{"a": -Infinity}]', "found -Infinity"),
        ('[{"s": "\\ud800"}]', "half a character"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ("[" * 100_000, "nested more than 64 deep"),
        (b'[{"s": "\xff"}]', "0xff, which isn't UTF-8"),
        ('[{"a": 1}]'.encode("utf-16"), "isn't UTF-8"),
        ("[1] [2]", "Extra data"),
        ("7", "found a number; expected an object with one of"),
        ('{"name": "x", "version": 1}', "the keys 'name', 'version'; expected"),
        ('{"inputs": [1], "instances": [2]}', "found 'instances' beside 'inputs'"),
        ('{"dataframe_split": [1]}', "dataframe_split: expected an object with data"),
        ('{"dataframe_split": {"data": [[1]], "rows": 1}}', "dataframe_split: expected"),
        ('{"dataframe_records": [1]}', "expected a list of objects"),
        ('{"inputs": 3}', "inputs: found a number"),
        ('[{"a": 1}, 2]', "row 1: found a number"),
        ('[1, {"a": 1}]', "row 1: found an object"),
        ('{"columns": ["a"], "data": 3}', "data: found a number"),
        ('{"columns": [["a", "b"]], "data": [[1]]}', "several levels"),
        ('{"columns": ["a"], "index": [1, 2], "data": [[1]]}', "index: expected a list of 1"),
        ('{"inputs": {"a": [1], "b": [1, 2]}}', "'a' has 1 rows and 'b' has 2"),
        ('{"columns": ["a", "a", "b", "s"], "data": []}', "more than one column named 'a'"),
        ('{"input_data": [], "params": {"t": 1}}', "the param t=1, which is not set in this job"),
        ('{"input_data": [], "params": 1}', "params: expected an object"),
    ],
)
def test_what_is_no_payload_is_refused_with_the_reason(written, text, reason):
    """Never a traceback."""
    assert reason in refusal(written(text)).reason
    assert reason in refusal(written(text), None).reason


def test_bad_lines_are_refused_with_their_row_and_text(written):
    """Whether they are no JSON or no record."""
    good = '{"a": 1, "b": 2, "s": "x"}\n'
    for line, reason in (("{", "character"), ("[1]", "expected an object"), ('{"a": 1, "a": 1}', "twice")):
        refused = refusal(written(f"{good}\n{good}{line}\n{good}", "x.jsonl"))
        assert (refused.row, refused.record) == (2, line)
        assert reason in refused.reason
        assert refusal(written(f"{good}{line}", "x.jsonl"), None).row == 1
    refused = refusal(written(f"{good}{good.replace('1', 'null')}{{", "x.jsonl"))
    assert (refused.row, refused.column) == (1, "a")


@pytest.mark.parametrize("content", ["[]", {"x": [], "y": []}, {"inputs": {"x": [], "y": []}}])
def test_no_rows_of_tensors(written, content):
    """Sizes that no row states stand in nobody's way."""
    for schema in (NAMED_TENSORS, tensor("float32", -1, -1, 2), tensor("float32", -1, -1), tensor("int64", -1)):
        if schema.is_named or content == "[]":
            assert [chunk.rows for chunk in read(written(content), schema)] == [0]
    assert read(written({"columns": ["x", "y"], "data": []}), tensor("float32", -1, -1))[0].rows == 0


def test_params_of_a_payload_must_be_the_jobs(written):
    """Else other predictions would be made of it in silence."""
    file = written({"input_data": LISTS, "params": {"t": 0.5, "names": ["a"]}})
    assert len(rows(read(file, params={"t": 0.5, "names": ["a"], "more": 1}))) == 2
    assert "t=0.5, which is 0.7 in this job" in refusal(file, params={"t": 0.7}).reason


def test_a_large_document_is_refused_with_advice(written, monkeypatch):
    """Before it is parsed."""
    monkeypatch.setattr("batchscore.readers.payload.MAX_BYTES", 1 << 20)
    text = b"[" + b" " * (1 << 20) + b"]"
    assert "write it as .jsonl" in refusal(written(text)).reason
    monkeypatch.setattr("batchscore.readers.jsonl.MAX_RECORD_BYTES", 1 << 20)
    assert "one record a line" in refusal(written(text * 2, "x.jsonl")).reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, 2], "b": [3, 4]}', True),
        ('{"a": [1, 2], "b": [3]}', False),
        ('{"compilerOptions": {"strict": true}}', False),
        ('{"name": "x", "files": ["a"]}', False),
        ('{"inputs": [], "outputs": []}', False),
        ("{}", False),
        ("", False),
        ("a\n1\n", False),
        ("// a comment", False),
        ('{"dataframe_split": {"columns": [', True),
        ('{"params": {"t": 1}, "inputs"', True),
        ('\ufeff[{"a"', True),
        ('{"name": "x', False),
        ('{"inputs": [' + "1, " * 400_000 + "1]}", True),
        ('{"name": "' + "x" * (1 << 20) + '"}', False),
        ("[" + "1, " * 400_000 + "1]", True),
    ],
)
def test_is_payload_tells_by_the_keys_or_the_beginning(written, text, expected):
    """A payload cut short counts, so that it fails and isn't left out."""
    assert is_payload(written(text).path) is expected


def test_is_payload_loads_nothing_slow_and_counts_what_it_cannot_open(written, tmp_path):
    """The parent asks for every file found."""
    file = written([1])
    program = (
        "import sys; from batchscore.readers import is_payload; assert is_payload(sys.argv[1])\n"
        "assert not {'pandas', 'numpy', 'pyarrow', 'mlflow'} & set(sys.modules), sys.modules"
    )
    root = Path(readers.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, file.path], check=True, cwd=root)
    assert is_payload(str(tmp_path / "absent.json"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["1", "2026-01-01", "[1]"]),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "s", "v", "x", "data", "columns", "k"]), part, max_size=4)
    ),
    max_leaves=20,
)
DOCUMENTS = JSON | st.dictionaries(
    st.sampled_from(
        [
            "input_data",
            "dataframe_split",
            "dataframe_records",
            "inputs",
            "instances",
            "columns",
            "index",
            "data",
            "params",
        ]
    ),
    JSON,
    min_size=1,
    max_size=3,
)
SCHEMAS = [
    None, NAMED, UNNAMED, NESTED, NAMED_TENSORS, tensor("float32", -1, 2, 2), tensor("float64", -1, -1),
    tensor("object", -1, 2), tensor("str", -1), tensor("int64", 2, 2), Schema(columns=(ColumnSpec("a", "any"),)),
]  # fmt: skip


@profile(max_examples=150)
@given(DOCUMENTS, st.sampled_from(SCHEMAS), st.integers(1, 3), st.sampled_from([(), ("a",)]))
def test_no_document_raises_anything_but_a_refusal(folder, document, schema, rows_per_call, keep):
    """Any JSON, for any signature; what is read can be given to predict."""
    for name, text in (
        ("f.json", json.dumps(document)),
        ("f.jsonl", "\n".join(map(json.dumps, document if isinstance(document, list) else [document]))),
    ):
        file = write_in(folder, text, name)
        with contextlib.suppress(FileRefused):
            for chunk in read(file, schema, rows_per_call=rows_per_call, keep=keep):
                assert chunk.rows <= rows_per_call
                if isinstance(chunk.features, pa.Table) and chunk.rows:
                    model_input(schema, chunk.features)
        for ask in (readers.count_rows, readers.columns):
            with contextlib.suppress(FileRefused):
                ask(file, CSV)


@given(DOCUMENTS, st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3), st.integers(0, 500))
def test_no_bytes_raise_anything_but_a_refusal(folder, document, changes, cut):
    """Text damaged anywhere."""
    content = bytearray(json.dumps(document).encode())
    for place, value in changes:
        content[place % len(content)] = value
    for name in ("f.json", "f.jsonl"):
        file = write_in(folder, bytes(content[: max(cut, 1)]), name)
        is_payload(file.path)
        for schema in (NAMED, None):
            with contextlib.suppress(FileRefused):
                read(file, schema)


class TestAgainstMlflowsServer:
    """What MLflow's scoring server makes of a request, as the oracle of what is read of it as a file."""

    COLUMNS: ClassVar = {
        "long": st.integers(-(2**53), 2**53),
        "double": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        "string": st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3
        ),  # numpy drops NUL
        "boolean": st.booleans(),
    }

    @profile(max_examples=40)
    @given(st.data(), st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=3))
    def test_frames_are_the_same(self, folder, data, kinds):
        """For the same values in every format of frames that the server takes."""
        from mlflow.models.utils import _enforce_schema
        from mlflow.pyfunc.scoring_server import infer_and_parse_data
        from mlflow.types import ColSpec
        from mlflow.types import Schema as MlflowSchema

        names = [f"c{place}" for place in range(len(kinds))]
        count = data.draw(st.integers(1, 4))
        columns = [data.draw(st.lists(self.COLUMNS[kind], min_size=count, max_size=count)) for kind in kinds]
        table = [list(row) for row in zip(*columns, strict=True)]
        records = [dict(zip(names, row, strict=True)) for row in table]
        schema = Schema(columns=tuple(ColumnSpec(name, kind) for name, kind in zip(names, kinds, strict=True)))
        theirs = MlflowSchema([ColSpec(kind, name) for name, kind in zip(names, kinds, strict=True)])
        for request in (
            {"dataframe_split": {"columns": names, "data": table}},
            {"dataframe_records": records},
            {"inputs": dict(zip(names, columns, strict=True))},
            {"instances": records},
        ):
            (chunk,) = read(write_in(folder, request), schema)
            ours = model_input(schema, chunk.features)
            expected = _enforce_schema(infer_and_parse_data(json.loads(json.dumps(request)), theirs), theirs)
            assert [list(map(_plain, ours[name])) for name in names] == [
                list(map(_plain, expected[name])) for name in names
            ]

    @given(
        st.sampled_from(["float32", "float64", "int64", "uint8"]),
        st.lists(st.integers(1, 3), min_size=1, max_size=3),
        st.booleans(),
        st.data(),
    )
    def test_tensors_are_the_same(self, folder, dtype, shape, is_open, data):
        """For `inputs` and `instances`, of known and unknown sizes."""
        from mlflow.models.utils import _enforce_schema
        from mlflow.pyfunc.scoring_server import infer_and_parse_data
        from mlflow.types import Schema as MlflowSchema
        from mlflow.types import TensorSpec as MlflowTensorSpec

        size = math.prod(shape)
        values = data.draw(st.lists(st.integers(0, 200), min_size=size, max_size=size))
        array = np.array(values).reshape(shape).tolist()
        stated = (-1, *([-1] if is_open else shape[1:2]), *shape[2:]) if len(shape) > 1 else (-1,)
        schema = tensor(dtype, *stated)
        theirs = MlflowSchema([MlflowTensorSpec(np.dtype(dtype), stated)])
        for request in ({"inputs": array}, {"instances": array}):
            (chunk,) = read(write_in(folder, request), schema)
            found = model_input(schema, chunk.features) if isinstance(chunk.features, pa.Table) else chunk.features
            expected = _enforce_schema(infer_and_parse_data(json.loads(json.dumps(request)), theirs), theirs)
            assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist())


def _plain(value: Any) -> Any:
    return "missing" if value is None or (isinstance(value, float) and math.isnan(value)) else value


MODEL = """
import mlflow.pyfunc
import pandas as pd

class Total(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        x, y = model_input["x"], model_input["y"]
        assert x.dtype == "float32" and x.ndim == 3 and y.dtype == "int64", (x.dtype, x.shape, y.dtype)
        return pd.DataFrame({"total": x.sum(axis=(1, 2)) + y})

mlflow.models.set_model(Total())
"""


def test_a_folder_of_payloads_is_scored_with_a_real_model(save_model, run_batchscore, tmp_path):
    """Named tensors of open sizes from .json and .jsonl; JSON that is no payload is listed."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema as MlflowSchema
    from mlflow.types import TensorSpec as MlflowTensorSpec

    signature = ModelSignature(
        MlflowSchema(
            [MlflowTensorSpec(np.dtype("float32"), (-1, -1, 2), "x"), MlflowTensorSpec(np.dtype("int64"), (-1,), "y")]
        )
    )
    folder = tmp_path / "requests"
    folder.mkdir()
    write_in(folder, {"inputs": {"x": [[[1, 2]], [[3, 4]]], "y": [5, 6]}}, "a.json")
    write_in(folder, '{"x": [[1, 2], [3, 4]], "y": 7}\n{"x": [[1, 2], [3, 4]], "y": 8}\n', "b.jsonl")
    write_in(folder, {"version": 1}, "settings.json")
    done = run_batchscore(
        "run", "-m", save_model(MODEL, signature), "-i", folder, "-o", tmp_path / "out", "--keep", "y"
    )
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert frame.to_dict("list") == {
        "file": ["a.json"] * 2 + ["b.jsonl"] * 2,
        "row": [0, 1, 0, 1],
        "y": [5, 6, 7, 8],
        "total": [8.0, 13.0, 17.0, 18.0],
    }
    skipped = json.loads((tmp_path / "out" / "job.json").read_text())["skipped"]
    assert [entry["file"] for entry in skipped] == ["settings.json"]
