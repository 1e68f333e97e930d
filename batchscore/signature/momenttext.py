"""Text to moments: ISO dates and times, with a zone or without, to nanoseconds of 64 bits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchscore.signature.scalars import first_failing, refuse_first, true_places

if TYPE_CHECKING:
    from batchscore.signature.scalars import Refused, Scalar

DATETIME = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<time>\d{2}:\d{2})"
    r"(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?$"
)
LOCAL_SECONDS = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?$"
NANOSECONDS = 10**9
DAY = 24
HOUR = 60
EARLIEST = divmod(1 - (1 << 63), NANOSECONDS)
LATEST = divmod((1 << 63) - 1, NANOSECONDS)
"""Seconds and nanoseconds that 64 bits hold; the smallest number is pandas' NaT."""


def trimmed_text(text: pa.Array) -> pa.Array:
    """Without spaces and tabs around it."""
    return pc.utf8_trim(text, characters=" \t")


def moments(text: pa.Array, scalar: Scalar) -> pa.Array:
    """The text as moments of 64 bits."""
    if (plain := _plain_moments(text)) is not None:
        return plain
    trimmed = trimmed_text(text)
    if pc.all(pc.match_substring_regex(trimmed, LOCAL_SECONDS)).as_py():
        stamp, nanoseconds, offset, wrong = trimmed, np.int64(0), np.int64(0), None  # three times as fast
    else:
        stamp, nanoseconds, offset, wrong = _moment_parts(trimmed)
    try:
        seconds = _integers(pc.cast(stamp, pa.timestamp("s"))) - offset
    except pa.ArrowInvalid:  # no such day or time
        place = first_failing(stamp, lambda part: pc.cast(part, pa.timestamp("s")))
        moments(text.slice(0, place), scalar)
        raise scalar.refused(text, place, "", lambda: _no_such_moments(text, stamp, scalar)) from None
    beyond = (seconds < EARLIEST[0]) | ((seconds == EARLIEST[0]) & (nanoseconds < EARLIEST[1]))
    beyond |= (seconds > LATEST[0]) | ((seconds == LATEST[0]) & (nanoseconds > LATEST[1]))
    refuse_first(text, scalar, (wrong, ""), (pa.array(beyond), ""))
    # 64 bits may wrap in the product and wrap back in the sum, which is within them
    whole = seconds * NANOSECONDS + nanoseconds
    return pa.array(whole, mask=np.asarray(pc.is_null(text))).view(scalar.arrow)


def _plain_moments(text: pa.Array) -> pa.Array | None:
    """The moments of a column that has local dates and times alone; None where it may have others.

    Arrow takes the texts of `DATETIME` without a zone, and an hour without minutes, which the length tells. Beyond what
    64 bits hold it wraps (until pyarrow 20).
    """
    bounds = pc.min_max(text).as_py()
    if bounds["min"] is None or bounds["min"] < "1678" or bounds["max"] >= "2262":
        return None
    if pc.any(pc.equal(pc.binary_length(text), len("2026-01-31T12"))).as_py():
        return None
    try:
        return pc.cast(text, pa.timestamp("ns"))
    except pa.ArrowInvalid:
        return None


def _no_such_moments(text: pa.Array, stamp: pa.Array, scalar: Scalar) -> dict[int, Refused]:
    """Texts whose day or time there isn't, each stamp looked at once."""
    wrong = pa.array(
        [each for each in pc.unique(stamp).to_pylist() if each is not None and _isnt_there(each)], pa.string()
    )
    return {place: scalar.refused(text, place) for place in true_places(pc.is_in(stamp, value_set=wrong))}


def _isnt_there(stamp: str) -> bool:
    try:
        datetime.fromisoformat(stamp)
    except ValueError:
        pass
    else:
        return False
    try:  # Arrow has the last word: it knows the year 0
        pc.cast(pa.array([stamp]), pa.timestamp("s"))
    except pa.ArrowInvalid:
        return True
    return False


def _moment_parts(text: pa.Array) -> tuple[pa.Array, np.ndarray, np.ndarray, pa.Array]:
    """Local time as text to the second, nanoseconds, seconds that it is ahead of UTC, and a mask of other texts."""
    parts = pc.extract_regex(text, DATETIME)
    date, time, second, fraction, zone = (
        pc.struct_field(parts, name) for name in ("date", "time", "second", "fraction", "zone")
    )
    stamp = pc.binary_join_element_wise(date, _or(time, "00:00"), "T")
    stamp = pc.binary_join_element_wise(stamp, _or(second, "00"), ":")
    nanoseconds = _integers(pc.cast(pc.utf8_rpad(fraction, 9, padding="0"), pa.int64()))
    digits = pc.utf8_rpad(pc.replace_substring(zone.fill_null(""), ":", ""), 5, padding="0")
    hours = _integers(pc.cast(_or(pc.utf8_slice_codeunits(digits, 1, 3), "00"), pa.int64()))
    minutes = _integers(pc.cast(_or(pc.utf8_slice_codeunits(digits, 3, 5), "00"), pa.int64()))
    direction = np.where(np.asarray(pc.starts_with(digits, "-")), -1, 1)
    wrong = pc.and_(pc.is_valid(text), pc.is_null(parts))
    wrong = pc.or_(wrong, pa.array((hours >= DAY) | (minutes >= HOUR)))
    return stamp, nanoseconds, direction * (hours * HOUR + minutes) * HOUR, wrong


def _or(text: pa.Array, default: str) -> pa.Array:
    return pc.if_else(pc.equal(text, ""), default, text)


def _integers(column: pa.Array) -> np.ndarray:
    return np.asarray(pc.cast(column, pa.int64()).fill_null(0))
