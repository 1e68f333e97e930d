"""Random kills of the parent and of workers: `python tests/soak_kills.py --kills 1000 [--seed N]`.

Each job is killed at random moments until it has ended by itself. Then its outputs are those of an undisturbed job to
the byte, its counts are right, no process is left and no temporary file. Some of the jobs have their OUTPUT on a store
(moto's S3, on loopback); these go on elsewhere now and then, with nothing of what lay on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stores import S3, s3_on_loopback

HERE = Path(__file__).resolve().parent
MARK = "BATCHSCORE_SOAK"
"""An environment variable that tells the processes of a job from all others."""

LOOKS = 100
"""At the processes of a job that was killed, a hundredth of a second apart, after which none may be left; a machine
that stands still takes none of them away."""

MODEL_NOT_LOADED = 3
"""How a job ends two of whose workers were killed while they loaded the model, before any had loaded it."""

MODEL_CODE = """
import mlflow.pyfunc
from mlflow.models import set_model

class Tripled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if (model_input["x"] < 0).any():
            raise ValueError("below zero")
        return model_input["x"] * 3

set_model(Tripled())
"""


@dataclass(frozen=True)
class Recipe:
    """A job to disturb: how it is started, and what must come of it."""

    name: str
    command: Callable[[str], list[str]]
    """For an OUTPUT."""
    rows: int
    rows_aside: int = 0
    """Of these, those that must be put aside."""
    counts_retries: bool = True
    store: S3 | None = None
    """Where OUTPUT is; None: here."""


@dataclass
class Tally:
    """What was done to jobs."""

    parents: int = 0
    workers: int = 0
    jobs: int = 0
    by_recipe: dict[str, int] = field(default_factory=dict)

    @property
    def kills(self) -> int:
        return self.parents + self.workers


def quick_recipe(folder: Path, *, files: int = 24) -> Recipe:
    """A job without MLflow and pandas: 24 mini-batches in a fraction of a second."""
    sys.path.insert(0, str(HERE))
    import quick

    rows = [n % 5 + 1 for n in range(files)]
    quick.write(folder, **{f"f{n:02d}": " ".join(str(n * 10 + x) for x in range(many)) for n, many in enumerate(rows)})
    settings = {"workers": 2, "max_retries": 20}
    ways = itertools.cycle(("loader", "each"))
    program = f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]; import killable; killable.main()"

    def command(output: str) -> list[str]:
        return [
            sys.executable,
            "-c",
            program,
            str(folder),
            json.dumps({**settings, "worker_start": next(ways), "output": output}),
        ]

    return Recipe("quick", command, sum(rows))


def real_recipe(folder: Path, form: str, output_files: str, *, has_bad_rows: bool = False) -> Recipe:
    """An MLflow model over CSV and Parquet files, some of which are cut; bad rows are put aside where there are any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    model, inputs = folder / "model", folder / ("bad" if has_bad_rows else "in")
    if not model.exists():
        _save_model(folder, model)
    if not inputs.exists():
        inputs.mkdir()
        for n in range(8):
            values: list[float | str] = [n * 1000 + x / 3 for x in range(400)]
            if has_bad_rows:
                values[40 * n], values[399 - n] = -1, -2 if n % 2 else "oops"
            table = {"id": [f"k{n}-{x}" for x in range(400)], "x": values}
            if n % 2:
                pq.write_table(pa.table(table), inputs / f"f{n}.parquet", row_group_size=100)
            else:
                rows = zip(*table.values(), strict=True)
                (inputs / f"f{n}.csv").write_text("id,x\n" + "".join(f"{key},{x}\n" for key, x in rows))

    def command(output: str) -> list[str]:
        return [
            sys.executable, "-m", "batchscore", "run", "-m", str(model), "-i", str(inputs), "-o", output,
            "--mini-batch-size=2KB", "--workers=2", "--max-retries=20", f"--format={form}",
            f"--output-files={output_files}", "--keep=id", "--quiet",
            *(["--on-bad-row=quarantine"] if has_bad_rows else []),
        ]  # fmt: skip

    return Recipe(f"{form} {output_files}{' bad rows' * has_bad_rows}", command, 3200, 16 if has_bad_rows else 0)


