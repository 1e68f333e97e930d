"""What is known of each slice of a plan: where its predictions lie, or where the journal says why it failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby, islice, repeat
from typing import TypeAlias

from batchscore.highlights import MOST, Glimpse, Highlights
from batchscore.journal import Journal
from batchscore.minibatch import FileSlice, MiniBatch
from batchscore.outcome import Column, Failed, Failure, Outcome, Quarantined, Scored
from batchscore.plan import Plan
from batchscore.segments import Extra, Packed, Packing, Part, Segment
from batchscore.shelf import Names, Shelf
from batchscore.stopwatch import Spent


@dataclass(frozen=True, slots=True)
class FailedAt:
    """A slice without predictions, and the receipt in the journal that says why."""

    place: int


Receipt: TypeAlias = Segment | FailedAt

_Kept: TypeAlias = Packed | int | None
"""Where the predictions of a slice lie, or the place of the receipt of its failure."""


class Receipts:
    """The receipts of a plan's slices, the last word winning; small, since failures stay in the journal.

    What the journal says of slices that aren't in the plan (their files changed or went) counts for its retries alone.
    With `is_whole` (scoring scripts) a mini-batch is known as a whole or not at all: it had just these slices.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        *,
        is_whole: bool = False,
        warns_beyond: float | None = None,
    ) -> None:
        self._journal = journal
        self._warns_beyond = warns_beyond
        self.is_whole = is_whole
        self.plan = plan
        self._packing = Packing()
        self._known: Shelf[_Kept] = Shelf(repeat(None, len(plan.slices)))
        """Of each slice, by its place in the plan."""
        self._columns: dict[tuple[Column, ...], tuple[Column, ...]] = {}
        """One for many parts."""
        self.retries = 0
        self.spent = Spent()
        """Of all attempts that scored something, whatever became of it."""
        self.files_failed = 0
        self._has_failed = bytearray(len(plan.slices))
        """Whether a file has failed, at the place of its first slice."""
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
        places = self._places(outcome)
        if self.is_whole and not self._is_whole_mini_batch(places):
            return
        if any(found is not None for found in places):
            self.highlights.take(outcome)
            if self._warns_beyond is not None and outcome.longest > self._warns_beyond:
                self.slow.add(outcome.number)
        parts = self._parts(outcome, place)
        extra = self._extra(outcome, place) if self.is_whole else None
        for entry, found in zip(outcome.slices, places, strict=True):
            if found is None:
                continue
            if isinstance(entry, Scored):
                part = parts.get(entry.part)
                segment = Segment(entry.rows, part, entry.start, entry.stop, extra, entry.aside)
                self._known[found] = self._packing.pack(segment)
                extra = None
            else:
                self._known[found] = place
                self._count_file(entry.slice.file.name)

    def _places(self, outcome: Outcome) -> list[int | None]:
        """Where in the plan the slices of a receipt are, which are neighbours for the most part."""
        places: list[int | None] = []
        guess = self.plan.places(outcome.number).start if outcome.number in range(len(self.plan)) else 0
        for entry in outcome.slices:
            places.append(found := self.plan.place_of(entry.slice, guess))
            guess = guess if found is None else found + 1
        return places

    def _is_whole_mini_batch(self, places: list[int | None]) -> bool:
        """Whether these are all slices of one mini-batch."""
        first = places[0] if places else None
        return first is not None and places == list(self.plan.places(self.plan.number_at(first)))

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
        self.files_failed, self._has_failed = 0, bytearray(len(self.plan.slices))
        for place, found in enumerate(self._known):
            if isinstance(found, int):
                self._count_file(self.plan.slices[place].file.name)
        for extra in self.extras():
            if extra.missing:
                self._count_missing(self._journal.outcome_at(extra.place))

    def _count_missing(self, outcome: Outcome) -> None:
        """Count as many of a scoring script's files as failed as it didn't return elements for."""
        missing = outcome.shortfall.count if outcome.shortfall else 0
        for entry in outcome.slices[:missing]:
            self._count_file(entry.slice.file.name)

    def _count_file(self, name: str) -> None:
        """Count a file of the plan as failed, once."""
        first = self.plan.first_of_file(name)
        self.files_failed += not self._has_failed[first]
        self._has_failed[first] = True

    @property
    def end(self) -> int:
        """Where in the journal the next receipt will stand."""
        return self._journal.end

    @property
    def is_empty(self) -> bool:
        return all(found is None for found in self._known)

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
        return self._receipt(self._known[self._place(piece)])

    def each(self) -> Iterator[tuple[FileSlice, Receipt | None]]:
        """The slices of the plan in order, each with what is known of it."""
        return zip(self.plan.slices, map(self._receipt, self._known), strict=True)

    def done(self) -> bytearray:
        """Of each slice of the plan, whether it is scored or has failed."""
        return bytearray(found is not None for found in self._known)

    def _place(self, piece: FileSlice) -> int:
        place = self.plan.place_of(piece)
        if place is None:
            raise KeyError(piece)
        return place

    def _receipt(self, found: _Kept) -> Receipt | None:
        if isinstance(found, int):
            return FailedAt(found)
        return None if found is None else self._packing.unpack(found)

    def failure(self, piece: FileSlice) -> Failure:
        """Why a failed slice failed, from the journal."""
        found = self._known[self._place(piece)]
        if not isinstance(found, int):
            raise TypeError(f"{piece.file.name} didn't fail")
        entries = self._journal.outcome_at(found).slices
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
        """Of the mini-batches that are scored, in order."""
        for _, segment in self._with_more():
            if segment.extra:
                yield segment.extra

    def mini_batches_done(self) -> int:
        """How many mini-batches are scored or have failed."""
        return sum(None not in batch for batch in self._by_mini_batch())

    def failed_mini_batches(self) -> tuple[int, tuple[Glimpse, ...]]:
        """How many mini-batches hold a slice that failed, and the first of them."""
        number, first = 0, []
        for batch in self._by_mini_batch():
            place = next((found for found in batch if isinstance(found, int)), None)
            if place is not None:
                number += 1
                first += [Glimpse.of(self._journal.outcome_at(place))] if number <= MOST else []
        return number, tuple(first)

    def _by_mini_batch(self) -> Iterator[list[_Kept]]:
        """What is known of the slices of each."""
        known = iter(self._known)
        return (list(islice(known, len(self.plan.places(number)))) for number in range(len(self.plan)))

    def forget_failures(self) -> None:
        """Have all failed slices scored again, and mini-batches for which a scoring script returned too little."""
        self._forget(place for place, found in enumerate(self._known) if isinstance(found, int))
        self._forget(place for place, segment in self._with_more() if segment.extra and segment.extra.missing)

    def forget_spoilt(self) -> None:
        """Have all slices scored again with rows that predict failed for; those that don't fit never will."""
        self._forget(place for place, found in self._asides() if found.spoilt)

    def forget_lost(self, there: Collection[str]) -> None:
        """Have slices scored again whose part isn't there any more.

        Also those in a part whose columns are the work of several files of which one has changed or is tried again:
        what each needs by itself isn't known, and types must not be those of rows that don't count.
        """
        is_there = lru_cache(maxsize=1)(there.__contains__)
        held = Counter(part.place for _, part in self._placed() if part.needs)
        held.update(found for found in self._known if isinstance(found, int) and found in held)
        self._forget(
            place for place, part in self._placed() if not is_there(part.name) or held[part.place] < part.needs
        )
        self._forget(place for place, folder in self._folders() if folder not in there)
        self._forget(place for place, aside in self._asides() if aside.part not in there)

    def _forget(self, places: Iterable[int]) -> None:
        for place in places:
            self._known[place] = None
            self.has_forgotten = True
        if self.is_whole:
            for number, batch in enumerate(self._by_mini_batch()):
                for place in self.plan.places(number) if None in batch else ():
                    self._known[place] = None
        self._count_failed()

    @property
    def part_names(self) -> Names:
        """Of the parts that hold predictions, of the files of rows put aside and the folders of what scripts wrote."""
        parts = (name for name, _ in groupby(part.name for _, part in self._placed()))
        asides = (aside.part for _, aside in self._asides())
        return Names(chain(parts, asides, (folder for _, folder in self._folders())))

    def _segments(self) -> Iterator[tuple[int, Segment]]:
        for place, found in enumerate(self._known):
            if isinstance(found, (bytes, tuple)):
                yield place, self._packing.unpack(found)

    def _with_more(self) -> Iterator[tuple[int, Segment]]:
        """Those with more than rows in a part."""
        for place, found in enumerate(self._known):
            if isinstance(found, tuple):
                yield place, self._packing.unpack(found)

    def _asides(self) -> Iterator[tuple[int, Quarantined]]:
        for place, segment in self._with_more():
            if segment.aside:
                yield place, segment.aside

    def _placed(self) -> Iterator[tuple[int, Part]]:
        for place, segment in self._segments():
            if segment.part:
                yield place, segment.part

    def _folders(self) -> Iterator[tuple[int, str]]:
        for place, segment in self._with_more():
            if segment.extra and segment.extra.folder:
                yield place, segment.extra.folder
