"""Layout azure: the CSV of `csv` without its header."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from batchscore.writers.csv import Csv
from batchscore.writers.text import TextPart, join_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchscore.outcome import Column
    from batchscore.writers import PartWriter, Piece


class _Headerless(Csv):
    def header(self, columns: Sequence[Column]) -> bytes:  # noqa: ARG002 (none, whatever they are)
        return b""


class _Part(TextPart):
    """Its columns are what their places say: a model's may be called `row` or `file`, too."""

    @property
    def columns(self) -> tuple[Column, ...]:
        if not self._columns:
            return ()
        first, *predictions, last = self._columns
        return (first, *(replace(column, role="prediction") for column in predictions), last)


def open_part(path: str, roles: Mapping[str, str], *, syncs: bool = True) -> PartWriter:
    return _Part(path, roles, _Headerless(), syncs=syncs)


def join(pieces: Iterable[Piece], target: BinaryIO, columns: tuple[Column, ...]) -> None:
    join_text(_Headerless(), pieces, target, columns)
