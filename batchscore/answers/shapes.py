"""The shapes in which models answer, taken apart into columns: arrays, frames, lists, dicts, single values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from batchscore.answers.arrays import numpy_array, series_array
from batchscore.answers.cells import cells_array, plain
from batchscore.answers.texts import text_cells
from batchscore.errors import AnswerRefused
from batchscore.schema import Schema


@dataclass(frozen=True, slots=True)
class Unfolded:
    """A column of an answer: its values still as the model gave them, its name if it has one."""

    name: str | None
    values: Any
    """A 1-D or deeper numpy array, a Series, a list of Python values, or an Arrow array."""

    def array(self, name: str, *, as_text: bool) -> pa.Array:
        """The values in Arrow; as text where the signature says string and the values are Python's."""
        values = self.values
        if isinstance(values, pa.Array):
            return plain(values)
        if isinstance(values, list):
            return text_cells(values, name) if as_text else cells_array(values, name)
        if as_text and values.dtype == object:
            return text_cells(values.tolist(), name)
        return series_array(values, name) if isinstance(values, pd.Series) else numpy_array(values, name)


def unfolded(answer: Any, rows: int, outputs: Schema | None, classes: Sequence[Any] | None) -> list[Unfolded]:
    """The answer's columns, each with ``rows`` values; AnswerRefused says what came back otherwise."""
    if isinstance(answer, Iterator):
        answer = list(answer)
    columns = _unfolded(answer, rows, outputs, classes)
    if not columns:
        raise AnswerRefused(f"predict returned {described(answer)}, which has no columns; expected at least one")
    for column in columns:
        if len(column.values) != rows:
            raise _wrong(answer, rows, len(column.values))
    return columns


def _unfolded(answer: Any, rows: int, outputs: Schema | None, classes: Sequence[Any] | None) -> list[Unfolded]:  # noqa: PLR0911  # one for each shape
    if isinstance(answer, pd.DataFrame):
        return _frame(answer)
    if isinstance(answer, pd.Series):
        return [Unfolded(_label(answer.name), answer)]
    if isinstance(answer, Mapping):
        return _mapping(answer, rows)
    if isinstance(answer, (list, tuple)):
        return _sequence(answer, rows, outputs, classes)
    if (table := _arrow_table(answer)) is not None:
        return [
            Unfolded(name or None, _whole(values))
            for name, values in zip(table.column_names, table.columns, strict=True)
        ]
    if isinstance(answer, (pd.Index, pd.api.extensions.ExtensionArray)):
        return [Unfolded(None, pd.Series(answer))]
    if (array := _numpy(answer)) is not None and array.ndim > 0:
        return [Unfolded(None, array)] if _is_one_of_lists(outputs) else _array(array)
    return [Unfolded(None, _single(answer, rows))]


def _frame(frame: pd.DataFrame) -> list[Unfolded]:
    """The columns by position; the labels 0 … n-1 are no names."""
    labels = list(frame.columns)
    is_numbered = all(_is_integer(label) for label in labels) and [int(label) for label in labels] == list(
        range(len(labels))
    )
    return [
        Unfolded(None if is_numbered else _label(label, position), frame.iloc[:, position])
        for position, label in enumerate(labels)
    ]


def _label(label: Any, position: int | None = None) -> str | None:
    """The name that a label of pandas gives: levels joined, numbers after `prediction_`; None for a Series' number."""
    if isinstance(label, tuple):
        return "_".join(str(level) for level in label if level is not None and str(level)) or None
    if _is_integer(label):
        return None if position is None else f"prediction_{label}"
    return None if label is None or str(label) == "" else str(label)


def _is_integer(label: Any) -> bool:
    return isinstance(label, (int, np.integer)) and not isinstance(label, bool)


def _mapping(answer: Mapping[Any, Any], rows: int) -> list[Unfolded]:
    """A column for each key; a single value beside columns is repeated, single values alone are one row."""
    arrays = {str(key): _column_values(value) for key, value in answer.items()}
    if all(values is None for values in arrays.values()) and rows != 1:
        raise AnswerRefused(
            f"predict returned {described(answer)} of single values for {rows:,} rows; "
            "expected a list or an array of that length for each key"
        )
    columns: list[Unfolded] = []
    for (key, values), value in zip(arrays.items(), answer.values(), strict=True):
        if values is None:
            columns.append(Unfolded(key, [value] * rows))
        elif isinstance(values, np.ndarray):
            columns += _array(values, key)
        else:
            columns.append(Unfolded(key, values))
    return columns


def _is_one_of_lists(outputs: Schema | None) -> bool:
    """Whether the signature has one column, of arrays: each row of a 2-D answer is a list then."""
    types = [column.type for column in outputs.columns] if outputs is not None else []
    return len(types) == 1 and not isinstance(types[0], str) and types[0]["type"] == "array"


def _column_values(value: Any) -> Any:
    """What stands for a column of values; None for a single value."""
    if isinstance(value, (list, pd.Series)):
        return value
    if isinstance(value, (tuple, pd.Index)):
        return list(value)
    if isinstance(value, (str, bytes, Mapping)):
        return None
    array = _numpy(value)
    return array if array is not None and array.ndim > 0 else None


