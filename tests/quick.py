"""Whole jobs in a fraction of a second: a Scorer without MLflow, pandas and pyarrow, in real worker processes.

Its model doubles the numbers in the last column of CSV files. An answer is int64 where a file's numbers are whole,
else double, so that types differ from file to file. What the folder FAULTS holds tells a number what to do. With
SAY_PYTHON the worker's interpreter is in a note; STAGE is where a mini-batch says that a minute went.
"""

from __future__ import annotations

import gzip
import os
import sys
import time
from pathlib import Path

from batchscore.child import WorkerSpec
from batchscore.job import Job
from batchscore.outcome import Column, Failed, Failure, Outcome, Scored
from batchscore.settings import MiniBatchSize
from batchscore.stopwatch import Lap, Spent
from batchscore.writers.parts import PartFile, part_errors

MODEL = (
    'flavors:\n  python_function: {}\nsignature:\n  inputs: \'[{"type": "double", "name": "x", "required": true}]\'\n'
)
TYPES = ("null", "int64", "double", "string")


def use(monkeypatch, **environment):
    """Have jobs scored by the workers of this module."""
    monkeypatch.setattr("batchscore.runner.worker_spec", lambda prepared: spec(prepared, environment))
    monkeypatch.setattr("batchscore.runner.early_spec", lambda *_: None)


def spec(prepared, environment):
    return WorkerSpec(
        {"parts": prepared.workspace.parts},
        loader=f"{__file__}:load",
        start=prepared.job.worker_start,
        environment=tuple(environment.items()),
    )


def job(folder: Path, **settings) -> Job:
    """A job over folder/in with folder/model into folder/out, a mini-batch a file."""
    return Job(
        **{
            "model": str(folder / "model"),
            "inputs": (str(folder / "in"),),
            "output": str(folder / "out"),
            "mini_batch_size": MiniBatchSize(files=1),
            "workers": 1,
            "worker_start": os.environ.get("BATCHSCORE_RUN_WORKER_START", "auto"),
            **settings,
        }
    )


def write(folder: Path, **files: str) -> None:
    """Files of folder/in by their names without suffix, each with its numbers."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model/MLmodel").write_text(MODEL)
    (folder / "in").mkdir(exist_ok=True)
    for name, numbers in files.items():
        (folder / f"in/{name}.csv").write_text("x\n" + "".join(f"{x}\n" for x in numbers.split()))


def load(setup):
    if log := os.environ.get("LOADS"):
        with Path(log).open("a") as stream:
            stream.write(f"{os.getpid()}\n")
    act_out(["load"], calls=False)
    return Doubled(Path(setup["parts"]))


class Doubled:
    def __init__(self, parts: Path):
        self.parts = parts

    def close(self):
        pass

    def facts(self):
        return {"notes": [f"runs with {sys.executable}"] if "SAY_PYTHON" in os.environ else []}

    def score(self, mini_batch, progress):
        numbers = {piece: rows_of(piece) for piece in mini_batch.slices}
        if log := os.environ.get("BEGUN"):
            with Path(log).open("a") as stream:
                stream.write(f"{mini_batch.number}\n")
        for words in numbers.values():
            act_out(words)
        kinds = [kind for words in numbers.values() if "oops" not in words for kind in map(kind_of, words)]
        kind = max(kinds, key=TYPES.index, default="null")
        name = f"{mini_batch.part_name}.csv"
        entries = []
        part_file = PartFile(str(self.parts / name))
        part = part_file.stream
        with part_errors("write", part_file.path):
            for piece, words in numbers.items():
                if "oops" in words:
                    failure = Failure(
                        piece.file.name, "found 'oops'", piece.first_row + words.index("oops"), "x", "oops"
                    )
                    entries.append(Failed(piece, failure))
                    continue
                start = part.tell()
                rows = zip(range(piece.first_row, piece.first_row + len(words)), words, strict=True)
                part.writelines(f"{piece.file.name},{row},{text(word, kind)}\n".encode() for row, word in rows)
                entries.append(Scored(piece, len(words), name if words else "", start, part.tell()))
        part_file.publish()
        columns = (Column("file", "string", "file"), Column("row", "int64", "row"), Column("twice", kind, "prediction"))
        progress(len(kinds))
        spent = Spent(**{os.environ["STAGE"]: Lap(60, 60)}) if "STAGE" in os.environ else None
        return Outcome(mini_batch.number, tuple(entries), columns, is_mixed=len(set(kinds)) > 1, spent=spent)


def rows_of(piece) -> list[str]:
    opener = gzip.open if piece.file.name.endswith(".gz") else open
    with opener(piece.file.path, "rb") as stream:
        header = len(stream.readline()) if piece.is_whole else piece.start
        stream.seek(header)
        size = -1 if piece.stop is None else piece.stop - header
        return [line.split(",")[-1] for line in stream.read(size).decode().split()[: piece.max_rows]]


def act_out(words, *, calls=True) -> None:
    faults = Path(os.environ.get("FAULTS", "/nowhere"))
    for word in words:
        if (faults / word).exists():
            kind = (faults / word).read_text()
            if kind == "once":
                (faults / word).unlink()
            if kind == "exit":
                os._exit(3)
            if kind == "held":  # as long as the file is there
                while (faults / word).exists():
                    time.sleep(0.01)
                continue
            if kind in {"wait", "slow"}:
                time.sleep(600 if kind == "wait" else 0.5)
                continue
            secret = os.environ.get(os.environ.get("TELL", ""))
            raise ValueError(f"no luck with {word}" + (f" at https://host/x?sig=1 with {secret}" if secret else ""))
    if calls and (log := os.environ.get("CALLS")):
        with Path(log).open("a") as stream:
            stream.write(f"{len(words)}\n")


def kind_of(word: str) -> str:
    if word.isalpha():
        return "string"
    return "int64" if word.lstrip("-").isdigit() else "double"


def text(word: str, kind: str) -> str:
    if kind == "string":
        return word * 2
    return repr(float(word) * 2) if kind == "double" else str(int(word) * 2)
