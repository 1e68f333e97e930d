"""Reading from stores: listing, ranges, versions, faults that pass and faults that stay."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import Azurite, S3, Web

from batchscore import storage
from batchscore.errors import StorageError, UsageError
from batchscore.inputs import Selection, list_inputs
from batchscore.storage import Access, StoredFile, access_of, open_stored, retrying, store_of, using


class Shop:
    """A bucket or container by either name."""

    def __init__(self, kind: str, server: Any) -> None:
        self.server = server
        self.place = server.bucket() if kind == "s3" else server.container()
        self.url = f"{'s3' if kind == 's3' else 'abfs'}://{self.place}"
        self.plan = server.proxy.plan

    def put(self, name: str, content: bytes = b"a\n1\n") -> None:
        self.server.put(f"{self.place}/{name}", content)

    def delete(self, name: str) -> None:
        self.server.delete(f"{self.place}/{name}")


@pytest.fixture(params=["s3", "azure"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """One suite over both kinds of store."""
    return Shop(request.param, request.getfixturevalue("s3" if request.param == "s3" else "azurite"))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(retrying, "PAUSES", (0.01,) * 6)
    yield


def names(*inputs: str, **narrowing: Any) -> list[str]:
    return [file.name for file in list_inputs(inputs, Selection("/nowhere", **narrowing)).files]


AWKWARD = ["a b.csv", "a#b.csv", "a%20b.csv", "ä,'é\"+&=;.csv", "year=2026/month=%C3%A4/x.csv"]


def test_folders_are_listed_as_local_ones_are(shop: Shop) -> None:
    for name in ("data/b.csv", "data/a/z.parquet", "data/a.csv", "data/a-b/c.pqt", "data/é.csv.gz", "other/x.csv"):
        shop.put(name)
    for name in ("data/.h.csv", "data/_h.csv", "data/_h/i.csv", "data/.d/e.csv", "data/notes.txt", "database.csv"):
        shop.put(name)
    found = names(f"{shop.url}/data")
    assert found == ["a-b/c.pqt", "a.csv", "a/z.parquet", "b.csv", "é.csv.gz"]
    assert names(f"{shop.url}/data/") == found


@pytest.mark.parametrize("name", AWKWARD)
def test_any_name_is_listed_and_read(shop: Shop, name: str) -> None:
    shop.put(f"in/{name}", b"x\n42\n")
    listing = list_inputs((f"{shop.url}/in",), Selection("/nowhere"))
    (file,) = listing.files
    assert file.name == name
    with open_stored(file.path, file.size) as stream:
        assert stream.read() == b"x\n42\n"
