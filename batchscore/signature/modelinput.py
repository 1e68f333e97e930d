"""What goes to predict: the frame or arrays that MLflow's own enforcement takes as they are."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.schema.datatypes import children, item_type
from batchscore.signature.fromarrow import entries, is_text, plain
from batchscore.signature.jsonvalues import JSON_TEXT
from batchscore.signature.scalars import SCALARS, scalar_of

if TYPE_CHECKING:
    from batchscore.minibatch import Json
    from batchscore.schema import Schema, TensorSpec
    from batchscore.schema.datatypes import Type

AS_ARRAYS = frozenset({"float", "integer", "datetime"})
"""Items that MLflow takes in numpy arrays only: of a list it makes doubles, longs and numbers of nanoseconds."""


def model_input(schema: Schema | None, features: pa.Table) -> pd.DataFrame | np.ndarray | dict[str, np.ndarray]:
    """The features, in the signature's types and order, as predict takes them: unchanged by MLflow's enforcement.

    Strings are Python strings in an object column, NaN where missing; arrays, objects and maps are lists and dicts
    (arrays of float, integer and datetime numpy arrays, as MLflow refuses or changes their lists). The index is a
    RangeIndex. Tensors are an array, or arrays by name. Numbers aren't copied where MLflow's enforcement does that; all
    else is, so that a model may write into its input.
    """
    if schema is None:
        return _frame_as_it_is(features)
    if schema.tensors:
        return _tensors(schema, features)
    if schema.is_named:
        specs = {spec.name: spec for spec in schema.columns}
        chosen = [specs[name] for name in features.column_names]
    else:
        chosen = list(schema.columns)
    series = [
        _series(plain(column), spec.type, required=spec.required)
        for column, spec in zip(features.columns, chosen, strict=True)
    ]
    return _frame(features, series, copy=False)  # enforcement copies


def _frame(features: pa.Table, columns: list[Any], *, copy: bool) -> pd.DataFrame:
    """A frame that keeps each column's dtype (pandas would make `str` of arrays of strings)."""
    index = pd.RangeIndex(features.num_rows)
    series = [
        pd.Series(column, index=index, dtype=column.dtype, copy=False) if column.dtype == object else column
        for column in columns
    ]
    names = features.column_names
    frame: pd.DataFrame = pd.DataFrame(dict(zip(names, series, strict=True)), index=index, columns=names, copy=copy)
    return frame


def _frame_as_it_is(features: pa.Table) -> pd.DataFrame:
    """The frame of pandas' own conversion, but strings stay Python strings, and nested values lists and dicts."""
    columns: list[Any] = []
    for column in features.columns:
        is_category = pa.types.is_dictionary(column.type)
        array = column if is_category else plain(column)
        if not is_category and (is_text(array.type) or pa.types.is_nested(array.type)):
            columns.append(_strings(array) if is_text(array.type) else _objects(array.to_pylist()))
        else:
            columns.append(array.to_pandas())
    return _frame(features, columns, copy=True)  # Arrow's memory is read-only, and goes to predict as it is


def _series(column: pa.Array, kind: Type, *, required: bool) -> np.ndarray:
    """A column's numpy array for a frame."""
    if kind == "string":
        return _strings(column)
    if isinstance(kind, str) and kind not in ("binary", "any"):
        return _numbers(column)
    return _objects(_python(column, kind, required=required))


def _numbers(column: pa.Array) -> np.ndarray:
    """Numbers, booleans or moments; NaN and NaT where missing."""
    numbers: np.ndarray = column.to_numpy(zero_copy_only=False)
    return numbers


def _strings(column: pa.Array) -> np.ndarray:
    strings = column.to_numpy(zero_copy_only=False)
    if column.null_count:
        strings = strings.copy()
        strings[np.asarray(pc.is_null(column))] = np.nan
    return np.asarray(strings, object)


def _objects(values: list[Any]) -> np.ndarray:
    """One object for each value: lists stay lists."""
    objects = np.empty(len(values), object)
    for place, value in enumerate(values):
        objects[place] = value
    return objects


