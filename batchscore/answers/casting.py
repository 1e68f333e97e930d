"""An answer's columns in the types of the output signature, without loss or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.answers.cells import first
from batchscore.answers.texts import text_cells
from batchscore.errors import AnswerRefused
from batchscore.minibatch import Json

_SCALARS = {
    "double": pa.float64(),
    "float": pa.float32(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("us"),
}


def signature_type(stated: str | Json) -> pa.DataType | None:
    """The Arrow type of MLflow's word; None (any, objects, maps) leaves what the model gave."""
    if isinstance(stated, str):
        return _SCALARS.get(stated)
    if stated["type"] != "array":
        return None
    items = stated["items"]
    inner = signature_type(items["type"] if isinstance(items, dict) and items["type"] in _SCALARS else items)
    return pa.list_(inner) if inner is not None else None


def dtype_type(dtype: str) -> pa.DataType | None:
    """The Arrow type of a tensor's numpy dtype; None (object) leaves what the model gave."""
    if dtype.startswith(("str", "<U", "U")):
        return pa.string()
    try:
        kind = pa.from_numpy_dtype(np.dtype(dtype))
    except (TypeError, pa.ArrowException):
        return None
    return pa.float32() if pa.types.is_float16(kind) else kind


def cast_to(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:  # noqa: PLR0911  # one for each family
    """The array as ``kind``: numbers without loss but for float32's rounding, anything to text.

    Raises AnswerRefused with the column and the first value that doesn't fit.
    """
    found = array.type
    if found == kind:
        return array
    if pa.types.is_null(found):
        return pa.nulls(len(array), kind)
    if pa.types.is_string(kind):
        return _to_text(array, name)
    if pa.types.is_list(kind):
        return _to_lists(array, kind, name)
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(found):
        return array  # the unit is the answer's: nothing is cut off, and writers widen it
    if not _is_related(found, kind):
        raise _misfit(array, kind, name, pc.is_valid(array))
    if pa.types.is_boolean(kind):
        return _to_boolean(array, name)
    return _to_number(array, kind, name)


def _is_related(found: pa.DataType, kind: pa.DataType) -> bool:
    """Whether values of one type can be values of the other at all; text is no number."""
    types = pa.types

    def is_number(each: pa.DataType) -> bool:
        return any(
            is_kind(each) for is_kind in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        )

    if is_number(kind):
        return bool(is_number(found))
    return bool(types.is_timestamp(kind) and types.is_date(found)) or bool(
        types.is_duration(kind) and types.is_duration(found)
    )


def _to_number(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    types = pa.types
    if types.is_boolean(array.type):
        array = array.cast(pa.int8())
    try:
        if types.is_float32(kind):
            narrow = array.cast(pa.float64(), safe=False).cast(kind, safe=False)
            overflow = pc.and_(pc.is_inf(narrow), pc.is_finite(array.cast(pa.float64(), safe=False)))
            if pc.any(overflow).as_py():
                raise _misfit(array, kind, name, overflow)
            return narrow
        return array.cast(kind)
    except pa.ArrowInvalid as error:
        raise _misfit(array, kind, name, _lossy(array, kind)) from error


def _lossy(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Which values don't come back from the other type."""
    there = array.cast(kind, safe=False)
    return pc.not_equal(there.cast(array.type, safe=False), array)


def _to_boolean(array: pa.Array, name: str) -> pa.Array:
    numbers = array.cast(pa.float64(), safe=False)
    other = pc.invert(pc.or_(pc.equal(numbers, 0.0), pc.equal(numbers, 1.0)))
    if pc.any(other).as_py():
        raise _misfit(array, pa.bool_(), name, other)
    return pc.equal(numbers, 1.0)


def _to_text(array: pa.Array, name: str) -> pa.Array:
    """What a list of the same values gives: Python's text of each, so that 1.0 is `1.0`; bytes are UTF-8."""
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return array.cast(pa.string())
    if pa.types.is_boolean(kind):
        return pc.if_else(array, "True", "False")
    if pa.types.is_float32(kind):
        return text_cells([None if value is None else np.float32(value) for value in array.to_pylist()], name)
    return text_cells(array.to_pylist(), name)


def _to_lists(array: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    if not pa.types.is_list(array.type):
        raise _misfit(array, kind, name, pc.is_valid(array))
    items = cast_to(array.flatten(), kind.value_type, name)
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.asarray(lengths))]), pa.int32())
    return pa.ListArray.from_arrays(offsets, items, mask=pc.is_null(array))


def _misfit(array: pa.Array, kind: pa.DataType, name: str, which: Any) -> AnswerRefused:
    marked = pc.fill_null(which, False)
    value = f"the value {first(array, marked)!r:.60}" if pc.any(marked).as_py() else "a value"
    return AnswerRefused(
        f"the column {name!r} has {value} ({array.type}), which can't become {kind} as the model's output signature "
        "says; log the model with the signature of what it returns"
    )
