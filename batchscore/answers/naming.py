"""Names and types of the columns of an answer, by the output signature where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from batchscore.answers.casting import cast_to, dtype_type, signature_type
from batchscore.answers.shapes import Unfolded
from batchscore.schema import ColumnSpec, Schema, TensorSpec


@dataclass(frozen=True, slots=True)
class Columns:
    """An answer as a table, one row for each input row, and what the user should know about how it was read."""

    table: pa.Table
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Stated:
    """A column as the output signature states it."""

    name: str | None
    type: pa.DataType | None
    """None leaves the answer's own."""


def named_and_typed(
    columns: list[Unfolded], rows: int, outputs: Schema | None, classes: Sequence[Any] | None
) -> Columns:
    """The columns under their names, in their types."""
    notes: list[str] = []
    if classes is not None:
        columns, note = _by_class(columns, classes)
        notes += note
    stated = _stated(outputs, len(columns))
    if stated is not None and len(stated) != len(columns):
        notes.append(
            f"the model's output signature has {_columns(len(stated))}, its answer {_columns(len(columns))}: "
            "the answer's own names and types are taken"
        )
        stated = None
    if stated is not None:
        columns, stated, note = _matched(columns, stated)
        notes += note
    if stated is not None:
        names = [spec.name or column.name for spec, column in zip(stated, columns, strict=True)]
    else:
        names = [column.name for column in columns]
    unique, note = _unique(_defaults(names))
    notes += note
    types = [spec.type for spec in stated] if stated is not None else [None] * len(columns)
    arrays = [_typed(column, name, kind) for column, name, kind in zip(columns, unique, types, strict=True)]
    table = pa.Table.from_arrays(arrays, names=unique)
    assert table.num_rows == rows, "every column was counted before"  # noqa: S101  # an invariant, not a check of input
    return Columns(table, tuple(notes))


def _columns(count: int) -> str:
    return f"{count} column{'s' if count != 1 else ''}"


def _typed(column: Unfolded, name: str, kind: pa.DataType | None) -> pa.Array:
    array = column.array(name, as_text=kind is not None and pa.types.is_string(kind))
    return array if kind is None else cast_to(array, kind, name)


def _stated(outputs: Schema | None, width: int) -> list[_Stated] | None:
    """The signature's columns; a tensor has one for each index of its second axis. None where it says nothing."""
    if outputs is None or not outputs.specs:
        return None
    stated: list[_Stated] = []
    for spec in outputs.specs:
        if isinstance(spec, ColumnSpec):
            stated.append(_Stated(spec.name, signature_type(spec.type)))
        else:
            stated += _of_tensor(spec, width if len(outputs.specs) == 1 else 1)
    return stated


def _of_tensor(spec: TensorSpec, width: int) -> list[_Stated]:
    """A tensor whose second axis isn't fixed, or deeper than that, states the type of as many columns as there are."""
    axes = spec.shape[1:]
    count = axes[0] if axes and axes[0] > 0 else width if axes else 1
    kind = dtype_type(spec.dtype)
    for _ in axes[1:]:
        kind = pa.list_(kind) if kind is not None else None
    if count == 1:
        return [_Stated(spec.name, kind)]
    return [_Stated(spec.name and f"{spec.name}_{position}", kind) for position in range(count)]


def _matched(columns: list[Unfolded], stated: list[_Stated]) -> tuple[list[Unfolded], list[_Stated] | None, list[str]]:
    """The answer's columns in the signature's order: by name, or by place where the answer has other names or none.

    Where some names are the signature's and others aren't, it is left aside (None), with a note: by place, a column
    would get another one's name.
    """
    own = {column.name: column for column in columns if column.name is not None}
    wanted = [spec.name for spec in stated if spec.name is not None]
    if len(own) == len(columns) and own.keys() == set(wanted):
        return [own[name] for name in wanted], stated, []
    if not own or not wanted:
        return columns, stated, []
    names = f"the model's output signature has the columns {', '.join(wanted)}, its answer {', '.join(own)}"
    if own.keys() & set(wanted):
        return columns, None, [f"{names}: the answer's own names and types are taken"]
    return columns, stated, [f"{names}: they take the signature's names by their places"] if len(columns) > 1 else []


def _by_class(columns: list[Unfolded], classes: Sequence[Any]) -> tuple[list[Unfolded], list[str]]:
    """`probability_<class>`; a single column for two classes is the second one's; several outputs number theirs."""
    if len(classes) and all(hasattr(output, "__len__") and not isinstance(output, str) for output in classes):
        names = [f"probability_{number}_{label}" for number, labels in enumerate(classes) for label in labels]
    else:
        names = [f"probability_{label}" for label in classes]
    if len(columns) == 1 and len(names) == 2:  # noqa: PLR2004  # a binary classifier
        names = names[1:]
    if len(names) != len(columns):
        return columns, [
            f"the model has {len(names)} classes, its answer {_columns(len(columns))}: they aren't named by class"
        ]
    return [replace(column, name=name) for column, name in zip(columns, names, strict=True)], []


def _defaults(names: list[str | None]) -> list[str]:
    if len(names) == 1:
        return [names[0] or "prediction"]
    return [name or f"prediction_{position}" for position, name in enumerate(names)]


def _unique(names: list[str]) -> tuple[list[str], list[str]]:
    """The names, where one comes again with the first number behind it that is free."""
    taken: set[str] = set()
    unique: list[str] = []
    for name in names:
        new, number = name, 0
        while new in taken or (number and new in names):
            number += 1
            new = f"{name}_{number}"
        taken.add(new)
        unique.append(new)
    again = sorted({name for name in names if names.count(name) > 1}) if len(taken) != len(set(names)) else []
    notes = [f"the answer has several columns named {', '.join(again)}: they are numbered"] if again else []
    return unique, notes
