"""Addresses of stores: what may be shown of them, and where their parts are."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from batchscore.errors import UsageError

FAMILIES = {
    "abfs": "azure", "abfss": "azure", "az": "azure", "s3": "s3", "gs": "gs", "gcs": "gs", "http": "http",
    "https": "http", "azureml": "azureml",
}  # fmt: skip
"""Which store a scheme means."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_SIGNATURES = {"sig", "x-amz-signature", "x-goog-signature", "signature", "token", "access_token"}
"""Parameters of a query that is a key and no part of the file's name, in lower case."""


def is_remote(location: str) -> bool:
    """Whether a location is a URL of a store other than the local disk."""
    return bool(_SCHEME.match(location)) and not location.startswith("file://")


def has_store(location: str) -> bool:
    """Whether a location is a path here, or of a scheme that is supported."""
    found = _SCHEME.match(location)
    return not is_remote(location) or bool(found and found[1].lower() in FAMILIES)


def scheme_of(location: str) -> str:
    """The scheme in lower case. Raises UsageError for one that isn't supported."""
    found = _SCHEME.match(location)
    scheme = found[1].lower() if found else ""
    if scheme not in FAMILIES:
        hint = "; write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/…" if scheme.startswith("wasb") else ""
        raise UsageError(
            f"{location}: stores of the scheme {scheme}:// aren't supported{hint}. "
            f"Supported are {', '.join(f'{name}://' for name in FAMILIES)} and file://; or copy the files here"
        )
    return scheme


def family_of(location: str) -> str:
    """`azure`, `s3`, `gs`, `http` or `azureml`. Raises UsageError for a scheme that isn't supported."""
    return FAMILIES[scheme_of(location)]


def public(url: str) -> str:
    """The address without secrets, by which a file is known in listings and journals.

    A query that is a key (a SAS token, a signed request) and a user's name and password are left out; any other query
    of an http address names the file, and becomes a digest.
    """
    base, query = split_query(url)
    if family_of(url) != "http":
        return base
    scheme, rest = base.split("://", 1)
    host, sign, path = rest.partition("/")
    shown = f"{scheme}://{host.rpartition('@')[2]}{sign}{path}"
    if query and not _is_key(query):
        shown += f"?{hashlib.sha256(query.encode()).hexdigest()[:12]}"
    return shown


def split_query(url: str) -> tuple[str, str]:
    """The address and its query, where it has one: in names on other stores than http `?` is a character or a glob."""
    base, _, query = url.partition("?")
    if family_of(url) == "http":
        return base, query.partition("#")[0]
    return (base, query) if query and _is_key(query) else (url, "")


def _is_key(query: str) -> bool:
    return any(name.lower() in _SIGNATURES for name, _ in parse_qsl(query, keep_blank_values=True))


def parent_and_name(url: str) -> tuple[str, str]:
    """The folder's address and the file's own name, which http addresses encode."""
    base = public(url).partition("?")[0] if family_of(url) == "http" else url
    parent, _, name = base.rpartition("/")
    return parent, unquote(name) if family_of(url) == "http" else name


def key_of(url: str) -> str:
    """The path that fsspec knows a public address by: `container/key`, the account left out."""
    rest = url.split("://", 1)[1]
    place, sign, key = rest.partition("/")
    if family_of(url) == "azure":
        place = place.partition("@")[0]
    if not place:
        raise UsageError(
            f"{url} names no {'container' if family_of(url) == 'azure' else 'bucket'}; write SCHEME://NAME/…"
        )
    return f"{place}{sign}{key}".rstrip("/")


def is_within(location: str, folder: str) -> bool:
    """Whether a location is a folder on a store or lies in it, by whichever of its schemes each is written.

    An account that only one of the two names is taken for the other's as well.
    """
    if not (is_remote(location) and is_remote(folder)) or family_of(location) != family_of(folder):
        return False
    one, other = public(location), public(folder)
    if family_of(location) == "azure":
        accounts = {host.partition(".")[0] for host in map(account_host, (one, other)) if host}
        if len(accounts) > 1:
            return False
    return f"{key_of(one)}/".startswith(f"{key_of(other)}/")


def account_host(url: str) -> str:
    """The host of `abfss://container@account.dfs.core.windows.net/…`; empty where the address has none."""
    place = urlsplit(url).netloc
    return place.partition("@")[2]
