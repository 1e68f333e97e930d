"""OUTPUT/.batchscore/run.json: what the run at work set out to do, for who looks on from outside."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from batchscore.minibatch import compact
from batchscore.storage import storage_errors

NAME = "run.json"


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run of an unfinished job: the whole, and what was left of it when scoring began."""

    started: str
    """As job.json has it: by this one knows whether job.json is this run's."""
    scoring_since: str
    files: int
    files_skipped: int
    files_failed: int
    """Failures of runs before that stand; 0 where they are tried again."""
    mini_batches: int
    mini_batches_todo: int
    bytes: int
    """Of input."""
    bytes_todo: int
    workers: int
    journal_end: int
    """Where in the journal the receipts of this run begin."""

    def write(self, folder: str) -> None:
        """Put it into the workspace's folder, whole. Raises StorageError."""
        path = Path(folder, NAME)
        with storage_errors(f"can't write {path}"):
            temporary = path.with_suffix(".tmp")
            temporary.write_text(compact(asdict(self)), encoding="ascii")
            temporary.replace(path)

    @classmethod
    def read(cls, folder: str) -> RunPlan | None:
        """That of the last run; None where there is none that can be read."""
        try:
            return cls(**json.loads(Path(folder, NAME).read_text(encoding="ascii")))
        except (OSError, ValueError, TypeError):
            return None
