"""Framed JSON over a socket."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.channel import MAX_MESSAGE, BadMessage, Channel, ChannelClosed, ChannelTimeout, frame
from batchscore.errors import Stopped
from batchscore.signals import StopSignals

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.fixture
def ends():
    """A channel, and the other end as a bare socket."""
    here, there = socket.socketpair()
    channel = Channel(here)
    with there:
        yield channel, there
        channel.close()


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_messages_arrive_as_they_were_sent_however_they_are_cut(messages, size):
    """Lone surrogates, as in file names that aren't UTF-8, included."""
    here, there = socket.socketpair()
    messages = [{"kind": "x", **message} for message in messages]
    stream = b"".join(frame(message | {"kind": "x"}) for message in messages)

    def trickle():
        for start in range(0, len(stream), size):
            there.sendall(stream[start : start + size])

    with there:
        sender = threading.Thread(target=trickle)
        sender.start()
        channel = Channel(here)
        assert [channel.receive(60) for _ in messages] == [message | {"kind": "x"} for message in messages]
        sender.join()
        channel.close()


def test_a_large_message_passes_both_ways(ends):
    channel, there = ends
    message = {"kind": "large", "text": "x" * 3_000_000}
    other = Channel(there)
    echo = threading.Thread(target=lambda: other.send(other.receive(60), 60))
    echo.start()
    channel.send(message, 60)
    assert channel.receive(60) == message
    echo.join()


def test_the_deadline_is_for_the_whole_message(ends):
    channel, there = ends

    def trickle():
        with contextlib.suppress(OSError):
            for byte in frame({"kind": "slow" * 100}):
                there.sendall(bytes([byte]))
                time.sleep(0.02)

    sender = threading.Thread(target=trickle)
    sender.start()
    with pytest.raises(ChannelTimeout):  # each byte comes in time, and after 8 s the message
        channel.receive(0.15)
    channel.close()
    sender.join()


def test_what_is_there_already_is_received_without_time_left(ends):
    channel, there = ends
    there.sendall(frame({"kind": "early"}))
    assert channel.receive(0) == {"kind": "early"}


def test_an_endless_timeout_is_no_error(ends):
    channel, there = ends
    there.sendall(frame({"kind": "early"}))
    assert channel.receive(float("inf")) == {"kind": "early"}
    channel.send({"kind": "x"}, 1e300)


def test_a_reader_that_does_not_read_is_a_timeout_for_who_sends(ends):
    channel, _ = ends
    with pytest.raises(ChannelTimeout):
        channel.send({"kind": "x", "text": "x" * 3_000_000}, 0.1)


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\0\x09{"])
def test_an_end_of_the_stream_anywhere_is_closed(ends, sent):
    channel, there = ends
    there.sendall(sent)
    there.close()
    with pytest.raises(ChannelClosed):
        channel.receive(60)
    with pytest.raises(ChannelClosed):
        channel.send({"kind": "x", "text": "x" * 3_000_000}, 60)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense", b"\xff\xfe", b"[" * 100_000, b"[]", b"3", b"{}", b'{"kind":3}']
)
def test_garbage_is_a_bad_message(ends, body):
    channel, there = ends
    threading.Thread(target=there.sendall, args=(struct.pack(">I", len(body)) + body,)).start()
    with pytest.raises(BadMessage):
        channel.receive(60)


def test_an_impossible_length_is_refused_at_once(ends):
    channel, there = ends
    there.sendall(struct.pack(">I", MAX_MESSAGE + 1))
    with pytest.raises(BadMessage, match="announces"):
        channel.receive(60)


def test_what_can_not_be_sent_leaves_the_stream_whole(ends, monkeypatch):
    channel, there = ends
    monkeypatch.setattr("batchscore.channel.MAX_MESSAGE", 100)
    for message in ({"kind": object()}, {"kind": "x" * 100}, {("a",): 1}):
        with pytest.raises(BadMessage):
            channel.send(message)
    channel.send({"kind": "x"})
    assert json.loads(there.recv(100)[4:]) == {"kind": "x"}


def test_a_signal_that_does_not_end_a_wait_is_heard_soon_all_the_same(ends):
    """One that comes just before the wait, or to another thread, as here, doesn't end it."""
    channel, _ = ends

    def kill():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with StopSignals():
            threading.Timer(0.2, kill).start()
            with pytest.raises(Stopped):
                channel.receive(3600)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("method", ["interrupt", "close"])
def test_another_thread_ends_the_wait(ends, method):
    channel, _ = ends
    threading.Timer(0.1, getattr(channel, method)).start()
    with pytest.raises(ChannelClosed):
        channel.receive(30)
    getattr(channel, method)()
    with pytest.raises(ChannelClosed):
        channel.receive(30)


def test_what_arrived_before_an_interruption_is_still_received(ends):
    channel, there = ends
    there.sendall(frame({"kind": "last"}))
    channel.interrupt()
    assert channel.receive(60) == {"kind": "last"}
    with pytest.raises(ChannelClosed):
        channel.receive(60)
