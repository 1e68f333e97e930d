"""Reading from stores: listing, ranges, versions, faults that pass and faults that stay."""

from __future__ import annotations

import gzip
import importlib
import io
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import RunBatchscore, RunHere
from stores import Shop, Web

from batchscore import readers
from batchscore.errors import FileRefused, StorageError, UsageError
from batchscore.inputs import Listing, Selection, list_inputs
from batchscore.minibatch import InputFile
from batchscore.settings import CsvOptions
from batchscore.storage import Access, access_of, local_copies, open_stored, packages_for, retrying, using
from batchscore.storage.retrying import Kind, kind_of


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSES", (0.01,) * 4)


def listed(*inputs: str, **narrowing: Any) -> Listing:
    return list_inputs(inputs, Selection("/nowhere", **narrowing))


def names(*inputs: str, **narrowing: Any) -> list[str]:
    return [file.name for file in listed(*inputs, **narrowing).files]


def read_all(file: InputFile) -> bytes:
    """In parts."""
    with open_stored(file.path, file.size) as stream:
        return b"".join(iter(lambda: stream.read(100_000), b""))


# Listing

NAMES = [
    "b.csv", "a/z.parquet", "a.csv", "a-b/c.pqt", "é.csv.gz", "Z.tsv", "p/q/r.csv", "p/q/.h/x.csv", ".h.csv", "_h.csv",
    "_h/i.csv", ".d/e.csv", "notes.txt", "p/s.jsonl", "j.json", "year=2026/m=1/x.csv", "year=2025/m=2/x.csv",
]  # fmt: skip
GLOBS = ["*.csv", "**/*.csv", "p/*", "**", "year=*/", "year=202?/m=[12]/*.csv", "_*.csv", "p", "*/q", "**/q/*"]


def test_what_is_found_is_what_is_found_in_a_local_folder(shop: Shop, tmp_path: Path) -> None:
    """The names, their order, what is skipped; globs, too."""
    for name in NAMES:
        shop.put(f"data/{name}", b"{}" if name == "j.json" else b"x\n1\n")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}" if name == "j.json" else b"x\n1\n")
    shop.put("database.csv")
    here, there = listed(str(tmp_path)), listed(f"{shop.url}/data/")
    assert [file.name for file in there.files] == [file.name for file in here.files]
    assert [file.partitions for file in there.files] == [file.partitions for file in here.files]
    assert there.skipped == here.skipped
    for glob in GLOBS:
        assert names(f"{shop.url}/data/{glob}") == names(f"{tmp_path}/{glob}"), glob
    assert names(f"{shop.url}/data", include=("*.csv",), exclude=("p/*",)) == names(
        str(tmp_path), include=("*.csv",), exclude=("p/*",)
    )


@pytest.mark.parametrize("name", ["a b.csv", "a#b.csv", "a%20b.csv", "ä,'é\"+&=;.csv", "y=%C3%A4/a?b.csv"])
def test_any_name_is_listed_and_read(shop: Shop, name: str) -> None:
    shop.put(f"in/{name}", b"x\n42\n")
    (file,) = listed(f"{shop.url}/in").files
    assert file.name == name
    assert read_all(file) == b"x\n42\n"


def test_a_file_named_by_itself_counts_whatever_its_name(shop: Shop) -> None:
    shop.put("in/_x.dat")
    assert names(f"{shop.url}/in/_x.dat") == ["_x.dat"]


@pytest.mark.parametrize("table", ["_delta_log/0.json", "sub/.hoodie/x", "metadata/v1.metadata.json"])
def test_tables_are_refused(shop: Shop, table: str) -> None:
    shop.put("t/part.parquet")
    shop.put(f"t/{table}")
    with pytest.raises(UsageError, match=rf"{shop.url}/t.* is an? \w+ table"):
        names(f"{shop.url}/t")


def test_what_is_not_there_is_wrong_use(shop: Shop) -> None:
    shop.put("in/x.csv")
    for url in (f"{shop.url}/nothing", f"{shop.url}-missing/x", f"{shop.url}-missing"):
        with pytest.raises(UsageError, match="isn't there"):
            names(url)
    with pytest.raises(UsageError, match="matches nothing"):
        names(f"{shop.url}/in/*.parquet")
    assert names(f"{shop.url}/in/*.parquet", allow_empty=True) == []


