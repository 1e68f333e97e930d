"""Lists of any length in little memory: of long ones all but a few pages lie in a temporary file."""

from __future__ import annotations

import marshal
import os
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice, pairwise
from typing import Any, Generic, TypeVar, overload

from batchscore.errors import StorageError
from batchscore.storage import storage_errors

Item = TypeVar("Item")
Record = TypeVar("Record", bound="tuple[Any, ...]")

PAGE = 256
"""Items of a page."""
KEPT = 20_480
"""Items of a list that is in memory as a whole."""
SORTED = 8192
"""Records that are sorted at once."""
_CACHED = 4
"""Pages of a longer list that are in memory."""


def _itself(item: Any) -> Any:
    return item


class Shelf(Sequence[Item], Generic[Item]):
    """A list for one thread to append to, and for any to read and to change in place.

    Beyond ``kept`` items its pages are written to a file without a name, which goes with the process, and are read
    again as they are needed: quick where neighbours are asked for together.
    """

    def __init__(
        self,
        items: Iterable[Item] = (),
        *,
        pack: Callable[[Item], Any] = _itself,
        unpack: Callable[[Any], Item] = _itself,
        kept: int | None = None,
    ) -> None:
        """``pack`` gives what `marshal` takes (None, numbers, texts, bytes; tuples and lists of them).

        Raises StorageError where the temporary folder can't be written.
        """
        self._pack, self._unpack = pack, unpack
        self._kept = (KEPT if kept is None else kept) // PAGE
        self._length = 0
        self._pages: OrderedDict[int, list[Item]] = OrderedDict()
        """In memory, the one used last at the end."""
        self._changed: set[int] = set()
        """Of these, those that the file doesn't have as they are."""
        self._file: _Scratch | None = None
        self._is_stuck = False
        """A page couldn't be written: from then on all stay in memory, for who tells how the job ended."""
        self._lock = threading.RLock()
        self.extend(items)

    def __len__(self) -> int:
        return self._length

    def append(self, item: Item) -> None:
        self.extend((item,))

    def extend(self, items: Iterable[Item]) -> None:
        rest = iter(items)
        while some := list(islice(rest, PAGE - self._length % PAGE)):
            number = self._length // PAGE
            with self._lock:
                page = self._page(number) if self._length % PAGE else self._begun(number, some[0])
                self._changed.add(number)
                page[self._length % PAGE :] = some  # the same again after a signal that was raised between
                self._length += len(some)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            start, stop, step = index.indices(self._length)
            return (
                list(self.between(start, stop))[::step]
                if step > 0
                else [self[each] for each in range(start, stop, step)]
            )
        number, place = divmod(self._within(index), PAGE)
        return self._page(number)[place]

    def __setitem__(self, index: int, item: Item) -> None:
        number, place = divmod(self._within(index), PAGE)
        with self._lock:
            page = self._page(number)
            self._changed.add(number)  # first: a signal that is raised between loses nothing
            page[place] = item

    def _within(self, index: int) -> int:
        found = index + self._length if index < 0 else index
        if not 0 <= found < self._length:
            raise IndexError(index)
        return found

    def __iter__(self) -> Iterator[Item]:
        return self.between(0, self._length)

    def between(self, start: int, stop: int) -> Iterator[Item]:
        """The items from one index up to another, a page at a time."""
        while start < stop:
            number, place = divmod(start, PAGE)
            some = self._page(number)[place : min(PAGE, place + stop - start)]
            yield from some
            start += len(some)

    def _begun(self, number: int, first: Item) -> list[Item]:  # noqa: ARG002  # for who keeps the first ones
        """A new page, without its first item yet."""
        page: list[Item] = []
        self._put(number, page)
        return page

    def _page(self, number: int) -> list[Item]:
        with self._lock:
            page = self._pages.get(number)
            if page is None:
                page = list(map(self._unpack, self._file.read(number) if self._file else ()))
                self._put(number, page)
            elif self._file:
                self._pages.move_to_end(number)
            return page

    def _put(self, number: int, page: list[Item]) -> None:
        """Have a page in memory, and others written where there are too many."""
        if self._file is None and number >= self._kept:
            self._file = _Scratch()
        if self._file:
            while len(self._pages) >= _CACHED and not self._is_stuck:
                least = next(iter(self._pages))
                if least in self._changed:
                    self._write(self._file, least)
                    self._changed.discard(least)
                self._pages.pop(least, None)  # last: a signal that is raised before loses nothing
        self._pages[number] = page

    def _write(self, file: _Scratch, number: int) -> None:
        try:
            file.write(number, list(map(self._pack, self._pages[number])))
        except StorageError:
            self._is_stuck = True
            raise


class _Scratch:
    """A file without a name in the temporary folder, in numbered pieces."""

    def __init__(self) -> None:
        self._what = f"can't keep lists of files in {tempfile.gettempdir()} (TMPDIR)"
        self._places: dict[int, tuple[int, int, int]] = {}
        """Where each piece begins, its bytes, and the bytes that there are for it."""
        self._end = 0
        with storage_errors(self._what), tempfile.TemporaryFile(prefix="batchscore-") as stream:
            self._descriptor = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def write(self, number: int, items: list[Any]) -> None:
        content = marshal.dumps(items)
        start, _, room = self._places.get(number, (self._end, 0, 0))
        if len(content) > room:
            start, room = self._end, len(content)
            self._end += room
        with storage_errors(self._what):
            written = 0
            while written < len(content):
                written += os.pwrite(self._descriptor, content[written:], start + written)
        self._places[number] = start, len(content), room

    def read(self, number: int) -> list[Any]:
        start, size, _ = self._places[number]
        with storage_errors(self._what):
            content = os.pread(self._descriptor, size, start)
        items: list[Any] = marshal.loads(content)  # noqa: S302  # this process wrote it
        return items


def in_order(records: Iterable[Record]) -> Iterator[Record]:
    """The records ascending, any number of them: tuples of what `marshal` takes. Raises StorageError."""
    rest, bounds = iter(records), [0]
    shelf: Shelf[Record] = Shelf(kept=SORTED)
    while run := sorted(islice(rest, SORTED)):
        shelf.extend(run)
        bounds.append(len(shelf))
    runs = (shelf.between(start, stop) for start, stop in pairwise(bounds))
    return merge(*runs) if len(bounds) > 2 else iter(shelf)  # noqa: PLR2004  # several runs


class Ordered(Shelf[Item]):
    """A list whose items come in the ascending order of a key, to find them by it."""

    def __init__(
        self,
        items: Iterable[Item] = (),
        *,
        key: Callable[[Item], Any] = _itself,
        pack: Callable[[Item], Any] = _itself,
        unpack: Callable[[Any], Item] = _itself,
    ) -> None:
        self._key = key
        self._firsts: list[Any] = []
        """The key of the first item on each page."""
        super().__init__(items, pack=pack, unpack=unpack)

    def _begun(self, number: int, first: Item) -> list[Item]:
        self._firsts.append(self._key(first))
        return super()._begun(number, first)

    def place_from(self, key: Any) -> int:
        """The place of the first item that has this key, or one after it."""
        if not self._firsts:
            return 0
        number = max(bisect_left(self._firsts, key) - 1, 0)
        return number * PAGE + bisect_left(self._page(number), key, key=self._key)


class Names(Collection[str]):
    """A set of any number of texts, ascending. Raises StorageError."""

    def __init__(self, names: Iterable[str]) -> None:
        ordered = in_order((name,) for name in names)
        self._names = Ordered(name for (name,), _ in groupby(ordered))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        place = self._names.place_from(name)
        return place < len(self._names) and self._names[place] == name
