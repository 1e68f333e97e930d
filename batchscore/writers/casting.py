"""Columns between types: the text kinds of kept columns, and values to the type that was settled on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from batchscore.errors import AnswerRefused
from batchscore.outcome import Column
from batchscore.writers import TYPED
from batchscore.writers.canonical import canonical
from batchscore.writers.rendering import csv_text
from batchscore.writers.types import arrow_type, text_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EXACT = 1 << 53


def prepared(
    table: pa.Table, roles: Mapping[str, str], *, has_types: bool
) -> tuple[list[pa.Array], tuple[Column, ...]]:
    """The table's columns as they are written, and what they are.

    In a format without types (``has_types`` is false) a kept column is text from the start, each value by its own
    file's type, so that no other file's type changes it. Otherwise a kept column of text is a `text<…>`, one with whole
    numbers beyond 2^53 a `long<…>`.
    """
    arrays, columns = [], []
    for field, values in zip(table.schema, table.columns, strict=True):
        role = roles.get(field.name, "prediction")
        array = canonical(values)
        kind = str(array.type)
        if role == "kept" and not has_types:
            array, kind = csv_text(array), "string"
        elif role == "kept":
            kind = _kept_type(array, field)
        arrays.append(array)
        columns.append(Column(field.name, kind, role))
    return arrays, tuple(columns)


def _kept_type(array: pa.Array, field: pa.Field) -> str:
    """The type of a kept column that says whether becoming double would change its whole numbers."""
    if pa.types.is_string(field.type) and (field.metadata or {}).items().isdisjoint(TYPED.items()):
        return f"text<{kind_of_text(array)}>"
    if array.type in {pa.int64(), pa.uint64()} and len(array) > array.null_count and _is_beyond_exact(array):
        return f"long<{array.type}>"
    return str(array.type)


def slices(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    """The table in tables of at most so many rows; an empty one as it is."""
    yield from (table.slice(start, rows) for start in range(0, max(table.num_rows, 1), rows))


def cast_columns(arrays: Sequence[pa.Array], old: Sequence[Column], new: Sequence[Column]) -> list[pa.Array]:
    """Each column in its wider type; AnswerRefused where a value has no place in it."""
    cast = []
    for array, before, after in zip(arrays, old, new, strict=True):
        try:
            cast.append(_cast(array, before.type, after.type))
        except pa.ArrowInvalid as error:
            raise AnswerRefused(
                f"the column {after.name!r} can't go from {before.type} to {after.type}: {error}"
            ) from error
    return cast


def kind_of_text(texts: pa.Array) -> str:
    """What all of the texts can be read as without losing a character: a word of TEXT_KINDS.

    `007`, `+1`, `1.50` and numbers beyond int64 or a double's digits are text.
    """
    texts = texts.drop_null()
    if len(texts) == 0:
        return "null"
    try:
        numbers = pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        return "string"
    is_whole = pc.match_substring_regex(texts, r"^(0|-?[1-9][0-9]{0,18})$")
    whole = texts.filter(is_whole)
    try:
        integers = pc.cast(whole, pa.int64())
    except pa.ArrowInvalid:
        return "string"
    is_long = len(whole) > 0 and _is_beyond_exact(integers)
    if len(whole) == len(texts):
        return "long" if is_long else "integer"
    fractions = pc.invert(is_whole)
    return "double" if not is_long and _are_doubles(texts.filter(fractions), numbers.filter(fractions)) else "string"


def _is_beyond_exact(integers: pa.Array) -> bool:
    bounds = pc.min_max(integers).as_py()
    return bool(bounds["min"] < -_EXACT or bounds["max"] > _EXACT)


def _are_doubles(texts: pa.Array, numbers: pa.Array) -> bool:
    """Whether each text is the shortest one of its number, in our, pyarrow's or Python's spelling."""
    if not pc.all(pc.is_finite(numbers)).as_py():
        return False
    other = pc.not_equal(csv_text(numbers), texts)
    if not pc.any(other).as_py():
        return True
    numbers, texts = numbers.filter(other), texts.filter(other)
    known = zip(texts.to_pylist(), pc.cast(numbers, pa.string()).to_pylist(), numbers.to_pylist(), strict=True)
    return all(text == repr(number) or ("e" in text and text == arrows) for text, arrows, number in known)


def _cast(array: pa.Array, old: str, new: str) -> pa.Array:
    """The column in its wider type; both as Column.type has them, and ``new`` not a `text<…>` unless ``old`` is.

    Whole numbers beyond 2^53 are rounded where a column becomes double. Text stays text in a `text<…>`.
    """
    if old == new:
        return array
    kind = pa.string() if text_kind(new) is not None else arrow_type(new)
    if array.type == kind:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), kind)
    if pa.types.is_string(kind):
        return as_text(array)
    return pc.cast(array, kind, safe=not _is_rounding(array.type, kind))


def _is_rounding(old: pa.DataType, new: pa.DataType) -> bool:
    while pa.types.is_list(old) and pa.types.is_list(new):
        old, new = old.value_type, new.value_type
    return bool(pa.types.is_floating(new))


def as_text(array: pa.Array) -> pa.Array:
    """A column that becomes text: whole numbers are the same text whether they came as integers or as floats.

    Lists without items are text as the JSON of lists of dicts is.
    """
    if pa.types.is_list(array.type) and pa.types.is_null(array.type.value_type):
        return pa.array([None if items is None else json.dumps(items) for items in array.to_pylist()], pa.string())
    if not pa.types.is_floating(array.type):
        return csv_text(array)
    texts = csv_text(pc.cast(array, pa.float64()))
    return pc.replace_substring_regex(texts, r"\.0$", "")
