"""A model that costs nothing: the sum of its columns, added one after the other so that it is exact everywhere."""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Adding(PythonModel):
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:  # noqa: ARG002  # MLflow's interface
        total = model_input.iloc[:, 0].to_numpy(dtype="float64", copy=True)
        for place in range(1, model_input.shape[1]):
            total += model_input.iloc[:, place].to_numpy()
        return total


set_model(Adding())
