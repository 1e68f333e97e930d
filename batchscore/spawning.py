"""How a worker process comes to be, and what it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from batchscore import lifeline
from batchscore.errors import UsageError
from batchscore.job import WorkerStart
from batchscore.minibatch import Json

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",  # for OpenMP code that asks for more, as LightGBM does where nobody tells it
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "LOKY_MAX_CPU_COUNT",
)

_QUIET = {
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime's from 1.29 on, which opens a database, too
}
"""Threads that libraries start when they are imported, and that a process to be forked can't have."""

_FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow's usual pool gives each chunk's memory back to the kernel, which fills it with zeros for the next one."""

# Runs before anything of the user's can be imported. The interpreter may be another one: it gets this package alone.
_BOOTSTRAP = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
if sys.version_info < (3, 10):
    sys.exit("batchscore's workers need Python 3.10 or later; %s is %s" % (sys.executable, sys.version.split()[0]))
import importlib.util
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "batchscore", folder + "/__init__.py", submodule_search_locations=[folder])
package = importlib.util.module_from_spec(spec)
sys.modules["batchscore"] = package
spec.loader.exec_module(package)
from batchscore.worker import main
main()
"""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What every worker of a job is started with."""

    setup: Json
    """Handed to the loader."""
    python: str = sys.executable
    """Interpreter: it needs what the model needs; batchscore itself comes with the worker."""
    threads: int = 1
    """For OpenMP, BLAS, Arrow and joblib in the worker."""
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Environment variables on top of the parent's; may be secrets."""
    loader: str = "batchscore.scoring:load_scorer"
    """``module:function`` or ``/path/to/file.py:function`` that makes a Scorer of the setup."""
    start: WorkerStart = "each"
    """Whether workers are forked from one that has loaded the model, or load it each."""
    loads_apart: str = ""
    """Why each worker has to load for itself, if that is so."""
    load_timeout: float = 600.0
    """Seconds until the model must be loaded."""
    memory_limit: int | None = None
    """Bytes that the worker and its children may have resident."""
    recycle_after: int | None = None
    """Mini-batches that one worker is sent."""
    loads: str = "the model"
    """What is loaded, for messages."""
    grace: float = 1.0
    """Seconds that an idle worker has to end when it isn't needed any more."""
    logging_level: str = "info"
    """Of Python's logging in the worker."""

    def request(self, access: Json, *, stands_by: bool = False) -> Json:
        """What a worker is told to load; ``access`` is how it reaches stores.

        One that stands by forks others once it has loaded.
        """
        return {
            "kind": "load",
            "loader": self.loader,
            "setup": self.setup,
            "access": access,
            "logging_level": self.logging_level,
            "stands_by": stands_by,
        }

    def variables(self) -> dict[str, str]:
        """The worker's whole environment.

        PYTHONPATH loses its empty and relative entries for the working directory, whose files must not be imported.
        """
        threads = dict.fromkeys(_THREAD_VARIABLES, str(self.threads))
        variables = {**_QUIET, **_FRUGAL, **os.environ, **threads, **dict(self.environment)}
        entries = [entry for entry in variables.pop("PYTHONPATH", "").split(os.pathsep) if not _is_here(entry)]
        if entries:
            variables["PYTHONPATH"] = os.pathsep.join(entries)
        return variables


def _is_here(entry: str) -> bool:
    """Whether an entry of PYTHONPATH means the working directory without naming it."""
    if not entry or Path(entry).is_absolute():
        return not entry
    try:
        return Path(entry).resolve() == Path.cwd()
    except FileNotFoundError:  # a working directory that is gone
        return True


@dataclass(frozen=True, slots=True)
class Ends:
    """The descriptors that a worker has from its parent, beside those that every process has."""

    connection: int
    lifeline: int
    frames: int
    """Where the frames of stuck code go."""
    log: int
    stdout: int
    stderr: int


class Process(Protocol):
    """A process that was started, until it has ended and its ending is known."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> bool:
        """Wait until it has ended; until it is collected, its pid can't be another's. False where that can't be."""
        ...

    def collect(self) -> lifeline.Exit | None:
        """How it ended; None while it lives."""
        ...


Start: TypeAlias = Callable[[Ends], Process]
"""Makes a process of the descriptors that it is to have."""


class Spawned:
    """A process of its own interpreter, this one's child."""

    def __init__(self, spec: WorkerSpec, ends: Ends) -> None:
        """Raises UsageError where the interpreter can't be started."""
        package = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # symlinks stay
        passed = (ends.connection, ends.lifeline, ends.frames, ends.log)
        try:
            self._process = subprocess.Popen(
                [spec.python, "-c", _BOOTSTRAP, package, *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=ends.stdout,
                stderr=ends.stderr,
                env=spec.variables(),
                pass_fds=passed,
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"the Python interpreter {spec.python!r} can't be started: {error.strerror}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> bool:
        return lifeline.wait_for_end(self.pid)

    def collect(self) -> lifeline.Exit | None:
        ended = lifeline.collect(self.pid)
        if ended:
            self._process.returncode = ended.code or 0
        return ended
