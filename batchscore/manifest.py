"""job.json: what a job was asked, what it did and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import repeat

from batchscore import __version__, limits
from batchscore.errors import BatchscoreError, Stopped
from batchscore.highlights import Highlights
from batchscore.job import Job
from batchscore.limits import Limit, Share, allows
from batchscore.locking import utc
from batchscore.minibatch import Json
from batchscore.nouns import counted
from batchscore.outcome import Column
from batchscore.planning import Prepared
from batchscore.readers import is_readable
from batchscore.redaction import redact
from batchscore.schema import ColumnSpec, TensorSpec
from batchscore.stopwatch import Spent
from batchscore.storage import Place
from batchscore.summary import Counts, JobSummary, Status, Verdicts, has_too_many_bad_rows, rows_of_failed
from batchscore.timings import where_time_went
from batchscore.writers import published


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


def standing_out(prepared: Prepared, verdicts: Verdicts) -> Json:
    """What a person asks after a job, since the journal goes: lists of bounded length. Raises StorageError."""
    receipts = verdicts.receipts
    number, first = receipts.failed_mini_batches(verdicts.plan)
    warnings = Highlights()
    warnings.note(*prepared.notes, *receipts.highlights.notes)
    return {
        "mini_batches": {
            "done": receipts.mini_batches_done(verdicts.plan),
            "failed": number,
            "first_failed": [asdict(glimpse) for glimpse in first],
            "slowest": [asdict(glimpse) for glimpse in receipts.highlights.slowest],
        },
        "warnings": [redact(note) for note in warnings.notes],
    }


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


def manifest_of(prepared: Prepared, ending: Ending) -> Json:
    """The content of job.json."""
    job, header, now = prepared.job, prepared.earlier.header, time.time()
    return {
        "status": ending.status,
        "message": ending.message,
        "counts": asdict(ending.counts),
        "model": {
            "uri": redact(prepared.model.reference),
            "resolved": redact(prepared.model.resolved),
            "digest": header.identity["model_digest"],
        },
        **({"deployment": job.deployment.to_json()} if job.deployment else {}),
        "inputs": {
            "given": [redact(entry) for entry in job.inputs],
            "include": list(job.include),
            "exclude": list(job.exclude),
            "digest": prepared.listing.digest,
        },
        "settings": _settings_of(prepared),
        "timings": {
            "started": utc(prepared.started),
            "ended": utc(now),
            "seconds": round(now - prepared.started, 3),
            **({} if job.warns_beyond is None else {"mini_batches_beyond_azure": ending.slow}),
            "rows_scored": ending.rows_recorded,
            **where_time_went(prepared, ending.spent, ending.rows_recorded),
        },
        "threads": {"per_worker": prepared.settings.threads, "libraries": dict(prepared.observed.threads)},
        "workers": prepared.observed.workers,
        "skipped": [asdict(entry) for entry in prepared.listing.skipped],
        "outputs": list(ending.outputs),
        "files": list(ending.files),
        "columns": [asdict(column) for column in published(ending.columns)],
        **ending.standing_out,
        "job": header.job,
        "identity": header.identity,
        "batchscore": __version__,
    }


def _settings_of(prepared: Prepared) -> Json:
    """Of the job, and of this run of it."""
    job = prepared.job
    return {
        **prepared.earlier.header.identity["settings"],
        "rows_per_call": job.rows_per_call if job.predicts_whole_files else prepared.settings.rows_per_call,
        "threads_per_worker": prepared.settings.threads,
        "workers": job.workers,
        "worker_start": job.worker_start,
        "timeout": job.timeout,
        "times_mini_batches": job.times_mini_batches,
        "warns_beyond": job.warns_beyond,
        "max_retries": job.max_retries,
        "memory_limit": job.memory_limit,
        "recycle_after": job.recycle_after,
        "error_threshold": limits.as_json(job.error_threshold),
        "max_bad_rows": limits.as_json(job.max_bad_rows),
        "fail_fast": job.fail_fast,
        "date": job.date,
        "env_manager": job.env_manager,
        "environment_variables": [name for name, _ in job.environment],
        "storage_options": [name for name, _ in job.storage_options],
    }


def empty_columns(prepared: Prepared) -> tuple[Column, ...]:
    """The output columns of a job without rows: prediction names from the output signature, else `prediction`.

    A scoring script's lines in layout azure have no columns, whatever there is of them.
    """
    if prepared.job.script and prepared.job.layout == "azure":
        return ()
    settings, outputs = prepared.settings, prepared.model.folder.signature.outputs
    specs = outputs.specs if outputs and settings.predict_fn == "predict" else ()
    names = [spec.name for spec in specs]
    if not names or None in names:
        names = ["prediction"] if len(names) <= 1 else [f"prediction_{position}" for position in range(len(names))]
    file, row = Column("file", "string", "file"), Column("row", "int64", "row")
    predictions = [Column(str(name), kind, "prediction") for name, kind in zip(names, _kinds(specs), strict=False)]
    if prepared.job.script:
        return tuple(predictions)
    if settings.layout == "azure":
        return (row, *predictions, file)
    kept = [Column(name, "string", "kept") for name in settings.keep]
    return (file, row, *kept, *(Column(name, "string", "added") for name, _ in settings.add), *predictions)


_ARROW = {
    "double": "double", "float": "float", "long": "int64", "integer": "int32", "boolean": "bool", "binary": "binary",
    "datetime": "timestamp[us]", "float64": "double", "float32": "float", "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


def _kinds(specs: Iterable[ColumnSpec | TensorSpec]) -> Iterator[str]:
    """The types of the answer's columns as the signature has them, text where it says nothing or more than one word."""
    for spec in specs:
        stated = spec.type if isinstance(spec, ColumnSpec) else spec.dtype
        yield _ARROW.get(stated, "string") if isinstance(stated, str) else "string"
    yield from repeat("string")


def as_json(manifest: Json) -> bytes:
    """The text of job.json."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
