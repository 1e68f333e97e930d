"""Rows of Parquet files: columns by the signature's rules, or whole as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from batchscore.errors import FileRefused
from batchscore.readers.chunks import Rows, first_refusal, regroup
from batchscore.readers.parquet_footer import names_of, opened_parquet, row_groups_of
from batchscore.readers.row_groups import behind
from batchscore.readers.source import displayed, quoted
from batchscore.signature import convert, never_fits, parse_text, plan_reading, sift
from batchscore.signature.fromarrow import missing_as_null, plain
from batchscore.signature.scalars import value_text
from batchscore.writers.rendering import json_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow.parquet as pq

    from batchscore.minibatch import FileSlice, InputFile
    from batchscore.readers.chunks import Chunk, Refuse
    from batchscore.schema import Schema
    from batchscore.settings import ScoringSettings
    from batchscore.signature import ReadColumn, ReadPlan

MAX_BATCH_ROWS = 65_536
_JSON_ROWS = 8_192
"""Read at once with all their columns."""


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """As `parquet.read`."""
    with opened_parquet(piece.file) as parquet:
        plan = plan_reading(schema, names_of(parquet), settings, piece.file.partitions)
        features = plan.features if schema else _without_index(plan.features, parquet)
        runs = BatchReader(parquet, features, plan, piece, refuse).runs(settings.rows_per_call)
        yield from regroup(runs, piece, settings.rows_per_call, plan.notes)


def record_texts(piece: FileSlice, rows: Collection[int]) -> dict[int, str]:
    """As `parquet.record_texts`."""
    with opened_parquet(piece.file) as parquet:
        return WholeRows(parquet, piece).as_json(sorted(rows))


def check(file: InputFile, schema: Schema | None, settings: ScoringSettings) -> tuple[int, tuple[str, ...]]:
    """The number of rows and the notes of a file whose footer agrees with the schema.

    Raises FileRefused for missing and repeated columns, and for types of which no value ever fits.
    """
    with opened_parquet(file) as parquet:
        plan = plan_reading(schema, names_of(parquet), settings, file.partitions)
        types = {field.name: field.type for field in parquet.schema_arrow}
        unfit = [
            f"column {column.source!r} is {types[column.source]}, expected {expected}"
            for column in plan.features
            if column.position != -1
            and (expected := never_fits(types[column.source], column.spec))
            and _has_values(parquet.metadata, column.source)
        ]
        if unfit:
            raise FileRefused("; ".join(unfit))
        return int(parquet.metadata.num_rows), plan.notes


def _has_values(footer: pq.FileMetaData, name: str) -> bool:
    """Whether a column of single values holds any, as far as its statistics tell; NaN is none."""
    position = next(number for number in range(footer.num_columns) if footer.schema.column(number).path == name)
    is_floating = footer.schema.column(position).physical_type in {"FLOAT", "DOUBLE"}
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        found = group.column(position).statistics
        if group.num_rows == 0:
            continue
        if found is None or not found.has_null_count:
            return True
        if found.null_count < group.num_rows and (found.has_min_max or not is_floating):
            return True
    return False


def _without_index(features: tuple[ReadColumn, ...], parquet: pq.ParquetFile) -> tuple[ReadColumn, ...]:
    """The columns that pandas.read_parquet would give as columns."""
    index = (parquet.schema_arrow.pandas_metadata or {}).get("index_columns", ())
    named = {name for name in index if isinstance(name, str)}
    return tuple(column for column in features if column.source not in named)


def _rows_skipped(parquet: pq.ParquetFile, piece: FileSlice) -> int:
    """Rows of the slice's first row group that belong to the slices before it."""
    return max(piece.first_row - sum(group.num_rows for group in row_groups_of(parquet)[: piece.start]), 0)