def test_two_files_of_one_name_and_a_file_twice_are_refused(shop: Shop) -> None:
    shop.put("a/x.csv")
    shop.put("b/x.csv")
    with pytest.raises(UsageError, match="two inputs have the name 'x.csv'"):
        names(f"{shop.url}/a", f"{shop.url}/b")
    with pytest.raises(UsageError, match="found under two INPUTs"):
        names(f"{shop.url}/a", f"{shop.url}/")


def test_a_version_is_the_etag_wherever_it_comes_from(shop: Shop) -> None:
    """In a folder's listing, of a file by itself, and other when the content is, of the same length, too."""
    shop.put("in/x.csv")
    (in_folder,) = listed(f"{shop.url}/in").files
    (alone,) = listed(f"{shop.url}/in/x.csv").files
    assert in_folder == alone
    assert '"' not in in_folder.version
    shop.put("in/x.csv", b"x\n2\n")
    (later,) = listed(f"{shop.url}/in").files
    assert (later.size, later.version != in_folder.version) == (in_folder.size, True)


# Ranges


def test_streams_seek_and_read_like_files(shop: Shop) -> None:
    content = random.Random(1).randbytes(300_000)
    shop.put("x.bin", content)
    here = io.BytesIO(content)
    with open_stored(f"{shop.url}/x.bin") as there:
        place = random.Random(2)
        for step in range(60):
            to = (place.randrange(310_000), 0) if step % 2 else (-place.randrange(1, 90_000), 2)
            size = place.choice([0, 1, 17, 5_000, 120_000, -1])
            assert there.seek(*to) == here.seek(*to)
            assert there.read(size) == here.read(size)
            assert there.tell() == here.tell()


def test_a_slice_of_a_csv_reads_its_bytes_and_a_bounded_rest(shop: Shop) -> None:
    """The header is looked at, for which a MB is fetched at most."""
    rows = b"".join(b"%07d,%07d\n" % (number, number) for number in range(500_000))
    shop.put("big.csv", b"x,y\n" + rows)
    (file,) = listed(f"{shop.url}/big.csv").files
    pieces = readers.cut(file, 2 << 20, CsvOptions())
    assert len(pieces) == 4
    shop.plan.set("")
    from batchscore.readers.csv_header import read_slice

    got = b"".join(read_slice(pieces[2], CsvOptions(), None).body)
    whole = b"x,y\n" + rows
    assert got == whole[pieces[2].start : pieces[2].stop]
    assert shop.plan.bytes_sent <= len(got) + (1 << 20) + (10 << 10)


