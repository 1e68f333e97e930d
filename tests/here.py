"""A job's worker in the test's own process: what a worker does, without the seconds that its start costs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from batchscore.child import WorkerSpec
from batchscore.errors import AnswerRefused, ModelLoadError, StorageError, UsageError
from batchscore.faults import ScoringRaised
from batchscore.minibatch import Json, MiniBatch
from batchscore.nursery import Origin
from batchscore.outcome import Outcome, Progress
from batchscore.scoring import ModelScorer, load_scorer
from batchscore.worker import _texts


class HereSlots:
    """Stands in for `batchscore.slots.Slots`: the same outcomes and errors, one mini-batch at a time."""

    peak_rss = 0
    last: HereSlots | None = None
    origin = Origin("each", "in the test's process")

    def __init__(self, spec: WorkerSpec, count: int, logs: Path, listener: object = None, ahead: object = None) -> None:
        del count, logs, listener, ahead
        self.spec = spec
        self.scorer: ModelScorer | None = None
        self._lock = threading.Lock()
        HereSlots.last = self

    def __enter__(self) -> HereSlots:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self) -> None:
        pass

    def kill_all(self) -> None:
        pass

    def ready(self) -> Json:
        """The facts, as Slots gives them."""
        with self._lock:
            self.scorer = self.scorer or load_scorer(self.spec.setup)
        return self.scorer.facts()

    def ask(
        self, mini_batch: MiniBatch, timeout: float, on_progress: Progress, *, restarts_clock: bool = True
    ) -> Outcome:
        """What crosses a process crosses as JSON here too."""
        del timeout, restarts_clock
        with self._lock:
            self.scorer = self.scorer or load_scorer(self.spec.setup)
            try:
                outcome = self.scorer.score(MiniBatch.from_json(mini_batch.to_json()), on_progress)
            except (UsageError, ModelLoadError, StorageError):
                raise
            except Exception as error:
                texts = _texts(error)
                is_refused = isinstance(error, AnswerRefused)
                raise ScoringRaised(texts["message"], texts["traceback"], refuses_answer=is_refused) from error
        return Outcome.from_json(outcome.to_json())


def python_model(scorer: ModelScorer) -> Any:
    """The user's PythonModel in a loaded model, whose attributes a test may look at."""
    return scorer.model._pyfunc.unwrap_python_model()
