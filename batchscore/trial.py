"""A worker that scores a job's first rows to see how it goes, and says what the model finds around it."""

from __future__ import annotations

import platform
import time

from batchscore.minibatch import Json
from batchscore.model.requirements import compared
from batchscore.scoring import ModelScorer, load_scorer


class Trial(ModelScorer):
    """A loaded model that tells its environment."""

    load_seconds: float
    requirements: list[tuple[str, str, str]]

    def facts(self) -> Json:
        """`python`: the version that runs; `requirements`: what the model was logged with, what is there, remark."""
        return {
            "python": platform.python_version(),
            "load_seconds": self.load_seconds,
            "requirements": self.requirements,
        }


def load_trial(setup: Json) -> Trial:
    """Load the model that a worker's first message names. Raises ModelLoadError, UsageError."""
    begun = time.perf_counter()
    scorer = load_scorer(setup)
    trial = Trial(scorer.model, scorer.settings, scorer.parts)
    trial.load_seconds = round(time.perf_counter() - begun, 3)
    trial.requirements = compared(setup["model"])
    return trial
