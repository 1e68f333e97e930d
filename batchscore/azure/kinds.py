"""What a key may hold: each kind takes a Value and gives what it means, or refuses it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.azure.document import Value, refusal
from batchscore.deployment import INT_MAX
from batchscore.errors import UsageError
from batchscore.limits import Limit, parse_limit

Kind = Callable[[Value], Any]


def text(value: Value) -> str:
    if not isinstance(value.content, str):
        raise refusal(value, "text; put it in quotes" if _is_scalar(value) else "text")
    return value.content


def filled(value: Value) -> str:
    """Text with something in it."""
    if not text(value).strip():
        raise refusal(value, "text that isn't empty")
    return text(value)


def version(value: Value) -> str:
    """Text or a number, as written."""
    if not _is_scalar(value):
        raise refusal(value, "a version such as 1 or '1.0'")
    return value.text


def whole(least: int) -> Kind:
    """A whole number from `least`; as Azure's client does, written as text too, or as 10.0, but never cut off."""

    def number(value: Value) -> int:
        found = _whole(value.content)
        if found is None or not least <= found <= INT_MAX:
            raise refusal(
                value, f"a whole number from {least}" + ("" if found is None or found < least else f" to {INT_MAX}")
            )
        return found

    return number


def whole_or_share(least: int) -> Kind:
    """A whole number from `least`, or a percentage, which Azure's client refuses."""
    number = whole(least)

    def limit(value: Value) -> Limit:
        if not isinstance(value.content, str) or not value.content.endswith("%"):
            return int(number(value))
        try:
            return parse_limit(value.content, value.text, least)
        except UsageError:
            raise refusal(value, f"a whole number from {least}, or a percentage up to 100%") from None

    return limit


def _whole(content: Any) -> int | None:
    if isinstance(content, bool) or not isinstance(content, int | float | str):
        return None
    try:
        found = int(content)
    except (ValueError, OverflowError):
        return None
    return found if isinstance(content, str) or found == content else None


def one_of(*names: str) -> Kind:
    """One of some words, in any case."""

    def word(value: Value) -> str:
        found = value.content.lower() if isinstance(value.content, str) else None
        if found not in names:
            similar = difflib.get_close_matches(str(value.content).lower(), names, n=1)
            raise refusal(value, f"one of {', '.join(names)}" + "".join(f"; did you mean {name}?" for name in similar))
        return str(found)

    return word


def anything(value: Value) -> Any:
    """Plain Python values; no Values in it."""
    if isinstance(value.content, dict):
        return {key: anything(item) for key, item in value.content.items()}
    if isinstance(value.content, list):
        return [anything(item) for item in value.content]
    return value.content


def mapping(value: Value) -> dict[Any, Any]:
    """Any keys and values."""
    if not isinstance(value.content, dict):
        raise refusal(value, "keys and values")
    return {key: anything(item) for key, item in value.content.items()}


def named(value: Value) -> dict[Any, Any]:
    """Any values under keys that are text."""
    found = mapping(value)
    for key in found:
        if not isinstance(key, str):
            raise UsageError(f"{value.content[key].place}: found the key {key!r}; expected text; put it in quotes")
    return found


def texts(value: Value) -> list[str]:
    if not isinstance(value.content, list):
        raise refusal(value, "a list of texts")
    return [text(item) for item in value.content]


def text_or_texts(value: Value) -> str | list[str]:
    return texts(value) if isinstance(value.content, list) else text(value)


def variables(value: Value) -> tuple[tuple[str, str], ...]:
    """Environment variables, each with its text as written; values are secrets, which no message shows."""
    if not isinstance(value.content, dict):
        raise UsageError(f"{value.place}: expected names and values of environment variables (NAME: value)")
    for name in named(value):
        if not name or "=" in name or "\0" in name:
            raise UsageError(f"{value.place}: found a name that is empty or has = or NUL in it; expected NAME: value")
    return tuple((name, _variable(item)) for name, item in value.content.items())


def _variable(value: Value) -> str:
    if not _is_scalar(value) or "\0" in value.text:
        raise UsageError(f"{value.place}: expected text, found something else; put the value in quotes")
    return value.text


def json_text(value: Value) -> str:
    """A mapping as JSON."""
    return json.dumps(mapping(value), default=str)


def _is_scalar(value: Value) -> bool:
    return value.content is not None and not isinstance(value.content, dict | list)


def beside(value: Value) -> str:
    """The absolute path of a text that is relative to the file it stands in."""
    return str(Path(value.place.file).absolute().parent.joinpath(filled(value)).resolve())


def is_uri(location: str) -> bool:
    """Whether a text begins with a scheme, such as https:, azureml: or git+ssh:."""
    scheme, colon, _ = location.partition(":")
    return bool(colon) and len(scheme) > 1 and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a mapping: each one's kind, which are required, and what to say about some that are refused."""

    kinds: Mapping[str, Kind]
    required: Mapping[str, str] = field(default_factory=dict)
    """key -> why it is needed, or empty."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """key -> the reason."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """A key's last part -> the dotted key where it belongs, for keys that stand in the wrong place."""

    def __call__(self, value: Value) -> dict[str, Any]:
        """The values that are stated, by key. Raises UsageError."""
        if not isinstance(value.content, dict):
            raise refusal(value, f"keys and values ({', '.join(list(self.kinds)[:3])} …)")
        for key, item in value.content.items():
            if key not in self.kinds:
                raise UsageError(f"{item.place}: {self._unknown(key, value)}")
        for key, reason in self.required.items():
            if key not in value.content:
                where = value.place.below(key)
                raise UsageError(f"{value.place.file}:{value.place.line}: {where} is missing{reason and f'; {reason}'}")
        return {key: self._read(key, item) for key, item in value.content.items()}

    def _read(self, key: str, item: Value) -> Any:
        if item.content is None:
            raise refusal(item, f"a value; drop {item.place.key} to have its default")
        return self.kinds[key](item)

    def _unknown(self, key: object, value: Value) -> str:
        name = str(key)
        if name in self.refused:
            return self.refused[name]
        home = self.homes.get(name)
        if home and home != value.place.below(name):
            return f"unknown key; {name} stands at {home}"
        siblings = difflib.get_close_matches(name, self.kinds, n=1)
        if siblings:
            return f"unknown key; did you mean {value.place.below(siblings[0])}?"
        others = difflib.get_close_matches(name, self.homes, n=1)
        if others:
            return f"unknown key; did you mean {self.homes[others[0]]}?"
        return f"unknown key; known are {', '.join(self.kinds)}"
