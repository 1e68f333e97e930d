"""Single values of an answer: as Python has them, and what kind of value each is."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd


def unwrapped(value: Any) -> Any:  # noqa: PLR0911  # one for each kind
    """The value as Python has it: numpy's scalars and arrays, Series and tuples unwrapped, None for what is missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return unwrapped(pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value))
    if isinstance(value, np.generic):
        return value if isinstance(value, np.float32) and not np.isnan(value) else unwrapped(value.item())
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, (np.ndarray, pd.Series, pd.Index)):
        return [unwrapped(item) for item in value.tolist()] if np.ndim(value) else unwrapped(value.item())
    if isinstance(value, (list, tuple, set, frozenset)):
        items: Iterable[Any] = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [unwrapped(item) for item in items]
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


def kind_of(cell: Any) -> str | None:
    if cell is None:
        return None
    if dataclasses.is_dataclass(cell) or hasattr(cell, "model_dump"):
        return "object"
    return next((kind for types, kind in _KINDS if isinstance(cell, types)), "other")
