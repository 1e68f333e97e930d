"""Bring out what was scored: prediction files, failures.jsonl, and job.json last."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from batchscore import writers
from batchscore.errors import BatchscoreError, Stopped, StorageError, UsageError
from batchscore.job import Job
from batchscore.manifest import Ending, as_json, count, empty_columns, ending_of, manifest_of
from batchscore.minibatch import Column, Json, MiniBatch, Scored
from batchscore.planning import Prepared
from batchscore.storage import Ready, commit, prepare, publish, redact, storage_errors
from batchscore.summary import Counts, FileVerdict, JobSummary, Status, failure_lines, judge, settle, verdicts
from batchscore.workspace import Workspace


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One prediction file to write: where, and the scored slices in it."""

    name: str
    scored: tuple[Scored, ...]


def output_files(job: Job, plan: Iterable[MiniBatch], verdicts: Iterable[FileVerdict]) -> Iterator[OutputFile]:
    """The prediction files of a job: one, one a mini-batch, or one an input file. Failed files are left out."""
    stem = Path(job.output_file_name).stem
    good = [verdict for verdict in verdicts if verdict.failure is None]
    if job.output_files == "one":
        yield OutputFile(job.output_file_name, tuple(entry for verdict in good for entry in verdict.scored))
    elif job.output_files == "mirror":
        for verdict in good:
            yield OutputFile(f"{stem}/{verdict.file.name}.{job.format}", verdict.scored)
    else:
        number_of = {piece.key: mini_batch.number for mini_batch in plan for piece in mini_batch.slices}
        entries = (entry for verdict in good for entry in verdict.scored)
        for number, group in groupby(entries, key=lambda entry: number_of[entry.slice.key]):
            yield OutputFile(f"{stem}/part-{number:05d}.{job.format}", tuple(group))


def join_predictions(
    job: Job,
    workspace: Workspace,
    files: Iterable[OutputFile],
    columns: tuple[Column, ...],
    parts: dict[str, tuple[Column, ...]],
) -> list[tuple[Ready, int]]:
    """Join the parts into prediction files that wait beside their places; each with its number of rows."""
    ready = []
    for file in files:
        pieces = [
            writers.Piece(str(Path(workspace.parts, entry.part)), entry.start, entry.stop, parts[entry.part])
            for entry in _merged(file.scored)
        ]

        def join(stream: BinaryIO, pieces: list[writers.Piece] = pieces) -> None:
            writers.join(job.format, pieces, stream, columns)

        ready.append((prepare(workspace.folder, file.name, join), sum(entry.rows for entry in file.scored)))
    return ready


def put_in_place(workspace: Workspace, ready: Iterable[tuple[Ready, int]]) -> list[Json]:
    """Move prediction files into their places; what job.json says of each: path, rows, bytes, sha256."""
    outputs = []
    for file, rows in ready:
        commit(workspace.root, file)
        outputs.append({"path": file.name, "rows": rows, "bytes": file.bytes, "sha256": file.sha256})
    return outputs


@dataclass(frozen=True, slots=True)
class _Run:
    part: str
    start: int
    stop: int


def _merged(scored: Iterable[Scored]) -> list[_Run]:
    """Neighbouring segments of one part as one, so that thousands of small files are copied in few pieces."""
    runs: list[_Run] = []
    for entry in scored:
        if not entry.part:
            continue
        if runs and runs[-1].part == entry.part and runs[-1].stop == entry.start:
            runs[-1] = _Run(entry.part, runs[-1].start, entry.stop)
        else:
            runs.append(_Run(entry.part, entry.start, entry.stop))
    return runs


def withdraw(workspace: Workspace, job: Job, replaced: Iterable[str]) -> None:
    """Take away job.json and the outputs of the job before, now that this one's are ready to take their places."""
    with storage_errors(f"can't replace the outputs in {workspace.root}"):
        Path(workspace.root, "job.json").unlink(missing_ok=True)
        for name in (*replaced, Path(job.output_file_name).stem if job.output_files != "one" else ""):
            path = Path(workspace.root, name).resolve()
            if not name or Path(workspace.root).resolve() not in path.parents:
                continue  # a manifest is a file that anyone may have edited
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, Path(workspace.root))


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def publish_failures(workspace: Workspace, verdicts: Iterable[FileVerdict]) -> None:
    """Write failures.jsonl in input order, or take away an old one where nothing failed."""
    failures = [verdict.failure for verdict in verdicts if verdict.failure]
    if failures:
        publish(
            workspace.root,
            "failures.jsonl",
            workspace.folder,
            lambda stream: stream.writelines(failure_lines(failures)),
        )
    else:
        with storage_errors("can't remove an old failures.jsonl"):
            Path(workspace.root, "failures.jsonl").unlink(missing_ok=True)


def publish_manifest(workspace: Workspace, manifest: Json) -> None:
    """Write job.json, the last of all."""
    publish(workspace.root, "job.json", workspace.folder, lambda stream: stream.write(as_json(manifest)))


def conclude(prepared: Prepared, plan: tuple[MiniBatch, ...]) -> JobSummary:
    """Judge the job and publish: predictions where it completed, failures.jsonl, and job.json last."""
    job, workspace, receipts = prepared.job, prepared.workspace, prepared.earlier.receipts
    settled, columns = settle(verdicts(plan, receipts), receipts.columns)
    counts = count(prepared, plan, settled)
    is_whole = not any(verdict.is_pending for verdict in settled)
    status = judge(counts, job.error_threshold) if is_whole else "Failed"
    outputs: list[Json] = []
    if status == "Completed":
        files = output_files(job, plan, settled)
        ready = join_predictions(job, workspace, files, columns or empty_columns(prepared), receipts.columns)
        withdraw(workspace, job, prepared.earlier.replaces)
        outputs = put_in_place(workspace, ready)
    publish_failures(workspace, settled)
    ending = ending_of(job, status, counts, outputs, is_whole=is_whole)
    summary = _summed_up(prepared, ending, counts, outputs)
    workspace.is_done = status == "Completed"
    return summary


def conclude_broken(prepared: Prepared, plan: tuple[MiniBatch, ...], error: BatchscoreError) -> JobSummary:
    """Write job.json of a job that a signal stopped, or that an error ended: that is raised again.

    A wrong setting that shows only in a worker leaves nothing behind: there is nothing to resume.
    """
    workspace, receipts = prepared.workspace, prepared.earlier.receipts
    if isinstance(error, UsageError):
        if not receipts.parts:
            workspace.clear()
        raise error
    settled, _ = settle(verdicts(plan, receipts), receipts.columns)
    status: Status = "Canceled" if isinstance(error, Stopped) else "Failed"
    with contextlib.suppress(StorageError):  # a full disk is told by the error at hand
        summary = _summed_up(
            prepared, Ending(status, redact(str(error)), error.exit_code), count(prepared, plan, settled), []
        )
        if isinstance(error, Stopped):
            return summary
    raise error


def _summed_up(prepared: Prepared, ending: Ending, counts: Counts, outputs: list[Json]) -> JobSummary:
    manifest = manifest_of(prepared, ending, counts, outputs)
    publish_manifest(prepared.workspace, manifest)
    return JobSummary(ending.status, counts, prepared.workspace.root, ending.message, ending.exit_code, manifest)
