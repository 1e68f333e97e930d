"""JSON for a model without a signature: read whole, as pandas and MLflow's scoring server make of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batchscore.errors import FileRefused
from batchscore.readers.chunks import Chunk
from batchscore.readers.payload_rows import column_of, kept_table, names_of
from batchscore.signature import native, plan_reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchscore.minibatch import FileSlice
    from batchscore.readers.payload_forms import Payload
    from batchscore.settings import ScoringSettings
    from batchscore.signature import ReadPlan


def inferred_chunks(payload: Payload, piece: FileSlice, settings: ScoringSettings) -> Iterator[Chunk]:
    """Chunks of arrays, or of a frame, of one inference over all rows, max_rows or not.

    Lists and what stands under `inputs` and `instances` become arrays (by name where there are names), the rest a
    frame. String columns are Python strings in object columns, with NaN where a value is missing.
    """
    plan = plan_reading(None, names_of(payload), settings, piece.file.partitions)
    try:
        whole = _whole(payload, plan, piece)
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
        raise FileRefused(f"the values can't be made a table or an array: {error}") from error
    rows = payload.rows if piece.max_rows is None else min(payload.rows, piece.max_rows)
    kept = kept_table(payload, plan, piece)
    for start in range(0, max(rows, 1), settings.rows_per_call):
        stop = min(start + settings.rows_per_call, rows)
        yield Chunk(piece, start, stop - start, _rows(whole, start, stop), kept.slice(start, stop - start), plan.notes)


def _rows(whole: Any, start: int, stop: int) -> Any:
    if isinstance(whole, dict):
        return {name: array[start:stop] for name, array in whole.items()}
    if isinstance(whole, np.ndarray):
        return whole[start:stop]
    return whole.iloc[start:stop].reset_index(drop=True)


def _whole(payload: Payload, plan: ReadPlan, piece: FileSlice) -> pd.DataFrame | np.ndarray | dict[str, np.ndarray]:
    if payload.kind == "items":
        return _array(payload.body)
    own = [column for column in plan.features if column.position >= 0]
    if payload.is_for_arrays:
        return {column.name: _array(column_of(payload, column.source, column.position)) for column in own}
    columns = {column.name: _series(column_of(payload, column.source, column.position)) for column in own}
    for column in plan.features:
        if column.position < 0:
            value = dict(piece.file.partitions)[column.source]
            columns[column.name] = pd.Series([math.nan if value is None else value] * payload.rows, dtype=object)
    frame: pd.DataFrame = pd.DataFrame(columns, index=pd.RangeIndex(payload.rows))
    return frame


def _plain(values: list[Any]) -> list[Any]:
    """The values with Python's own numbers; FileRefused for one that is too large."""
    found = []
    for row, value in enumerate(values):
        try:
            found.append(native(value))
        except ValueError as error:
            raise FileRefused(f"row {row}: {error}", row=row) from None
    return found


def _series(values: list[Any]) -> pd.Series:
    """A column as pandas infers it, texts as Python strings."""
    found = _plain(values)
    if not any(isinstance(value, (list, dict)) for value in found):
        series: pd.Series = pd.Series(found, dtype=None if found else object)
        if pd.api.types.is_numeric_dtype(series.dtype):
            return series
    if all(value is None or isinstance(value, str) for value in found):
        found = [math.nan if value is None else value for value in found]
    objects = np.empty(len(found), object)
    for place, value in enumerate(found):
        objects[place] = value
    return pd.Series(objects, dtype=object)


def _array(values: list[Any]) -> np.ndarray:
    """An array of the rows, as numpy infers it; FileRefused for the first row of another shape."""
    shape = _checked_shape(values[0], 0, None) if values else ()
    for row, value in enumerate(values):
        _checked_shape(value, row, shape)
    return np.array(_plain(values))


def _checked_shape(value: Any, row: int, expected: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = _shape(value)
    if shape is None or (expected is not None and shape != expected):
        found = "lists of different lengths" if shape is None else f"the shape {shape}"
        raise FileRefused(f"row {row} has {found}; expected rows of one shape", row=row)
    return shape


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of nested lists; None where it isn't one."""
    if not isinstance(value, list):
        return ()
    inner = {_shape(part) for part in value}
    if len(inner) > 1 or None in inner:
        return None
    return (len(value), *(inner.pop() or () if inner else ()))
