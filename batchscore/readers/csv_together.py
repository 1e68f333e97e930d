"""Small CSV files of one header, parsed at once."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batchscore.errors import FileRefused
from batchscore.readers.bundles import SMALL_BYTES, Bundle, plan_for_all
from batchscore.readers.csv_header import DISGUISES, names_of
from batchscore.readers.csv_parser import RecordParser
from batchscore.readers.records import RecordScanner, record_offsets
from batchscore.readers.source import delimiter_of, opened, utf8_blocks
from batchscore.signature import names_without_header
from batchscore.storage import is_remote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    from batchscore.minibatch import FileSlice, InputFile
    from batchscore.readers.bundles import Members, Small
    from batchscore.schema import Schema
    from batchscore.settings import CsvOptions, ScoringSettings

    Numbers: TypeAlias = npt.NDArray[np.intp]

_MARKS = tuple(DISGUISES)


@dataclass(frozen=True, slots=True)
class Text:
    """A file's text as UTF-8, which a line feed ends."""

    text: bytes
    delimiter: str
    partitions: tuple[tuple[str, str | None], ...]
    has_header: bool

    @property
    def size(self) -> int:
        return len(self.text)

    @property
    def first_line(self) -> bytes:
        return self.text[: self.text.index(b"\n") + 1]

    def joins(self, other: Small) -> bool:
        if not isinstance(other, Text) or self.delimiter != other.delimiter or self.partitions != other.partitions:
            return False
        return not self.has_header or self.text.startswith(other.first_line)  # which `parse` makes sure of


def load(piece: FileSlice, schema: Schema, settings: ScoringSettings) -> Text | None:  # noqa: ARG001  # as for Parquet
    """The text of a file; None where its beginning has to be looked at, or it isn't as small as it seemed."""
    text = _text(piece.file, settings.csv)
    if text is None or not text or text.startswith(_MARKS):
        return None
    if not text.endswith(b"\n"):
        text += b"\n"
    return Text(text, delimiter_of(piece.file, settings.csv), piece.file.partitions, settings.csv.header)


def _text(file: InputFile, csv: CsvOptions) -> bytes | None:
    """All of a file's text as UTF-8; None where it is long once decompressed, or has changed."""
    is_plain = not is_remote(file.path) and codecs.lookup(csv.encoding).name in {"utf-8", "utf-8-sig"}
    if is_plain:
        with opened(file) as stored:
            text = stored.read(file.size + 1)
        return text.removeprefix(codecs.BOM_UTF8) if len(text) == file.size else None
    blocks: list[bytes] = []
    for block in utf8_blocks(file, csv.encoding):
        blocks.append(block)
        if sum(map(len, blocks)) > 2 * SMALL_BYTES:
            return None
    return b"".join(blocks)


def parse(
    group: Sequence[tuple[FileSlice, Small]], schema: Schema, settings: ScoringSettings
) -> tuple[Bundle, Members]:
    """The rows of files of one header. Raises FileRefused or ArrowInvalid where not all of them are surely good."""
    texts = [small for _, small in group if isinstance(small, Text)]
    first = texts[0]
    csv = replace(settings.csv, delimiter=first.delimiter)
    record = first.text[: record_offsets(first.text, csv.delimiter)[1]]
    names = names_of(record, csv, csv.delimiter)
    if not csv.header:
        names = tuple(names_without_header(schema, len(names)))
    elif not all(text.text.startswith(record) for text in texts):
        raise FileRefused("the headers differ behind their first line")
    start = len(record) if csv.header else 0
    plan = plan_for_all(schema, names, settings, first.partitions)
    bodies = [text.text[start:] for text in texts]
    joined = b"".join(bodies)
    counts = _counted(joined, np.cumsum([len(body) for body in bodies]), csv.delimiter)
    rows = RecordParser(plan, names, first.partitions, csv).parse_good(joined, 0, has_bad=False)
    if rows.count != counts.sum():
        raise FileRefused("the rows aren't certain")
    members = tuple((piece, int(count)) for (piece, _), count in zip(group, counts, strict=True))
    return Bundle(rows.features, rows.kept, plan.notes), members


def _counted(joined: bytes, stops: Numbers, delimiter: str) -> Numbers:
    """The number of records of each file; FileRefused where any reader might find others."""
    if b"\0" in joined:
        raise FileRefused("there is a NUL byte")
    if not joined:
        return np.zeros(len(stops), np.intp)
    scanner = RecordScanner(delimiter)
    lines = scanner.lines(joined)
    places = np.searchsorted(lines.ends, stops)
    ends = np.append(lines.ends, 0)[places]
    if not scanner.is_certain or not np.all((ends == stops) | (stops == 0)):
        raise FileRefused("a quote isn't closed, or stands in a field")
    before = np.concatenate([[0], np.cumsum(lines.are_records)])
    return np.diff(before[np.searchsorted(lines.ends, stops, side="right")], prepend=0)
