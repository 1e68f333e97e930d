"""All values of a column that don't fit, found with a judge that names the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchscore.signature.scalars import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy.typing as npt

    Places: TypeAlias = npt.NDArray[np.intp]

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
