"""The rows of parsed JSON as chunks: typed by the signature, else as pandas and MLflow's server make of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from batchscore.errors import FileRefused
from batchscore.readers.chunks import Chunk, first_refusal
from batchscore.readers.payload_forms import of_width
from batchscore.schema import ColumnSpec, Schema, TensorSpec
from batchscore.signature import convert_json, json_text, native, parse_text, plan_reading, sift_json
from batchscore.signature.modelinput import model_input
from batchscore.writers import TYPED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from batchscore.minibatch import FileSlice
    from batchscore.readers.payload_forms import Payload
    from batchscore.settings import ScoringSettings
    from batchscore.signature import ReadColumn, ReadPlan


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of one file are read: what every slice of it has in common."""

    plan: ReadPlan
    schema: Schema
    """The model's, its unknown dimensions as the file's first row has them."""
    has_known_sizes: bool
    """Whether the model's own schema states all sizes of its tensors' rows."""
    width: int | None = None
    """The items of a row that is a list with one for each unnamed column."""


def names_of(payload: Payload) -> tuple[str, ...]:
    """The names of the payload's columns; of records all that any has, in the order in which they appear."""
    if payload.kind != "records":
        return payload.names
    return tuple(dict.fromkeys(name for record in payload.body for name in record))


def plan(
    payload: Payload, names: Sequence[str], schema: Schema, settings: ScoringSettings, piece: FileSlice
) -> Reading:
    """How to read a file that begins with these rows; FileRefused where its columns aren't the model's."""
    sized = schema
    if any(-1 in spec.shape[1:] for spec in schema.tensors):
        sized = Schema(tensors=tuple(_sized(spec, payload, schema) for spec in schema.tensors))
    if not payload.rows and not names:
        names = _names_without_rows(sized, settings, piece)
    is_wide = _is_wide(payload, schema)
    if payload.kind == "items" and payload.rows:
        names = tuple(map(str, range(len(payload.body[0])))) if is_wide else (_name_for_items(sized),)
    found = plan_reading(sized, names, settings, piece.file.partitions)
    if payload.kind == "items" and sized.tensors:  # its rows are the tensor's, never one item each
        found = replace(found, features=(replace(found.features[0], spec=sized.tensors[0]),))
    return Reading(found, sized, sized == schema, len(names) if is_wide else None)


def _names_without_rows(schema: Schema, settings: ScoringSettings, piece: FileSlice) -> tuple[str, ...]:
    """All that is asked for: no rows have any columns."""
    names = [str(spec.name or place) for place, spec in enumerate(_specs(schema))]
    partitions = dict(piece.file.partitions)
    return tuple(dict.fromkeys([*names, *(name for name in settings.keep if name not in partitions)]))


def _specs(schema: Schema) -> tuple[ColumnSpec | TensorSpec, ...]:
    return schema.specs


def _name_for_items(schema: Schema) -> str:
    """A value for each row is the model's only input."""
    if len(schema.specs) == 1 or not schema.is_named:
        return str(schema.specs[0].name or 0)
    wanted = ", ".join(repr(spec.name) for spec in _specs(schema))
    raise FileRefused(
        f"the rows have no names, and the model's signature has {wanted}; give them as records, "
        "as a frame with columns and data, or as an object of lists"
    )


def _is_wide(payload: Payload, schema: Schema) -> bool:
    """Whether the rows are lists with an item for each unnamed column."""
    if payload.kind != "items" or not payload.rows or not schema.columns or schema.is_named:
        return False
    is_one_value = len(schema.columns) == 1 and not isinstance(schema.columns[0].type, str)
    return isinstance(payload.body[0], list) and not is_one_value


def _sized(spec: TensorSpec, payload: Payload, schema: Schema) -> TensorSpec:
    """The tensor with the sizes of the first row in the place of unknown ones; 1 where there are no rows."""
    if not payload.rows and not (spec.name is None and len(payload.names) > 1):
        return replace(spec, shape=(*spec.shape[:1], *(1 if size == -1 else size for size in spec.shape[1:])))
    if not payload.rows:
        return spec
    if payload.kind == "items":
        if len(schema.specs) > 1:
            return spec
        value = payload.body[0]
    else:
        names = names_of(payload.first(1))
        name = spec.name if spec.name is not None else names[0] if len(names) == 1 else None
        if name not in names:
            return spec
        value = column_of(payload.first(1), name, names.index(name))[0]
    sizes = shape_of(value)
    stated = spec.shape[1:]
    if len(sizes) != len(stated) or any(size not in (-1, found) for size, found in zip(stated, sizes, strict=True)):
        raise FileRefused(f"row 0 has the shape {sizes}; expected {stated} (-1: any size), for a {spec}", row=0)
    if 0 in sizes:
        raise FileRefused(f"row 0 is empty: its shape is {sizes}; expected items for a {spec}", row=0)
    return replace(spec, shape=(spec.shape[0], *sizes))


