"""Bring out what was scored: prediction files, failures.jsonl, and job.json last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import BinaryIO

from batchscore import endings, manifest, writers
from batchscore.endings import Ending
from batchscore.errors import BatchscoreError, OutputLocked, Stopped, StorageError, UsageError
from batchscore.job import Job
from batchscore.minibatch import Json
from batchscore.outcome import Column, Failure, Quarantined
from batchscore.planning import Prepared
from batchscore.scriptfiles import announce, ready_files
from batchscore.segments import Part, Segment
from batchscore.storage import Ready, prepare, publish, sync_all
from batchscore.summary import Counts, JobSummary, Status, Verdicts, judge
from batchscore.workspace import Workspace
from batchscore.writers.parts import span

_LOOKED_AT = 100
"""Failures by which it is told whether bad rows are the cause."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One prediction file to write: where, and the scored slices in it."""

    name: str
    segments: Iterable[Segment]
    """To be read before the next file's."""


def output_files(job: Job, verdicts: Verdicts) -> Iterator[OutputFile]:
    """The prediction files of a job: one, one a mini-batch, one an input file, or none (summary_only).

    Failed files are left out.
    """
    if job.output_action == "summary_only":
        return
    good = (verdict for verdict in verdicts if not verdict.is_failed)
    if job.output_files == "one":
        yield OutputFile(job.output_file_name, (segment for verdict in good for segment in verdict.scored))
    elif job.output_files == "mirror":
        for verdict in good:
            yield OutputFile(f"{job.output_folder}/{verdict.file.name}.{job.format}", verdict.scored)
    else:
        for number, group in groupby(_numbered(verdicts), key=itemgetter(0)):
            yield OutputFile(f"{job.output_folder}/part-{number:05d}.{job.format}", (segment for _, segment in group))


def _numbered(verdicts: Verdicts) -> Iterator[tuple[int, Segment]]:
    """The segments of files that didn't fail, each with the number of its mini-batch."""
    place = 0
    for verdict in verdicts:
        for offset, segment in enumerate(verdict.scored):
            yield verdicts.plan.number_at(place + offset), segment
        place += len(verdict.slices)


def merged(segments: Iterable[Segment]) -> Iterator[tuple[Segment, Part]]:
    """Neighbours in one part as one, so that thousands of small files are copied in few pieces."""
    last: tuple[Segment, Part] | None = None
    for segment in segments:
        if segment.part is None:
            continue
        if last and last[1] == segment.part and last[0].stop == segment.start:
            rows = last[0].rows + segment.rows
            last = Segment(rows, segment.part, last[0].start, segment.stop), segment.part
        else:
            if last:
                yield last
            last = segment, segment.part
    if last:
        yield last


def publish_outputs(
    prepared: Prepared, verdicts: Verdicts, columns: tuple[Column, ...]
) -> tuple[tuple[Json, ...], tuple[Json, ...]]:
    """Join the parts into prediction files, and put all of them into the places of what was there before.

    With them go the files that a scoring script wrote itself. What job.json says of the ones (path, rows, bytes,
    sha256) and of the others (path, bytes, sha256). Raises UsageError where a script's file would replace a stranger.
    """
    with contextlib.closing(writers.open_joiner(prepared.settings.writer)) as joiner:
        ready = [_joined(prepared, file, columns, joiner) for file in output_files(prepared.job, verdicts)]
    sync_all([file for file, _ in ready])
    files = list(ready_files(prepared, verdicts))
    prepared.workspace.check_lock()  # joining takes its time
    earlier = prepared.workspace.announced()
    announce(prepared, files, earlier)
    withdraw(prepared, earlier)
    prepared.workspace.output.put([*(file for file, _ in ready), *files])
    outputs = tuple({"path": file.name, "rows": rows, **file.facts} for file, rows in ready)
    return outputs, tuple({"path": file.name, **file.facts} for file in files)


def _joined(
    prepared: Prepared, file: OutputFile, columns: tuple[Column, ...], joiner: writers.Joiner
) -> tuple[Ready, int]:
    """A prediction file that waits for its place, and its number of rows."""
    workspace, rows = prepared.workspace, 0

    def pieces() -> Iterator[writers.Piece]:
        nonlocal rows
        for segment, part in merged(file.segments):
            rows += segment.rows
            yield writers.Piece(workspace.part(part.name), segment.start, segment.stop, part.columns)

    def join(stream: BinaryIO) -> None:
        joiner.join(pieces(), stream, columns)

    return prepare(workspace.ready, file.name, join, syncs=False), rows


def withdraw(prepared: Prepared, earlier: Iterable[str]) -> None:
    """Take away job.json and the outputs of jobs before, now that this one's are ready to take their places.

    With many prediction files, and with a script's files (`earlier`), also those of an earlier attempt to publish,
    whose inputs may have been others.
    """
    output, header = prepared.workspace.output, prepared.earlier.header
    several = header.targets if prepared.job.output_files != "one" else ()
    output.remove(["job.json"])  # first, since it would vouch for what is replaced
    output.remove([*header.replaces, *several, *earlier])


