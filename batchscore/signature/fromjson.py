"""Parsed JSON to the signature's types, with the verdicts of the same values in a Parquet file.

Numbers come as `Number`, as they are written, so that no digit is lost on the way. Each value is judged by what it is
in JSON: a column may have numbers and texts, as its values may have come from different writers.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchscore.schema import ColumnSpec, TensorSpec
from batchscore.signature.jsonvalues import JSON_TEXT, Number, flat, native
from batchscore.signature.nested import from_nested, scalars, tensor_rows
from batchscore.signature.scalars import Refused, Scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

_READ_AS_TEXT: dict[str, set[type]] = {
    "number": {Number, str, type(None)},
    "whole": {Number, str, type(None)},
    "boolean": {str, type(None)},
    "string": {str, type(None)},
    "datetime": {str, type(None)},
    "binary": {str, type(None)},
}
"""What of JSON each kind of scalar may be, and goes through the reading of text."""


def from_values(values: Sequence[Any], spec: ColumnSpec | TensorSpec, scalar: Scalar | None) -> pa.Array:
    """The values in the type's Arrow form; Refused for the first that doesn't fit."""
    if isinstance(spec, TensorSpec):
        if scalar is not None:
            if len(spec.shape) == 1:
                return _scalars(values, scalar)
            alone = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
            return _scalars(alone, scalar)
        return _objects(values, spec) if spec.dtype == "object" else _tensor(values, spec)
    if scalar is not None:
        return _scalars(values, scalar)
    if spec.type == "any":
        return _json_texts(values)
    texts = [value if value is None or type(value) is str else json_text(value) for value in values]
    return from_nested(pa.array(texts, pa.string()), spec.type, required=spec.required)


def json_text(value: Any) -> str:
    """The value as JSON, its numbers as they were written.

    >>> json_text({"a": [Number("1.50"), None, True]})
    '{"a": [1.50, null, true]}'
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(json_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json_text(key)}: {json_text(part)}' for key, part in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def _scalars(values: Sequence[Any], scalar: Scalar) -> pa.Array:
    kinds = set(map(type, values))
    if kinds <= _READ_AS_TEXT[scalar.kind]:
        return scalars(pa.array(values, pa.string()), scalar, may_miss=scalar.holds_missing)
    texts: list[str | None] = []
    for place, value in enumerate(values):
        if type(value) not in _READ_AS_TEXT[scalar.kind] and not _is_truth(value, scalar):
            scalars(pa.array(texts, pa.string()), scalar, may_miss=scalar.holds_missing)
            raise Refused(place, json_text(value), f"{scalar.expected}{_reason(value, scalar)}")
        texts.append(_truth(value) if isinstance(value, (bool, Number)) and scalar.kind == "boolean" else value)
    return scalars(pa.array(texts, pa.string()), scalar, may_miss=scalar.holds_missing)


def _is_truth(value: Any, scalar: Scalar) -> bool:
    return scalar.kind == "boolean" and isinstance(value, (bool, Number))


def _truth(value: Any) -> str:
    """`1` for the number 1 however it is written, as in a column of doubles."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(float(value))) if float(value) in (0.0, 1.0) else str(value)


def _reason(value: Any, scalar: Scalar) -> str:
    if isinstance(value, Number) and scalar.kind == "string":
        return ": it is a number in the JSON, so text such as leading zeros was lost; write it in quotes"
    kinds = {bool: "a boolean", list: "a list", dict: "an object", Number: "a number"}
    return f": it is {kinds.get(type(value), 'text')} in the JSON"


def _json_texts(values: Sequence[Any]) -> pa.Array:
    """`any`, as within JSON text."""
    texts: list[dict[str, str | None]] = []
    for place, value in enumerate(values):
        try:
            texts.append({"JSON text": None if value is None else json.dumps(native(value), allow_nan=False)})
        except ValueError:
            raise Refused(place, json_text(value), "numbers that Python holds") from None
    return pa.array(texts, JSON_TEXT)


def _tensor(values: Sequence[Any], spec: TensorSpec) -> pa.Array:
    sizes = spec.shape[1:]
    rows: list[list[str | None] | None] = []
    for place, value in enumerate(values):
        try:
            rows.append(None if value is None else _flat(value, sizes))
        except ValueError as error:
            tensor_rows(pa.array(rows, pa.list_(pa.string())), spec)
            expected = f"a list of {math.prod(sizes)} items, flat or nested as {sizes} ({spec}): {error}"
            raise Refused(place, json_text(value), expected) from None
    return tensor_rows(pa.array(rows, pa.list_(pa.string())), spec)


def _flat(value: Any, sizes: tuple[int, ...]) -> list[str | None]:
    """As `flat`, without a copy of a list of numbers."""
    if len(sizes) == 1 and isinstance(value, list) and len(value) == sizes[0] and set(map(type, value)) <= {Number}:
        return value
    return flat(value, sizes)


def _objects(values: Sequence[Any], spec: TensorSpec) -> pa.Array:
    """Values as they are, one or a list of fixed size for each row."""
    sizes = spec.shape[1:]
    if math.prod(sizes) == 1:
        return _json_texts(
            [value[0] if sizes and isinstance(value, list) and len(value) == 1 else value for value in values]
        )
    items: list[Any] = []
    for place, value in enumerate(values):
        row = _items(value, len(sizes))
        if len(row) != math.prod(sizes):
            raise Refused(place, json_text(value), f"a list of {math.prod(sizes)} items, nested as {sizes} ({spec})")
        items += row
    return pa.FixedSizeListArray.from_arrays(_json_texts(items), math.prod(sizes))


def _items(value: Any, depth: int) -> list[Any]:
    if depth == 0 or not isinstance(value, list):
        return [value]
    return [item for part in value for item in _items(part, depth - 1)]
