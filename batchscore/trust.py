"""Whether a worker is to blame for what is raised in it."""

from __future__ import annotations

_MOST_IN_A_ROW = 64


class Trust:
    """Whether it is a worker that can't go on, where one mini-batch after another raises in it.

    So it is after an error of a graphics card, or with its memory used up. Two are enough to doubt it; where the next
    worker scores none either, twice as many, so that bad data doesn't cost a model's loading again and again.
    """

    def __init__(self) -> None:
        self._raised: set[int] = set()
        self._in_a_row = 2

    @property
    def is_lost(self) -> bool:
        return len(self._raised) >= self._in_a_row

    def take(self, number: int, *, is_scored: bool) -> None:
        """A mini-batch was scored, or raised."""
        if is_scored:
            self._raised, self._in_a_row = set(), 2
        else:
            self._raised.add(number)

    def renew(self) -> None:
        """Another worker takes over."""
        if self.is_lost:
            self._in_a_row = min(2 * self._in_a_row, _MOST_IN_A_ROW)
        self._raised = set()
