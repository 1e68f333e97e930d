"""Text to the signature's single values, as CSV files have it.

Each function takes a string array (null: missing) and gives an array of the scalar's type, or raises Refused for the
first value that doesn't fit. Spaces and tabs around numbers, booleans and datetimes don't count; in strings they do.
"""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.signature.momenttext import moments, trimmed_text
from batchscore.signature.scalars import refuse_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batchscore.signature.scalars import Kind, Scalar

EXACT = 1 << 53
"""Up to here a double holds every whole number."""
NUMBER = r"^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
INTEGER = r"^[+-]?\d+$"
INFINITY = r"(?i)inf"
DECIMAL = pa.decimal128(38, 0)
TRUE_VALUES = ("true", "True", "TRUE", "1", "1.0")
FALSE_VALUES = ("false", "False", "FALSE", "0", "0.0")
"""What a reader may take for a truth value: some of the texts that are one, whatever their case and spaces."""


def from_text(text: pa.Array, scalar: Scalar) -> pa.Array:
    """The text as values of the scalar's type."""
    return READ[scalar.kind](text, scalar)


def rounded(value: pa.Array, scalar: Scalar) -> tuple[pa.Array, pa.Array]:
    """Doubles rounded to the scalar's floats, and a mask of those too large for it."""
    if scalar.arrow == pa.float64():
        return value, pa.nulls(len(value), pa.bool_())
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = value.to_numpy(zero_copy_only=False).astype(scalar.arrow.to_pandas_dtype())
    missing = pc.is_null(value).to_numpy(zero_copy_only=False)
    shorter = pa.array(numbers, scalar.arrow, mask=missing)
    large = pa.array(np.isinf(numbers), mask=missing)
    return shorter, pc.and_(large, pc.invert(pc.is_inf(value)))


def checked(column: pa.Array, scalar: Scalar) -> pa.Array | None:
    """Doubles that Arrow read from text as numbers of the scalar, as `from_text` gives them for that text.

    None where they alone don't tell: at 2^53 and beyond, NaN and infinity, fractions and missing values in whole
    numbers.
    """
    if not _are_exact(column):
        return None
    if scalar.kind == "number":
        if scalar.arrow == pa.float64():
            return column
        shorter, large = rounded(column, scalar)
        return None if pc.any(large).as_py() else shorter
    if column.null_count:
        return None
    try:
        return pc.cast(column, scalar.arrow)
    except pa.ArrowInvalid:  # a fraction, or out of range
        return None


def _are_exact(column: pa.Array) -> bool:
    """Whether all doubles are between -2^53 and 2^53, where every whole number is one; NaN isn't."""
    if len(column) == column.null_count:
        return True
    numbers = np.frombuffer(column.buffers()[1], np.float64)[column.offset : column.offset + len(column)]
    with np.errstate(invalid="ignore"):
        if numbers.min() > -EXACT and numbers.max() < EXACT:
            return True
    # under what is missing there may be anything
    return column.null_count > 0 and bool(pc.all(pc.less(pc.abs(column), float(EXACT))).as_py())


def _plain_numbers(text: pa.Array, scalar: Scalar) -> pa.Array | None:
    """The numbers of a column that has plain ones alone, at a tenth of the cost; None where it may have others."""
    try:
        return checked(pc.cast(text, pa.float64()), scalar)
    except pa.ArrowInvalid:
        return None


def first_inexact(places: Iterable[int], column: pa.Array) -> int | None:
    """The first of the places whose whole number no double holds; few are looked at, so one by one."""
    for place in places:
        exact = Decimal(str(column[place].as_py()).strip(" \t"))
        if Decimal(float(exact)) != exact:
            return int(place)
    return None


def _where(mask: pa.Array, column: pa.Array) -> pa.Array:
    """The column, missing where the mask isn't true."""
    return pc.if_else(mask, column, pa.scalar(None, column.type))


def _number(text: pa.Array, scalar: Scalar) -> pa.Array:
    if (plain := _plain_numbers(text, scalar)) is not None:
        return plain
    trimmed = trimmed_text(text)
    is_number = pc.match_substring_regex(trimmed, NUMBER)
    value = pc.cast(_where(is_number, trimmed), pa.float64())
    overflow = pc.and_(pc.is_inf(value), pc.invert(pc.match_substring_regex(trimmed, INFINITY)))
    shorter, large = rounded(value, scalar)
    inexact = None
    if scalar.arrow == pa.float64():
        candidates = pc.and_(pc.greater_equal(pc.abs(value), float(EXACT)), pc.match_substring_regex(trimmed, INTEGER))
        inexact = first_inexact(np.flatnonzero(candidates.fill_null(False)), text)
    refuse_first(
        text,
        scalar,
        (pc.invert(is_number), ""),
        (inexact, "a double can't hold this integer exactly"),
        (overflow, "too large"),
        (large, "too large"),
    )
    return shorter


