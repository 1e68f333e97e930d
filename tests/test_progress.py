"""What a person sees while a job runs."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from batchscore import progress
from batchscore.progress import Bar, Lines, Notes, Silent, opening_line, printable, watcher


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


@pytest.mark.parametrize(
    ("stream", "options", "kind"),
    [
        (Terminal(), {}, Bar),
        (io.StringIO(), {}, Lines),
        (Terminal(), {"logging_level": "warning"}, Notes),
        (Terminal(), {"quiet": True}, Silent),
    ],
)
def test_the_watcher_suits_the_stream(stream: io.StringIO, options: dict[str, Any], kind: type) -> None:
    assert type(watcher(stream, **{"quiet": False, "colour": False, **options})) is kind


def test_numbers_agree_with_their_nouns() -> None:
    assert opening_line(1, 1, 0) == "1 file in 1 folder, 0 skipped"
    assert opening_line(12000, 3, 1) == "12,000 files in 3 folders, 1 skipped"


def run(stream: io.StringIO, *, colour: bool = False) -> str:
    """What a job of two mini-batches, one of them done before, shows."""
    watch = watcher(stream, quiet=False, colour=colour)
    watch.opened(2, 1, 0, ("once",))
    watch.note("once")
    watch.planned(2000, 1000)
    watch.scored(10)
    watch.note("while it runs\x1b[31m")
    watch.finished(1000)
    watch.closed()
    return stream.getvalue()


def test_lines_tell_each_note_once() -> None:
    lines = run(io.StringIO()).splitlines()
    assert lines == ["2 files in 1 folder, 0 skipped", "once", "while it runs\\x1b[31m"]


def said(monkeypatch: pytest.MonkeyPatch, total: int, todo: int, *steps: tuple[float, int, int]) -> list[str]:
    """The lines of a run: at each of these seconds some rows are scored, and some bytes of input done."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = io.StringIO()
    watch = watcher(stream, quiet=False, colour=False)
    watch.planned(total, todo)
    for now, rows, size in steps:  # noqa: B007  # the clock reads it
        watch.scored(rows)
        watch.finished(size)
    return stream.getvalue().splitlines()


def test_the_last_line_says_that_what_comes_may_take_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what: the job may have failed."""
    assert said(monkeypatch, 2000, 2000, (20, 10, 1000), (40, 50, 1000)) == [
        "50 % of the input, 10 rows, 0 rows/s",
        "100 % of the input, 60 rows, 2 rows/s; finishing",
    ]
    assert said(monkeypatch, 2000, 2000, (2, 10, 1000), (4, 10, 1000)) == [], "a short job has its result to say"


def test_what_is_left_is_told_from_the_second_mini_batch_on_without_the_loading_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(monkeypatch, 4000, 4000, (100, 60, 1000), (120, 60, 1000), (140, 60, 1000)) == [
        "25 % of the input, 60 rows, 1 rows/s",
        "50 % of the input, 120 rows, 1 rows/s, 40 s left",
        "75 % of the input, 180 rows, 1 rows/s, 20 s left",
    ]


def test_rows_of_a_run_that_goes_on_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, 6000, 5000, (20, 500, 1000)) == ["33 % of the input, 500 rows by this run, 25 rows/s"]


def test_a_bar_begins_where_the_run_before_stopped_and_leaves_nothing() -> None:
    shown = run(Terminal())
    assert " 50%" in shown
    assert shown.endswith("\r")
    assert "\x1b[3" not in shown


def test_a_full_bar_says_nothing_of_the_time_that_is_left() -> None:
    assert re.findall(r"(\d+%).*?\[\d\d:\d\d(.*?)\]", run(Terminal())) == [("50%", "<?"), ("50%", "<?"), ("100%", "")]


@pytest.mark.parametrize("total", [0, 1000])
def test_there_is_no_bar_where_nothing_is_to_be_scored(total: int) -> None:
    """As where everything was scored by a run before, or no file is there."""
    terminal = Terminal()
    watch = watcher(terminal, quiet=False, colour=False)
    watch.planned(total, 0)
    watch.scored(0)
    watch.note("a note")
    watch.closed()
    assert terminal.getvalue() == "a note\n"


def test_a_bar_says_nothing_of_rows_where_there_are_none() -> None:
    terminal = Terminal()
    watch = watcher(terminal, quiet=False, colour=False)
    watch.planned(12, 12)
    watch.scored(0)
    watch.finished(12)
    watch.closed()
    assert "100%" in terminal.getvalue()
    assert "rows" not in terminal.getvalue()


def test_only_a_coloured_bar_has_colours() -> None:
    assert re.search(r"\x1b\[3\d", run(Terminal(), colour=True))


def test_a_reader_that_has_gone_stops_nothing() -> None:
    watch = watcher(Gone(), quiet=False, colour=False)
    watch.opened(1, 1, 0, ("a note",))
    watch.note("another")


def test_control_characters_are_shown_as_escapes() -> None:
    assert printable("a\x1b[31mb\u202ec\n\x00é") == "a\\x1b[31mb\\u202ec\n\\x00é"
