"""A CSV for a model without a signature: read whole, with the types that pandas infers from all of its rows."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pandas as pd
import pyarrow as pa

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.chunks import Chunk
from batchscore.readers.csv_header import read_header
from batchscore.readers.csv_parser import RecordParser
from batchscore.readers.csv_typed import read_rows
from batchscore.readers.source import delimiter_of
from batchscore.schema import ColumnSpec
from batchscore.signature import ReadColumn, ReadPlan, plan_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchscore.minibatch import InputFile
    from batchscore.settings import ScoringSettings


def read_inferred(piece: FileSlice, settings: ScoringSettings) -> Iterator[Chunk]:
    """Chunks whose features are DataFrames of one inference over the whole file, max_rows or not.

    A first pass as text finds what pandas would pad, truncate or skip in silence. String columns are Python strings in
    object columns, with NaN where a value is missing.
    """
    names = read_header(piece.file, settings.csv).names
    plan = plan_reading(None, names, settings, piece.file.partitions)
    rows, kept = _checked_text(piece.file, names, plan, settings)
    frame = _features(_inferred(piece.file, len(names), rows, settings), plan, dict(piece.file.partitions))
    limit = rows if piece.max_rows is None else min(rows, piece.max_rows)
    for start in range(0, max(limit, 1), settings.rows_per_call):
        stop = min(start + settings.rows_per_call, limit)
        features = frame.iloc[start:stop].reset_index(drop=True)
        yield Chunk(piece, start, stop - start, features, kept.slice(start, stop - start), plan.notes)


def _checked_text(
    file: InputFile, names: Sequence[str], plan: ReadPlan, settings: ScoringSettings
) -> tuple[int, pa.Table]:
    """Give the number of rows and the kept columns; FileRefused for ragged rows, wrong encodings and the like."""
    csv = replace(settings.csv, delimiter=delimiter_of(file, settings.csv))
    all_text = tuple(
        ReadColumn(name, position, name, ColumnSpec(name, "string", required=False))
        for position, name in enumerate(names)
    )
    parser = RecordParser(ReadPlan(all_text, plan.kept), names, file.partitions, csv)
    count, kept = 0, []
    for rows in read_rows(read_header(file, csv).body, parser, FileSlice(file), csv.delimiter):
        count += rows.count
        kept.append(rows.kept)
    return count, pa.concat_tables(kept)


def _inferred(file: InputFile, width: int, rows: int, settings: ScoringSettings) -> pd.DataFrame:
    """All columns, named by their positions."""
    if not rows:
        empty: pd.DataFrame = pd.DataFrame({position: pd.Series([], dtype=object) for position in range(width)})
        return empty
    body = io.BufferedReader(_Blocks(read_header(file, settings.csv).body))
    try:
        frame: pd.DataFrame = pd.read_csv(
            body,
            sep=delimiter_of(file, settings.csv),
            header=None,
            names=list(range(width)),
            index_col=False,
            na_values=list(settings.csv.missing_values),
            keep_default_na=False,
            low_memory=False,
            float_precision=_float_precision(),
        )
    except pd.errors.ParserError as error:
        raise FileRefused(f"pandas can't read the file: {error}") from error
    if len(frame) != rows:
        raise FileRefused(
            f"pandas reads {len(frame)} rows where the file has {rows}: it skips lines of nothing but spaces; "
            "remove them, or log the model with a signature"
        )
    return frame


def _float_precision() -> Literal["round_trip"] | None:
    """Parse floats exactly, which pandas does by itself from 3.1."""
    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    return None if version >= (3, 1) else "round_trip"


def _features(frame: pd.DataFrame, plan: ReadPlan, partitions: dict[str, str | None]) -> pd.DataFrame:
    columns = {}
    for column in plan.features:
        if column.position == -1:
            value = partitions[column.source]
            columns[column.name] = pd.Series([float("nan") if value is None else value] * len(frame), dtype=object)
        elif pd.api.types.is_numeric_dtype(frame[column.position].dtype):
            columns[column.name] = frame[column.position]
        else:
            columns[column.name] = frame[column.position].astype(object)
    features: pd.DataFrame = pd.DataFrame(columns, index=frame.index)
    return features


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a file to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]  # io calls it with a memoryview
        if not self._rest:
            self._rest = next(self._blocks, b"")
        taken, self._rest = self._rest[: len(target)], self._rest[len(target) :]
        target[: len(taken)] = taken
        return len(taken)
