"""JSON lines: an object a line, UTF-8, the columns in order, `null` for what is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batchscore.writers.text import TextJoiner, TextPart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from batchscore.outcome import Column
    from batchscore.writers import Joiner, PartWriter


class _JsonLines:
    has_types = True
    has_line_ends_in_quotes = False

    def header(self, columns: Sequence[Column]) -> bytes:  # noqa: ARG002  # each line names them
        return b""

    def encode(self, arrays: Sequence[pa.Array], columns: Sequence[Column]) -> Any:
        from batchscore.writers.rendering import lines

        fields: list[Any] = []
        for array, column in zip(arrays, columns, strict=True):
            key = json.dumps(column.name, ensure_ascii=False)
            fields += [f"{',' if fields else '{'}{key}:", _values(array, column)]
        return lines([*fields, "}"], "")

    def decode(self, records: bytes, columns: Sequence[Column]) -> list[pa.Array]:
        import pyarrow as pa

        from batchscore.writers.rendering import Token, parsed, plain_text
        from batchscore.writers.types import arrow_type, text_kind

        rows = [
            json.loads(line, parse_int=Token, parse_float=Token, parse_constant=Token)
            for line in records.decode().split("\n")
            if line
        ]
        arrays = []
        for column in columns:
            texts = pa.array([plain_text(row[column.name]) for row in rows], pa.string())
            is_text = text_kind(column.type) is not None
            arrays.append(texts if is_text else parsed(texts, arrow_type(column.type)))
        return arrays


def _values(array: pa.Array, column: Column) -> pa.Array:
    """The column's values as JSON; kept text that is a number stands as it stood in its file."""
    import pyarrow.compute as pc

    from batchscore.writers.rendering import json_text
    from batchscore.writers.types import text_kind

    if text_kind(column.type) in {"integer", "long", "double"}:
        return pc.fill_null(array, "null")
    return json_text(array)


def open_part(path: str, roles: Mapping[str, str], *, syncs: bool = True) -> PartWriter:
    return TextPart(path, roles, _JsonLines(), syncs=syncs)


def open_joiner() -> Joiner:
    return TextJoiner(_JsonLines())
