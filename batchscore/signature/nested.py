"""Arrays, objects, maps and the rows of tensors: from JSON text or Parquet's nested columns to one Arrow form.

The form of a type: a list for an array, a struct with every property for an object (null where it is absent), a map
for a map, a fixed-size list for a row of a tensor, and the scalars' own types within. `any` stays as it is; within
JSON text it is kept as JSON (``jsonvalues.JSON_TEXT``).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.schema.datatypes import children, item_type, type_text
from batchscore.signature.fromarrow import entries, from_arrow, is_list, is_text, missing_as_null, plain
from batchscore.signature.jsonvalues import Number, flat, form_of, raw_form, shaped
from batchscore.signature.scalars import (
    TENSOR_SCALARS,
    Refused,
    Scalar,
    first,
    holding_no_missing,
    scalar_of,
    value_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchscore.minibatch import Json
    from batchscore.schema import TensorSpec
    from batchscore.schema.datatypes import Type


def from_nested(column: pa.Array, kind: Type, *, required: bool) -> pa.Array:
    """The (plain) column in the type's Arrow form; Refused for the first value that doesn't fit.

    ``required`` is the column's or property's: MLflow hands it down to the items of arrays and maps.
    """
    scalar = scalar_of(kind)
    if scalar is not None:
        may_miss = not required or scalar.kind in ("number", "datetime")
        return scalars(column, scalar, may_miss=may_miss)
    if isinstance(kind, str):  # any
        return column
    read: Callable[[pa.Array], pa.Array] = lambda part: _containers(part, kind, required=required)  # noqa: E731  # bound
    if required and not _holds_any(kind):
        return holding_no_missing(column, f"{type_text(kind)}, which is required", lambda part: _present(part, read))
    return _present(column, read)


def tensor_rows(column: pa.Array, spec: TensorSpec) -> pa.Array:
    """The (plain) column of lists, nested like the tensor's rows or flat, as fixed-size lists of its dtype."""
    scalar = TENSOR_SCALARS[spec.dtype]
    sizes = spec.shape[1:]
    expected = f"a list of {math.prod(sizes)} items, flat or nested as {sizes} ({spec})"

    def read(part: pa.Array) -> pa.Array:
        if is_text(part.type):
            return _from_json(part, lambda value: flat(value, sizes), pa.list_(pa.string()), expected, read)
        rows, wrong = _flattened(part, sizes, expected)
        items = scalars(rows, scalar, may_miss=scalar.holds_missing, size=math.prod(sizes))
        if wrong is not None:
            raise wrong
        return pa.FixedSizeListArray.from_arrays(items, math.prod(sizes))

    return holding_no_missing(column, expected, read)


