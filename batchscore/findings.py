"""What validation found: a Report, as lines for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from batchscore import __version__
from batchscore.inputs import Skipped
from batchscore.minibatch import Json
from batchscore.nouns import counted
from batchscore.outcome import Column

Level = Literal["problem", "warning"]
CHECKS = ("model", "requirements", "inputs", "settings", "files", "sample", "output", "disk", "memory", "time")
"""In the order in which a report shows them."""

DIFFERING = ("missing", "differs")
"""Remarks that make a requirement one to warn of; a `later` MLflow loads an earlier one's models."""
NAMED = 3
"""Files that a line for people names."""
GROUPS = 20
"""Findings of one check that are shown to people; the JSON has all."""
CELL = 24
"""Characters of a cell that people see."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that will go wrong, or may; one for all files of which the same is true."""

    check: str
    level: Level
    message: str
    files: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The message behind the names of the first files."""
        more = len(self.files) - NAMED
        names = ", ".join(self.files[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
        return f"{names}: {self.message}" if names else self.message


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that the model was logged with, what the worker has, and `missing`, `differs`, `later` or nothing."""

    required: str
    installed: str | None
    remark: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model as it was found and loaded."""

    uri: str
    resolved: str
    digest: str
    load_seconds: float | None = None
    """None: it wasn't loaded."""
    python: str | None = None
    """Version of the worker's interpreter."""
    requirements: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class InputFacts:
    """The inputs as they were found."""

    files: int
    folders: int
    bytes: int
    skipped: tuple[Skipped, ...]
    rows: int | None = None
    """Of the files that fit; None: they weren't looked at."""
    rows_counted: bool = False
    """Whether ``rows`` is exact; else it follows from the first megabyte of long files."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows, scored for real."""

    rows: int
    seconds: float
    """What a worker took for them, without loading the model."""
    rows_per_second: float
    columns: tuple[Column, ...]
    first_rows: tuple[tuple[Any, ...], ...]
    """As the output has them: text in a CSV."""
    part_bytes_per_row: float
    output_bytes_per_row: float
    peak_bytes: int
    """Of the worker's memory."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the job will take, by the sample; estimates all."""

    basis: str
    """In words, how they were made."""
    workers: int
    mini_batches: int
    seconds: float
    output_bytes: int
    parts_bytes: int
    """In OUTPUT/.batchscore until the job is done, beside the output."""
    memory_bytes: int
    """Of all workers together."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is known of a job before it is scored."""

    output: str
    output_state: str
    """In words, what is in OUTPUT already and what a run would do with it."""
    findings: tuple[Finding, ...]
    is_wrong_use: bool = False
    """MODEL or INPUT isn't there: there is nothing to validate."""
    model: ModelFacts | None = None
    inputs: InputFacts | None = None
    sample: Sample | None = None
    estimates: Estimates | None = None
    disk_free: int | None = None
    """Bytes, where OUTPUT is to be."""
    memory_available: int | None = None
    """Bytes, by the system and its limits; None: not known."""
    notes: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.level == "problem")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings if each.level == "warning")

    @property
    def exit_code(self) -> int:
        """0 fine, 1 problems found, 2 MODEL or INPUT isn't there."""
        return 2 if self.is_wrong_use else int(bool(self.problems))

    def to_json(self) -> Json:
        """The structure that docs/validation.md states."""
        return {
            "status": "problems" if self.problems else "fine",
            "problems": [_found(each) for each in self.problems],
            "warnings": [_found(each) for each in self.warnings],
            "notes": list(self.notes),
            "model": self.model and asdict(self.model),
            "inputs": self.inputs and asdict(self.inputs),
            "sample": self.sample and asdict(self.sample),
            "output": {"path": self.output, "state": self.output_state},
            "estimates": self.estimates and asdict(self.estimates),
            "disk_free_bytes": self.disk_free,
            "memory_available_bytes": self.memory_available,
            "batchscore": __version__,
        }

    @property
    def verdict(self) -> str:
        """The last line for people."""
        warnings = f", {counted(len(self.warnings), 'warning')}" if self.warnings else ""
        if not self.problems:
            return f"Fine: no problem found{warnings}"
        return f"Not fine: {counted(len(self.problems), 'problem')} found{warnings}"

    def lines(self) -> Iterator[str]:
        """The whole report for people, the verdict last."""
        summaries = dict(_summaries(self))
        for check in CHECKS:
            found = [each for each in self.findings if each.check == check]
            if check in summaries or found:
                level = "problem" if any(each.level == "problem" for each in found) else "warning" if found else "ok"
                head, *rest = [*summaries.get(check, "").splitlines(), *_shown(found)]
                yield f"{check:<13} {level:<8} {head}".rstrip()
                yield from (f"{'':<22} {line}".rstrip() for line in rest)
        yield from (f"note: {note}" for note in self.notes)
        if self.sample:
            yield ""
            yield from _table(self.sample)
        if self.estimates:
            yield ""
            yield f"Estimates: {self.estimates.basis}"
        yield self.verdict