def publish_failures(workspace: Workspace, failures: Iterator[Failure | Quarantined]) -> None:
    """Write failures.jsonl in input order, or take away an old one where nothing failed."""
    if workspace.is_apart:  # what it says must not stand beside half a copy
        workspace.output.remove(["job.json"])
    first = next(failures, None)
    if first is not None:
        lines = failure_lines(workspace, chain([first], failures))
        publish(workspace.output, "failures.jsonl", workspace.ready, lambda stream: stream.writelines(lines))
    elif workspace.output.has_folder("failures.jsonl"):  # somebody else's
        raise StorageError(f"can't remove an old {workspace.output.location('failures.jsonl')}: Is a directory")
    else:
        workspace.output.remove(["failures.jsonl"])


def failure_lines(workspace: Workspace, failures: Iterable[Failure | Quarantined]) -> Iterator[bytes]:
    """Lines of failures.jsonl: failures one by one, those of rows put aside as the workers wrote them, in blocks."""
    for failure in failures:
        if isinstance(failure, Failure):
            yield failure.line()
        else:
            yield from span(workspace.part(failure.part), failure.start, failure.stop)


def conclude(prepared: Prepared, verdicts: Verdicts) -> Ending:
    """Judge the job and publish predictions, where it completed, and failures.jsonl."""
    prepared.workspace.check_lock()
    job, counts = prepared.job, endings.count(prepared, verdicts)
    if verdicts.is_whole and _judged(job, counts, verdicts) == "Completed":
        columns = verdicts.columns or manifest.empty_columns(prepared)
        outputs, files = publish_outputs(prepared, verdicts, columns)
        ending = endings.completed(counts, outputs, columns, files)
    else:
        ending = endings.failed(job, counts, is_whole=verdicts.is_whole, is_of_rows=_is_of_rows(job, verdicts))
    publish_failures(prepared.workspace, verdicts.failures())
    return _with_highlights(ending, prepared, verdicts)


def _is_of_rows(job: Job, verdicts: Verdicts) -> bool:
    """Whether one of the first failures is a bad row, which could be put aside."""
    if job.on_bad_row == "quarantine" or job.script is not None:
        return False
    first = islice(verdicts.failures(), _LOOKED_AT)
    return any(isinstance(failure, Failure) and failure.row is not None for failure in first)


def _judged(job: Job, counts: Counts, verdicts: Verdicts) -> Status:
    return judge(counts, job.error_threshold, job.max_bad_rows, has_success=_has_success(job, verdicts))


def _with_highlights(ending: Ending, prepared: Prepared, verdicts: Verdicts) -> Ending:
    return replace(
        endings.warned(ending, prepared.job, len(verdicts.receipts.slow)),
        rows_recorded=verdicts.receipts.rows_recorded,
        spent=verdicts.receipts.spent,
        standing_out=manifest.standing_out(prepared, verdicts),
    )


def _has_success(job: Job, verdicts: Verdicts) -> bool | None:
    """Whether any mini-batch was scored, where a script's results are only counted; else rows tell."""
    if job.script and job.output_action == "summary_only":
        return any(not verdict.is_failed for verdict in verdicts)
    return None


def cut_short(prepared: Prepared, verdicts: Verdicts, error: BatchscoreError) -> Ending:
    """How a job ended that a signal stopped, or an error; failures.jsonl has the failures so far.

    A wrong setting that shows only in a worker is raised again, and leaves nothing behind where nothing was scored; so
    is a signal that comes before it is known what there is to do: job.json stays that of the run before.
    Raises OutputLocked where somebody broke this run's lock.
    """
    workspace, earlier = prepared.workspace, prepared.earlier
    if isinstance(error, OutputLocked):
        raise error
    if isinstance(error, UsageError) or (isinstance(error, Stopped) and not verdicts.plan):
        workspace.is_done = earlier.is_new and not earlier.header.replaces and verdicts.receipts.is_empty
        raise error
    ending = endings.cut_short(error, endings.count(prepared, verdicts))
    with contextlib.suppress(StorageError):  # a full disk is told by the error at hand
        workspace.check_lock()  # what is in OUTPUT may be another run's by now
        workspace.clear_ready()
        publish_failures(workspace, verdicts.failures())
        ending = _with_highlights(ending, prepared, verdicts)
    return ending


def sign_off(prepared: Prepared, ending: Ending) -> JobSummary:
    """Write job.json, the last of all. Raises the error that ended the job, if it is one."""
    content, workspace = manifest.manifest_of(prepared, ending), prepared.workspace
    try:
        workspace.check_lock()
        publish(workspace.output, "job.json", workspace.ready, lambda stream: stream.write(manifest.as_json(content)))
    except StorageError as error:
        raise ending.error or error from error
    if ending.error is not None and ending.status != "Canceled":
        raise ending.error
    workspace.is_done = ending.status == "Completed"
    return JobSummary(
        ending.status,
        ending.counts,
        workspace.root,
        ending.message,
        ending.exit_code,
        content,
        is_whole=ending.is_whole,
        place=workspace.output,
    )
