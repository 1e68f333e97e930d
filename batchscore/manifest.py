"""job.json: what a job was asked, what it did and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from batchscore import __version__
from batchscore.job import Job
from batchscore.minibatch import Column, Json, MiniBatch
from batchscore.planning import Prepared, inputs_digest
from batchscore.storage import redact
from batchscore.summary import Counts, FileVerdict, Status, rows_of_failed


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended, in a word, in a sentence, and as an exit code."""

    status: Status
    message: str
    exit_code: int = 0


def count(prepared: Prepared, plan: tuple[MiniBatch, ...], settled: Iterable[FileVerdict]) -> Counts:
    """The counts of the whole job; rows of files that are still to do are in neither sum."""
    rows_scored = rows_failed = files_failed = 0
    for verdict in settled:
        if verdict.failure:
            files_failed += 1
            rows_failed += rows_of_failed(verdict, prepared.job.csv)
        else:
            rows_scored += sum(entry.rows for entry in verdict.scored)
    return Counts(
        files=len(prepared.listing.files),
        files_failed=files_failed,
        files_skipped=len(prepared.listing.skipped),
        mini_batches=len(plan),
        rows=rows_scored + rows_failed,
        rows_scored=rows_scored,
        rows_failed=rows_failed,
        retries=prepared.earlier.receipts.retries,
    )


def ending_of(job: Job, status: Status, counts: Counts, outputs: list[Json], *, is_whole: bool) -> Ending:
    """The line a person reads last."""
    scored = f"{counts.rows_scored:,} of {counts.rows:,} rows from {_files(counts.files)} scored"
    failed = f"{_files(counts.files_failed)} failed"
    if status == "Completed":
        to = outputs[0]["path"] if len(outputs) == 1 else _files(len(outputs))
        return Ending(status, f"{scored}, to {to}" + (f"; {failed}, see failures.jsonl" if counts.files_failed else ""))
    if not is_whole:
        return Ending(status, f"stopped early: {failed}, see failures.jsonl; {scored}", 1)
    if not counts.rows_scored:
        return Ending(status, f"{failed} and no row was scored, see failures.jsonl", 1)
    allowed = f"more than the {job.error_threshold:,} that may (--error-threshold)"
    return Ending(status, f"{failed}, {allowed}; {scored} but not published, see failures.jsonl", 1)


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


def manifest_of(prepared: Prepared, ending: Ending, counts: Counts, outputs: list[Json]) -> Json:
    """The content of job.json."""
    job, now = prepared.job, time.time()
    return {
        "status": ending.status,
        "message": ending.message,
        "counts": asdict(counts),
        "model": {
            "uri": redact(prepared.model.reference),
            "resolved": redact(prepared.model.resolved),
            "digest": prepared.identity.model_digest,
        },
        "inputs": {
            "given": [redact(entry) for entry in job.inputs],
            "include": list(job.include),
            "exclude": list(job.exclude),
            "digest": inputs_digest(prepared.listing.files),
        },
        "settings": {
            **prepared.identity.settings,
            "rows_per_call": prepared.settings.rows_per_call,
            "threads_per_worker": prepared.settings.threads,
            "workers": job.workers,
            "timeout": job.timeout,
            "max_retries": job.max_retries,
            "error_threshold": job.error_threshold,
            "fail_fast": job.fail_fast,
            "environment_variables": [name for name, _ in job.environment],
        },
        "timings": {
            "started": _utc(prepared.started),
            "ended": _utc(now),
            "seconds": round(now - prepared.started, 3),
        },
        "skipped": [asdict(entry) for entry in prepared.listing.skipped],
        "outputs": outputs,
        "identity": prepared.identity.to_json(),
        "batchscore": __version__,
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def empty_columns(prepared: Prepared) -> tuple[Column, ...]:
    """The output columns of a job without rows: prediction names from the output signature, else `prediction`."""
    settings, outputs = prepared.settings, prepared.model.folder.signature.outputs
    specs = outputs.specs if outputs and settings.predict_fn == "predict" else ()
    names = [spec.name for spec in specs]
    if not names or None in names:
        names = ["prediction"] if len(names) <= 1 else [f"prediction_{position}" for position in range(len(names))]
    return (
        Column("file", "string", "file"),
        Column("row", "int64", "row"),
        *(Column(name, "string", "kept") for name in settings.keep),
        *(Column(name, "string", "added") for name, _ in settings.add),
        *(Column(str(name), "string", "prediction") for name in names),
    )


def as_json(manifest: Json) -> bytes:
    """The text of job.json."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
