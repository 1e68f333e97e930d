"""Fold what became of each slice into counts, a status and the lines of failures.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from batchscore import readers, writers
from batchscore.errors import AnswerRefused, FileRefused
from batchscore.job import CsvOptions
from batchscore.journal import Receipts
from batchscore.minibatch import Column, Failed, Failure, FileSlice, InputFile, Json, MiniBatch, Scored

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["Completed", "Failed", "Canceled"]

MAX_HEADLINE = 300
"""Characters of a reason on the terminal."""
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
"""Beyond ASCII, whose control characters JSON escapes."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the whole job, resumed parts included; rows = rows_scored + rows_failed."""

    files: int = 0
    files_failed: int = 0
    files_skipped: int = 0
    mini_batches: int = 0
    rows: int = 0
    rows_scored: int = 0
    rows_failed: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """A file's slices in order: all scored, or the first failure for the whole file."""

    file: InputFile
    slices: tuple[FileSlice, ...]
    scored: tuple[Scored, ...]
    failure: Failure | None

    @property
    def is_pending(self) -> bool:
        """Neither scored nor failed: the job was stopped before."""
        return self.failure is None and len(self.scored) < len(self.slices)


def verdicts(plan: Iterable[MiniBatch], receipts: Receipts) -> Iterator[FileVerdict]:
    """One verdict for each file, in input order. One failed slice fails its whole file."""
    slices = (piece for mini_batch in plan for piece in mini_batch.slices)
    for file, pieces in groupby(slices, key=lambda piece: piece.file):
        known = tuple(pieces)
        outcomes = [receipts.of(piece) for piece in known]
        failure = next((entry.failure for entry in outcomes if isinstance(entry, Failed)), None)
        scored = tuple(entry for entry in outcomes if isinstance(entry, Scored))
        yield FileVerdict(file, known, () if failure else scored, failure)


def settle(
    found: Iterable[FileVerdict], columns: Mapping[str, tuple[Column, ...]]
) -> tuple[tuple[FileVerdict, ...], tuple[Column, ...]]:
    """The verdicts, and the columns that all good files have together.

    Numbers of different types are widened; a mini-batch whose columns can't be reconciled with those before it in
    input order fails with all its files, whenever it was scored.
    """
    settled: list[FileVerdict] = []
    together: tuple[Column, ...] = ()
    refused: dict[str, str] = {}
    seen: set[str] = set()
    for verdict in found:
        for part in dict.fromkeys(entry.part for entry in verdict.scored if entry.part):
            if part in seen:
                continue
            seen.add(part)
            try:
                together = writers.unify(together, columns[part]) if together else columns[part]
            except AnswerRefused as error:
                refused[part] = str(error)
        reason = next((refused[entry.part] for entry in verdict.scored if entry.part in refused), None)
        if reason:
            settled.append(replace(verdict, scored=(), failure=Failure(verdict.file.name, reason)))
        else:
            settled.append(verdict)
    return tuple(settled), together


def rows_of_failed(verdict: FileVerdict, csv: CsvOptions) -> int:
    """The rows that a failed file would have given; 0 where they can't be counted."""
    try:
        rows = readers.count_rows(verdict.file, csv)
    except (FileRefused, OSError):
        return 0
    ends = [piece.first_row + piece.max_rows for piece in verdict.slices if piece.max_rows is not None]
    return min(rows, max(ends)) if ends else rows


def judge(counts: Counts, error_threshold: int) -> Status:
    """Completed or Failed. A job that had rows to score and scored none has failed whatever the threshold."""
    if error_threshold >= 0 and counts.files_failed > error_threshold:
        return "Failed"
    if counts.files_failed and not counts.rows_scored:
        return "Failed"
    return "Completed"


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

    @property
    def outputs(self) -> tuple[str, ...]:
        """Paths of the prediction files."""
        return tuple(str(Path(self.output, entry["path"])) for entry in self.manifest["outputs"])

    def read(self) -> pd.DataFrame:
        """All predictions as one frame, in input order."""
        import pandas as pd

        frames: list[pd.DataFrame] = [writers.read_frame(path) for path in self.outputs]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def failures(self) -> pd.DataFrame:
        """The lines of failures.jsonl as a frame: file, row, column, value, reason, record."""
        import pandas as pd

        columns = ["file", "row", "column", "value", "reason", "record"]
        return pd.DataFrame(self._failure_records(), columns=columns)

    def headlines(self, count: int) -> list[str]:
        """The first failures, a line each with the file and the reason, and how many more there are."""
        if self.status == "Canceled" or not self.counts.files_failed:
            return []
        lines = [_headline(record) for record in islice(self._failure_records(), count)]
        more = self.counts.files_failed - len(lines)
        return [*lines, f"… and {more:,} more, see failures.jsonl"] if more else lines

    def _failure_records(self) -> Iterator[Json]:
        path = Path(self.output, "failures.jsonl")
        if path.exists():
            with path.open(encoding="utf-8", newline="\n") as lines:
                yield from map(json.loads, lines)

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{name}</th><td>{value:,}</td></tr>" for name, value in asdict(self.counts).items())
        return f"<table><caption>{self.status}</caption>{rows}</table>"


def _headline(record: Json) -> str:
    reason = (record["reason"].splitlines() or [""])[0]
    shown = reason if len(reason) <= MAX_HEADLINE else f"{reason[:MAX_HEADLINE]} …"
    return f"{record['file']}: {shown}".replace("\n", "\\n")


def failure_lines(failures: Iterable[Failure]) -> Iterator[bytes]:
    """Lines of failures.jsonl; what some readers take for a line end within a text is escaped."""
    for failure in failures:
        line = json.dumps(failure.to_json(), ensure_ascii=False).translate(_LINE_ENDS)
        yield line.encode("utf-8", "backslashreplace") + b"\n"


def already_finished(output: str, manifest: Json) -> JobSummary:
    """The summary of a job that was finished before: nothing was done now."""
    counts = Counts(**manifest["counts"])
    message = f"already finished: {counts.rows_scored:,} rows scored, nothing to do"
    return JobSummary("Completed", counts, output, message, 0, manifest, is_fresh=False)
