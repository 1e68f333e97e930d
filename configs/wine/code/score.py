"""Labels wines, file by file; STRONG_FROM is the alcohol (% by volume) from which a wine is strong."""

import os
from pathlib import Path

import mlflow
import pandas as pd


def init():
    """Load the model once in each process."""
    global model, strong_from
    (folder,) = Path(os.environ["AZUREML_MODEL_DIR"]).iterdir()
    model = mlflow.pyfunc.load_model(str(folder))
    strong_from = float(os.environ["STRONG_FROM"])


def run(mini_batch):
    """One row for each wine: its id, label, grams of alcohol in a glass, and the file's name."""
    frames = []
    for path in mini_batch:
        wines = pd.read_csv(path)
        labels = model.predict(wines[["alcohol"]], params={"strong_from": strong_from})
        frames.append(labels.assign(id=wines["id"], file=Path(path).name)[["id", "label", "alcohol_grams", "file"]])
    return pd.concat(frames)
