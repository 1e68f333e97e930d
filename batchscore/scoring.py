"""Score one mini-batch: read, enforce, predict, align, write the part."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from batchscore import readers, writers
from batchscore.errors import FileRefused, UsageError
from batchscore.job import ScoringSettings
from batchscore.minibatch import Failed, Failure, FileSlice, InputFile, Json, MiniBatch, Outcome, Scored, SliceOutcome
from batchscore.model import Model, load
from batchscore.model.requirements import differences
from batchscore.readers import Chunk
from batchscore.redaction import secret_values, without
from batchscore.signature.modelinput import model_input
from batchscore.storage import facts_of, is_remote

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of rows after each call of predict."""


class ModelScorer:
    """A loaded model with all that shapes its predictions."""

    def __init__(self, model: Model, settings: ScoringSettings, parts: str, notes: tuple[str, ...] = ()) -> None:
        """``notes`` are what the user should know of the loaded model."""
        self.model = model
        self.settings = settings
        self.parts = parts
        self.notes = notes

    def facts(self) -> Json:
        return {"notes": list(self.notes)}

    def close(self) -> None:
        """Nothing to clean up: the process ends."""

    def score(self, mini_batch: MiniBatch, progress: Progress) -> Outcome:
        return score_mini_batch(self, mini_batch, progress)


def load_scorer(setup: Json) -> ModelScorer:
    """Load the model that a worker's first message names. Raises ModelLoadError, UsageError."""
    settings = ScoringSettings.from_json(setup["settings"])
    env_manager = setup.get("env_manager", "local")
    model = load(
        setup["model"],
        predict_fn=settings.predict_fn,
        params=settings.params,
        threads=settings.threads,
        env_manager=env_manager,
    )
    note = differences(setup["model"]) if env_manager == "local" else ""
    return ModelScorer(model, settings, setup["parts"], (note,) if note else ())


def score_mini_batch(scorer: ModelScorer, mini_batch: MiniBatch, progress: Progress) -> Outcome:
    """The outcome of a mini-batch, its predictions in a part of its own.

    Rows of several files share a call of predict up to rows_per_call; each keeps its place. A file that can't be
    read fails alone. What predict raises and answers that can't become rows propagate, and nothing is written.
    """
    begun = time.perf_counter()
    ledger = Ledger(mini_batch)
    path = Path(scorer.parts, f"{mini_batch.part_name}.{scorer.settings.format}")
    with writers.open_part(scorer.settings.writer, str(path), _roles(scorer.settings)) as part:
        for call in _calls(_chunks(scorer, ledger), scorer.settings):
            answer = scorer.model.predict(_model_input(scorer.model, call))
            predictions = scorer.model.columns(answer, sum(chunk.rows for chunk in call))
            ledger.note(predictions.notes)
            start = 0
            for chunk in call:
                rows = predictions.table.slice(start, chunk.rows)
                ledger.wrote(chunk.slice, part.rows, part.rows + chunk.rows)
                part.write(_output_rows(chunk, rows, scorer.settings))
                start += chunk.rows
            progress(start)
    return ledger.outcome(part, path.name, time.perf_counter() - begun)


class Ledger:
    """What became of each slice while the mini-batch is read and written."""

    def __init__(self, mini_batch: MiniBatch) -> None:
        self.mini_batch = mini_batch
        self._spans: dict[FileSlice, tuple[int, int]] = {}
        """Rows of the part, start and stop."""
        self._failed: dict[FileSlice, Failure] = {}
        self._notes: dict[str, None] = {}

    def wrote(self, piece: FileSlice, start: int, stop: int) -> None:
        first, _ = self._spans.get(piece, (start, start))
        self._spans[piece] = (first, stop)

    def failed(self, piece: FileSlice, error: FileRefused) -> None:
        self._failed[piece] = Failure(
            piece.file.name, _without_secrets(error.reason), error.row, error.column, error.value, error.record
        )

    def note(self, notes: Iterable[str]) -> None:
        self._notes.update(dict.fromkeys(notes))

    def outcome(self, part: writers.PartWriter, name: str, seconds: float) -> Outcome:
        """The outcome, once the part is closed: rows of failed files may lie in it, but nothing points there."""
        entries: list[SliceOutcome] = []
        for piece in self.mini_batch.slices:
            if piece in self._failed:
                entries.append(Failed(piece, self._failed[piece]))
            elif piece in self._spans:
                start, stop = self._spans[piece]
                entries.append(Scored(piece, stop - start, name, part.position(start), part.position(stop)))
            else:
                entries.append(Scored(piece, 0, "", 0, 0))
        return Outcome(
            self.mini_batch.number,
            tuple(entries),
            part.columns,
            seconds=seconds,
            notes=tuple(map(_without_secrets, self._notes)),
            is_mixed=part.is_mixed,
        )


def _without_secrets(text: str) -> str:
    return without(secret_values(os.environ), text)


