"""Whatever a model answers, from real files through `batchscore.run` to what pandas, pyarrow and DuckDB read."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from answering import ANSWERING, X, cells, typed

from batchscore.errors import UsageError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries' own, at import
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

FORMATS = ("csv", "parquet", "jsonl")
FLOATS = [float(x) for x in X]
NEGATIVE = [-x for x in FLOATS]
DOUBLED = [x * 2 for x in FLOATS]


def moment(day: int) -> dt.datetime:
    return dt.datetime(2026, 1, day)  # noqa: DTZ001  # without a zone, as models return it


ANSWERS: dict[str, tuple[str, dict[str, tuple[str, list[Any]]]]] = {
    "1-D": ("v * 2", {"prediction": ("double", [6.0, 2.0, 4.0, 10.0, 8.0])}),
    "1-D of integers": ("v.astype('int64')", {"prediction": ("int64", X)}),
    "1-D of booleans": ("v > 3", {"prediction": ("bool", [False, False, False, True, True])}),
    "float32": ("(v / 3).astype('float32')", {"prediction": ("float", [float(np.float32(x / 3)) for x in X])}),
    "fixed-width text": (
        "np.where(v > 2, 'high', 'low')",
        {"prediction": ("string", ["high", "low", "low", "high", "high"])},
    ),
    "objects": (
        "np.array(['a' if x > 2 else None for x in v], object)",
        {"prediction": ("string", ["a", None, None, "a", "a"])},
    ),
    "datetimes": (
        "np.datetime64('2026-01-01', 'us') + (v - 1).astype('m8[D]')",
        {"prediction": ("timestamp[us]", [moment(x) for x in X])},
    ),
    "2-D": ("np.column_stack([v, v * 2])", {"prediction_0": ("double", FLOATS), "prediction_1": ("double", DOUBLED)}),
    "(n, 1)": ("v.reshape(-1, 1)", {"prediction": ("double", FLOATS)}),
    "3-D": (
        "np.stack([np.column_stack([v, v])] * 2, 1)",
        {f"prediction_{k}": ("list<element: double>", [[float(x)] * 2 for x in X]) for k in (0, 1)},
    ),
    "structured": (
        "np.array([(x, 'a') for x in v], [('p', 'f8'), ('q', 'U1')])",
        {"p": ("double", FLOATS), "q": ("string", ["a"] * 5)},
    ),
    "Series": ("pd.Series(v)", {"prediction": ("double", FLOATS)}),
    "Series with a name": ("pd.Series(v, name='score')", {"score": ("double", FLOATS)}),
    "frame": ("f.assign(p=f['x'] * 2)", {"x": ("double", FLOATS), "p": ("double", DOUBLED)}),
    "duplicate columns": (
        "pd.DataFrame(np.column_stack([v, -v]), columns=['a', 'a'])",
        {"a": ("double", FLOATS), "a_1": ("double", NEGATIVE)},
    ),
    "numbered columns": (
        "pd.DataFrame(np.column_stack([v, -v]))",
        {"prediction_0": ("double", FLOATS), "prediction_1": ("double", NEGATIVE)},
    ),
    "columns of levels": (
        "pd.DataFrame({('a', 'b'): v, ('c', ''): v})",
        {"a_b": ("double", FLOATS), "c": ("double", FLOATS)},
    ),
    "categories": (
        "pd.Series(pd.Categorical(np.where(v > 2, 'b', 'a'), ['a', 'b', 'c']))",
        {"prediction": ("string", ["b", "a", "a", "b", "b"])},
    ),
    "nullable integers": (
        "pd.array([None if x == 2 else int(x) for x in v], 'Int64')",
        {"prediction": ("int64", [3, 1, None, 5, 4])},
    ),
    "nullable booleans": (
        "pd.Series([None if x == 2 else x > 3 for x in v], dtype='boolean')",
        {"prediction": ("bool", [False, False, None, True, True])},
    ),
    "pandas' strings": (
        "pd.Series(['é', None, '', 'NA', '007'], dtype='string')[:n]",
        {"prediction": ("string", ["é", None, "", "NA", "007"])},
    ),
    "list of floats": ("[float(x) for x in v]", {"prediction": ("double", FLOATS)}),
    "list with None": ("[None if x == 2 else int(x) for x in v]", {"prediction": ("int64", [3, 1, None, 5, 4])}),
    "list of text": (
        "['a,b', 'say \"x\"', 'two\\nlines', '', None][:n]",
        {"prediction": ("string", ["a,b", 'say "x"', "two\nlines", "", None])},
    ),
    "list of dates": (
        "[dt.date(2026, 1, int(x)) for x in v]",
        {"prediction": ("date32[day]", [moment(x).date() for x in X])},
    ),
    "list of dicts": (
        "[{'label': 'a', 'score': x} for x in v]",
        {"label": ("string", ["a"] * 5), "score": ("double", FLOATS)},
    ),
    "list of lists": (
        "[[x] * int(x) for x in v]",
        {"prediction": ("list<element: double>", [[float(x)] * x for x in X])},
    ),
    "list of arrays": (
        "[np.array([x, 0]) for x in v]",
        {"prediction": ("list<element: double>", [[float(x), 0.0] for x in X])},
    ),
    "list of decimals": (
        "[decimal.Decimal(int(x)) / 4 for x in v]",
        {"prediction": ("decimal128(3, 2)", [Decimal(x) / 4 for x in X])},
    ),
    "tuple of arrays": ("(v, -v)", {"prediction_0": ("double", FLOATS), "prediction_1": ("double", NEGATIVE)}),
    "dict of columns": (
        "{'a': list(v), 'b': -v, 'c': 'x'}",
        {"a": ("double", FLOATS), "b": ("double", NEGATIVE), "c": ("string", ["x"] * 5)},
    ),
    "generator": ("(x * 2 for x in v)", {"prediction": ("double", DOUBLED)}),
    "Arrow table": ("pa.table({'p': v, 'q': ['z'] * n})", {"p": ("double", FLOATS), "q": ("string", ["z"] * 5)}),
    "masked array": ("np.ma.masked_equal(v, 2)", {"prediction": ("double", [3.0, 1.0, None, 5.0, 4.0])}),
    "dicts within": (
        "pd.DataFrame({'d': [{'k': [1, x]} for x in v]})",
        {"d": ("string", [f'{{"k": [1, {float(x)}]}}' for x in X])},
    ),
    "bytes": ("[b'ab'] * n", {"prediction": ("binary", [b"ab"] * 5)}),
    "infinity and NaN": (
        "np.where(v == 2, np.nan, v / 0.0)",
        {"prediction": ("double", [np.inf, np.inf, None, np.inf, np.inf])},
    ),
}
BY_PLACE = {"pandas' strings", "list of text"}
"""These answer by a row's place in the call, which other calls change."""


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_an_answer_becomes_named_and_typed_columns_in_every_format(predicted, name):
    answer, expected = ANSWERS[name]
    assert typed(predicted(answer, form="parquet")) == expected
    lines = [json.loads(line) for line in predicted(answer, form="jsonl").splitlines()]
    text = cells(predicted(answer))
    assert list(text) == list(expected)
    for column, (kind, values) in expected.items():
        is_text = kind.startswith(("timestamp", "date", "binary"))
        there = text[column] if is_text else values
        assert [line[column] for line in lines] == [
            pytest.approx(float(value), rel=1e-7) if isinstance(value, (float, Decimal)) else value for value in there
        ]
        assert [value in (None, "") for value in values] == [value == "" for value in text[column]]
        if kind == "double":
            assert [float(value or "nan") for value in text[column]] == pytest.approx(
                [np.nan if value is None else value for value in values], nan_ok=True, rel=0, abs=0
            )
        if kind == "string":
            assert text[column] == [value or "" for value in values]
    if name not in BY_PLACE:
        assert predicted(answer, rows_per_call=2) == predicted(answer, rows_per_call=1) == predicted(answer)


