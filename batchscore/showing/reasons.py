"""Failures by what they say, numbers and values aside."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator

from batchscore.minibatch import Json
from batchscore.showing.shown import Reason

TOP = 10
EXAMPLES = 3
_KINDS = 1_000
"""Different reasons that are told apart; what comes after them counts as others."""
_LONGEST = 300
"""Characters of a reason that are looked at and shown."""
_OTHERS = "other reasons"

_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")(?!\w)"""
_COLUMN = re.compile(rf"(\bcolumn {_TEXT})")
"""Its name is no value."""
_VALUE = re.compile(rf"(?<!\w){_TEXT}")
_NUMBER = re.compile(
    r"\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b"
    r"|(?<![\w.])[-+]?\d+(?:[,_]\d+)*(?:\.\d+)?(?:[eE][-+]?\d+)?|\d+"
)


class Reasons:
    """Takes the lines of failures.jsonl, and keeps as much as is shown."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[Json]] = {}
        self._texts: dict[str, str | None] = {}
        """What all failures of a kind say; None where they differ."""

    def take(self, failures: Iterable[Json]) -> None:
        for failure in failures:
            key = pattern(failure["reason"], failure["file"])
            if key not in self._counts and len(self._counts) >= _KINDS:
                key = _OTHERS
            count = failure.get("count", 1)  # a scoring script's mini-batch is one line for several files
            self._counts[key] = self._counts.get(key, 0) + (count if isinstance(count, int) else 1)
            text = _first_line(failure["reason"])
            if self._texts.setdefault(key, text) != text:
                self._texts[key] = None
            examples = self._examples.setdefault(key, [])
            if len(examples) < EXAMPLES:
                known = {name: failure.get(name) for name in ("file", "row", "column", "value")}
                examples.append({**known, "reason": text})

    def top(self) -> tuple[Reason, ...]:
        """The most frequent; of equally frequent ones the first."""
        most = heapq.nlargest(TOP, self._counts.items(), key=lambda item: item[1])
        return tuple(Reason(self._text_of(key), count, tuple(self._examples[key])) for key, count in most)

    def _text_of(self, key: str) -> str:
        """The failures' own words where they are the same, else what they have in common."""
        return key if key == _OTHERS else self._texts[key] or key


def pattern(reason: str, file: str) -> str:
    """What a reason has in common with others of its kind: `row #, column 'x': found …, expected a number`."""
    text = _first_line(reason).replace(file, "…") if file else _first_line(reason)
    pieces = _COLUMN.split(text)  # every second one names a column
    pieces[::2] = [_NUMBER.sub("#", _VALUE.sub("…", piece)) for piece in pieces[::2]]
    return "".join(pieces)


def _first_line(reason: str) -> str:
    line = (reason.splitlines() or [""])[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} …"


def read_failures(lines: Iterable[bytes]) -> Iterator[Json]:
    """The lines of failures.jsonl; lines that somebody spoiled are left out."""
    for line in lines:
        try:
            record = json.loads(line.decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("reason"), str) and "file" in record:
            yield {**record, "file": str(record["file"])}