def _chunks(scorer: ModelScorer, ledger: Ledger) -> Iterator[tuple[FileSlice, Chunk | None]]:
    """Typed chunks of all slices, in order; None where a file turned out to be refused."""
    for piece in ledger.mini_batch.slices:
        try:
            for chunk in readers.read(piece, scorer.model.inputs, scorer.settings):
                ledger.note(chunk.notes)
                if chunk.rows:
                    yield piece, chunk
            _refuse_changed(piece.file)
        except FileRefused as error:
            ledger.failed(piece, _change_or(error, piece.file))
            yield piece, None


def _change_or(error: FileRefused, file: InputFile) -> FileRefused:
    """That a file on a store changed, where it did: it was read in parts, of which no whole can be made."""
    try:
        if is_remote(file.path):
            _refuse_changed(file)
    except FileRefused as change:
        return change
    return error


def _refuse_changed(file: InputFile) -> None:
    """Refuse a file that isn't as it was when it was listed, by length and version: it may be of two minds."""
    try:
        facts = facts_of(file.path)
    except OSError as error:
        raise FileRefused(f"the file went while it was scored: {error.strerror}; run the same command again") from error
    if facts.size != file.size:
        raise FileRefused(
            f"the file changed while it was scored, from {file.size:,} to {facts.size:,} bytes; "
            "run the same command again"
        )
    if facts.version != file.version:
        raise FileRefused("the file was written again while it was scored; run the same command again")


def _calls(chunks: Iterator[tuple[FileSlice, Chunk | None]], settings: ScoringSettings) -> Iterator[list[Chunk]]:
    """Chunks that go to predict together: at most rows_per_call rows, of one schema."""
    pending: list[Chunk] = []
    rows = 0
    for piece, chunk in chunks:
        if chunk is None:
            pending = [other for other in pending if other.slice is not piece]
            rows = sum(other.rows for other in pending)
            continue
        if pending and (rows + chunk.rows > settings.rows_per_call or not _can_join(pending[-1], chunk, settings)):
            yield pending
            pending, rows = [], 0
        pending.append(chunk)
        rows += chunk.rows
    if pending:
        yield pending


def _can_join(one: Chunk, other: Chunk, settings: ScoringSettings) -> bool:
    """Whether two chunks make one frame without a change of types; frames and arrays never do."""
    if settings.calls_per_file and one.slice.file != other.slice.file:
        return False
    if not isinstance(one.features, pa.Table) or not isinstance(other.features, pa.Table):
        return False
    return bool(one.features.schema.equals(other.features.schema))


def _model_input(model: Model, call: list[Chunk]) -> Any:
    """What goes to predict; what isn't a Table is one chunk, and goes as it is."""
    if not isinstance(call[0].features, pa.Table):
        return call[0].features
    return model_input(model.inputs, pa.concat_tables([chunk.features for chunk in call]))


def _roles(settings: ScoringSettings) -> dict[str, str]:
    kept, added = dict.fromkeys(settings.keep, "kept"), dict.fromkeys((name for name, _ in settings.add), "added")
    return {"file": "file", "row": "row", **kept, **added}


def _output_rows(chunk: Chunk, predictions: pa.Table, settings: ScoringSettings) -> pa.Table:
    """file, row, kept, added and prediction columns of one chunk; in layout azure row, predictions and file.

    Raises UsageError where names clash.
    """
    is_azure = settings.layout == "azure"
    name = PurePosixPath(chunk.slice.file.name).name if is_azure else chunk.slice.file.name
    numbers = np.arange(chunk.first_row, chunk.first_row + chunk.rows, dtype=np.int64)
    file: tuple[pa.Field, Any] = (pa.field("file", pa.string()), pa.repeat(pa.scalar(name, pa.string()), chunk.rows))
    row: tuple[pa.Field, Any] = (pa.field("row", pa.int64()), pa.array(numbers))
    if is_azure:
        return _table([row, *zip(predictions.schema, predictions.columns, strict=True), file])
    columns = [
        file,
        row,
        *zip(_kept_fields(chunk, settings), chunk.kept.columns, strict=True),
        *((pa.field(name, pa.string()), pa.repeat(pa.scalar(value), chunk.rows)) for name, value in settings.add),
    ]
    taken = {field.name for field, _ in columns}
    if clashing := [name for name in predictions.column_names if name in taken]:
        remedy = "leave it out of --keep, or name the one of --add otherwise"
        if clashing[0] in {"file", "row"}:
            remedy = "file and row say where each prediction belongs, so the model has to name its own column otherwise"
        raise UsageError(f"the prediction column {clashing[0]!r} has the name of another output column; {remedy}")
    return _table([*columns, *zip(predictions.schema, predictions.columns, strict=True)])


def _table(columns: list[tuple[pa.Field, Any]]) -> pa.Table:
    return pa.Table.from_arrays([values for _, values in columns], schema=pa.schema([field for field, _ in columns]))


def _kept_fields(chunk: Chunk, settings: ScoringSettings) -> list[pa.Field]:
    """The kept columns' fields, named as asked for; text of a file with types is text, a CSV's may be numbers."""
    fields = [field.with_name(name) for field, name in zip(chunk.kept.schema, settings.keep, strict=True)]
    if not readers.is_typed(chunk.slice.file.name):
        return fields
    return [field.with_metadata(writers.TYPED) for field in fields]