EVERYTHING = (
    "pd.DataFrame({'f': v / 3, 'i': v.astype('int64'), 'b': v > 2, "
    "'s': ['a,\"b', 'two\\nlines', ' x ', 'é', 'plain'][:n], 't': pd.Timestamp('2026-01-01T10:00:00.5') + "
    "pd.to_timedelta(v, unit='h'), 'm': [1.5, None, 2.5, None, 1e-7][:n], 'large': v * 1e10, "
    "'g': v.astype('float32') / 3})"
)


@pytest.mark.parametrize("form", FORMATS)
def test_pandas_pyarrow_and_duckdb_read_the_same_values(predicted, tmp_path, form):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / f"predictions.{form}"
    path.write_bytes(predicted(EVERYTHING, form=form))
    exact: dict[str, Any] = {} if pd.__version__ >= "3.1" else {"float_precision": "round_trip"}
    read_arrow = {
        "csv": lambda: pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(newlines_in_values=True)),
        "parquet": lambda: pq.read_table(path),
        "jsonl": lambda: pa.Table.from_pylist([json.loads(line) for line in path.read_text().splitlines()]),
    }
    found = {
        "pandas": {
            "csv": lambda: pd.read_csv(path, **exact),
            "parquet": lambda: pd.read_parquet(path),
            "jsonl": lambda: pd.read_json(path, lines=True, precise_float=True),
        }[form](),
        "pyarrow": read_arrow[form]().to_pandas(),
        "duckdb": duckdb.sql(f"select * from '{path}' order by row").df(),
    }
    x = np.array(X)
    for reader, frame in found.items():
        assert list(frame.columns) == ["file", "row", "f", "i", "b", "s", "t", "m", "large", "g"], reader
        assert frame["row"].tolist() == [0, 1, 2, 3, 4], reader
        assert frame["f"].tolist() == (x / 3).tolist(), reader
        assert frame["i"].tolist() == X, reader
        assert frame["b"].tolist() == [True, False, False, True, True], reader
        assert frame["s"].tolist() == ['a,"b', "two\nlines", " x ", "é", "plain"], reader
        times = pd.to_datetime(frame["t"]).astype("datetime64[ns]")
        assert times.tolist() == [pd.Timestamp("2026-01-01T10:00:00.5") + pd.Timedelta(int(hour), "h") for hour in X]
        assert frame["m"].isna().tolist() == [False, True, False, True, False], reader
        assert frame["m"].tolist()[4] == 1e-7, reader
        assert frame["large"].tolist() == (x * 1e10).tolist(), reader
        assert (frame["g"].astype("float32").to_numpy() == x.astype("float32") / np.float32(3)).all(), reader


