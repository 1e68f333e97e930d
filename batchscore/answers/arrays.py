"""numpy arrays and pandas Series of an answer to Arrow arrays; missing becomes null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batchscore.answers.cells import cells_array, plain
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
