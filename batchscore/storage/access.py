"""What a job may use to reach stores: options and the secrets of its addresses; kept out of all that is written."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from batchscore.redaction import secret_values, without
from batchscore.storage.addresses import FAMILIES, is_remote, public

_SHORTEST = 6
"""Characters of an option's value that is hidden; shorter ones are seldom secret, and often parts of other words."""
_PLAIN = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Access:
    """The options of a job's stores, and its addresses with their secrets."""

    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """As `--storage-option` takes them; `s3.key` is for stores of that scheme alone."""
    addresses: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """(without secrets, as given) of those that have some."""

    def options_for(self, family: str) -> dict[str, Any]:
        """What is handed to the file system: text, `true` and `false` as truth values, JSON objects as such."""
        found = {}
        for name, text in self.options:
            scheme, sign, rest = name.partition(".")
            if not sign or scheme not in FAMILIES:
                found[name] = _value(text)
            elif FAMILIES[scheme] == family:
                found[rest] = _value(text)
        return found

    def as_given(self, path: str) -> str | None:
        """The address with secrets under which the path lies; None where it has none."""
        fitting = [
            (shown, given)
            for shown, given in self.addresses
            if path == shown or path.startswith(shown.rstrip("/") + "/")
        ]
        return max(fitting, key=lambda pair: len(pair[0]))[1] if fitting else None

    def without_secrets(self, text: str) -> str:
        """A message as it may be shown."""
        values = {value for _, value in self.options if len(value) >= _SHORTEST and value not in _PLAIN}
        return without((*sorted(values, key=len, reverse=True), *secret_values(os.environ)), text)

    def to_json(self) -> dict[str, Any]:
        """For a worker, over its private channel."""
        return {"options": list(self.options), "addresses": list(self.addresses)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Access:
        return cls(
            tuple((name, value) for name, value in record.get("options", ())),
            tuple((shown, given) for shown, given in record.get("addresses", ())),
        )


def _value(text: str) -> Any:
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return _PLAIN.get(text.lower(), text)


def access_of(options: Iterable[tuple[str, str]], locations: Iterable[str]) -> Access:
    """The access that a job has: its options, and the secrets in its INPUTs and its MODEL. Raises UsageError."""
    pairs = ((_fixed(public(location)), location) for location in locations if is_remote(location))
    return Access(tuple(options), tuple((shown, given) for shown, given in pairs if given != shown))


def _fixed(shown: str) -> str:
    """The part of a glob's address before its first wildcard."""
    parts = shown.split("/")
    magic = next((number for number, part in enumerate(parts) if number > 2 and any(c in part for c in "*?[")), None)  # noqa: PLR2004  # scheme, "", host
    return shown if shown.startswith("http") or magic is None else "/".join(parts[:magic])


_in_use: ContextVar[Access] = ContextVar("batchscore_access", default=Access())  # noqa: B039  # frozen


def in_use() -> Access:
    """The access of the job that this thread works for."""
    return _in_use.get()


@contextlib.contextmanager
def using(access: Access) -> Iterator[None]:
    """Reach stores by this access until the end of the block, in this thread."""
    token = _in_use.set(access)
    try:
        yield
    finally:
        _in_use.reset(token)
