"""Whatever predict returned, as named and typed columns with one row for each input row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from batchscore.answers.naming import Columns, named_and_typed
from batchscore.answers.order import in_input_order
from batchscore.answers.shapes import unfolded
from batchscore.schema import Schema

__all__ = ["Columns", "columns_of"]


def columns_of(answer: Any, rows: int, outputs: Schema | None, classes: Sequence[Any] | None = None) -> Columns:
    """The answer to ``rows`` input rows as a table, and notes on what was decided about it.

    Names are the output signature's, else the answer's own, else `prediction` or `prediction_0`, `prediction_1`, …;
    with ``classes`` (of predict_proba) they are `probability_<class>`. Types are the output signature's. Where the
    number of columns isn't the signature's, the answer's own names and types are taken, with a note.

    A frame or Series whose index names the input's rows in another order is put into theirs, with a note.

    Raises AnswerRefused, saying what came back, where that isn't one row for each input row, where a column mixes text
    and numbers, and where a value doesn't fit the signature.
    """
    ordered, notes = in_input_order(answer, rows)
    found = named_and_typed(unfolded(ordered, rows, outputs, classes), rows, outputs, classes)
    return replace(found, notes=(*notes, *found.notes))
