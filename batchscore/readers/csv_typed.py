"""CSV for a model with a signature: records in chunks of its types."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from batchscore.errors import FileRefused
from batchscore.readers.chunks import Chunk, Refuse, Rows, regroup
from batchscore.readers.csv_header import read_slice
from batchscore.readers.csv_parser import RecordParser
from batchscore.readers.csv_sifting import BlockSifter
from batchscore.readers.records import are_certain, record_offsets
from batchscore.readers.source import delimiter_of, utf8_blocks
from batchscore.signature import plan_reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchscore.minibatch import FileSlice
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings

GROUP_BYTES = 8 << 20
"""Blocks parsed at once: what is done for each column then costs little, and it's still a fraction of a chunk."""


def read_typed(
    piece: FileSlice, schema: Schema, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """Give chunks with the signature's types; kept columns are text as it stands, null where the field is empty."""
    csv = replace(settings.csv, delimiter=delimiter_of(piece.file, settings.csv))
    header = read_slice(piece, csv, schema)
    plan = plan_reading(schema, header.names, settings, piece.file.partitions)
    parser = RecordParser(plan, header.names, piece.file.partitions, csv)
    if refuse:
        parser.sift = BlockSifter(parser, csv, refuse, functools.cache(lambda: _is_certain(piece, csv))).sift
    runs = read_rows(header.body, parser, piece, csv.delimiter)
    yield from regroup(runs, piece, settings.rows_per_call, plan.notes)


def _is_certain(piece: FileSlice, csv: CsvOptions) -> bool:
    """Whether the file's records are certain; it wouldn't have been cut otherwise."""
    return not piece.is_whole or are_certain(utf8_blocks(piece.file, csv.encoding), csv.delimiter)


def read_rows(blocks: Iterator[bytes], parser: RecordParser, piece: FileSlice, delimiter: str) -> Iterator[Rows]:
    """Give the rows of the slice, up to its max_rows, in whatever runs; one run of 0 rows where there are none.

    Raises FileRefused with the row reached where the text ends badly.
    """
    row, left = piece.first_row, piece.max_rows
    for group, bad_end in _grouped(blocks):
        wanted = group if left is None else _first_records(group, left, delimiter)
        rows = parser.parse(wanted, row)
        found = rows.count + rows.refused
        row += found
        yield rows
        if left is not None and (left := left - found) == 0:
            return
        if bad_end is not None:
            raise FileRefused(f"row {row}: {bad_end.reason}", row=row) from bad_end


def _grouped(blocks: Iterator[bytes]) -> Iterator[tuple[list[bytes], FileRefused | None]]:
    """Give blocks in groups of about GROUP_BYTES, at least one; the last one may come with the text's bad end."""
    group: list[bytes] = []
    bad_end, is_first = None, True
    try:
        for block in blocks:
            group.append(block)
            if sum(map(len, group)) >= GROUP_BYTES:
                yield group, None
                group, is_first = [], False
    except FileRefused as refusal:
        bad_end = refusal
    if group or bad_end or is_first:
        yield group, bad_end


def _first_records(blocks: Sequence[bytes], count: int, delimiter: str) -> list[bytes]:
    taken = []
    for block in blocks:
        offsets = record_offsets(block, delimiter)
        records = min(count, len(offsets) - 1)
        taken.append(block[: offsets[records]])
        count -= records
    return [block for block in taken if block]
