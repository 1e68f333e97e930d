"""Numbers and their nouns, in words for people."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
