"""The verdict on a chunk's column: to the signature's type, or the first row that doesn't fit.

A value's verdict depends on the value, the column's type in the file and the signature alone, never on its neighbours.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.errors import FileRefused
from batchscore.schema import ColumnSpec
from batchscore.signature.fromarrow import is_list, is_text, missing_as_null, plain
from batchscore.signature.fromjson import from_values
from batchscore.signature.fromtext import checked
from batchscore.signature.momenttext import LOCAL_SECONDS
from batchscore.signature.nested import from_nested, scalars, tensor_rows
from batchscore.signature.scalars import TENSOR_SCALARS, Refused, Scalar, scalar_of, value_text
from batchscore.signature.sifting import NUMERALS, all_refused, has_other_characters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from batchscore.schema import TensorSpec
    from batchscore.signature.sifting import Places

    Spec: TypeAlias = ColumnSpec | TensorSpec | None
    Column: TypeAlias = pa.Array | pa.ChunkedArray

SHOWN = 200
"""Characters of a value that a message shows."""


def reading_type(spec: Spec) -> pa.DataType | None:
    """What pyarrow's CSV reader may convert to directly; None: read strings, then `parse_text`.

    What was read so goes through `check_typed`. Whole numbers are read as doubles too: read as integers, `0x1F` would
    pass for 31 and `1.0` wouldn't. Truth values are read by `TRUE_VALUES` and `FALSE_VALUES`.
    """
    scalar = _scalar(spec)
    if scalar is None:
        return None
    return {"number": pa.float64(), "whole": pa.float64(), "boolean": pa.bool_(), "string": pa.string()}.get(
        scalar.kind
    )


def has_fixed_type(spec: Spec) -> bool:
    """Whether the type of what `convert` gives follows from the spec alone, whatever the values."""
    return _scalar(spec) is not None


def check_typed(column: Column, spec: Spec) -> pa.Array | None:
    """A column that was read as `reading_type` in the signature's type, as `parse_text` gives it for its text.

    None: read this chunk's column as text, for `parse_text` to judge: pyarrow's reading alone doesn't tell (integers
    beyond 2^53, texts for NaN and infinity, fractions and missing values in whole numbers).
    """
    scalar = _scalar(spec)
    column = plain(column)
    if scalar is None or scalar.kind in ("string", "boolean"):
        return column if scalar is None or scalar.holds_missing or column.null_count == 0 else None
    return checked(column, scalar)


def parse_text(column: Column, spec: Spec, *, name: str, first_row: int = 0) -> pa.Array:
    """Text as it stands in the CSV (null: missing) in the signature's type; as it is where there is none.

    Raises FileRefused for the first bad row, counted from first_row.
    """
    return convert(column, spec, name=name, first_row=first_row)


def convert(column: Column, spec: Spec, *, name: str, first_row: int = 0) -> pa.Array:
    """A Parquet column in the signature's type, with the verdicts of the same values as text.

    Text in a Parquet column is judged as text in a CSV. Raises FileRefused for the first bad row, counted from
    first_row.
    """
    column = plain(column)
    if spec is None:
        return column
    try:
        if isinstance(spec, ColumnSpec):
            return _column(column, spec)
        return _tensor(column, spec)
    except Refused as refused:
        raise _file_refused(_with_the_whole(refused, column), spec, name, first_row) from None


def sift(column: Column, spec: Spec, *, name: str, numbers: Places) -> dict[int, FileRefused]:
    """All rows of a column that `convert` and `parse_text` would refuse, by their places; ``numbers``: in the file."""
    column = plain(column)
    if spec is None:
        return {}

    def judge(places: Places) -> None:
        is_run = len(places) and places[-1] - places[0] + 1 == len(places)
        part = column.slice(int(places[0]), len(places)) if is_run else column.take(pa.array(places))
        if isinstance(spec, ColumnSpec):
            _column(part, spec)
        else:
            _tensor(part, spec)

    doubtful = _in_doubt(column, _scalar(spec), judge)
    found = all_refused(len(doubtful), lambda places: judge(doubtful[places]))
    refused = {int(doubtful[place]): each for place, each in found.items()}
    return {
        place: _file_refused(_with_the_whole(each.at(place), column), spec, name, int(numbers[place]) - place)
        for place, each in refused.items()
    }


def _in_doubt(column: pa.Array, scalar: Scalar | None, judge: Callable[[Places], None]) -> Places:
    """The values that a quick look doesn't settle: plain numbers and times in text fit, as a reader takes them."""
    everywhere = np.arange(len(column))
    if scalar is None or not is_text(column.type) or scalar.kind not in ("number", "whole", "datetime"):
        return everywhere
    if scalar.kind == "datetime":
        plain_ones = pc.match_substring_regex(column, LOCAL_SECONDS)
    else:
        plain_ones = pa.array(~has_other_characters(column, NUMERALS))
        plain_ones = pc.and_(plain_ones, pc.is_valid(column))
    settled = np.asarray(pc.fill_null(plain_ones, False))  # the value to fill in
    try:
        if scalar.kind == "datetime":
            judge(everywhere[settled])
            return everywhere[~settled]
        numbers = pc.cast(column.filter(pa.array(settled)), pa.float64())
    except (Refused, pa.ArrowInvalid):
        return everywhere
    return everywhere if checked(numbers, scalar) is None else everywhere[~settled]


