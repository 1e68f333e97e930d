"""What a worker prints and logs, on its way out of the process: by the line, and all of it before an answer."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from typing import Any

with contextlib.suppress(ImportError, OSError):  # a Python built without it
    import ctypes

    _C_LIBRARY = ctypes.CDLL(None)

_LINES = 1
"""C's _IOLBF, on every platform."""
_FORM = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"


def print_by_line() -> None:
    """Let lines out as they are printed, by Python and C: the last words before a crash count most."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # files both
    with contextlib.suppress(Exception):  # a C library that has them by other names
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        _C_LIBRARY.setvbuf(ctypes.c_void_p.in_dll(_C_LIBRARY, name), None, _LINES, ctypes.c_size_t(0))


def flush() -> None:
    """Let out what waits for the end of its line, so that it comes before what is printed for the next mini-batch."""
    for stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}:
        with contextlib.suppress(Exception):  # the model may have closed or replaced them
            stream.flush()  # type: ignore[union-attr]
    with contextlib.suppress(Exception):
        _C_LIBRARY.fflush(None)


def keep(descriptor: int) -> None:
    """Have the root logger write to the descriptor, beside whatever handlers the model or script sets up.

    ``logging.basicConfig`` goes on to work as where the root logger has no handler: a script's own settings count.
    """
    os.set_inheritable(descriptor, False)
    stream = open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115  # it stays to the end
    handler = logging.StreamHandler(stream)
    formatter = logging.Formatter(_FORM, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root, configure = logging.getLogger(), logging.basicConfig
    root.addHandler(handler)

    def configure_beside(**settings: Any) -> None:
        is_kept = handler in root.handlers
        root.removeHandler(handler)
        try:
            configure(**settings)
        finally:
            if is_kept:
                root.addHandler(handler)

    logging.basicConfig = configure_beside


def set_level(level: str) -> None:
    """Log what is of this level or above."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for handler in root.handlers:
        handler.setLevel(level.upper())
