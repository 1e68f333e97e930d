"""The model `wine_label` as code: it labels a wine by its alcohol, row by row."""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

ETHANOL_DENSITY = 0.789
"""g/ml at 20 °C."""


class WineLabel(PythonModel):
    """A label and grams of alcohol in a glass; the params are the limit for "strong" and the size of the glass."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002  # MLflow's interface
        settings = {"strong_from": 13.0, "glass_ml": 125, **(params or {})}
        alcohol = model_input["alcohol"]
        strong = alcohol >= settings["strong_from"]
        return pd.DataFrame(
            {
                "label": ["strong" if is_strong else "light" for is_strong in strong],
                "alcohol_grams": alcohol * settings["glass_ml"] * ETHANOL_DENSITY / 100,
            }
        )


set_model(WineLabel())
