"""Values of a model to Arrow arrays: numpy arrays, pandas Series, lists of Python values; missing becomes null."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import itertools
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.errors import AnswerRefused


def series_array(series: pd.Series[Any], name: str) -> pa.Array:
    """A Series by position: categories as their values, objects as their Python values."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy()
        indices = pa.array(codes, mask=codes < 0, type=pa.int64())
        return series_array(pd.Series(dtype.categories), name).take(indices)
    if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)):
        return pa.array([None if value is None or value is pd.NaT else str(value) for value in series.astype(object)])
    if isinstance(dtype, pd.SparseDtype):
        return numpy_array(np.asarray(series), name)
    if isinstance(dtype, np.dtype):
        return numpy_array(series.to_numpy(), name)
    array = pa.Array.from_pandas(series)
    return plain(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)


def numpy_array(values: np.ndarray[Any, Any], name: str) -> pa.Array:
    """A 1-D numpy array; one of more dimensions becomes lists, nested as deep as it has dimensions."""
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    values = np.asarray(values)
    if values.ndim > 1:
        items = numpy_array(values.reshape(-1), name)
        for length in reversed(values.shape[1:]):
            items = (
                pa.FixedSizeListArray.from_arrays(items, length).cast(pa.list_(items.type))
                if length
                else _empty(values)
            )
        return items
    if values.dtype == object:
        cells = list(values)
        return cells_array(
            [None if out else cell for cell, out in zip(cells, mask, strict=True)] if mask is not None else cells, name
        )
    try:
        return plain(pa.array(_arrow_ready(values, name), mask=mask, from_pandas=True))
    except (pa.ArrowException, UnicodeError) as error:
        raise AnswerRefused(f"the column {name!r} ({values.dtype}) can't be written: {error}") from error


def _empty(values: np.ndarray[Any, Any]) -> pa.Array:
    return pa.array([[]] * len(values), pa.list_(pa.null()))


def _arrow_ready(values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """The array in a dtype that Arrow knows: native byte order, at most 64 bits, a unit of time that it has."""
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    dtype = values.dtype
    if dtype.kind == "c":
        raise AnswerRefused(f"the column {name!r} has complex numbers ({dtype}); expected real numbers, text or times")
    if dtype.kind == "f" and dtype.itemsize > 8:  # noqa: PLR2004  # bytes of a double
        return values.astype(np.float64)
    if dtype.kind in "mM":
        unit = np.datetime_data(dtype)[0]
        known = {"D", "s", "ms", "us", "ns"} if dtype.kind == "M" else {"s", "ms", "us", "ns"}
        return values if unit in known else values.astype(f"{dtype.kind}8[s]")
    if dtype.kind in "SV" and dtype.names is None:
        return values.astype(object)
    return values


def plain(array: pa.Array) -> pa.Array:
    """The array with dictionaries decoded and without Arrow's variants for large values."""
    types, kind = pa.types, array.type
    if types.is_dictionary(kind):
        return plain(array.cast(kind.value_type))
    if types.is_large_string(kind) or str(kind) == "string_view":
        return array.cast(pa.string())
    if types.is_large_binary(kind) or str(kind) == "binary_view":
        return array.cast(pa.binary())
    if types.is_float16(kind):
        return array.cast(pa.float32())
    return array


_PLAIN: tuple[set[type], ...] = ({float}, {int}, {str}, {bool})
"""Values that Arrow takes as they are."""


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether all values, or all items of lists, are of one of these types."""
    types = set(map(type, values)) - {type(None)}
    if types == {list}:
        types = set(map(type, itertools.chain.from_iterable(filter(None, values)))) - {type(None)}
    return types in _PLAIN


def cells_array(values: Sequence[Any], name: str) -> pa.Array:
    """Python values of one kind; whole numbers with fractions widen to double, dicts become JSON text.

    Raises AnswerRefused where text and numbers, or truth values and numbers, are mixed.
    """
    if _is_plain(values):
        with contextlib.suppress(pa.ArrowException, OverflowError, UnicodeError):
            return pa.array(values, from_pandas=True)
    cells = [_cell(value) for value in values]
    kinds = {kind: cell for cell in reversed(cells) if (kind := _kind(cell)) is not None}
    if not kinds:
        return pa.nulls(len(cells))
    if "object" in kinds or (kinds.keys() == {"list"} and not _is_plain_list(cells)):
        return pa.array([None if cell is None else json_text(cell, name) for cell in cells], pa.string())
    if kinds.keys() <= {"integer", "float", "decimal"}:
        return _numbers(cells, set(kinds), name)
    if len(kinds) > 1:
        found = " and ".join(f"{kind} ({cell!r:.40})" for kind, cell in sorted(kinds.items()))
        raise AnswerRefused(
            f"the column {name!r} mixes {found}; expected values of one type, or an output signature that says string"
        )
    (kind,) = kinds
    return _of_one_kind(cells, kind, name)


def _of_one_kind(cells: list[Any], kind: str, name: str) -> pa.Array:
    if kind == "other":
        return pa.array([None if cell is None else own_text(cell, name) for cell in cells], pa.string())
    if kind == "list":
        return _lists(cells, name)
    if kind in {"datetime", "duration"} and any(isinstance(cell, (pd.Timestamp, pd.Timedelta)) for cell in cells):
        convert: Any = pd.to_datetime if kind == "datetime" else pd.to_timedelta
        return plain(pa.Array.from_pandas(pd.Series(convert(cells))))
    try:
        return plain(pa.array(cells))
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError) as error:
        raise AnswerRefused(f"the column {name!r} can't be written: {error}") from error


def _cell(value: Any) -> Any:  # noqa: PLR0911  # one for each kind
    """The value as Python has it: numpy's scalars and arrays, Series and tuples unwrapped, None for what is missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return _cell(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if isinstance(value, np.generic):
        return value if isinstance(value, np.float32) and not np.isnan(value) else _cell(value.item())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, (np.ndarray, pd.Series, pd.Index)):
        return [_cell(item) for item in value.tolist()] if np.ndim(value) else _cell(value.item())
    if isinstance(value, (list, tuple, set, frozenset)):
        items: Iterable[Any] = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [_cell(item) for item in items]
    if isinstance(value, decimal.Decimal) and value.is_nan():
        return None
    return value


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (str, "text"),
    ((float, np.float32), "float"),
    (decimal.Decimal, "decimal"),
    (numbers.Integral, "integer"),
    (list, "list"),
    ((Mapping, pd.DataFrame), "object"),
    (dt.datetime, "datetime"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "duration"),
    ((bytes, bytearray), "binary"),
)
"""What an error message and the rules above call a value: the first that fits."""


