"""What stands out among the mini-batches of a job, bounded: the slowest, and what was noted."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

from batchscore.outcome import Failed, Outcome, Scored

MOST = 10
"""Mini-batches in a list."""
MOST_NOTES = 20
_LONGEST = 500
"""Characters of a note or a reason: job.json is to stay small."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One mini-batch, or those of its files that were tried together, in a line of job.json."""

    number: int
    file: str
    """The first, or the first that failed."""
    files: int
    rows: int
    """With a prediction."""
    seconds: float
    retries: int
    reason: str | None = None
    """Why its first failed file failed."""

    @classmethod
    def of(cls, outcome: Outcome) -> Glimpse:
        failed = next((entry for entry in outcome.slices if isinstance(entry, Failed)), None)
        first = failed or outcome.slices[0]
        return cls(
            number=outcome.number,
            file=first.slice.file.name,
            files=len({entry.slice.file.name for entry in outcome.slices}),
            rows=sum(entry.rows for entry in outcome.slices if isinstance(entry, Scored)),
            seconds=round(outcome.seconds, 3),
            retries=outcome.retries,
            reason=shortened(failed.failure.reason) if failed else None,
        )


def shortened(text: str) -> str:
    """A note or a reason of bounded length."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


class Highlights:
    """Takes each outcome once, and keeps what stands out."""

    def __init__(self) -> None:
        self._slowest: list[tuple[float, int, Glimpse]] = []
        self._ties = itertools.count(0, -1)
        """Of equally slow ones the first stays."""
        self._notes: dict[str, None] = {}

    def take(self, outcome: Outcome) -> None:
        self.note(*outcome.notes)
        is_full = len(self._slowest) == MOST
        if outcome.slices and (not is_full or outcome.seconds > self._slowest[0][0]):
            entry = (outcome.seconds, next(self._ties), Glimpse.of(outcome))
            (heapq.heapreplace if is_full else heapq.heappush)(self._slowest, entry)

    def note(self, *notes: str) -> None:
        """Remember notes, each once."""
        for note in notes:
            if len(self._notes) < MOST_NOTES:
                self._notes[shortened(note)] = None

    @property
    def slowest(self) -> tuple[Glimpse, ...]:
        """The slowest first."""
        return tuple(glimpse for _, _, glimpse in sorted(self._slowest, reverse=True))

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)
