"""Small JSON messages between two processes, framed by a 4-byte big-endian length."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Sequence

from batchscore.minibatch import Json, compact

MAX_MESSAGE = 64 << 20
"""Bytes of JSON; a length above it is no length but a stray write."""

_LENGTH = struct.Struct(">I")
_MOST_DESCRIPTORS = 16
_LONGEST_WAIT = 1.0
"""Seconds of one wait; a longer one is waited for in pieces, between which a handler of Python's is called for a signal
that came just before the wait, or to another thread, and so didn't end it."""


class ChannelError(Exception):
    """A message couldn't be sent or received."""


class ChannelClosed(ChannelError):
    """The other side is gone, or this side was closed."""


class ChannelTimeout(ChannelError):
    """The deadline passed before the whole message was through."""


class BadMessage(ChannelError):
    """What came, or was to be sent, is no message."""


def frame(message: Json) -> bytes:
    """The bytes of a message on the wire.

    Lone surrogates pass, as JSON escapes. Raises BadMessage for what isn't JSON or is too large.
    """
    try:
        text = compact(message).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMessage(f"can't be written as JSON: {error}") from error
    if len(text) > MAX_MESSAGE:
        raise BadMessage(f"{len(text):,} bytes; a message has at most {MAX_MESSAGE:,}")
    return _LENGTH.pack(len(text)) + text


class Channel:
    """One end of a stream socket, for one reading thread; ``interrupt`` and ``close`` may come from any other.

    The locks are re-entrant because a signal handler may close the channel in the very thread that waits on it.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._in_use = threading.RLock()
        self._closing = threading.RLock()

    def send(self, message: Json, timeout: float | None = None, descriptors: Sequence[int] = ()) -> None:
        """Send a message, and descriptors with it; raises ChannelClosed, ChannelTimeout (seconds) or BadMessage."""
        self.send_frame(frame(message), timeout, descriptors)

    def send_frame(self, framed: bytes, timeout: float | None = None, descriptors: Sequence[int] = ()) -> None:
        """Send what ``frame`` made."""
        deadline = _deadline(timeout)
        rest = memoryview(framed)
        with self._in_use:
            while rest:
                try:
                    self._socket.settimeout(_wait(deadline))
                    if descriptors:
                        rest = rest[socket.send_fds(self._socket, [rest], descriptors) :]
                        descriptors = ()
                    else:
                        rest = rest[self._socket.send(rest) :]
                except TimeoutError:
                    _check(deadline)
                except OSError as error:
                    raise ChannelClosed(str(error)) from error

    def receive(self, timeout: float | None = None) -> Json:
        """The next message; the timeout (seconds) is for all of it, however slowly its bytes trickle in."""
        deadline = _deadline(timeout)
        with self._in_use:
            return self._received(self._read(_LENGTH.size, deadline), deadline)

    def receive_with_descriptors(self) -> tuple[Json, list[int]]:
        """The next message and the descriptors that came with it, however long that takes."""
        with self._in_use:
            try:
                self._socket.settimeout(None)
                head, descriptors, *_ = socket.recv_fds(self._socket, _LENGTH.size, _MOST_DESCRIPTORS)
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not head:
                raise ChannelClosed("the other side closed the connection")
            head += self._read(_LENGTH.size - len(head), None)
            return self._received(head, None), descriptors

    def _received(self, head: bytes, deadline: float | None) -> Json:
        """The message whose length has been read."""
        (length,) = _LENGTH.unpack(head)
        if length > MAX_MESSAGE:
            raise BadMessage(f"announces {length:,} bytes; a message has at most {MAX_MESSAGE:,}")
        text = self._read(length, deadline)
        try:
            message = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"not JSON: {error}") from error
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise BadMessage(f"not an object with a kind: {text[:100]!r}")
        return message

    def _read(self, length: int, deadline: float | None) -> bytes:
        received = bytearray()
        while len(received) < length:
            try:
                self._socket.settimeout(_wait(deadline))
                piece = self._socket.recv(min(length - len(received), 1 << 16))
            except TimeoutError:
                _check(deadline)
                continue
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not piece:
                raise ChannelClosed("the other side closed the connection")
            received += piece
        return bytes(received)

    def interrupt(self) -> None:
        """End every wait: what has arrived can still be received, then ChannelClosed is raised."""
        with self._closing, contextlib.suppress(OSError):  # closed already, here or there
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back, after a thread that waits on it has let go; again does nothing."""
        self.interrupt()
        with self._in_use, self._closing:
            self._socket.close()


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _wait(deadline: float | None) -> float | None:
    """Seconds to wait at once; never 0, which would mean not to wait for what is there already."""
    return None if deadline is None else min(max(deadline - time.monotonic(), 0.001), _LONGEST_WAIT)


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        raise ChannelTimeout("nothing came in time")
