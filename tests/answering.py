"""A model that answers with what it is told to, and what its predictions read as."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

ANSWERING = """
import datetime as dt, decimal, os
import numpy as np, pandas as pd, pyarrow as pa
import mlflow.pyfunc
from mlflow.models import set_model

class Answering(mlflow.pyfunc.PythonModel):
    '''Answers with what the param `answer` says: an expression of the frame f, its column v and its length n.'''

    calls = 0

    def predict(self, context, model_input: pd.DataFrame, params=None):
        Answering.calls += 1
        expression = (params or {}).get("answer") or os.environ["ANSWER"]
        f, v, n, calls = model_input, model_input["x"].to_numpy(), len(model_input), Answering.calls
        return eval(expression, {**globals(), "f": f, "v": v, "n": n, "calls": calls})

set_model(Answering())
"""
X = [3, 1, 2, 5, 4]


class Predicted(Protocol):
    """Scores files with the answering model, in this process, and gives the prediction file's bytes.

    ``outputs`` are the (name, type) pairs of the output signature; ``inputs`` is a file of x = 3, 1, 2, 5, 4 unless
    given. Further options go to `batchscore.run`.
    """

    def __call__(
        self, answer: str, *outputs: tuple[Any, Any], form: str = "csv", inputs: Path | None = None, **options: Any
    ) -> bytes: ...


def cells(text: bytes) -> dict[str, list[str]]:
    """The columns of a CSV behind file and row, as text."""
    header, *rows = csv.reader(text.decode().splitlines(keepends=True))
    assert header[:2] == ["file", "row"]
    assert [int(row[1]) for row in rows] == list(range(len(rows)))
    return {name: [row[place] for row in rows] for place, name in enumerate(header) if place > 1}


def typed(data: bytes) -> dict[str, tuple[str, list[Any]]]:
    """The columns of a Parquet file behind file and row: type and values."""
    table = pq.read_table(pa.BufferReader(data))
    assert table["row"].to_pylist() == list(range(table.num_rows))
    return {field.name: (str(field.type), table[field.name].to_pylist()) for field in list(table.schema)[2:]}
