"""JSON of arrays, objects, maps and tensors, brought into the shape of its type."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchscore.schema.datatypes import children, item_type
from batchscore.signature.scalars import scalar_of

if TYPE_CHECKING:
    from batchscore.schema.datatypes import Type

JSON_TEXT = pa.struct([pa.field("JSON text", pa.string())])
"""How a value of type `any` within JSON text is held, apart from Parquet's own strings."""


class Number(str):
    """A number in JSON as it is written, so that no digit is lost."""

    __slots__ = ()


def form_of(kind: Type) -> pa.DataType:
    """The Arrow form of a type."""
    if isinstance(kind, str):
        scalar = scalar_of(kind)
        return JSON_TEXT if scalar is None else scalar.arrow
    if kind["type"] == "object":
        return pa.struct([pa.field(name, form_of(part)) for name, part, _ in children(kind)])
    if kind["type"] == "map":
        return pa.map_(pa.string(), form_of(item_type(kind)))
    return pa.list_(form_of(item_type(kind)))


def raw_form(kind: Type) -> pa.DataType:
    """The form of JSON before its scalars are read: text."""
    if isinstance(kind, str):
        return JSON_TEXT if kind == "any" else pa.string()
    if kind["type"] == "object":
        return pa.struct([pa.field(name, raw_form(part)) for name, part, _ in children(kind)])
    if kind["type"] == "map":
        return pa.map_(pa.string(), raw_form(item_type(kind)))
    return pa.list_(raw_form(item_type(kind)))


def shaped(value: Any, kind: Type) -> Any:
    """JSON in the raw form of its type; ValueError where it is something else."""
    if kind == "any":
        return {"JSON text": json.dumps(native(value))}
    if value is None:
        return None
    if isinstance(kind, str):
        return _shaped_scalar(value, kind)
    if kind["type"] in ("array", "sparkml_vector"):
        if not isinstance(value, list):
            raise ValueError(f"{native(value)!r} is no list")
        return [shaped(part, item_type(kind)) for part in value]
    if not isinstance(value, dict):
        raise ValueError(f"{native(value)!r} is no object")  # wrong JSON is a wrong value
    if kind["type"] == "map":
        return [(key, shaped(part, item_type(kind))) for key, part in value.items()]
    stated = {name: part for name, part, _ in children(kind)}
    if unknown := [name for name in value if name not in stated]:
        raise ValueError(f"no property {unknown[0]!r}")
    if absent := [name for name, _, required in children(kind) if required and name not in value]:
        raise ValueError(f"it has no {absent[0]!r}")
    return {name: shaped(value.get(name), part) if name in value else None for name, part in stated.items()}


def _shaped_scalar(value: Any, kind: str) -> str:
    if isinstance(value, bool):
        value = Number(str(value).lower())
    if not isinstance(value, str) or (kind == "string" and isinstance(value, Number)):
        raise ValueError(f"{native(value)!r} is no {kind}")
    return str(value)


def native(value: Any) -> Any:
    """JSON with Python's own numbers."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, list):
        return [native(part) for part in value]
    if isinstance(value, dict):
        return {key: native(part) for key, part in value.items()}
    return value


def flat(value: Any, sizes: tuple[int, ...]) -> list[str | None]:
    """A tensor's row as one list of texts; ValueError where it has another shape."""
    if not isinstance(value, list):
        raise ValueError(f"{native(value)!r} is no list")  # wrong JSON is a wrong value
    if len(sizes) > 1 and any(isinstance(part, list) for part in value):
        if len(value) != sizes[0]:
            raise ValueError(f"{len(value)} lists")
        return [item for part in value for item in flat(part, sizes[1:])]
    if len(value) != math.prod(sizes):
        raise ValueError(f"{len(value)} items")
    return [None if item is None else _shaped_scalar(item, "item of a tensor") for item in value]
