"""The whole job: plan, score, join, publish."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from batchscore import attempts, engines, halving, runplan
from batchscore.attempts import RetryPolicy
from batchscore.endings import Ending, judged_again
from batchscore.errors import BatchscoreError
from batchscore.faults import Abandoned
from batchscore.grace import Grace
from batchscore.interpreter import check_interpreter
from batchscore.job import Job
from batchscore.joblog import JobLog
from batchscore.journal import Journal
from batchscore.limits import allows
from batchscore.minibatch import Json, MiniBatch
from batchscore.moments import utc
from batchscore.nursery import HeadStart
from batchscore.observed import Observed
from batchscore.outcome import Outcome
from batchscore.plan import Plan
from batchscore.planning import (
    Prepared,
    access_to_stores,
    early_spec,
    find_inputs,
    find_model,
    prepare,
    worker_spec,
)
from batchscore.progress import Silent, Watcher
from batchscore.provisioning import interpreter_for
from batchscore.publishing import conclude, cut_short, sign_off
from batchscore.receipts import Receipts
from batchscore.resuming import finished_before, identify, remaining, write_inputs
from batchscore.runplan import RunPlan
from batchscore.scriptfiles import WrittenFiles
from batchscore.sharing import Sharing
from batchscore.signals import StopSignals
from batchscore.slots import Slots
from batchscore.splitting import Cutting, split
from batchscore.staging import late_words, stage
from batchscore.storage import using
from batchscore.storeworkspace import workspace_of
from batchscore.summary import JobSummary, Verdicts
from batchscore.worktime import WorkTime

Scoring: TypeAlias = tuple[MiniBatch, tuple[Outcome, ...], int]
"""A mini-batch, what became of its slices (nothing: it wasn't scored to the end), and its bytes told as done so far."""


def run_job(job: Job, watch: Watcher | None = None) -> JobSummary:
    """Score every row of the inputs once and publish the predictions, going on where an earlier run stopped.

    Raises BatchscoreError: UsageError (2), ModelLoadError (3), StorageError (4), OutputLocked (75). A signal
    (SIGINT, SIGTERM; heard on the main thread only) ends the job as Canceled, to be resumed, once the mini-batches in
    flight are done or their time of grace is up; before the job has begun it raises Stopped.
    """
    watch = watch or Silent()
    with (
        using(access_to_stores(job)),
        workspace_of(job) as workspace,
        StopSignals() as signals,
        HeadStart(early_spec(job, workspace), Path(workspace.folder)) as ahead,
    ):
        observed = Observed()
        model = find_model(job, workspace)
        observed.clock.turn_to("list")
        listing = find_inputs(job, workspace)
        observed.clock.turn_to("plan")
        identity = identify(job, model.folder.digest)
        if manifest := finished_before(workspace, identity, listing):
            summary = judged_again(workspace.output, manifest, job)
            if summary.status == "Completed" or not job.overwrite:
                workspace.is_done = True
                return summary
        prepared = replace(
            prepare(job, workspace, model, listing, identity), started=observed.started, observed=observed
        )
        check_interpreter(job)
        header = prepared.earlier.header
        log = JobLog(job, workspace, header.job, watch)
        with Journal(workspace.journal, header, is_new=prepared.earlier.is_new) as journal, log:
            workspace.begin(header.job)
            log.opened(len(listing.files), listing.folders, len(listing.skipped), prepared.notes)
            ending = _carry_out(prepared, journal, _Run(signals, log, ahead))
            for warning in ending.warnings:
                log.note(warning)
            signals.ignore()  # the end is written down, whatever comes
            log.conclude(ending.status, ending.message, ending.counts, ending.exit_code, ending.error)
            return sign_off(prepared, ending)


@dataclass(slots=True)
class _Run:
    """What this run has around the job."""

    signals: StopSignals
    log: JobLog
    ahead: HeadStart


def _carry_out(prepared: Prepared, journal: Journal, run: _Run) -> Ending:
    """Score what isn't scored yet and publish all but job.json; an error that ends the job is in what this gives."""
    job = prepared.job
    receipts = Receipts(Plan(), journal, is_whole=job.script is not None)
    try:
        write_inputs(prepared.workspace, prepared.listing)
        cutting = Cutting(job.mini_batch_size, job.csv, prepared.model.folder.has_signature, job.limit)
        plan = split(prepared.listing.files, cutting)
        receipts = Receipts(plan, journal, is_whole=job.script is not None, warns_beyond=job.warns_beyond)
        _score(prepared, receipts, run)
        prepared.observed.scored()
        return conclude(prepared, Verdicts(receipts))
    except BatchscoreError as error:
        prepared.observed.scored()
        run.signals.listen()  # a second one ends even this
        prepared.workspace.explain(error)
        return cut_short(prepared, Verdicts(receipts), error)
    finally:
        run.log.closed()


def _score(prepared: Prepared, receipts: Receipts, run: _Run) -> None:
    """Have every mini-batch that isn't done scored and its receipt journaled."""
    job, workspace, observed, log = prepared.job, prepared.workspace, prepared.observed, run.log
    todo = remaining(receipts, workspace.part_names(), job)
    workspace.keep_parts(receipts.part_names)
    observed.clock.turn_to("environment")
    python = interpreter_for(job, prepared.model, log.note) if todo else None  # building it is no scoring time
    observed.clock.turn_to("score")
    workers = min(job.workers or engines.cpu_count(), len(todo))
    _announce(prepared, _run_plan(prepared, todo, receipts, workers), log)
    if python is None:
        return
    if job.script:
        stage(workspace, prepared.model.folder.path, prepared.model.name)
    spec = worker_spec(prepared)
    spec = replace(spec, python=python, memory_limit=job.memory_limit, recycle_after=job.recycle_after)
    # where a receipt speaks already of a part that is written again, it has to be whole when it has its name
    syncs_here = job.script is None and workers > 1 and not receipts.has_forgotten
    if syncs_here:
        spec = replace(spec, setup={**spec.setup, "syncs_parts": False})
    observed.work, observed.todo = WorkTime(log), todo
    with (
        Slots(spec, workers, log.folder, observed.work, ahead=run.ahead) as slots,
        workspace.sharing(syncs_parts=syncs_here) as sharing,
    ):
        _made_ready(slots, workers, prepared, log)
        written = WrittenFiles.of(receipts, workspace.part)
        books = _Books(job, len(prepared.listing.files), receipts, written, sharing, log)
        with Grace(run.signals, job.grace, log.note, slots.kill_all) as grace:
            _fan_out(_Crew(slots, workers, _retry_policy(job), grace, log), todo, books)
        observed.work.over()
        observed.workers = _started(slots, workers)  # lost loaders may have given way meanwhile
    for note in late_words(workspace):
        log.note(note)
    grace.check()


def _announce(prepared: Prepared, begun: RunPlan, log: JobLog) -> None:
    """Say what this run sets out to do, to who looks on and to who watches."""
    begun.write(prepared.workspace.folder)
    prepared.workspace.share(runplan.NAME)
    log.scheduled(begun.mini_batches, begun.mini_batches_todo)
    log.planned(begun.bytes, begun.bytes_todo)


def _made_ready(slots: Slots, workers: int, prepared: Prepared, log: JobLog) -> None:
    """Have the model loaded, and take down what that tells."""
    slots.start()
    facts = slots.ready()
    prepared.observed.threads = facts.get("threads", {})
    prepared.observed.workers = _started(slots, workers)
    for note in (*facts.get("notes", ()), *slots.origin.notes(prepared.job.worker_start)):
        log.note(note)


def _started(slots: Slots, workers: int) -> Json:
    """How many workers there are, how they are started, and why so."""
    return {"number": workers, **slots.origin.to_json()}


@dataclass(frozen=True, slots=True)
class _Crew:
    """Who scores mini-batches."""

    slots: Slots
    workers: int
    policy: RetryPolicy
    grace: Grace
    log: JobLog

    def score(self, mini_batch: MiniBatch) -> Scoring:
        """A mini-batch with what became of it; with nothing where the job is being stopped."""
        seen = read = 0

        def progress(rows: int, size: int = 0) -> None:
            nonlocal seen, read
            seen += rows
            self.log.scored(rows)
            if (more := min(size, mini_batch.size - 1) - read) > 0:  # an attempt after a failed one begins anew
                read += more
                self.log.finished(more)

        if self.grace.is_stopping:
            return mini_batch, (), read
        try:
            with self.grace.flight():
                outcomes = attempts.score(self.slots, mini_batch, self.policy, progress)
        except Abandoned:
            if self.grace.is_over:
                return mini_batch, (), read
            raise
        self.log.scored(sum(outcome.rows for outcome in outcomes) - seen)  # rows of failed attempts don't count
        return mini_batch, outcomes, read


@dataclass(frozen=True, slots=True)
class _Books:
    """Where it is written down what became of mini-batches."""

    job: Job
    files: int
    """Of the whole job."""
    receipts: Receipts
    written: WrittenFiles
    sharing: Sharing
    log: JobLog

    def keep(self, results: Iterable[Scoring]) -> None:
        """Journal each outcome as it comes; stop early where the job is to fail fast."""
        for mini_batch, outcomes, told in results:
            if not outcomes:
                continue
            for outcome in outcomes:
                self.written.take(outcome)  # first: with a receipt it would be done, and it may not be publishable
                self.receipts.record(outcome)
                self.sharing.receipt(outcome)
                for note in outcome.notes:
                    self.log.note(note)
            self.log.recorded(mini_batch, outcomes)
            self.log.finished(mini_batch.size - told)
            if self.job.fail_fast and not allows(self.job.error_threshold, self.receipts.files_failed, self.files):
                break


def _fan_out(crew: _Crew, todo: Collection[MiniBatch], books: _Books) -> None:
    """Have the crew score all there is to do, until the job is stopped or fails fast."""
    seats = threading.Semaphore(crew.workers)

    def task(mini_batch: MiniBatch) -> Scoring:
        with seats:  # what waits for a worker hasn't begun, for a job that is being stopped
            scored = crew.score(mini_batch)
        books.sharing.parts(scored[1])
        return scored

    threads = min(books.sharing.threads(crew.workers), len(todo))
    with contextlib.closing(engines.fan_out(task, crew.grace.feed(todo), threads)) as results:
        books.keep(results)


def _retry_policy(job: Job) -> RetryPolicy:
    """How a mini-batch is tried: a scoring script's as often as stated, and as a whole."""
    return RetryPolicy(
        max_retries=job.max_retries,
        timeout=job.timeout,
        restarts_clock=not job.times_mini_batches,
        timeout_name=job.timeout_name,
        stops_repeating=job.script is None,
        splits_files=job.script is None,
        halvings=halving.MOST if job.on_bad_row == "quarantine" else 0,
    )


def _run_plan(prepared: Prepared, todo: Collection[MiniBatch], receipts: Receipts, workers: int) -> RunPlan:
    """What this run sets out to do, for who looks on."""
    return RunPlan(
        started=utc(prepared.started),
        scoring_since=utc(time.time()),
        files=len(prepared.listing.files),
        files_skipped=len(prepared.listing.skipped),
        files_failed=receipts.files_failed,
        mini_batches=len(receipts.plan),
        mini_batches_todo=len(todo),
        bytes=receipts.plan.size,
        bytes_todo=sum(batch.size for batch in todo),
        workers=workers,
        journal_end=receipts.end,
    )
