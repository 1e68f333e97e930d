"""Python packages' version numbers and what a requirement says of them; enough of PEP 440 to compare, no resolver."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import TypeAlias

Version: TypeAlias = tuple[tuple[int, ...], int]
"""Release numbers without zeros at the end, and -1 before the release (a1, rc2, .dev3), 0, or 1 after it (.post1)."""

_VERSION = re.compile(
    r"v?(?:\d+!)?(\d+(?:\.\d+)*)(?:[-_.]?(a|b|c|rc|alpha|beta|pre|preview|dev|post|rev|r)[-_.]?\d*)?", re.IGNORECASE
)
_CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*(.+)")
_AFTER = {"post", "rev", "r"}
_BEYOND = 10**9


def parse(text: str) -> Version | None:
    """The version that a text such as `1.5.3`, `v2.0rc1` or `2.1+cpu` names; None where it is none."""
    match = _VERSION.match(text.strip())
    if not match:
        return None
    tag = (match[2] or "").lower()
    return _plain(tuple(map(int, match[1].split(".")))), 0 if not tag else 1 if tag in _AFTER else -1


def _plain(release: tuple[int, ...]) -> tuple[int, ...]:
    while len(release) > 1 and not release[-1]:
        release = release[:-1]
    return release


def clauses(specifier: str) -> list[tuple[str, str]]:
    """`>=1.5,<3` as [(">=", "1.5"), ("<", "3")]. Raises ValueError where it isn't understood."""
    found = []
    for part in filter(None, map(str.strip, specifier.split(","))):
        match = _CLAUSE.fullmatch(part)
        if not match or parse(match[2]) is None:
            raise ValueError(f"not a version requirement: {part!r}")
        found.append((match[1], match[2].strip()))
    return found


def allows(specifier: str, version: str) -> bool:
    """Whether a version meets all clauses; one that isn't understood counts as met."""
    given = parse(version)
    try:
        wanted = clauses(specifier)
    except ValueError:
        return True
    return given is None or all(_meets(given, operator, text) for operator, text in wanted)


def admits(specifier: str, lowest: str) -> bool:
    """Whether some version from ``lowest`` upwards meets the specifier, published or not."""
    try:
        wanted = clauses(specifier)
    except ValueError:
        return True
    bounds = [parse(lowest), *(parse(text) for _, text in wanted), ((_BEYOND,), 0)]
    known = [bound for bound in bounds if bound is not None]
    just_above = [((*release, *[0] * 4, 1), 0) for release, _ in known]
    padded = [(*release, 0, 0, 0) for release, _ in known]
    next_series = [((*each[:length], each[length] + 1), 0) for each in padded for length in range(len(each))]
    return any(
        candidate >= known[0] and all(_meets(candidate, operator, text) for operator, text in wanted)
        for candidate in known + just_above + next_series
    )


def _meets(version: Version, operator: str, text: str) -> bool:
    bound = parse(text)
    if bound is None:
        return True
    if text.endswith(".*"):
        is_same = _starts(version, text.removesuffix(".*"))
        return is_same if operator == "==" else not is_same
    if operator == "~=":
        series = text.partition("+")[0].rpartition(".")[0]
        return version >= bound and (not series or _starts(version, series))
    return {
        "===": version == bound, "==": version == bound, "!=": version != bound,
        "<": version < bound, "<=": version <= bound, ">": version > bound, ">=": version >= bound,
    }[operator]  # fmt: skip


def _starts(version: Version, series: str) -> bool:
    """Whether the version is of the series: 1.5.3 of 1.5."""
    numbers = [int(number) for number in re.findall(r"\d+", series)]
    pairs = zip_longest(version[0][: len(numbers)], numbers, fillvalue=0)
    return all(mine == theirs for mine, theirs in pairs)
