"""Retries, and files one by one: a mini-batch to its outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from batchscore.faults import ScoringRaised, WorkerDied, WorkerFault, WorkerTimedOut
from batchscore.minibatch import Failed, Failure, FileSlice, MiniBatch, Outcome

Progress = Callable[[int], None]

_OUT_OF_MEMORY = "; often the system's answer to a lack of memory: fewer workers or fewer rows per call need less"


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
    started = time.monotonic()
    result, attempts = _tried(workers, mini_batch, policy, on_progress)
    if isinstance(result, Outcome):
        return (replace(result, retries=attempts - 1),)
    files = [tuple(slices) for _, slices in groupby(mini_batch.slices, key=lambda piece: piece.file)]
    if len(files) == 1 or not policy.splits_files:
        failed = _failed(mini_batch, result, policy, time.monotonic() - started)
        return (replace(failed, retries=attempts - 1),)
    outcomes = list(_one_by_one(workers, mini_batch, files, replace(policy, max_retries=0), on_progress))
    outcomes[0] = replace(outcomes[0], retries=attempts)
    return tuple(outcomes)


def _tried(
    workers: Workers, mini_batch: MiniBatch, policy: RetryPolicy, on_progress: Progress
) -> tuple[Outcome | WorkerFault, int]:
    """The outcome, or the last attempt's fault; and the number of attempts."""
    attempts = 0
    last: WorkerFault | None = None
    while True:
        attempts += 1
        try:
            return _asked(workers, mini_batch, policy, on_progress), attempts
        except WorkerFault as fault:
            if attempts > policy.max_retries or _came_back(fault, last):
                return fault, attempts
            last = fault


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
    """One attempt at each file alone, so that only the guilty ones fail; each counts as a retry."""
    for slices in files:
        started = time.monotonic()
        alone = mini_batch.only(slices)
        result, _ = _tried(workers, alone, policy, on_progress)
        outcome = result if isinstance(result, Outcome) else _failed(alone, result, policy, time.monotonic() - started)
        yield replace(outcome, retries=1)


def _failed(mini_batch: MiniBatch, fault: WorkerFault, policy: RetryPolicy, seconds: float) -> Outcome:
    reason = _reason(fault, policy)
    slices = mini_batch.slices
    names = () if policy.splits_files else tuple(piece.file.name for piece in slices)
    failures = (Failure(piece.file.name, reason, detail=fault.detail or None, files=names) for piece in slices)
    failed = tuple(Failed(piece, failure) for piece, failure in zip(slices, failures, strict=True))
    return Outcome(mini_batch.number, failed, seconds=seconds)


def _reason(fault: WorkerFault, policy: RetryPolicy) -> str:
    """What happened, and what may help."""
    match fault:
        case WorkerTimedOut():
            return f"{fault.reason} ({policy.timeout_name})"
        case WorkerDied() if "SIGKILL" in fault.reason:
            return fault.reason + _OUT_OF_MEMORY
        case _:
            return fault.reason
