"""Secrets out of what is shown or written: user and query of addresses, keys, values of environment variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_HIDDEN = "…"
_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,30})://([^\s/?#'\"<>]*@)?([^\s?#'\"<>]*)([?#][^\s'\"<>]*)?"
)
_CONTAINERS = ("abfs", "wasb")
"""Schemes whose address has a container where others have a user."""
_KEY = re.compile(
    r"(?i)\b(sig|AccountKey|AccessKey|SharedAccessKey|SharedAccessSignature|client_secret|password|passwd|pwd)"
    r"=[^\s&;,'\")]+"
)
_SECRET_NAME = re.compile(r"(?i)key|secret|token|passw|pwd|credential|sas(_|$)|connection_string")
_FOLDERS = ("PWD", "OLDPWD")
"""Shells' names for working directories."""
_SHORTEST = 6
"""Characters of a value; a shorter one is seldom a secret, and often a part of other words."""


def redact(text: str) -> str:
    """The text without user, password and query of the addresses in it, and without the keys of connection strings."""
    return _KEY.sub(rf"\1={_HIDDEN}", _ADDRESS.sub(_without_secrets, text))


def _without_secrets(address: re.Match[str]) -> str:
    scheme, user, place, query = address.groups()
    shown = user if user and scheme.lower().startswith(_CONTAINERS) and ":" not in user else ""
    return f"{scheme}://{shown}{place}" + (f"{query[0]}{_HIDDEN}" if query and len(query) > 1 else query or "")


def secret_values(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The values of environment variables whose names say that they are secret, the longest first."""
    values = {
        value
        for name, value in variables.items()
        if _SECRET_NAME.search(name) and name not in _FOLDERS and len(value) >= _SHORTEST
    }
    return tuple(sorted(values, key=len, reverse=True))


def without(values: Iterable[str], text: str) -> str:
    """The text without these values, and redacted."""
    for value in values:
        text = text.replace(value, _HIDDEN)
    return redact(text)