def shape_of(value: Any) -> tuple[int, ...]:
    """The sizes of nested lists, by their first items."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)


def column_of(payload: Payload, name: str, position: int) -> list[Any]:
    """The values of one column; null where a record lacks it."""
    match payload.kind:
        case "records":
            return [record.get(name) for record in payload.body]
        case "rows":
            return [row[position] for row in payload.body]
        case "columns":
            return list(payload.body[position])
        case _:
            return payload.body


def typed_chunk(payload: Payload, reading: Reading, piece: FileSlice, first_row: int) -> Chunk:
    """One chunk of the payload's rows; FileRefused for the first that doesn't fit."""
    if reading.width is not None and payload.kind == "items":
        payload = replace(payload, kind="rows", names=tuple(map(str, range(reading.width))))
        try:
            of_width(payload.body, reading.width, range(first_row, first_row + payload.rows))
        except FileRefused as refusal:
            typed_chunk(payload.first((refusal.row or 0) - first_row), reading, piece, first_row)
            raise
    columns, refusals = [], []
    for column in reading.plan.features:
        try:
            columns.append(_feature(payload, column, piece, first_row))
        except FileRefused as refusal:
            refusals.append(refusal)
    if refusals:
        raise first_refusal(refusals)
    table = pa.table(columns, names=[column.name for column in reading.plan.features])
    features = table if reading.has_known_sizes or not payload.rows else model_input(reading.schema, table)
    kept = kept_table(payload, reading.plan, piece)
    return Chunk(piece, first_row, payload.rows, features, kept, reading.plan.notes)


def sifted_chunk(
    payload: Payload, reading: Reading, piece: FileSlice, numbers: Sequence[int]
) -> tuple[Chunk, dict[int, FileRefused]]:
    """A chunk of the rows that fit, and by their numbers the others; FileRefused for what is true of the file."""
    bad: dict[int, FileRefused] = {}
    if reading.width is not None and payload.kind == "items":
        wrong: dict[int, tuple[FileRefused, Any]] = {}
        of_width(payload.body, reading.width, numbers, wrong)
        bad = {number: refusal for number, (refusal, _) in wrong.items()}
        payload, numbers = _picked(payload, numbers, bad)
        payload = replace(payload, kind="rows", names=tuple(map(str, range(reading.width))))
    for column in reading.plan.features:
        if column.position == -1:
            _feature(payload, column, piece, numbers[0] if numbers else 0)  # its one value is the file's
            continue
        values = column_of(payload, column.source, column.position)
        spec = cast("ColumnSpec | TensorSpec", column.spec)
        for place, refusal in sift_json(values, spec, name=column.source, numbers=numbers).items():
            bad.setdefault(numbers[place], refusal)
    payload, numbers = _picked(payload, numbers, bad)
    chunk = typed_chunk(payload, reading, piece, numbers[0] if numbers else piece.first_row)
    return replace(chunk, numbers=np.array(numbers, np.int64)), bad


def _picked(payload: Payload, numbers: Sequence[int], bad: Collection[int]) -> tuple[Payload, list[int]]:
    places = [place for place, number in enumerate(numbers) if number not in bad]
    if payload.kind == "columns":
        body = [[values[place] for place in places] for values in payload.body]
    else:
        body = [payload.body[place] for place in places]
    return replace(payload, body=body), [numbers[place] for place in places]


def record_of(payload: Payload, place: int) -> str:
    """A row as JSON, as it stands in the document; of lists by name an object."""
    if payload.kind == "columns":
        return json_text({name: values[place] for name, values in zip(payload.names, payload.body, strict=True)})
    return json_text(payload.body[place])


def _feature(payload: Payload, column: ReadColumn, piece: FileSlice, first_row: int) -> pa.Array:
    if column.position == -1:
        text = _partition(column.source, piece, payload.rows)
        return parse_text(text, column.spec, name=column.source, first_row=first_row)
    values = column_of(payload, column.source, column.position)
    return convert_json(values, cast("ColumnSpec | TensorSpec", column.spec), name=column.source, first_row=first_row)


def _partition(name: str, piece: FileSlice, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(dict(piece.file.partitions)[name], pa.string()), rows)


def kept_table(payload: Payload, plan: ReadPlan, piece: FileSlice) -> pa.Table:
    """The kept columns as text, numbers as they are written and lists and objects as JSON.

    Text of the JSON is marked as such, so that text such as 007 isn't taken for a number.
    """
    names = names_of(payload) if plan.kept else ()
    arrays, fields = [], []
    for name in plan.kept:
        if name in dict(plan.partitions):
            arrays.append(_partition(name, piece, payload.rows))
            fields.append(pa.field(name, pa.string()))
            continue
        place = names.index(name) if name in names else 0
        values = column_of(payload, name, place)
        is_text = any(type(value) is str for value in values)
        arrays.append(pa.array([_kept_text(value) for value in values], pa.string()))
        fields.append(pa.field(name, pa.string(), metadata=TYPED if is_text else None))
    return pa.table(arrays, schema=pa.schema(fields))


def _kept_text(value: Any) -> str | None:
    return value if value is None or type(value) is str else json_text(value)


def check_params(payload: Payload, settings: ScoringSettings) -> None:
    """Refuse a payload whose params aren't the job's: they would be another model's predictions in silence."""
    params = payload.params
    if params is None:
        return
    if not isinstance(params, dict):
        raise FileRefused("params: expected an object")
    for name, value in params.items():
        found = json_text(value)
        if name not in settings.params or not _is_same(value, settings.params[name]):
            used = json.dumps(settings.params[name]) if name in settings.params else "not set"
            raise FileRefused(
                f"the payload asks for the param {name}={found}, which is {used} in this job; params hold for the "
                f"whole job: give --param {name}=…, or take params out of the file"
            )


def _is_same(value: Any, setting: Any) -> bool:
    try:
        return bool(native(value) == setting)
    except ValueError:  # a number that Python doesn't hold
        return False
