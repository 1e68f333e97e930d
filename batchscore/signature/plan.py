"""Which columns of a file a model gets, and in which types."""

from __future__ import annotations

import difflib
import math
import shlex
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from batchscore.errors import FileRefused
from batchscore.schema import TENSOR_BYTES, ColumnSpec, Schema, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from batchscore.settings import ScoringSettings

Spec: TypeAlias = ColumnSpec | TensorSpec
TAB = "\\t"
"""As the command line takes it."""
Partitions: TypeAlias = "tuple[tuple[str, str | None], ...]"


@dataclass(frozen=True, slots=True)
class ReadColumn:
    """A column of the file as the model takes it."""

    source: str
    """Its name in the file as written, untrimmed."""
    position: int
    """In the file, from 0; -1 for a Hive partition column."""
    name: str
    """The model's name for it."""
    spec: Spec | None
    """The type to read it as; of an unnamed tensor, that of one of its items. None: as it is."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What to read of a file: nothing else is."""

    features: tuple[ReadColumn, ...]
    """In the model's order."""
    kept: tuple[str, ...] = ()
    """The names in the file, as written, of settings.keep, in its order; a partition's name where the file has none."""
    partitions: Partitions = ()
    """Hive partition columns that the file doesn't have itself: name and text."""
    notes: tuple[str, ...] = ()
    """Things to tell the user once."""


def plan_reading(
    schema: Schema | None,
    header: Sequence[str],
    settings: ScoringSettings,
    partitions: Sequence[tuple[str, str | None]] = (),
) -> ReadPlan:
    """What to read of a file with this header.

    A file's own column goes before a partition column of the same name. Names are matched exactly, else without the
    spaces around them. Raises FileRefused for duplicate names, missing columns and a wrong number of columns.
    """
    _refuse_duplicates(header, "the file has more than one column")
    own = tuple(_column(name, position, settings) for position, name in enumerate(header))
    hive = tuple((name, text) for name, text in partitions if name not in header)
    columns = (*own, *(_column(name, -1, settings) for name, _ in hive))
    _refuse_duplicates([column.name for column in columns], "after renaming, the file has more than one column")
    notes: list[str] = []
    kept = _kept(columns, header, settings)
    if schema is None:
        features = columns
    elif schema.is_named:
        features = _by_name(schema, columns, notes, settings.csv.delimiter)
    else:
        features = _by_position(schema, columns, () if settings.keep_all else kept)
    return ReadPlan(features, kept, hive, tuple(notes))


def names_without_header(schema: Schema | None, width: int) -> list[str]:
    """Names for a CSV without a header: the signature's where their number fits, else `0`, `1` and so on."""
    if schema is not None and schema.is_named and len(schema.specs) == width:
        return [str(spec.name) for spec in schema.specs]
    return [str(position) for position in range(width)]


def _column(source: str, position: int, settings: ScoringSettings) -> ReadColumn:
    renamed = dict(settings.rename)
    name = renamed.get(source, renamed.get(source.strip(), source))
    return ReadColumn(source, position, name, None)


def _refuse_duplicates(names: Iterable[str], found: str) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise FileRefused(
            f"{found} named {_quoted(repeated)}; expected each name once: rename or remove the others",
            column=repeated[0],
        )


def _match(name: str, columns: Sequence[ReadColumn], *, as_written: bool = False) -> ReadColumn | None:
    """The column of this name, else the only one of this name without the spaces around it."""
    named = [(column.source if as_written else column.name, column) for column in columns]
    exact = [column for found, column in named if found == name]
    if exact:
        return exact[0]
    similar = [column for found, column in named if found.strip() == name.strip()]
    if len(similar) > 1:
        sources = _quoted(column.source for column in similar)
        raise FileRefused(
            f"the columns {sources} differ in spaces only, and none is named {name!r} exactly; rename or remove one",
            column=name,
        )
    return similar[0] if similar else None


def _kept(columns: Sequence[ReadColumn], header: Sequence[str], settings: ScoringSettings) -> tuple[str, ...]:
    if settings.keep == ("*",):
        return tuple(header)
    found = {name: _match(name, columns, as_written=True) for name in settings.keep}
    there = [column.source for column in columns]
    missing = [name for name, column in found.items() if column is None]
    if missing:
        raise _missing_to_keep(missing, there, settings.csv.delimiter)
    sources = tuple(column.source for column in found.values() if column is not None)
    extra = [name for name in header if name not in sources]
    if settings.keep_all and extra:
        raise FileRefused(
            f"the file has columns that the first file hasn't: {_quoted(extra)}; all columns are kept, so all files "
            f"need the same; expected {_quoted(settings.keep)}: keep columns by name, or score this file by itself",
            column=extra[0],
        )
    return sources


