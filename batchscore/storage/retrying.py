"""Which failures of a store pass by themselves, and trying again until they do."""

from __future__ import annotations

import enum
import errno
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from batchscore.errors import BatchscoreError, StorageError, UsageError
from batchscore.storage.access import in_use

Result = TypeVar("Result")

PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt, of which up to a half is left out at random: workers must not come in step."""
_LONGEST_PAUSE = 30.0
"""Seconds that a store may ask for (`Retry-After`)."""
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504, 509}
_NO_SUCH_STORE = {
    "NoSuchBucket",
    "ContainerNotFound",
    "ContainerBeingDeleted",
    "ResourceTypeNotFound",
    "AccountIsDisabled",
}
_BAD_KEYS = {
    "AuthenticationFailed", "AuthorizationFailure", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "NoAuthenticationInformation", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
    "InvalidAuthenticationInfo",
}  # fmt: skip
"""Codes that say that no file at all can be read with these credentials."""
_THROTTLED = {
    "SlowDown",
    "ServerBusy",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "OperationTimedOut",
}
_NETWORK_LIBRARIES = ("aiohttp", "azure", "botocore", "aiobotocore", "gcsfs", "urllib3")
_NO_KEYS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
_PERMANENT_NAMES = {*_NO_KEYS, "ClientAuthenticationError", "RefreshError"}
_PERMANENT_ERRNO = {errno.ENOSPC, errno.EINVAL, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EDQUOT}


class Kind(enum.Enum):
    """What a failure means."""

    TRANSIENT = enum.auto()
    """May pass; worth another attempt."""
    GONE = enum.auto()
    """There is no such file."""
    FORBIDDEN = enum.auto()
    """This file may not be read."""
    CHANGED = enum.auto()
    """The file is shorter than it was."""
    NO_STORE = enum.auto()
    """There is no such container or bucket."""
    PERMANENT = enum.auto()
    """Of the store or of how it is reached, whatever the file."""


class NoSuchStore(StorageError):
    """The container or bucket isn't there."""


class Changed(OSError):
    """A file isn't as it was when it was listed."""


def retried(call: Callable[[], Result], what: str) -> Result:
    """What the call gives, made again after growing pauses where its failure may pass.

    Raises FileNotFoundError, PermissionError or Changed about the file alone; UsageError for options and credentials
    that can't be used; StorageError, with ``what`` couldn't be done and the cause, for all else.
    """
    pauses, outer = iter(PAUSES), sys.exc_info()[1]
    while True:
        try:
            return call()
        except BatchscoreError:
            raise
        except Exception as error:  # each library of a store has exceptions of its own
            kind = kind_of(error, outer)
            pause = next(pauses, None) if kind is Kind.TRANSIENT else None
            if pause is None:
                raise _translated(error, kind, what) from error
            wait = max(pause * random.uniform(0.5, 1.0), _asked_pause(error))  # noqa: S311  # no secret
        time.sleep(wait)


def _translated(error: Exception, kind: Kind, what: str) -> Exception:
    text = in_use().without_secrets(cause_of(error))
    match kind:
        case Kind.GONE | Kind.FORBIDDEN | Kind.CHANGED:
            number, type_ = _OF_ONE_FILE[kind]
            return type_(number, text)
        case Kind.TRANSIENT:
            return StorageError(f"{what}: {text} (tried {len(PAUSES) + 1} times); run the same command again later")
        case Kind.PERMANENT if isinstance(error, (TypeError, ValueError)) or type(error).__name__ in _NO_KEYS:
            return UsageError(f"{what}: {text}; check the credentials and the storage options")
        case Kind.PERMANENT if _is_of_the_keys(_chain(error, None)):
            return StorageError(f"{what}: {text}; check the credentials: the store doesn't take them")
        case _:
            return (NoSuchStore if kind is Kind.NO_STORE else StorageError)(f"{what}: {text}")


