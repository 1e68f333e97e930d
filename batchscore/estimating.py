"""What a job will take, by a sample of its rows: time, disk and memory."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchscore import engines, readers
from batchscore.findings import Estimates, Finding, Sample, size_text, time_text
from batchscore.job import Job
from batchscore.minibatch import InputFile
from batchscore.nouns import counted
from batchscore.readers.source import is_compressed
from batchscore.sampling import Fitting
from batchscore.settings import AUTO_CSV_ROWS, AUTO_FILE_BYTES
from batchscore.splitting import auto_bytes, auto_csv_bytes

COPIES = 4
"""Of a call's rows in a worker's memory: as read, as the model's frame, within the model, as predictions."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is known of the model."""

    rows_per_call: int
    has_signature: bool
    seconds: float
    """That loading it takes."""


def estimate(job: Job, fitting: Sequence[Fitting], sample: Sample, model: Loaded) -> Estimates:
    """Time, disk and memory of the whole job, in proportion to the sample."""
    rows = limited(job, sum(each.rows for each in fitting))
    mini_batches = _mini_batches(job, fitting, cuts_csv=model.has_signature)
    cores = engines.cpu_count()
    workers = max(1, min(job.workers or cores, mini_batches))
    rate = sample.rows_per_second * min(workers, cores)
    call = rows_of_a_call(job, fitting, model.rows_per_call)
    row_bytes = sum(each.file.size for each in fitting) / max(sum(each.rows for each in fitting), 1)
    call_bytes = COPIES * max(call - sample.rows, 0) * row_bytes
    return Estimates(
        basis=(
            f"{counted(sample.rows, 'row')} took one worker {sample.seconds:.2f} s and {size_text(sample.peak_bytes)}; "
            f"{counted(rows, 'row')} at {sample.rows_per_second:,.0f} rows/s and core ({min(workers, cores)} "
            f"in use), loading the model once, and memory for calls of {counted(call, 'row')} in each worker. "
            "Other rows may take longer or more."
        ),
        workers=workers,
        mini_batches=mini_batches,
        seconds=round(model.seconds + rows / max(rate, 1e-9), 3),
        output_bytes=round(rows * sample.output_bytes_per_row),
        parts_bytes=round(rows * sample.part_bytes_per_row),
        memory_bytes=round(workers * (sample.peak_bytes + call_bytes)),
    )


def rows_of_a_call(job: Job, fitting: Sequence[Fitting], rows_per_call: int) -> int:
    """The most that predict gets at once."""
    rows = [each.rows for each in fitting]
    there = max(rows, default=0) if job.predicts_whole_files else sum(rows)
    return min(rows_per_call, limited(job, there))


def limited(job: Job, rows: int) -> int:
    """The rows that the job scores of so many."""
    return rows if job.limit is None else min(rows, job.limit)


def _mini_batches(job: Job, fitting: Sequence[Fitting], *, cuts_csv: bool) -> int:
    """About how many; to know it, every file would have to be read."""
    if job.mini_batch_size.files:
        return math.ceil(len(fitting) / job.mini_batch_size.files)
    overhead = 0 if job.mini_batch_size.bytes else AUTO_FILE_BYTES
    target = job.mini_batch_size.bytes or auto_bytes(each.file for each in fitting)
    weight, before = 0.0, 0
    for each in fitting:
        if job.limit is not None and before >= job.limit:
            break
        before += each.rows
        is_cut = (job.limit is None or before <= job.limit) and _is_cut(each.file, cuts_csv=cuts_csv)
        pieces = each.file.size / (target if job.mini_batch_size.bytes else _piece_bytes(each, target))
        weight += pieces if is_cut and pieces > 1 else min((each.file.size + overhead) / target, 1)
    return max(1, math.ceil(weight))


def _is_cut(file: InputFile, *, cuts_csv: bool) -> bool:
    is_text = readers.is_csv(file.name) or readers.is_jsonl(file.name)
    return not is_compressed(file) and (readers.is_typed(file.name) or (is_text and cuts_csv))


def _piece_bytes(each: Fitting, target: int) -> int:
    """Of a file's slices under `auto`; see splitting."""
    if not readers.is_csv(each.file.name):
        return target
    return auto_csv_bytes(target, AUTO_CSV_ROWS * each.file.size // max(each.rows, 1))


@dataclass(frozen=True, slots=True)
class Room:
    """What there is, in bytes; None where that isn't known."""

    disk: int | None = None
    memory: int | None = None


def shortages(job: Job, estimates: Estimates, sample: Sample, call: int, room: Room) -> Iterator[Finding]:
    """Where what there is falls short of the estimates; ``call``: rows that predict gets at once."""
    needed = estimates.output_bytes + estimates.parts_bytes
    if room.disk is not None and needed > room.disk:
        message = (
            f"about {size_text(needed)} are needed, {size_text(room.disk)} are free; give an OUTPUT on another disk"
        )
        yield Finding("disk", "problem", message)
    if room.memory is not None and estimates.memory_bytes > room.memory:
        remedy = "use fewer --workers or a smaller --rows-per-call"
        needs = f"about {size_text(estimates.memory_bytes)} may be needed"
        yield Finding("memory", "warning", f"{needs}, {size_text(room.memory)} are available; {remedy}")
    seconds = call / sample.rows_per_second
    if seconds > job.timeout:
        takes = f"a call of predict with {call:,} rows may take about {time_text(seconds)}"
        limit = f"more than the {job.timeout:g} s of {job.timeout_name}"
        yield Finding("time", "warning", f"{takes}, {limit}; use a smaller --rows-per-call, or a longer timeout")


def free_disk(folder: str) -> int | None:
    """Bytes that can be written where the folder is or is to be; None where that can't be known."""
    path = Path(folder)
    try:
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free
    except OSError:
        return None


def available_memory() -> int | None:
    """Bytes that this machine or container has left; None where the system doesn't say."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        if match := re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE):
            found.append(int(match[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        limits = Path("/sys/fs/cgroup")
        found.append(int((limits / "memory.max").read_text()) - int((limits / "memory.current").read_text()))
    return max(min(found), 0) if found else None
