"""All bad values of a column: the same as those that a judge names one by one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import FileRefused
from batchscore.schema import ColumnSpec, TensorSpec
from batchscore.signature import convert, convert_json, sift, sift_json
from batchscore.signature.jsonvalues import Number
from batchscore.signature.scalars import Refused
from batchscore.signature.sifting import NUMERALS, all_refused, has_other_characters

TEXTS = st.sampled_from(
    [
        "1", "-2.5", "1e3", " 7 ", "oops", None, "1.2.3", "--1", "9007199254740993", "1e999", "true", "0", "2026-01-31",
        "2026-02-30", "2026-01-01T10:00:00Z", "2026-01-01T25:00", "1600-01-01", "[1]", '{"a": 1}', "YWJj", "YWJ", "inf",
        "[1, 2]", "9223372036854775808", "1.0", "1.5", "é", ".", "0x1F",
    ]
)  # fmt: skip
SPECS = [
    *(ColumnSpec("c", kind) for kind in ("double", "float", "long", "integer", "boolean", "datetime", "binary")),
    ColumnSpec("c", "string"),
    ColumnSpec("c", {"type": "array", "items": {"type": "long"}}),
    ColumnSpec("c", {"type": "object", "properties": {"a": {"type": "double", "required": True}}}, required=False),
    TensorSpec("c", "float64", (-1, 2)),
    TensorSpec("c", "int8", (-1,)),
]


def refusal(column: pa.Array, spec: ColumnSpec | TensorSpec, row: int) -> str | None:
    """What is said of a value that stands alone."""
    try:
        convert(column.slice(row, 1), spec, name="c", first_row=row)
    except FileRefused as error:
        return error.reason
    return None


@pytest.mark.parametrize("spec", SPECS, ids=str)
@given(st.lists(TEXTS, max_size=40))
def test_a_column_of_text_has_the_bad_values_that_it_has_one_by_one(
    spec: ColumnSpec | TensorSpec, texts: list[str | None]
) -> None:
    column = pa.array(texts, pa.string())
    alone = {row: said for row in range(len(texts)) if (said := refusal(column, spec, row))}
    found = sift(column, spec, name="c", numbers=np.arange(len(texts)))
    assert {row: each.reason for row, each in found.items()} == alone
    good = column.filter(pa.array([row not in found for row in range(len(texts))], pa.bool_()))
    convert(good, spec, name="c")


@pytest.mark.parametrize(("kind", "spec"), [(pa.float64(), "long"), (pa.int64(), "boolean"), (pa.float64(), "float")])
@given(st.lists(st.sampled_from([0, 1, 2, 2.5, None, float("nan"), 1e300]), max_size=20))
def test_a_typed_column_has_them_too(kind: pa.DataType, spec: str, values: list[float | None]) -> None:
    if kind == pa.int64():
        values = [None if value is None or not value <= 9 else int(value) for value in values]
    column = pa.array(values, kind)
    alone = {row: said for row in range(len(values)) if (said := refusal(column, ColumnSpec("c", spec), row))}
    found = sift(column, ColumnSpec("c", spec), name="c", numbers=np.arange(len(values)))
    assert {row: each.reason for row, each in found.items()} == alone


@given(st.lists(st.sampled_from([Number("1"), Number("1.5"), "7", "oops", None, True, [Number("1")], {}]), max_size=20))
def test_json_has_them_too(values: list[object]) -> None:
    spec = ColumnSpec("c", "long")

    def said(row: int) -> str | None:
        try:
            convert_json(values[row : row + 1], spec, name="c", first_row=row)
        except FileRefused as error:
            return error.reason
        return None

    found = sift_json(values, spec, name="c", numbers=range(len(values)))
    expected = {row: reason for row in range(len(values)) if (reason := said(row))}
    assert {row: each.reason for row, each in found.items()} == expected


@given(st.sets(st.integers(0, 300)), st.integers(0, 300))
def test_a_judge_that_names_the_first_alone_is_asked_seldom(bad: set[int], count: int) -> None:
    asked = 0

    def judge(places: np.ndarray) -> None:
        nonlocal asked
        asked += 1
        for index, place in enumerate(places):
            if place in bad:
                raise Refused(index, "x", "y")

    assert sorted(all_refused(count, judge)) == sorted(place for place in bad if place < count)
    assert asked <= 2 * len(bad) + 20


@given(st.lists(st.none() | st.text("019.-e +xé", max_size=4)))
def test_other_characters_are_seen(texts: list[str | None]) -> None:
    expected = [not text or any(char not in NUMERALS.decode() for char in text) for text in texts]
    column = pa.array(["skipped", *texts], pa.string()).slice(1)
    assert has_other_characters(column, NUMERALS).tolist() == expected
