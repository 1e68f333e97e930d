"""What job.json says of where a run's time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from batchscore import advice, engines
from batchscore.advice import Figures
from batchscore.endings import Ending
from batchscore.grain import grain_of
from batchscore.minibatch import InputFile, Json
from batchscore.planning import Prepared
from batchscore.readers import is_csv, is_typed
from batchscore.schema import ColumnSpec
from batchscore.stopwatch import Lap
from batchscore.storage import is_remote


def where_time_went(prepared: Prepared, ending: Ending) -> Json:
    """Keys of `timings`: this run's process and its workers, the whole job's workers, and words."""
    observed = prepared.observed
    laps = observed.clock.laps()
    run = figures(prepared, ending, {name: lap.seconds for name, lap in laps.items()})
    return {
        "run": {name: lap.told(run.seconds) for name, lap in laps.items()},
        "workers": _workers(run),
        "whole_job": ending.spent.told(),
        "words": list(advice.words(run)),
    }


def figures(prepared: Prepared, ending: Ending, parent: dict[str, float]) -> Figures:
    """The run so far, with what advice depends on."""
    job, files, observed = prepared.job, prepared.listing.files, prepared.observed
    mini_batches, has_signature = len(observed.todo), prepared.model.folder.has_signature
    kinds = _kinds(files)
    kind = _kind(kinds)
    return Figures(
        seconds=sum(parent.values()),
        parent=parent,
        shifts=observed.shifts,
        rows=ending.rows_recorded,
        files=len(files),
        bytes=kinds.total(),
        kind=kind,
        as_parquet=_as_parquet(prepared) if kind == "CSV" else None,
        kept=len(prepared.settings.keep) / max(len(ending.columns), 1),
        joined_bytes=sum(output["bytes"] for output in ending.outputs),
        pieces=max(ending.counts.mini_batches, len(ending.outputs)),
        is_local=not any(is_remote(file.path) for file in files),
        is_whole=prepared.earlier.is_new,
        mini_batches=mini_batches,
        is_cut=mini_batches > len(files),
        cores=engines.cpu_count(),
        threads=prepared.settings.threads,
        calls_whole_files=job.predicts_whole_files or job.script is not None,
        are_forked=(observed.workers or {}).get("start") == "loader",
        recycles=job.recycle_after is not None,
        asked_workers=job.workers,
        todo=observed.todo,
        grain=lambda mini_batches: grain_of(mini_batches, files, job, has_signature=has_signature),
    )


def _kinds(files: Iterable[InputFile]) -> Counter[str]:
    """The bytes of each kind of file."""
    kinds: Counter[str] = Counter()
    for file in files:
        kinds["CSV" if is_csv(file.name) else "Parquet" if is_typed(file.name) else "files"] += file.size
    return kinds


def _kind(kinds: Counter[str]) -> str:
    """CSV or Parquet, where nine tenths of the bytes are."""
    return next((kind for kind in ("CSV", "Parquet") if kinds[kind] >= 0.9 * kinds.total()), "files")


_NANOSECONDS = {
    "double": (25, 5), "float": (25, 6), "long": (20, 9), "integer": (20, 9), "boolean": (25, 8),
    "datetime": (60, 18), "string": (22, 30),
}  # fmt: skip
"""Of CPU for a value from CSV and from Parquet, measured with this package's readers; see docs/logs.md."""


def _as_parquet(prepared: Prepared) -> float | None:
    """What share of the time the model's columns take from Parquet, by their types."""
    inputs = prepared.model.folder.signature.inputs
    types = [spec.type if isinstance(spec, ColumnSpec) else spec.dtype for spec in inputs.specs] if inputs else []
    known = [_NANOSECONDS[kind] for kind in types if isinstance(kind, str) and kind in _NANOSECONDS]
    if not known or len(known) < len(types):
        return None
    return sum(parquet for _, parquet in known) / sum(csv for csv, _ in known)


def _workers(run: Figures) -> Json:
    """The workers' time, of all of them together."""
    shifts = run.shifts
    laps = {"load": shifts.load, **shifts.spent.laps}
    rest = {"failed": Lap(shifts.failed), "idle": Lap(shifts.idle)}
    stages = {name: lap.told(shifts.seconds) for name, lap in (laps | rest).items()}
    for name in rest:
        del stages[name]["cpu_seconds"]  # of the dead, and of those who do nothing, it isn't known
    return {
        "count": shifts.workers,
        "seconds": round(shifts.seconds, 3),
        "busy": round(shifts.busy, 3),
        "busy_of_run": round(shifts.spent.seconds / max(shifts.workers * run.seconds, 1e-9), 3),
        "stages": stages,
        "tail": {"seconds": round(shifts.tail, 3), "waited_for": shifts.last},
        "calls": shifts.spent.calls,
    }
