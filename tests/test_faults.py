"""Whatever a worker does: each kind of fault between innocent mini-batches, with 1, 2 and 4 real workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_worker import ACTIONS, batch, count, gone, spec

from batchscore import attempts, engines
from batchscore.attempts import RetryPolicy
from batchscore.errors import ModelLoadError
from batchscore.face import run
from batchscore.minibatch import MiniBatch
from batchscore.outcome import Failed, Failure, Outcome
from batchscore.slots import Slots

TIMEOUT = 2.0
LIMIT = 200 << 20

TIMED_OUT = r"no chunk was finished within 2 s \(--timeout\)"
FAULTS = {
    "F": ("ValueError: boom", "in raises"),
    "!": ("UnpicklableError: with a lock", "in raises_unpicklable"),
    "E": ("UnspeakableError: .its text can't be had: ValueError", ""),
    "L": (r"lone \\ud800 surrogate", ""),
    "B": ("^ValueError: startxxx", ""),
    "N": ("^predict returned 2 rows for 3$", ""),
    "T": ("can't be written as JSON", ""),
    "#": ("can't be written as JSON", ""),
    "@": ("^RecursionError", ""),
    "M": ("^MemoryError", "in runs_out_of_memory"),
    "I": ("^KeyboardInterrupt", "in raises_interrupt"),
    "Z": ("^SystemExit: goodbye", "in raises_exit"),
    "O": ("^the worker was killed by SIGKILL; often the system's answer to a lack of memory", ""),
    "K": ("^the worker was killed by SIGSEGV$", "in crashes"),
    "0": ("^the worker exited with code 0$", ""),
    "X": ("^the worker exited with code 3$", "last words"),
    "V": ("^the worker exited with code 3$", ""),
    "C": ("^the worker closed its connection$", ""),
    "J": ("^the worker sent what is no message", ""),
    "Y": ("^the worker sent what is no message", ""),
    "W": ("^the worker sent what is no message: the outcome of another mini-batch", ""),
    "H": (TIMED_OUT, "in hangs"),
    "G": (TIMED_OUT, "in hangs_in_c"),
    "6": (TIMED_OUT, ""),
    "7": (TIMED_OUT, "in prints_for_ever"),
    "^": (TIMED_OUT, "in hangs_in_company"),
    "2": (r"^the worker held \d+ MB of memory, more than the 200 MB that it may \(--memory-limit\)", "in hoards"),
}
"""By letter of the fake model: what the reason says, and what more there is to know."""
HARMLESS = {"8": "prints_a_lot", "9": "starts_company", "%": "closes_its_output", "Q": "forks", "R": "is_slow"}
"""What may be odd, and scores."""


@dataclass
class Played:
    """What became of a job with one mini-batch of each kind and an innocent one beside each."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By the file's name."""
    attempts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    loads: int = 0
    left: list[int] = field(default_factory=list)
    """Processes that should be gone."""

    def failure(self, name: str) -> Failure:
        (entry,) = self.outcomes[name].slices
        assert isinstance(entry, Failed), entry
        return entry.failure


@pytest.fixture(
    scope="module",
    params=[(1, "each"), (2, "each"), (4, "each"), (2, "loader"), (4, "loader")],
    ids=lambda param: f"{param[0]} workers, {param[1]}",
)
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder, found = tmp_path_factory.mktemp("faults"), Played()
    workers, start = request.param
    names = [f"{letter}{n}.csv" for n, kind in enumerate([*FAULTS, *HARMLESS]) for letter in (kind, "S")]

    def task(mini_batch: MiniBatch) -> None:
        name = mini_batch.slices[0].file.name
        hangs = FAULTS.get(name[0], ("",))[0] is TIMED_OUT
        (outcome,) = attempts.score(slots, mini_batch, RetryPolicy(0, TIMEOUT if hangs else 60))
        found.outcomes[name], found.seconds[name] = outcome, outcome.longest
        if name[0] in "G6":
            found.left += pids_in(folder / "hanging")

    with Slots(spec(folder, "by file", memory_limit=LIMIT, start=start), workers, folder) as slots:
        slots.start()
        batches = (batch(number, name) for number, name in enumerate(names))
        for _ in engines.fan_out(task, batches, workers):
            pass
        found.left += [child.pid for slot in slots._slots for child in slot.children]
    child, fork, loner = pids_in(folder / "company")
    orphan, outsider = pids_in(folder / "left")
    found.left += [child, fork, orphan, *pids_in(folder / "company of a hang")]
    found.attempts.update((folder / "attempts").read_text().split())
    found.loads = count(folder, "loads")
    yield found
    for pid in (
        loner,
        outsider,
    ):  # who left their group, and whose worker ended by itself: nothing tells whose they are
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pids_in(path: Path) -> list[int]:
    return [int(pid) for pid in path.read_text().split()]


@pytest.mark.parametrize("kind", FAULTS, ids=[ACTIONS[kind].__name__ for kind in FAULTS])
def test_the_guilty_mini_batch_fails_and_says_why(played: Played, kind: str) -> None:
    (name,) = (name for name in played.outcomes if name.startswith(kind))
    reason, detail = FAULTS[kind]
    failure = played.failure(name)
    assert re.search(reason, failure.reason), failure.reason
    assert detail in (failure.detail or "")
    if "--timeout" in reason:
        assert TIMEOUT <= played.seconds[name] < TIMEOUT + 1


