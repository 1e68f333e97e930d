"""job.json: what a job was asked, what it did and how it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import repeat

from batchscore import __version__, limits
from batchscore.endings import Ending
from batchscore.highlights import Highlights
from batchscore.minibatch import Json
from batchscore.moments import utc
from batchscore.outcome import Column
from batchscore.planning import Prepared
from batchscore.redaction import redact
from batchscore.schema import ColumnSpec, TensorSpec
from batchscore.summary import Verdicts
from batchscore.timings import where_time_went
from batchscore.writers import published


def standing_out(prepared: Prepared, verdicts: Verdicts) -> Json:
    """What a person asks after a job, since the journal goes: lists of bounded length. Raises StorageError."""
    receipts = verdicts.receipts
    number, first = receipts.failed_mini_batches()
    warnings = Highlights()
    warnings.note(*prepared.notes, *receipts.highlights.notes)
    return {
        "mini_batches": {
            "done": receipts.mini_batches_done(),
            "failed": number,
            "first_failed": [asdict(glimpse) for glimpse in first],
            "slowest": [asdict(glimpse) for glimpse in receipts.highlights.slowest],
        },
        "warnings": [redact(note) for note in warnings.notes],
    }


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
            **where_time_went(prepared, ending),
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
