"""Layout azure: the CSV of `csv` without its header."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from batchscore.writers.csv import Csv
from batchscore.writers.text import TextPart, join_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchscore.minibatch import Column
    from batchscore.writers import PartWriter, Piece


class _Headerless(Csv):
    def header(self, columns: Sequence[Column]) -> bytes:  # noqa: ARG002 (none, whatever they are)
        return b""


def open_part(path: str, roles: Mapping[str, str]) -> PartWriter:
    return TextPart(path, roles, _Headerless())


def join(pieces: Iterable[Piece], target: BinaryIO, columns: tuple[Column, ...]) -> None:
    join_text(_Headerless(), pieces, target, columns)