REFUSED = {
    "a short frame": ("f.iloc[:-1]", "DataFrame of shape (4, 1) with the columns x: 4 rows for 5 input rows"),
    "a filtered frame": ("f[f['x'] > 3]", "DataFrame of shape (2, 1) with the columns x: 2 rows for 5 input rows"),
    "a long array": ("np.zeros(n + 1)", "ndarray of float64, shape (6,): 6 rows for 5 input rows"),
    "a short list": ("[1]", "a list of length 1: 1 rows for 5 input rows"),
    "a generator of too many": ("iter(range(n + 2))", "a list of length 7: 7 rows for 5 input rows"),
    "ragged columns": ("{'a': v, 'b': v[:2]}", "a dict with the keys a, b: 2 rows for 5 input rows"),
    "a tuple of arrays of other lengths": ("(v, v[:1])", "a tuple of length 2: 2 rows for 5 input rows"),
    "nothing": ("None", "predict returned None"),
    "a float": ("3.0", "a float (3.0) for 5 rows"),
    "a 0-D array": ("np.float64(3)", "a numpy.float64 of float64, shape () for 5 rows"),
    "a string": ("'yes'", "a str ('yes') for 5 rows"),
    "bytes": ("b'yes'", "a bytes (b'yes') for 5 rows"),
    "a Decimal": ("decimal.Decimal(1)", "a decimal.Decimal (Decimal('1')) for 5 rows"),
    "a dict of single values": ("{'a': 1}", "a dict with the keys a of single values for 5 rows"),
    "no columns": ("pd.DataFrame(index=f.index)", "shape (5, 0) with the columns (none), which has no columns"),
    "text and numbers": ("[1, 'a', 2, 'b', 3]", "mixes integer (1) and text ('a')"),
    "complex numbers": ("v + 1j", "complex numbers (complex128)"),
    "objects of its own": ("[object() for _ in v]", "builtins.object, which has no text"),
    "an exception": ("1 / 0", "ZeroDivisionError: division by zero"),
}


def test_what_cant_be_rows_fails_its_mini_batch_saying_what_came_back(save_model, tmp_path, run_batchscore):
    """One job of real processes: each file gets another answer, by its own x."""
    source = ANSWERING.replace(
        'expression = (params or {}).get("answer") or os.environ["ANSWER"]',
        f'expression = {[answer for answer, _ in REFUSED.values()]!r}[int(model_input["x"][0])]',
    )
    assert "os.environ" not in source
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(len(REFUSED)):
        rows = [number, *X[1:]]  # of which the first says which answer
        (folder / f"{number:02d}.csv").write_text("x\n" + "".join(f"{x}\n" for x in rows))
    model = save_model(source, ModelSignature(Schema([ColSpec("double", "x")])))
    options = ["--mini-batch-size", "1", "--workers", "2", "--max-retries", "1"]
    done = run_batchscore("run", "-m", model, "-i", folder, "-o", tmp_path / "out", *options)
    assert done.returncode == 1
    failures = [json.loads(line) for line in (tmp_path / "out/failures.jsonl").read_text().splitlines()]
    assert [line["file"] for line in failures] == [f"{number:02d}.csv" for number in range(len(REFUSED))]
    for (name, (_, message)), line in zip(REFUSED.items(), failures, strict=True):
        assert message in line["reason"], name
    counts = json.loads((tmp_path / "out/job.json").read_text())["counts"]
    assert (counts["rows"], counts["rows_scored"], counts["rows_failed"]) == (95, 0, 95)


