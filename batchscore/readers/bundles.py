"""What several small files hold together, and what a file must be to be read with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from batchscore.errors import FileRefused
from batchscore.signature import has_fixed_type, plan_reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from batchscore.minibatch import FileSlice
    from batchscore.schema import Schema
    from batchscore.settings import ScoringSettings
    from batchscore.signature import ReadPlan

SMALL_BYTES = 256 << 10
"""A larger file is read by itself: what is done once a file is little beside the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """The rows of several files of one form, one file after the other."""

    features: pa.Table
    kept: pa.Table
    notes: tuple[str, ...] = ()
    """Of each file."""


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """Some rows of a file within a bundle: a Chunk without tables of its own."""

    slice: FileSlice
    first_row: int
    """0-based number in the file of its first row; the others follow."""
    rows: int
    bundle: Bundle
    start: int
    """Its first row's place in the bundle."""


class Apart(Exception):
    """All files of a group are to be read one by one."""


Members: TypeAlias = "tuple[tuple[FileSlice, int], ...]"
"""Whole files with their numbers of rows, in the bundle's order."""


class Small(Protocol):
    """A small file that has been read and not parsed."""

    @property
    def size(self) -> int:
        """Bytes that it takes."""

    def joins(self, other: Small) -> bool:
        """Whether both have the same columns, so that they can be parsed at once."""


def plan_for_all(
    schema: Schema, names: Sequence[str], settings: ScoringSettings, partitions: Sequence[tuple[str, str | None]]
) -> ReadPlan:
    """The plan of all files of a group; Apart where they don't fit, or types may follow from values."""
    try:
        plan = plan_reading(schema, names, settings, partitions)
    except FileRefused:
        raise Apart from None
    if not all(has_fixed_type(column.spec) for column in plan.features):
        raise Apart
    return plan
