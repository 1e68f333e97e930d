"""The single values that a signature asks for, and what is said of one that doesn't fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchscore.schema.datatypes import Type

Kind: TypeAlias = Literal["number", "whole", "boolean", "string", "datetime", "binary"]


class Refused(Exception):
    """The first value of a column that doesn't fit; ``value`` is its text, None where it is missing."""

    def __init__(
        self, index: int, value: str | None, expected: str, others: Callable[[], dict[int, Refused]] | None = None
    ) -> None:
        super().__init__(index, value, expected)
        self.index = index
        self.value = value
        self.expected = expected
        self._others = others

    def found(self) -> dict[int, Refused]:
        """All that is known not to fit when this one is, by their places; this one at least."""
        return self._others() if self._others else {self.index: self}

    def at(self, index: int) -> Refused:
        """The same for the outer value that holds this one."""
        return Refused(index, self.value, self.expected)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type of single values: how it is read, held and spoken of."""

    word: str
    """As the signature has it."""
    kind: Kind
    arrow: pa.DataType
    holds_missing: bool
    """Whether a column of this type can have missing values (NaN, NaT)."""

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest whole number, of a whole type."""
        bits = self.arrow.bit_width
        if pa.types.is_unsigned_integer(self.arrow):
            return 0, (1 << bits) - 1
        return -(1 << bits - 1), (1 << bits - 1) - 1

    @property
    def expected(self) -> str:
        """What a fitting value is, for a message."""
        match self.kind:
            case "number":
                described = "a number"
            case "whole":
                described = "a whole number from {} to {}".format(*self.bounds)
            case "boolean":
                described = "true, false, 1 or 0"
            case "string":
                described = "text"
            case "datetime":
                described = (
                    "an ISO date or timestamp such as 2026-01-31 or 2026-01-31T12:00:00Z, from 1677-09-21 to 2262-04-11"
                )
            case _:
                described = "bytes, in text as base64"
        return f"{described} ({self.word})"

    def refused(
        self,
        column: pa.Array,
        index: int,
        reason: str = "",
        others: Callable[[], dict[int, Refused]] | None = None,
    ) -> Refused:
        return Refused(index, value_text(column, index), self.expected + (reason and f": {reason}"), others)

    def nulls(self, length: int) -> pa.Array:
        return pa.nulls(length, self.arrow)


SCALARS: dict[str, Scalar] = {
    "double": Scalar("double", "number", pa.float64(), holds_missing=True),
    "float": Scalar("float", "number", pa.float32(), holds_missing=True),
    "long": Scalar("long", "whole", pa.int64(), holds_missing=False),
    "integer": Scalar("integer", "whole", pa.int32(), holds_missing=False),
    "boolean": Scalar("boolean", "boolean", pa.bool_(), holds_missing=False),
    "string": Scalar("string", "string", pa.string(), holds_missing=True),
    "datetime": Scalar("datetime", "datetime", pa.timestamp("ns"), holds_missing=True),
    "binary": Scalar("binary", "binary", pa.binary(), holds_missing=True),
}
_WHOLE = {
    "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
    "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
}  # fmt: skip
_NUMBERS = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}
TENSOR_SCALARS: dict[str, Scalar] = {
    **{word: Scalar(f"tensor of {word}", "whole", arrow, holds_missing=False) for word, arrow in _WHOLE.items()},
    **{word: Scalar(f"tensor of {word}", "number", arrow, holds_missing=True) for word, arrow in _NUMBERS.items()},
    "bool": Scalar("tensor of bool", "boolean", pa.bool_(), holds_missing=False),
    "str": Scalar("tensor of str", "string", pa.string(), holds_missing=False),
}
"""By dtype; a tensor of object takes values as they are."""


def scalar_of(kind: Type) -> Scalar | None:
    """The scalar of a column type; None for `any` and for arrays, objects and maps."""
    return SCALARS.get(kind) if isinstance(kind, str) else None


def value_text(column: pa.Array, index: int) -> str | None:
    """The value as a message shows it; None where it is missing."""
    try:
        value = column[index].as_py()
    except (OverflowError, ValueError, KeyError):  # a date that Python doesn't have, a time zone that isn't installed
        return str(column.slice(index, 1).to_string().strip("[] \n"))
    return None if value is None else str(value)


def first(mask: pa.Array) -> int | None:
    """The first true place; null is false."""
    place = int(pc.index(mask, pa.scalar(value=True)).as_py())
    return None if place < 0 else place


def refuse_first(column: pa.Array, scalar: Scalar, *checks: tuple[pa.Array | int | None, str]) -> None:
    """Raise for the first value that any check (a mask or a place, and its reason) is against."""
    places = [(place if isinstance(place, int) or place is None else first(place), reason) for place, reason in checks]
    found = [(place, reason) for place, reason in places if place is not None]
    if found:
        place, reason = min(found, key=lambda pair: pair[0])
        raise scalar.refused(column, place, reason, lambda: _refused(column, scalar, checks))


def _refused(
    column: pa.Array, scalar: Scalar, checks: Sequence[tuple[pa.Array | int | None, str]]
) -> dict[int, Refused]:
    """All values that any check is against; the first such check says why."""
    refused: dict[int, Refused] = {}
    for mask, reason in checks:
        for place in [mask] if isinstance(mask, int) else () if mask is None else true_places(mask):
            if place not in refused:
                refused[place] = scalar.refused(column, place, reason)
    return refused


def true_places(mask: pa.Array) -> list[int]:
    """Where the mask is true; null is false."""
    places: list[int] = pc.indices_nonzero(mask).to_pylist()
    return places


def holding_no_missing(column: pa.Array, expected: str, read: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """What `read` makes of a column in which a missing value is refused; the first of its refusals and this."""
    missing = first(pc.is_null(column))
    if missing is None:
        return read(column)
    read(column.slice(0, missing))
    missed = pc.is_null(column)
    raise Refused(missing, None, expected, lambda: {i: Refused(i, None, expected) for i in true_places(missed)})


def first_failing(column: pa.Array, read: Callable[[pa.Array], Any]) -> int:
    """The first place that `read` raises for: it raises for the whole, and judges each value by itself."""
    good, bad = 0, len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            read(column.slice(good, middle - good))
        except pa.ArrowInvalid:
            bad = middle
        else:
            good = middle
    return good
