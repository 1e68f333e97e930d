"""Retries, and files one by one: a mini-batch to its outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from batchscore.faults import ScoringRaised, WorkerDied, WorkerFault, WorkerOutgrew, WorkerTimedOut
from batchscore.halving import find_bad_rows
from batchscore.minibatch import FileSlice, MiniBatch
from batchscore.outcome import Failed, Failure, Outcome, Progress

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
    halvings: int = 0
    """Attempts at pieces of a mini-batch, to find the rows that predict fails for; 0: their file fails."""


class Workers(Protocol):
    """A Slot, or Slots."""

    def ask(
        self, mini_batch: MiniBatch, timeout: float, on_progress: Progress, *, restarts_clock: bool = True
    ) -> Outcome: ...


def score(
    workers: Workers, mini_batch: MiniBatch, policy: RetryPolicy, on_progress: Progress = lambda *_: None
) -> tuple[Outcome, ...]:
    """What became of each slice, in order: one outcome, or one for each file where they had to be tried one by one.

    ``on_progress`` is told the rows of each chunk, those of attempts that fail later included. The mini-batch's faults
    are in the outcomes; what is raised ends the job (``errors``) or comes from its being stopped (Abandoned).
    """
    tried = _tried(workers, mini_batch, policy, on_progress)
    files = [tuple(slices) for _, slices in groupby(mini_batch.slices, key=lambda piece: piece.file)]
    if isinstance(tried.result, Outcome) or not policy.splits_files:
        return (tried.outcome(mini_batch, policy, before=-1),)
    if len(files) == 1:
        settled = _settled(workers, mini_batch, tried, policy, on_progress)
        return (settled.outcome(mini_batch, policy, before=-1),)
    outcomes = list(_one_by_one(workers, mini_batch, files, policy, on_progress))
    longest = max(tried.longest, outcomes[0].longest)
    retries = outcomes[0].retries + tried.attempts - 1
    outcomes[0] = replace(outcomes[0], retries=retries, longest=longest)
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

    halvings: int = 0
    """Attempts at pieces; they count as attempts, too."""

    def outcome(self, mini_batch: MiniBatch, policy: RetryPolicy, before: int = 0) -> Outcome:
        """The outcome, each attempt a retry but for the first (``before`` is -1 where that is among them)."""
        retries = self.attempts + before
        if isinstance(self.result, Outcome):
            return replace(self.result, longest=self.longest, retries=retries)
        failed = _failed(mini_batch, self.result, policy, self.halvings)
        return replace(failed, seconds=self.seconds, longest=self.longest, retries=retries)


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

    Each has the clock of a whole mini-batch: files that together take too long are scored all the same. Of the files
    that fail, each has half of the halvings that the ones before left, the last one all.
    """
    alone = [mini_batch.only(slices) for slices in files]
    tried = [_tried(workers, each, replace(policy, max_retries=0), on_progress) for each in alone]
    guilty = sum(isinstance(each.result, WorkerFault) for each in tried)
    left = policy.halvings
    for each, found in zip(alone, tried, strict=True):
        if isinstance(found.result, Outcome):
            yield found.outcome(each, policy)
            continue
        guilty -= 1
        share = replace(policy, halvings=-(-left // 2) if guilty else left)
        settled = _settled(workers, each, found, share, on_progress)
        left -= settled.halvings
        yield settled.outcome(each, policy)


def _settled(
    workers: Workers, mini_batch: MiniBatch, tried: _Tried, policy: RetryPolicy, on_progress: Progress
) -> _Tried:
    """The attempts at one file, and those at its pieces where predict failed for it and bad rows are put aside.

    In the end the file is scored without them, in calls that have passed, whatever time they take together. An answer
    that isn't a row for each row says nothing of a single one, so its mini-batch isn't halved.
    """
    fault = tried.result
    if isinstance(fault, Outcome) or not policy.halvings or (isinstance(fault, ScoringRaised) and fault.refuses_answer):
        return tried

    def ask(piece: MiniBatch) -> Outcome | WorkerFault:
        try:
            return _asked(workers, piece, policy, on_progress)
        except WorkerFault as fault:
            return fault

    halved = find_bad_rows(ask, mini_batch, fault, policy.halvings, lambda fault: _reason(fault, policy))
    tried = replace(tried, attempts=tried.attempts + halved.attempts, halvings=halved.attempts)
    if halved.portion is None:
        return tried
    patient = replace(policy, restarts_clock=True)
    last = _tried(workers, replace(mini_batch, portion=halved.portion), patient, on_progress)
    longest = max(tried.longest, last.longest)
    return replace(tried, result=last.result, attempts=tried.attempts + last.attempts, longest=longest)


def _failed(mini_batch: MiniBatch, fault: WorkerFault, policy: RetryPolicy, halvings: int) -> Outcome:
    reason = _reason(fault, policy)
    if halvings:
        reason += f"; {halvings} attempts at parts of it didn't tell all of its bad rows from the others"
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
            return f"{fault.reason} ({policy.timeout_name}){fault.hint}"
        case WorkerOutgrew():
            return fault.reason + _TOO_BIG
        case WorkerDied() if "SIGKILL" in fault.reason:
            return fault.reason + _OUT_OF_MEMORY
        case _:
            return fault.reason
