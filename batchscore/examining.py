"""What a worker does that looks at files before they are scored: their headers and schemas, not their rows."""

from __future__ import annotations

from batchscore.errors import FileRefused
from batchscore.minibatch import Json, MiniBatch
from batchscore.outcome import Failed, Failure, Outcome, Progress, Scored, SliceOutcome
from batchscore.readers.checking import check
from batchscore.redaction import redact
from batchscore.schema import Schema
from batchscore.settings import ScoringSettings


class Examiner:
    """Stands where a model does: its "scored" files are those that fit, each with about how many rows it has."""

    def __init__(self, schema: Schema | None, settings: ScoringSettings) -> None:
        self.schema = schema
        self.settings = settings

    def facts(self) -> Json:
        return {}

    def close(self) -> None:
        """Nothing to clean up."""

    def score(self, mini_batch: MiniBatch, progress: Progress) -> Outcome:
        """An entry for each file, nothing written; a Scored one has 1 as its stop where its rows were counted."""
        entries: list[SliceOutcome] = []
        notes: dict[str, None] = {}
        for piece in mini_batch.slices:
            try:
                found = check(piece.file, self.schema, self.settings)
            except FileRefused as error:
                failure = Failure(
                    piece.file.name, redact(error.reason), error.row, error.column, error.value, error.record
                )
                entries.append(Failed(piece, failure))
            else:
                entries.append(Scored(piece, found.rows, "", 0, int(found.is_counted)))
                notes.update(dict.fromkeys(found.notes))
            progress(0)
        return Outcome(mini_batch.number, tuple(entries), notes=tuple(notes))


def load_examiner(setup: Json) -> Examiner:
    """An Examiner by the schema and the settings of a worker's first message."""
    schema = setup["schema"]
    return Examiner(None if schema is None else Schema.from_json(schema), ScoringSettings.from_json(setup["settings"]))
