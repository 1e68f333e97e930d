"""Whole jobs of `quick` in a process of their own, to be stopped and killed: `python killable.py FOLDER SETTINGS`.

It prints the status and exits as the command line does. SETTINGS are a Job's, as JSON; `environment` goes to the
workers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import quick

from batchscore import runner
from batchscore.errors import BatchscoreError
from batchscore.progress import Notes


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    environment = settings.pop("environment", {})
    runner.worker_spec = lambda prepared: quick.spec(prepared, environment)  # type: ignore[attr-defined]
    runner.early_spec = lambda *_: None  # type: ignore[attr-defined]
    try:
        summary = runner.run_job(quick.job(folder, **settings), Notes(sys.stderr))
    except BatchscoreError as error:
        print(error)
        sys.exit(error.exit_code)
    print(f"{summary.status}: {summary.message}")
    sys.exit(summary.exit_code)


def command_of(folder: Path, **settings: Any) -> list[str]:
    """The command that runs a job."""
    root = str(Path(__file__).resolve().parent)
    return [sys.executable, "-c", _PROGRAM.format(root=root), str(folder), json.dumps(settings)]


class Killable:
    """A job at work."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            command_of(folder, **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, path: Path, lines: int) -> None:
        """Until a file has so many lines."""
        deadline = time.monotonic() + 60
        while not path.exists() or len(path.read_text().splitlines()) < lines:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def end(self) -> tuple[int, str, str]:
        """Exit code, and what was printed."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


_PROGRAM = "import sys; sys.path[:0] = [{root!r}, {root!r} + '/..']; import killable; killable.main()"