def _whole(text: pa.Array, scalar: Scalar) -> pa.Array:
    if (plain := _plain_numbers(text, scalar)) is not None:
        return plain
    trimmed = trimmed_text(text)
    are_digits = pc.match_substring_regex(trimmed, INTEGER)
    digits = pc.replace_substring_regex(_where(are_digits, trimmed), r"^\+?(-?)0*(\d)", r"\1\2")
    is_short = pc.less_equal(pc.utf8_length(digits), DECIMAL.precision)
    whole = pc.cast(_where(is_short, digits), DECIMAL)
    if not pc.all(are_digits).as_py():
        whole = pc.coalesce(whole, _whole_decimals(_where(pc.invert(are_digits), trimmed)))
    fits = _within(whole, scalar)
    refuse_first(text, scalar, (pc.and_(pc.is_valid(text), pc.invert(fits.fill_null(False))), ""))
    return pc.cast(whole, scalar.arrow)


def _within(whole: pa.Array, scalar: Scalar) -> pa.Array:
    least, most = (pa.scalar(Decimal(bound), DECIMAL) for bound in scalar.bounds)
    return pc.and_(pc.greater_equal(whole, least), pc.less_equal(whole, most))


def _whole_decimals(text: pa.Array) -> pa.Array:
    """Whole numbers of texts with a point or exponent, such as `1.0` and `1e3`; missing where they aren't whole.

    Up to 2^53 the nearest double decides, as where a reader made doubles of the text already.
    """
    value = pc.cast(_where(pc.match_substring_regex(text, NUMBER), text), pa.float64())
    size = pc.abs(value)
    is_small = pc.and_(pc.less(size, float(EXACT)), pc.equal(pc.trunc(value), value))
    whole = pc.cast(pc.cast(_where(is_small, value), pa.int64()), DECIMAL)
    large = pc.and_(pc.greater_equal(size, float(EXACT)), pc.less(size, 2.0**65))
    places = np.flatnonzero(large.fill_null(False))
    if len(places) == 0:
        return whole
    exact: list[Decimal | None] = [None] * len(text)
    for place in places:  # rare: a text such as 1e18 for a long
        number = Decimal(text[place].as_py())
        exact[place] = number if number == number.to_integral_value() else None
    return pc.coalesce(whole, pa.array([None if number is None else Decimal(int(number)) for number in exact], DECIMAL))


def _boolean(text: pa.Array, scalar: Scalar) -> pa.Array:
    lowered = pc.utf8_lower(trimmed_text(text))
    is_true = pc.is_in(lowered, value_set=pa.array(["true", "1", "1.0"]))
    is_false = pc.is_in(lowered, value_set=pa.array(["false", "0", "0.0"]))
    refuse_first(text, scalar, (pc.and_(pc.is_valid(text), pc.invert(pc.or_(is_true, is_false))), ""))
    return _where(pc.is_valid(text), is_true)


def _string(text: pa.Array, scalar: Scalar) -> pa.Array:
    return pc.cast(text, scalar.arrow)


def _binary(text: pa.Array, scalar: Scalar) -> pa.Array:
    found: list[bytes | None] = []
    wrong: list[int] = []
    for place, value in enumerate(text.to_pylist()):  # Arrow doesn't decode base64
        try:
            found.append(None if value is None else base64.b64decode(value.encode(), validate=True))
        except binascii.Error:  # the place is needed
            wrong.append(place)
    if wrong:
        others = lambda: {place: scalar.refused(text, place, "not base64") for place in wrong}  # noqa: E731  # bound
        raise scalar.refused(text, wrong[0], "not base64", others)
    return pa.array(found, scalar.arrow)


READ: dict[Kind, Callable[[pa.Array, Scalar], pa.Array]] = {
    "number": _number,
    "whole": _whole,
    "boolean": _boolean,
    "string": _string,
    "datetime": moments,
    "binary": _binary,
}
