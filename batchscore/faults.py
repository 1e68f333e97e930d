"""Why an attempt at a mini-batch, or at loading the model, came to nothing."""

from __future__ import annotations


class Abandoned(Exception):
    """The slot was stopped for good: the mini-batch is nobody's fault and wasn't scored."""


class ModelNotLoaded(Exception):
    """A worker couldn't load the model; no mini-batch is to blame."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        """Traceback, stuck frames or the end of the worker's log."""


class WorkerFault(Exception):
    """An attempt at a mini-batch that came to nothing."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        """Traceback, stuck frames or the end of the worker's log."""
        self.seconds = 0.0
        """Since the worker was sent the mini-batch."""


class ScoringRaised(WorkerFault):
    """The model raised, or its answer was refused; the worker lives on."""

    def __init__(self, reason: str, detail: str = "", *, refuses_answer: bool = False) -> None:
        super().__init__(reason, detail)
        self.refuses_answer = refuses_answer


class WorkerTimedOut(WorkerFault):
    """No chunk was finished in time; the worker was killed."""

    hint = ""
    """What else than the model may have kept it from answering."""


class WorkerOutgrew(WorkerFault):
    """The worker held more memory than it may; it was killed."""


class WorkerDied(WorkerFault):
    """The worker ended, or what it sent made no sense and it was killed."""
