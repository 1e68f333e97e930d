"""How a job ended: its counts, the verdict on them, and the line that a person reads last."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from batchscore.errors import BatchscoreError, Stopped
from batchscore.job import Job
from batchscore.limits import Limit, Share, allows
from batchscore.minibatch import Json
from batchscore.nouns import counted
from batchscore.outcome import Column
from batchscore.planning import Prepared
from batchscore.readers import is_readable
from batchscore.stopwatch import Spent
from batchscore.storage import Place
from batchscore.summary import Counts, JobSummary, Status, Verdicts, has_too_many_bad_rows, rows_of_failed


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended."""

    status: Status
    message: str
    """In a sentence, the line a person reads last."""
    counts: Counts
    outputs: tuple[Json, ...] = ()
    """Of each prediction file: path, rows, bytes, sha256."""
    files: tuple[Json, ...] = ()
    """Of each file that a scoring script wrote itself: path, bytes, sha256."""
    columns: tuple[Column, ...] = ()
    """Of the prediction files."""
    exit_code: int = 0
    error: BatchscoreError | None = None
    """What ended it before its time."""
    is_whole: bool = True
    """Each file was scored or has failed."""
    slow: int = 0
    """Mini-batches with an attempt that took longer than Azure would have let it."""
    warnings: tuple[str, ...] = ()
    """What to tell besides."""
    rows_recorded: int = 0
    """Rows that this run gave predictions."""
    spent: Spent = field(default_factory=Spent)
    """By workers, in all runs of the job."""
    standing_out: Json = field(default_factory=dict)
    """Keys of job.json: the slowest mini-batches, those that failed, what was noted."""


def count(prepared: Prepared, verdicts: Verdicts) -> Counts:
    """The counts of the whole job; rows of files that are still to do are in neither sum.

    Rows of a scoring script are what it returned: nobody knows of more.
    """
    rows_scored = rows_failed = rows_aside = files_failed = files_unsupported = 0
    for verdict in verdicts:
        files_failed += verdict.files_failed
        if verdict.is_failed and prepared.job.script is None:
            files_unsupported += not is_readable(verdict.file.name)
            rows_failed += rows_of_failed(verdict, prepared.job.csv)
        else:
            rows_scored += sum(segment.rows for segment in verdict.scored)
            rows_aside += sum(segment.aside.rows for segment in verdict.scored if segment.aside)
    return Counts(
        files=len(prepared.listing.files),
        files_failed=files_failed,
        files_unsupported=files_unsupported,
        files_skipped=len(prepared.listing.skipped),
        mini_batches=len(verdicts.plan),
        rows=rows_scored + rows_failed + rows_aside,
        rows_scored=rows_scored,
        rows_failed=rows_failed + rows_aside,
        rows_quarantined=rows_aside,
        retries=verdicts.receipts.retries,
    )


def completed(
    counts: Counts, outputs: tuple[Json, ...], columns: tuple[Column, ...], files: tuple[Json, ...] = ()
) -> Ending:
    """The ending of a job whose predictions, and what a scoring script wrote itself, are in place."""
    to = outputs[0]["path"] if len(outputs) == 1 else counted(len(outputs), "file")
    places = [f", to {to}"] if outputs else []
    places += [f", {counted(len(files), 'file')} written by the script"] if files else []
    bad = _bad(counts)
    failed = f"; {bad}, see failures.jsonl" if bad else ""
    return Ending("Completed", f"{_scored(counts)}{''.join(places)}{failed}", counts, outputs, files, columns)


def failed(job: Job, counts: Counts, *, is_whole: bool, is_of_rows: bool = False) -> Ending:
    """The ending of a job with too many failures; ``is_whole``: everything was scored before it was judged.

    ``is_of_rows``: files failed for rows that could be put aside.
    """
    if not is_whole:
        message = f"stopped early: {_excess(job, counts)}, see failures.jsonl; {_scored(counts)} by then"
    elif not counts.rows_scored:
        message = f"{_bad(counts)} and no row was scored, see failures.jsonl"
    else:
        message = f"{_excess(job, counts)}; {_scored(counts)} but not published, see failures.jsonl"
    if is_of_rows:
        message += "; --on-bad-row quarantine, in another OUTPUT, fails bad rows alone and not their files"
    return Ending("Failed", message, counts, exit_code=1, is_whole=is_whole)


def judged_again(place: Place, manifest: Json, job: Job) -> JobSummary:
    """The summary of a job that was finished before, judged by this run's thresholds; nothing is done.

    Where they allow less than those of the run that finished it, it has failed, though what that published stays.
    """
    counts = Counts(**manifest["counts"])
    if not (excess := _excess(job, counts)):
        message = f"already finished: {counts.rows_scored:,} rows scored, nothing to do"
        return JobSummary("Completed", counts, place.path, message, 0, manifest, is_fresh=False, place=place)
    message = (
        f"{excess}: the job was finished by a run that allowed them, and its predictions stay; "
        "repair what failures.jsonl tells of, or give --overwrite to score everything anew"
    )
    manifest = {**manifest, "status": "Failed", "message": message}
    return JobSummary("Failed", counts, place.path, message, 1, manifest, is_fresh=False, place=place)


def cut_short(error: BatchscoreError, counts: Counts) -> Ending:
    """The ending of a job that a signal stopped, or that an error ended."""
    status: Status = "Canceled" if isinstance(error, Stopped) else "Failed"
    return Ending(status, str(error), counts, exit_code=error.exit_code, error=error, is_whole=False)


def _excess(job: Job, counts: Counts) -> str:
    """Of what there is more than may be, in words; nothing where all is within the thresholds."""
    files = rows = ""
    if not allows(job.error_threshold, counts.files_failed, counts.files):
        files = f"{_failed(counts)}, more than the {_shown(job.error_threshold)} that may (--error-threshold)"
    if job.max_bad_rows is not None and has_too_many_bad_rows(counts, job.max_bad_rows):
        rows = f"{_aside(counts)}, more than the {_shown(job.max_bad_rows)} that may be (--max-bad-rows)"
    return "; ".join(filter(None, (files, rows)))


def _scored(counts: Counts) -> str:
    return f"{counts.rows_scored:,} of {counts.rows:,} rows from {counted(counts.files, 'file')} scored"


def _bad(counts: Counts) -> str:
    """Failed files and rows put aside, as far as there are any."""
    files = _failed(counts) if counts.files_failed else ""
    return "; ".join(filter(None, (files, _aside(counts) if counts.rows_quarantined else "")))


def _aside(counts: Counts) -> str:
    number = counts.rows_quarantined
    return "1 row quarantined" if number == 1 else f"{number:,} rows quarantined"


def _shown(limit: Limit) -> str:
    return str(limit) if isinstance(limit, Share) else f"{limit:,}"


def _failed(counts: Counts) -> str:
    unsupported = f" ({counts.files_unsupported:,} of unsupported types)" if counts.files_unsupported else ""
    return f"{counted(counts.files_failed, 'file')} failed{unsupported}"


def warned(ending: Ending, job: Job, slow: int) -> Ending:
    """The ending with what is to be said of mini-batches that Azure would have stopped."""
    if not slow or job.warns_beyond is None:
        return ending
    batches, they = ("1 mini-batch", "it") if slow == 1 else (f"{slow:,} mini-batches", "they")
    warning = (
        f"{batches} took more than {job.warns_beyond:g} s, which is all that Azure gives where no timeout is stated: "
        f"there {they} would have been stopped. State a longer one ({job.timeout_name}), or make mini-batches smaller"
    )
    return replace(ending, slow=slow, warnings=(warning,))
