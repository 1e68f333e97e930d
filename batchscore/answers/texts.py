"""Values of an answer as text: JSON, or the text that they have themselves."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batchscore.answers.kinds import kind_of, unwrapped
from batchscore.errors import AnswerRefused


def json_text(value: Any, name: str) -> str:
    """The value as JSON; AnswerRefused for what has no text of its own."""
    try:
        return json.dumps(_json_ready(value, name), ensure_ascii=False)
    except RecursionError:
        raise AnswerRefused(f"the column {name!r} has a {type(value).__name__} that contains itself") from None


def _json_ready(value: Any, name: str) -> Any:
    value = unwrapped(value)
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
    cells = [unwrapped(value) for value in values]
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
    return kind_of(cell) in {"list", "object"}
