"""Where time goes: stages of a clock that the tests turn by hand."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from batchscore.minibatch import FileSlice, InputFile
from batchscore.outcome import Outcome, Scored
from batchscore.stopwatch import Lap, Spent, Stopwatch


class Hand:
    """Turns the clock; a second of it has half a second of CPU."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def turn(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> tuple[float, float]:
        return self.seconds, self.seconds / 2


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(Stopwatch, "_now", staticmethod(hand.now))
    return hand


def test_a_stage_inside_another_has_its_own_time_and_all_add_up(hand: Hand) -> None:
    watch = Stopwatch("write")
    hand.turn(1)
    with watch.stage("enforce"):
        hand.turn(2)
        with watch.stage("predict"):
            hand.turn(4)
        hand.turn(8)
    hand.turn(16)
    assert watch.laps() == {"write": Lap(17, 8.5), "enforce": Lap(10, 5), "predict": Lap(4, 2)}
    assert watch.turns["predict"] == 1
    spent = Spent.of(watch)
    assert (spent.seconds, spent.calls, spent.read) == (31, 1, Lap())


def test_what_raises_gives_its_stage_back(hand: Hand) -> None:
    watch = Stopwatch("write")

    def fails() -> None:
        hand.turn(2)
        raise KeyError

    with pytest.raises(KeyError):
        watch.timed("predict", fails)()
    hand.turn(1)
    assert watch.laps() == {"predict": Lap(2, 1), "write": Lap(1, 0.5)}


def test_the_time_until_an_item_is_there_is_told_from_that_of_its_use(hand: Hand) -> None:
    def items() -> Iterator[int]:
        for number in range(3):
            hand.turn(10)
            yield number
        hand.turn(5)  # until it is known that there are no more

    watch = Stopwatch("write")
    for _ in watch.over("read", items()):
        hand.turn(1)
    assert watch.laps() == {"read": Lap(35, 17.5), "write": Lap(3, 1.5)}


def test_a_timed_function_looks_as_it_did() -> None:
    """MLflow looks whether a model's predict takes params."""

    def predict(data: int, params: int = 2) -> int:
        return data * params

    timed = Stopwatch("write").timed("predict", predict)
    assert list(inspect.signature(timed).parameters) == ["data", "params"]
    assert timed(2, params=3) == 6


def test_times_come_back_from_json_and_old_journals_have_none() -> None:
    spent = Spent(Lap(1, 2), Lap(3, 4), Lap(5, 6), Lap(7, 8), 9)
    outcome = Outcome(1, (Scored(FileSlice(InputFile("a", "/a", 1, "1")), 1, "p", 0, 1),), spent=spent)
    record = outcome.to_json()
    assert Outcome.from_json(record).spent == spent
    assert spent + spent == Spent(Lap(2, 4), Lap(6, 8), Lap(10, 12), Lap(14, 16), 18)
    del record["spent"]
    assert Outcome.from_json(record).spent is None
    assert Outcome.from_json(record) == outcome, "times are no part of what it says"
