"""Stores on loopback for tests: Azurite, moto's S3, a file server, and a proxy that makes faults; once per session.

A fault plan is a map string with a letter for each request that counts: `.` passes, `5` is answered 503, `4` 429, `r`
is reset, `t` gets half of its body, `u` is cut while its own body comes, `l` is carried out and its answer lost, `f` is
forbidden (403). Requests beyond its end pass; a plan that ends in `*` repeats its last letter.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

AZURITE = "azurite@3.35.0"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, the same everywhere."""
S3_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "dummy-key-id",
    "AWS_SECRET_ACCESS_KEY": "dummy-secret-key",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}


@dataclass
class Plan:
    """Which of the next requests go wrong."""

    letters: str = ""
    counts: Callable[[str, str], bool] = lambda *_: True
    """Whether a request of this method and path takes a letter."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of each."""
    bytes_sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, letters: str, counts: Callable[[str, str], bool] = lambda *_: True) -> None:
        """Begin a plan, forgetting what was seen."""
        with self.lock:
            self.letters, self.counts, self.requests, self.bytes_sent = letters, counts, [], 0

    def cuts(self, method: str, path: str) -> bool:
        """Whether this request's body is not to be read to its end; then it has taken its letter."""
        with self.lock:
            is_cut = self.letters[:1] == "u" and self.counts(method, path)
            if is_cut:
                self.requests.append((method, path, ""))
                self.letters = self.letters if self.letters[1:] == "*" else self.letters[1:]
            return is_cut

    def next(self, method: str, path: str, byte_range: str) -> str:
        with self.lock:
            self.requests.append((method, path, byte_range))
            if not self.letters or not self.counts(method, path):
                return "."
            letter = self.letters[0]
            if self.letters[1:] != "*":
                self.letters = self.letters[1:]
            return letter


