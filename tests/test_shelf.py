"""Lists whose pages lie in a temporary file: they are what lists are."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore import shelf
from batchscore.errors import StorageError
from batchscore.shelf import Names, Ordered, Shelf, in_order

TEXTS = st.text(st.sampled_from("ab/-\udcffé😀"), max_size=3)


@pytest.fixture(scope="module", autouse=True)
def tiny_pages() -> Iterator[None]:
    """Pages of three items, and few in memory."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PAGE": 3, "KEPT": 9, "SORTED": 4}.items():
            patch.setattr(shelf, name, value)
        yield


@given(st.lists(st.tuples(st.sampled_from(["append", "change", "extend", "look"]), st.integers(0, 60)), max_size=80))
def test_a_shelf_is_a_list_whatever_is_done_to_it(steps: list[tuple[str, int]]) -> None:
    found: Shelf[int] = Shelf(pack=str, unpack=int)
    wanted: list[int] = []
    for step, number in steps:
        place = number % max(len(wanted), 1)
        if step == "append":
            found.append(number)
            wanted.append(number)
        elif step == "extend":
            found.extend(range(number))
            wanted += range(number)
        elif step == "change" and wanted:
            found[place] = wanted[place] = -number
        elif wanted:
            assert found[place] == wanted[place]
            assert found[place - len(wanted)] == wanted[place]
            assert found[place : place + 7] == wanted[place : place + 7]
    assert list(found) == wanted
    assert found[::-2] == wanted[::-2]
    with pytest.raises(IndexError):
        found[len(wanted)]


def test_all_but_a_few_pages_of_a_long_list_are_elsewhere() -> None:
    """Counted: what comes back from a file is another object."""
    items = [(number,) for number in range(300)]
    found = Shelf(items)
    assert sum(one is other for one, other in zip(items, found, strict=True)) <= 4 * shelf.PAGE
    short = Shelf(items[: shelf.KEPT])
    assert all(one is other for one, other in zip(items, short, strict=False))


def test_items_may_change_while_they_are_gone_through() -> None:
    found = Shelf(range(100))
    for place, item in enumerate(found):
        found[place] = -item
    assert list(found) == [-number for number in range(100)]


def test_several_threads_read_while_one_writes() -> None:
    found, wrong = Shelf(range(0, 4000, 2)), []

    def read() -> None:
        for _ in range(3):
            wrong.extend(item for place, item in enumerate(found) if item // 2 != place)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for place in range(2000):
        found[place] = 2 * place + 1
    for thread in threads:
        thread.join()
    assert not wrong
    assert list(found) == list(range(1, 4000, 2))


class Interrupt(Exception):
    pass


def interrupted(work: Callable[[], None], step: int) -> bool:
    """Whether an exception came at that line of shelf.py, as a signal's may."""
    left = step

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != shelf.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_exception_at_any_line_loses_nothing() -> None:
    for step in range(1, 100_000):
        found: Shelf[int] = Shelf(range(40))
        told = list(range(40))

        def work(found: Shelf[int] = found, told: list[int] = told) -> None:
            for place in (3, 39, 0, 20, 31, 11, 2):
                found[place] = told[place] = -place  # taken down where setting it ended
            found.append(40)
            told.append(40)
            found.extend(range(41, 52))
            told.extend(range(41, 52))

        if not interrupted(work, step):
            break
        assert [abs(item) for item in found] == list(range(len(found)))
        assert all(item < 0 for item, wanted in zip(found, told, strict=False) if wanted < 0)
        assert len(found) >= len(told)
    assert step > 300


def test_what_is_there_stays_when_the_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who tells how the job ended goes through it again."""
    found = Shelf(range(60))
    for place in range(30):
        found[place] = -place

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)

    def change_the_rest() -> None:
        for place in range(30, 60):
            found[place] = -place

    with pytest.raises(StorageError, match="TMPDIR"):
        change_the_rest()
    reached = next(place for place in range(60) if place >= 30 and found[place] > 0)
    assert list(found) == [-place for place in range(reached)] + list(range(reached, 60))


@given(st.lists(st.tuples(TEXTS, st.integers())))
def test_records_are_sorted_however_many_there_are(records: list[tuple[str, int]]) -> None:
    assert list(in_order(iter(records))) == sorted(records)


@given(st.lists(TEXTS), st.lists(TEXTS))
def test_names_are_a_set(names: list[str], others: list[str]) -> None:
    found = Names(names)
    assert list(found) == sorted(set(names))
    assert len(found) == len(set(names))
    assert all((name in found) == (name in names) for name in (*names, *others))
    assert 1 not in found


@given(st.lists(st.integers(0, 40)), st.integers(-1, 41))
def test_an_item_is_found_by_its_key(items: list[int], key: int) -> None:
    found = Ordered(sorted(items), key=lambda item: (item, "x"))
    assert found.place_from((key, "x")) == sum(item < key for item in items)


def test_a_full_temporary_folder_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"can't keep lists of files in .* \(TMPDIR\): No space left on device"):
        Shelf(range(100))


def test_nothing_is_left_open() -> None:
    before = len(os.listdir("/dev/fd"))
    kept = Shelf(range(1000))
    assert len(os.listdir("/dev/fd")) == before + 1
    del kept
    assert len(os.listdir("/dev/fd")) == before