TWO = [("a", "double"), ("b", "double")]
SIGNATURES = {
    "names for an array": ("np.column_stack([v, -v])", TWO, {"a": X, "b": NEGATIVE}),
    "another order": ("f.assign(b=-f['x'], a=f['x'])[['b', 'a']]", TWO, {"a": X, "b": NEGATIVE}),
    "other names": ("f.assign(p=-f['x'])", TWO, {"a": X, "b": NEGATIVE}),
    "partly other names": ("f.assign(a=-f['x'])", TWO, {"x": X, "a": NEGATIVE}),
    "too many columns": ("np.column_stack([v, -v])", [("a", "double")], {"prediction_0": X, "prediction_1": NEGATIVE}),
    "too few columns": ("v", TWO, {"prediction": X}),
    "one column by another name": ("pd.Series(v, name='x')", [("score", "double")], {"score": X}),
    "dicts without some keys": ("[{'b': x} for x in v]", TWO, {"a": [None] * 5, "b": X}),
}


@pytest.mark.parametrize(("answer", "outputs", "expected"), SIGNATURES.values(), ids=list(SIGNATURES))
def test_an_output_signature_that_disagrees_about_columns_swaps_none(predicted, answer, outputs, expected):
    for rows_per_call in (100, 2):
        found = typed(predicted(answer, *outputs, form="parquet", rows_per_call=rows_per_call))
        assert {name: values for name, (_, values) in found.items()} == expected


TYPES = {
    "whole floats as long": ("v", "long", "int64", X),
    "integers as double": ("v.astype('int64')", "double", "double", FLOATS),
    "doubles as float": ("v / 3", "float", "float", [float(np.float32(x / 3)) for x in X]),
    "0 and 1 as boolean": ("(v > 2).astype(int)", "boolean", "bool", [True, False, False, True, True]),
    "numbers as text": ("v", "string", "string", ["3.0", "1.0", "2.0", "5.0", "4.0"]),
    "a list of numbers as text": ("list(v)", "string", "string", ["3.0", "1.0", "2.0", "5.0", "4.0"]),
    "a missing whole number": ("np.where(v == 2, np.nan, v)", "long", "int64", [3, 1, None, 5, 4]),
    "dates as datetime": (
        "[dt.date(2026, 1, int(x)) for x in v]",
        "datetime",
        "timestamp[us]",
        [moment(x) for x in X],
    ),
    "a matrix as arrays": (
        "np.column_stack([v, v])",
        Array(DataType.double),
        "list<element: double>",
        [[float(x)] * 2 for x in X],
    ),
}


@pytest.mark.parametrize(("answer", "stated", "kind", "values"), TYPES.values(), ids=list(TYPES))
def test_an_answer_takes_the_types_of_the_output_signature(predicted, answer, stated, kind, values):
    """Whatever the calls: each is cast by itself."""
    whole = predicted(answer, ("y", stated), form="parquet")
    assert typed(whole) == {"y": (kind, values)}
    assert predicted(answer, ("y", stated), form="parquet", rows_per_call=1) == whole


@pytest.mark.parametrize(
    ("answer", "stated", "message"),
    [
        ("v / 2", "long", "the column 'y' has the value 1.5 (double), which can't become int64"),
        ("['x'] * n", "double", "the column 'y' has the value 'x' (string), which can't become double"),
        ("v * 1e300", "float", "which can't become float"),
        ("[b'\\xff'] * n", "string", "which isn't UTF-8"),
    ],
)
def test_a_value_that_doesnt_fit_the_output_signature_fails_its_mini_batch(
    run_here, answering, xs, tmp_path, answer, stated, message
):
    summary = run_here(answering(("y", stated)), xs, tmp_path / "out", params={"answer": answer})
    assert summary.status == "Failed"
    assert message in summary.failures()["reason"][0]


