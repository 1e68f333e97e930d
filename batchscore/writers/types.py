"""The types of output columns: which ones there are, their names as text, and how they widen.

A column's type is an Arrow type written as text. A kept column of a CSV, where the format has types, is a `text<…>`:
the part holds its text, the word in the brackets says what all of it can be read as without losing a character.
A kept column of whole numbers beyond 2^53, keys for the most part, is a `long<…>`: with fractions it becomes text.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from batchscore.errors import AnswerRefused

if TYPE_CHECKING:
    from batchscore.outcome import Column

TEXT_KINDS = ("null", "integer", "long", "double", "string")
"""What text can be read as: nothing at all, whole numbers within 2^53, within int64, numbers, text."""

_UNITS = ("s", "ms", "us", "ns")
_TEXT_TYPES = {
    "null": pa.string(),
    "integer": pa.int64(),
    "long": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
}


def text_kind(name: str) -> str | None:
    """What is between the brackets of `text<…>`; None for an Arrow type."""
    return name[5:-1] if name.startswith("text<") else None


def _is_long(name: str) -> bool:
    return name.startswith("long<")


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type that a column's type names, in the prediction file.

    >>> arrow_type("list<item: double>"), arrow_type("text<long>")
    (ListType(list<item: double>), DataType(int64))
    """
    kind = text_kind(name)
    if kind is not None:
        return _TEXT_TYPES[kind]
    if _is_long(name):
        return arrow_type(name[5:-1])
    if name.startswith("list<item: "):
        return pa.list_(arrow_type(name[len("list<item: ") : -1]))
    for pattern, build in (
        (r"timestamp\[(\w+)\]", pa.timestamp),
        (r"timestamp\[(\w+), tz=(.+)\]", pa.timestamp),
        (r"duration\[(\w+)\]", pa.duration),
        (r"time32\[(\w+)\]", pa.time32),
        (r"time64\[(\w+)\]", pa.time64),
        (r"decimal128\((\d+), (-?\d+)\)", pa.decimal128),
        (r"decimal256\((\d+), (-?\d+)\)", pa.decimal256),
    ):
        if match := re.fullmatch(pattern, name):
            return build(*(int(text) if text.lstrip("-").isdigit() else text for text in match.groups()))
    return pa.date32() if name == "date32[day]" else pa.type_for_alias(name)


def widen_column(a: Column, b: Column) -> Column:
    """The column that holds the values of both; AnswerRefused names both types where there is none."""
    if a.role == "kept":
        return replace(a, type=_widen_kept(a.type, b.type))
    kind = _widen(arrow_type(a.type), arrow_type(b.type))
    if kind is None:
        raise AnswerRefused(
            f"the column {a.name!r} is {a.type} in one answer and {b.type} in another; numbers are widened, "
            "other types must stay the same from call to call"
        )
    return replace(a, type=str(kind))


def _widen_text(a: str, b: str) -> str:
    """Whole numbers beyond 2^53 and fractions have only their text in common."""
    if {a, b} == {"long", "double"}:
        return "string"
    return max(a, b, key=TEXT_KINDS.index)


def _widen_kept(a: str, b: str) -> str:
    """Numbers widen where that loses none; otherwise both become text.

    The order in which types are met makes no difference.
    """
    texts = [kind for kind in (text_kind(a), text_kind(b)) if kind is not None]
    if len(texts) == 2:  # noqa: PLR2004  # both
        return f"text<{_widen_text(*texts)}>"
    for nothing in ("null", "text<null>"):
        if nothing in {a, b}:
            return b if a == nothing else a
    if texts:  # a CSV's text and a typed file's values have only text in common
        return "string"
    return _widen_typed(a, b)


def _widen_typed(a: str, b: str) -> str:
    """Of two typed files' columns."""
    if not (_is_number(arrow_type(a)) and _is_number(arrow_type(b))):
        return a if a == b else "string"
    if _is_long(a) or _is_long(b):
        return _widen_long(a, b)
    kind = _widen_numbers(arrow_type(a), arrow_type(b))
    return "int64" if pa.types.is_decimal(kind) else str(kind)  # neither holds a number beyond 2^53


def _widen_long(a: str, b: str) -> str:
    """Whole numbers of which some are beyond 2^53, with others: of 64 bits where these hold all, else text."""
    longs = {name for name in (a, b) if _is_long(name)}
    holds = pa.types.is_unsigned_integer if longs == {"long<uint64>"} else pa.types.is_integer
    is_held = all(holds(arrow_type(name)) for name in (a, b) if not _is_long(name))
    return longs.pop() if len(longs) == 1 and is_held else "string"


def _widen(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911  # one line for each family of types
    types = pa.types
    if a == b or types.is_null(b):
        return a
    if types.is_null(a):
        return b
    if _is_number(a) and _is_number(b):
        return _widen_numbers(a, b)
    if types.is_decimal(a) or types.is_decimal(b):
        return _widen_decimals(a, b)
    if types.is_timestamp(a) and types.is_timestamp(b) and a.tz == b.tz:
        return pa.timestamp(max(a.unit, b.unit, key=_UNITS.index), a.tz)
    if types.is_duration(a) and types.is_duration(b):
        return pa.duration(max(a.unit, b.unit, key=_UNITS.index))
    if types.is_list(a) and types.is_list(b):
        item = _widen(a.value_type, b.value_type)
        return pa.list_(item) if item is not None else None
    if _are_json(a, b) or _are_json(b, a):
        return pa.string()
    return None


def _are_json(a: pa.DataType, b: pa.DataType) -> bool:
    """Whether lists without any item meet text, such as that of lists of dicts: then both are JSON text."""
    return bool(pa.types.is_list(a) and pa.types.is_null(a.value_type) and pa.types.is_string(b))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _widen_numbers(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    """The rule of numpy but for a small integer with float32 (whole numbers with fractions are double), and no loss."""
    types = pa.types
    if types.is_floating(a) or types.is_floating(b):
        return a if a == b else pa.float64()
    if types.is_signed_integer(a) == types.is_signed_integer(b):
        return max(a, b, key=lambda kind: kind.bit_width)
    signed, unsigned = (a, b) if types.is_signed_integer(a) else (b, a)
    width = max(signed.bit_width, unsigned.bit_width * 2)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width, pa.decimal128(20, 0))


def _widen_decimals(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_floating(a) or types.is_floating(b):
        return pa.float64()
    if not all(types.is_decimal(kind) or types.is_integer(kind) for kind in (a, b)):
        return None
    digits = [(kind.precision - kind.scale, kind.scale) if types.is_decimal(kind) else (20, 0) for kind in (a, b)]
    whole, scale = max(pair[0] for pair in digits), max(pair[1] for pair in digits)
    if whole + scale > 76:  # noqa: PLR2004  # the digits of decimal256
        return pa.float64()
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else pa.decimal256(whole + scale, scale)  # noqa: PLR2004  # the digits of decimal128
