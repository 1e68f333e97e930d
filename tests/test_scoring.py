"""A mini-batch to its part: which rows share a call, and what becomes of files that are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from batchscore import scoring as scoring_module
from batchscore import setaside
from batchscore.errors import AnswerRefused
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.model import Model
from batchscore.outcome import Failed, Outcome, Scored
from batchscore.schema import ColumnSpec, Schema
from batchscore.scoring import ModelScorer
from batchscore.settings import ScoringSettings


def listed(path: Path) -> InputFile:
    """The file as it is now."""
    return InputFile(path.name, str(path), path.stat().st_size, str(path.stat().st_mtime_ns))


class Pyfunc:
    """What a worker asks of MLflow's model."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.answer = answer
        self.calls: list[list[float]] = []

    def predict(self, model_input: Any) -> Any:
        self.calls.append(model_input["x"].tolist())
        return self.answer(model_input["x"].to_numpy())


class Scoring:
    """Scores files of folder/in into parts in folder/parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pyfunc = Pyfunc(lambda x: x * 2)
        (folder / "in").mkdir()
        (folder / "parts").mkdir()

    def write(self, **files: str) -> MiniBatch:
        """A mini-batch of CSV files whose lines are words."""
        for name, lines in files.items():
            (self.folder / f"in/{name}.csv").write_text("x\n" + "".join(f"{line}\n" for line in lines.split()))
        paths = [self.folder / f"in/{name}.csv" for name in files]
        return MiniBatch(0, tuple(FileSlice(listed(path)) for path in paths))

    def score(self, mini_batch: MiniBatch, **settings: Any) -> Outcome:
        model = Model(Schema((ColumnSpec("x", "double"),)), None, None, {}, self.pyfunc)
        scorer = ModelScorer(model, ScoringSettings(**settings), str(self.folder / "parts"))
        return scorer.score(mini_batch, lambda _: None)

    def rows(self, outcome: Outcome) -> list[str]:
        """The records of the good files, by the bounds that the outcome gives."""
        records = []
        for entry in outcome.slices:
            if isinstance(entry, Scored) and entry.part:
                part = (self.folder / "parts" / entry.part).read_bytes()[entry.start : entry.stop]
                assert part.count(b"\n") == entry.rows
                records += part.decode().splitlines()
        return records


@pytest.fixture
def scoring(tmp_path: Path) -> Scoring:
    return Scoring(tmp_path)


def test_rows_of_several_files_share_calls_and_keep_their_places(scoring: Scoring) -> None:
    outcome = scoring.score(scoring.write(a="1 2", b="", c="3", d="4 5 6 7"), rows_per_call=4)
    assert scoring.pyfunc.calls == [[1, 2, 3], [4, 5, 6, 7]]
    assert scoring.rows(outcome) == [
        "a.csv,0,2.0", "a.csv,1,4.0", "c.csv,0,6.0",
        "d.csv,0,8.0", "d.csv,1,10.0", "d.csv,2,12.0", "d.csv,3,14.0",
    ]  # fmt: skip
    assert [entry.rows for entry in outcome.slices if isinstance(entry, Scored)] == [2, 0, 1, 4]


def test_a_refused_file_takes_its_rows_out_of_calls_to_come(scoring: Scoring) -> None:
    outcome = scoring.score(scoring.write(a="1", b="2 3 oops", c="4"), rows_per_call=2)
    assert scoring.rows(outcome) == ["a.csv,0,2.0", "c.csv,0,8.0"]
    (failed,) = [entry for entry in outcome.slices if isinstance(entry, Failed)]
    assert (failed.failure.file, failed.failure.row, failed.failure.value) == ("b.csv", 2, "oops")


def test_secrets_are_looked_for_where_something_is_told(scoring: Scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look through the environment takes as long as reading a small file, and most mini-batches have no bad row."""
    looks: list[object] = []
    for module in (setaside, scoring_module):
        monkeypatch.setattr(module, "secret_values", lambda variables: looks.append(variables) or ())
    scoring.score(scoring.write(a="1 2"))
    assert looks == []
    scoring.score(scoring.write(b="1 oops 2 oops"), quarantines=True)
    assert len(looks) == 1


