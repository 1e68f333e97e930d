"""Layout azure: the CSV of `csv` without its header."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchscore.writers.csv import Csv
from batchscore.writers.text import TextJoiner, TextPart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchscore.outcome import Column
    from batchscore.writers import Joiner, PartWriter


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


def open_joiner() -> Joiner:
    return TextJoiner(_Headerless())
