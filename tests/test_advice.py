"""Where a run's time went, in words: advice only where the figures say so."""

from __future__ import annotations

from typing import Any

import pytest

from batchscore.advice import Figures, words
from batchscore.grain import Grain
from batchscore.minibatch import MiniBatch
from batchscore.stopwatch import Lap, Spent
from batchscore.worktime import Shifts


def run(*, workers: int = 2, parent: Any = None, kind: str = "CSV", tail: float = 0.0, **more: Any) -> Figures:
    """A run of 20 s with two workers on two cores; a stage's seconds are those of both."""
    stages = {name: more.pop(name, 0.0) for name in ("load", "read", "enforce", "predict", "write", "failed")}
    laps = {name: Lap(stages[name], stages[name]) for name in ("read", "enforce", "predict", "write")}
    laps["predict"] = Lap(stages["predict"], more.pop("predict_cpu", stages["predict"]))
    seconds = more.pop("seconds", 20.0)
    again = {name: more.pop(name, 0) for name in ("successors", "reload", "faults")}
    shifts = Shifts(
        **again, workers=workers, waited_for=MiniBatch(3, ()),
        seconds=workers * seconds, load=Lap(stages["load"], stages["load"]),
        spent=Spent(**laps, calls=more.pop("calls", 10)), failed=stages["failed"],
        idle=workers * seconds - sum(stages.values()), tail=tail, last="mini-batch 3, attempt 1: file z.csv",
    )  # fmt: skip
    usual = {
        "rows": 1_000_000, "files": 4, "bytes": 400 << 20, "as_parquet": 0.33, "kept": 0.0,
        "joined_bytes": 2 << 30, "pieces": 16, "is_cut": True, "recycles": False, "asked_workers": None, "todo": (),
        "is_local": True, "is_whole": True, "mini_batches": 16, "cores": 2, "threads": 1, "calls_whole_files": False,
        "are_forked": False,
    }  # fmt: skip
    grain = Grain(more.pop("remedy", ""), more.pop("obstacles", ()))
    more["grain"] = lambda _: grain
    return Figures(seconds=seconds, parent=parent or {"score": seconds}, shifts=shifts, kind=kind, **usual | more)


def test_the_three_largest_stages_are_told() -> None:
    [headline] = words(run(predict=30, read=4.4, load=4, write=1))
    assert headline == (
        "the time of 2 workers: 75 % predict, 11 % reading CSV, 10 % starting workers and loading the model"
    )
    [headline] = words(run(predict=40, kind="Parquet"))
    assert headline == "the time of 2 workers: 100 % predict"
    assert list(words(run(workers=0))) == []


