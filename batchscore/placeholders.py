"""`{date}` in paths and constants: which day it stands for, and the texts with it filled in."""

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import dataclass
from typing import Any

from batchscore.errors import UsageError

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_BRACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_DIRECTIVES = "YymdjGVuaAbB%"
"""Of strftime: those that say something of a day, and the same on every platform."""


def parse_date(given: str | dt.date | None) -> dt.date:
    """The day that `--date` means: YYYY-MM-DD, today (which is the default) or yesterday, by this machine's clock.

    Raises UsageError for anything else.
    """
    if isinstance(given, dt.datetime):
        return given.date()
    if isinstance(given, dt.date):
        return given
    words = "today" if given is None else given.strip().lower()
    if words in {"today", "yesterday"}:
        return dt.date.today() - dt.timedelta(days=words == "yesterday")  # noqa: DTZ011 (the machine's day)
    if _ISO.fullmatch(words):
        try:
            return dt.date.fromisoformat(words)
        except ValueError:
            pass  # 2026-02-30
    raise UsageError(f"--date takes a day such as 2026-11-03, today or yesterday; found {given!r}")


def fill_in(text: str, date: dt.date, what: str) -> str:
    """The text with the day in place of `{date}` and `{date:%Y/%m/%d}`; `{{` and `}}` are braces.

    Raises UsageError for any other brace: a misspelt name must not become a folder of that name.
    """

    def replacement(found: re.Match[str]) -> str:
        if found[0] in {"{{", "}}"}:
            return found[0][0]
        name, colon, format_ = (found[1] or "").partition(":")
        if name != "date" or (colon and not format_):
            raise UsageError(
                f"{what} {text}: {found[0]} is no placeholder; there are {{date}} and {{date:%Y/%m/%d}}, "
                "and a brace is written {{ or }}"
            )
        return _formatted(date, format_, what, text) if colon else date.isoformat()

    return _BRACE.sub(replacement, text)


def output_on(output: str, date: dt.date) -> str:
    """An OUTPUT that is looked at, with the day filled in; one that is there as it is written is taken as it is."""
    return output if os.path.lexists(output) else fill_in(output, date, "OUTPUT")


def _formatted(date: dt.date, format_: str, what: str, text: str) -> str:
    for letter in _DIRECTIVE.findall(format_):
        if letter not in _DIRECTIVES or not letter:
            raise UsageError(
                f"{what} {text}: a day has no %{letter}; there are "
                f"{', '.join(f'%{each}' for each in _DIRECTIVES)}, such as {{date:%Y/%m/%d}}"
            )
    return date.strftime(format_)


@dataclass(frozen=True, slots=True)
class Places:
    """What a job names by day: where it reads and writes, and constants."""

    inputs: tuple[str, ...]
    output: str
    output_file_name: str | None
    add: tuple[tuple[str, str], ...]

    def on(self, date: dt.date) -> Places:
        """The same with the day filled in.

        An INPUT that is there as it is written is taken so: a shell may have expanded a glob to names with braces.
        """
        name = self.output_file_name
        return Places(
            inputs=tuple(each if os.path.lexists(each) else fill_in(each, date, "INPUT") for each in self.inputs),
            output=fill_in(self.output, date, "OUTPUT"),
            output_file_name=None if name is None else fill_in(name, date, "--output-file-name"),
            add=tuple((name, fill_in(value, date, "--add")) for name, value in self.add),
        )

    def stated_on(self, date: dt.date) -> dict[str, Any]:
        """The fields of Job that say the same: without a name that isn't given, and with the day where it counts."""
        places = self.on(date)
        named = {} if places.output_file_name is None else {"output_file_name": places.output_file_name}
        dated = {} if places == self else {"date": date.isoformat()}
        return {"inputs": places.inputs, "output": places.output, "add": places.add, **named, **dated}
