"""The verdict on each value: alike from CSV and Parquet, whole or in pieces, typed or as text."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchscore.errors import FileRefused
from batchscore.schema import ColumnSpec, TensorSpec
from batchscore.signature import FALSE_VALUES, TRUE_VALUES, fromtext, momenttext
from batchscore.signature.conversion import check_typed, convert, parse_text, reading_type

SCALARS = ["double", "float", "long", "integer", "boolean", "string", "datetime", "binary"]
NAN = float("nan")


def column(kind, *, required=True) -> ColumnSpec:
    return ColumnSpec("c", kind, required)


def text(*values) -> pa.Array:
    return pa.array(values, pa.string())


def read(values: pa.Array, kind, first_row: int = 0):
    spec = kind if isinstance(kind, (ColumnSpec, TensorSpec)) else column(kind)
    return convert(through_parquet(values), spec, name="c", first_row=first_row)


def through_parquet(values: pa.Array) -> pa.ChunkedArray:
    """What pyarrow reads of a Parquet file with this column; half floats and runs go by without a file."""
    if values.type == pa.float16() or pa.types.is_run_end_encoded(values.type) or str(values.type).endswith("_view"):
        return pa.chunked_array([values])
    file = io.BytesIO()
    pa.parquet.write_table(pa.table({"c": values}), file)
    return pa.parquet.read_table(file).column("c")


def refusal(values: pa.Array, kind, first_row: int = 0) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(values, kind, first_row)
    return caught.value


def same(found: pa.Array, expected: pa.Array) -> bool:
    """Equal types and values, NaN and the sign of zero included."""
    return found.type == expected.type and repr(found.to_pylist()) == repr(expected.to_pylist())


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        ("double", ["1", "+1.5", " 2\t", "1e3", ".5", "1.", "-0", None], [1.0, 1.5, 2.0, 1000.0, 0.5, 1.0, -0.0, None]),
        ("double", ["inf", "-Infinity", "nan", "1e-400"], [float("inf"), float("-inf"), NAN, 0.0]),
        ("double", ["9007199254740992", "9007199254740994", "9007199254740993.0"], [2.0**53, 2.0**53 + 2, 2.0**53]),
        ("float", ["0.1", "16777217", "inf", None], [float(np.float32(0.1)), 16777216.0, float("inf"), None]),
        ("long", ["1.0", "+1", " 1", "1e3", "-007", "-0", "1e18"], [1, 1, 1, 1000, -7, 0, 10**18]),
        ("long", ["+" + "0" * 60 + "1"], [1]),
        ("long", ["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        ("integer", ["2147483647", "-2147483648.0"], [2**31 - 1, -(2**31)]),
        ("boolean", ["0", "1", "true", "FALSE", " True ", "1.0"], [False, True, True, False, True, True]),
        ("string", ["007", " a ", "", None, "NA"], ["007", " a ", "", None, "NA"]),
        ("binary", ["YQA=", None], [b"a\0", None]),
    ],
)
def test_text_is_read_as_the_signature_says(kind, written, expected):
    found = parse_text(text(*written), column(kind), name="c")
    assert repr(found.to_pylist()) == repr(expected)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (
            "double",
            ["x", "", "0x1F", "1_000", "1,000", "1e400", "9007199254740993", "nan(1)", "++1", "1 2", "\xa01", "٣"],
        ),
        ("float", ["x", "1e39", "-1e39", "1e400"]),
        ("long", ["1.5", "9223372036854775808", "1e19", "inf", "nan", "0x1F", "1_000", "", "9" * 50, "1e999999999"]),
        ("integer", ["2147483648", "3000000000", "0.1"]),
        ("boolean", ["yes", "no", "2", "", "t", "0.5"]),
        ("datetime", ["01/02/2026", "2026-1-1", "20260101", "2026-02-30", "2026-01-01T24:00", "2026-01-01T10:00:60"]),
        ("datetime", ["2026-01-01 10:00 UTC", "2026-01-01T10:00:00+24:00", "3000-01-01", "1600-01-01", "2026", ""]),
        (
            "datetime",
            ["2262-04-11T23:47:16.854775808", "1677-09-21T00:12:43.145224192", "2026-01-01T00:00:00.1234567890"],
        ),
        ("binary", ["a", "é", "YQ", "Y Q="]),
    ],
)
def test_text_that_is_something_else_is_refused_naming_row_column_value_and_type(kind, bad):
    good = {"datetime": "2026-01-01", "binary": "YQ=="}.get(kind, "1")
    for value in bad:
        refused = refusal(text(good, value, good, value), kind, first_row=7)
        assert (refused.row, refused.column, refused.value) == (8, "c", value[:200])
        assert repr(value[:200]) in refused.reason
        assert f"({kind})" in refused.reason


def test_datetimes_become_utc_without_a_zone():
    written = text(
        "2026-01-31", "2026-01-31 10:11", "2026-01-31T10:11:12", "2026-01-31T10:11:12.123456789",
        "2026-01-31T10:11:12Z",
        "2026-01-31T10:11:12.5+02:00", "2026-01-31 10:11-0130", "2026-01-31T10:11+01", " 2026-01-31 ", None,
        "2262-04-11T23:47:16.854775807", "1677-09-21T00:12:43.145224193", "1969-12-31T23:59:59.999999999",
    )  # fmt: skip
    expected = np.array(
        [
            "2026-01-31", "2026-01-31T10:11", "2026-01-31T10:11:12", "2026-01-31T10:11:12.123456789",
            "2026-01-31T10:11:12",
            "2026-01-31T08:11:12.5", "2026-01-31T11:41", "2026-01-31T09:11", "2026-01-31", "NaT",
            "2262-04-11T23:47:16.854775807", "1677-09-21T00:12:43.145224193", "1969-12-31T23:59:59.999999999",
        ],
        "datetime64[ns]",
    )  # fmt: skip
    found = parse_text(written, column("datetime"), name="c")
    assert found.type == pa.timestamp("ns")
    np.testing.assert_array_equal(found.to_numpy(zero_copy_only=False), expected)
    for place in range(len(written)):  # by itself, where its neighbours don't need a slower way
        alone = parse_text(written.slice(place, 1), column("datetime"), name="c")
        np.testing.assert_array_equal(alone.to_numpy(zero_copy_only=False), expected[place : place + 1])


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("double", pa.array([1, None, 2**53]), [1.0, None, 2.0**53]),
        ("double", pa.array([2**63], pa.uint64()), [2.0**63]),
        ("double", pa.array([1.5, NAN]), [1.5, NAN]),
        ("double", pa.array(np.array([1.5], np.float16)), [1.5]),
        ("double", pa.array([Decimal("1.10"), None]), [1.1, None]),
        ("double", pa.array([Decimal(10)], pa.decimal256(60, 5)), [10.0]),
        ("double", text("1e3", None), [1000.0, None]),
        ("double", text("1.5", "1.5").dictionary_encode(), [1.5, 1.5]),
        ("double", pa.array([7, 7], pa.int8()).dictionary_encode(), [7.0, 7.0]),
        ("double", pa.nulls(2), [None, None]),
        ("float", pa.array([0.1, None]), [float(np.float32(0.1)), None]),
        ("float", pa.array([16777217]), [16777216.0]),
        ("long", pa.array([1.0, -(2.0**63)]), [1, -(2**63)]),
        ("long", pa.array([7], pa.uint64()), [7]),
        ("long", pa.array([Decimal("5.00")]), [5]),
        ("long", text("007"), [7]),
        ("integer", pa.array([2**31 - 1]), [2**31 - 1]),
        ("boolean", pa.array([0, 1]), [False, True]),
        ("boolean", pa.array([0.0, 1.0]), [False, True]),
        ("boolean", pa.array([True, False]), [True, False]),
        ("boolean", text("TRUE", "0"), [True, False]),
        ("string", text("007", None).cast(pa.large_string()), ["007", None]),
        ("string", text("007", None).cast(pa.string_view()), ["007", None]),
        ("string", text("a", None, "a").dictionary_encode(), ["a", None, "a"]),
        ("string", pa.RunEndEncodedArray.from_arrays([2], ["a"]), ["a", "a"]),
        ("string", pa.array([NAN, None]), [None, None]),
        ("string", pa.nulls(1), [None]),
        ("datetime", pa.array([NAN, None]), [None, None]),
        ("datetime", pa.nulls(1), [None]),
        ("binary", pa.array([b"a", None]), [b"a", None]),
        ("binary", pa.array([b"ab"], pa.binary(2)), [b"ab"]),
        ("binary", pa.array([b"ab"], pa.large_binary()), [b"ab"]),
    ],
)
def test_parquet_columns_are_read_as_the_signature_says(kind, values, expected):
    found = read(values, kind)
    assert found.type == parse_text(text(), column(kind), name="c").type
    assert repr(found.to_pylist()) == repr(expected)


MOMENT = dt.datetime(2026, 1, 31, 10, 11, 12, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([MOMENT], pa.timestamp("s", "Europe/Paris")),
        pa.array([MOMENT], pa.timestamp("ms", "+05:00")),
        *(pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
    ],
)
def test_parquet_timestamps_of_any_unit_and_zone_become_utc(values):
    assert read(values, "datetime").to_numpy(zero_copy_only=False)[0] == np.datetime64("2026-01-31T10:11:12", "ns")


@pytest.mark.parametrize("form", [pa.date32(), pa.date64()])
def test_parquet_dates_become_timestamps(form):
    found = read(pa.array([dt.date(2026, 1, 31), None], form), "datetime")
    assert repr(found.to_numpy(zero_copy_only=False)) == repr(np.array(["2026-01-31", "NaT"], "datetime64[ns]"))


@pytest.mark.parametrize(
    ("kind", "values", "row", "word"),
    [
        ("double", pa.array([1, 2**53 + 1]), 1, "exactly"),
        ("double", pa.array([2**63 - 1]), 0, "exactly"),
        ("double", pa.array([2**64 - 1], pa.uint64()), 0, "exactly"),
        ("double", pa.array([Decimal(2**53 + 1)]), 0, "exactly"),
        ("double", pa.array([None, True]), 1, "bool"),
        ("float", pa.array([1.0, 1e39]), 1, "too large"),
        ("long", pa.array([2**63], pa.uint64()), 0, "uint64"),
        ("long", pa.array([1.5]), 0, "whole"),
        ("long", pa.array([2.0**63]), 0, "whole"),
        ("long", pa.array([Decimal("5.01")]), 0, "whole"),
        ("integer", pa.array([0, 2**31]), 1, "whole"),
        ("boolean", pa.array([0, 2]), 1, "true, false"),
        ("boolean", pa.array([0.5]), 0, "true, false"),
        ("string", pa.array([None, 7]), 1, "lost"),
        ("string", pa.array([1.5]), 0, "lost"),
        ("string", pa.array([7, 7]).dictionary_encode(), 0, "lost"),
        ("string", pa.array([dt.date(2026, 1, 1)]), 0, "lost"),
        ("datetime", pa.array([1]), 0, "int64"),
        ("datetime", pa.array([dt.datetime(3000, 1, 1)], pa.timestamp("us")), 0, "3000-01-01"),  # noqa: DTZ001
        ("datetime", pa.array([dt.date(9999, 1, 1)]), 0, "9999-01-01"),
        ("datetime", pa.array([dt.time(1)]), 0, "time"),
        ("binary", pa.array([1]), 0, "int64"),
    ],
)
def test_parquet_values_that_would_change_are_refused(kind, values, row, word):
    refused = refusal(values, kind)
    assert refused.row == row
    assert word in refused.reason


@pytest.mark.parametrize("kind", ["long", "integer", "boolean"])
@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    "values", [text("1", None), pa.array([1, None]), pa.array([1.0, NAN]), pa.array([1, None]).cast(pa.int8())]
)
def test_a_missing_value_that_the_type_cant_hold_is_refused_naming_the_row(kind, required, values):
    refused = refusal(values, column(kind, required=required), first_row=100)
    assert (refused.row, refused.column, refused.value) == (101, "c", None)
    assert "missing" in refused.reason


@pytest.mark.parametrize("kind", ["long", "integer", "boolean"])
@pytest.mark.parametrize("values", [text(None), pa.nulls(1), pa.array([NAN])])
def test_an_all_empty_column_is_refused_where_the_type_cant_hold_missing_values(kind, values):
    assert refusal(values, kind).row == 0


@pytest.mark.parametrize("kind", ["double", "float", "string", "datetime", "binary"])
@pytest.mark.parametrize(
    "values", [text(None, None), pa.nulls(2), pa.array([NAN, None]), pa.array([None, None], pa.int64())]
)
def test_an_all_empty_column_is_all_missing_elsewhere(kind, values):
    found = pc.fill_null(read(values, kind), 0.5) if kind in ("double", "float") else read(values, kind)
    assert all(value is None or value == 0.5 or value != value for value in found.to_pylist())  # noqa: PLR0124


@pytest.mark.parametrize("kind", SCALARS)
@pytest.mark.parametrize("form", [pa.string(), pa.int64(), pa.float64(), pa.null(), pa.bool_(), pa.list_(pa.int8())])
def test_no_rows_are_no_problem_in_any_type(kind, form):
    found = convert(pa.array([], form), column(kind), name="c")
    assert len(found) == 0
    assert found.type == parse_text(text(), column(kind), name="c").type


def test_the_first_bad_row_is_named_whatever_is_wrong_with_it():
    for values in (["1", "x", None], ["1", "99999999999", None], ["1", "1.5", "x"], ["1", None, "x"]):
        assert refusal(text(*values), "integer").row == 1
    assert refusal(text("2026-01-01", "3000-01-01", "2026-02-30", "x"), "datetime").row == 1
    assert refusal(text("2026-01-01", "2026-02-30", "3000-01-01", "x"), "datetime").row == 1


NUMERIC = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(2**53 - 3, 2**53 + 3).map(str),
    st.floats().map(repr),
    st.from_regex(r"[ \t]?[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?[ \t]?", fullmatch=True),
    st.sampled_from(
        ["0x1F", "1e400", "1.0", "+1", "inf", "-INF", "nan(1)", "NAN", "-nan", "1_0", "1d", "infinity", " ", "."]
    ),
    st.text(st.characters(codec="ascii", exclude_characters='"\r\n,\0'), max_size=6),
)
OTHER = st.one_of(
    NUMERIC,
    st.sampled_from(["true", "False", "1", "0", "yes", "YQ==", "2026-01-31", "3000-01-01", "2026-02-30"]),
    st.datetimes().map(dt.datetime.isoformat),
)
SPECS = [
    *(column(kind) for kind in ("double", "float", "long", "integer", "string", "boolean")),
    *(TensorSpec(None, dtype, (-1,)) for dtype in ("float16", "float32", "int8", "uint64", "str")),
]


@settings(deadline=None)
@given(st.lists(NUMERIC | st.none(), max_size=6), st.sampled_from(SPECS))
def test_what_pyarrow_reads_typed_is_what_its_text_is_read_as(values, spec):
    """Where the typed reading stands, the text gives the same; so a reader may try types first."""
    lines = "".join(f'"{"missing" if value is None else value}"\n' for value in values)

    def by(form):
        options = pa.csv.ConvertOptions(
            column_types={"c": form},
            null_values=["missing"],
            true_values=TRUE_VALUES,
            false_values=FALSE_VALUES,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        )
        parsing = pa.csv.ParseOptions(ignore_empty_lines=False)
        return pa.csv.read_csv(
            io.BytesIO(f"c\n{lines}".encode()), convert_options=options, parse_options=parsing
        ).column("c")

    try:
        typed = check_typed(by(reading_type(spec)), spec)
    except pa.ArrowInvalid:
        return
    if typed is not None:
        assert same(typed, parse_text(by(pa.string()), spec, name="c"))


@pytest.mark.parametrize("kind", ["double", "float", "long", "integer", "string"])
def test_ordinary_numbers_are_read_typed(kind):
    typed = pa.array(["a", "b"]) if kind == "string" else pa.array([1.0, 2.0])
    assert check_typed(typed, column(kind)).type == parse_text(text(), column(kind), name="c").type


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (column("double"), [2.0**53]),
        (column("double"), [float("inf")]),
        (column("double"), [NAN]),
        (column("long"), [1.5]),
        (column("long"), [None]),
        (column("integer"), [2.0**31]),
        (TensorSpec(None, "float16", (-1,)), [7e4]),
        (TensorSpec(None, "uint8", (-1,)), [-1.0]),
    ],
)
def test_what_the_number_alone_doesnt_tell_is_read_as_text(spec, values):
    assert check_typed(pa.array(values, pa.float64()), spec) is None


DIGITS = st.text(st.sampled_from("0123456789:-.TZ+ "), max_size=3)
MOMENTS = st.builds(
    lambda day, time, more: f"{day}{time}{more}",
    st.sampled_from(["2026-01-31", "1677-09-21", "2262-04-11", "1678-01-01", "1600-02-29", "2026-02-30", "0000-01-01"]),
    st.sampled_from(["", "T12", " 12:30", "T23:47:16", " 24:00", "T12:30:00.5", " 23:47:16.854775807", "t12:30"]),
    st.just("") | DIGITS,
)


@settings(deadline=None)
@given(
    st.tuples(st.sampled_from(["double", "float", "long", "integer"]), st.lists(st.none() | NUMERIC, max_size=4))
    | st.tuples(st.just("datetime"), st.lists(st.none() | MOMENTS, max_size=3))
)
@example(("datetime", ["2026-01-31T12"]))
@example(("datetime", ["2026-01-31", "1600-02-29", "2262-12-31"]))
def test_text_that_arrow_converts_at_once_has_the_verdict_of_the_rules(values):
    """A column of plain values is spared patterns; what is refused, and why, is the same."""
    spec, written = column(values[0]), text(*values[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fromtext, "_plain_numbers", lambda *_: None)
        patch.setattr(momenttext, "_plain_moments", lambda *_: None)
        by_rules = verdict(written, spec)
    at_once = verdict(written, spec)
    assert repr(at_once) == repr(by_rules)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("double", ["1", "-2.5e3", None]),
        ("long", ["1", "0", "1e3"]),
        ("datetime", ["2026-01-31", "2026-01-31T12:00:00.123", None]),
    ],
)
def test_plain_text_is_spared_patterns(kind, values, monkeypatch):
    monkeypatch.setattr(fromtext.pc, "match_substring_regex", None)
    assert parse_text(text(*values), column(kind), name="c").null_count == values.count(None)


def verdict(values: pa.Array, spec, first_row: int = 0):
    try:
        return convert(values, spec, name="c", first_row=first_row).to_pylist()
    except FileRefused as refused:
        return refused.row, refused.value, refused.reason


@settings(deadline=None)
@given(st.lists(OTHER | st.none(), max_size=8), st.integers(0, 8), st.sampled_from(SCALARS))
def test_the_verdict_on_a_whole_column_is_the_first_among_its_pieces(values, cut, kind):
    whole = verdict(text(*values), column(kind))
    first, second = (
        verdict(text(*values[:cut]), column(kind)),
        verdict(text(*values[cut:]), column(kind), len(values[:cut])),
    )
    pieces = first if isinstance(first, tuple) else second if isinstance(second, tuple) else first + second
    assert repr(whole) == repr(pieces)


PARQUET = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 1) | st.none()).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.floats() | st.integers(0, 1).map(float) | st.none()).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.booleans() | st.none()).map(lambda v: pa.array(v, pa.bool_())),
    st.lists(st.integers(-(2**62), 2**62) | st.none()).map(lambda v: pa.array(v, pa.timestamp("us"))),
)


@settings(deadline=None)
@given(PARQUET, st.integers(0, 8), st.sampled_from(SCALARS))
def test_so_it_is_for_parquet(values, cut, kind):
    whole = verdict(values, column(kind))
    first = verdict(values.slice(0, cut), column(kind))
    second = verdict(values.slice(cut), column(kind), min(cut, len(values)))
    pieces = first if isinstance(first, tuple) else second if isinstance(second, tuple) else first + second
    assert repr(whole) == repr(pieces)


@settings(deadline=None)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.sampled_from(["double", "float", "long", "integer", "boolean"]),
)
def test_integers_have_one_verdict_in_text_and_in_parquet(values, kind):
    as_text, as_integers = verdict(text(*map(str, values)), column(kind)), verdict(pa.array(values), column(kind))
    assert as_text[:2] == as_integers[:2] if isinstance(as_text, tuple) else as_text == as_integers


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1), st.sampled_from(["double", "float"]))
def test_floats_have_one_verdict_in_text_and_in_parquet(values, kind):
    as_text, as_floats = verdict(text(*map(repr, values)), column(kind)), verdict(pa.array(values), column(kind))
    assert as_text[0] == as_floats[0] if isinstance(as_text, tuple) else repr(as_text) == repr(as_floats)
