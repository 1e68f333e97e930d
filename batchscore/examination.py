"""The headers and schemas of all files, looked at in workers; what is wrong with them, grouped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from batchscore import attempts, engines
from batchscore.attempts import RetryPolicy
from batchscore.child import WorkerSpec
from batchscore.findings import Finding
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.outcome import Failed, Failure, Outcome, Scored
from batchscore.planning import Prepared
from batchscore.progress import Watcher
from batchscore.sampling import Fitting
from batchscore.slots import Slots

FILES_AT_ONCE = 256
"""That an examining worker gets, at most."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What the headers and schemas of all files say."""

    fitting: tuple[Fitting, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def findings(self) -> list[Finding]:
        return grouped(Finding("files", "problem", each.reason, (each.file,)) for each in self.failures)


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """One finding for all files of which the same is true, those of most files first."""
    groups: dict[Finding, list[str]] = {}
    for each in findings:
        groups.setdefault(replace(each, files=()), []).extend(each.files)
    merged = [replace(each, files=tuple(files)) for each, files in groups.items()]
    return sorted(merged, key=lambda each: -len(each.files))


def examine(prepared: Prepared, watch: Watcher, logs: Path) -> Examined:
    """Look at the header or schema of every file, in workers, which a hostile file may take down."""
    files = prepared.listing.files
    cores = engines.cpu_count()
    batches = _batches(files, max(1, min(FILES_AT_ONCE, len(files) // (4 * cores))))
    workers = max(1, min(cores, len(batches)))
    schema = prepared.model.folder.signature.inputs
    setup = {"schema": schema and schema.to_json(), "settings": prepared.settings.to_json()}
    folder = logs / "examining"
    folder.mkdir()
    watch.planned(sum(batch.size for batch in batches), sum(batch.size for batch in batches))
    outcomes: dict[int, tuple[Outcome, ...]] = {}
    try:
        with Slots(WorkerSpec(setup, loader="batchscore.examining:load_examiner"), workers, folder) as slots:

            def task(batch: MiniBatch) -> tuple[MiniBatch, tuple[Outcome, ...]]:
                return batch, attempts.score(slots, batch, RetryPolicy(1, prepared.job.timeout))

            with contextlib.closing(engines.fan_out(task, batches, workers)) as results:
                for batch, found in results:
                    outcomes[batch.number] = found
                    watch.scored(sum(outcome.rows for outcome in found))
                    watch.finished(batch.size)
    finally:
        watch.closed()
    return _examined([outcome for number in sorted(outcomes) for outcome in outcomes[number]])


def _batches(files: Sequence[InputFile], size: int) -> list[MiniBatch]:
    rest = iter(files)
    groups = iter(lambda: tuple(map(FileSlice, islice(rest, size))), ())
    return [MiniBatch(number, group) for number, group in enumerate(groups)]


def _examined(outcomes: Iterable[Outcome]) -> Examined:
    fitting: list[Fitting] = []
    failures: list[Failure] = []
    notes: dict[str, None] = {}
    for outcome in outcomes:
        notes.update(dict.fromkeys(outcome.notes))
        for entry in outcome.slices:
            match entry:
                case Scored():
                    fitting.append(Fitting(entry.slice.file, entry.rows, bool(entry.stop)))
                case Failed():
                    failures.append(entry.failure)
    return Examined(tuple(fitting), tuple(failures), tuple(notes))
