"""CSV: UTF-8, commas, line feeds, a header; quotes only where they are needed, empty is missing, `""` is empty text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchscore.writers.text import TextJoiner, TextPart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from batchscore.outcome import Column
    from batchscore.writers import Joiner, PartWriter


class Csv:
    has_types = False
    has_line_ends_in_quotes = True

    def header(self, columns: Sequence[Column]) -> bytes:
        return (",".join(_quoted_name(column.name) for column in columns) + "\n").encode() if columns else b""

    def encode(self, arrays: Sequence[pa.Array], columns: Sequence[Column]) -> Any:  # noqa: ARG002  # the types say it all
        from batchscore.writers.rendering import csv_field, records

        return records([csv_field(array) for array in arrays])

    def decode(self, records: bytes, columns: Sequence[Column]) -> list[pa.Array]:
        import pyarrow as pa
        from pyarrow import csv

        from batchscore.writers.rendering import parsed
        from batchscore.writers.types import arrow_type

        names = [str(number) for number in range(len(columns))]
        table = csv.read_csv(
            pa.py_buffer(records),
            csv.ReadOptions(column_names=names, block_size=len(records) + 1, use_threads=False),
            csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        texts = table.combine_chunks().columns
        return [parsed(text.chunk(0), arrow_type(column.type)) for text, column in zip(texts, columns, strict=True)]


def _quoted_name(name: str) -> str:
    if name and not any(character in name for character in ',"\r\n'):
        return name
    return '"' + name.replace('"', '""') + '"'


def open_part(path: str, roles: Mapping[str, str], *, syncs: bool = True) -> PartWriter:
    return TextPart(path, roles, Csv(), syncs=syncs)


def open_joiner() -> Joiner:
    return TextJoiner(Csv())
