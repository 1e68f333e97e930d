"""Lists of Python values to Arrow arrays, by the kind of value that they hold; missing becomes null."""

from __future__ import annotations

import contextlib
import itertools
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.answers.kinds import kind_of, unwrapped
from batchscore.answers.texts import json_text, own_text
from batchscore.errors import AnswerRefused


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
    cells = [unwrapped(value) for value in values]
    kinds = {kind: cell for cell in reversed(cells) if (kind := kind_of(cell)) is not None}
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
    kinds = {kind_of(item) for item in items} - {None}
    if "list" in kinds:
        return kinds == {"list"} and _is_plain_list(items)
    return kinds <= {"integer", "float"} or (len(kinds) == 1 and kinds.isdisjoint({"object", "other"}))


def _lists(cells: list[Any], name: str) -> pa.Array:
    items = cells_array([item for cell in cells if cell is not None for item in cell], name)
    offsets = np.cumsum([0, *(0 if cell is None else len(cell) for cell in cells)])
    mask = pa.array([cell is None for cell in cells], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, mask=mask)


def first(array: pa.Array, mask: pa.Array) -> Any:
    """The first value that the mask marks, for a message."""
    return array.filter(pc.fill_null(mask, False))[0].as_py()
