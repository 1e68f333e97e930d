"""Chunks of rows to calls of predict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from batchscore.job import ScoringSettings
from batchscore.minibatch import FileSlice
from batchscore.model import Model
from batchscore.readers import Chunk
from batchscore.signature.modelinput import model_input

Chunks: TypeAlias = Iterator[Chunk | FileSlice | None]
"""Chunks of slices in order; a slice alone was refused after all, and None ends a call."""


def calls(chunks: Chunks, settings: ScoringSettings) -> Iterator[list[Chunk]]:
    """Chunks that go to predict together: at most rows_per_call rows, of one schema."""
    pending: list[Chunk] = []
    rows = 0
    for each in chunks:
        if each is None:
            if pending:
                yield pending
            pending, rows = [], 0
            continue
        if isinstance(each, FileSlice):
            pending = [other for other in pending if other.slice is not each]
            rows = sum(other.rows for other in pending)
            continue
        if pending and (rows + each.rows > settings.rows_per_call or not _can_join(pending[-1], each, settings)):
            yield pending
            pending, rows = [], 0
        pending.append(each)
        rows += each.rows
    if pending:
        yield pending


def _can_join(one: Chunk, other: Chunk, settings: ScoringSettings) -> bool:
    """Whether two chunks make one frame without a change of types; frames and arrays never do."""
    if settings.calls_per_file and one.slice.file != other.slice.file:
        return False
    if not isinstance(one.features, pa.Table) or not isinstance(other.features, pa.Table):
        return False
    return bool(one.features.schema.equals(other.features.schema))


def cut(chunks: Chunks, sizes: Iterable[int]) -> Chunks:
    """The same rows, a call ended behind each run of so many."""
    rest = iter(sizes)
    left = next(rest, None)
    for each in chunks:
        if not isinstance(each, Chunk):
            yield each
            continue
        start = 0
        while left is not None and each.rows - start >= left:
            yield each.select(np.arange(start, start + left))
            yield None
            start += left
            left = next(rest, None)
        if start < each.rows:
            yield each.select(np.arange(start, each.rows))
            left = None if left is None else left - (each.rows - start)


def input_of(model: Model, call: list[Chunk]) -> Any:
    """What goes to predict; what isn't a Table is one chunk, and goes as it is."""
    if not isinstance(call[0].features, pa.Table):
        return call[0].features
    return model_input(model.inputs, pa.concat_tables([chunk.features for chunk in call]))
