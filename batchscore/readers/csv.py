"""CSV files: typed by the signature where there is one, else by pandas' own inference; cut between records."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.records import RecordScanner, count_records, cut_points, record_offsets
from batchscore.readers.source import (
    BLOCK_BYTES,
    delimiter_of,
    is_ascii_compatible,
    is_compressed,
    read_blocks,
    utf8_blocks,
    without_bom,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchscore.minibatch import InputFile
    from batchscore.readers.chunks import Chunk, Refuse
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """Chunks of the slice; without a schema the slice is the whole file, and pandas infers the types from all of it."""
    if schema is None:
        from batchscore.readers.csv_inferred import read_inferred

        return read_inferred(piece, settings)
    from batchscore.readers.csv_typed import read_typed

    return read_typed(piece, schema, settings, refuse)


def record_texts(piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]:
    """The text of these records of the slice, by row, as it stands in the file."""
    from batchscore.readers.csv_defects import record_at
    from batchscore.readers.csv_header import read_slice

    delimiter = delimiter_of(piece.file, csv)
    texts: dict[int, str] = {}
    row, last = piece.first_row, max(rows)
    for block in read_slice(piece, csv, None).body:
        offsets = record_offsets(block, delimiter)
        texts |= {each: record_at(block, offsets, each - row) for each in rows if 0 <= each - row < len(offsets) - 1}
        row += len(offsets) - 1
        if row > last:
            break
    return texts


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:
    """The names in the header; without one, the schema's or made-up names, one for each field of the first record."""
    from batchscore.readers.csv_header import read_header

    return list(read_header(file, csv, schema).names)


def cut(file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]:  # noqa: ARG001  # as for Parquet
    """Slices of ``size`` bytes or a record more, if all records are certain; the last has half as many or more."""
    whole = (FileSlice(file),)
    if is_compressed(file) or not is_ascii_compatible(csv.encoding):
        return whole
    try:
        bom = sum(map(len, read_blocks(file, 0, 3))) - sum(map(len, without_bom(read_blocks(file, 0, 3), csv.encoding)))
        points = cut_points(read_blocks(file, bom), delimiter_of(file, csv), size, header=csv.header)
    except FileRefused:
        return whole
    if points is None or len(points) <= 2:  # noqa: PLR2004  # the beginning and the end
        return whole
    return tuple(
        FileSlice(
            file,
            first.offset and first.offset + bom,
            last.offset + bom,
            first.records - csv.header,
            weight=last.offset - first.offset,
        )
        for first, last in pairwise(points)
    )


def bytes_of_rows(file: InputFile, rows: int, csv: CsvOptions) -> int:
    """About how many bytes so many records take, by those of the first block; 0 for a file that isn't cut."""
    if is_compressed(file):
        return 0
    block = b"".join(read_blocks(file, 0, BLOCK_BYTES))  # whole: a mounted store may give less at a time
    scanner = RecordScanner(delimiter_of(file, csv))
    records = scanner.count(block) + scanner.has_unfinished_record if block else 0
    return rows * len(block) // max(records, 1)


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:
    """The number of records but for the header; what isn't text has none that could be counted.

    Where there are more than ``most``, the file isn't read to its end.
    """
    from batchscore.readers.csv_header import refuse_disguised

    if is_ascii_compatible(csv.encoding):
        blocks = without_bom(read_blocks(file), csv.encoding)
    else:
        blocks = utf8_blocks(file, csv.encoding)
    first = next(blocks, b"")
    refuse_disguised(first.partition(b"\n")[0])
    text = chain((first,), blocks) if first else ()
    enough = None if most is None else most + csv.header
    return max(count_records(text, delimiter_of(file, csv), enough) - csv.header, 0)
