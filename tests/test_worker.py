"""The child's loop, as a conversation over a socket."""

import contextlib
import importlib
import socket
import threading
import time

import pytest
from fake_worker import batch
from hypothesis import given
from hypothesis import strategies as st

from batchscore import worker
from batchscore.channel import MAX_MESSAGE, Channel, ChannelClosed, frame
from batchscore.errors import AnswerRefused, FileRefused, ModelLoadError, StorageError, UsageError
from batchscore.outcome import Outcome, Scored


class Scripted:
    """A Scorer that reports these rows, then raises or scores."""

    def __init__(self, *rows, error=None, facts=None):
        self._rows = rows
        self._error = error
        self._facts = facts or {"columns": 3}

    def close(self):
        pass

    def facts(self):
        return self._facts

    def score(self, mini_batch, progress):
        for rows in self._rows:
            progress(rows)
        if self._error:
            raise self._error
        return Outcome(mini_batch.number, tuple(Scored(piece, 1, "p", 0, 1) for piece in mini_batch.slices))


@contextlib.contextmanager
def conversation(load):
    """The parent's end of a worker that has been told to load; it ends when it is hung up on."""
    here, there = socket.socketpair()

    def serve():
        with contextlib.suppress(ChannelClosed):
            worker.serve(Channel(there), load)
        there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    channel = Channel(here)
    channel.send({"kind": "load", "setup": {"model": "m"}})
    try:
        yield channel
    finally:
        channel.close()
        thread.join(20)
        assert not thread.is_alive()


def ask(channel, mini_batch):
    channel.send({"kind": "score", "mini_batch": mini_batch.to_json()})
    return channel.receive(5)


def test_a_worker_loads_its_setup_says_ready_and_answers():
    setups = []

    def load(setup):
        setups.append(setup)
        return Scripted(10, 20)

    with conversation(load) as channel:
        ready = channel.receive(5)
        assert (ready["kind"], ready["facts"]) == ("ready", {"columns": 3})
        assert ready["at"] <= time.monotonic()
        for number in range(3):
            assert ask(channel, batch(number)) == {"kind": "progress", "rows": 10, "bytes": 0}
            assert channel.receive(5) == {"kind": "progress", "rows": 20, "bytes": 0}
            answer = channel.receive(5)
            assert answer["kind"] == "outcome"
            assert Outcome.from_json(answer["outcome"]).slices[0].slice == batch(number).slices[0]
    assert setups == [{"model": "m"}]


@pytest.mark.parametrize("error", [UsageError("no such method"), StorageError("disk full"), ModelLoadError("gone")])
def test_what_ends_the_job_carries_its_name(error):
    with conversation(lambda _: Scripted(error=error)) as channel:
        channel.receive(5)
        assert ask(channel, batch()) == {"kind": "fatal", "error": type(error).__name__, "message": str(error)}


def test_a_refined_error_carries_the_name_that_the_parent_knows():
    class DiskFullError(StorageError):
        pass

    with conversation(lambda _: Scripted(error=DiskFullError("full"))) as channel:
        channel.receive(5)
        assert ask(channel, batch()) == {"kind": "fatal", "error": "StorageError", "message": "full"}


@pytest.mark.parametrize("error", [AnswerRefused("2 rows for 3"), FileRefused("no header")])
def test_expected_errors_say_all_in_their_message(error):
    with conversation(lambda _: Scripted(error=error)) as channel:
        channel.receive(5)
        answer = ask(channel, batch())
        assert answer.pop("seconds") >= 0
        assert answer.pop("cpu_seconds") >= 0
        refused = {"refuses_answer": True} if isinstance(error, AnswerRefused) else {}
        assert answer == {"kind": "raised", **refused, "message": str(error), "traceback": ""}


def test_facts_that_are_no_json_are_a_failed_load():
    with conversation(lambda _: Scripted(facts={"columns": {1, 2}})) as channel:
        answer = channel.receive(5)
        assert answer["kind"] == "load_failed"
        assert "set is not JSON serializable" in answer["message"]
        with pytest.raises(ChannelClosed):
            channel.receive(5)


def test_a_traceback_names_causes_and_leaves_the_worker_out():
    def load(_):
        try:
            open("/no/weights")  # noqa: SIM115, PTH123  # it isn't there
        except OSError as error:
            raise RuntimeError("can't build the net") from error

    with conversation(load) as channel:
        answer = channel.receive(5)
    assert answer["message"] == "RuntimeError: can't build the net"
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/no/weights'" in answer["traceback"]
    assert "batchscore/worker.py" not in answer["traceback"]


@given(st.text(st.characters(categories=None)))
def test_any_text_of_an_exception_arrives_as_valid_unicode(text):
    answer = worker._texts(ValueError(text))
    assert len(frame({"kind": "raised", **answer})) < MAX_MESSAGE
    for value in answer.values():
        value.encode("utf-8")
    assert answer["message"].startswith("ValueError")


@given(st.integers(0, 100_000))
def test_long_texts_keep_both_ends(length):
    text = "<" + "x" * length + ">"
    cut = worker.clean(text)
    assert cut[0] + cut[-1] == "<>"
    assert len(cut) <= 20_100
    assert (cut == text) == (len(text) <= 20_000)


@pytest.mark.parametrize(
    "loader",
    ["scoring:ModelScorer", "trial:Trial", "script:ScriptScorer", "examining:Examiner", "model.registry:Reference"],
)
def test_what_workers_load_has_all_that_they_call(loader: str) -> None:
    module, _, name = loader.partition(":")
    scorer = getattr(importlib.import_module(f"batchscore.{module}"), name)
    assert all(callable(getattr(scorer, call, None)) for call in ("facts", "score", "close"))
