"""Columns in the types that are written."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def canonical(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array of a type that is written: missing for NaN, values for dictionaries, UTC for time zones.

    Structs and maps, also within lists, become JSON text; half floats become float32.
    """
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    kind = canonical_type(array.type)
    if kind is None:
        return pa.array(
            [None if value is None else _own_text(value, array.type) for value in array.to_pylist()], pa.string()
        )
    if array.type != kind:
        array = pc.cast(array, kind)
    return _without_nan(array)


def _own_text(value: Any, kind: pa.DataType) -> str:
    """A struct, map or list of these as JSON; a value of an extension type as Python writes it."""
    if isinstance(kind, pa.BaseExtensionType):
        return str(value)
    return json.dumps(_json_ready(dict(value) if pa.types.is_map(kind) else value), ensure_ascii=False)


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, (str, int)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def canonical_type(kind: pa.DataType) -> pa.DataType | None:  # noqa: PLR0911  # one line for each family of types
    """The type in which a column is written; None: as JSON text."""
    types = pa.types
    if types.is_dictionary(kind):
        return canonical_type(kind.value_type)
    if types.is_float16(kind):
        return pa.float32()
    if types.is_date64(kind):
        return pa.date32()
    if types.is_timestamp(kind):
        return pa.timestamp(kind.unit, "UTC") if kind.tz else kind
    if types.is_large_string(kind) or str(kind) == "string_view":
        return pa.string()
    if types.is_large_binary(kind) or types.is_fixed_size_binary(kind) or str(kind) == "binary_view":
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = canonical_type(kind.value_type)
        return pa.list_(item) if item is not None else None
    if types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return None
    return kind


def _without_nan(array: pa.Array) -> pa.Array:
    """NaN is missing, also within lists."""
    if pa.types.is_floating(array.type):
        if pc.any(pc.is_nan(array)).as_py():
            return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    elif pa.types.is_list(array.type):
        items = _without_nan(array.values)
        if items is not array.values:
            mask = array.is_null() if array.null_count else None
            plain = array if array.offset == 0 else pa.concat_arrays([array, array.slice(0, 0)])
            return pa.ListArray.from_arrays(plain.offsets, _without_nan(plain.values), mask=mask)
    return array
