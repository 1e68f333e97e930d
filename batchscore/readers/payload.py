"""JSON files in the formats of requests: MLflow's scoring server and Azure's online endpoints take the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice
from batchscore.readers.jsontext import parsed
from batchscore.readers.payload_forms import Payload, recognised
from batchscore.readers.payload_rows import check_params, names_of, plan, typed_chunk
from batchscore.readers.source import read_blocks, without_bom

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchscore.job import CsvOptions, ScoringSettings
    from batchscore.minibatch import InputFile
    from batchscore.readers.chunks import Chunk
    from batchscore.schema import Schema

MAX_BYTES = 64 << 20
"""Of a document, which is parsed whole and takes some twenty-five times as much memory."""


def read(piece: FileSlice, schema: Schema | None, settings: ScoringSettings) -> Iterator[Chunk]:
    """Chunks of the document's rows; without a schema as pandas and MLflow's server make of them."""
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
        yield typed_chunk(_part(payload, start, start + settings.rows_per_call), reading, piece, start)


def columns(file: InputFile, csv: CsvOptions, schema: Schema | None = None) -> list[str]:  # noqa: ARG001  # as for CSV
    """The names of the payload's columns; none of rows without names."""
    return list(names_of(_payload(file)))


def cut(file: InputFile, size: int, csv: CsvOptions) -> tuple[FileSlice, ...]:  # noqa: ARG001  # a document is one
    """The whole file: a document is parsed as one."""
    return (FileSlice(file),)


def count_rows(file: InputFile, csv: CsvOptions, most: int | None = None) -> int:  # noqa: ARG001  # as for CSV
    """The number of rows of the payload, for which the document is parsed."""
    return _payload(file).rows


def _payload(file: InputFile) -> Payload:
    text, size = [], 0
    for block in without_bom(read_blocks(file), "utf-8"):
        text.append(block)
        size += len(block)
        if size > MAX_BYTES:
            raise FileRefused(
                f"the file has more than {MAX_BYTES >> 20} MB, and a .json file is parsed as a whole; "
                "write it as .jsonl, one record a line, which is read piece by piece, or as Parquet"
            )
    return recognised(parsed(b"".join(text)))


def _part(payload: Payload, start: int, stop: int) -> Payload:
    if payload.kind == "columns":
        return replace(payload, body=[values[start:stop] for values in payload.body])
    return replace(payload, body=payload.body[start:stop])


def _as_one_record(payload: Payload, schema: Schema) -> Payload:
    """Under `inputs`, an object for a model with arrays or objects is one row, as for MLflow's server."""
    is_nested = any(not isinstance(spec.type, str) and spec.type["type"] != "map" for spec in schema.columns)
    if payload.kind != "columns" or not payload.is_for_arrays or not is_nested:
        return payload
    return replace(payload, kind="records", body=[dict(zip(payload.names, payload.body, strict=True))], names=())
