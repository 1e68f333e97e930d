"""How many may fail: a number, or a percentage of all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from batchscore.errors import UsageError

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_NUMBER = re.compile(r"-?\d+")
_WHOLE = 100


@dataclass(frozen=True, slots=True)
class Share:
    """A percentage of all there are, from 0 to 100.

    >>> str(Share(Decimal("0.5")))
    '0.5%'
    """

    percent: Decimal

    def __str__(self) -> str:
        return f"{self.percent}%"


Limit: TypeAlias = int | Share
"""How many may fail; -1: any number."""


def parse_limit(text: str | int, name: str, least: int = 0) -> Limit:
    """A number from ``least`` (`3`), or a percentage (`2.5%`); else UsageError, with the setting's name."""
    words = str(text).strip()
    share = _SHARE.fullmatch(words)
    if share and Decimal(share[1]) <= _WHOLE:
        return Share(Decimal(share[1]))
    if _NUMBER.fullmatch(words) and int(words) >= least:
        return int(words)
    raise UsageError(f"{name} takes a whole number from {least}, or a percentage such as 5% up to 100%; found {text!r}")


def allows(limit: Limit, failed: int, of: int) -> bool:
    """Whether so many may fail, out of all.

    >>> allows(Share(Decimal(10)), 1, 10), allows(Share(Decimal(10)), 2, 10), allows(-1, 7, 7)
    (True, False, True)
    """
    if isinstance(limit, Share):
        return failed * _WHOLE <= limit.percent * of
    return limit < 0 or failed <= limit


def as_json(limit: Limit | None) -> int | str | None:
    """A limit as job.json has it."""
    return str(limit) if isinstance(limit, Share) else limit
