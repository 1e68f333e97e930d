"""`{date}` in paths and constants."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batchscore.errors import UsageError
from batchscore.placeholders import Places, fill_in, parse_date

DAY = dt.date(2026, 2, 3)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("in/{date}", "in/2026-02-03"),
        ("in/{date:%Y/%m/%d}/*.csv", "in/2026/02/03/*.csv"),
        ("{date:%Y}-{date:W%V}", "2026-W06"),
        ("year={date:%Y}/month={date:%m}", "year=2026/month=02"),
        ("{{date}}", "{date}"),
        ("{{{date}}}", "{2026-02-03}"),
        ("{date:100%%}", "100%"),
        ("100%25/%Y", "100%25/%Y"),
        ("", ""),
    ],
)
def test_a_day_is_filled_in(text: str, filled: str) -> None:
    assert fill_in(text, DAY, "INPUT") == filled


@pytest.mark.parametrize(
    "text", ["{dat}", "{}", "{date", "date}", "{ date }", "{date!r}", "{date:}", "{now:%Y}", "a{{b}"]
)
def test_any_other_brace_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"INPUT .* is no placeholder; there are \{date\} and"):
        fill_in(text, DAY, "INPUT")


@pytest.mark.parametrize("text", ["{date:%H}", "{date:%s}", "{date:%-d}", "{date:%Y%}", "{date:%é}"])
def test_a_format_that_says_nothing_of_a_day_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a day has no %"):
        fill_in(text, DAY, "OUTPUT")


def test_days_are_told_by_words_iso_or_python() -> None:
    today = dt.date.today()  # noqa: DTZ011 (the machine's day)
    assert parse_date(None) == parse_date("today") == parse_date(" Today ") >= today
    assert parse_date("yesterday") == parse_date("today") - dt.timedelta(days=1)
    assert parse_date("2024-02-29") == parse_date(dt.date(2024, 2, 29)) == parse_date(dt.datetime(2024, 2, 29, 23))  # noqa: DTZ001
    assert type(parse_date(dt.datetime(2024, 2, 29, 23))) is dt.date  # noqa: DTZ001


@pytest.mark.parametrize("given", ["2026-02-30", "20260203", "2026-2-3", "tomorrow", "", "2026-W05-1", "03.02.2026"])
def test_what_is_no_day_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--date takes a day such as 2026-11-03"):
        parse_date(given)


def test_names_that_are_there_are_taken_as_they_are(tmp_path: Path) -> None:
    there = tmp_path / "{guid}.csv"
    there.touch()
    places = Places((str(there), "in/{date}"), "{date}", "{date}.csv", (("day", "{date:%j}"), ("{x}", "{{}}")))
    assert places.on(DAY) == Places(
        (str(there), "in/2026-02-03"), "2026-02-03", "2026-02-03.csv", (("day", "034"), ("{x}", "{}"))
    )
