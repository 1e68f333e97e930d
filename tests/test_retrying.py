"""How often and how long a store is asked again, as docs/stores.md says."""

from __future__ import annotations

from typing import Any

import pytest

from batchscore.errors import StorageError, UsageError
from batchscore.storage import retrying
from batchscore.storage.retrying import retried


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each pause, which takes none."""
    pauses: list[float] = []
    monkeypatch.setattr(retrying.time, "sleep", pauses.append)
    return pauses


class Refused(Exception):
    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Store:
    """Gives its answers one by one, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("error", [Refused(429), Refused(503), ConnectionResetError()], ids=repr)
def test_what_stays_is_tried_seven_times_after_pauses_that_grow(slept: list[float], error: Exception) -> None:
    store = Store(error)
    with pytest.raises(StorageError, match=r"^can't look: .*\(tried 7 times\); run the same command again later$"):
        retried(store, "can't look")
    assert store.asked == 7
    assert len(slept) == 6
    for pause, longest in zip(slept, (0.25, 0.5, 1, 2, 4, 8), strict=True):
        assert longest / 2 <= pause <= longest


def test_what_passes_is_asked_no_more_often_than_needed(slept: list[float]) -> None:
    store = Store(Refused(503), Refused(503), "answer")
    assert retried(store, "can't look") == "answer"
    assert (store.asked, len(slept)) == (3, 2)


@pytest.mark.parametrize(
    ("asked", "least", "most"), [("20", 20, 20), ("3600", 30, 30), ("0", 0.125, 0.25), ("soon", 0.125, 0.25)]
)
def test_a_store_may_ask_for_a_pause_of_half_a_minute(
    slept: list[float], asked: str, least: float, most: float
) -> None:
    retried(Store(Refused(429, Retry_After=asked), None), "can't look")
    assert least <= slept[0] <= most


@pytest.mark.parametrize("error", [Refused(401), Refused(403), Refused(404), ValueError("a bug")], ids=repr)
def test_what_does_not_pass_is_asked_once(slept: list[float], error: Exception) -> None:
    store = Store(error)
    with pytest.raises((StorageError, UsageError, OSError)):
        retried(store, "can't look")
    assert (store.asked, slept) == (1, [])