def _by_name(schema: Schema, columns: Sequence[ReadColumn], notes: list[str], delimiter: str) -> tuple[ReadColumn, ...]:
    found: list[ReadColumn] = []
    missing: list[str] = []
    for spec in schema.specs:
        name = str(spec.name)
        column = _match(name, columns)
        if column is None:
            if isinstance(spec, TensorSpec) or spec.required:
                missing.append(name)
            continue
        if isinstance(spec, TensorSpec):
            _check_tensor(spec)
        if column.name != name:
            notes.append(f"column {column.source!r} was read as {name!r}, which differs in the spaces around it")
        found.append(replace(column, name=name, spec=spec))
    if missing:
        raise _missing_to_model(missing, [each.name for each in columns], delimiter)
    return tuple(found)


def _missing_to_model(missing: Sequence[str], there: Sequence[str], delimiter: str) -> FileRefused:
    hint = _other_form(missing, there, delimiter) or _similar(
        missing, there, lambda found, name: f"--rename {shlex.quote(f'{found}={name}')}"
    )
    return _missing("columns", missing, there, hint or "rename the columns of the file with --rename OLD=NEW")


def _missing_to_keep(missing: Sequence[str], there: Sequence[str], delimiter: str) -> FileRefused:
    hint = _other_form(missing, there, delimiter) or _similar(
        missing, there, lambda found, _: f"--keep {shlex.quote(found)}"
    )
    return _missing("columns to keep", missing, there, hint or "keep columns that every file has")


def _missing(what: str, missing: Sequence[str], there: Sequence[str], advice: str) -> FileRefused:
    message = f"{what} are missing: {_quoted(missing)}; the file has {_quoted(there) or 'none'}; {advice}"
    return FileRefused(message, column=missing[0])


def _other_form(missing: Sequence[str], there: Sequence[str], delimiter: str) -> str:
    """What to do where the header is one in another form: other delimiters, or data in its place."""
    for other in ";\t|,":
        parts = {part.strip(' "') for name in there for part in name.split(other) if other in name}
        if other != delimiter and parts.intersection(missing):
            return f"the header looks delimited by {other!r}: --delimiter {shlex.quote(other.replace(chr(9), TAB))}"
        if other == delimiter and parts.intersection(missing):
            return (
                f"the header looks delimited by {other!r}: let the name of the file end in .csv, or unquote its lines"
            )
    if 2 * sum(map(_is_number, there)) >= max(len(there), 1) and not any(map(_is_number, missing)):
        return "is that a header? A CSV without one takes --no-header, and columns in the signature's order"
    return ""


def _similar(missing: Sequence[str], there: Sequence[str], option: Callable[[str, str], str]) -> str:
    hints = []
    for name in missing:
        folded = {each.strip().casefold(): each for each in there}
        similar = difflib.get_close_matches(name.strip().casefold(), list(folded), n=1)
        if similar:
            found = folded[similar[0]]
            hints.append(f"{found!r} is similar to {name!r}: {option(found, name)}")
    return "; ".join(hints)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _by_position(schema: Schema, columns: Sequence[ReadColumn], kept: Sequence[str]) -> tuple[ReadColumn, ...]:
    """The file's columns in their order: all, or those that aren't kept, then with the partition columns too."""
    own = [column for column in columns if column.position >= 0]
    candidates = [own, _without(own, kept), list(columns), _without(columns, kept)]
    chosen = next((specs for specs in (_specs(schema, len(each)) for each in candidates) if specs), None)
    if chosen is None:
        expected = len(schema.columns) or _tensor_width(schema.tensors[0])
        beside = f", {len(_without(own, kept))} beside those to keep" if kept else ""
        raise FileRefused(
            f"the file has {len(own)} columns{beside}; the model's signature has {expected} without names: "
            "give the file these columns alone, in the model's order, or name others with --keep"
        )
    fitting = next(each for each in candidates if _specs(schema, len(each)))
    return tuple(replace(column, spec=spec) for column, spec in zip(fitting, chosen, strict=True))


def _without(columns: Sequence[ReadColumn], kept: Sequence[str]) -> list[ReadColumn]:
    return [column for column in columns if column.source not in kept]


def _specs(schema: Schema, width: int) -> list[Spec] | None:
    """The types of so many columns by position; None where the number doesn't fit."""
    if schema.columns:
        return list(schema.columns) if len(schema.columns) == width else None
    tensor = schema.tensors[0]
    _check_tensor(tensor)
    item = TensorSpec(None, tensor.dtype, (-1,))
    expected = _tensor_width(tensor)
    if width == expected or (expected is None and width):
        return [item] * width
    return [replace(tensor, name=None)] if width == 1 else None


def _tensor_width(tensor: TensorSpec) -> int | None:
    """Columns of an unnamed tensor; None where any number fits."""
    return None if tensor.shape[1:] == (-1,) else math.prod(tensor.shape[1:])


def _check_tensor(tensor: TensorSpec) -> None:
    """Refuse a tensor that rows of a file can't give."""
    is_wide = tensor.name is None and len(tensor.shape) == 2  # noqa: PLR2004  # rows and columns
    if tensor.dtype not in TENSOR_BYTES or tensor.shape[:1] != (-1,) or (-1 in tensor.shape[1:] and not is_wide):
        raise FileRefused(
            f"the model's signature asks for a {tensor}, which the rows of a file can't give; expected a first "
            f"dimension of -1, others of known sizes, and one of {', '.join(TENSOR_BYTES)}"
        )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
