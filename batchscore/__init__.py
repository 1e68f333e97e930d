"""Score folders of CSV and Parquet files with an MLflow model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["JobSummary", "__version__", "run", "validate"]

if TYPE_CHECKING:
    from batchscore.face import run, validate
    from batchscore.summary import JobSummary


def __getattr__(name: str) -> Any:
    """Open the slow parts when they are asked for."""
    if name == "run":
        from batchscore.face import run

        return run
    if name == "validate":
        from batchscore.face import validate

        return validate
    if name == "JobSummary":
        from batchscore.summary import JobSummary

        return JobSummary
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
