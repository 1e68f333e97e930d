"""What is known of each slice of a plan: where its predictions lie, or where the journal says why it failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from batchscore.highlights import MOST, Glimpse, Highlights
from batchscore.journal import Journal
from batchscore.minibatch import FileSlice, MiniBatch
from batchscore.outcome import Column, Failed, Failure, Outcome, Quarantined, Scored
from batchscore.segments import Extra, Packed, Packing, Part, Segment
from batchscore.stopwatch import Spent


@dataclass(frozen=True, slots=True)
class FailedAt:
    """A slice without predictions, and the receipt in the journal that says why."""

    place: int


Receipt: TypeAlias = Segment | FailedAt


class Receipts:
    """The receipts of a plan's slices, the last word winning; small, since failures stay in the journal.

    What the journal says of slices that aren't in the plan (their files changed or went) counts for its retries alone.
    With `is_whole` (scoring scripts) a mini-batch is known as a whole or not at all: it had just these slices.
    """

    def __init__(
        self,
        plan: Collection[MiniBatch],
        journal: Journal,
        *,
        is_whole: bool = False,
        warns_beyond: float | None = None,
    ) -> None:
        self._journal = journal
        self._warns_beyond = warns_beyond
        self.is_whole = is_whole
        self._wholes = {mini_batch.slices for mini_batch in plan} if is_whole else set()
        self._packing = Packing()
        self._known: dict[FileSlice, Packed | FailedAt | None] = dict.fromkeys(
            piece for mini_batch in plan for piece in mini_batch.slices
        )
        self._columns: dict[tuple[Column, ...], tuple[Column, ...]] = {}
        """One for many parts."""
        self.retries = 0
        self.spent = Spent()
        """Of all attempts that scored something, whatever became of it."""
        self.failed_files: set[str] = set()
        self.slow: set[int] = set()
        """Numbers of the mini-batches with an attempt that took more seconds than ``warns_beyond``."""
        self.highlights = Highlights()
        self.has_forgotten = False
        """Whether the journal has receipts that don't count any more: parts of their names are written again."""
        self.rows_recorded = 0
        """With a prediction, in this run."""
        for place, outcome in journal.outcomes():
            self._take(outcome, place)
        self._count_failed()  # a failure that a later receipt took back is none

    def record(self, outcome: Outcome) -> None:
        """Journal an outcome and know it from now on. Raises StorageError."""
        self.rows_recorded += outcome.rows
        self._take(outcome, self._journal.record(outcome))

    def _take(self, outcome: Outcome, place: int) -> None:
        self.retries += outcome.retries
        if outcome.spent:
            self.spent += outcome.spent
        if self.is_whole and tuple(entry.slice for entry in outcome.slices) not in self._wholes:
            return
        if any(entry.slice in self._known for entry in outcome.slices):
            self.highlights.take(outcome)
            if self._warns_beyond is not None and outcome.longest > self._warns_beyond:
                self.slow.add(outcome.number)
        parts = self._parts(outcome, place)
        extra = self._extra(outcome, place) if self.is_whole else None
        for entry in outcome.slices:
            if entry.slice not in self._known:
                continue
            if isinstance(entry, Scored):
                part = parts.get(entry.part)
                segment = Segment(entry.rows, part, entry.start, entry.stop, extra, entry.aside)
                self._known[entry.slice] = self._packing.pack(segment)
                extra = None
            else:
                self._known[entry.slice] = FailedAt(place)
                self.failed_files.add(entry.slice.file.name)

    def _parts(self, outcome: Outcome, place: int) -> dict[str, Part]:
        columns = self._columns.setdefault(outcome.columns, outcome.columns)
        names = {entry.part for entry in outcome.slices if isinstance(entry, Scored) and entry.part}
        rowless = sum(isinstance(entry, Scored) and not entry.part for entry in outcome.slices)
        needs = len(outcome.slices) - rowless if outcome.is_mixed else 0
        return {name: Part(name, columns, place, needs) for name in names}

    def _extra(self, outcome: Outcome, place: int) -> Extra:
        missing = outcome.shortfall.count if outcome.shortfall else 0
        self._count_missing(outcome)
        whole = MiniBatch(outcome.number, tuple(entry.slice for entry in outcome.slices))
        return Extra(place, whole.files_name if outcome.files else "", missing)

    def _count_failed(self) -> None:
        """Find the failed files anew, by the last word on each slice."""
        self.failed_files = {piece.file.name for piece, found in self._known.items() if isinstance(found, FailedAt)}
        for extra in self.extras():
            if extra.missing:
                self._count_missing(self._journal.outcome_at(extra.place))

    def _count_missing(self, outcome: Outcome) -> None:
        """Count as many of a scoring script's files as failed as it didn't return elements for."""
        missing = outcome.shortfall.count if outcome.shortfall else 0
        self.failed_files.update(entry.slice.file.name for entry in outcome.slices[:missing])

    @property
    def end(self) -> int:
        """Where in the journal the next receipt will stand."""
        return self._journal.end

    @property
    def is_empty(self) -> bool:
        return not any(self._known.values())

    @property
    def has_rows(self) -> bool:
        """Whether any row has a prediction."""
        return any(segment.rows > 0 for _, segment in self._segments())

    @property
    def rows(self) -> tuple[int, int]:
        """Rows put aside, and all rows of slices that didn't fail."""
        aside = sum(aside.rows for _, aside in self._asides())
        return aside, aside + sum(segment.rows for _, segment in self._segments())

    def of(self, piece: FileSlice) -> Receipt | None:
        found = self._known[piece]
        return self._packing.unpack(found) if isinstance(found, (bytes, Segment)) else found

    def is_done(self, piece: FileSlice) -> bool:
        """Whether it is scored or has failed."""
        return self._known[piece] is not None

    def failure(self, piece: FileSlice) -> Failure:
        """Why a failed slice failed, from the journal."""
        found = self._known[piece]
        if not isinstance(found, FailedAt):
            raise TypeError(f"{piece.file.name} didn't fail")
        entries = self._journal.outcome_at(found.place).slices
        return next(entry.failure for entry in entries if isinstance(entry, Failed) and entry.slice == piece)

    def shortfall(self, extra: Extra) -> Failure:
        """Why files count as failed whose mini-batch is scored, from the journal."""
        found = self._journal.outcome_at(extra.place).shortfall
        if found is None:
            raise TypeError("nothing is missing there")
        return found

    def written(self, extra: Extra) -> tuple[str, ...]:
        """The files that a scoring script wrote itself, relative to their folder."""
        return self._journal.outcome_at(extra.place).files if extra.folder else ()

    def appended(self, extra: Extra) -> dict[str, int]:
        """Those of them that it only appended to, with the number of bytes that init() had written there."""
        return dict(self._journal.outcome_at(extra.place).appended) if extra.folder else {}

    def extras(self) -> Iterator[Extra]:
        """Of the mini-batches that are scored, in no certain order."""
        for found in self._known.values():
            if isinstance(found, Segment) and found.extra:
                yield found.extra

    def mini_batches_done(self, plan: Iterable[MiniBatch]) -> int:
        """How many mini-batches are scored or have failed."""
        return sum(all(map(self.is_done, batch.slices)) for batch in plan)

    def failed_mini_batches(self, plan: Iterable[MiniBatch]) -> tuple[int, tuple[Glimpse, ...]]:
        """How many mini-batches hold a slice that failed, and the first of them."""
        failed = ([self._known[piece] for piece in batch.slices] for batch in plan)
        first = (next((found for found in batch if isinstance(found, FailedAt)), None) for batch in failed)
        places = [found.place for found in first if found]
        return len(places), tuple(Glimpse.of(self._journal.outcome_at(place)) for place in places[:MOST])

    def forget_failures(self) -> None:
        """Have all failed slices scored again."""
        self._forget(piece for piece, found in self._known.items() if _is_failure(found))

    def forget_spoilt(self) -> None:
        """Have all slices scored again with rows that predict failed for; those that don't fit never will."""
        self._forget(piece for piece, found in self._asides() if found.spoilt)

    def forget_lost(self, there: Collection[str]) -> None:
        """Have slices scored again whose part isn't there any more.

        Also those in a part whose columns are the work of several files of which one has changed or is tried again:
        what each needs by itself isn't known, and types must not be those of rows that don't count.
        """
        mixed = {part.place for _, part in self._placed() if part.needs}
        held = Counter(part.place for _, part in self._placed() if part.needs)
        held.update(
            found.place for found in self._known.values() if isinstance(found, FailedAt) and found.place in mixed
        )
        self._forget(piece for piece, part in self._placed() if part.name not in there or held[part.place] < part.needs)
        self._forget(piece for piece, folder in self._folders() if folder not in there)
        self._forget(piece for piece, aside in self._asides() if aside.part not in there)

    def _forget(self, pieces: Iterable[FileSlice]) -> None:
        for piece in tuple(pieces):
            self._known[piece] = None
            self.has_forgotten = True
        for whole in self._wholes:
            if any(self._known[piece] is None for piece in whole):
                self._known.update(dict.fromkeys(whole))
        self._count_failed()

    @property
    def part_names(self) -> set[str]:
        """Of the parts that hold predictions, of the files of rows put aside and the folders of what scripts wrote."""
        asides = {aside.part for _, aside in self._asides()}
        return {part.name for _, part in self._placed()} | {folder for _, folder in self._folders()} | asides

    def _segments(self) -> Iterator[tuple[FileSlice, Segment]]:
        for piece, found in self._known.items():
            if isinstance(found, (bytes, Segment)):
                yield piece, self._packing.unpack(found)

    def _asides(self) -> Iterator[tuple[FileSlice, Quarantined]]:
        for piece, found in self._known.items():
            if isinstance(found, Segment) and found.aside:
                yield piece, found.aside

    def _placed(self) -> Iterator[tuple[FileSlice, Part]]:
        for piece, segment in self._segments():
            if segment.part:
                yield piece, segment.part

    def _folders(self) -> Iterator[tuple[FileSlice, str]]:
        for piece, found in self._known.items():
            if isinstance(found, Segment) and found.extra and found.extra.folder:
                yield piece, found.extra.folder


def _is_failure(found: Packed | FailedAt | None) -> bool:
    """Whether a slice failed, or is the first of a mini-batch for which a scoring script returned too little."""
    if isinstance(found, Segment):
        return found.extra is not None and found.extra.missing > 0
    return isinstance(found, FailedAt)
