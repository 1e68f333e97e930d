"""A report for people: a few lines, then tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from batchscore.minibatch import Json
from batchscore.moments import seconds_of
from batchscore.nouns import counted
from batchscore.redaction import redact
from batchscore.showing.shown import Progress, Reason, Report

_WIDEST = 100
"""Characters of a text in a table."""


def lines(report: Report) -> Iterator[str]:
    """The report, a line at a time; file names and reasons come as they are, control characters included."""
    yield f"{report.status}: {report.message}"
    facts = [(name, fact) for name, fact in _facts(report) if fact]
    width = max(len(name) for name, _ in facts)
    yield from (f"  {name:<{width}}  {fact}" for name, fact in facts)
    yield from _times(report.times)
    yield from _mini_batches("Slowest mini-batches", list(_told_once(report)))
    yield from _mini_batches(f"Failed mini-batches ({report.mini_batches_failed:,})", report.failed)
    if more := report.mini_batches_failed - len(report.failed):
        yield f"  … and {more:,} more"
    yield from _reasons(report.reasons)
    if report.warnings:
        yield ""
        yield "Warnings"
        yield from (f"  {_short(warning, 4 * _WIDEST)}" for warning in report.warnings)


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    counts, progress = report.counts, report.progress
    yield "output", report.output
    yield "model", _model(report)
    yield "run by", _holder(report)
    yield "started", _local(report.started)
    if report.ended and report.seconds is not None:
        yield "ended", f"{_local(report.ended)}, after {_duration(report.seconds)}"
    yield "files", _listed(counts, ("files", ""), ("files_failed", "failed"), ("files_skipped", "skipped"))
    yield (
        "rows",
        _listed(
            counts,
            *([] if _is_cut_short(report) else [("rows", "")]),  # of the files that are left nobody has counted them
            ("rows_scored", "scored"),
            ("rows_failed", "failed"),
            *([("rows_quarantined", "of them quarantined")] if counts.get("rows_quarantined") else []),
        ),
    )
    if progress:
        yield "mini-batches", _progress(progress, counts)
        yield "last receipt", _ago(progress.seconds_since_receipt)
        yield "spent on", _spent(report.times.get("whole_job", {}))
    elif _is_cut_short(report):
        done = f"{report.mini_batches_done:,} of {counts['mini_batches']:,} done"
        yield "mini-batches", f"{done}, {counts['retries']:,} retries"
    else:
        yield "mini-batches", _listed(counts, ("mini_batches", ""), ("retries", "retries"))
    if report.workers:
        yield "workers", _workers(report.workers)
    if report.rows_per_second:
        yield "rate", f"{report.rows_per_second:,.0f} rows/s"
    if report.outputs:
        more = f" and {len(report.outputs) - 1:,} more" if len(report.outputs) > 1 else ""
        yield "predictions", f"{report.outputs[0]}{more}"
    if report.is_resumable:
        yield "to go on", "the same command again keeps what was scored"


def _is_cut_short(report: Report) -> bool:
    """Whether the job ended before everything was scored or had failed."""
    done = report.mini_batches_done
    return done is not None and done < (report.counts.get("mini_batches") or 0)


def _spent(stages: Json) -> str:
    """What the workers have done so far, such as `71 % read, 29 % predict`."""
    whole = sum(stage["seconds"] for stage in stages.values())
    shares = {name: round(100 * stage["seconds"] / whole) for name, stage in stages.items()} if whole else {}
    return ", ".join(f"{share} % {_STAGES[name]}" for name, share in shares.items() if share)


def _model(report: Report) -> str:
    digest = f" ({report.model_digest[:19]}…)" if report.model_digest else ""
    return f"{redact(report.model)}{digest}" if report.model else ""


def _holder(report: Report) -> str:
    workers = f", {counted(report.progress.workers, 'worker')}" if report.progress and report.holder else ""
    return f"{report.holder}{workers}" if report.holder else ""


def _progress(progress: Progress, counts: Json) -> str:
    retries = f", {counts['retries']:,} retries" if counts.get("retries") else ""
    return f"{progress.mini_batches_done:,} of {progress.mini_batches:,} done{retries}"


def _workers(workers: Json) -> str:
    if workers["number"] == 1 and workers["start"] == "each":
        return "1"
    how = "forked from a loader" if workers["start"] == "loader" else "each loaded the model"
    return f"{workers['number']}, {how}: {_short(workers['why'])}"


def _listed(counts: Json, *named: tuple[str, str]) -> str:
    """The counts that are known, such as `5, 1 failed`."""
    return ", ".join(f"{counts[key]:,} {word}".strip() for key, word in named if counts.get(key) is not None)


def _local(utc: str | None) -> str:
    """The time of the clock on this machine's wall."""
    if utc is None:
        return ""
    return datetime.fromtimestamp(seconds_of(utc), timezone.utc).astimezone().isoformat(" ", "seconds")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f"{_duration(seconds)} ago"