class _Faulty(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: Plan
    denial_body = b"<Error><Code>AccessDenied</Code><Message>not you</Message></Error>"
    error_body = b"<Error><Code>SlowDown</Code><Message>try later</Message></Error>"

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.plan.cuts(self.command, unquote(self.path)):
            self.rfile.read(length // 2)
            self.reset()
            return
        body = self.rfile.read(length)
        letter = self.plan.next(
            self.command, unquote(self.path), self.headers.get("Range") or self.headers.get("x-ms-range") or ""
        )
        if letter in "45":
            self.answer(503 if letter == "5" else 429, {}, b"" if self.command == "HEAD" else self.error_body)
        elif letter == "f":
            self.answer(403, {"x-ms-error-code": "AuthorizationPermissionMismatch"}, self.denial_body)
        elif letter == "r":
            self.reset()
        else:
            status, headers, content = self.respond(body)
            if letter == "l":
                self.reset()
                return
            self.answer(status, headers, content, is_cut=letter == "t")

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815

    def respond(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def answer(self, status: int, headers: dict[str, str], content: bytes, *, is_cut: bool = False) -> None:
        self.send_response_only(status)
        stated = {name.lower() for name in headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if not stated & {"content-length", "transfer-encoding"} and status not in {204, 304}:
            self.send_header("Content-Length", str(len(content)))
        if is_cut:
            content, self.close_connection = content[: len(content) // 2], True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
            with self.plan.lock:
                self.plan.bytes_sent += len(content)


@dataclass
class Running:
    """A server in threads of this process."""

    port: int
    plan: Plan

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def running(handler: type[_Faulty], **attributes: Any) -> tuple[ThreadingHTTPServer, Running]:
    plan = Plan()
    kind = type("Handler", (handler,), {"plan": plan, **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server, Running(server.server_address[1], plan)


class _Proxy(_Faulty):
    upstream = 0

    def respond(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            dropped = {"connection", "transfer-encoding", "keep-alive"} | (
                set() if self.command == "HEAD" else {"content-length"}
            )
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
            return answer.status, kept, content
        finally:
            connection.close()


@dataclass
class Web(Running):
    """A file server: `files` by path, `denied` paths, and what the server knows to do."""

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Additional ones, by path."""
    denied: set[str] = field(default_factory=set)
    has_ranges: bool = True
    states_size: bool = True
    password: str = ""
    """As user:password, where one is needed."""
    with_password: list[str] = field(default_factory=list)
    """Paths that were asked for with one."""

    def reset(self) -> None:
        self.files, self.headers, self.denied, self.with_password = {}, {}, set(), []
        self.has_ranges = self.states_size = True
        self.password = ""
        self.plan.set("")

    def address(self, path: str, *, user: str = "") -> str:
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self.port}/{quote(path)}"


class _Files(_Faulty):
    web: Web

    def respond(self, _: bytes) -> tuple[int, dict[str, str], bytes]:  # noqa: PLR0911  # an answer each
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.web.with_password += [path] if "Authorization" in self.headers else []
        if path in self.web.denied or (self.web.password and not self._is_let_in()):
            return (403 if path in self.web.denied else 401), {}, b"no"
        if path not in self.web.files:
            return 404, {}, b"not here"
        content = self.web.files[path]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"', **self.web.headers.get(path, {})}
        if 300 <= int(headers.get("Status", 200)) < 400:
            return int(headers["Status"]), headers, b""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if found and self.web.has_ranges:
            start, stop = int(found[1]), min(int(found[2] or len(content)) + 1, len(content))
            if start >= len(content):
                return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
            part = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
            return 206, {**headers, **part}, content[start:stop]
        if not self.web.states_size:
            self.close_connection = True
            chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
            return 200, {**headers, "Transfer-Encoding": "chunked"}, chunks
        return 200, headers, content

    def _is_let_in(self) -> bool:
        from base64 import b64encode

        return self.headers.get("Authorization") == f"Basic {b64encode(self.web.password.encode()).decode()}"


@pytest.fixture(scope="session")
def web_server() -> Iterator[Web]:
    """A file server of this session; `web` empties it for each test."""
    web = Web(0, Plan())
    server, started = running(_Files, web=web)
    web.port, web.plan = started.port, started.plan
    yield web
    server.shutdown()
    server.server_close()


@pytest.fixture
def web(web_server: Web) -> Web:
    """A file server with ranges and etags, empty."""
    web_server.reset()
    return web_server


@dataclass
class S3:
    """moto's S3 and a proxy before it that makes faults."""

    port: int
    proxy: Running
    buckets: int = 0

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a job that reads from it."""
        return {**S3_VARIABLES, "AWS_ENDPOINT_URL": self.proxy.url}

    @property
    def direct_variables(self) -> dict[str, str]:
        """The same without the proxy."""
        return {**S3_VARIABLES, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def bucket(self) -> str:
        """A new one's name."""
        self.buckets += 1
        self.put(f"bucket-{self.buckets}", b"")
        return f"bucket-{self.buckets}"

    def put(self, path: str, content: bytes) -> None:
        self._ask("PUT", path, content).close()

    def delete(self, path: str) -> None:
        self._ask("DELETE", path, None).close()

    def content(self, bucket: str) -> dict[str, bytes]:
        """All objects of a bucket, by their keys."""
        with self._ask("GET", bucket, None, "?list-type=2") as answer:
            keys = [unescape(key) for key in re.findall("<Key>(.*?)</Key>", answer.read().decode())]
        found = {}
        for key in keys:
            with self._ask("GET", f"{bucket}/{key}", None) as answer:
                found[key] = answer.read()
        return found

    def uploads(self, bucket: str) -> int:
        """Uploads in parts that were neither completed nor aborted."""
        with self._ask("GET", bucket, None, "?uploads") as answer:
            return answer.read().decode().count("<UploadId>")

    def _ask(self, method: str, path: str, content: bytes | None, query: str = "") -> Any:
        headers = {
            "Content-Type": "application/octet-stream",  # else moto takes it for a form
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
            "Signature=0",  # which moto doesn't look at
        }
        url = f"http://127.0.0.1:{self.port}/{quote(path)}{query}"
        return urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method), timeout=30)


@contextlib.contextmanager
def s3_on_loopback() -> Iterator[S3]:
    """moto's S3 in threads of this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    proxy, started = running(_Proxy, upstream=port)
    yield S3(port, started)
    proxy.shutdown()
    proxy.server_close()
    server.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    pytest.importorskip("s3fs", reason="needs s3fs, of the extra `s3`")
    pytest.importorskip("moto.server", reason="needs moto and flask, of the extra `dev`")
    with s3_on_loopback() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """S3 on loopback; this process's environment has its address and dummy keys, as a job has them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    s3_server.proxy.plan.set("")
    return s3_server


@dataclass
class Azurite:
    """Azurite and a proxy before it that makes faults."""

    port: int
    proxy: Running
    containers: int = 0

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a job that reads from it."""
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string(self.proxy.port)}

    def connection_string(self, port: int) -> str:
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={endpoint};"

    def container(self) -> str:
        """A new one's name."""
        self.containers += 1
        name = f"container-{self.containers}"
        with self._client() as client:
            client.create_container(name)
        return name

    def put(self, path: str, content: bytes) -> None:
        container, _, name = path.partition("/")
        with self._client() as client:
            client.get_blob_client(container, name).upload_blob(content, overwrite=True)

    def delete(self, path: str) -> None:
        container, _, name = path.partition("/")
        with self._client() as client:
            client.get_blob_client(container, name).delete_blob()

    def content(self, container: str) -> dict[str, bytes]:
        """All blobs of a container, by their names."""
        with self._client() as client:
            found = client.get_container_client(container)
            return {name: found.download_blob(name).readall() for name in found.list_blob_names()}

    def uploads(self, container: str) -> int:
        """Blobs that have blocks and no content yet: they can't be seen, and go by themselves."""
        with self._client() as client:
            found = client.get_container_client(container).list_blobs(include=["uncommittedblobs"])
            return sum(blob.size == 0 and not blob.etag for blob in found)

    def _client(self) -> Any:
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string(self.port))


def azurite_program() -> Path:
    """Azurite from npm, installed once for this machine's user. Skips where it can't be had."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        pytest.skip("Azurite needs node and npm, which aren't here")
    cache = Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "batchscore-tests", AZURITE.replace("@", "-")
    )
    program = cache / "node_modules" / ".bin" / "azurite-blob"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / "complete").exists():
            command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(cache), AZURITE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode or not program.exists():
                pytest.skip(f"Azurite can't be installed by npm: {(done.stderr or done.stdout).strip()[-200:]}")
            (cache / "complete").touch()
    return program


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    pytest.importorskip("adlfs", reason="needs adlfs, of the extra `azure`")
    program = azurite_program()
    command = [
        str(program), "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck",
        "--blobHost", "127.0.0.1", "--blobPort", "0",
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("azurite")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        port = await_port(folder / "log", r"listens on http://127\.0\.0\.1:(\d+)", process)
        proxy, started = running(_Proxy, upstream=port)
        yield Azurite(port, started)
        proxy.shutdown()
        proxy.server_close()
    finally:
        process.kill()
        process.wait()


def await_port(log: Path, words: str, process: subprocess.Popen[bytes]) -> int:
    """The port that a server has taken, of those that are free, as its log tells it."""
    deadline = time.monotonic() + 120
    while True:
        found = re.search(words, log.read_text())
        if found:
            return int(found[1])
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.fixture
def azurite(azurite_server: Azurite, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    """Azure's blobs on loopback; this process's environment has the connection string, as a job has it."""
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    for name, value in azurite_server.variables.items():
        monkeypatch.setenv(name, value)
    azurite_server.proxy.plan.set("")
    return azurite_server


class Shop:
    """A bucket or container by either name."""

    def __init__(self, kind: str, server: Any) -> None:
        self.kind = kind
        self.server = server
        self.place = server.bucket() if kind == "s3" else server.container()
        self.url = f"{'s3' if kind == 's3' else 'abfs'}://{self.place}"
        self.plan = server.proxy.plan

    def put(self, name: str, content: bytes = b"x\n1\n") -> None:
        self.server.put(f"{self.place}/{name}", content)

    def delete(self, name: str) -> None:
        self.server.delete(f"{self.place}/{name}")

    def content(self) -> dict[str, bytes]:
        """All that is there, by names."""
        found: dict[str, bytes] = self.server.content(self.place)
        return found

    def fail(self, letters: str, name: str) -> None:
        """Faults of the next GETs of a file."""
        self.plan.set(letters, lambda method, path: method == "GET" and path.partition("?")[0].endswith(name))


@pytest.fixture(params=["s3", "azure"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """One suite over both kinds of store."""
    return Shop(request.param, request.getfixturevalue("s3" if request.param == "s3" else "azurite"))