MUCH_CSV = {"read": 28.4, "predict": 8, "load": 3}
ADVICE: dict[str, tuple[dict[str, Any], str | None]] = {
    "CSV parsing": (
        MUCH_CSV,
        ("71 % of the workers' time is CSV parsing; reading the same data as Parquet would take about a third of that"),
    ),
    "CSV of dates": (
        {**MUCH_CSV, "as_parquet": 0.5},
        "would take about half of that",
    ),
    "start-up": (
        {"seconds": 4, "load": 7, "read": 0.5},
        (
            "88 % of the workers' time went into starting them, 3.5 s each for 0.5 s of scoring in all: "
            "--workers 1 would take at most 0.5 s longer and 3.5 CPU seconds less"
        ),
    ),
    "tiny mini-batches": (
        {"predict": 30, "mini_batches": 2000, "rows": 10_000},
        "2,000 mini-batches of 5 rows on average: larger ones (--mini-batch-size) share what each of them costs",
    ),
    "many mini-batches": ({"predict": 30, "mini_batches": 2000, "rows": 2_000_000}, None),
    "a few small mini-batches": ({"predict": 30, "mini_batches": 200, "rows": 1000}, None),
    "small files": (
        {"read": 20, "files": 20000, "bytes": 20 << 20},
        (
            "50 % of the workers' time is opening and reading 20,000 files of 1.0 KB on average, 1.0 ms "
            "each: the same rows in fewer, larger files would take less"
        ),
    ),
    "small calls": (
        {"enforce": 20, "calls": 1000},
        (
            "50 % of the workers' time is making the model's input and checking it, for 1,000 rows a call: "
            "more of them share the cost (--rows-per-call, --mini-batch-size)"
        ),
    ),
    "more workers": (
        {"predict": 30, "cores": 8},
        ("75 % of the workers' time is predict, on 2 of 8 cores; --workers 8 would use more of them"),
    ),
    "predict that waits": (
        {"predict": 30, "predict_cpu": 3},
        (
            "75 % of the workers' time is predict, which waits, with 10 % of that CPU time: if for a service, and not "
            "for processes of its own, a graphics card or a core that others use, then more --workers than cores would "
            "wait side by side"
        ),
    ),
    "predict that waits, on one of many cores": ({"predict": 30, "predict_cpu": 3, "cores": 8}, "waits, with 10 %"),
    "predict that waits for a core": ({"predict": 30, "predict_cpu": 3, "workers": 4}, None),
    "predict that waits, with nothing more to share out": (
        {"predict": 30, "predict_cpu": 3, "mini_batches": 2},
        None,
    ),
    "more workers of two threads": (
        {"predict": 30, "cores": 8, "threads": 2},
        "on 4 of 8 cores; --workers 4 would",
    ),
    "a core that is left over": (
        {"predict": 30, "cores": 3, "threads": 2, "workers": 1},
        None,
    ),
    "few mini-batches": (
        {"predict": 30, "cores": 8, "mini_batches": 2, "remedy": "a smaller --mini-batch-size"},
        (
            "on 2 of 8 cores; there were only 2 mini-batches to share out: a smaller --mini-batch-size gives "
            "more of them work"
        ),
    ),
    "few mini-batches for the workers that were asked for": (
        {"predict": 30, "cores": 8, "mini_batches": 2, "remedy": "a smaller one", "asked_workers": 2},
        "on 2 of 8 cores; there were only 2 mini-batches to share out: a smaller one, with --workers 8, gives more of",
    ),
    "a compressed file": (
        {"read": 18, "predict": 10, "workers": 1, "mini_batches": 1, "as_parquet": None, "obstacles": ("a", "b")},
        (
            "the run was on 1 of 2 cores, with only 1 mini-batch to share out, and a smaller --mini-batch-size makes "
            "no more: a; b"
        ),
    ),
    "a few more mini-batches than workers": (
        {"predict": 30, "cores": 8, "mini_batches": 3},
        "on 2 of 8 cores; --workers 3 would use more of them",
    ),
    "the end, for no reason that is known": (
        {"predict": 30, "tail": 9},
        "when nothing was left to do beside mini-batch 3, attempt 1: file z.csv",
    ),
    "the end, which can't be shared out": (
        {"predict": 30, "tail": 9, "obstacles": ("JSON isn't cut",)},
        "beside mini-batch 3, attempt 1: file z.csv, which no smaller --mini-batch-size cuts: JSON isn't cut",
    ),
    "a tail": (
        {"predict": 30, "tail": 9, "remedy": "a smaller --mini-batch-size"},
        (
            "22 % of the workers' time is the end, when nothing was left to do beside mini-batch 3, attempt "
            "1: file z.csv: a smaller --mini-batch-size shares the work better"
        ),
    ),
    "failed attempts": (
        {"failed": 6, "predict": 30},
        ("15 % of the workers' time went into attempts that failed: logs/user/error.txt says why"),
    ),
    "failed attempts at the bound": (
        {"failed": 4, "predict": 30},
        "10 % of the workers' time went into attempts that failed",
    ),
    "more workers, beside files that aren't cut": (
        {"predict": 30, "cores": 8, "obstacles": ("compressed files",)},
        "on 2 of 8 cores; --workers 8 would use more of them",
    ),
    "joining": (
        {"predict": 30, "parent": {"score": 14, "join": 6}, "kept": 0.8},
        (
            "30 % of the run is joining 2,048 MB that the workers wrote, and 80 % of the columns are kept ones: fewer "
            "of them (--keep) would shorten it"
        ),
    ),
    "planning": (
        {"predict": 30, "parent": {"plan": 5, "list": 1, "score": 14}, "kind": "CSV"},
        (
            "30 % of the run passed before there was work for the workers: 1.0 s listing the inputs, 5.0 s finding the "
            "model, taking its digest and cutting the inputs; a CSV is read once to be cut, Parquet isn't"
        ),
    ),
    "planning Parquet": (
        {"predict": 30, "parent": {"plan": 5, "list": 1, "score": 14}, "kind": "Parquet"},
        "digest and cutting the inputs",
    ),
    "workers in the place of others": (
        {"load": 34, "reload": 30, "successors": 20, "failed": 2, "faults": 19, "recycles": True},
        (
            "75 % of the workers' time went into starting 20 workers in the place of others, 1.5 s each: "
            "logs/user/error.txt says why those came to nothing; a larger --recycle-after starts fewer"
        ),
    ),
    "workers in the place of others that just ended": (
        {"load": 34, "reload": 30, "successors": 20},
        "20 workers in the place of others, 1.5 s each",
    ),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice_is_given_where_the_figures_say_so(case: str) -> None:
    figures, expected = ADVICE[case]
    _, *advice = words(run(**figures))
    assert advice == [] if expected is None else expected in advice[0], advice
    assert len(advice) <= 1


@pytest.mark.parametrize(
    "figures",
    [
        {**MUCH_CSV, "as_parquet": 0.9},  # text
        {**MUCH_CSV, "as_parquet": None},  # Parquet already
        {**MUCH_CSV, "is_local": False},  # it waits for the store
        {"read": 2.84, "predict": 0.8, "seconds": 1.9},  # over in a moment
        {"load": 7, "read": 4, "seconds": 6},  # the second worker was worth its start
        {"load": 7, "read": 2.5, "seconds": 5},
        {"load": 3.5, "read": 0.3, "workers": 1, "seconds": 4},
        {"load": 7, "read": 0.5, "seconds": 4, "are_forked": True},  # the model was loaded once
        {"load": 7, "read": 0.5, "seconds": 4, "recycles": True},  # one worker would be recycled more often
        {"load": 7, "read": 0.5, "seconds": 4, "successors": 1, "reload": 1.9},  # or have to be replaced
        {"enforce": 20, "calls": 1000, "calls_whole_files": True},  # as Azure calls
        {"predict": 30, "cores": 2},
        {"predict": 30, "cores": 2, "obstacles": ("compressed files",)},
        {"predict": 30, "cores": 8, "mini_batches": 2},  # why there are but two isn't known
        {"predict": 30, "cores": 8, "mini_batches": 2, "rows": 2, "remedy": "a smaller one"},
        {"predict": 30, "workers": 1, "mini_batches": 1, "cores": 1, "remedy": "a smaller one"},
        {"read": 15, "as_parquet": None, "cores": 8, "mini_batches": 2, "obstacles": ("compressed files",)},
        {"predict": 30, "tail": 2.5},  # a small share
        {"predict": 5, "tail": 1.5, "seconds": 5},  # over in a moment
        {"predict": 11, "tail": 9, "workers": 1, "cores": 1},  # there is no one to share with
        {"predict": 30, "parent": {"score": 14, "join": 6}},
        {"predict": 30, "parent": {"score": 17, "join": 3}, "kept": 0.8},  # a small share
        {"predict": 30, "parent": {"score": 14, "join": 6}, "kept": 0.2},  # other columns
        {"predict": 30, "parent": {"score": 14, "join": 6}, "kept": 0.8, "pieces": 5000},  # for their number
        {"predict": 5, "parent": {"score": 2.5, "join": 1.5}, "kept": 0.8, "seconds": 4},  # over in a moment
        {"predict": 5, "parent": {"score": 2.5, "plan": 1.5}, "seconds": 4},
        {"predict": 30, "parent": {"score": 16, "plan": 4}},
        {"failed": 3.9, "predict": 30},
        {"load": 7, "read": 0.3, "failed": 2},  # these were tried beside each other
        {"enforce": 9, "calls": 1000},
        {"enforce": 20, "calls": 100},  # large calls
        {"predict": 15, "cores": 8},
        {"read": 20, "files": 20_000, "bytes": 20 << 20, "is_whole": False},  # which of them isn't known
    ],
)
def test_no_advice_without_reason(figures: dict[str, Any]) -> None:
    assert len(list(words(run(**figures)))) == 1