def test_a_file_that_grows_while_it_is_scored_is_refused(scoring: Scoring) -> None:
    (scoring.folder / "in/b.csv").write_text("x,y\n3,0\n")  # of another form: not read together with a
    (a,) = scoring.write(a="1 2").slices
    mini_batch = MiniBatch(0, (a, FileSlice(listed(scoring.folder / "in/b.csv"))))

    def grow(x: Any) -> Any:
        with (scoring.folder / "in/a.csv").open("a") as stream:
            stream.write("4\n")
        return x

    scoring.pyfunc.answer = grow
    outcome = scoring.score(mini_batch, rows_per_call=1)
    (failed,) = [entry for entry in outcome.slices if isinstance(entry, Failed)]
    assert failed.failure.file == "a.csv"
    assert "changed while it was scored, from 6 to 10 bytes" in failed.failure.reason
    assert scoring.rows(outcome) == ["b.csv,0,3.0"]


def test_a_part_is_mixed_where_the_answers_of_its_calls_have_several_types(scoring: Scoring) -> None:
    scoring.pyfunc.answer = lambda x: x.astype(np.int64) if np.all(x == np.floor(x)) else x
    outcome = scoring.score(scoring.write(a="1", b="2.5"), rows_per_call=1)
    assert outcome.is_mixed
    assert scoring.rows(outcome) == ["a.csv,0,1.0", "b.csv,0,2.5"]
    assert not scoring.score(scoring.write(a="1", b="2"), rows_per_call=1).is_mixed


def test_nothing_is_left_of_a_mini_batch_whose_answer_is_refused(scoring: Scoring) -> None:
    scoring.pyfunc.answer = lambda x: x[1:]
    with pytest.raises(AnswerRefused):
        scoring.score(scoring.write(a="1 2"))
    assert list((scoring.folder / "parts").iterdir()) == []


def test_parquet_slices_give_their_own_rows(scoring: Scoring) -> None:
    path = scoring.folder / "in/a.parquet"
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0, 4.0]}), path, row_group_size=2)
    file = listed(path)
    outcome = scoring.score(MiniBatch(1, (FileSlice(file, 1, 2, 2),)))
    assert scoring.rows(outcome) == ["a.parquet,2,6.0", "a.parquet,3,8.0"]


OPENED = """
import sys
from pathlib import Path
from batchscore import readers, writers
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.model import Model
from batchscore.schema import ColumnSpec, Schema
from batchscore.scoring import ModelScorer
from batchscore.settings import ScoringSettings

class Doubling:
    def predict(self, model_input):
        return model_input["x"].to_numpy() * 2

path, parts, form = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
file = InputFile(path.name, str(path), path.stat().st_size, str(path.stat().st_mtime_ns))
scorer = ModelScorer(
    Model(Schema((ColumnSpec("x", "double"),)), None, None, {}, Doubling()), ScoringSettings(format=form), parts
)
readers.open_libraries(readers.suffixes([file, InputFile("notes.txt", "notes.txt", 0, "")]), typed=True)
writers.open_libraries(form)
before = set(sys.modules)
scorer.score(MiniBatch(0, (FileSlice(file),)), lambda _: None)
print(sorted(name for name in set(sys.modules) - before if name.startswith(("batchscore", "pyarrow.csv"))))
"""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_reading_and_writing_take_is_open_before_workers_are_forked(tmp_path: Path, form: str) -> None:
    """Each worker would import it for itself, otherwise."""
    path = tmp_path / f"x.{form}"
    table = pa.table({"x": [1.5, 2.5]})
    pacsv.write_csv(table, path) if form == "csv" else pq.write_table(table, path)
    command = [sys.executable, "-c", OPENED, str(path), str(tmp_path), form]
    package = str(Path(scoring_module.__file__).parent.parent)
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": package}
    )
    assert found.stdout == "[]\n"
