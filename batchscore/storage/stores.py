"""The stores behind addresses: what is there, and bytes by ranges; the one place that opens fsspec's file systems."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from batchscore.errors import StorageError, UsageError
from batchscore.storage.access import Access, in_use
from batchscore.storage.addresses import family_of, is_remote, key_of
from batchscore.storage.keys import ASK, azure_arguments, azureml_arguments, gs_arguments, s3_arguments
from batchscore.storage.retrying import Changed, Kind, cause_of, kind_of, retried
from batchscore.storage.stored import Facts, StoredFile

__all__ = ["Facts", "FsspecStore", "Store", "StoredFile", "filesystem_of", "store_of"]

EXTRAS = {
    "azure": ("adlfs", "'batchscore[azure]'"),
    "s3": ("s3fs", "'batchscore[s3]'"),
    "gs": ("gcsfs", "'batchscore[gcs]'"),
    "azureml": ("azureml-fsspec", ""),
}
"""The package that reaches a family of stores, and the extra that brings it."""


def packages_for(locations: Iterable[str]) -> tuple[str, ...]:
    """What has to be installed to reach these locations, those of the local disk and http left out."""
    families = {family_of(location) for location in locations if is_remote(location)} & EXTRAS.keys()
    return ("fsspec", *sorted(EXTRAS[family][0] for family in families)) if families else ()


_ARGUMENTS: dict[str, Callable[[str, Access], dict[str, Any]]] = {
    "azure": azure_arguments,
    "s3": s3_arguments,
    "gs": gs_arguments,
    "azureml": azureml_arguments,
}


class Store(Protocol):
    """What is read of a store. Its methods raise FileNotFoundError, PermissionError, Changed and StorageError."""

    def facts(self, url: str) -> Facts | None:
        """What the store says of a file now; None of a folder."""
        ...

    def find(self, url: str) -> Iterator[StoredFile]:
        """All files below a folder, in no order, named relative to it."""
        ...

    def read_range(self, url: str, start: int, stop: int) -> bytes:
        """The bytes in [start, stop), all of them."""
        ...

    def release(self) -> None:
        """Give back what was held to read one file; the store may be used again."""
        ...

    def can_read_ranges(self, url: str) -> bool:
        """Whether a part of the file costs no more than its bytes."""
        ...


class FsspecStore:
    """A container or bucket through fsspec."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system

    def key(self, url: str) -> str:
        """The name that the file system knows an address by."""
        return key_of(url)

    def content(self, url: str, start: int, stop: int) -> bytes:
        """The bytes in [start, stop), as they come."""
        found: bytes = self._fs.cat_file(self.key(url), start=start, end=stop)
        return found

    def facts(self, url: str) -> Facts | None:
        """See Store."""
        info = retried(lambda: self._fs.info(self.key(url)), f"can't look at {url}")
        return None if info["type"] == "directory" else _facts(info)

    def find(self, url: str) -> Iterator[StoredFile]:
        """See Store; what stands for an empty folder is none."""
        root = self.key(url)
        found = retried(lambda: self._fs.find(root, detail=True), f"can't list {url}")
        while found:
            key, info = found.popitem()
            name = key[len(root) + 1 :]
            if info["type"] == "file" and name and not name.endswith("/"):
                yield StoredFile(name, f"{url.rstrip('/')}/{name}", _facts(info))

    def read_range(self, url: str, start: int, stop: int) -> bytes:
        """See Store."""

        def read() -> bytes:
            content = self.content(url, start, stop)
            if len(content) != stop - start:
                if self._fs.info(self.key(url))["size"] < stop:
                    raise Changed(f"{url} is shorter than it was")
                raise ConnectionError(f"{len(content):,} of {stop - start:,} bytes came")
            return content

        return retried(read, f"can't read {url}")

    def release(self) -> None:
        """See Store."""

    def can_read_ranges(self, url: str) -> bool:  # noqa: ARG002  # as for other stores
        """See Store."""
        return True


