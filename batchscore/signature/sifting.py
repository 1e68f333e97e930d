"""All values of a column that don't fit, found with a judge that names the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.signature.scalars import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy.typing as npt

    Places: TypeAlias = npt.NDArray[np.intp]

NUMERALS = b"0123456789.+-eE"
"""Characters of plain numbers."""
_LEAST = 16
"""Values judged at once where bad ones are close to each other."""


def all_refused(count: int, judge: Callable[[Places], None]) -> dict[int, Refused]:
    """The places of all values that ``judge`` refuses; it is given some, ascending, and raises Refused for the first.

    Each value is judged by itself, so that any cut gives the same. A Refused that knows of others takes them out at
    once; behind one that doesn't, a part is looked at that grows as long as it fits.
    """
    refused: dict[int, Refused] = {}
    left = np.arange(count)
    window = count
    while len(left):
        part = left[:window]
        try:
            judge(part)
        except Refused as first:
            found = first.found()
            refused |= {int(part[index]): each for index, each in found.items()}
            if len(found) > 1:
                left = np.delete(left, list(found))
            else:
                left = left[first.index + 1 :]  # what stands before it fits
                window = max(2 * first.index, _LEAST)
        else:
            left = left[len(part) :]
            window *= 2
    return refused


def has_other_characters(text: pa.Array, characters: bytes) -> npt.NDArray[np.bool_]:
    """Which texts have a character that isn't one of these (ASCII), or none at all."""
    text = pa.concat_arrays([pc.cast(text, pa.large_string())])  # with no offset
    others = np.ones(256, np.bool_)
    others[list(characters)] = False
    _, offsets, characters_of = text.buffers()
    ends = np.frombuffer(offsets, np.int64)[: len(text) + 1] if offsets else np.zeros(1, np.int64)
    start, stop = int(ends[0]), int(ends[-1])
    found = np.zeros(len(text), np.bool_)
    if stop > start:
        codes = np.frombuffer(characters_of, np.uint8)[start:stop]
        found[np.searchsorted(ends, np.flatnonzero(others[codes]) + start, side="right") - 1] = True
    found |= np.diff(ends) == 0
    return found
