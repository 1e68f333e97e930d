"""JSON files in the formats of requests: MLflow's scoring server and Azure's online endpoints take the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.jsontext import parsed
from batchscore.readers.payload_forms import Bad, Payload, recognised
from batchscore.readers.payload_rows import (
    Reading,
    check_params,
    names_of,
    plan,
    record_of,
    sifted_chunk,
    typed_chunk,
)
from batchscore.readers.source import read_blocks, without_bom
from batchscore.signature import json_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from batchscore.minibatch import InputFile
    from batchscore.readers.chunks import Chunk, Refuse
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings

MAX_BYTES = 64 << 20
"""Of a document, which is parsed whole and takes some twenty-five times as much memory."""


def read(
    piece: FileSlice, schema: Schema | None, settings: ScoringSettings, refuse: Refuse | None = None
) -> Iterator[Chunk]:
    """Chunks of the document's rows; without a schema as pandas and MLflow's server make of them."""
    if schema is not None and refuse is not None:
        yield from _sifted(piece, schema, settings, refuse)
        return
    payload = _payload(piece.file)
    check_params(payload, settings)
    if schema is None:
        from batchscore.readers.payload_inferred import inferred_chunks

        yield from inferred_chunks(payload, piece, settings)
        return
    payload = _as_one_record(payload, schema)
    reading = plan(payload, names_of(payload), schema, settings, piece)
    payload = payload.first(piece.max_rows)
    for start in range(0, max(payload.rows, 1), settings.rows_per_call):
        yield typed_chunk(
            _part(payload, range(start, min(start + settings.rows_per_call, payload.rows))), reading, piece, start
        )


def _sifted(piece: FileSlice, schema: Schema, settings: ScoringSettings, refuse: Refuse) -> Iterator[Chunk]:
    """Chunks of the rows that fit; the others are refused, with their JSON."""
    bad: Bad = {}
    payload = _payload(piece.file, bad)
    check_params(payload, settings)
    payload = _as_one_record(payload, schema)
    total = payload.rows + len(bad)
    numbers = [row for row in range(total) if row not in bad]
    reading, skipped = _planned(payload, schema, settings, piece)
    bad |= {numbers[place]: (refusal, None) for place, refusal in skipped.items()}
    records = {row: json_text(value) for row, (_, value) in bad.items()}
    records |= {numbers[place]: record_of(payload, place) for place in skipped}
    stop = total if piece.max_rows is None else min(total, piece.max_rows)
    for start in range(0, max(stop, 1), settings.rows_per_call):
        rows = range(start, min(start + settings.rows_per_call, stop))
        places = [place for place, row in enumerate(numbers) if row in rows and row not in bad]
        here = [numbers[place] for place in places]
        chunk, found = sifted_chunk(_part(payload, places), reading, piece, here)
        place_of = dict(zip(here, places, strict=True))
        records |= {row: record_of(payload, place_of[row]) for row in found}
        found |= {row: bad[row][0] for row in rows if row in bad}
        for row in sorted(found):
            found[row].row, found[row].record = row, records[row]
            refuse(found[row])
        yield chunk


def _planned(
    payload: Payload, schema: Schema, settings: ScoringSettings, piece: FileSlice
) -> tuple[Reading, dict[int, FileRefused]]:
    """How to read all, by the first row of the model's shape; the ones before it, by their places."""
    skipped: dict[int, FileRefused] = {}
    while True:
        rest = _part(payload, range(len(skipped), payload.rows))
        try:
            return plan(rest, names_of(payload), schema, settings, piece), skipped
        except FileRefused as refusal:
            if refusal.row is None:
                raise
            skipped[len(skipped)] = refusal


def record_texts(piece: FileSlice, rows: Collection[int], csv: CsvOptions) -> dict[int, str]:  # noqa: ARG001  # as for CSV
    """These rows of the document as JSON, by row."""
    bad: Bad = {}
    payload = _payload(piece.file, bad)
    numbers = (row for row in range(payload.rows + len(bad)) if row not in bad)
    return {row: record_of(payload, place) for place, row in enumerate(numbers) if row in rows}


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:  # noqa: ARG001  # as for CSV
    """The names of the payload's columns; none of rows without names."""
    return list(names_of(_payload(file)))


def cut(file: InputFile, size: int, csv: CsvOptions, apart: int | None = None) -> tuple[FileSlice, ...]:  # noqa: ARG001  # a document is one
    """The whole file: a document is parsed as one."""
    return (FileSlice(file),)


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:  # noqa: ARG001  # as for CSV
    """The number of rows of the payload, for which the document is parsed."""
    return _payload(file).rows


def _payload(file: InputFile, bad: Bad | None = None) -> Payload:
    text, size = [], 0
    for block in without_bom(read_blocks(file), "utf-8"):
        text.append(block)
        size += len(block)
        if size > MAX_BYTES:
            raise FileRefused(
                f"the file has more than {MAX_BYTES >> 20} MB, and a .json file is parsed as a whole; "
                "write it as .jsonl, one record a line, which is read piece by piece, or as Parquet"
            )
    return recognised(parsed(b"".join(text)), bad)


def _part(payload: Payload, places: Sequence[int]) -> Payload:
    if payload.kind == "columns":
        return replace(payload, body=[[values[place] for place in places] for values in payload.body])
    return replace(payload, body=[payload.body[place] for place in places])


def _as_one_record(payload: Payload, schema: Schema) -> Payload:
    """Under `inputs`, an object for a model with arrays or objects is one row, as for MLflow's server."""
    is_nested = any(not isinstance(spec.type, str) and spec.type["type"] != "map" for spec in schema.columns)
    if payload.kind != "columns" or not payload.is_for_arrays or not is_nested:
        return payload
    return replace(payload, kind="records", body=[dict(zip(payload.names, payload.body, strict=True))], names=())
