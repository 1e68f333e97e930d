"""Chunks of rows to calls of predict."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from batchscore.minibatch import FileSlice
from batchscore.model import Model
from batchscore.readers import Chunk
from batchscore.readers.bundles import Share
from batchscore.settings import ScoringSettings
from batchscore.signature.modelinput import model_input

Part: TypeAlias = Chunk | Share
"""Of a call: rows of one slice."""
Chunks: TypeAlias = Generator[Part | FileSlice | None, None, None]
"""Rows of slices in order; a slice alone was refused after all, and None ends a call."""


def calls(chunks: Chunks, settings: ScoringSettings) -> Iterator[list[Part]]:
    """Chunks that go to predict together: at most rows_per_call rows, of one schema."""
    pending: list[Part] = []
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
        if rows >= settings.rows_per_call:  # at once: the next chunk would be a second one in memory
            each = None  # noqa: PLW2901  # as it would be while the next one is read
            yield pending
            pending, rows = [], 0
    if pending:
        yield pending


def _can_join(one: Part, other: Part, settings: ScoringSettings) -> bool:
    """Whether two chunks make one frame without a change of types; frames and arrays never do."""
    if settings.calls_per_file and one.slice.file != other.slice.file:
        return False
    if isinstance(one, Share) and isinstance(other, Share) and one.bundle is other.bundle:
        return True
    some, others = _features(one), _features(other)
    return isinstance(some, pa.Table) and isinstance(others, pa.Table) and bool(some.schema.equals(others.schema))


def _features(part: Part) -> Any:
    return part.bundle.features if isinstance(part, Share) else part.features


def tables_of(call: Iterable[Part]) -> Iterator[tuple[Any, pa.Table]]:
    """Features and kept columns of a call, in order; shares of a bundle, which follow each other, as one."""
    for bundle, group in groupby(call, key=lambda part: part.bundle if isinstance(part, Share) else None):
        if bundle is None:
            yield from ((part.features, part.kept) for part in group if isinstance(part, Chunk))
            continue
        shares = list(group)
        start, rows = shares[0].start, sum(share.rows for share in shares)  # type: ignore[union-attr]  # by the key
        yield bundle.features.slice(start, rows), bundle.kept.slice(start, rows)


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


def input_of(model: Model, call: list[Part]) -> Any:
    """What goes to predict; what isn't a Table is one chunk, and goes as it is."""
    features = [table for table, _ in tables_of(call)]
    if not isinstance(features[0], pa.Table):
        return features[0]
    return model_input(model.inputs, pa.concat_tables(features))