def test_of_parquet_only_the_columns_that_are_asked_for_are_read(shop: Shop) -> None:
    from batchscore.schema import ColumnSpec, Schema
    from batchscore.settings import ScoringSettings

    wide = {f"c{number}": np.random.default_rng(number).random(60_000) for number in range(10)}
    sink = io.BytesIO()
    pq.write_table(pa.table(wide), sink, row_group_size=30_000, compression="none")
    shop.put("wide.parquet", sink.getvalue())
    (file,) = listed(f"{shop.url}/wide.parquet").files
    assert readers.columns(file, CsvOptions()) == list(wide)
    assert readers.count_rows(file, CsvOptions()) == 60_000
    pieces = readers.cut(file, file.size // 2, CsvOptions())
    assert [piece.first_row for piece in pieces] == [0, 30_000]
    shop.plan.set("")
    schema = Schema((ColumnSpec("c3", "double", required=True),))
    (chunk,) = readers.read(pieces[1], schema, ScoringSettings())
    assert np.array_equal(chunk.features["c3"].to_numpy(), wide["c3"][30_000:])
    assert shop.plan.bytes_sent < 30_000 * 8 + (200 << 10)


# Faults


def csv_of(numbers: int) -> bytes:
    return b"x\n" + b"".join(b"%d\n" % number for number in range(numbers))


@pytest.mark.parametrize("letters", ["5", "4", "r", "t", "54rt", ".t", "...r5"])
def test_faults_that_pass_are_not_seen(shop: Shop, letters: str) -> None:
    """Throttling, errors of the server, resets, bodies cut short, at the beginning and in the middle."""
    content = csv_of(150_000)
    shop.put("in/x.csv", content)
    (file,) = listed(f"{shop.url}/in").files
    shop.fail(letters, "x.csv")
    with open_stored(file.path, file.size) as stream:
        assert b"".join(iter(lambda: stream.read(100_000), b"")) == content
    assert not shop.plan.letters


@pytest.mark.parametrize("letter", ["5", "r"])
def test_faults_while_listing_pass_too(shop: Shop, letter: str) -> None:
    shop.put("in/x.csv")
    shop.plan.set(letter * 3)
    assert names(f"{shop.url}/in") == ["x.csv"]
    assert not shop.plan.letters


@pytest.mark.parametrize("letter", ["5", "4", "r"])
def test_faults_that_stay_are_a_bounded_number_of_requests_and_a_storage_error(shop: Shop, letter: str) -> None:
    shop.put("in/x.csv", csv_of(1000))
    (file,) = listed(f"{shop.url}/in").files
    shop.fail(f"{letter}*", "x.csv")
    with pytest.raises(StorageError, match=rf"can't read {file.path}: .+ \(tried 5 times\)") as caught:
        read_all(file)
    assert caught.value.exit_code == 4
    gets = [path for method, path, _ in shop.plan.requests if method == "GET" and "x.csv" in path]
    assert 5 <= len(gets) <= 10  # aiohttp asks once more by itself where a connection is reset


def test_a_file_that_went_or_shrank_is_that_files_failure(shop: Shop) -> None:
    shop.put("in/x.csv", csv_of(30_000))
    (file,) = listed(f"{shop.url}/in").files
    shop.put("in/x.csv", csv_of(1000))
    with pytest.raises(retrying.Changed):
        read_all(file)
    shop.delete("in/x.csv")
    with pytest.raises(FileNotFoundError):
        read_all(file)
    with pytest.raises(FileRefused, match="can't be read"):
        readers.count_rows(file, CsvOptions())


class Failing(Exception):
    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(), Kind.TRANSIENT),
        (TimeoutError(), Kind.TRANSIENT),
        (Failing(status_code=503), Kind.TRANSIENT),
        (Failing(status=429), Kind.TRANSIENT),
        (
            Failing(response={"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}),
            Kind.TRANSIENT,
        ),
        (Failing(status_code=404), Kind.GONE),
        (FileNotFoundError(), Kind.GONE),
        (Failing(status_code=404, error_code="ContainerNotFound"), Kind.NO_STORE),
        (Failing(status_code=403), Kind.FORBIDDEN),
        (PermissionError(), Kind.FORBIDDEN),
        (Failing(status_code=403, error_code="AuthenticationFailed"), Kind.PERMANENT),
        (Failing(response={"Error": {"Code": "ExpiredToken"}}), Kind.PERMANENT),
        (Failing(status_code=401), Kind.PERMANENT),
        (Failing(status_code=416), Kind.CHANGED),
        (Failing(status_code=400), Kind.PERMANENT),
        (ValueError("a bug"), Kind.PERMANENT),
        (OSError(28, "No space left on device"), Kind.PERMANENT),
    ],
    ids=repr,
)
def test_what_a_failure_means(error: Exception, kind: Kind) -> None:
    assert kind_of(error) is kind
    wrapped = RuntimeError("in a library's own words")
    wrapped.__cause__ = error
    assert kind_of(wrapped) is kind or kind is Kind.PERMANENT


