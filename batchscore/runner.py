"""The whole job: plan, score, join, publish."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

from batchscore import attempts, engines
from batchscore.attempts import RetryPolicy
from batchscore.errors import BatchscoreError, Stopped
from batchscore.interpreter import check_interpreter
from batchscore.job import Job
from batchscore.journal import Journal
from batchscore.minibatch import MiniBatch, Outcome
from batchscore.planning import (
    Prepared,
    find_inputs,
    find_model,
    finished_before,
    identify,
    remaining,
    scoring_settings,
    take_over,
    worker_spec,
    write_inputs,
)
from batchscore.progress import Silent, Watcher
from batchscore.publishing import conclude, conclude_broken
from batchscore.slots import Slots
from batchscore.splitting import Cutting, split
from batchscore.summary import JobSummary, already_finished
from batchscore.workspace import Workspace


def run_job(job: Job, watch: Watcher | None = None) -> JobSummary:
    """Score every row of the inputs once and publish the predictions, going on where an earlier run stopped.

    Raises BatchscoreError: UsageError (2), ModelLoadError (3), StorageError (4), OutputLocked (75). A signal
    (SIGINT, SIGTERM; heard on the main thread only) ends the job as Canceled, to be resumed.
    """
    watch = watch or Silent()
    with Workspace(job.output) as workspace, _signals_stop():
        model = find_model(job, workspace)
        listing = find_inputs(job, workspace)
        identity = identify(job, model.folder)
        if manifest := finished_before(workspace, identity, listing):
            workspace.is_done = True
            return already_finished(workspace.root, manifest)
        earlier = take_over(job, workspace, identity, listing)
        settings = scoring_settings(job, model.folder, listing, earlier.threads)
        prepared = Prepared(job, workspace, model, listing, identity, earlier, settings)
        check_interpreter(worker_spec(prepared))
        watch.opened(len(listing.files), listing.folders, len(listing.skipped), (*model.notes, *earlier.notes))
        with Journal(workspace.journal, prepared.header()) as journal:
            write_inputs(workspace, listing)
            plan: tuple[MiniBatch, ...] = ()
            try:
                cutting = Cutting(job.mini_batch_size, job.csv, model.folder.has_signature, job.limit)
                plan = split(listing.files, cutting)
                _score(prepared, plan, journal, watch)
                return conclude(prepared, plan)
            except BatchscoreError as error:
                return conclude_broken(prepared, plan, error)
            finally:
                watch.closed()


def _score(prepared: Prepared, plan: tuple[MiniBatch, ...], journal: Journal, watch: Watcher) -> None:
    """Have every mini-batch that isn't done scored and its receipt journaled."""
    job, workspace, receipts = prepared.job, prepared.workspace, prepared.earlier.receipts
    todo = remaining(plan, receipts, job.error_threshold)
    workspace.keep_parts(receipts.parts)
    watch.planned(sum(batch.size for batch in plan), sum(batch.size for batch in todo))
    if not todo:
        return
    workers = min(job.workers or engines.cpu_count(), len(todo))
    policy = RetryPolicy(job.max_retries, job.timeout)
    with Slots(worker_spec(prepared), workers, Path(workspace.logs)) as slots:
        slots.start()

        def task(mini_batch: MiniBatch) -> tuple[MiniBatch, tuple[Outcome, ...]]:
            return mini_batch, attempts.score(slots, mini_batch, policy, watch.scored)

        with contextlib.closing(engines.fan_out(task, todo, workers)) as results:
            _record(results, prepared, journal, watch)


def _record(
    results: Iterable[tuple[MiniBatch, tuple[Outcome, ...]]], prepared: Prepared, journal: Journal, watch: Watcher
) -> None:
    """Journal each outcome as it comes; stop early where the job is to fail fast."""
    job, receipts = prepared.job, prepared.earlier.receipts
    for mini_batch, outcomes in results:
        for outcome in outcomes:
            journal.record(outcome)
            receipts.take(outcome)
            for note in outcome.notes:
                watch.note(note)
        watch.finished(mini_batch.size)
        if job.fail_fast and 0 <= job.error_threshold < len(receipts.failed_files):
            break


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