def _save_model(folder: Path, model: Path) -> None:
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    code = folder / "model_code.py"
    code.write_text(MODEL_CODE)
    signature = ModelSignature(Schema([ColSpec("double", "x")]), Schema([ColSpec("double", "thrice")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on how to log models
        mlflow.pyfunc.save_model(model, python_model=str(code), signature=signature, pip_requirements=["mlflow-skinny"])


class Disturbed:
    """A recipe's jobs, killed at random moments."""

    def __init__(self, recipe: Recipe, folder: Path, chance: random.Random, tally: Tally) -> None:
        """The undisturbed job is done at once."""
        self.recipe, self.folder, self.chance, self.tally = recipe, folder, chance, tally
        self.mark = f"{os.getpid()}-{chance.getrandbits(48):x}"
        self.environment = {**os.environ, "PYTHONPATH": str(HERE.parent), MARK: self.mark, "NO_COLOR": "1"}
        self.cache, self.bucket = folder / "cache", ""
        if recipe.store:
            self.bucket = recipe.store.bucket()
            self.environment |= {**recipe.store.direct_variables, "BATCHSCORE_CACHE": str(self.cache)}
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
        self.expected, self.seconds = self._undisturbed()

    def close(self) -> None:
        self.log.close()

    def _undisturbed(self) -> tuple[dict[str, bytes], float]:
        output = self.folder / "undisturbed"
        shutil.rmtree(output, ignore_errors=True)
        started = time.monotonic()
        assert self._started(str(output)).wait(120) == 0, self._said()
        expected = content(output)
        if self.recipe.store:
            started = time.monotonic()
            assert self._started(self._output).wait(120) == 0, self._said()
            self._look_at(expected)
        return expected, time.monotonic() - started

    @property
    def _output(self) -> str:
        return f"s3://{self.bucket}/out" if self.recipe.store else str(self.folder / "out")

    def _clear(self) -> None:
        """Nothing of the last job is left."""
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        if self.recipe.store:
            self.bucket = self.recipe.store.bucket()

    def _started(self, output: str) -> subprocess.Popen[bytes]:
        self.log.seek(0)
        self.log.truncate()
        return subprocess.Popen(
            self.recipe.command(output), env=self.environment, stdout=self.log, stderr=self.log, cwd=self.folder
        )

    def play(self, kills: Callable[[], bool]) -> None:
        """One job, killed as long as ``kills`` says so; then it runs to its end, and everything is looked at."""
        self._clear()
        for restarts in range(200):
            if self.recipe.store and self.chance.random() < 0.5:
                shutil.rmtree(self.cache, ignore_errors=True)  # as on another machine
            process = self._started(self._output)
            before = self.tally.workers
            ended = self._disturb(process, kills, self.seconds * (1 + restarts / 10))
            if ended is not None and not (ended == MODEL_NOT_LOADED and self.tally.workers >= before + 2):
                break
            self._assert_gone()
        else:
            raise AssertionError("the job never ends")
        assert ended == 0, (ended, self._said())
        self._look_at(self.expected)
        self.tally.jobs += 1
        self.tally.by_recipe[self.recipe.name] = self.tally.by_recipe.get(self.recipe.name, 0) + 1

    def _said(self) -> str:
        self.log.seek(0)
        return self.log.read().decode()

    def _disturb(self, process: subprocess.Popen[bytes], kills: Callable[[], bool], patience: float) -> int | None:
        """Kill the parent, or workers until it ends; the exit code where it ended by itself.

        ``patience`` are seconds at most between kills: more with each restart, since a machine may be slower by now.
        """
        while kills():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(self.chance.uniform(0, patience))
            ahead = self.tally.parents - self.tally.workers
            if self.chance.random() < 0.5 - ahead / 20:  # about as many of them as of workers
                process.send_signal(signal.SIGKILL)
                process.wait()
                self.tally.parents += 1
                return None
            workers = [pid for pid in self._processes() if pid != process.pid]
            if workers:
                kill(self.chance.choice(workers))
                self.tally.workers += 1
        return process.wait(120)

    def _processes(self) -> list[int]:
        """The living processes of the job, of this run and of those before."""
        return [pid for pid in processes() if mark_of(pid) == self.mark]

    def _assert_gone(self) -> None:
        for _ in range(LOOKS):
            if not (left := self._processes()):
                return
            time.sleep(0.01)
        raise AssertionError(f"left after {LOOKS} looks: {left}")

    def _look_at(self, expected: dict[str, bytes]) -> None:
        if self.recipe.store:
            there = self.recipe.store.content(self.bucket)
            text = there["out/job.json"]
            found = without_times({name.removeprefix("out/"): data for name, data in there.items()})
            assert self.recipe.store.uploads(self.bucket) == 0
            assert not list(self.cache.glob("work/*"))
        else:
            found, text = content(Path(self._output)), Path(self._output, "job.json").read_bytes()
        assert sorted(found) == sorted(expected)
        assert found == expected
        manifest = json.loads(text)
        counts = manifest["counts"]
        assert counts["rows"] == counts["rows_scored"] + counts["rows_failed"] == self.recipe.rows, counts
        assert (counts["rows_failed"], counts["files_failed"]) == (self.recipe.rows_aside, 0), counts
        assert not (self.folder / "out/.batchscore").exists()
        self._assert_gone()


def content(output: Path) -> dict[str, bytes]:
    """All files of an OUTPUT by their paths; of job.json, which has times, and of logs that they are there."""
    files = (path for path in output.rglob("*") if path.is_file())
    return without_times({path.relative_to(output).as_posix(): path.read_bytes() for path in files})


def without_times(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: b"" if name == "job.json" else data for name, data in found.items() if not name.startswith("logs/")}


def processes() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def mark_of(pid: int) -> str | None:
    """What the environment of a living process says; None for others."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return None
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return None
    return next((entry.decode().partition("=")[2] for entry in variables if entry.startswith(MARK.encode())), None)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def soak(recipes: list[Callable[[], Disturbed]], kills: int, tally: Tally, say: Callable[[str], Any] = print) -> None:
    """Play the recipes by turns until there were that many kills."""
    played = [make() for make in recipes]
    said = time.monotonic()
    while tally.kills < kills:
        for one in played:
            one.play(lambda: tally.kills < kills)
            if tally.kills >= kills:
                break
        if time.monotonic() - said > 30:
            said = time.monotonic()
            say(f"{tally.kills} of {kills} kills, {tally.jobs} jobs")
    for one in played:
        one.close()


def main() -> None:
    """Play until there were enough kills, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--stores", choices=["some", "none", "all"], default="some", help="jobs with OUTPUT on a store")
    given = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    chance, tally, begun = random.Random(seed), Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)

        def made(recipe: Recipe, place: str) -> Callable[[], Disturbed]:
            (folder / place).mkdir(exist_ok=True)
            return lambda: Disturbed(recipe, folder / place, chance, tally)

        (folder / "real").mkdir()
        (folder / "quick").mkdir()
        recipes = [
            made(real_recipe(folder / "real", form, output_files), f"{form}-{output_files}")
            for form, output_files in (("csv", "one"), ("parquet", "one"), ("jsonl", "mirror"), ("parquet", "parts"))
        ]
        bad = real_recipe(folder / "real", "csv", "one", has_bad_rows=True)
        recipes.append(made(bad, "bad-rows"))
        recipes += [made(quick_recipe(folder / "quick"), "quick-out")] * 4
        with contextlib.ExitStack() as stack:
            if given.stores == "all":
                recipes = []
            if given.stores != "none":
                store = stack.enter_context(s3_on_loopback())
                (folder / "stored").mkdir()
                stored = replace(quick_recipe(folder / "stored"), name="quick on a store", store=store)
                real = real_recipe(folder / "real", "parquet", "mirror")
                recipes += [
                    *[made(stored, "stored-out")] * 2,
                    made(replace(real, name="parquet mirror on a store", store=store), "real-stored"),
                ]
            soak(recipes, given.kills, tally, lambda text: print(text, flush=True))
    print(
        f"seed {seed}: {tally.parents} kills of the parent, {tally.workers} of workers, {tally.jobs} jobs finished "
        f"with the right bytes and counts, nothing left behind, {time.monotonic() - begun:.0f} s; {tally.by_recipe}"
    )


if __name__ == "__main__":
    main()
