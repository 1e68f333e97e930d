"""Paths, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from batchscore.errors import StorageError, UsageError
from batchscore.storage import commit, local_path, prepare, publish


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/a/b/../c/", "/a/c"),
        ("file:///a/b%20c", "/a/b%20c"),
        ("~/x", f"{Path.home()}/x"),
        ("a", f"{Path.cwd()}/a"),
    ],
)
def test_paths_and_file_urls_are_absolute_paths(location: str, path: str) -> None:
    assert local_path(location, "INPUT") == path


@pytest.mark.parametrize("location", ["s3://bucket/x", "https://host/x?sig=secret", "abfss://c@a/x"])
def test_other_stores_are_refused_without_their_secrets(location: str) -> None:
    with pytest.raises(UsageError, match=r"INPUT .* is remote") as caught:
        local_path(location, "INPUT")
    assert "secret" not in str(caught.value)


def test_a_published_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "a").write_bytes(b"old")
    ready = prepare(str(scratch), "a", lambda stream: stream.write(b"new"))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert (ready.bytes, ready.sha256) == (3, hashlib.sha256(b"new").hexdigest())
    commit(str(tmp_path), ready)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(scratch) == []
    publish(str(tmp_path), "b/c", str(scratch), lambda stream: stream.write(b"deep"))
    assert (tmp_path / "b/c").read_bytes() == b"deep"


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    def fails(stream) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="can't write a .*No space left on device"):
        prepare(str(tmp_path), "a", fails)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file")
    with pytest.raises(StorageError, match="can't write"):
        publish(str(tmp_path), "a/b", str(tmp_path), lambda stream: stream.write(b"x"))
