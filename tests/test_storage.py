"""Paths, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, PlainStore

from batchscore.errors import StorageError, UsageError
from batchscore.storage import Folder, commit, local_path, prepare, publish


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
    publish(Folder(str(tmp_path)), "b/c", str(scratch), lambda stream: stream.write(b"deep"))
    assert (tmp_path / "b/c").read_bytes() == b"deep"


def test_a_file_is_hashed_while_it_is_written_and_not_read_for_that(tmp_path: Path) -> None:
    """Whoever writes it: in bytes, in views, in lines, or as Parquet, whose writer asks where it is."""

    def write(stream: BinaryIO) -> None:
        assert not stream.readable()
        stream.write(b"ab")
        stream.writelines([b"c\n", b"d\n"])
        stream.write(memoryview(np.arange(3, dtype=np.int64)))
        pq.write_table(pa.table({"x": range(9)}), stream)
        assert stream.tell() > 40

    ready = prepare(str(tmp_path), "a", write)
    content = Path(ready.temporary).read_bytes()
    assert (ready.bytes, ready.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert content.endswith(b"PAR1")


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
        publish(Folder(str(tmp_path)), "a/b", str(tmp_path), lambda stream: stream.write(b"x"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_a_file_is_renamed_into_its_place(tmp_path: Path, scratch: Path) -> None:
    ready = prepare(str(scratch), "a/b.csv", lambda stream: stream.write(b"x\n"))
    inode = Path(ready.temporary).stat().st_ino
    commit(str(tmp_path / "out"), ready)
    assert (tmp_path / "out/a/b.csv").read_bytes() == b"x\n"
    assert (tmp_path / "out/a/b.csv").stat().st_ino == inode
    assert not os.listdir(scratch)


def test_a_file_is_copied_into_another_file_system(tmp_path: Path, scratch: Path, plain_store: PlainStore) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "content").write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from batchscore.storage import Folder, publish\n"
        "content, out, scratch = sys.argv[1:]\n"
        "publish(Folder(out), 'predictions.csv', scratch, lambda stream: stream.write(Path(content).read_bytes()))"
    )
    store = tmp_path / "store"
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "content", store, scratch],
        env={**os.environ, **plain_store(store), "PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )
    assert (store / "predictions.csv").read_bytes() == content
    assert Path(f"{store}.log").read_text() == f"rename-across {store}/predictions.csv\n"
    assert not os.listdir(scratch)


def test_a_copy_that_fails_leaves_nothing_behind(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepare(str(scratch), "b.csv", lambda stream: stream.write(b"x" * 100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(StorageError, match=r"can't write .*b\.csv: File too large"):
            commit(str(tmp_path / "out"), ready)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(tmp_path / "out")
    commit(str(tmp_path / "out"), ready)
    assert (tmp_path / "out/b.csv").stat().st_size == 100_000


def test_a_refusal_that_is_no_matter_of_renaming_is_not_worked_around(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "out/job.json").mkdir(parents=True)
    with pytest.raises(StorageError, match="can't write .*Is a directory"):
        publish(Folder(str(tmp_path / "out")), "job.json", str(scratch), lambda stream: stream.write(b"{}"))
