"""Where a run's time went, in words, and what would make it shorter where the figures say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchscore.nouns import counted
from batchscore.worktime import Shifts

_SOME, _MUCH, _MOST = 0.1, 0.25, 0.4
"""Shares from which on a word is worth it."""
_LEAST_SECONDS = 2.0
"""Of a run, or of what would be saved: nobody changes anything for less."""
_SMALL_FILE = 64 << 10
_MANY_FILES = 1000
_FEW_ROWS = 8192
"""In a call of predict: below, MLflow's checks of each call show."""
_AT_WORK = 0.25
"""Of predict's time that is CPU time; below, it waits for something else."""
_WORDS = {
    "load": "starting workers and loading the model",
    "read": "reading {kind}",
    "enforce": "making the model's input and checking it",
    "predict": "predict",
    "write": "writing",
    "failed": "attempts that failed",
    "idle": "waiting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A run as it was measured."""

    seconds: float
    parent: Mapping[str, float]
    """Seconds by stage; they add up to ``seconds``."""
    shifts: Shifts
    rows: int
    """With a prediction."""
    files: int
    bytes: int
    kind: str
    """Of the inputs: CSV, Parquet, or files of several kinds."""
    as_parquet: float | None
    """About the share of the reading time that the same columns take as Parquet; None where they aren't CSV's."""
    keeps_columns: bool
    is_local: bool
    """No input lies on a store."""
    is_whole: bool
    """The run did the whole job, and not what another one had left."""
    mini_batches: int
    """That the run had to score."""
    cores: int
    threads: int
    """Per worker."""
    calls_whole_files: bool
    """One call of predict for each file; a scoring script's run() too."""
    are_forked: bool
    """One process loads the model for all workers."""
    uncut: str
    """What can't be shared out among workers, in the plural; empty where smaller mini-batches could be made."""

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of the workers by stage; they add up to those of ``shifts``."""
        shifts = self.shifts
        laps = {name: lap.seconds for name, lap in shifts.spent.laps.items()}
        return {"load": shifts.load.seconds, **laps, "failed": shifts.failed, "idle": shifts.idle}

    def share(self, stage: str) -> float:
        """Of the workers' time."""
        return self.stages[stage] / self.shifts.seconds if self.shifts.seconds else 0.0


def words(run: Figures) -> Iterator[str]:
    """The shares of the workers' time in a sentence, then what may be done about them; nothing without workers."""
    if not run.shifts.seconds:
        return
    yield _headline(run)
    if run.seconds >= _LEAST_SECONDS:
        predict = _waiting if _waits(run) else _idle_cores
        for advice in (_failed, _start_up, _small_files, _csv, _enforcing, predict, _tail, _joining):
            yield from advice(run)


def _headline(run: Figures) -> str:
    """The three stages that took most."""
    ranked = sorted(run.stages, key=lambda stage: -run.share(stage))
    parts = [f"{_percent(run.share(stage))} {_WORDS[stage].format(kind=run.kind)}" for stage in ranked[:3]]
    told = ", ".join(part for part in parts if not part.startswith("0 "))
    return f"the time of {counted(run.shifts.workers, 'worker')}: {told}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _failed(run: Figures) -> Iterator[str]:
    if run.share("failed") >= _SOME:
        yield (
            f"{_percent(run.share('failed'))} of the workers' time went into attempts that failed: "
            "logs/user/error.txt says why"
        )


def _start_up(run: Figures) -> Iterator[str]:
    """One worker would hardly take longer where all that was scored takes half as long as one start.

    Of workers that are forked it would save nothing but the forks.
    """
    shifts = run.shifts
    if shifts.workers == 1 or run.are_forked:
        return
    load = shifts.load.seconds / shifts.workers
    scored = shifts.spent.seconds + shifts.failed
    if scored <= load / 2:
        saved = shifts.load.cpu_seconds * (shifts.workers - 1) / shifts.workers
        yield (
            f"{_percent(run.share('load'))} of the workers' time went into starting them, {load:,.1f} s each for "
            f"{scored:,.1f} s of scoring in all: --workers 1 would take at most {scored:,.1f} s longer and "
            f"{saved:,.1f} CPU seconds less"
        )


def _small_files(run: Figures) -> Iterator[str]:
    if not _has_small_files(run) or run.share("read") < _MUCH or not run.is_whole:
        return
    each = 1000 * run.shifts.spent.read.seconds / run.files
    yield (
        f"{_percent(run.share('read'))} of the workers' time is opening and reading {run.files:,} files of "
        f"{run.bytes / run.files / 1024:,.1f} KB on average, {each:,.1f} ms each: the same rows in fewer, "
        "larger files would take less"
    )


def _has_small_files(run: Figures) -> bool:
    return run.files >= _MANY_FILES and run.bytes / run.files < _SMALL_FILE


_OF_CSV = ((0.15, "a tenth"), (0.22, "a fifth"), (0.29, "a quarter"), (0.42, "a third"), (0.6, "half"))


def _csv(run: Figures) -> Iterator[str]:
    """Text takes as long from Parquet, so the columns' types decide."""
    takes = run.as_parquet
    if takes is None or not run.is_local or run.share("read") < _MOST or _has_small_files(run):
        return
    told = next((part for most, part in _OF_CSV if takes <= most), None)
    if told:
        yield (
            f"{_percent(run.share('read'))} of the workers' time is CSV parsing; "
            f"reading the same data as Parquet would take about {told} of that"
        )


def _enforcing(run: Figures) -> Iterator[str]:
    calls = run.shifts.spent.calls
    if not calls or run.calls_whole_files or run.share("enforce") < _MUCH:
        return
    rows = run.rows / calls
    if rows < _FEW_ROWS:
        yield (
            f"{_percent(run.share('enforce'))} of the workers' time is making the model's input and checking it, for "
            f"{rows:,.0f} rows a call: more of them share the cost (--rows-per-call, --mini-batch-size)"
        )


def _waits(run: Figures) -> bool:
    """Whether predict waits, for a service or a disk, and not for a core that others have."""
    predict = run.shifts.spent.predict
    return (
        run.share("predict") >= _MOST
        and predict.cpu_seconds < _AT_WORK * predict.seconds
        and run.shifts.workers <= run.cores
        and run.shifts.workers < run.mini_batches
    )


def _waiting(run: Figures) -> Iterator[str]:
    predict = run.shifts.spent.predict
    yield (
        f"{_percent(run.share('predict'))} of the workers' time is predict, which waits, with "
        f"{_percent(predict.cpu_seconds / predict.seconds)} of that CPU time: if for a service, and not for processes "
        "of its own or a graphics card, then more --workers than cores would wait side by side"
    )


def _idle_cores(run: Figures) -> Iterator[str]:
    workers = run.shifts.workers
    at_work, more = workers * run.threads, run.cores // run.threads
    used = f"{at_work} of {run.cores} cores"
    if more > workers >= run.mini_batches and run.uncut:
        number = counted(run.mini_batches, "mini-batch")
        yield f"the run was on {used}, with but {number} to share out, since {run.uncut} aren't cut"
        return
    if more <= workers or run.share("predict") < _MOST:
        return
    if run.mini_batches <= workers:
        number = counted(run.mini_batches, "mini-batch")
        remedy = f"there were but {number} to share out: a smaller --mini-batch-size gives more of them work"
    else:
        remedy = f"--workers {more} would use more of them"
    yield f"{_percent(run.share('predict'))} of the workers' time is predict, on {used}; {remedy}"


def _tail(run: Figures) -> Iterator[str]:
    shifts = run.shifts
    if shifts.workers > 1 and shifts.tail >= max(_SOME * shifts.seconds, _LEAST_SECONDS):
        yield (
            f"{_percent(shifts.tail / shifts.seconds)} of the workers' time is the end, when nothing was left to do "
            f"beside {shifts.last}: a smaller --mini-batch-size shares the work better, where files can be cut"
        )


def _joining(run: Figures) -> Iterator[str]:
    """One process does it, at the disk's pace or that of encoding Parquet, whatever --output-files says."""
    share = run.parent.get("join", 0.0) / run.seconds
    if run.keeps_columns and share >= _MUCH and run.parent["join"] >= _LEAST_SECONDS:
        yield f"{_percent(share)} of the run is joining what the workers wrote: fewer columns (--keep) would shorten it"
