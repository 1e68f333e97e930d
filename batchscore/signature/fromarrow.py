"""Parquet columns to the signature's single values, with the verdicts of the same values as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.signature.fromtext import EXACT, first_inexact, from_text, rounded
from batchscore.signature.scalars import first, refuse_first

if TYPE_CHECKING:
    from batchscore.signature.scalars import Scalar

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MOST = (1 << 63) - 1


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of the values themselves: dictionaries, runs and extension types decoded, NaN still NaN."""
    if isinstance(column, pa.ChunkedArray):
        chunks = column.chunks or [pa.array([], column.type)]
        return plain(chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks))
    if isinstance(column.type, pa.BaseExtensionType):
        return plain(column.storage)
    if pa.types.is_dictionary(column.type):
        return plain(column.dictionary_decode())
    if pa.types.is_run_end_encoded(column.type):
        return plain(pc.run_end_decode(column))
    return column


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(form: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(form)
        or pa.types.is_large_list(form)
        or pa.types.is_fixed_size_list(form)
        or pa.types.is_list_view(form)
        or pa.types.is_large_list_view(form)
    )


def entries(column: pa.Array) -> tuple[np.ndarray, pa.Array, pa.Array]:
    """A map column's number of entries in each row, and their keys and values."""
    if len(column) == 0:
        return np.zeros(0, np.int32), column.keys.slice(0, 0), column.items.slice(0, 0)
    offsets = np.asarray(column.offsets)
    start, length = int(offsets[0]), int(offsets[-1] - offsets[0])
    return np.diff(offsets), column.keys.slice(start, length), column.items.slice(start, length)


def missing_as_null(column: pa.Array) -> pa.Array:
    """NaN, which is how pandas writes a missing value, as null."""
    if not pa.types.is_floating(column.type):
        return column
    wide = pc.cast(column, pa.float64())
    return pc.if_else(pc.is_nan(wide), pa.scalar(None, pa.float64()), wide)


def from_arrow(column: pa.Array, scalar: Scalar) -> pa.Array:
    """The (plain) column as values of the scalar's type.

    Raises Refused for the first value that doesn't fit. A column type that never fits is refused at its first value
    that isn't missing, so that a column without any value is one of missing values whatever its type.
    """
    kind = column.type
    is_scored_as_text = scalar.kind in ("number", "whole") and pa.types.is_decimal(kind)
    if is_text(kind) or is_scored_as_text:
        return from_text(pc.cast(column, pa.string()), scalar)
    if scalar.kind == "number" and pa.types.is_floating(kind):
        return _floats(pc.cast(column, pa.float64()), scalar)
    column = missing_as_null(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        read = {"number": _integers_as_numbers, "whole": _whole, "boolean": _zero_or_one}.get(scalar.kind)
        return _never(column, scalar) if read is None else read(column, scalar)
    if pa.types.is_temporal(kind) and scalar.kind == "datetime":
        return _moments(column, scalar)
    is_same = scalar.kind == "boolean" and pa.types.is_boolean(kind)
    is_same |= scalar.kind == "binary" and _is_binary(kind)
    return pc.cast(column, scalar.arrow) if is_same else _never(column, scalar)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _never(column: pa.Array, scalar: Scalar) -> pa.Array:
    reason = f"the column is {column.type}"
    if scalar.kind == "string":
        reason += ", so text such as leading zeros was lost when it was written; store the column as text"
    refuse_first(column, scalar, (first(pc.is_valid(column)), reason))
    return scalar.nulls(len(column))


def _floats(column: pa.Array, scalar: Scalar) -> pa.Array:
    shorter, large = rounded(column, scalar)
    refuse_first(column, scalar, (large, "too large"))
    return shorter


def _integers_as_numbers(column: pa.Array, scalar: Scalar) -> pa.Array:
    value = pc.cast(column, pa.float64(), safe=False)
    if scalar.arrow != pa.float64():
        return _floats(value, scalar)
    large = pc.greater_equal(pc.abs(value), float(EXACT))
    inexact = first_inexact(np.flatnonzero(large.fill_null(False)), column)
    refuse_first(column, scalar, (inexact, "a double can't hold this integer exactly"))
    return value


def _whole(column: pa.Array, scalar: Scalar) -> pa.Array:
    least, most = scalar.bounds
    if pa.types.is_floating(column.type):
        # the bounds are powers of two, so doubles hold them
        fits = pc.and_(pc.greater_equal(column, float(least)), pc.less(column, float(most + 1)))
        fits = pc.and_(fits, pc.equal(pc.trunc(column), column))
    else:
        fits = _within(column, least, most)
    refuse_first(column, scalar, (pc.invert(fits), f"the column is {column.type}"))
    return pc.cast(column, scalar.arrow)


def _within(column: pa.Array, least: int, most: int) -> pa.Array:
    bits = column.type.bit_width
    is_unsigned = pa.types.is_unsigned_integer(column.type)
    lowest, highest = (0, (1 << bits) - 1) if is_unsigned else (-(1 << bits - 1), (1 << bits - 1) - 1)
    above = pc.greater_equal(column, pa.scalar(max(least, lowest), column.type))
    return pc.and_(above, pc.less_equal(column, pa.scalar(min(most, highest), column.type)))


def _zero_or_one(column: pa.Array, scalar: Scalar) -> pa.Array:
    is_one = pc.equal(column, pa.scalar(1, column.type))
    fits = pc.or_(is_one, pc.equal(column, pa.scalar(0, column.type)))
    refuse_first(column, scalar, (pc.invert(fits), f"the column is {column.type}"))
    return is_one


def _moments(column: pa.Array, scalar: Scalar) -> pa.Array:
    """Dates and timestamps in nanoseconds since 1970 in UTC; those with a time zone are stored in UTC already."""
    kind = column.type
    if pa.types.is_date(kind):
        unit = "s" if pa.types.is_date32(kind) else "ms"
        column = pc.cast(column, pa.timestamp(unit))
    elif pa.types.is_timestamp(kind):
        unit = kind.unit
    else:
        return _never(column, scalar)
    ticks = pc.cast(column, pa.int64())
    factor = PER_SECOND["ns"] // PER_SECOND[unit]
    refuse_first(column, scalar, (pc.invert(_within(ticks, -(MOST // factor), MOST // factor)), ""))
    return pc.multiply(ticks, factor).view(scalar.arrow)
