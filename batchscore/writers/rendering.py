"""Arrow columns to text and back: the text of a value depends on the value and its column's type alone."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN, _LARGE = 1e10, 1e16
"""pyarrow writes numbers from the first on with an exponent, Python (so pandas) from the second on."""


def csv_text(array: pa.Array) -> pa.Array:  # noqa: PLR0911  # one for each family of types
    """The text of each value, unquoted; missing stays missing.

    Floats take the shortest text that reads back to the same bits, and a point or an exponent, so that they read back
    as floats. Lists are JSON, binary is base64, a timestamp has as many digits as its unit.
    """
    kind, types = array.type, pa.types
    if types.is_string(kind):
        return array
    if types.is_floating(kind):
        return _float_text(array)
    if types.is_boolean(kind):
        return pc.if_else(array, "True", "False")
    if types.is_timestamp(kind):
        return pc.replace_substring(pc.cast(array, pa.string()), " ", "T", max_replacements=1)
    if types.is_duration(kind):
        return _duration_text(array)
    if types.is_binary(kind):
        return pa.array(
            [None if value is None else base64.b64encode(value).decode() for value in array.to_pylist()], pa.string()
        )
    if types.is_list(kind):
        return pc.if_else(pc.is_valid(array), json_text(array), pa.scalar(None, pa.string()))
    return pc.cast(array, pa.string())


def json_text(array: pa.Array) -> pa.Array:
    """Each value as JSON, `null` where it is missing; dates and times are ISO text, binary is base64.

    Infinity stands without quotes: pandas, pyarrow, DuckDB and Python read it so.
    """
    kind, types = array.type, pa.types
    if types.is_null(kind):
        texts = pc.cast(array, pa.string())
    elif types.is_floating(kind):
        texts = _float_text(array)
        if pc.any(pc.is_inf(array)).as_py():
            texts = pc.replace_substring(texts, "inf", "Infinity")
    elif types.is_boolean(kind):
        texts = pc.if_else(array, "true", "false")
    elif types.is_integer(kind) or types.is_decimal(kind):
        texts = pc.cast(array, pa.string())
    elif types.is_list(kind):
        texts = _json_lists(array)
    else:
        texts = json_strings(csv_text(array))
    return pc.fill_null(texts, "null")


def json_strings(array: pa.Array) -> pa.Array:
    """Strings in quotes with JSON's escapes; characters beyond ASCII stand as they are."""
    if _has_any(array, lambda data: bool(((data < 0x20) | (data == 0x22) | (data == 0x5C)).any())):  # noqa: PLR2004  # control characters, quote and backslash
        needy = pc.match_substring_regex(array, r'[\x00-\x1f"\\]')
        escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in array.filter(needy).to_pylist()]
        array = pc.replace_with_mask(array, pc.fill_null(needy, False), pa.array(escaped, pa.string()))
    return pc.binary_join_element_wise('"', array, '"', "")


def quoted(array: pa.Array) -> pa.Array:
    """CSV fields: quotes only around text with a comma, a quote or a line end, and around empty text."""
    if _has_any(array, _has_special):
        needy = pc.match_substring_regex(array, '[,"\r\n]')
        doubled = pc.binary_join_element_wise('"', pc.replace_substring(array, '"', '""'), '"', "")
        array = pc.if_else(pc.fill_null(needy, False), doubled, array)
    if pc.min(pc.binary_length(array)).as_py() == 0:
        array = pc.if_else(pc.equal(array, ""), '""', array)
    return array


def _has_special(data: Any) -> bool:
    text = data.tobytes()
    return any(mark in text for mark in (b",", b'"', b"\r", b"\n"))


def csv_field(array: pa.Array) -> pa.Array:
    """What `records` takes of a column: text that is quoted where it needs it, or whole numbers."""
    types, kind = pa.types, array.type
    if types.is_integer(kind):
        return array
    return quoted(csv_text(array)) if types.is_string(kind) or types.is_list(kind) else csv_text(array)


def records(fields: list[pa.Array]) -> pa.Buffer:
    """CSV records of fields that `csv_field` made.

    Arrow's own writer joins fields in half the time, but refuses to where one has quotes.
    """
    batch = pa.RecordBatch.from_arrays(fields, names=[str(number) for number in range(len(fields))])
    sink = pa.BufferOutputStream()
    options = pacsv.WriteOptions(include_header=False, batch_size=max(len(batch), 1), quoting_style="none")
    try:
        pacsv.write_csv(batch, sink, options)
    except pa.ArrowInvalid:
        return lines([csv_text(field) for field in fields], ",")
    return sink.getvalue()


def lines(fields: list[Any], separator: str) -> pa.Buffer:
    """Records of the fields (arrays and constant text) with a line feed each, as UTF-8."""
    records = pc.binary_join_element_wise(*fields, separator, null_handling="replace", null_replacement="")
    records = pc.binary_join_element_wise(records, "\n", "")
    _, offsets, data = records.buffers()
    if data is None:
        return pa.py_buffer(b"")
    bounds = np.frombuffer(offsets, np.int32)[records.offset : records.offset + len(records) + 1]
    return data[int(bounds[0]) : int(bounds[-1])]


