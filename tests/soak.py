"""Long tests, for `make soak`: hostile files by the hundred thousand. The seed that is printed repeats a run.

python tests/soak.py fuzz --minutes 10 --inputs 100000
python tests/soak.py fuzz --seed 7 --kind csv --number 1234       one input again, with its traceback
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import fuzzing  # noqa: E402  # from the folders above

BATCH = 500
"""Inputs that a process tries; then another goes on, so that what leaks is seen."""
HANG_SECONDS = 30
MOST_BYTES = 1 << 30
"""Of resident memory, which a process that reads small files may take."""
MOST_OF_IMAGES = 2 << 30
"""The same where a few bytes may stand for 89 million pixels, which Pillow's limit allows."""


@dataclass
class Tally:
    """What became of the inputs of a kind."""

    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0

    def __str__(self) -> str:
        ends = ", ".join(f"{number:,} {end}" for end, number in sorted(self.ends.items()))
        return f"{ends}; slowest {self.slowest:.2f} s; at most {self.peak >> 20} MB; {len(self.faults)} faults"


def try_batch(kind: str, seed: int, first: int, count: int, folder: Path) -> None:
    """In a process of its own: try inputs, and say on stdout how each ended; a line before each says what begins."""
    told = os.open(folder / "stage", os.O_WRONLY | os.O_CREAT)
    fuzzing.WATCH.tell = lambda stage: os.pwrite(told, f"{number} {stage}\n".encode().ljust(40), 0) and None
    for number in range(first, first + count):
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        begun = time.perf_counter()
        end: str
        try:
            end = fuzzing.try_one(kind, seed, number, folder)
        except BaseException as error:  # noqa: BLE001  # that is what is looked for
            end = f"fault {type(error).__name__}: {error}"[:500]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps([number, end, time.perf_counter() - begun, peak]), flush=True)
        if peak > (MOST_OF_IMAGES if kind == "image" else MOST_BYTES):
            return


def run_batch(kind: str, seed: int, first: int, count: int, tally: Tally) -> None:
    """Try inputs in processes; one that dies is blamed on the input it was at."""
    stop = first + count
    while first < stop:
        with tempfile.TemporaryDirectory(prefix="batchscore-soak-") as folder:
            command = [sys.executable, __file__, "batch", kind, *map(str, (seed, first, stop - first)), folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
            first = _record(kind, seed, done, Path(folder), first, tally)


def _record(
    kind: str, seed: int, done: subprocess.CompletedProcess[str], folder: Path, first: int, tally: Tally
) -> int:
    """Add what a process said; the number of the next input."""
    peak = 0
    for line in done.stdout.splitlines():
        number, end, seconds, peak = json.loads(line)
        first = number + 1
        tally.slowest, tally.peak = max(tally.slowest, seconds), max(tally.peak, peak)
        tally.ends["fault" if end.startswith("fault") else end] += 1
        if end.startswith("fault"):
            tally.faults.append(f"--seed {seed} --kind {kind} --number {number}: {end}")
    if peak > (MOST_OF_IMAGES if kind == "image" else MOST_BYTES):
        tally.faults.append(f"--seed {seed} --kind {kind} --number {first - 1}: {peak >> 20} MB of memory")
    elif done.returncode:
        _, stage = (folder / "stage").read_text().split()
        said = [line for line in done.stderr.splitlines() if line.strip()]
        tally.ends[f"died in {stage}"] += 1
        if stage == "parent" or "Timeout" in done.stderr:
            words = " ".join(said[:8])[:600]
            tally.faults.append(f"--seed {seed} --kind {kind} --number {first}: died ({done.returncode}): {words}")
        first += 1
    return first


def fuzz(seed: int, inputs: int, minutes: float, kinds: list[str], jobs: int) -> dict[str, Tally]:
    """Try so many inputs of all kinds together, or as many as there is time for."""
    tallies = {kind: Tally() for kind in kinds}
    deadline = time.monotonic() + minutes * 60

    def batches() -> Iterator[tuple[str, int, int]]:
        each = inputs // len(kinds)
        for first in range(0, each, BATCH):
            for kind in kinds:
                yield kind, first, min(BATCH, each - first)

    def work(batch: tuple[str, int, int]) -> None:
        kind, first, count = batch
        if time.monotonic() < deadline:
            run_batch(kind, seed, first, count, tallies[kind])

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, batches()))
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fuzz", "batch"])
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so many")
    parser.add_argument("--inputs", type=int, default=100_000, help="in all kinds together")
    parser.add_argument("--kind", action="append", choices=list(fuzzing.KINDS), help="may be repeated; all by default")
    parser.add_argument("--number", type=int, help="this input alone, here")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.what == "batch":
        kind, seed, first, count, folder = given.rest
        try_batch(kind, int(seed), int(first), int(count), Path(folder))
        return 0
    if given.number is not None:
        folder = Path(tempfile.mkdtemp(prefix="batchscore-soak-"))
        print(f"in {folder}")
        print(fuzzing.try_one(given.kind[0], given.seed, given.number, folder))
        shutil.rmtree(folder)
        return 0
    print(f"fuzz: seed {given.seed}, {given.inputs:,} inputs, {given.minutes:g} minutes at most", flush=True)
    begun = time.monotonic()
    tallies = fuzz(given.seed, given.inputs, given.minutes, given.kind or list(fuzzing.KINDS), given.jobs)
    for kind, tally in tallies.items():
        print(f"{kind:<8} {tally}")
        for fault in tally.faults[:20]:
            print(f"  {fault}")
    tried = sum(sum(tally.ends.values()) for tally in tallies.values())
    faults = sum(len(tally.faults) for tally in tallies.values())
    print(f"fuzz: {tried:,} inputs in {time.monotonic() - begun:.0f} s, {faults} faults, seed {given.seed}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
