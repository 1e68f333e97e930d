"""The mini-batches of a job in order, any number of them in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

from batchscore.minibatch import FileSlice, MiniBatch
from batchscore.shelf import Ordered


class Plan(Sequence[MiniBatch]):
    """Mini-batches as they are made of slices, which lie in the order of their files' names and of their rows.

    A slice's place is its number among all of them.
    """

    def __init__(self, groups: Iterable[Sequence[FileSlice]] = ()) -> None:
        """Raises StorageError where the temporary folder can't be written."""
        self.slices: Ordered[FileSlice] = Ordered(key=_key, pack=FileSlice.to_json, unpack=FileSlice.from_json)
        self.files = 0
        """That the slices are of."""
        self.size = 0
        """Bytes of input, roughly."""
        self._bounds = array("q", [0])
        """The place of each mini-batch's first slice, and behind them all."""
        last = None
        for group in groups:
            for piece in group:
                self.files += piece.file.name != last
                self.size += piece.bytes
                last = piece.file.name
            self.slices.extend(group)
            self._bounds.append(len(self.slices))

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @overload
    def __getitem__(self, index: int) -> MiniBatch: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[MiniBatch, ...]: ...

    def __getitem__(self, index: int | slice) -> MiniBatch | tuple[MiniBatch, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number = index % len(self)
        start, stop = self._bounds[number], self._bounds[number + 1]
        return MiniBatch(number, tuple(self.slices.between(start, stop)))

    def __iter__(self) -> Iterator[MiniBatch]:
        slices = iter(self.slices)
        for number in range(len(self)):
            size = self._bounds[number + 1] - self._bounds[number]
            yield MiniBatch(number, tuple(islice(slices, size)))

    def number_at(self, place: int) -> int:
        """The number of the mini-batch that a slice is in."""
        return bisect_right(self._bounds, place) - 1

    def places(self, number: int) -> range:
        """Of the slices of a mini-batch."""
        return range(self._bounds[number], self._bounds[number + 1])

    def place_of(self, piece: FileSlice, guess: int = 0) -> int | None:
        """Where a slice is; None of one that isn't in the plan. ``guess`` is looked at first."""
        if guess < len(self.slices) and self.slices[guess] == piece:
            return guess
        try:
            place = self.slices.place_from(_key(piece))
        except TypeError:  # what a failing disk made of a receipt
            return None
        return place if place < len(self.slices) and self.slices[place] == piece else None

    def first_of_file(self, name: str) -> int:
        """The place of a file's first slice."""
        return self.slices.place_from((name, -1, -1))


def _key(piece: FileSlice) -> tuple[str, int, int]:
    """What slices are in the order of; that of texts is that of their UTF-8 bytes."""
    return piece.file.name, piece.start, piece.first_row