def _python(column: pa.Array, kind: Type, *, required: bool, is_item: bool = False) -> list[Any]:
    """A column's values as Python has them; a missing one is None, or NaN or NaT where MLflow asks for a number."""
    if column.type == JSON_TEXT:
        return [None if value is None else json.loads(value) for value in column.field(0).to_pylist()]
    if isinstance(kind, str):
        return _scalars(column, kind, required=required or is_item)
    match kind["type"]:
        case "object":
            values = _dicts(column, kind)
        case "map":
            values = _maps(column, kind, required=required)
        case _:
            values = _lists(column, item_type(kind), required=required)
    if column.null_count == 0:
        return values
    return [value if valid else None for value, valid in zip(values, column.is_valid().to_pylist(), strict=True)]


def _scalars(column: pa.Array, kind: str, *, required: bool) -> list[Any]:
    """Scalars within objects and maps, in the numpy types that MLflow tells apart."""
    values = column.to_pylist() if kind != "datetime" else list(_numbers(column))
    if kind in ("float", "integer"):
        convert = SCALARS[kind].arrow.to_pandas_dtype()
        values = [None if value is None else convert(value) for value in values]
    if kind in ("double", "float") and required and column.null_count:
        values = [float("nan") if value is None else value for value in values]
    if kind == "datetime" and not required:
        values = [None if np.isnat(value) else value for value in values]
    return values


def _bounds(lengths: np.ndarray) -> itertools.pairwise[tuple[int, int]]:
    """Where each row's items start and stop."""
    return itertools.pairwise([0, *np.cumsum(lengths).tolist()])


def _lists(column: pa.Array, kind: Type, *, required: bool) -> list[Any]:
    items = column.flatten()
    scalar = scalar_of(kind)
    found: Any = (
        _numbers(items)
        if scalar is not None and kind in AS_ARRAYS
        else _python(items, kind, required=required, is_item=True)
    )
    return [found[start:stop] for start, stop in _bounds(np.asarray(pc.list_value_length(column).fill_null(0)))]


def _dicts(column: pa.Array, kind: Json) -> list[Any]:
    """Every property in the signature's order; None is an optional one that is missing."""
    names = [name for name, _, _ in children(kind)]
    fields = [_python(column.field(name), part, required=required) for name, part, required in children(kind)]
    return [dict(zip(names, row, strict=True)) for row in zip(*fields, strict=True)]


def _maps(column: pa.Array, kind: Json, *, required: bool) -> list[Any]:
    lengths, keys, items = entries(column)
    pairs = list(zip(keys.to_pylist(), _python(items, item_type(kind), required=required), strict=True))
    return [dict(pairs[start:stop]) for start, stop in _bounds(lengths)]


def _tensors(schema: Schema, features: pa.Table) -> np.ndarray | dict[str, np.ndarray]:
    if schema.is_named:
        named = {str(spec.name): _items(plain(features.column(str(spec.name))), spec) for spec in schema.tensors}
        return {
            str(spec.name): _writable(named[str(spec.name)].reshape(features.num_rows, *spec.shape[1:]))
            for spec in schema.tensors
        }
    spec = schema.tensors[0]
    columns = [_items(plain(column), spec) for column in features.columns]
    shape = (features.num_rows, *(spec.shape[1:] if -1 not in spec.shape[1:] else (len(columns),)))
    stacked: np.ndarray = columns[0] if len(columns) == 1 else np.column_stack(columns)
    return _writable(stacked.reshape(shape))


def _writable(array: np.ndarray) -> np.ndarray:
    """The array itself, or a copy where it shows Arrow's memory."""
    return array if array.flags.writeable else array.copy()


def _items(column: pa.Array, spec: TensorSpec) -> np.ndarray:
    """A tensor's items from one column, in row order."""
    if pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    if column.type == JSON_TEXT:
        return _objects(_python(column, "any", required=False))
    if spec.dtype == "object":
        return _strings(column) if is_text(column.type) else _objects(column.to_pylist())
    items = _numbers(column)
    return items.astype(str if spec.dtype == "str" else spec.dtype, copy=False)