@pytest.mark.parametrize("kind", HARMLESS, ids=list(HARMLESS.values()))
def test_what_is_odd_but_scores_is_scored(played: Played, kind: str) -> None:
    (name,) = (name for name in played.outcomes if name.startswith(kind))
    assert played.outcomes[name].rows == 3


def test_no_innocent_is_charged_or_scored_twice(played: Played) -> None:
    assert len(played.outcomes) == 2 * len({**FAULTS, **HARMLESS})
    innocent = [outcome for name, outcome in played.outcomes.items() if name[0] not in FAULTS]
    assert {(outcome.rows, outcome.retries) for outcome in innocent} == {(3, 0)}
    assert set(played.attempts.values()) == {1}
    assert set(played.attempts) == set(played.outcomes)


def test_workers_take_all_that_they_started_along(played: Played) -> None:
    assert len(played.left) >= 11
    assert gone(*played.left)


@pytest.mark.parametrize(("workers", "start"), [(1, "each"), (2, "each"), (4, "each"), (2, "loader")])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("F", "RuntimeError: no such layer"),
        ("Z", "SystemExit: no licence"),
        ("X", "the worker exited with code 3 while it loaded the model"),
        ("0", "the worker exited with code 0 while it loaded the model"),
        ("O", "the worker was killed by SIGKILL while it loaded the model; often"),
        ("K", "(?s)the worker was killed by SIGSEGV while it loaded the model.*in load"),
        ("H", r"(?s)the model wasn't loaded within 2 s.*in load"),
        ("G", r"(?s)the model wasn't loaded within 2 s"),
    ],
)
def test_a_model_that_can_not_be_loaded_ends_the_job_and_charges_nobody(
    tmp_path: Path, workers: int, start: str, kind: str, message: str
) -> None:
    limit = 2 if kind in "HG" else 300
    with Slots(spec(tmp_path, loads=kind * 99, load_timeout=limit, start=start), workers, tmp_path) as slots:
        slots.start()
        policy = RetryPolicy(3, 30)
        with pytest.raises(ModelLoadError, match=message):
            list(engines.fan_out(lambda one: attempts.score(slots, one, policy), map(batch, range(9)), workers))
        slots.kill_all()
    assert count(tmp_path, "calls") == 0
    if kind == "G":
        assert gone(*pids_in(tmp_path / "hanging"))


FAULTY = """
import ctypes, os, signal, sys, threading, time
import mlflow.pyfunc
from mlflow.models import set_model

class UnpicklableError(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()

class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError

def fails(kind):
    if kind == 1: raise ValueError("boom")
    if kind == 2: raise UnpicklableError("with a lock")
    if kind == 3: raise UnspeakableError
    if kind == 4: raise MemoryError
    if kind == 5: raise KeyboardInterrupt
    if kind == 6: sys.exit("goodbye")
    if kind == 7: os._exit(0)
    if kind == 8: os._exit(3)
    if kind == 9: os.kill(os.getpid(), signal.SIGKILL)
    if kind == 10: ctypes.string_at(0)
    if kind == 11: time.sleep(600)
    if kind == 12:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ctypes.PyDLL(None).sleep(600)
    if kind == 13: os.closerange(3, 256); time.sleep(600)
    if kind == 14: hoard = [b"x" * (100 << 20) for _ in range(10)]; time.sleep(600)
    if kind == 15:
        while True: os.write(1, b"x" * 65536)
    if kind == 16: print("flood " * 1_000_000)
    if kind == 17: threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); os.system("sleep 600 &")

class Faulty(mlflow.pyfunc.PythonModel):
    '''x is a kind of fault, or negative: then it is answered.'''

    def predict(self, context, model_input, params=None):
        for x in model_input["x"]:
            fails(int(x))
        return model_input["x"] * 2

set_model(Faulty())
"""

OF_MODELS = {
    1: "ValueError: boom", 2: "UnpicklableError: with a lock", 3: "UnspeakableError: (its text", 4: "MemoryError",
    5: "KeyboardInterrupt", 6: "SystemExit: goodbye", 7: "exited with code 0", 8: "exited with code 3",
    9: "was killed by SIGKILL", 10: "was killed by SIGSEGV", 11: "no chunk was finished within 5 s (--timeout)",
    12: "no chunk was finished within 5 s (--timeout)", 13: "closed its connection",
    14: "of memory, more than the 900 MB that it may (--memory-limit)", 15: "no chunk was finished within 5 s",
}  # fmt: skip
"""What is said of each kind; 16 and 17 score."""


def test_a_real_model_that_does_all_of_it(tmp_path: Path, save_model: Any) -> None:
    """Each fault in a file of its own beside an innocent one; no file is tried twice."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    model = save_model(FAULTY, ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "twice")])))
    (tmp_path / "in").mkdir()
    for kind in range(1, 18):
        (tmp_path / f"in/f{kind:02d}.csv").write_text(f"x\n{kind}\n")
        (tmp_path / f"in/f{kind:02d}-innocent.csv").write_text(f"x\n-{kind}\n-1\n")
    summary = run(
        model, tmp_path / "in", tmp_path / "out", workers=2, mini_batch_size=1, timeout=5, memory_limit="900MB",
        max_retries=0, error_threshold=-1,
    )  # fmt: skip
    assert summary.status == "Completed"
    failures = {failure["file"]: failure for failure in summary.failures().to_dict("records")}
    for kind, reason in OF_MODELS.items():
        assert reason in failures.pop(f"f{kind:02d}.csv")["reason"]
    assert failures == {}
    assert (summary.counts.rows_scored, summary.counts.rows_failed, summary.counts.retries) == (2 * 17 + 2, 15, 0)