class AzureMlStore(FsspecStore):
    """A datastore of an Azure ML workspace, whose file system gives no ranges but files to seek in."""

    def key(self, url: str) -> str:
        return url.partition("/paths/")[2].rstrip("/")

    def content(self, url: str, start: int, stop: int) -> bytes:
        with self._fs.open(self.key(url)) as stream:
            stream.seek(start)
            found: bytes = stream.read(stop - start)
            return found


def _facts(info: dict[str, Any]) -> Facts:
    version = info.get("ETag") or info.get("etag") or info.get("generation") or info.get("LastModified") or ""
    return Facts(int(info["size"] or 0), str(version or info.get("last_modified") or "").strip('"'))


def store_of(url: str) -> Store:
    """The store of an address, reached by the access in use. Raises UsageError, StorageError."""
    if family_of(url) == "http":
        from batchscore.storage.https import HttpStore  # http.client and ssl: a tenth of the parent's start-up

        return HttpStore()
    kind = AzureMlStore if family_of(url) == "azureml" else FsspecStore
    return kind(filesystem_of(url))


_opened: dict[tuple[object, ...], Any] = {}
"""By family and arguments, each with connections of its own: fsspec's cache takes no note of environment variables."""


def filesystem_of(url: str) -> Any:
    """fsspec's file system for an address (abfs, abfss, az, s3, gs, azureml), with the access in use.

    Its own retries are few, since every call goes through `retrying.retried`.
    Raises UsageError: a package or credentials are missing; StorageError: it can't be set up.
    """
    family, access = family_of(url), in_use()
    arguments = _ARGUMENTS[family](url, access)
    key = (family, repr(sorted(arguments.items())), *(os.environ.get(name) for name in _VARIABLES))
    if key not in _opened:
        _opened[key] = _connected(url, family, arguments)
    return _opened[key]


_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_PROFILE")
"""What s3fs reads by itself."""


def _connected(url: str, family: str, arguments: dict[str, Any]) -> Any:
    import fsspec

    try:
        kind = fsspec.get_filesystem_class(url.partition("://")[0].lower())
    except (ImportError, ValueError) as error:
        package, extra = EXTRAS[family]
        raise UsageError(
            f"{url} needs the package {package}, which can't be imported ({cause_of(error)}); "
            f"install it where batchscore runs and beside the model: pip install {extra or package}"
        ) from error
    _refuse_unknown(url, family, kind)
    try:
        opened = kind(**arguments, skip_instance_cache=True)
    except Exception as error:
        text = in_use().without_secrets(cause_of(error))
        if kind_of(error) is Kind.TRANSIENT:
            raise StorageError(f"can't reach {url}: {text}") from error
        raise UsageError(f"{url} can't be reached with these credentials and storage options: {text}") from error
    _retry_little(opened)
    return opened


_OURS = {ASK, "anon"}
_PASSED_ON = {"profile", "use_listings_cache", "listings_expiry_time", "max_paths"}
"""Options that file systems know, though their signatures don't say so."""


def _refuse_unknown(url: str, family: str, kind: type) -> None:
    """Raise UsageError for a storage option that the file system would ignore, or stumble over at the first request."""
    made = [vars(each)["__init__"] for each in kind.__mro__[:-1] if "__init__" in vars(each)]
    stated = [inspect.signature(each).parameters.values() for each in made]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {each.name for parameters in stated for each in parameters if each.kind in named} - {"self", "loop"}
    for name in in_use().options_for(family):
        if name not in known | _OURS | _PASSED_ON:
            similar = difflib.get_close_matches(name, sorted(known | _OURS | _PASSED_ON), n=1)
            hint = f"did you mean {similar[0]}?" if similar else "check its name"
            raise UsageError(
                f"--storage-option {name}: {EXTRAS[family][0]}, which reaches {url}, has no such option; {hint} "
                "(of several stores, SCHEME.NAME=VALUE is for one of them, such as s3.key=…)"
            )


def _retry_little(file_system: Any) -> None:
    """Leave retrying to `retried`: Azure's library by itself waits for a minute before it says that a store is gone."""
    with contextlib.suppress(AttributeError):
        file_system.service_client._config.retry_policy.total_retries = 0  # noqa: SLF001  # it has no setting
    if hasattr(file_system, "retries"):
        file_system.retries = 1