def _has_any(array: pa.Array, test: Callable[[Any], bool]) -> bool:
    """Whether the strings' bytes pass the test: one look at the buffer instead of one at each string."""
    _, offsets, data = array.buffers()
    if data is None or len(array) == 0:
        return False
    bounds = np.frombuffer(offsets, np.int32)
    used = np.frombuffer(data, np.uint8)[bounds[array.offset] : bounds[array.offset + len(array)]]
    return test(used)


def _float_text(array: pa.Array) -> pa.Array:
    texts = pc.cast(array, pa.string())
    size = pc.abs(array)
    whole = pc.and_(pc.equal(pc.floor(array), array), pc.less(size, _PLAIN))
    if pc.any(whole).as_py():
        texts = pc.if_else(whole, pc.binary_join_element_wise(texts, ".0", ""), texts)
    if pa.types.is_float64(array.type):
        long = pc.fill_null(pc.and_(pc.greater_equal(size, _PLAIN), pc.less(size, _LARGE)), False)
        if pc.any(long).as_py():
            written = [repr(number) for number in array.filter(long).to_pylist()]
            texts = pc.replace_with_mask(texts, long, pa.array(written, pa.string()))
    return texts


def _duration_text(array: pa.Array) -> pa.Array:
    """`-1 days +22:00:00.000` as pandas writes it, with as many digits as the unit has."""
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[array.type.unit]
    valid = np.asarray(array.is_valid())
    ticks = np.asarray(pc.fill_null(pc.cast(array, pa.int64()), 0))
    seconds, fraction = np.divmod(ticks, 10**digits)
    days, seconds = np.divmod(seconds, 86_400)

    def padded(number: Any, width: int) -> pa.Array:
        return pc.utf8_lpad(pc.cast(pa.array(number), pa.string()), width, "0")

    sign = pc.if_else(pa.array(days < 0), " days +", " days ")
    minutes, seconds = np.divmod(seconds, 60)
    clock = pc.binary_join_element_wise(padded(minutes // 60, 2), padded(minutes % 60, 2), padded(seconds, 2), ":")
    texts = pc.binary_join_element_wise(pc.cast(pa.array(days), pa.string()), sign, clock, "")
    if digits:
        texts = pc.binary_join_element_wise(texts, padded(fraction, digits), ".")
    return pc.if_else(pa.array(valid), texts, pa.scalar(None, pa.string()))


def _ticks(text: str) -> int:
    """A duration in the unit that the number of its digits says."""
    days, hours, minutes, seconds, digits = re.fullmatch(  # type: ignore[union-attr]  # our own text
        r"(-?\d+) days \+?(\d\d):(\d\d):(\d\d)\.?(\d*)", text
    ).groups()
    whole = ((int(days) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
    return int(whole * 10 ** len(digits)) + int(digits or 0)


def _json_lists(array: pa.Array) -> pa.Array:
    items = json_text(array.flatten())
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.asarray(lengths))]), pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, items), ",")
    texts = pc.binary_join_element_wise("[", joined, "]", "")
    return pc.if_else(pc.is_valid(array), texts, pa.scalar(None, pa.string()))


def parsed(texts: pa.Array, kind: pa.DataType) -> pa.Array:  # noqa: PLR0911  # one for each family of types
    """The values that `csv_text` wrote, exactly; for parts that must be encoded again."""
    types = pa.types
    if types.is_string(kind):
        return texts
    if types.is_null(kind):
        return pa.nulls(len(texts))
    if types.is_timestamp(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return pc.cast(texts, kind)
    if types.is_list(kind):
        return _parsed_lists(texts, kind)
    if types.is_duration(kind):
        return pa.array([None if text is None else _ticks(text) for text in texts.to_pylist()], pa.int64()).cast(kind)
    if types.is_binary(kind):
        return pa.array([None if text is None else base64.b64decode(text) for text in texts.to_pylist()], kind)
    return pc.cast(texts, kind)


def _parsed_lists(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """Lists from JSON, each item by way of its text, so that no type needs a second way to be read."""
    values = [
        None if text is None else json.loads(text, parse_int=Token, parse_float=Token, parse_constant=Token)
        for text in texts.to_pylist()
    ]
    items = parsed(
        pa.array([plain_text(item) for value in values if value is not None for item in value], pa.string()),
        kind.value_type,
    )
    offsets = np.concatenate([[0], np.cumsum([len(value) if value is not None else 0 for value in values])])
    mask = pa.array([value is None for value in values], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, mask=mask)


class Token(str):
    """A number of JSON as it stands in the text."""

    __slots__ = ()


def plain_text(value: Any) -> str | None:
    """What `csv_text` would have written for a value of JSON whose numbers are Tokens."""
    if value is None or isinstance(value, bool):
        return None if value is None else str(value)
    if isinstance(value, str):
        return value.replace("Infinity", "inf") if isinstance(value, Token) else value
    return _dumped(value)


def _dumped(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_dumped, value))}]"
    return str(value) if isinstance(value, Token) else json.dumps(value, ensure_ascii=False)
