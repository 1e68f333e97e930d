"""Fold what became of each slice into counts, a status and the lines of failures.jsonl."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import reduce
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

from batchscore import readers, writers
from batchscore.errors import AnswerRefused, FileRefused, StorageError, UsageError
from batchscore.limits import Limit, allows, parse_limit
from batchscore.minibatch import FileSlice, InputFile, Json
from batchscore.outcome import Column, Failure, Quarantined
from batchscore.plan import Plan
from batchscore.receipts import FailedAt, Receipt, Receipts
from batchscore.segments import Extra, Segment
from batchscore.settings import CsvOptions, Writer
from batchscore.storage import Folder, Place

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["Completed", "Failed", "Canceled"]

_MAX_HEADLINE = 300
"""Characters of a reason on the terminal."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the whole job, resumed parts included; rows = rows_scored + rows_failed."""

    files: int = 0
    files_failed: int = 0
    files_unsupported: int = 0
    """Of those that failed: no reader knows their type."""
    files_skipped: int = 0
    mini_batches: int = 0
    rows: int = 0
    rows_scored: int = 0
    rows_failed: int = 0
    rows_quarantined: int = 0
    """Of those that failed: put aside, each with a line of its own, while their files didn't fail."""
    retries: int = 0


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """A file's slices in order: all scored, or the whole file failed, or the job was stopped before.

    Of a scoring script, a mini-batch's slices: it is scored or fails as a whole.
    """

    file: InputFile
    """The first one of a scoring script's mini-batch."""
    slices: tuple[FileSlice, ...]
    scored: tuple[Segment, ...]
    """Of the slices that are done; none where the file failed."""
    failed: FileSlice | None = None
    """The first slice that failed; its receipt says why."""
    refusal: str | None = None
    """Why a file fails whose slices are all scored."""

    @property
    def is_failed(self) -> bool:
        return self.failed is not None or self.refusal is not None

    @property
    def extra(self) -> Extra | None:
        """What a scoring script's mini-batch that is scored has besides its rows."""
        return self.scored[0].extra if self.scored else None

    @property
    def file_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(piece.file.name for piece in self.slices))

    @property
    def files_failed(self) -> int:
        """Files that count as failed."""
        if self.is_failed:
            return len(self.file_names)
        return self.extra.missing if self.extra else 0

    @property
    def is_pending(self) -> bool:
        """Neither scored nor failed."""
        return not self.is_failed and len(self.scored) < len(self.slices)


class Verdicts:
    """What became of each file of a plan, with a scoring script of each mini-batch.

    Iterate, in input order, as often as needed; one at a time is in memory.

    One failed slice fails its whole file. Numbers of different types in different files are widened; a file whose
    columns can't be reconciled with those of the good files before it in input order fails, whenever it was scored.
    """

    def __init__(self, receipts: Receipts) -> None:
        self.receipts = receipts
        self._refusals: dict[str, str] = {}
        self.columns: tuple[Column, ...] = ()
        """Of all good files together; none where there is no row."""
        self.is_whole = True
        """Whether each file is scored or has failed."""
        self._has_failures = False
        absorbed: set[tuple[Column, ...]] = set()
        for verdict in self:
            kinds = dict.fromkeys(segment.part.columns for segment in verdict.scored if segment.part)
            try:
                self.columns = reduce(writers.unify, (each for each in kinds if each not in absorbed), self.columns)
            except AnswerRefused as error:
                self._refusals[verdict.file.name] = str(error)
                self._has_failures = True
            else:
                absorbed.update(kinds)
                self.is_whole &= not verdict.is_pending
                self._has_failures |= verdict.files_failed > 0 or any(segment.aside for segment in verdict.scored)

    def __iter__(self) -> Iterator[FileVerdict]:
        if self.receipts.is_whole:
            numbers = (number for number in range(len(self.plan)) for _ in self.plan.places(number))
            groups = groupby(zip(numbers, self.receipts.each(), strict=True), key=itemgetter(0))
            yield from (self._verdict(tuple(known for _, known in group)) for _, group in groups)
            return
        for _, group in groupby(self.receipts.each(), key=_file):
            yield self._verdict(tuple(group))

    @property
    def plan(self) -> Plan:
        return self.receipts.plan

    def _verdict(self, known: tuple[tuple[FileSlice, Receipt | None], ...]) -> FileVerdict:
        scored: list[Segment] = []
        slices = tuple(piece for piece, _ in known)
        file = slices[0].file
        for piece, receipt in known:
            match receipt:
                case Segment() as segment:
                    scored.append(segment)
                case FailedAt():
                    return FileVerdict(file, slices, (), failed=piece)
        if file.name in self._refusals:
            return FileVerdict(file, slices, (), refusal=self._refusals[file.name])
        return FileVerdict(file, slices, tuple(scored))

    def failures(self) -> Iterator[Failure | Quarantined]:
        """One for each failed file, and the lines of rows put aside of the others, in input order.

        With a scoring script one for each mini-batch with failed files.
        """
        for verdict in self if self._has_failures else ():
            if verdict.failed is not None:
                yield self.receipts.failure(verdict.failed)
            elif verdict.refusal is not None and self.receipts.is_whole:
                yield Failure.of_files(verdict.file_names, verdict.refusal, verdict.files_failed)
            elif verdict.refusal is not None:
                yield Failure(verdict.file.name, verdict.refusal)
            elif verdict.extra and verdict.extra.missing:
                yield self.receipts.shortfall(verdict.extra)
            yield from (segment.aside for segment in verdict.scored if segment.aside)