# Credentials


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("s3://b/x.csv", "AWS_ACCESS_KEY_ID"),
        ("abfs://c/x.csv", "AZURE_STORAGE_CONNECTION_STRING"),
        ("abfss://c@a.dfs.core.windows.net/x.csv", "AZURE_STORAGE_CONNECTION_STRING"),
        ("az://c/x.csv", "AZURE_STORAGE_CONNECTION_STRING"),
        ("gs://b/x.csv", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("azureml://subscriptions/s/datastores/d/paths/x.csv", "default_credentials=true"),
    ],
)
def test_without_credentials_nothing_is_tried(url: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No library is left to search files, logins and metadata services for some."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")):
            monkeypatch.delenv(name)
    with pytest.raises(UsageError, match=wanted) as caught:
        names(url)
    assert "default_credentials=true" in str(caught.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    known = importlib.import_module("fsspec.registry")  # a name of the package is a mapping in it
    for name, url, extra in (("s3fs", "s3://b/x", "s3"), ("adlfs", "az://b/x", "azure"), ("gcsfs", "gs://b/x", "gcs")):
        monkeypatch.setitem(sys.modules, name, None)
        for scheme in ("s3", "az", "gs"):
            monkeypatch.delitem(known._registry, scheme, raising=False)
        with using(Access((("anon", "true"), ("az.account_name", "a")))), pytest.raises(UsageError) as caught:
            names(url)
        assert f"pip install 'batchscore[{extra}]'" in str(caught.value)
        assert name in str(caught.value)


def test_other_schemes_are_refused() -> None:
    for url in ("hdfs://h/x.csv", "ftp://h/x.csv", "wasbs://c@a/x"):
        with pytest.raises(UsageError, match="aren't supported"):
            names(url)


def test_options_go_to_their_stores() -> None:
    access = Access((("anon", "true"), ("s3.key", "k"), ("client_kwargs", '{"region_name": "r"}'), ("az.x", "1")))
    assert access.options_for("s3") == {"anon": True, "key": "k", "client_kwargs": {"region_name": "r"}}
    assert access.options_for("azure") == {"anon": True, "client_kwargs": {"region_name": "r"}, "x": "1"}
    assert Access.from_json(access.to_json()) == access
    assert "SECRET" not in repr(Access((("key", "SECRET"),), (("a", "SECRET"),)))
    assert Access((("account_key", "SECRET="),)).without_secrets("with SECRET=") == "with …"


def test_options_alone_give_access_to_s3(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = s3.bucket()
    s3.put(f"{place}/x.csv", b"x\n1\n")
    for name in s3.variables:
        if "ACCESS" in name or "ENDPOINT" in name:
            monkeypatch.delenv(name)
    options = (("key", "k"), ("secret", "s"), ("endpoint_url", s3.proxy.url))
    with using(Access(options)):
        assert names(f"s3://{place}") == ["x.csv"]


def test_a_wrong_key_is_one_message_without_it(azurite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = azurite.container()
    text = azurite.connection_string(azurite.proxy.port)
    wrong = re.sub(r"AccountKey=[^;]+", "AccountKey=U0VDUkVUU0VDUkVU", text)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", wrong)
    with pytest.raises(StorageError, match="; check the credentials") as caught:
        names(f"az://{place}/x")
    assert "SECRET" not in str(caught.value)
    assert "U0VDUkVU" not in str(caught.value)


def test_a_connection_string_of_another_account_is_refused(azurite: Any) -> None:
    with pytest.raises(UsageError, match="the connection string is for devstoreaccount1"):
        names("abfss://c@elsewhere.dfs.core.windows.net/x")


# http


def test_files_by_http_have_names_sizes_and_etags(web: Web) -> None:
    web.files = {"d/a b.csv": b"x\n1\n", "d/é.csv": b"x\n22\n"}
    listing = listed(web.address("d/a b.csv"), f"{web.url}/d/%C3%A9.csv")
    assert [(file.name, file.size) for file in listing.files] == [("a b.csv", 4), ("é.csv", 5)]
    assert all(file.version for file in listing.files)
    assert [read_all(file) for file in listing.files] == [b"x\n1\n", b"x\n22\n"]


@pytest.mark.parametrize("states_size", [True, False])
def test_servers_without_ranges_give_a_file_once(web: Web, *, states_size: bool) -> None:
    """It is on disk while parts of it are read, and isn't cut."""
    web.has_ranges, web.states_size = False, states_size
    web.files = {"x.csv": csv_of(300_000)}
    (file,) = listed(web.address("x.csv")).files
    assert file.size == len(web.files["x.csv"])
    assert len(readers.cut(file, 100_000, CsvOptions())) == 1
    web.plan.set("")
    assert read_all(file) == web.files["x.csv"]
    assert len(web.plan.requests) == 1


def test_an_empty_file_by_http(web: Web) -> None:
    web.files = {"x.csv": b""}
    (file,) = listed(web.address("x.csv")).files
    assert file.size == 0
    assert read_all(file) == b""


@pytest.mark.parametrize("letters", ["5", "4", "r", "t", ".r5t"])
@pytest.mark.parametrize("has_ranges", [True, False])
def test_faults_by_http_pass(web: Web, letters: str, *, has_ranges: bool) -> None:
    web.has_ranges = has_ranges
    web.files = {"x.csv": csv_of(150_000)}
    (file,) = listed(web.address("x.csv")).files
    web.plan.set(letters if has_ranges else letters.lstrip("."))
    assert read_all(file) == web.files["x.csv"]
    assert not web.plan.letters


def test_what_isnt_there_by_http_is_wrong_use_and_what_is_denied_a_storage_error(web: Web) -> None:
    with pytest.raises(UsageError, match="isn't there"):
        names(web.address("x.csv"))
    web.files, web.denied = {"x.csv": b"x\n1\n"}, {"x.csv"}
    with pytest.raises(StorageError, match="denies access"):
        names(web.address("x.csv"))


def test_a_server_that_is_gone_is_a_storage_error_with_the_cause() -> None:
    with pytest.raises(StorageError, match="Connection refused"):
        names("http://127.0.0.1:9/x.csv")


def test_names_passwords_and_keys_go_to_the_server_and_nowhere_else(web: Web) -> None:
    web.files, web.password = {"x.csv": b"x\n1\n", "y.csv": b"x\n1\n"}, "me:SECRET"
    given = (web.address("x.csv", user="me:SECRET") + "?sig=SECRET", web.address("y.csv", user="me:SECRET") + "?id=1")
    with using(access_of((), given)):
        one, other = listed(*given).files
        assert read_all(one) == b"x\n1\n"
    assert one.path == web.address("x.csv")
    assert re.fullmatch(re.escape(web.address("y.csv")) + r"\?[0-9a-f]{12}", other.path)
    assert any("?sig=SECRET" in path for _, path, _ in web.plan.requests)


def test_a_redirect_is_followed_without_the_password(web: Web) -> None:
    web.files = {"x.csv": b"", "y.csv": b"x\n1\n"}
    web.headers = {"x.csv": {"Status": "302", "Location": f"http://localhost:{web.port}/y.csv"}}
    given = web.address("x.csv", user="me:SECRET")
    with using(access_of((), (given,))):
        (file,) = listed(given).files
        assert (file.name, read_all(file)) == ("x.csv", b"x\n1\n")
    assert set(web.with_password) == {"x.csv"}


def test_code_that_opens_files_itself_gets_copies(web: Web, tmp_path: Path) -> None:
    """A scoring script's; a local file stays where it is."""
    web.files = {"x.csv": b"x\n1\n"}
    (tmp_path / "y.csv").write_bytes(b"x\n2\n")
    files = listed(web.address("x.csv"), str(tmp_path / "y.csv")).files
    with local_copies(files) as paths:
        assert [Path(path).read_bytes() for path in paths] == [b"x\n1\n", b"x\n2\n"]
        assert paths[1] == files[1].path
    assert not Path(paths[0]).exists()


def test_what_has_to_be_installed_beside_the_model() -> None:
    assert packages_for(("s3://b/x", "az://c/y", "abfs://c/z", "data", "https://h/x")) == ("fsspec", "adlfs", "s3fs")
    assert packages_for(("data", "https://h/x")) == ()


# Whole jobs


def test_every_format_is_scored_from_a_store_as_from_here(
    shop: Shop, twice: Path, run_here: RunHere, tmp_path: Path
) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [1.0, 2.0]}), sink)
    files = {
        "a.csv": csv_of(20_000), "b.csv.gz": gzip.compress(csv_of(10)), "k=v/c.parquet": sink.getvalue(),
        "d.jsonl": b'{"x": 1}\n{"x": 2}\n', "e.json": b'{"input_data": [{"x": 3}]}', "f.json": b'{"a": 1}',
    }  # fmt: skip
    for name, content in files.items():
        shop.put(f"in/{name}", content)
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    options: dict[str, Any] = {"add": {"day": 1}, "mini_batch_size": "64KB", "error_threshold": -1}
    here = run_here(twice, tmp_path / "in", tmp_path / "here", **options)
    there = run_here(twice, f"{shop.url}/in", tmp_path / "there", **options)
    assert there.counts == here.counts
    assert there.counts.rows_scored == 20_000 + 10 + 2 + 2 + 1
    assert (tmp_path / "there/predictions.csv").read_bytes() == (tmp_path / "here/predictions.csv").read_bytes()