def _kind(cell: Any) -> str | None:
    if cell is None:
        return None
    if dataclasses.is_dataclass(cell) or hasattr(cell, "model_dump"):
        return "object"
    return next((kind for types, kind in _KINDS if isinstance(cell, types)), "other")


def _numbers(cells: list[Any], kinds: set[str], name: str) -> pa.Array:
    if "float" in kinds and len(kinds) > 1:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    try:
        return pa.array([int(cell) if isinstance(cell, numbers.Integral) else cell for cell in cells])
    except OverflowError:
        pass
    except (pa.ArrowException, ValueError) as error:
        raise AnswerRefused(f"the column {name!r} can't be written: {error}") from error
    try:
        return pa.array(cells, pa.uint64())
    except (OverflowError, pa.ArrowInvalid) as error:
        largest = max((cell for cell in cells if cell is not None), key=abs)
        raise AnswerRefused(
            f"the column {name!r} has {largest}, which isn't within 64 bits; return it as text"
        ) from error


def _is_plain_list(cells: Iterable[Any]) -> bool:
    """Whether all lists hold, at every depth, values of one kind that Arrow has."""
    items = [item for cell in cells if cell is not None for item in cell]
    kinds = {_kind(item) for item in items} - {None}
    if "list" in kinds:
        return kinds == {"list"} and _is_plain_list(items)
    return kinds <= {"integer", "float"} or (len(kinds) == 1 and kinds.isdisjoint({"object", "other"}))


def _lists(cells: list[Any], name: str) -> pa.Array:
    items = cells_array([item for cell in cells if cell is not None for item in cell], name)
    offsets = np.cumsum([0, *(0 if cell is None else len(cell) for cell in cells)])
    mask = pa.array([cell is None for cell in cells], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, mask=mask)


def json_text(value: Any, name: str) -> str:
    """The value as JSON; AnswerRefused for what has no text of its own."""
    try:
        return json.dumps(_json_ready(value, name), ensure_ascii=False)
    except RecursionError:
        raise AnswerRefused(f"the column {name!r} has a {type(value).__name__} that contains itself") from None


def _json_ready(value: Any, name: str) -> Any:
    value = _cell(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif hasattr(value, "model_dump"):
        value = value.model_dump()
    elif isinstance(value, pd.DataFrame):
        value = value.to_dict("records")
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_ready(item, name) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return float(value) if isinstance(value, (float, np.floating)) else own_text(value, name)


def own_text(value: Any, name: str) -> str:
    """`str(value)`; AnswerRefused where that would be an address in memory."""
    kind = type(value)
    if all(method is getattr(object, method.__name__) for method in (kind.__str__, kind.__repr__)):
        raise AnswerRefused(
            f"the column {name!r} has a value of type {kind.__module__}.{kind.__qualname__}, "
            "which has no text; expected numbers, text, times, lists or dicts"
        )
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)


def text_cells(values: Sequence[Any], name: str) -> pa.Array:
    """Python values of any kinds as text, for a column that the signature calls string."""
    cells = [_cell(value) for value in values]
    if bytes in set(map(type, cells)):
        cells = [_decoded(cell, name) if isinstance(cell, bytes) else cell for cell in cells]
    return pa.array(
        [
            cell
            if cell is None or isinstance(cell, str)
            else json_text(cell, name)
            if _is_nested(cell)
            else own_text(cell, name)
            for cell in cells
        ],
        pa.string(),
    )


def _decoded(cell: bytes, name: str) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        raise AnswerRefused(
            f"the column {name!r} has the value {cell!r:.60}, which isn't UTF-8, so it can't become the text that the "
            "model's output signature asks for; log the model with the signature of what it returns (binary)"
        ) from None


def _is_nested(cell: Any) -> bool:
    return _kind(cell) in {"list", "object"}


def first(array: pa.Array, mask: pa.Array) -> Any:
    """The first value that the mask marks, for a message."""
    return array.filter(pc.fill_null(mask, False))[0].as_py()
