"""JSON Lines: one record a line, read piece by piece and cut between lines."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.jsontext import parsed
from batchscore.readers.payload_forms import listed
from batchscore.readers.payload_rows import Reading, names_of, plan, sifted_chunk, typed_chunk
from batchscore.readers.records import MAX_RECORD_BYTES, CutPoint
from batchscore.readers.source import is_compressed, read_blocks, without_bom

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from batchscore.minibatch import InputFile
    from batchscore.readers.chunks import Chunk, Refuse
    from batchscore.readers.payload_forms import Payload
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings

MAX_KEYS = 100_000
"""Of all records together."""
_BLANKS = (b"\n\n", b"\n\r", b"\n ", b"\n\t")


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """Chunks of the slice's lines; without a schema the slice is the whole file, and types come from all of it."""
    lines = _lines(read_blocks(piece.file, piece.start, piece.stop), is_beginning=piece.start == 0)
    if schema is None:
        from batchscore.readers.payload_inferred import inferred_chunks

        yield from inferred_chunks(_items(list(lines), 0, _first(piece.file)), piece, settings)
        return
    first, reading = _planned(piece, schema, settings, is_patient=refuse is not None)
    row, left = piece.first_row, piece.max_rows
    while True:
        taken = list(islice(lines, settings.rows_per_call if left is None else min(left, settings.rows_per_call)))
        if not taken and row > piece.first_row:
            return
        try:
            yield _chunk(taken, row, first, lambda items, row=row: typed_chunk(items, reading, piece, row))
        except FileRefused as refusal:
            if refusal.row is None or refuse is None:
                raise
            chunk, bad = _sifted(taken, row, first, lambda items, rows: sifted_chunk(items, reading, piece, rows))
            for number in sorted(bad):
                refuse(bad[number])
            yield chunk
        row += len(taken)
        left = None if left is None else left - len(taken)
        if not taken:
            return


def _planned(
    piece: FileSlice, schema: Schema, settings: ScoringSettings, *, is_patient: bool
) -> tuple[Payload, Reading]:
    """The file's first record, and how to read all; if patient, the first one that is JSON and of the model's shape."""
    for first in _beginnings(piece.file) if is_patient else [_first(piece.file)]:
        try:
            return first, plan(first, _names(piece.file, first, schema, settings), schema, settings, piece)
        except FileRefused as refusal:
            if refusal.row is None or not is_patient:
                raise
    first = listed([])
    return first, plan(first, (), schema, settings, piece)


def _beginnings(file: InputFile) -> Iterator[Payload]:
    """Each record that is JSON, alone."""
    for line in _lines(read_blocks(file), is_beginning=True):
        with contextlib.suppress(FileRefused):
            yield listed([_parsed_line(line, 0)])


def _sifted(lines: list[bytes], row: int, first: Payload, sift: Any) -> tuple[Chunk, dict[int, FileRefused]]:
    """A chunk of the good lines, and by their numbers the others, each with its text."""
    bad: dict[int, FileRefused] = {}
    items: list[Any] = []
    numbers: list[int] = []
    for number, line in enumerate(lines, row):
        try:
            items += _items([line], number, first).body
            numbers.append(number)
        except FileRefused as refusal:
            bad[number] = refusal
    chunk, found = sift(replace(first, body=items), numbers)
    return chunk, bad | {number: _refused(refusal, lines[number - row], number) for number, refusal in found.items()}


def record_texts(piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]:  # noqa: ARG001  # as for CSV
    """These lines of the slice, by row."""
    lines = _lines(read_blocks(piece.file, piece.start, piece.stop), is_beginning=piece.start == 0)
    return {row: _record(line) for row, line in enumerate(lines, piece.first_row) if row in rows}


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:  # noqa: ARG001  # as for CSV
    """The keys that any record has, in the order in which they appear."""
    return list(_all_names(file))


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:  # noqa: ARG001  # as for CSV
    """The number of lines that aren't blank."""
    return sum(map(_count, _whole_lines(without_bom(read_blocks(file), "utf-8"))))


def cut(file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]:  # noqa: ARG001  # as for CSV
    """Slices of ``size`` bytes or a line more; the last has half as many or more.

    Every line end is one: within JSON's texts they are escaped.
    """
    if is_compressed(file):
        return (FileSlice(file),)
    try:
        points = _cut_points(read_blocks(file), size)
    except FileRefused:
        return (FileSlice(file),)
    if len(points) <= 2:  # noqa: PLR2004  # the beginning and the end
        return (FileSlice(file),)
    return tuple(
        FileSlice(file, first.offset, last.offset, first.records, weight=last.offset - first.offset)
        for first, last in pairwise(points)
    )


