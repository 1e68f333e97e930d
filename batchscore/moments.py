"""Moments as they are written everywhere, in UTC, and back."""

from __future__ import annotations

from datetime import datetime, timezone


def utc(seconds: float) -> str:
    """Seconds since the epoch as `2026-11-03T06:15:02.123Z`."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """Seconds since the epoch of what `utc` wrote. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
