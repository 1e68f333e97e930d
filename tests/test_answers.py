"""What models return, as columns: one row for each input row, or a message that says what came back."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from batchscore.answers import columns_of
from batchscore.errors import AnswerRefused
from batchscore.schema import ColumnSpec, Schema, TensorSpec


def outputs(*columns: tuple[str | None, str]) -> Schema:
    return Schema(columns=tuple(ColumnSpec(name, kind) for name, kind in columns))


def tensor(dtype: str, *shape: int, name: str | None = None) -> Schema:
    return Schema(tensors=(TensorSpec(name, dtype, shape),))


def typed(columns) -> dict[str, tuple[str, list]]:
    """Type and values of each column."""
    return {
        field.name: (str(field.type), column.to_pylist())
        for field, column in zip(columns.table.schema, columns.table.columns, strict=True)
    }


TODAY = dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001  # without a zone, as models return it

ONE_COLUMN = {
    "1-D": (np.array([1, 2]), "int64", [1, 2]),
    "an (n, 1) array": (np.array([[1.5], [2.5]]), "double", [1.5, 2.5]),
    "float32 with NaN": (np.array([0.5, np.nan], np.float32), "float", [0.5, None]),
    "booleans": (np.array([True, False]), "bool", [True, False]),
    "fixed-width text": (np.array(["a", "bcd"]), "string", ["a", "bcd"]),
    "objects": (np.array([1, 2.5], object), "double", [1.0, 2.5]),
    "big-endian": (np.array([1, 2], ">i4"), "int32", [1, 2]),
    "long double": (np.array([1, 2], np.longdouble), "double", [1.0, 2.0]),
    "half floats": (np.array([1, 2], np.float16), "float", [1.0, 2.0]),
    "days": (np.array(["2026-01-02", "NaT"], "M8[D]"), "date32[day]", [TODAY.date(), None]),
    "hours": (np.array(["2026-01-02T03", "NaT"], "M8[h]"), "timestamp[s]", [TODAY.replace(minute=0, second=0), None]),
    "minutes of time": (np.array([5, 6], "m8[m]"), "duration[s]", [dt.timedelta(minutes=5), dt.timedelta(minutes=6)]),
    "bytes": (np.array([b"a", b"bc"]), "binary", [b"a", b"bc"]),
    "a masked array": (np.ma.array([1, 2], mask=[False, True]), "int64", [1, None]),
    "a reversed view": (np.arange(2)[::-1], "int64", [1, 0]),
    "(n, 1, k)": (np.arange(6).reshape(2, 1, 3), "list<item: int64>", [[0, 1, 2], [3, 4, 5]]),
    "a Series without a name": (pd.Series([1, 2], index=[7, 9]), "int64", [1, 2]),
    "a Series named 0": (pd.Series([1, 2], name=0), "int64", [1, 2]),
    "a frame with the column 0": (pd.DataFrame([[1], [2]]), "int64", [1, 2]),
    "nullable integers": (pd.Series([1, None], dtype="Int64"), "int64", [1, None]),
    "nullable booleans": (pd.Series([True, None], dtype="boolean"), "bool", [True, None]),
    "pandas strings": (pd.Series(["a", None], dtype="string"), "string", ["a", None]),
    "categories": (pd.Series(pd.Categorical(["b", None], ["a", "b"])), "string", ["b", None]),
    "numbered categories": (pd.Series(pd.Categorical([2.5, 1.5])), "double", [2.5, 1.5]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0, 1])), "int64", [0, 1]),
    "periods": (pd.Series(pd.period_range("2026", periods=2, freq="D")), "string", ["2026-01-01", "2026-01-02"]),
    "an Index": (pd.Index(["a", "b"]), "string", ["a", "b"]),
    "integers and floats": ([1, 2.5], "double", [1.0, 2.5]),
    "integers beyond 2^53 and floats": ([2**53 + 1, 0.5], "double", [2.0**53, 0.5]),
    "numpy's numbers": ([np.float32(0.5), np.float32(1.5)], "float", [0.5, 1.5]),
    "large integers": ([2**63, 1], "uint64", [2**63, 1]),
    "text and what is missing": (["a", float("nan")], "string", ["a", None]),
    "all that is missing": ([None, pd.NA], "null", [None, None]),
    "decimals": (
        [decimal.Decimal("1.10"), decimal.Decimal(2)],
        "decimal128(3, 2)",
        [decimal.Decimal("1.10"), decimal.Decimal("2.00")],
    ),
    "datetimes": ([TODAY, None], "timestamp[us]", [TODAY, None]),
    "dates": ([TODAY.date(), None], "date32[day]", [TODAY.date(), None]),
    "a tuple": ((1, 2), "int64", [1, 2]),
    "a generator": ((each for each in (1, 2)), "int64", [1, 2]),
    "lists": ([[1, 2.5], [3]], "list<item: double>", [[1.0, 2.5], [3.0]]),
    "lists of lists": ([[[1], [2, 3]], None], "list<item: list<item: int64>>", [[[1], [2, 3]], None]),
    "lists of text": ([["a", None], []], "list<item: string>", [["a", None], []]),
    "lists of anything": ([[1, "a"], [np.int64(2)]], "string", ['[1, "a"]', "[2]"]),
    "a list of arrays": ([np.array([1.0]), np.array([2.0])], "list<item: double>", [[1.0], [2.0]]),
    "objects with a text": ([uuid.UUID(int=1), None], "string", [str(uuid.UUID(int=1)), None]),
    "an Arrow array": (pa.array(["a", "b"], pa.large_string()), "string", ["a", "b"]),
    "an Arrow dictionary": (pa.array(["a", "b"]).dictionary_encode(), "string", ["a", "b"]),
}


@pytest.mark.parametrize(("answer", "kind", "values"), ONE_COLUMN.values(), ids=list(ONE_COLUMN))
def test_one_column_is_the_prediction(answer, kind, values):
    assert typed(columns_of(answer, 2, None)) == {"prediction": (kind, values)}


MANY_COLUMNS = {
    "2-D": (np.array([[1, 2], [3, 4]]), {"prediction_0": [1, 3], "prediction_1": [2, 4]}),
    "3-D": (np.arange(8).reshape(2, 2, 2), {"prediction_0": [[0, 1], [4, 5]], "prediction_1": [[2, 3], [6, 7]]}),
    "structured": (np.array([(1, "a"), (2, "b")], [("x", "i4"), ("y", "U1")]), {"x": [1, 2], "y": ["a", "b"]}),
    "a named Series": (pd.Series([1, 2], name="score"), {"score": [1, 2]}),
    "a frame with any index": (pd.DataFrame({"a": [1, 2]}, index=[5, 5]), {"a": [1, 2]}),
    "numbered labels": (pd.DataFrame([[1, 2], [3, 4]]), {"prediction_0": [1, 3], "prediction_1": [2, 4]}),
    "other numbers": (pd.DataFrame([[1, 2], [3, 4]], columns=[3, 7]), {"prediction_3": [1, 3], "prediction_7": [2, 4]}),
    "levels": (
        pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])),
        {"a_x": [1, 3], "a_y": [2, 4]},
    ),
    "ragged dicts": ([{"b": 1}, {"a": "x"}], {"b": [1, None], "a": [None, "x"]}),
    "dicts and None": ([{"a": 1}, None], {"a": [1, None]}),
    "dict cells": (
        pd.DataFrame({"o": [{"a": np.float32(0.5)}, {"b": [1, None]}]}),
        {"o": ['{"a": 0.5}', '{"b": [1, null]}']},
    ),
    "a dict of columns": (
        {"a": [1, 2], "b": np.array([[0.5], [1.5]]), "v": "3"},
        {"a": [1, 2], "b": [0.5, 1.5], "v": ["3", "3"]},
    ),
    "a dict of 2-D": ({"p": np.array([[1, 2], [3, 4]])}, {"p_0": [1, 3], "p_1": [2, 4]}),
    "a tuple of arrays": ((np.array([1, 2]), np.array([3, 4])), {"prediction_0": [1, 2], "prediction_1": [3, 4]}),
    "an Arrow table": (pa.table({"a": pa.chunked_array([[1], [2]])}), {"a": [1, 2]}),
    "an Arrow batch": (pa.record_batch({"a": [1, 2]}), {"a": [1, 2]}),
}


@pytest.mark.parametrize(("answer", "expected"), MANY_COLUMNS.values(), ids=list(MANY_COLUMNS))
def test_columns_take_the_names_that_the_answer_gives(answer, expected):
    table = columns_of(answer, 2, None).table
    assert table.to_pydict() == expected
    assert table.column_names == list(expected)


@pytest.mark.parametrize("answer", [np.array(2.5), 2.5, np.float64(2.5), [2.5], np.array([2.5])], ids=repr)
def test_a_single_value_answers_a_single_row(answer):
    assert typed(columns_of(answer, 1, None)) == {"prediction": ("double", [2.5])}


def test_a_dict_of_single_values_is_one_row():
    assert columns_of({"label": "a", "score": 0.5}, 1, None).table.to_pylist() == [{"label": "a", "score": 0.5}]


def test_sparse_matrices_and_tensors_are_arrays():
    sparse = pytest.importorskip("scipy.sparse")
    assert columns_of(sparse.csr_matrix([[0], [1]]), 2, None).table.to_pydict() == {"prediction": [0, 1]}

    class Tensor:
        """The part of a torch tensor that matters: it gives its array only when detached."""

        def detach(self):
            return self

        def cpu(self):
            return np.array([1.5, 2.5])

    assert columns_of(Tensor(), 2, None).table.to_pydict() == {"prediction": [1.5, 2.5]}


REFUSED = {
    "too few rows": (
        pd.DataFrame({"a": [1]}),
        r"DataFrame of shape \(1, 1\) with the columns a: 1 rows for 2 input rows",
    ),
    "too many rows": (np.zeros((3, 2)), r"ndarray of float64, shape \(3, 2\): 3 rows for 2 input rows"),
    "a short list": ([1], "a list of length 1: 1 rows for 2 input rows"),
    "a dict with a short column": ({"a": [1, 2], "b": [1]}, "a dict with the keys a, b: 1 rows for 2 input rows"),
    "nothing": (None, "returned None.*without a return"),
    "a single value": ("yes", r"a str \('yes'\) for 2 rows"),
    "bytes": (b"ab", r"a bytes \(b'ab'\) for 2 rows"),
    "0-D": (np.array(1.0), r"ndarray of float64, shape \(\) for 2 rows"),
    "a dict of single values": ({"a": 1}, "a dict with the keys a of single values for 2 rows"),
    "no columns": (pd.DataFrame(index=[0, 1]), r"shape \(2, 0\) with the columns \(none\), which has no columns"),
    "an empty dict": ({}, "no columns|of single values"),
    "numbers and text": ([1, "a"], r"'prediction' mixes integer \(1\) and text \('a'\)"),
    "numbers and truth values": ([True, 2], r"'prediction' mixes boolean \(True\) and integer \(2\)"),
    "dates and numbers": (pd.DataFrame({"d": [TODAY.date(), 1]}), "'d' mixes date .* and integer"),
    "complex numbers": (np.array([1j, 2]), "complex"),
    "integers beyond 64 bits": ([2**64, 1], "18446744073709551616, which isn't within 64 bits"),
    "integers on both ends": ([2**63, -1], "9223372036854775808, which isn't within 64 bits"),
    "objects without a text": ([object(), None], "builtins.object, which has no text"),
    "half a surrogate pair": (["\ud800", "a"], "can't be written.*surrogates"),
}


@pytest.mark.parametrize(("answer", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_cant_be_rows_is_refused_saying_what_came_back(answer, message):
    with pytest.raises(AnswerRefused, match=message):
        columns_of(answer, 2, None)


def test_equal_names_are_numbered_with_a_note():
    found = columns_of(pd.DataFrame([[1, 2, 3, 4]], columns=["a", "a", "a_1", "a"]), 1, None)
    assert found.table.column_names == ["a", "a_2", "a_1", "a_3"]
    assert "several columns named a" in found.notes[0]


@pytest.mark.parametrize("answer", [[], np.array([]), pd.Series([], dtype=object), ()], ids=repr)
def test_no_rows_are_a_column_without_rows(answer):
    assert columns_of(answer, 0, None).table.shape == (0, 1)


CASTS = {
    "int to double": ([1, 2], "double", "double", [1.0, 2.0]),
    "double to float rounds": ([0.1, 2.0], "float", "float", [float(np.float32(0.1)), 2.0]),
    "whole floats to long": (np.array([1.0, 2.0]), "long", "int64", [1, 2]),
    "integer": (np.array([1, 2]), "integer", "int32", [1, 2]),
    "0 and 1 to boolean": (np.array([0, 1]), "boolean", "bool", [False, True]),
    "booleans to long": (np.array([False, True]), "long", "int64", [0, 1]),
    "numbers to text": ([1, 2.5], "string", "string", ["1", "2.5"]),
    "an integer array to text": (np.array([1, 2]), "string", "string", ["1", "2"]),
    "floats to text, as Python writes them": (np.array([1, 1e-7]), "string", "string", ["1.0", "1e-07"]),
    "float32 to text": (np.array([1, 0.1], np.float32), "string", "string", ["1.0", "0.1"]),
    "times to text": (np.array([TODAY, None], "M8[us]"), "string", "string", ["2026-01-02T03:04:05", None]),
    "bytes to text": (np.array([b"a", "é".encode()]), "string", "string", ["a", "é"]),
    "a mixture to text": ([1, "a"], "string", "string", ["1", "a"]),
    "truth values to text": ([True, False], "string", "string", ["True", "False"]),
    "dicts to text": (pd.Series([{"a": 1}, [1]]), "string", "string", ['{"a": 1}', "[1]"]),
    "dates to datetime": (
        [TODAY.date(), None],
        "datetime",
        "timestamp[us]",
        [TODAY.replace(hour=0, minute=0, second=0), None],
    ),
    "all missing": ([None, None], "long", "int64", [None, None]),
    "missing among whole numbers": ([1.0, None], "long", "int64", [1, None]),
    "any": ([1, 2], "any", "int64", [1, 2]),
}


@pytest.mark.parametrize(("answer", "stated", "kind", "values"), CASTS.values(), ids=list(CASTS))
def test_values_are_cast_to_the_signature(answer, stated, kind, values):
    assert typed(columns_of(answer, 2, outputs(("y", stated)))) == {"y": (kind, values)}


MISFITS = {
    "a fraction": (np.array([1.0, 0.5]), "long", r"'y' has the value 0.5 \(double\), which can't become int64"),
    "beyond integer": (np.array([1, 2**31]), "integer", "'y' has the value 2147483648"),
    "beyond float": (np.array([1.0, 1e300]), "float", r"'y' has the value 1e\+300"),
    "not exact as a double": (np.array([1, 2**53 + 1]), "double", "'y' has the value 9007199254740993"),
    "2 as boolean": (np.array([0, 2]), "boolean", "'y' has the value 2"),
    "text as a number": (["1", "2"], "double", r"'y' has the value '1' \(string\)"),
    "a number as a date": ([1, 2], "datetime", "'y' has the value 1"),
    "bytes that are no text": ([b"a", b"\xff"], "string", r"'y' has the value b'\\xff', which isn't UTF-8"),
}


@pytest.mark.parametrize(("answer", "stated", "message"), MISFITS.values(), ids=list(MISFITS))
def test_a_value_that_doesnt_fit_the_signature_is_named(answer, stated, message):
    with pytest.raises(AnswerRefused, match=message):
        columns_of(answer, 2, outputs(("y", stated)))


def test_columns_match_the_signature_by_name_else_by_position():
    answer = pd.DataFrame({"b": [1], "a": [2]})
    assert columns_of(answer, 1, outputs(("a", "long"), ("b", "double"))).table.to_pylist() == [{"a": 2, "b": 1.0}]
    found = columns_of(answer, 1, outputs(("c", "long"), ("d", "double")))
    assert found.table.to_pylist() == [{"c": 1, "d": 2.0}]
    assert "has the columns c, d, its answer b, a: they take the signature's names by their places" in found.notes[0]
    assert columns_of(pd.Series([1], name="x"), 1, outputs(("y", "long"))).notes == ()


@pytest.mark.parametrize("answer", [pd.DataFrame({"b": [1], "a": [2]}), [{"b": 1, "a": 2}], {"b": [1], "a": [2]}])
def test_no_column_gets_a_name_that_the_answer_gives_to_another(answer):
    found = columns_of(answer, 1, outputs(("c", "long"), ("b", "double")))
    assert typed(found) == {"b": ("int64", [1]), "a": ("int64", [2])}
    assert "has the columns c, b, its answer b, a: the answer's own names and types are taken" in found.notes[0]


REORDERED = {
    "a frame": pd.DataFrame({"a": [30, 10, 20]}, index=[2, 0, 1]),
    "a Series": pd.Series([30, 10, 20], index=[2, 0, 1], name="a"),
    "a dict of Series": {"a": pd.Series([30, 10, 20], index=[2, 0, 1])},
    "unsigned labels": pd.DataFrame({"a": [30, 10, 20]}, index=np.array([2, 0, 1], np.uint32)),
}


@pytest.mark.parametrize("answer", REORDERED.values(), ids=list(REORDERED))
def test_rows_that_come_in_another_order_are_put_where_their_index_says(answer):
    """As pandas does for `frame["prediction"] = model.predict(frame)`: a model that sorts, or scores by group."""
    found = columns_of(answer, 3, None)
    assert found.table.to_pydict() == {"a": [10, 20, 30]}
    assert "another order" in found.notes[0]


IN_PLACE = {
    "in order": pd.RangeIndex(3),
    "numbers of something else": [5, 4, 3],
    "twice the same": [1, 0, 0],
    "an index with a name": pd.Index([2, 0, 1], name="rank"),
    "text": ["2", "0", "1"],
    "fractions": [2.0, 0.0, 1.0],
}


@pytest.mark.parametrize("index", IN_PLACE.values(), ids=list(IN_PLACE))
def test_any_other_index_says_nothing_about_the_order(index):
    found = columns_of(pd.DataFrame({"a": [30, 10, 20]}, index=index), 3, None)
    assert found.table.to_pydict() == {"a": [30, 10, 20]}
    assert found.notes == ()


def test_a_matrix_is_lists_where_the_signature_has_one_column_of_arrays():
    schema = Schema(columns=(ColumnSpec("v", {"type": "array", "items": {"type": "double"}}),))
    found = columns_of(np.array([[1, 2], [3, 4]]), 2, schema)
    assert typed(found) == {"v": ("list<item: double>", [[1.0, 2.0], [3.0, 4.0]])}


def test_ragged_dicts_get_all_columns_of_the_signature():
    found = columns_of([{"b": 1}], 1, outputs(("a", "string"), ("b", "double")))
    assert typed(found) == {"a": ("string", [None]), "b": ("double", [1.0])}


def test_lists_of_the_signatures_width_are_its_columns():
    found = columns_of([(1, "x"), (2, "y")], 2, outputs(("score", "double"), ("label", "string")))
    assert found.table.to_pydict() == {"score": [1.0, 2.0], "label": ["x", "y"]}


def test_another_number_of_columns_than_the_signature_has_is_noted():
    found = columns_of(np.array([[1, 2]]), 1, outputs(("a", "string")))
    assert typed(found) == {"prediction_0": ("int64", [1]), "prediction_1": ("int64", [2])}
    assert "output signature has 1 column, its answer 2 columns" in found.notes[0]
    assert columns_of(np.array([1]), 1, outputs(("a", "long"))).notes == ()


@pytest.mark.parametrize(
    ("schema", "answer", "expected"),
    [
        (tensor("float32", -1), np.array([0.5]), {"prediction": ("float", [0.5])}),
        (tensor("int64", -1, 1, name="label"), np.array([[1.0]]), {"label": ("int64", [1])}),
        (
            tensor("float64", -1, 2),
            np.array([[1, 2]]),
            {"prediction_0": ("double", [1.0]), "prediction_1": ("double", [2.0])},
        ),
        (tensor("float64", -1, -1, name="p"), np.array([[1, 2]]), {"p_0": ("double", [1.0]), "p_1": ("double", [2.0])}),
        (tensor("float64", -1, 1, 2), np.array([[[1, 2]]]), {"prediction": ("list<item: double>", [[1.0, 2.0]])}),
        (tensor("object", -1), np.array(["a"], object), {"prediction": ("string", ["a"])}),
    ],
    ids=str,
)
def test_a_tensor_states_the_type_of_its_columns(schema, answer, expected):
    assert typed(columns_of(answer, 1, schema)) == expected


def test_probabilities_are_named_by_class():
    both = np.array([[0.25, 0.75]])
    assert list(columns_of(both, 1, None, ["no", "yes"]).table.column_names) == ["probability_no", "probability_yes"]
    assert list(columns_of(both, 1, None, np.array([0, 1])).table.column_names) == ["probability_0", "probability_1"]
    assert columns_of(np.array([0.75]), 1, None, ["no", "yes"]).table.to_pydict() == {"probability_yes": [0.75]}
    found = columns_of(both, 1, None, ["a", "b", "c"])
    assert found.table.column_names == ["prediction_0", "prediction_1"]
    assert "3 classes, its answer 2 columns" in found.notes[0]


def test_several_outputs_number_their_probabilities():
    answer = [np.array([[0.5, 0.5]]), np.array([[0.1, 0.9]])]
    found = columns_of(answer, 1, None, [np.array(["a", "b"]), np.array(["a", "b"])])
    names = ["probability_0_a", "probability_0_b", "probability_1_a", "probability_1_b"]
    assert found.table.column_names == names


@given(
    hnp.arrays(hnp.scalar_dtypes().filter(lambda dtype: dtype.kind != "c"), hnp.array_shapes(max_dims=4, max_side=4))
)
def test_any_array_gives_a_row_for_each_of_its_rows(array):
    try:
        found = columns_of(array, len(array), None)
    except AnswerRefused as error:
        assert array.dtype.kind in "MmU", error  # beyond what times hold; half a surrogate pair  # noqa: PT017
        return
    assert found.table.num_rows == len(array)
    assert found.table.num_columns == (1 if array.ndim == 1 else array.shape[1])


@given(
    st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()))
    )
)
def test_any_list_gives_a_row_for_each_item_or_is_refused(items):
    try:
        found = columns_of(items, len(items), None)
    except AnswerRefused:
        return
    assert found.table.num_rows == len(items)


@given(st.lists(st.floats(width=64)))
def test_floats_keep_every_bit(values):
    column = columns_of(np.array(values, np.float64), len(values), None).table.column(0)
    there = np.array([np.nan if value is None else value for value in column.to_pylist()], np.float64)
    given_values = np.array(values, np.float64)
    np.testing.assert_array_equal(there, given_values)
    assert (np.signbit(there) == np.signbit(given_values))[~np.isnan(there)].all()