def _cut_points(blocks: Iterable[bytes], size: int) -> list[CutPoint]:
    points, offset, records = [CutPoint(0, 0)], 0, 0
    for block in _whole_lines(blocks):
        start = 0
        while end := block.find(b"\n", max(points[-1].offset + size - offset - 1, start)) + 1:
            records += _count(block[start:end])
            points.append(CutPoint(offset + end, records))
            start = end
        records += _count(block[start:])
        offset += len(block)
    while len(points) > 1 and offset - points[-1].offset < size / 2:
        points.pop()
    return [*points, CutPoint(offset, records)]


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks that end where a line ends, but for the last."""
    parts: list[bytes] = []
    held = 0
    for block in blocks:
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, block[:end]))
            parts, held = [], 0
        if rest := block[end:]:
            parts.append(rest)
            held += len(rest)
        if held > MAX_RECORD_BYTES:
            raise FileRefused(f"a line of more than {MAX_RECORD_BYTES >> 20} MB; expected one record a line")
    if parts:
        yield b"".join(parts)


def _count(lines: bytes) -> int:
    """How many lines aren't blank."""
    if lines[:1] in b" \t\r\n" or any(blank in lines for blank in _BLANKS) or not lines.endswith(b"\n"):
        return sum(1 for line in lines.split(b"\n") if line.strip())
    return lines.count(b"\n")


def _lines(blocks: Iterable[bytes], *, is_beginning: bool) -> Iterator[bytes]:
    """The lines that aren't blank."""
    for block in _whole_lines(without_bom(blocks, "utf-8") if is_beginning else blocks):
        for line in block.split(b"\n"):
            if stripped := line.strip(b" \t\r"):
                yield stripped


def _parsed_line(line: bytes, row: int) -> Any:
    try:
        return parsed(line)
    except FileRefused as refusal:
        raise _refused(refusal, line, row) from None


def _record(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _refused(refusal: FileRefused, line: bytes, row: int) -> FileRefused:
    reason = refusal.reason if refusal.row is not None else f"row {row}: {refusal.reason}"
    return FileRefused(
        reason,
        row=row,
        column=refusal.column,
        value=refusal.value,
        record=_record(line),
    )


def _items(lines: list[bytes], first_row: int, first: Payload) -> Payload:
    """The lines' values; FileRefused for the first that isn't JSON, or no record where the file's first line is one."""
    items = []
    for row, line in enumerate(lines, first_row):
        item = _parsed_line(line, row)
        if isinstance(item, dict) != (first.kind == "records"):
            wanted = "an object, as in the file's first line" if first.kind == "records" else "no object, as before"
            raise _refused(FileRefused(f"expected {wanted}"), line, row)
        items.append(item)
    return replace(first, body=items)


def _chunk(lines: list[bytes], row: int, first: Payload, typed: Any) -> Chunk:
    """A chunk of the lines; the first bad one speaks, whether it isn't JSON or doesn't fit."""
    try:
        items, bad = _items(lines, row, first), None
    except FileRefused as refusal:
        bad = refusal
        items = _items(lines[: (refusal.row or 0) - row], row, first)
    try:
        chunk: Chunk = typed(items)
    except FileRefused as refusal:
        if refusal.row is None:
            raise
        raise _refused(refusal, lines[refusal.row - row], refusal.row) from None
    if bad is not None:
        raise bad
    return chunk


def _first(file: InputFile) -> Payload:
    """The file's first record alone; no rows where there is none."""
    line = next(_lines(read_blocks(file), is_beginning=True), None)
    return listed([] if line is None else [_parsed_line(line, 0)])


def _names(file: InputFile, first: Payload, schema: Schema, settings: ScoringSettings) -> tuple[str, ...]:
    """The keys of the first record where they are all that is asked for, else of all records: writers omit nulls."""
    if first.kind != "records":
        return ()
    names = names_of(first)
    old = {new: old for old, new in settings.rename}
    wanted = {old.get(str(spec.name), str(spec.name)) for spec in schema.specs} if schema.is_named else {None}
    partitions = {name for name, _ in file.partitions}
    if not settings.keep_all and {*wanted, *settings.keep} <= {*names, *partitions}:
        return names
    return _all_names(file)


@functools.lru_cache(maxsize=4)
def _all_names(file: InputFile) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for line in _lines(read_blocks(file), is_beginning=True):
        with contextlib.suppress(FileRefused):  # reading it says which row it is
            item = parsed(line)
            names.update(dict.fromkeys(item) if isinstance(item, dict) else {})
        if len(names) > MAX_KEYS:
            raise FileRefused(f"the rows have more than {MAX_KEYS:,} keys together; expected columns that repeat")
    return tuple(names)