def _array(array: np.ndarray[Any, Any], name: str | None = None) -> list[Unfolded]:
    """A column for each field of a structured array or for each index of the second axis; one where that is 1."""
    if array.dtype.names:
        flat = array.reshape(len(array)) if array.size == len(array) else array
        return [Unfolded(str(field), flat[field]) for field in array.dtype.names]
    if array.ndim == 1:
        return [Unfolded(name, array)]
    columns = [array[:, position] for position in range(array.shape[1])]
    if len(columns) == 1:
        return [Unfolded(name, columns[0])]
    return [Unfolded(name and f"{name}_{position}", values) for position, values in enumerate(columns)]


def _sequence(
    answer: Sequence[Any], rows: int, outputs: Schema | None, classes: Sequence[Any] | None
) -> list[Unfolded]:
    """One value for each row: dicts make columns by their keys, all else is one column.

    A tuple of arrays, and a list of as many arrays as there aren't rows, are columns.
    """
    items = list(answer)
    if items and all(isinstance(item, (np.ndarray, pd.Series)) for item in items):
        is_columns = all(np.ndim(item) > 0 and len(item) == rows for item in items)
        if is_columns and (isinstance(answer, tuple) or len(items) != rows or np.ndim(items[0]) > 1):
            return [column for item in items for column in _array(np.asarray(item))]
    present = [item for item in items if item is not None]
    if present and all(isinstance(item, Mapping) for item in present):
        return _records(items, outputs)
    width = len(classes) if classes is not None else len(outputs.columns) if outputs is not None else 1
    if (
        width > 1
        and present
        and all(isinstance(item, (list, tuple, np.ndarray)) and len(item) == width for item in items)
    ):
        return [Unfolded(None, [item[position] for item in items]) for position in range(width)]
    return [Unfolded(None, items)]


def _records(records: list[Mapping[Any, Any] | None], outputs: Schema | None) -> list[Unfolded]:
    """A column for each key in the order of first appearance; the signature's names, where they cover all keys."""
    keys = list(dict.fromkeys(key for record in records if record is not None for key in record))
    stated = [column.name for column in outputs.columns if column.name is not None] if outputs is not None else []
    if set(keys) < set(stated):
        keys = stated
    return [Unfolded(str(key), [None if record is None else record.get(key) for record in records]) for key in keys]


def _arrow_table(answer: Any) -> pa.Table | None:
    if isinstance(answer, pa.Table):
        return answer
    if isinstance(answer, pa.RecordBatch):
        return pa.Table.from_batches([answer])
    if isinstance(answer, (pa.Array, pa.ChunkedArray)):
        return pa.table({"": answer})
    if hasattr(answer, "__arrow_c_stream__"):
        stream = pa.RecordBatchReader.from_stream(answer) if not hasattr(answer, "to_frame") else None
        return stream.read_all() if stream is not None else None
    return None


def _whole(values: pa.ChunkedArray) -> pa.Array:
    array = values.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def _numpy(answer: Any) -> np.ndarray[Any, Any] | None:
    """The answer as a numpy array if it is a kind of one: numpy's, a sparse matrix, a tensor."""
    if isinstance(answer, np.ndarray):
        return answer
    if type(answer).__module__.startswith("scipy.sparse"):
        return np.asarray(answer.toarray())
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
    if hasattr(answer, "__array__") and not isinstance(answer, np.generic):
        return np.asarray(answer)
    return None


def _single(answer: Any, rows: int) -> list[Any]:
    """A single value, which is an answer to one row; None never is."""
    if answer is None:
        raise AnswerRefused("predict returned None; expected one value for each row. Does it end without a return?")
    if rows != 1:
        raise AnswerRefused(f"predict returned {described(answer)} for {rows:,} rows; expected one value for each row")
    return [answer.item() if isinstance(answer, np.ndarray) else answer]


def _wrong(answer: Any, rows: int, found: int) -> AnswerRefused:
    return AnswerRefused(
        f"predict returned {described(answer)}: {found:,} rows for {rows:,} input rows; "
        "expected exactly one for each, in the same order"
    )


def described(answer: Any) -> str:  # noqa: PLR0911  # one for each shape
    """What came back, for a message: type, and shape, columns or length."""
    kind = f"a {type(answer).__module__}.{type(answer).__qualname__}".replace("a builtins.", "a ")
    if isinstance(answer, pd.DataFrame):
        names = ", ".join(str(label) for label in answer.columns[:10]) + (", …" if len(answer.columns) > 10 else "")  # noqa: PLR2004  # what a line holds
        return f"{kind} of shape {answer.shape} with the columns {names or '(none)'}"
    if isinstance(answer, (np.ndarray, np.generic)):
        return f"{kind} of {answer.dtype}, shape {answer.shape}"
    if isinstance(answer, (pa.Table, pa.RecordBatch)):
        return f"{kind} of shape {answer.shape} with the columns {', '.join(answer.schema.names[:10])}"
    if hasattr(answer, "shape"):
        return f"{kind} of shape {tuple(answer.shape)}"
    if isinstance(answer, Mapping):
        return f"{kind} with the keys {', '.join(map(str, list(answer)[:10])) or '(none)'}"
    if isinstance(answer, (str, bytes)) or not hasattr(answer, "__len__"):
        return f"{kind} ({answer!r:.60})"
    return f"{kind} of length {len(answer):,}"