_STAGES = {
    "load": "start and load the model",
    "read": "read",
    "enforce": "make the model's input",
    "predict": "predict",
    "write": "write",
    "failed": "failed attempts",
    "idle": "idle",
}
_PARENT = {"plan": "plan", "list": "list inputs", "environment": "environment", "score": "score", "join": "join"}


def _times(times: Json) -> Iterator[str]:
    """Where the time of the last run went, and what may be done about it."""
    workers = times.get("workers")
    if not workers or not workers["count"]:
        return
    yield ""
    number = counted(workers["count"], "worker")
    of_run = f", {100 * workers['busy_of_run']:.0f} % of the run's" if "busy_of_run" in workers else ""
    busy = f"busy for {100 * workers['busy']:.0f} % of the time with a loaded model{of_run}"
    yield f"Where the time went: {number}, {busy}"
    for name, stage in workers["stages"].items():
        yield f"  {_STAGES[name]:<24}  {stage['seconds']:>9,.1f} s  {100 * stage['share']:>3.0f} %"
    run = ", ".join(
        f"{_PARENT[name]} {stage['seconds']:,.1f} s ({100 * stage['share']:.0f} %)"
        for name, stage in times["run"].items()
    )
    yield f"  the run: {run}"
    yield from (f"  {_short(sentence, 4 * _WIDEST)}" for sentence in times["words"][1:])


def _told_once(report: Report) -> Iterator[Json]:
    """The slowest, without the reasons of those that are listed once more, as failed."""
    failed = [(entry["number"], entry["reason"]) for entry in report.failed]
    for entry in report.slowest:
        is_told = (entry["number"], entry["reason"]) in failed
        yield {**entry, "reason": "failed, see below"} if is_told else entry


def _mini_batches(title: str, entries: Sequence[Json]) -> Iterator[str]:
    if not entries:
        return
    yield ""
    yield title
    rows = [("number", "seconds", "rows", "retries", "file")]
    for entry in entries:
        more = f" and {entry['files'] - 1:,} more" if entry["files"] > 1 else ""
        reason = f": {_short(entry['reason'])}" if entry["reason"] else ""
        numbers = (f"{entry['number']:,}", f"{entry['seconds']:,.2f}", f"{entry['rows']:,}", f"{entry['retries']:,}")
        rows.append((*numbers, f"{_short(entry['file'])}{more}{reason}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[:4], widths, strict=True)) + f"  {row[4]}"


def _reasons(reasons: Sequence[Reason]) -> Iterator[str]:
    if not reasons:
        return
    yield ""
    yield "Reasons of failure"
    width = max(len(f"{reason.count:,}") for reason in reasons)
    for reason in reasons:
        yield f"  {reason.count:>{width},}  {reason.reason}"
        yield from (f"  {'':{width}}    {_short(each['file'])}: {_short(each['reason'])}" for each in reason.examples)


def _short(text: str, longest: int = _WIDEST) -> str:
    line = text.replace("\n", " ")
    return line if len(line) <= longest else f"{line[:longest]} …"
