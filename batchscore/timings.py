"""What job.json says of where a run's time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from batchscore import advice, engines
from batchscore.advice import Figures
from batchscore.minibatch import InputFile, Json
from batchscore.planning import Prepared
from batchscore.readers import is_csv, is_typed
from batchscore.readers.source import is_compressed
from batchscore.schema import ColumnSpec
from batchscore.stopwatch import Lap, Spent
from batchscore.storage import is_remote


def where_time_went(prepared: Prepared, spent: Spent, rows: int) -> Json:
    """Keys of `timings`: this run's process and its workers, the whole job's workers (``spent``), and words.

    ``rows`` are those that this run gave predictions.
    """
    observed = prepared.observed
    laps = observed.clock.laps()
    run = figures(prepared, rows, {name: lap.seconds for name, lap in laps.items()})
    return {
        "run": {name: lap.told(run.seconds) for name, lap in laps.items()},
        "workers": _workers(run),
        "whole_job": spent.told(),
        "words": list(advice.words(run)),
    }


def figures(prepared: Prepared, rows: int, parent: dict[str, float]) -> Figures:
    """The run so far, with what advice depends on."""
    job, files = prepared.job, prepared.listing.files
    kinds = _kinds(files)
    kind = _kind(kinds)
    return Figures(
        seconds=sum(parent.values()),
        parent=parent,
        shifts=prepared.observed.shifts,
        rows=rows,
        files=len(files),
        bytes=kinds.total(),
        kind=kind,
        as_parquet=_as_parquet(prepared) if kind == "CSV" else None,
        keeps_columns=bool(job.keep),
        is_local=not any(is_remote(file.path) for file in files),
        is_whole=prepared.earlier.is_new,
        mini_batches=prepared.observed.mini_batches,
        cores=engines.cpu_count(),
        threads=prepared.settings.threads,
        calls_whole_files=job.predicts_whole_files or job.script is not None,
        are_forked=(prepared.observed.workers or {}).get("start") == "loader",
        uncut=_uncut(prepared),
    )


def _uncut(prepared: Prepared) -> str:
    """What of the job is one mini-batch however small these are to be."""
    files = prepared.listing.files
    if prepared.observed.mini_batches < len(files):
        return ""
    if any(map(is_compressed, files)):
        return "compressed files"
    return "files that --limit ends in" if prepared.job.limit else ""


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
        "stages": stages,
        "tail": {"seconds": round(shifts.tail, 3), "waited_for": shifts.last},
        "calls": shifts.spent.calls,
    }