class WholeRows:
    """Rows with all columns, as JSON; asked for in ascending order, and read only as far as they are."""

    def __init__(self, parquet: pq.ParquetFile, piece: FileSlice) -> None:
        self._parquet = parquet
        self._piece = piece
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._batch: pa.RecordBatch | None = None
        self._start = piece.first_row - _rows_skipped(parquet, piece)

    def as_json(self, rows: Sequence[int]) -> dict[int, str]:
        """The text of each of these rows, which are ascending, and not before those of the call before."""
        texts: dict[int, str] = {}
        left = list(rows)
        while left:
            batch = self._holding(left[0])
            here = [row for row in left if row < self._start + batch.num_rows]
            found = batch.take(pa.array([row - self._start for row in here]))
            texts.update(zip(here, _as_json(found), strict=True))
            left = left[len(here) :]
        return texts

    def _holding(self, row: int) -> pa.RecordBatch:
        if self._batches is None:
            stop = self._parquet.num_row_groups if self._piece.stop is None else self._piece.stop
            groups = list(range(self._piece.start, stop))
            self._batches = self._parquet.iter_batches(batch_size=_JSON_ROWS, row_groups=groups, use_threads=False)
        while self._batch is None or row >= self._start + self._batch.num_rows:
            self._start += self._batch.num_rows if self._batch else 0
            self._batch = next(self._batches)
        return self._batch


