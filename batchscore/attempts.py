"""Retries, and files one by one: a mini-batch to its outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from batchscore.faults import ScoringRaised, WorkerDied, WorkerFault, WorkerOutgrew, WorkerTimedOut
from batchscore.minibatch import Failed, Failure, FileSlice, MiniBatch, Outcome

Progress = Callable[[int], None]

_OUT_OF_MEMORY = "; often the system's answer to a lack of memory: fewer workers or fewer rows per call need less"
_TOO_BIG = " (--memory-limit); fewer rows per call (--rows-per-call) or a smaller --mini-batch-size need less"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a mini-batch is tried."""

    max_retries: int
    """Attempts after the first."""
    timeout: float
    """Seconds for each chunk, or for the mini-batch."""
    restarts_clock: bool = True
    """When a chunk is done."""
    timeout_name: str = "--timeout"
    """The setting to change, for messages."""
    stops_repeating: bool = True
    """An exception that comes back with the same text isn't tried a third time."""
    splits_files: bool = True
    """Files are tried one by one in the end; False where a mini-batch fails as a whole."""


class Workers(Protocol):
    """A Slot, or Slots."""

    def ask(
        self, mini_batch: MiniBatch, timeout: float, on_progress: Progress, *, restarts_clock: bool = True
    ) -> Outcome: ...


def score(
    workers: Workers, mini_batch: MiniBatch, policy: RetryPolicy, on_progress: Progress = lambda _: None
) -> tuple[Outcome, ...]:
    """What became of each slice, in order: one outcome, or one for each file where they had to be tried one by one.

    ``on_progress`` is told the rows of each chunk, those of attempts that fail later included. The mini-batch's faults
    are in the outcomes; what is raised ends the job (``errors``) or comes from its being stopped (Abandoned).
    """
    tried = _tried(workers, mini_batch, policy, on_progress)
    files = [tuple(slices) for _, slices in groupby(mini_batch.slices, key=lambda piece: piece.file)]
    if isinstance(tried.result, Outcome) or len(files) == 1 or not policy.splits_files:
        return (replace(tried.outcome(mini_batch, policy), retries=tried.attempts - 1),)
    outcomes = list(_one_by_one(workers, mini_batch, files, replace(policy, max_retries=0), on_progress))
    longest = max(tried.longest, outcomes[0].longest)
    outcomes[0] = replace(outcomes[0], retries=tried.attempts, longest=longest)
    return tuple(outcomes)


@dataclass(frozen=True, slots=True)
class _Tried:
    """How the attempts at a mini-batch ended."""

    result: Outcome | WorkerFault
    """The last attempt's fault, where all failed."""
    attempts: int
    seconds: float
    """Of all attempts."""
    longest: float
    """Seconds of the longest."""

    def outcome(self, mini_batch: MiniBatch, policy: RetryPolicy) -> Outcome:
        if isinstance(self.result, Outcome):
            return replace(self.result, longest=self.longest)
        return replace(_failed(mini_batch, self.result, policy), seconds=self.seconds, longest=self.longest)


def _tried(workers: Workers, mini_batch: MiniBatch, policy: RetryPolicy, on_progress: Progress) -> _Tried:
    begun, attempts, longest = time.monotonic(), 0, 0.0
    last: WorkerFault | None = None
    while True:
        attempts += 1
        try:
            result = _asked(workers, mini_batch, policy, on_progress)
        except WorkerFault as fault:
            longest = max(longest, fault.seconds)
            if attempts > policy.max_retries or (policy.stops_repeating and _came_back(fault, last)):
                return _Tried(fault, attempts, time.monotonic() - begun, longest)
            last = fault
        else:
            return _Tried(result, attempts, time.monotonic() - begun, max(longest, result.seconds))


def _asked(workers: Workers, mini_batch: MiniBatch, policy: RetryPolicy, on_progress: Progress) -> Outcome:
    return workers.ask(mini_batch, policy.timeout, on_progress, restarts_clock=policy.restarts_clock)


def _came_back(fault: WorkerFault, last: WorkerFault | None) -> bool:
    """Whether a third attempt at a model that says the same twice would be a waste."""
    return isinstance(fault, ScoringRaised) and isinstance(last, ScoringRaised) and fault.reason == last.reason


def _one_by_one(
    workers: Workers,
    mini_batch: MiniBatch,
    files: list[tuple[FileSlice, ...]],
    policy: RetryPolicy,
    on_progress: Progress,
) -> Iterator[Outcome]:
    """One attempt at each file alone, so that only the guilty ones fail; each counts as a retry.

    Each has the clock of a whole mini-batch: files that together take too long are scored all the same.
    """
    for slices in files:
        alone = mini_batch.only(slices)
        yield replace(_tried(workers, alone, policy, on_progress).outcome(alone, policy), retries=1)


def _failed(mini_batch: MiniBatch, fault: WorkerFault, policy: RetryPolicy) -> Outcome:
    reason = _reason(fault, policy)
    slices = mini_batch.slices
    detail = fault.detail or None
    if policy.splits_files:
        failed = tuple(Failed(piece, Failure(piece.file.name, reason, detail=detail)) for piece in slices)
    else:
        failure = Failure.of_files([piece.file.name for piece in slices], reason, len(slices), detail)
        failed = tuple(Failed(piece, failure) for piece in slices)
    return Outcome(mini_batch.number, failed)


def _reason(fault: WorkerFault, policy: RetryPolicy) -> str:
    """What happened, and what may help."""
    match fault:
        case WorkerTimedOut():
            return f"{fault.reason} ({policy.timeout_name})"
        case WorkerOutgrew():
            return fault.reason + _TOO_BIG
        case WorkerDied() if "SIGKILL" in fault.reason:
            return fault.reason + _OUT_OF_MEMORY
        case _:
            return fault.reason