def test_a_file_that_changes_while_it_is_scored_fails(
    shop: Shop, twice: Path, run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same length, too; the same command then scores it alone."""
    shop.put("in/a.csv", b"x\n1\n")
    shop.put("in/b.csv", b"x\n2\n")
    changes: list[bytes] = [b"x\n3\n"]

    def find_then_change(*given: Any, **options: Any) -> Any:
        listing = list_inputs(*given, **options)
        if changes:
            shop.put("in/b.csv", changes.pop())
        return listing

    monkeypatch.setattr("batchscore.planning.list_inputs", find_then_change)
    first = run_here(twice, f"{shop.url}/in", tmp_path / "out")
    assert (first.status, first.counts.files_failed) == ("Failed", 1)
    assert "written again" in first.failures()["reason"][0]
    second = run_here(twice, f"{shop.url}/in", tmp_path / "out")
    assert second.status == "Completed"
    assert (tmp_path / "out/predictions.csv").read_text() == "file,row,x\na.csv,0,2.0\nb.csv,0,6.0\n"


def test_a_single_denied_file_fails_alone(web: Web, twice: Path, run_here: RunHere, tmp_path: Path) -> None:
    web.files = {"a.csv": b"x\n1\n", "b.csv": b"x\n2\n"}
    inputs = [web.address("a.csv"), web.address("b.csv")]
    real = list_inputs

    def deny_later(*given: Any) -> Listing:
        listing = real(*given)
        web.denied.add("b.csv")
        return listing

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("batchscore.planning.list_inputs", deny_later)
        summary = run_here(twice, inputs, tmp_path / "out", error_threshold=1)
    assert (summary.status, summary.counts.files_failed, summary.counts.rows_scored) == ("Completed", 1, 1)


def test_a_store_that_goes_ends_the_job_and_the_same_command_goes_on(
    shop: Shop, twice: Path, run_here: RunHere, tmp_path: Path
) -> None:
    """With exit code 4: it is no failed file."""
    for name in ("a", "b", "c"):
        shop.put(f"in/{name}.csv", csv_of(10))
    shop.fail("5*", "b.csv")
    with pytest.raises(StorageError, match=r"can't read \w+://.*b\.csv: .* \(tried 5 times\)"):
        run_here(twice, f"{shop.url}/in", tmp_path / "out", mini_batch_size=1)
    shop.plan.set("")
    summary = run_here(twice, f"{shop.url}/in", tmp_path / "out", mini_batch_size=1)
    assert summary.counts.rows_scored == 30
    read = {path.rpartition("/")[2] for method, path, _ in shop.plan.requests if method == "GET" and ".csv" in path}
    assert read == {"b.csv", "c.csv"}


def test_a_model_on_a_store_is_copied_once(
    shop: Shop, twice: Path, run_here: RunHere, tmp_path: Path, xs_file: Callable[[bytes], Path]
) -> None:
    """Its digest is the local folder's; the copy is kept while the job isn't finished."""
    for path in twice.rglob("*"):
        if path.is_file():
            shop.put(f"models/m/{path.relative_to(twice)}", path.read_bytes())
    inputs = xs_file(b"x\noops\n")
    there = run_here(f"{shop.url}/models/m", inputs, tmp_path / "out")
    assert there.status == "Failed"
    shop.plan.set("")
    again = run_here(f"{shop.url}/models/m", inputs, tmp_path / "out")
    assert not [path for method, path, _ in shop.plan.requests if method == "GET" and "model_code" in path]
    local = run_here(twice, inputs, tmp_path / "local")
    assert again.manifest["model"]["digest"] == local.manifest["model"]["digest"]
    assert again.manifest["model"]["uri"] == f"{shop.url}/models/m"
    with pytest.raises(UsageError, match="did you mean"):
        run_here(f"{shop.url}/models", inputs, tmp_path / "other")


@pytest.fixture
def xs_file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        (tmp_path / "xs.csv").write_bytes(content)
        return tmp_path / "xs.csv"

    return write


def test_secrets_are_in_nothing_that_is_written(
    web: Web, azurite: Any, twice: Path, run_batchscore: RunBatchscore, tmp_path: Path
) -> None:
    """Those of addresses, options and variables: in no file, no line, no argument of a process."""
    place = azurite.container()
    azurite.put(f"{place}/a.csv", b"x\n1\n")
    web.files, web.password = {"b.csv": b"x\n1\noops\n"}, "me:PASSWORD-SECRET"
    key = re.search(r"AccountKey=([^;]+)", azurite.connection_string(1))
    assert key
    secrets = (key[1], "PASSWORD-SECRET", "SIG-SECRET", "OPTION-SECRET")
    done = run_batchscore(
        "run", "-m", twice, "-o", tmp_path / "out", "-i", f"az://{place}", "-i",
        web.address("b.csv", user="me:PASSWORD-SECRET") + "?sig=SIG-SECRET",
        "--storage-option", f"connection_string={azurite.connection_string(azurite.proxy.port)}",
        "--storage-option", "s3.key=OPTION-SECRET",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"job.json", "journal.jsonl", "inputs.jsonl"} <= {path.name for path in written}
    for text in (done.stdout, done.stderr, *(path.read_text("utf-8", "replace") for path in written)):
        for secret in secrets:
            assert secret not in text
