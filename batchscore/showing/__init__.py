"""What a finished, failed, stopped or running job did, looked at from outside; nothing in OUTPUT is changed."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from batchscore.errors import StorageError, UsageError
from batchscore.glance import looked_at
from batchscore.highlights import MOST
from batchscore.journal import Header, read_header
from batchscore.locking import Holder
from batchscore.minibatch import Json
from batchscore.moments import seconds_of
from batchscore.redaction import redact
from batchscore.runplan import RunPlan
from batchscore.showing.reasons import Reasons, read_failures
from batchscore.showing.shown import Progress, Report
from batchscore.showing.unfinished import Tally, tally
from batchscore.storage import access_of, storage_errors, using
from batchscore.workspace import Workspace

_SILENT_SECONDS = 90.0
"""Without a sign of life from who holds an OUTPUT on a store: it gives one every half a minute."""
_LOOKS = 3
"""A job that ends while it is looked at is looked at again."""


def look(output: str, work_dir: str | None = None, storage_options: tuple[tuple[str, str], ...] = ()) -> Report:
    """The report on the job in an OUTPUT, whose work in progress may lie in a work directory.

    Raises UsageError where there is none, StorageError where it can't be read.
    """
    with using(access_of(storage_options, [output])), storage_errors(f"can't look at OUTPUT {redact(output)}"):
        for _ in range(_LOOKS):
            with contextlib.suppress(FileNotFoundError), tempfile.TemporaryDirectory(prefix="batchscore-") as scratch:
                return _look(looked_at(output, scratch, work_dir))
            # the run has ended this moment and tidied up
    raise StorageError(f"the job in OUTPUT {redact(output)} began and ended again and again; look again")


def _look(workspace: Workspace) -> Report:
    holder = workspace.held_by()
    header, manifest, plan = read_header(workspace.journal), workspace.manifest(), RunPlan.read(workspace.folder)
    if manifest and _is_of_last_run(manifest, header, plan, holder):
        return _of_manifest(workspace, manifest, header, holder)
    if holder is None and header is None:
        raise UsageError(
            f"OUTPUT {workspace.root} holds no job of batchscore; give the folder that -o of `batchscore run` named"
        )
    report = _of_unfinished(workspace, header, plan, holder)
    if manifest and header and manifest["job"] != header.job:
        note = f"job.json and the predictions in OUTPUT are still those of the job before ({manifest['status']})"
        report = replace(report, warnings=(note, *report.warnings))
    return report


def _is_of_last_run(manifest: Json, header: Header | None, plan: RunPlan | None, holder: Holder | None) -> bool:
    """Whether job.json tells how the last run ended, and no other has begun since."""
    if header is None:
        return True  # even where a run holds the lock: it hasn't begun anything, or has finished and tidies up
    if manifest["job"] != header.job:
        return False
    if manifest["status"] == "Completed":
        return True
    if holder and holder.since:
        return bool(manifest["timings"]["ended"] >= holder.since)
    return plan is None or plan.started <= manifest["timings"]["started"]


def _of_manifest(workspace: Workspace, manifest: Json, header: Header | None, holder: Holder | None) -> Report:
    """The report on a job that has ended."""
    timings, model = manifest["timings"], manifest["model"]
    recorded, lists = timings.get("rows_scored"), manifest.get("mini_batches", {})
    reasons = Reasons()
    if manifest["counts"].get("files_failed") or manifest["counts"].get("rows_failed"):
        with contextlib.suppress(FileNotFoundError), workspace.output.open("failures.jsonl") as lines:
            reasons.take(read_failures(lines))
    return Report(
        output=workspace.root,
        status=manifest["status"],
        message=manifest["message"],
        model=model["uri"],
        model_digest=model["digest"],
        counts=manifest["counts"],
        started=timings["started"],
        ended=timings["ended"],
        seconds=timings["seconds"],
        rows_per_second=_rate(recorded, timings["seconds"]),
        is_resumable=header is not None and manifest["status"] != "Completed",
        holder=holder,
        times={name: timings[name] for name in ("run", "workers", "whole_job", "words") if name in timings},
        outputs=tuple(entry["path"] for entry in manifest["outputs"]),
        slowest=tuple(lists.get("slowest", ())),
        failed=tuple(lists.get("first_failed", ())),
        mini_batches_failed=lists.get("failed", 0),
        mini_batches_done=lists.get("done"),
        workers=manifest.get("workers"),
        reasons=reasons.top(),
        warnings=(*manifest.get("warnings", ()), *_skipped(manifest["skipped"])),
    )


def _of_unfinished(workspace: Workspace, header: Header | None, plan: RunPlan | None, holder: Holder | None) -> Report:
    """The report on a job that runs, or whose last run ended without a word."""
    if plan and holder and holder.since and plan.started < holder.since:
        plan = None  # of a run before: this one hasn't come so far
    found = tally(workspace, plan) if header else Tally()
    progress = found.progress(is_running=holder is not None)
    reasons = Reasons()
    reasons.take(failure.to_json() for failure in found.failures)
    for part in dict.fromkeys(aside.part for aside in found.aside.values()):
        with contextlib.suppress(FileNotFoundError), Path(workspace.part(part)).open("rb") as lines:
            reasons.take(read_failures(lines))
    return Report(
        output=workspace.root,
        status="Running" if holder else "Killed",
        message=_message(progress, holder),
        model=header.reference if header else None,
        model_digest=header.identity["model_digest"] if header else None,
        counts=found.counts,
        started=plan.started if plan else holder.since if holder else None,
        seconds=progress.seconds if progress else None,
        rows_per_second=progress.rows_per_second if progress else None,
        is_resumable=holder is None,
        holder=holder,
        progress=progress,
        times={"whole_job": found.spent.told()},
        slowest=tuple(map(asdict, found.highlights.slowest)),
        failed=tuple(map(asdict, found.failed[:MOST])),
        mini_batches_failed=len(found.failed),
        reasons=reasons.top(),
        warnings=found.highlights.notes,
    )


def _last_sign(holder: Holder) -> str | None:
    """When a run on another machine was heard of for the last time, where that is long ago."""
    if holder.seen is None:
        return None
    silent = time.time() - seconds_of(holder.seen)
    return holder.seen if silent > _SILENT_SECONDS else None


def _message(progress: Progress | None, holder: Holder | None) -> str:
    if holder is None:
        how_far = f" after {progress.percent} % of the input" if progress else ""
        return (
            f"its run ended without a word{how_far}: it was killed, or its machine or disk failed; "
            "run the same command again to go on"
        )
    if seen := _last_sign(holder):
        return (
            f"{holder} gave its last sign of life at {seen}; if it is gone for certain, "
            "run the same command again with --break-lock to go on"
        )
    if progress is None:
        return f"{holder} is preparing the job"
    if not progress.mini_batches_left:
        return f"{holder} has scored everything and is publishing"
    left = "" if progress.seconds_left is None else f", about {progress.seconds_left:,.0f} s left"
    return f"{progress.percent} % of the input done by {holder}{left}"


def _rate(rows: int | None, seconds: float) -> float | None:
    return round(rows / seconds, 1) if rows and seconds > 0 else None


def _skipped(skipped: list[Json]) -> Iterator[str]:
    """The files that were found and not scored, in a line."""
    if skipped:
        first = f"{skipped[0]['file']}: {skipped[0]['reason']}"
        number = len(skipped)
        yield f"{number:,} {'file was' if number == 1 else 'files were'} skipped, {first}"