def scalars(column: pa.Array, scalar: Scalar, *, may_miss: bool, size: int = 1) -> pa.Array:
    """The column as the scalar's values, each `size` of which belong to one row of a refusal."""
    column = plain(column)
    present = column if may_miss else missing_as_null(column)
    try:
        if may_miss:
            return from_arrow(present, scalar)
        return holding_no_missing(present, scalar.expected, lambda part: from_arrow(part, scalar))
    except Refused as refused:
        if size == 1:
            raise
        raise refused.at(refused.index // size) from None


def _holds_any(kind: Json) -> bool:
    """Whether MLflow lets a missing value pass for it: arrays and maps of `any`."""
    return kind["type"] in ("array", "map") and item_type(kind) == "any"


def _present(column: pa.Array, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """What `read` makes of the values that are there, each in its place."""
    if column.null_count == 0:
        return read(column)
    there = np.flatnonzero(np.asarray(pc.is_valid(column)))
    try:
        values = read(column.filter(pc.is_valid(column)))
    except Refused as refused:
        raise refused.at(int(there[refused.index])) from None
    places = np.zeros(len(column), np.int64)
    places[there] = np.arange(len(there))
    return values.take(pa.array(places, mask=np.asarray(pc.is_null(column))))


def _containers(column: pa.Array, kind: Json, *, required: bool) -> pa.Array:
    """A column without missing values in the type's form."""
    form = column.type
    if is_text(form):
        return _from_json(
            column,
            lambda value: shaped(value, kind),
            raw_form(kind),
            f"JSON text of {type_text(kind)}",
            lambda part: from_nested(part, kind, required=required),
        )
    if kind["type"] == "object" and pa.types.is_struct(form):
        return _object(column, kind)
    if kind["type"] == "map" and pa.types.is_map(form):
        return _map(column, kind, required=required)
    if kind["type"] == "map" and pa.types.is_struct(form):
        return _struct_as_map(column, kind)
    if kind["type"] in ("array", "sparkml_vector") and is_list(form):
        return _array(column, kind, required=required)
    if len(column):
        raise Refused(0, value_text(column, 0), f"{type_text(kind)}: the column is {form}")
    return pa.array([], form_of(kind))


def _array(column: pa.Array, kind: Json, *, required: bool) -> pa.Array:
    column = pc.cast(column, pa.list_(column.type.value_type))
    lengths = np.diff(np.asarray(column.offsets))
    item = item_type(kind)
    # MLflow makes text of missing strings, and refuses missing integers, in optional arrays too
    items = _items(column.flatten(), lengths, item, required=required or scalar_of(item) is not None)
    return pa.ListArray.from_arrays(_offsets(lengths), items)


def _map(column: pa.Array, kind: Json, *, required: bool) -> pa.Array:
    lengths, keys, values = entries(column)
    keys = _items(keys, lengths, "string", required=True)
    values = _items(values, lengths, item_type(kind), required=required)
    return pa.MapArray.from_arrays(_offsets(lengths), keys, values)


def _items(column: pa.Array, lengths: np.ndarray, kind: Type, *, required: bool) -> pa.Array:
    """The items of lists or maps; what is refused carries its row."""
    try:
        return from_nested(plain(column), kind, required=required)
    except Refused as refused:
        rows = np.repeat(np.arange(len(lengths)), lengths)
        raise refused.at(int(rows[refused.index])) from None


def _object(column: pa.Array, kind: Json) -> pa.Array:
    stated = {name: (part, required) for name, part, required in children(kind)}
    found = dict(zip([field.name for field in column.type], column.flatten(), strict=True))
    earliest: Refused | None = None
    columns: dict[str, pa.Array] = {}
    for name in [*stated, *(name for name in found if name not in stated)]:
        stop = len(column) if earliest is None else earliest.index
        field = plain(found.get(name, pa.nulls(len(column)))).slice(0, stop)
        try:
            if name in stated:
                part, required = stated[name]
                if required and name not in found and len(field):
                    raise Refused(0, value_text(column, 0), "a value (required)")  # noqa: TRY301  # as below
                columns[name] = from_nested(field, part, required=required)
            elif (place := first(pc.is_valid(field))) is not None:
                raise Refused(place, value_text(field, place), f"no property {name!r} in {type_text(kind)}")  # noqa: TRY301  # compared with the others
        except Refused as refused:
            reason = refused.expected if name not in stated else f"{refused.expected} as its {name!r}"
            earliest = Refused(refused.index, refused.value, reason)
    if earliest is not None:
        raise earliest
    return pa.StructArray.from_arrays([columns[name] for name in stated], names=list(stated))


def _offsets(lengths: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def _struct_as_map(column: pa.Array, kind: Json) -> pa.Array:
    """Dicts as pandas writes them, structs with every key, as maps of the keys that have a value."""
    item = item_type(kind)
    properties = {field.name: {"type": item, "required": False} for field in column.type}
    found = _object(column, {"type": "object", "properties": properties})
    rows = [[(key, value) for key, value in row.items() if value is not None] for row in found.to_pylist()]
    forms = {field.type for field in found.type if field.type != pa.null()}
    if item == "any" and len(forms) > 1:
        raise Refused(0, str(rows[0]), f"{type_text(kind)} with values of one type: the column is {column.type}")
    return pa.array(rows, pa.map_(pa.string(), forms.pop() if item == "any" and forms else form_of(item)))


def _from_json(
    text: pa.Array,
    shape: Callable[[Any], Any],
    form: pa.DataType,
    expected: str,
    read: Callable[[pa.Array], pa.Array],
) -> pa.Array:
    """What `read` makes of the text's JSON, each value brought into shape; Refused for the first that can't be."""
    values: list[Any] = []
    for place, value in enumerate(text.to_pylist()):
        try:
            found = json.loads(value, parse_int=Number, parse_float=Number, parse_constant=Number)
            values.append(shape(found))
        except (ValueError, RecursionError) as error:  # the place is needed
            _with_text(text.slice(0, place), lambda: read(pa.array(values, form)))
            raise Refused(place, value, f"{expected} ({error})") from None
    return _with_text(text, lambda: read(pa.array(values, form)))


def _with_text(text: pa.Array, read: Callable[[], pa.Array]) -> pa.Array:
    """What `read` gives; the JSON text stands in what it refuses."""
    try:
        return read()
    except Refused as refused:
        inner = "a value is missing in it" if refused.value is None else f"found {refused.value!r} in it"
        raise Refused(refused.index, text[refused.index].as_py(), f"{refused.expected}; {inner}") from None


def _flattened(column: pa.Array, sizes: tuple[int, ...], expected: str) -> tuple[pa.Array, Refused | None]:
    """The items of the rows before the first that has another shape, and what is said of that one."""
    depth, form = 0, column.type
    while is_list(form):
        depth, form = depth + 1, form.value_type
    lengths = sizes if depth == len(sizes) else (math.prod(sizes),)
    if depth not in (1, len(sizes)):
        if len(column) == 0:
            return pa.array([], pa.null()), None
        return pa.nulls(0), Refused(0, value_text(column, 0), f"{expected}: the column is {column.type}")
    items, wrong, width = column, None, 1
    for length in lengths:
        items = pc.cast(items, pa.list_(items.type.value_type))
        found = pc.list_value_length(items).fill_null(-1)
        place = first(pc.not_equal(found, length))
        if place is not None:
            row = place // width
            wrong = Refused(row, value_text(column, row), expected)
            items = items.slice(0, row * width)
        items, width = items.flatten(), width * length
    return items, wrong