def _file(known: tuple[FileSlice, Receipt | None]) -> InputFile:
    return known[0].file


def rows_of_failed(verdict: FileVerdict, csv: CsvOptions) -> int:
    """The rows that a failed file would have given; 0 where they can't be counted."""
    try:
        most = verdict.slices[-1].max_rows
        rows = readers.count_rows(verdict.file, csv, most)
    except (FileRefused, StorageError, OSError):
        return 0
    return rows if most is None else min(rows, most)


def judge(
    counts: Counts, error_threshold: Limit, max_bad_rows: Limit | None = None, *, has_success: bool | None = None
) -> Status:
    """Completed or Failed. A job that had something to score and no success has failed whatever the threshold.

    A success is a row that was scored, unless the caller knows better.
    """
    if has_success is None:
        has_success = counts.rows_scored > 0
    if not allows(error_threshold, counts.files_failed, counts.files):
        return "Failed"
    if has_too_many_bad_rows(counts, max_bad_rows):
        return "Failed"
    if (counts.files_failed or counts.rows_quarantined) and not has_success:
        return "Failed"
    return "Completed"


def has_too_many_bad_rows(counts: Counts, max_bad_rows: Limit | None) -> bool:
    """Whether more rows were put aside than may be."""
    return max_bad_rows is not None and not allows(max_bad_rows, counts.rows_quarantined, counts.rows)


@dataclass(frozen=True, slots=True)
class JobSummary:
    """How a job ended: what job.json says, and ways to read its outputs."""

    status: Status
    counts: Counts
    output: str
    """The output folder."""
    message: str
    """One line on how it ended."""
    exit_code: int
    manifest: Json = field(repr=False)
    """The content of job.json."""
    is_fresh: bool = True
    """False where the job had been finished before and nothing was done."""
    is_whole: bool = True
    """False where the job was stopped before each file was scored or had failed."""
    place: Place | None = field(default=None, repr=False, compare=False)
    """OUTPUT, and how it is reached; None: a local folder."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Paths of the prediction files, or their addresses."""
        return tuple(self._place.location(entry["path"]) for entry in self.manifest["outputs"])

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of what a scoring script wrote itself, or their addresses."""
        return tuple(self._place.location(entry["path"]) for entry in self.manifest.get("files", ()))

    @property
    def _place(self) -> Place:
        return self.place or Folder(self.output)

    @property
    def timings(self) -> Json:
        """Start, end and where the time went, of the last run and of the whole job; as in job.json."""
        return dict(self.manifest["timings"])

    @property
    def exceeded(self) -> tuple[str, ...]:
        """The options whose limits a failed job has exceeded."""
        settings, counts = self.manifest["settings"], self.counts
        stated = settings["max_bad_rows"]
        files = parse_limit(settings["error_threshold"], "--error-threshold", -1)
        rows = None if stated is None else parse_limit(stated, "--max-bad-rows")
        found = [] if allows(files, counts.files_failed, counts.files) else ["--error-threshold"]
        return (*found, *(["--max-bad-rows"] if has_too_many_bad_rows(counts, rows) else []))

    def read(self) -> pd.DataFrame:
        """All predictions as one frame, in input order; text such as `007` stays text, whatever the format.

        Raises UsageError where nothing was published.
        """
        if self.status != "Completed":
            raise UsageError(f"there are no predictions to read, the job is {self.status}: {self.message}")
        settings = self.manifest["settings"]
        if settings.get("script") and settings["layout"] == "azure":
            raise UsageError(
                "the lines of a scoring script in layout azure have neither names nor types; "
                "--layout table has them, or read the file as the script writes it"
            )
        columns = [Column(**column) for column in self.manifest["columns"]]
        form: Writer = "headerless" if settings["layout"] == "azure" else settings["format"]
        with self._place.local_copies([entry["path"] for entry in self.manifest["outputs"]]) as paths:
            return writers.read_frame(paths, form, columns)

    def failures(self) -> pd.DataFrame:
        """The lines of failures.jsonl as a frame: file, row, column, value, reason, record."""
        import pandas as pd

        columns = ["file", "row", "column", "value", "reason", "record"]
        return pd.DataFrame(self._failure_records(), columns=columns)

    def headlines(self, count: int) -> list[str]:
        """The first failures, a line each with the file and the reason, and how many more there are."""
        number = self.counts.files_failed + self.counts.rows_quarantined
        if self.status == "Canceled" or not number:
            return []
        records = list(islice(self._failure_records(), count))
        lines = [headline(record) for record in records]
        more = number - sum(record.get("count", 1) for record in records)
        return [*lines, f"… and {more:,} more, see failures.jsonl"] if more else lines

    def _failure_records(self) -> Iterator[Json]:
        with contextlib.suppress(FileNotFoundError), self._place.open("failures.jsonl") as lines:
            yield from map(json.loads, lines)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{value:,}</td></tr>" for name, value in asdict(self.counts).items())
        return f"<table><caption>{self.status}</caption>{rows}</table>"


def headline(record: Json) -> str:
    """A line of failures.jsonl for people: the file, and how the reason begins."""
    reason = (record["reason"].splitlines() or [""])[0]
    shown = reason if len(reason) <= _MAX_HEADLINE else f"{reason[:_MAX_HEADLINE]} …"
    others = len(record.get("files", ())) - 1
    name = f"{record['file']} and {others:,} more" if others > 0 else record["file"]
    return f"{name}: {shown}".replace("\n", "\\n")