def _as_json(batch: pa.RecordBatch) -> list[str]:
    """Each row as an object of its values, null where one is missing or NaN."""
    columns = [
        [f"{json.dumps(name, ensure_ascii=False)}: {text}" for text in _json_texts(column)]
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return [f"{{{', '.join(values)}}}" for values in zip(*columns, strict=True)]


def _json_texts(column: pa.Array) -> list[str]:
    column = missing_as_null(plain(column))
    try:
        texts: list[str] = json_text(column).to_pylist()
    except (pa.ArrowException, AttributeError, TypeError, ValueError):  # structs and maps, as Python has them
        texts = [json.dumps(_value(column, place), ensure_ascii=False, default=str) for place in range(len(column))]
    return texts


def _value(column: pa.Array, place: int) -> Any:
    try:
        return column[place].as_py()
    except (OverflowError, ValueError, KeyError):  # as in signature.scalars.value_text
        return value_text(column, place)


class BatchReader:
    """Reads the columns of a plan from row groups."""

    def __init__(
        self,
        parquet: pq.ParquetFile,
        features: tuple[ReadColumn, ...],
        plan: ReadPlan,
        piece: FileSlice,
        refuse: Refuse | None,
    ) -> None:
        self._parquet = parquet
        self._features = features
        self._plan = plan
        self._piece = piece
        self._partitions = dict(piece.file.partitions)
        self._refuse = refuse
        self._whole = WholeRows(parquet, piece)
        self._skipped = _rows_skipped(parquet, piece)

    def runs(self, rows_per_call: int) -> Iterator[Rows]:
        """Batches of at most ``rows_per_call`` rows, up to the slice's max_rows; one of 0 rows where there are none."""
        row, left = self._piece.first_row, self._piece.max_rows
        batches = behind(self._skipped, self.read_batches(min(rows_per_call, MAX_BATCH_ROWS)))
        while left != 0 and (batch := next(batches, None)) is not None:
            rows = self.rows(batch if left is None else batch.slice(0, left), row, self._refuse)
            found = rows.count + rows.refused
            row += found
            left = None if left is None else left - found
            yield rows
        self._refuse_lost_rows(row - self._piece.first_row)
        if row == self._piece.first_row:
            yield self.rows(pa.RecordBatch.from_pylist([], self._parquet.schema_arrow), row)

    def _refuse_lost_rows(self, found: int) -> None:
        """Refuse pages that end before the rows do that the footer states: pyarrow ends there without a word."""
        piece = self._piece
        stated = sum(group.num_rows for group in row_groups_of(self._parquet)[piece.start : piece.stop]) - self._skipped
        stated = stated if piece.max_rows is None else min(stated, piece.max_rows)
        if found != stated:
            raise FileRefused(
                f"the file can't be read: it states {stated:,} rows here, and has {found:,}; it is damaged"
            )

    def read_batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """The needed columns as they are stored, at most so many rows at once."""
        stop = self._parquet.num_row_groups if self._piece.stop is None else self._piece.stop
        return self._parquet.iter_batches(
            batch_size=rows, row_groups=list(range(self._piece.start, stop)), columns=self.needed, use_threads=False
        )

    @property
    def needed(self) -> list[str]:
        """The names of the columns to read."""
        sources = {column.source for column in self._features if column.position != -1}
        names = self._parquet.schema_arrow.names
        return [name for name in names if name in sources or name in self._plan.kept] or names[:1]

    def rows(self, batch: pa.RecordBatch, first_row: int, refuse: Refuse | None = None) -> Rows:
        """The batch as the plan has it; FileRefused at its first bad row, unless ``refuse`` takes these."""
        if broken := _broken_text(batch, first_row):
            self.rows(batch.slice(0, (broken.row or 0) - first_row), first_row)  # which may be refused before
            raise broken
        features, refusals = [], []
        for column in self._features:
            try:
                features.append(self._feature(column, batch, first_row))
            except FileRefused as refusal:
                refusals.append(refusal)
        if refusals and refuse:
            return self._sifted(batch, first_row, refuse)
        if refusals:
            raise first_refusal(refusals)
        kept = [self._column(name, batch) for name in self._plan.kept]
        return Rows(
            batch.num_rows,
            pa.table(features, names=[column.name for column in self._features]),
            pa.table(kept, names=list(self._plan.kept)),
            first_row,
        )

    def _sifted(self, batch: pa.RecordBatch, first_row: int, refuse: Refuse) -> Rows:
        """The good rows of a batch with bad ones; a column of which no value fits is the file's fault."""
        numbers = np.arange(first_row, first_row + batch.num_rows)
        bad: dict[int, FileRefused] = {}
        for column in self._features:
            if column.position == -1 or never_fits(batch.column(column.source).type, column.spec):
                self._feature(column, batch, first_row)
                continue
            found = sift(batch.column(column.source), column.spec, name=column.source, numbers=numbers)
            for place, refusal in found.items():
                bad.setdefault(place, refusal)
        texts = self._whole.as_json([int(numbers[place]) for place in sorted(bad)])
        for place in sorted(bad):
            bad[place].record = texts[int(numbers[place])]
            refuse(bad[place])
        good = np.delete(np.arange(batch.num_rows), list(bad))
        rows = self.rows(batch.take(pa.array(good)), first_row)
        return replace(rows, numbers=numbers[good], refused=len(bad))

    def _feature(self, column: ReadColumn, batch: pa.RecordBatch, first_row: int) -> pa.Array:
        found = self._column(column.source, batch, partition=column.position == -1)
        judge = parse_text if column.position == -1 else convert
        return judge(found, column.spec, name=column.source, first_row=first_row)

    def _column(self, name: str, batch: pa.RecordBatch, *, partition: bool | None = None) -> pa.Array:
        if partition or (partition is None and name not in batch.schema.names):
            return pa.repeat(pa.scalar(self._partitions[name], pa.string()), batch.num_rows)
        found = batch.column(name)
        return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found


def _broken_text(batch: pa.RecordBatch, first_row: int) -> FileRefused | None:
    """The refusal of the first text that isn't UTF-8, as Parquet says it is; ArrowInvalid where it is in a list."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        texts = (
            (name, column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        )
        found = [refusal for name, column in texts if (refusal := _first_broken(name, column, first_row))]
        if not found:
            raise
        return first_refusal(found)
    return None


def _first_broken(name: str, column: pa.Array, first_row: int) -> FileRefused | None:
    for row, value in enumerate(column.cast(pa.large_binary()).to_pylist(), first_row):
        try:
            (value or b"").decode()
        except UnicodeDecodeError:
            reason = f"row {row}, column {name!r}: found {quoted(value)}, which isn't UTF-8, as text in Parquet is"
            return FileRefused(reason, row=row, column=name, value=displayed(value))
    return None