def sift_json(
    values: Sequence[Any], spec: ColumnSpec | TensorSpec, *, name: str, numbers: Sequence[int]
) -> dict[int, FileRefused]:
    """All rows of a column that `convert_json` would refuse, by their places."""

    def judge(places: Places) -> None:
        from_values([values[place] for place in places], spec, _scalar(spec))

    refused = all_refused(len(values), judge)
    return {place: _file_refused(each.at(place), spec, name, numbers[place] - place) for place, each in refused.items()}


def never_fits(kind: pa.DataType, spec: Spec) -> str | None:
    """What the signature expects where no value of a Parquet column of this type is that; None where one may be.

    Text, lists and structs may be anything: their values tell.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return never_fits(kind.storage_type, spec)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return never_fits(kind.value_type, spec)
    expected = None
    for probe in _probes(kind) if spec is not None else ():
        try:
            convert_one = _column if isinstance(spec, ColumnSpec) else _tensor
            convert_one(probe, spec)  # type: ignore[arg-type]  # the spec that belongs to it
        except Refused as refused:
            expected = refused.expected
        else:
            return None
    return expected


def _probes(kind: pa.DataType) -> list[pa.Array]:
    """A value that fits if any value of the type does; none for types whose values have to be seen."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return [pa.array([0], pa.int64()).cast(kind)]
    if any(is_kind(kind) for is_kind in _TICKS):
        return [pa.array([0], kind)]
    if pa.types.is_decimal(kind):
        return [pa.array([Decimal(0)], kind)]
    if pa.types.is_boolean(kind):
        return [pa.array([False], kind)]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return [pa.array([b"0"], kind)]
    return []


_TICKS = (pa.types.is_date, pa.types.is_timestamp, pa.types.is_time, pa.types.is_duration)


def convert_json(values: Sequence[Any], spec: ColumnSpec | TensorSpec, *, name: str, first_row: int = 0) -> pa.Array:
    """Parsed JSON (numbers as ``Number``) in the signature's type, with the verdicts of the same values in Parquet.

    Raises FileRefused for the first bad row, counted from first_row.
    """
    try:
        return from_values(values, spec, _scalar(spec))
    except Refused as refused:
        raise _file_refused(refused, spec, name, first_row) from None


def _column(column: pa.Array, spec: ColumnSpec) -> pa.Array:
    scalar = scalar_of(spec.type)
    if scalar is not None:
        return scalars(column, scalar, may_miss=scalar.holds_missing)
    return from_nested(missing_as_null(column) if spec.type != "any" else column, spec.type, required=spec.required)


def _tensor(column: pa.Array, spec: TensorSpec) -> pa.Array:
    scalar = _scalar(spec)
    if scalar is not None and not (len(spec.shape) > 1 and is_list(column.type)):
        return scalars(column, scalar, may_miss=scalar.holds_missing)
    return column if spec.dtype == "object" else tensor_rows(missing_as_null(column), spec)


def _scalar(spec: Spec) -> Scalar | None:
    """The scalar of a column, or of a tensor with one item for each row."""
    if spec is None:
        return None
    if isinstance(spec, ColumnSpec):
        return scalar_of(spec.type)
    return TENSOR_SCALARS.get(spec.dtype) if spec.shape in ((-1,), (-1, 1)) else None


def _with_the_whole(refused: Refused, column: pa.Array) -> Refused:
    """What is missing within a list or struct of Parquet is shown in it."""
    if refused.value is not None or not pa.types.is_nested(column.type) or not column[refused.index].is_valid:
        return refused
    value = value_text(column, refused.index)
    return Refused(refused.index, value, f"{refused.expected}; a value is missing in it")


def _file_refused(refused: Refused, spec: ColumnSpec | TensorSpec, name: str, first_row: int) -> FileRefused:
    row = first_row + refused.index
    value = refused.value
    shown = None if value is None else value[:SHOWN] + ("…" if len(value) > SHOWN else "")
    found = "the value is missing" if shown is None else f"found {shown!r}"
    remedy = ""
    scalar = _scalar(spec)
    if value is None and scalar is not None and scalar.kind in ("whole", "boolean"):
        remedy = f"; {spec} can't hold a missing value: fill it in, or log the model with a double for this column"
    message = f"row {row}, column {name!r}: {found}, expected {refused.expected}{remedy}"
    return FileRefused(message, row=row, column=name, value=shown)
