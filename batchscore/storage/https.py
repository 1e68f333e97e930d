"""Single files by http and https, with the standard library: ranges where the server has them, else whole.

fsspec's own file system for http takes a whole answer for the range it asked for, where a server knows no ranges.
"""

from __future__ import annotations

import base64
import contextlib
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from http.client import HTTPMessage, HTTPResponse
from typing import IO, TypeVar
from urllib.parse import quote, unquote, urlsplit

from batchscore.errors import UsageError
from batchscore.storage.access import in_use
from batchscore.storage.retrying import Changed, retried
from batchscore.storage.stored import Facts, StoredFile

Result = TypeVar("Result")

TIMEOUT = 60.0
"""Seconds without a byte."""
_BLOCK = 1 << 20
_PARTIAL = 206
_UNSATISFIABLE = 416


class HttpStore:
    """Files by their addresses; there are no folders.

    A file from a server without ranges comes whole, and is kept on disk, without a name, until ``release``.
    """

    def __init__(self) -> None:
        self._whole: IO[bytes] | None = None

    def release(self) -> None:
        """See Store."""
        if self._whole:
            self._whole.close()
            self._whole = None

    def facts(self, url: str) -> Facts:
        """Size and etag (or modification time), from the answer to a request for the first byte.

        Some servers know no HEAD, and signed addresses are for GET alone. A size that isn't stated is counted.
        """

        def look() -> Facts:
            with _get(url, "bytes=0-0") as answer:
                size = _stated_size(answer.headers, is_part=answer.status == _PARTIAL)
                return Facts(sum(map(len, _blocks(answer))) if size is None else size, _version(answer.headers))

        return retried(_empty_for_416(look), f"can't look at {url}")

    def find(self, url: str) -> Iterator[StoredFile]:
        """Raise UsageError: http lists nothing."""
        raise UsageError(f"{url}: folders can't be listed by http; give the addresses of files")

    def can_read_ranges(self, url: str) -> bool:
        """See Store."""

        def ask() -> bool:
            with _get(url, "bytes=0-0") as answer:
                return answer.status == _PARTIAL

        return retried(ask, f"can't look at {url}")

    def read_range(self, url: str, start: int, stop: int) -> bytes:
        """See Store."""

        def read() -> bytes:
            if self._whole is None:
                with _get(url, f"bytes={start}-{stop - 1}") as answer:
                    if answer.status == _PARTIAL:
                        return _exactly(b"".join(_blocks(answer)), stop - start)
                    self._whole = _kept(answer)
            self._whole.seek(start)
            return _exactly(self._whole.read(stop - start), stop - start)

        return retried(read, f"can't read {url}")


def _kept(answer: HTTPResponse) -> IO[bytes]:
    """The body as a file without a name."""
    with contextlib.ExitStack() as undo:
        file = undo.enter_context(tempfile.TemporaryFile())
        for block in _blocks(answer):
            file.write(block)
        undo.pop_all()
    return file


def _get(url: str, byte_range: str) -> HTTPResponse:
    """The answer to a GET of a public address, whose secrets the access in use knows."""
    given = in_use().as_given(url) or url
    parts = urlsplit(given)
    headers = {"Range": byte_range, "Accept-Encoding": "identity", "User-Agent": "batchscore"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    request = urllib.request.Request(quote(bare, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)  # noqa: S310  # http or https, by its family
    answer: HTTPResponse = _OPENER.open(request, timeout=TIMEOUT)
    return answer


class _KeepingSecrets(urllib.request.HTTPRedirectHandler):
    """Redirects that lead to another host don't take name and password along."""

    def redirect_request(  # noqa: PLR0913, PLR0917  # the standard library's
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            new.remove_header("Authorization")
        return new


_OPENER = urllib.request.build_opener(_KeepingSecrets)


def _blocks(answer: HTTPResponse) -> Iterator[bytes]:
    """The body; raises IncompleteRead or ConnectionError where it ends too early."""
    stated, count = answer.headers.get("Content-Length", ""), 0
    while block := answer.read(_BLOCK):
        count += len(block)
        yield block
    if stated.isdigit() and count != int(stated):
        raise ConnectionError(f"{count:,} of {int(stated):,} bytes came")


def _exactly(content: bytes, size: int) -> bytes:
    if len(content) != size:
        raise Changed(f"{len(content):,} of {size:,} bytes came")
    return content


def _empty_for_416(look: Callable[[], Facts]) -> Callable[[], Facts]:
    """An empty file has no first byte: its server says so with an error."""

    def looked() -> Facts:
        try:
            return look()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _UNSATISFIABLE and error.headers.get("Content-Range", "").endswith("/0"):
                    return Facts(0, _version(error.headers))
                raise

    return looked


def _stated_size(headers: HTTPMessage, *, is_part: bool) -> int | None:
    """The whole file's, from `Content-Range: bytes 0-0/SIZE` or from Content-Length."""
    text = headers.get("Content-Range", "").rpartition("/")[2] if is_part else headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _version(headers: Message) -> str:
    return str(headers.get("ETag") or headers.get("Last-Modified") or "").removeprefix("W/").strip('"')
