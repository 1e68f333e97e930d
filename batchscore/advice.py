"""Where a run's time went, in words, and what would make it shorter where the figures say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from batchscore.grain import Grain
from batchscore.minibatch import MiniBatch
from batchscore.nouns import counted
from batchscore.worktime import Shifts

_SOME, _MUCH, _MOST = 0.1, 0.25, 0.4
"""Shares from which on a word is worth it."""
_LEAST_SECONDS = 2.0
"""Of a run, or of what would be saved: nobody changes anything for less."""
_HALF = 0.5
_LARGE_PIECE = 1 << 20
_SMALL_FILE = 64 << 10
_MANY_FILES = 1000
_MANY_MINI_BATCHES, _TINY = 500, 500
"""From so many on, and below so many rows each, they cost more than what is in them."""
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
    kept: float
    """The share of the output's columns that are kept ones."""
    joined_bytes: int
    """Of prediction files."""
    pieces: int
    """That these were joined of, or more."""
    is_local: bool
    """No input lies on a store."""
    is_whole: bool
    """The run did the whole job, and not what another one had left."""
    mini_batches: int
    """That the run had to score."""
    is_cut: bool
    """There are more mini-batches than files."""
    cores: int
    threads: int
    """Per worker."""
    calls_whole_files: bool
    """One call of predict for each file; a scoring script's run() too."""
    are_forked: bool
    """One process loads the model for all workers."""
    recycles: bool
    """Workers are replaced after a number of mini-batches."""
    asked_workers: int | None
    """None: as many as there are cores, or mini-batches."""
    todo: Collection[MiniBatch]
    """The mini-batches."""
    grain: Callable[[Collection[MiniBatch]], Grain]
    """What would make more of a few of them; looks at their files."""

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
        for advice in (_planning, _failed, _start_up, _tiny, _small_files, _csv, _enforcing, predict, _tail, _joining):
            yield from advice(run)


def _headline(run: Figures) -> str:
    """The three stages that took most."""
    ranked = sorted(run.stages, key=lambda stage: -run.share(stage))
    parts = [f"{_percent(run.share(stage))} {_WORDS[stage].format(kind=run.kind)}" for stage in ranked[:3]]
    told = ", ".join(part for part in parts if not part.startswith("0 "))
    return f"the time of {counted(run.shifts.workers, 'worker')}: {told}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _planning(run: Figures) -> Iterator[str]:
    """What passes before there is work for the workers, and is no part of their time."""
    plan, listed = run.parent.get("plan", 0.0), run.parent.get("list", 0.0)
    share = (plan + listed) / run.seconds
    if share >= _MUCH and plan + listed >= _LEAST_SECONDS:
        cut = "; a CSV is read once to be cut, Parquet isn't" if run.kind == "CSV" and run.is_cut else ""
        yield (
            f"{_percent(share)} of the run passed before there was work for the workers: {listed:,.1f} s listing the "
            f"inputs, {plan:,.1f} s finding the model, taking its digest and cutting the inputs{cut}"
        )


def _failed(run: Figures) -> Iterator[str]:
    if run.share("failed") >= _SOME:
        yield (
            f"{_percent(run.share('failed'))} of the workers' time went into attempts that failed: "
            "logs/user/error.txt says why"
        )


def _start_up(run: Figures) -> Iterator[str]:
    """One worker would hardly take longer where all that was scored takes half as long as one start.

    Of workers that are forked it would save nothing but the forks. Those that took the place of others it would have
    to wait for one after the other, and recycled ones more often.
    """
    shifts = run.shifts
    if shifts.reload >= max(_SOME * shifts.seconds, _LEAST_SECONDS):
        yield _started_again(run)
        return
    if shifts.workers == 1 or shifts.successors or run.are_forked or run.recycles:
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


def _started_again(run: Figures) -> str:
    shifts = run.shifts
    causes = [
        *(["logs/user/error.txt says why those came to nothing"] if shifts.faults else []),
        *(["a larger --recycle-after starts fewer"] if run.recycles else []),
    ]
    return (
        f"{_percent(shifts.reload / shifts.seconds)} of the workers' time went into starting "
        f"{counted(shifts.successors, 'worker')} in the place of others, {shifts.reload / shifts.successors:,.1f} s "
        f"each{': ' if causes else ''}{'; '.join(causes)}"
    )


def _tiny(run: Figures) -> Iterator[str]:
    """Sending a mini-batch, its part and its receipt take as long as thousands of rows."""
    rows = run.rows / max(run.mini_batches, 1)
    if run.mini_batches >= _MANY_MINI_BATCHES and rows < _TINY and not run.calls_whole_files:
        yield (
            f"{run.mini_batches:,} mini-batches of {rows:,.0f} rows on average: larger ones (--mini-batch-size) "
            "share what each of them costs"
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
            f"reading the same data as Parquet would take about {told} of that, less with columns that aren't needed"
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
        "of its own, a graphics card or a core that others use, then more --workers than cores would wait side by side"
    )


def _idle_cores(run: Figures) -> Iterator[str]:
    workers = run.shifts.workers
    more = run.cores // run.threads
    if more <= workers:
        return
    used = f"{workers * run.threads} of {run.cores} cores"
    predicting = f"{_percent(run.share('predict'))} of the workers' time is predict, on {used}"
    if run.mini_batches > workers:
        if run.share("predict") >= _MOST:
            yield f"{predicting}; --workers {min(more, run.mini_batches)} would use more of them"
        return
    if run.rows <= run.mini_batches:
        return
    if run.shifts.spent.seconds < _MOST * run.shifts.seconds:
        return
    number, grain = counted(run.mini_batches, "mini-batch"), run.grain(run.todo)
    if grain.remedy and run.share("predict") >= _MOST:
        asked = f", with --workers {more}," if run.asked_workers is not None and run.asked_workers < more else ""
        yield f"{predicting}; there were only {number} to share out: {grain.remedy}{asked} gives more of them work"
    elif grain.obstacles:
        yield (
            f"the run was on {used}, with only {number} to share out, and a smaller --mini-batch-size makes no more: "
            + "; ".join(grain.obstacles)
        )


def _tail(run: Figures) -> Iterator[str]:
    shifts = run.shifts
    if shifts.workers > 1 and shifts.tail >= max(_SOME * shifts.seconds, _LEAST_SECONDS):
        told = (
            f"{_percent(shifts.tail / shifts.seconds)} of the workers' time is the end, when nothing was left to do "
            f"beside {shifts.last}"
        )
        grain = run.grain([shifts.waited_for]) if shifts.waited_for else Grain()
        if grain.remedy:
            told += f": {grain.remedy} shares the work better"
        elif grain.obstacles:
            told += f", which no smaller --mini-batch-size cuts: {'; '.join(grain.obstacles)}"
        yield told


def _joining(run: Figures) -> Iterator[str]:
    """One process does it, at the disk's pace or that of encoding Parquet, whatever --output-files says.

    Small pieces take their time for being many, and not for their columns.
    """
    share = run.parent.get("join", 0.0) / run.seconds
    if share < _MUCH or run.parent["join"] < _LEAST_SECONDS or run.kept < _HALF:
        return
    if run.joined_bytes >= _LARGE_PIECE * run.pieces:
        yield (
            f"{_percent(share)} of the run is joining {run.joined_bytes >> 20:,} MB that the workers wrote, "
            f"and {_percent(run.kept)} of the columns are kept ones: fewer of them (--keep) would shorten it"
        )