def _found(finding: Finding) -> Json:
    return {"check": finding.check, "message": finding.message, "files": list(finding.files)}


def _summaries(report: Report) -> Iterator[tuple[str, str]]:
    """Of each check that was made, what it found in a line."""
    if model := report.model:
        loaded = (
            "" if model.load_seconds is None else f", loaded in {model.load_seconds:.1f} s by Python {model.python}"
        )
        yield (
            "model",
            f"{model.resolved} ({model.digest}){loaded}" if model.digest else "none: the scoring script's own",
        )
        if model.load_seconds is not None:
            differing = sum(each.remark in DIFFERING for each in model.requirements)
            stated = f"{counted(len(model.requirements), 'requirement')} stated, {differing} differing"
            yield "requirements", stated if model.requirements else "the model states none"
    if inputs := report.inputs:
        yield "inputs", _input_line(inputs)
        if inputs.rows is not None:
            unfit = len({name for each in report.problems if each.check == "files" for name in each.files})
            yield "files", f"{inputs.files - unfit:,} of {counted(inputs.files, 'file')} fit the model's signature"
    if sample := report.sample:
        rate = f"{sample.rows_per_second:,.0f} rows/s"
        yield "sample", f"{counted(sample.rows, 'row')} scored in {sample.seconds:.2f} s ({rate} by one worker)"
    yield "output", f"{report.output}: {report.output_state}"
    yield from _estimated(report)


def _input_line(inputs: InputFacts) -> str:
    rows = ""
    if inputs.rows is not None:
        rows = f", {'' if inputs.rows_counted else 'about '}{counted(inputs.rows, 'row')}"
    places = f"{counted(inputs.files, 'file')} in {counted(inputs.folders, 'folder')}"
    return f"{places}, {size_text(inputs.bytes)}{rows}; {len(inputs.skipped):,} skipped"


def _estimated(report: Report) -> Iterator[tuple[str, str]]:
    if (estimates := report.estimates) is None:
        return
    needed = size_text(estimates.output_bytes + estimates.parts_bytes)
    free = "" if report.disk_free is None else f"; {size_text(report.disk_free)} free"
    yield "disk", f"about {needed} while it runs, of which {size_text(estimates.output_bytes)} stay{free}"
    available = "" if report.memory_available is None else f"; {size_text(report.memory_available)} available"
    workers = counted(estimates.workers, "worker")
    yield "memory", f"about {size_text(estimates.memory_bytes)} for {workers}{available}"
    yield "time", f"about {time_text(estimates.seconds)} with {workers}"


def _shown(found: Sequence[Finding]) -> Iterator[str]:
    for each in found[:GROUPS]:
        mark = "" if each.level == "problem" else "(warning) "
        yield from f"{mark}{each.line}".splitlines()
    if len(found) > GROUPS:
        yield f"and {len(found) - GROUPS:,} more; --json has all"


def _table(sample: Sample) -> Iterator[str]:
    """The first rows below their columns' names and types."""
    rows = [[column.name for column in sample.columns], [column.type for column in sample.columns]]
    rows += [[_cell(value) for value in row] for row in sample.first_rows]
    rows = [[text if len(text) <= CELL else f"{text[: CELL - 1]}…" for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def size_text(size: float) -> str:
    """Bytes for people: `12 KB`, `3.4 GB`, 1024-based."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024:  # noqa: PLR2004  # the next unit
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"  # noqa: PLR2004
        size /= 1024
    return f"{size:,.1f} TB"


def time_text(seconds: float) -> str:
    """A duration for people: `12 s`, `3 min`, `2.5 h`."""
    if seconds < 100:  # noqa: PLR2004
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004
