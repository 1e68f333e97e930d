"""Score one mini-batch: read, enforce, predict, align, write the part."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from batchscore import readers, writers
from batchscore.answers import Columns
from batchscore.calls import Chunks, Part, calls, cut, input_of
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile, Json, Mended, MiniBatch, Trial
from batchscore.model import Model, load, open_libraries
from batchscore.model.requirements import differences
from batchscore.outcome import Failed, Failure, Outcome, Progress, Scored, SliceOutcome
from batchscore.placing import placed
from batchscore.readers import Chunk
from batchscore.readers.bundles import Share
from batchscore.readers.source import POSITION
from batchscore.readers.together import read_together
from batchscore.redaction import secret_values, without
from batchscore.seeding import seed
from batchscore.setaside import SetAside, failure_of, spoilt_rows
from batchscore.settings import ScoringSettings
from batchscore.stopwatch import Spent
from batchscore.storage import facts_of, is_remote

MAX_RECORD_CHARS = 65_536
"""Of the bad record of a file that fails: it goes to the parent. Rows that are put aside keep theirs whole."""


class ModelScorer:
    """A loaded model with all that shapes its predictions."""

    def __init__(
        self, model: Model, settings: ScoringSettings, parts: str, notes: tuple[str, ...] = (), *, syncs: bool = True
    ) -> None:
        """``notes`` are what the user should know of the loaded model; ``syncs``: parts are on the disk when named."""
        self.syncs = syncs
        self.model = model
        self.settings = settings
        self.parts = parts
        self.notes = notes

    def facts(self) -> Json:
        return {"notes": list(self.notes), "threads": self.model.threads.libraries}

    def close(self) -> None:
        """Nothing to clean up: the process ends."""

    def score(self, mini_batch: MiniBatch, progress: Progress) -> Outcome:
        self.model.watch.begin("write")
        seed(mini_batch)
        if isinstance(mini_batch.portion, Trial):
            outcome = try_rows(self, mini_batch, mini_batch.portion, progress)
        else:
            outcome = score_mini_batch(self, mini_batch, progress)
        return replace(outcome, spent=Spent.of(self.model.watch))


def prepare() -> None:
    """Import what loading needs, before it is known what is loaded."""
    open_libraries()


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
    readers.open_libraries(setup.get("suffixes", ()), typed=model.inputs is not None)
    writers.open_libraries(settings.writer)
    note = differences(setup["model"]) if env_manager == "local" else ""
    notes = (note, *model.threads.notes)
    return ModelScorer(
        model, settings, setup["parts"], tuple(filter(None, notes)), syncs=setup.get("syncs_parts", True)
    )


def score_mini_batch(scorer: ModelScorer, mini_batch: MiniBatch, progress: Progress) -> Outcome:
    """The outcome of a mini-batch, its predictions in a part of its own.

    Rows of several files share a call of predict up to rows_per_call; each keeps its place. A file that can't be
    read fails alone, and so does a bad row where these are put aside. What predict raises and answers that can't become
    rows propagate, and nothing is written.
    """
    begun = time.perf_counter()
    ledger = Ledger(mini_batch)
    path = Path(scorer.parts, f"{mini_batch.part_name}.{scorer.settings.format}")
    spoilt = spoilt_rows(mini_batch, scorer.model.inputs, scorer.settings)
    with (
        SetAside(str(Path(scorer.parts, mini_batch.failures_name)), spoilt) as aside,
        writers.open_part(scorer.settings.writer, str(path), _roles(scorer.settings), syncs=scorer.syncs) as part,
    ):
        chunks = scorer.model.watch.over("read", _chunks(scorer, ledger, aside))
        if isinstance(mini_batch.portion, Mended):
            chunks = cut(chunks, mini_batch.portion.calls)
        POSITION.bytes = rows = 0
        with contextlib.closing(chunks):  # who keeps what predict raised would keep what reads ahead, too
            for call in calls(chunks, scorer.settings):
                scored = _score_call(scorer, call, ledger, part)
                rows += scored
                progress(scored, mini_batch.bytes_done(rows, POSITION.bytes))
                del call  # before more is read
    return ledger.outcome(part, path.name, aside, time.perf_counter() - begun)


def _score_call(scorer: ModelScorer, call: list[Part], ledger: Ledger, part: writers.PartWriter) -> int:
    """Predict the rows of a call and write them; how many they are."""
    predictions = _predict(scorer, call)
    ledger.note(predictions.notes)
    for rows in placed(call, predictions.table, scorer.settings):
        ledger.wrote(rows.parts, part.rows)
        part.write(rows.table, rows.stops)
    return predictions.table.num_rows


def try_rows(scorer: ModelScorer, mini_batch: MiniBatch, trial: Trial, progress: Progress) -> Outcome:
    """Whether predict takes these rows: nothing is written, and what it raises propagates.

    The outcome has the number of the fitting rows that were read of each slice.
    """
    ledger = Ledger(mini_batch)
    found = dict.fromkeys(mini_batch.slices, 0)
    seen = 0

    def wanted() -> Chunks:
        nonlocal seen
        for each in _chunks(scorer, ledger, None):
            if not isinstance(each, Chunk):
                continue
            start, stop = max(trial.start - seen, 0), min(trial.stop - seen, each.rows)
            found[each.slice] += each.rows
            seen += each.rows
            if start < stop:
                yield each.select(np.arange(start, stop))
            if 0 < trial.stop <= seen:
                return

    for call in calls(scorer.model.watch.over("read", wanted()), scorer.settings):
        _predict(scorer, call)
        progress(sum(part.rows for part in call))
    return ledger.tried(found)


def _predict(scorer: ModelScorer, call: list[Part]) -> Columns:
    with scorer.model.watch.stage("enforce"):
        answer = scorer.model.predict(input_of(scorer.model, call))
    return scorer.model.columns(answer, sum(part.rows for part in call))


class Ledger:
    """What became of each slice while the mini-batch is read and written."""

    def __init__(self, mini_batch: MiniBatch) -> None:
        self.mini_batch = mini_batch
        self._spans: dict[FileSlice, tuple[int, int]] = {}
        """Rows of the part, start and stop."""
        self._failed: dict[FileSlice, Failure] = {}
        self._notes: dict[str, None] = {}

    def wrote(self, parts: Iterable[Part], start: int) -> None:
        """These rows stand in the part from its row ``start`` on."""
        for part in parts:
            first, _ = self._spans.get(part.slice, (start, start))
            start += part.rows
            self._spans[part.slice] = (first, start)

    def failed(self, piece: FileSlice, error: FileRefused) -> None:
        failure = failure_of(piece, error, secret_values(os.environ))
        if failure.record and len(failure.record) > MAX_RECORD_CHARS:
            failure = replace(failure, record=f"{failure.record[:MAX_RECORD_CHARS]} …")
        self._failed[piece] = failure

    def note(self, notes: Iterable[str]) -> None:
        self._notes.update(dict.fromkeys(notes))

    def outcome(self, part: writers.PartWriter, name: str, aside: SetAside, seconds: float) -> Outcome:
        """The outcome, once the part is closed: rows of failed files may lie in it, but nothing points there."""
        entries: list[SliceOutcome] = []
        for piece in self.mini_batch.slices:
            if piece in self._failed:
                entries.append(Failed(piece, self._failed[piece]))
            elif piece in self._spans:
                start, stop = self._spans[piece]
                places = part.position(start), part.position(stop)
                entries.append(Scored(piece, stop - start, name, *places, aside.of(piece)))
            else:
                entries.append(Scored(piece, 0, "", 0, 0, aside.of(piece)))
        return Outcome(
            self.mini_batch.number,
            tuple(entries),
            part.columns,
            seconds=seconds,
            notes=tuple(without(secret_values(os.environ), note) for note in self._notes),
            is_mixed=part.is_mixed,
        )

    def tried(self, found: Mapping[FileSlice, int]) -> Outcome:
        """The outcome of an attempt for which nothing was written, with the rows that were found."""
        entries = [
            Failed(piece, self._failed[piece]) if piece in self._failed else Scored(piece, rows, "", 0, 0)
            for piece, rows in found.items()
        ]
        return Outcome(self.mini_batch.number, tuple(entries))


def _chunks(scorer: ModelScorer, ledger: Ledger, aside: SetAside | None) -> Chunks:
    """Typed chunks of all slices, in order; the slice where its file turned out to be refused."""
    settings = scorer.settings
    for found in _together(scorer, ledger.mini_batch):
        if isinstance(found, list):
            ledger.note(found[0].bundle.notes)
            yield from (share for share in found if share.rows)
            continue
        piece = found
        refuse = aside.refuse(piece) if aside else _ignore
        try:
            for chunk in readers.read(piece, scorer.model.inputs, settings, refuse if settings.quarantines else None):
                ledger.note(chunk.notes)
                good = aside.left_out(chunk) if aside else chunk
                if good.rows:
                    yield good
                del chunk, good  # before more is read
            _refuse_changed(piece.file)
            if aside:
                aside.finish()
        except FileRefused as error:
            ledger.failed(piece, _change_or(error, piece.file))
            yield piece


def _together(scorer: ModelScorer, mini_batch: MiniBatch) -> Iterator[FileSlice | list[Share]]:
    """Small files read at once as far as they are good and unchanged, and slices that are to be read one by one."""
    if mini_batch.portion is not None or len(mini_batch.slices) == 1:
        yield from mini_batch.slices
        return
    for found in read_together(mini_batch.slices, scorer.model.inputs, scorer.settings):
        pieces = list(dict.fromkeys(share.slice for share in found)) if isinstance(found, list) else []
        if isinstance(found, list) and any(map(_is_changed, pieces)):
            yield from pieces
        else:
            yield found


def _is_changed(piece: FileSlice) -> bool:
    try:
        _refuse_changed(piece.file)
    except FileRefused:
        return True
    return False


def _ignore(refusal: FileRefused) -> None:
    """A bad row is told when the mini-batch is scored."""


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


def _roles(settings: ScoringSettings) -> dict[str, str]:
    kept, added = dict.fromkeys(settings.keep, "kept"), dict.fromkeys((name for name, _ in settings.add), "added")
    return {"file": "file", "row": "row", **kept, **added}
