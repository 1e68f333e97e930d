"""Answers whose rows come in another order than the input's, as pandas' index says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_NOTE = (
    "the answer's rows come in another order than the input's: each was put where its index says, as pandas does where "
    "an answer becomes a column of a frame; sort_index() in the model makes sure of it"
)


def in_input_order(answer: Any, rows: int) -> tuple[Any, tuple[str, ...]]:
    """The answer with its rows in the input's order, and a note where that wasn't theirs.

    The input's index counts its rows from 0. An answer's index without a name that has the same numbers in another
    order says which row is whose: models that sort, or score by group, answer so. Any other index says nothing.
    """
    if isinstance(answer, (pd.DataFrame, pd.Series)):
        order = _order(answer.index, rows)
        return (answer, ()) if order is None else (answer.iloc[order], (_NOTE,))
    if isinstance(answer, Mapping) and any(isinstance(values, pd.Series) for values in answer.values()):
        ordered = {key: in_input_order(values, rows) for key, values in answer.items()}
        notes = dict.fromkeys(note for _, found in ordered.values() for note in found)
        return {key: values for key, (values, _) in ordered.items()}, tuple(notes)
    return answer, ()


def _order(index: pd.Index[Any], rows: int) -> np.ndarray[Any, Any] | None:
    """Where the input's rows stand in the answer; None where the index doesn't say, or they are in their places."""
    if len(index) != rows or index.name is not None or index.dtype.kind not in "iu":
        return None
    labels = index.to_numpy()
    places = np.arange(rows)
    if np.array_equal(labels, places):
        return None
    order: np.ndarray[Any, Any] = np.argsort(labels, kind="stable")
    return order if np.array_equal(labels[order], places) else None
