"""Secrets out of what is shown or written: user and query of addresses, keys, values of environment variables."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, unquote

_HIDDEN = "…"
_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,30})://([^\s/?#'\"<>]*@)?([^\s?#'\"<>]*)([?#][^\s'\"<>]*)?"
)
_CONTAINERS = ("abfs", "wasb")
"""Schemes whose address has a container where others have a user."""
_KEY = re.compile(
    r"(?i)\b(sig|AccountKey|AccessKey|SharedAccessKey|SharedAccessSignature|client_secret|password|passwd|pwd"
    r"|account_key|api_?key|access_token|sas_token|token|secret)=([^\s&;,'\")]+)"
)
_BEARER = re.compile(r"(?i)\b(authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic)|bearer)\s+[\w.~+/=-]{8,}")
_SECRET_NAME = re.compile(
    r"(?i)key|secret|token|pass(w|phrase|code|_|$)|pwd|credential|sas(_|$)|conn(ection)?_?str|auth(_|$)|cookie|jwt"
)
_NO_SECRETS = ("PWD", "OLDPWD", "SSH_AUTH_SOCK")
"""Shells' names for working directories, and a socket's path."""
_OURS = "BATCHSCORE_"
"""Options from the environment, of which some are NAME=VALUE, one a line."""
_USER = re.compile(r"://(?:[^\s/?#:@'\"]*:([^\s/?#'\"]+)|([^\s/?#:@'\"]{16,}))@")
"""An address's password, or a user long enough to be a token."""
_SHORTEST = 6
"""Characters of a value; a shorter one is seldom a secret, and often a part of other words."""


def redact(text: str) -> str:
    """The text without user, password and query of the addresses in it, and without the keys of connection strings."""
    return _BEARER.sub(rf"\1 {_HIDDEN}", _KEY.sub(rf"\1={_HIDDEN}", _ADDRESS.sub(_without_secrets, text)))


def concealed(text: str) -> str:
    """A setting as it is recorded: redacted, with a digest in the place of what was left out, by which to tell them."""
    shown = redact(text)
    return (
        shown
        if shown == text
        else f"{shown} (sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]})"
    )


def _without_secrets(address: re.Match[str]) -> str:
    scheme, user, place, query = address.groups()
    shown = user if user and scheme.lower().startswith(_CONTAINERS) and ":" not in user else ""
    return f"{scheme}://{shown}{place}" + (f"{query[0]}{_HIDDEN}" if query and len(query) > 1 else query or "")


def secret_values(variables: Mapping[str, str]) -> tuple[str, ...]:
    """What is secret in environment variables, the longest first, as it may stand in texts.

    The values of those whose names say so, and of all others the passwords and keys of addresses and connection
    strings; each as it is, escaped as Python, JSON and addresses do, and line by line.
    """
    secrets = {
        written
        for name, value in _pairs(variables)
        for secret in (_values_of(name, value) if value else ())
        for written in _as_written(secret)
        if len(written) >= _SHORTEST
    }
    return tuple(sorted(secrets, key=lambda secret: (-len(secret), secret)))


def _pairs(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in variables.items():
        yield name, value
        if name.startswith(_OURS):
            yield from ((line.partition("=")[0], line.partition("=")[2]) for line in value.splitlines())


def _values_of(name: str, value: str) -> Iterator[str]:
    if _SECRET_NAME.search(name) and name not in _NO_SECRETS:
        yield value
    if "://" in value:
        yield from (secret for found in _USER.findall(value) for secret in found)
    if "=" in value:
        yield from (found[1] for found in _KEY.findall(value))


def _as_written(secret: str) -> Iterator[str]:
    plain = secret.encode("utf-8", "backslashreplace").decode()
    yield secret  # as bytes that aren't UTF-8 come back from a process
    yield plain
    yield repr(plain)[1:-1]
    yield json.dumps(plain)[1:-1]
    yield json.dumps(plain, ensure_ascii=False)[1:-1]
    yield quote(plain, safe="")
    yield unquote(plain)
    lines = plain.splitlines()
    if len(lines) > 1:
        yield from (line.strip() for line in lines)


def without(values: Iterable[str], text: str) -> str:
    """The text without these values, and redacted."""
    for value in values:
        text = text.replace(value, _HIDDEN)
    return redact(text)