_OF_ONE_FILE: dict[Kind, tuple[int, type[OSError]]] = {
    Kind.GONE: (errno.ENOENT, FileNotFoundError),
    Kind.FORBIDDEN: (errno.EACCES, PermissionError),
    Kind.CHANGED: (errno.ESTALE, Changed),
}
_BY_STATUS = {403: Kind.FORBIDDEN, 404: Kind.GONE, 410: Kind.GONE, 412: Kind.CHANGED, 416: Kind.CHANGED}
_BY_TYPE = {FileNotFoundError: Kind.GONE, PermissionError: Kind.FORBIDDEN, Changed: Kind.CHANGED}
_UNAUTHORIZED, _LEAST_ERROR = 401, 400


def kind_of(error: BaseException, outer: BaseException | None = None) -> Kind:
    """What a failure of a store's library means, by the codes and the status in it and in what caused it.

    ``outer`` was being handled when the call was made: it is a failure's context, and not its cause.
    """
    chain = list(_chain(error, outer))
    codes, statuses = {_code(each) for each in chain}, {_status(each) or 0 for each in chain}
    if codes & _THROTTLED or statuses & _TRANSIENT_STATUS:
        return Kind.TRANSIENT
    if codes & _NO_SUCH_STORE:
        return Kind.NO_STORE
    if _is_of_the_keys(chain):
        return Kind.PERMANENT
    told = [kind for status, kind in _BY_STATUS.items() if status in statuses]
    told += [kind for each in chain for type_, kind in _BY_TYPE.items() if isinstance(each, type_)]
    if told:
        return told[0]
    passes = max(statuses) < _LEAST_ERROR and any(map(_is_of_the_network, chain))
    return Kind.TRANSIENT if passes else Kind.PERMANENT


def _is_of_the_keys(chain: Iterable[BaseException]) -> bool:
    return any(_code(each) in _BAD_KEYS or _status(each) == _UNAUTHORIZED for each in chain)


def _is_of_the_network(error: BaseException) -> bool:
    import http.client  # with ssl and email: a tenth of the parent's start-up, and most jobs meet no network
    import ssl

    if type(error).__name__ in _PERMANENT_NAMES or isinstance(error, (ssl.SSLCertVerificationError, ImportError)):
        return False
    if isinstance(error, (TimeoutError, http.client.HTTPException, EOFError)):
        return True
    if isinstance(error, OSError):
        return error.errno not in _PERMANENT_ERRNO
    return type(error).__module__.partition(".")[0] in _NETWORK_LIBRARIES or type(error).__name__ == "TimeoutError"


def _chain(error: BaseException, outer: BaseException | None) -> Iterator[BaseException]:
    seen = {id(outer)}
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _code(error: BaseException) -> str:
    """The store's own word for it, where there is one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        return str(response.get("Error", {}).get("Code", ""))
    code = getattr(error, "error_code", None)  # azure
    return str(getattr(code, "value", code) or "")


def _status(error: BaseException) -> int | None:
    """The HTTP status, where there is one."""
    response = getattr(error, "response", None)
    if type(error).__module__ == "aiohttp.http_exceptions":
        return None  # its 400 is of answers that are cut short
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(error, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
    try:
        return int(found) if found else None
    except (TypeError, ValueError):
        return None


def _asked_pause(error: BaseException) -> float:
    headers: Any = getattr(error, "headers", None)
    text = str(headers.get("Retry-After", "")) if hasattr(headers, "get") else ""
    return min(float(text), _LONGEST_PAUSE) if text.isdigit() else 0.0


def cause_of(error: BaseException) -> str:
    """The first line of what an exception says, with its kind where that says nothing."""
    reason = getattr(error, "reason", None)  # urllib's wrap what happened
    error = reason if isinstance(reason, Exception) else error
    text = str(getattr(error, "strerror", None) or error).strip()
    line = text.splitlines()[0].strip() if text else ""
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
