"""uv as a process: found, run under a lock that it holds with us, its failures in words."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchscore import lifeline
from batchscore.errors import BatchscoreError, ModelLoadError, StorageError, UsageError
from batchscore.redaction import secret_values, without

# The shell becomes uv; what it leaves behind kills the group, uv with it, at the end of a pipe that the parent holds.
_DIES_WITH_PARENT = '{{ read -r line; kill -s KILL 0; }} </dev/fd/{} >/dev/null 2>&1 & exec "$@"'

_UNREACHABLE = re.compile(
    r"Failed to fetch|Request failed|error sending request|Connection|[Tt]imed out|dns error|Could not connect"
    r"|HTTP status (?:client|server) error|No space left|Permission denied|Read-only file system"
)
_WORTH_SAYING = re.compile(r"(Downloading|Building|Resolved) .+")
_MAX_TEXT = 8_000


def command() -> list[str]:
    """How uv is started: the one on PATH, or that of this environment. Raises UsageError where there is none."""
    if path := shutil.which("uv"):
        return [path]
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    raise UsageError(
        "building an environment (--env-manager uv) takes uv, which isn't installed. Install it: "
        f'"{sys.executable}" -m pip install "batchscore[uv]" (or see uv\'s own ways), or use --env-manager local'
    )


def variables() -> dict[str, str]:
    """uv's environment variables: the user's own settings, but no interpreter is downloaded unless they allow it."""
    misleading = {"VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in misleading}
    return {"UV_PYTHON_DOWNLOADS": "never", **kept, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}


@dataclass(frozen=True, slots=True)
class Uv:
    """uv for one environment."""

    folder: Path
    """Where it runs: no project's settings lie there."""
    lock: int
    """A descriptor that it inherits: whoever waits for the lock doesn't meet a uv whose parent is gone."""
    note: Callable[[str], None]
    """Told what uv does that takes time."""
    what: str
    """What can't be done where it fails."""

    def run(self, *arguments: str, text: str = "") -> None:
        """Run uv with a text as its standard input; it is killed with its parent.

        Raises ModelLoadError, or StorageError where an index can't be reached or the disk is full.
        """
        said = []
        with _started([*command(), *arguments], self.folder, self.lock) as process:
            assert process.stdin is not None  # noqa: S101  # both are pipes
            assert process.stderr is not None  # noqa: S101
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(text)
                process.stdin.close()
            for line in process.stderr:
                said.append(line)
                if match := _WORTH_SAYING.match(line):
                    self.note(_without_secrets(match[0]))
            process.wait()
        if process.returncode:
            raise _failure("".join(said), process.returncode, self.what)


@contextlib.contextmanager
def _started(words: Sequence[str], folder: Path, lock: int) -> Iterator[subprocess.Popen[str]]:
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _DIES_WITH_PARENT.format(read_end), "uv", *words],
            cwd=folder,  # no project's settings there
            env=variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=(read_end, lock),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            lifeline.kill_group(process.pid)
            process.wait()
            for stream in (process.stdin, process.stderr):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()  # type: ignore[union-attr]  # both are pipes
    finally:
        os.close(read_end)
        os.close(write_end)


def _without_secrets(text: str) -> str:
    return without(secret_values(os.environ), text)


def _failure(text: str, code: int, what: str) -> BatchscoreError:
    said = _without_secrets(text).strip()[-_MAX_TEXT:] or f"it ended with code {code} and said nothing"
    if _UNREACHABLE.search(said):
        return StorageError(
            f"{what}: an index couldn't be reached or a file not be written. uv takes its indexes from the model's "
            f"files, UV_DEFAULT_INDEX, UV_INDEX and uv.toml, not from pip's configuration. uv said:\n{said}"
        )
    return ModelLoadError(
        f"{what}. Mend what is stated there, or try what is installed here: --env-manager local. uv said:\n{said}"
    )
