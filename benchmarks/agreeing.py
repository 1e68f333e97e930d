"""Whether two contenders computed the same: their predictions, read back from what they wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_LEFT_OUT = {"job.json", "failures.jsonl"}


class Disagreement(Exception):
    """Predictions that aren't those of the others."""


def predictions(output: Path) -> np.ndarray[Any, Any]:
    """`prediction`, or else the last column, of all files in the folder, in the order of their names."""
    import numpy as np

    files = [
        path
        for path in sorted(output.rglob("*.*"))
        if path.suffix in {".csv", ".parquet", ".json"}
        and path.name not in _LEFT_OUT
        and not {part for part in path.relative_to(output).parts if part.startswith(("logs", "."))}
    ]
    if not files:
        raise Disagreement(f"no predictions were found in {output}")
    return np.concatenate([_column(path) for path in files])


def _column(path: Path) -> np.ndarray[Any, Any]:
    import numpy as np
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    if path.suffix == ".json":
        answer = json.loads(path.read_text())["predictions"]
        return np.array([next(iter(row.values())) if isinstance(row, dict) else row for row in answer], dtype="float64")
    if not path.stat().st_size:
        return np.empty(0)
    table = pv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    place = max(table.schema.get_field_index("prediction"), -1) % table.num_columns
    return np.asarray(table.column(place).to_numpy(), dtype="float64")


def check(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], *, tolerance: float, keeps_order: bool) -> None:
    """Raise Disagreement unless the predictions are equal, in their order or, without one, sorted."""
    import numpy as np

    if len(found) != len(expected):
        raise Disagreement(f"{len(found):,} predictions, expected {len(expected):,}")
    if not keeps_order:
        found, expected = np.sort(found), np.sort(expected)
    allowed = tolerance * np.abs(expected).max(initial=0)
    wrong = ~(np.abs(found - expected) <= allowed)
    if wrong.any():
        place = int(wrong.argmax())
        raise Disagreement(
            f"{int(wrong.sum()):,} of {len(found):,} predictions differ, the first in row {place}: "
            f"found {found[place]!r}, expected {expected[place]!r}"
        )
