"""Prediction files back as a frame whose types don't depend on the format."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batchscore.writers.casting import kind_of_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchscore.outcome import Column
    from batchscore.settings import Writer

_SHORTER: dict[str, np.dtype[Any]] = {
    "float": np.dtype("float32"),
    "int8": np.dtype("int8"),
    "int16": np.dtype("int16"),
    "int32": np.dtype("int32"),
}
"""What pandas reads from text in more bits."""


def read_frame(paths: Sequence[str], form: Writer, columns: Sequence[Column]) -> pd.DataFrame:
    """The rows of all files, with the types that ``columns`` state.

    Text stays text (`007`), but for a kept column of CSV files all of whose texts are numbers in their plain spelling.
    Timestamps and durations are pandas'; binary, dates, decimals and lists are what the format has of them.
    """
    if form == "headerless":  # read by place: nothing keeps a model from calling its column `row`
        places = [replace(column, name=str(place)) for place, column in enumerate(columns)]
        frame = _read_all(paths, form, places)
        frame.columns = pd.Index([column.name for column in columns])
        return frame
    return _read_all(paths, form, columns)


def _read_all(paths: Sequence[str], form: Writer, columns: Sequence[Column]) -> pd.DataFrame:
    frames = [_READ[form](path, columns) for path in paths]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[each.name for each in columns])
    if form != "parquet":
        for column in columns:
            if column.name in frame:
                frame[column.name] = _typed(frame[column.name], column, form)
    return frame


def _read_csv(path: str, columns: Sequence[Column], names: list[str] | None = None) -> pd.DataFrame:
    kinds = {column.name: str for column in columns if not _is_number(column.type)}
    options: dict[str, Any] = {} if pd.__version__ >= "3.1" else {"float_precision": "round_trip"}
    if names is not None:
        options |= {"header": None, "names": names}
    frame: pd.DataFrame = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""], **options)
    return frame


def _read_headerless(path: str, columns: Sequence[Column]) -> pd.DataFrame:
    return _read_csv(path, columns, [column.name for column in columns])


def _is_number(kind: str) -> bool:
    return kind.startswith(("int", "uint", "float", "double", "bool"))


def _read_jsonl(path: str, columns: Sequence[Column]) -> pd.DataFrame:
    with Path(path).open(encoding="utf-8", newline="\n") as lines:
        records = [json.loads(line) for line in lines]
    names = [column.name for column in columns]
    return pd.DataFrame(records, columns=names or None)


def _read_parquet(path: str, _columns: Sequence[Column]) -> pd.DataFrame:
    return pd.read_parquet(path)


_READ: dict[Writer, Callable[[str, Sequence[Column]], pd.DataFrame]] = {
    "csv": _read_csv,
    "headerless": _read_headerless,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def _typed(values: pd.Series[Any], column: Column, form: Writer) -> pd.Series[Any]:
    if column.role == "kept":
        return _numbers(values) if form == "csv" else values
    if column.type.startswith("timestamp"):
        with contextlib.suppress(ValueError, OverflowError):  # beyond what pandas' older releases hold: as text
            return pd.to_datetime(values, utc=column.type.endswith("tz=UTC]"))
    if column.type.startswith("duration"):
        return pd.to_timedelta(values)
    kind = _SHORTER.get(column.type)
    if kind is None or (kind.kind == "i" and values.isna().any()):
        return values
    return pd.Series(values.to_numpy(kind), values.index, name=values.name)


def _numbers(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Kept text as numbers where that loses no character and no digit; a missing value makes floats of integers."""
    kind = kind_of_text(pa.array(texts.dropna(), pa.string()))
    if kind == "double" or (kind == "integer" and texts.isna().any()):
        return pd.to_numeric(texts).astype(float)
    return pd.to_numeric(texts) if kind == "integer" or (kind == "long" and not texts.isna().any()) else texts
