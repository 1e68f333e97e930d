"""The rows that predict fails for, found by halving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from batchscore.faults import ScoringRaised, WorkerFault
from batchscore.minibatch import Mended, MiniBatch, Trial
from batchscore.outcome import Failed, Outcome, Scored

MOST = 200
"""Attempts at pieces of a mini-batch."""


@dataclass(frozen=True, slots=True)
class Halved:
    """What halving came to."""

    portion: Mended | None
    """How to score the mini-batch without its bad rows; None where these couldn't be told from the others."""
    attempts: int
    """At pieces."""


def find_bad_rows(
    ask: Callable[[MiniBatch], Outcome | WorkerFault],
    mini_batch: MiniBatch,
    fault: WorkerFault,
    most: int,
    explain: Callable[[WorkerFault], str],
) -> Halved:
    """Halve a mini-batch whose rows ``fault`` came of, try each piece once, and go on with those that fail.

    Rows are told apart by their order among those that fit, which a first question counts. So the answer follows from
    the rows and the model alone: a worker that ended or was too slow may have had another reason, so a single row that
    is to blame for it is tried once more, and so is the first question.
    """
    rows = _count(_once_more(ask, replace(mini_batch, portion=Trial())))
    search = _Search(lambda start, stop: ask(replace(mini_batch, portion=Trial(start, stop))), most)
    if not rows or not search.is_through(0, rows, fault):
        return Halved(None, search.attempts)
    spoilt = tuple((row, explain(why), why.detail or None) for row, why in search.spoilt)
    return Halved(Mended(tuple(search.calls), spoilt), search.attempts)


def _once_more(ask: Callable[[MiniBatch], Outcome | WorkerFault], question: MiniBatch) -> Outcome | WorkerFault:
    answer = ask(question)
    return ask(question) if _may_be_chance(answer) else answer


def _may_be_chance(answer: Outcome | WorkerFault) -> bool:
    """Whether what happened may have come from without; a model that raises says why."""
    return isinstance(answer, WorkerFault) and not isinstance(answer, ScoringRaised)


def _count(counted: Outcome | WorkerFault) -> int:
    """The rows to tell apart; 0 where they can't be read, or a file is refused as a whole."""
    if isinstance(counted, WorkerFault) or any(isinstance(entry, Failed) for entry in counted.slices):
        return 0
    return sum(entry.rows for entry in counted.slices if isinstance(entry, Scored))


class _Search:
    def __init__(self, attempt: Callable[[int, int], Outcome | WorkerFault], most: int) -> None:
        self._attempt = attempt
        self._most = most
        self.attempts = 0
        self.calls: list[int] = []
        """Rows of each piece that passed, in order."""
        self.spoilt: list[tuple[int, WorkerFault]] = []

    def is_through(self, start: int, stop: int, fault: WorkerFault) -> bool:
        """Tell the bad rows in [start, stop), for which predict fails; False where that takes too many attempts."""
        if stop - start == 1:
            self.spoilt.append((start, fault))
            return True
        middle = (start + stop) // 2
        return self._is_told(start, middle) and self._is_told(middle, stop)

    def _is_told(self, start: int, stop: int) -> bool:
        found = self._tried(start, stop)
        if stop - start == 1 and found and _may_be_chance(found):
            found = self._tried(start, stop)
        if isinstance(found, Outcome):
            self.calls.append(stop - start)
        return found is not None and (isinstance(found, Outcome) or self.is_through(start, stop, found))

    def _tried(self, start: int, stop: int) -> Outcome | WorkerFault | None:
        """What came of an attempt; None where there were enough of them."""
        if self.attempts == self._most:
            return None
        self.attempts += 1
        return self._attempt(start, stop)