CHANGING = {
    "integers, then fractions": ("v.astype('int64') if v[0] != 5 else v / 2", "double", [3.0, 1.0, 2.0, 2.5, 4.0]),
    "nothing, then text": ("[None] * n if v[0] == 3 else ['a'] * n", "string", [None, "a", "a", "a", "a"]),
    "nothing, then integers": ("[None] * n if v[0] == 3 else v.astype(int)", "int64", [None, 1, 2, 5, 4]),
    "missing integers": ("pd.Series(v).astype(int).where(v != 2)", "double", [3.0, 1.0, None, 5.0, 4.0]),
    "float32, then double": ("v.astype('f4') if v[0] == 3 else v", "double", [3.0, 1.0, 2.0, 5.0, 4.0]),
    "empty lists, then dicts": (
        "[[]] if v[0] == 3 else [[{'k': x}] for x in v]",
        "string",
        ["[]", *(f'[{{"k": {float(x)}}}]' for x in X[1:])],
    ),
    "large integers of both signs": (
        "[-1] if v[0] == 3 else [2**63 + int(x) for x in v]",
        "decimal128(20, 0)",
        [Decimal(-1), *(Decimal(2**63 + x) for x in X[1:])],
    ),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("answer", "kind", "values"), CHANGING.values(), ids=list(CHANGING))
def test_types_that_change_from_call_to_call_widen_whatever_the_mini_batches(
    predicted, tmp_path, form, answer, kind, values
):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, x in enumerate(X):
        (folder / f"{number}.csv").write_text(f"x\n{x}\n")
    options = {"inputs": folder, "rows_per_call": 1, "form": form}
    written = {predicted(answer, mini_batch_size=files, **options) for files in (1, 2, 5)}
    assert len(written) == 1
    data = written.pop()
    if form == "parquet":
        column = pq.read_table(pa.BufferReader(data))["prediction" if "Series" not in answer else -1]
        assert (str(column.type), column.to_pylist()) == (kind, values)


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        ("v if v[0] != 5 else ['five']", ("double", "string")),
        ("v > 2 if v[0] != 5 else v", ("bool", "double")),
        ("['a'] if v[0] != 5 else [dt.date(2026, 1, 1)]", ("string", "date32[day]")),
    ],
)
def test_any_other_change_of_type_fails_the_later_mini_batch_naming_both(run_here, answering, tmp_path, answer, kinds):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, x in enumerate(X):
        (folder / f"{number}.csv").write_text(f"x\n{x}\n")
    options = {"params": {"answer": answer}, "error_threshold": 1, "mini_batch_size": 1}
    summary = run_here(answering(), folder, tmp_path / "out", **options)
    assert summary.status == "Completed"
    (failure,) = summary.failures().to_dict("records")
    assert failure["file"] == "3.csv"
    assert f"is {kinds[0]} in one answer and {kinds[1]} in another" in failure["reason"]
    assert summary.counts.rows_scored == 4


@pytest.mark.parametrize(
    "answer",
    [
        "f.sort_values('x', ascending=False) * 10",
        "pd.concat([f[f['x'] > 2], f[f['x'] <= 2]]) * 10",
        "f['x'].sort_values() * 10",
        "pd.concat([part * 10 for _, part in f.groupby(f['x'] % 2)])",
    ],
)
def test_a_model_that_answers_in_another_order_gives_each_row_its_own(predicted, answer):
    """A model for each segment, its answers one behind the other: pandas' index says whose they are."""
    for rows_per_call in (100, 3, 1):
        assert cells(predicted(answer, rows_per_call=rows_per_call)) == {"x": [f"{x * 10}.0" for x in X]}


def test_a_model_that_spoils_its_input_spoils_no_kept_column(predicted, xs, tmp_path):
    answer = "[f.__setitem__('x', 0.0), f.pop('x'), v * 0][2]"
    assert cells(predicted(answer, keep="x"))["x"] == [str(x) for x in X]
    parquet = tmp_path / "xs.parquet"
    pq.write_table(pa.table({"x": FLOATS}), parquet)
    assert cells(predicted(answer, keep="x", inputs=parquet))["x"] == [f"{x}.0" for x in X]


def test_a_model_that_counts_its_calls_gives_each_row_one_answer(predicted):
    found = cells(predicted("[calls * 100.0 + x for x in v]", rows_per_call=2))["prediction"]
    calls = [int(float(value)) // 100 for value in found]
    assert [float(value) % 100 for value in found] == X
    assert [call - calls[0] for call in calls] == [0, 0, 1, 1, 2]


def test_a_prediction_with_the_name_of_a_kept_column_is_refused(run_here, answering, xs, tmp_path):
    with pytest.raises(UsageError, match="the prediction column 'x' has the name of another output column"):
        run_here(answering(), xs, tmp_path / "out", params={"answer": "f"}, keep="x")
    with pytest.raises(UsageError, match="file and row say where each prediction belongs, so the model has to name"):
        run_here(answering(), xs, tmp_path / "out", params={"answer": "{'row': v}"})
