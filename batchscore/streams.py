"""The standard streams of the command, whatever has become of them: closed, full, or without a reader."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, cast

from batchscore.errors import StorageError

if TYPE_CHECKING:
    import io


def prepare_streams() -> None:
    """Let stdout take any text, and give the number of a closed stream to no file of the job."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, open(nowhere, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # it stays to the end
    for stream in (sys.stdout, sys.stderr):
        cast("io.TextIOWrapper", stream).reconfigure(errors="backslashreplace")


def flush_streams() -> None:
    """Write what is left; where that fails, Python itself isn't to try it again and end with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # no path of the user's
                os.dup2(nowhere.fileno(), stream.fileno())


def show(result: str, elsewhere: str = "") -> None:
    """Print the result on stdout. That a reader has gone is no failure; StorageError where a disk is full.

    ``elsewhere`` is where it can be read too.
    """
    try:
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        too = f"; {elsewhere} has it too" if elsewhere else ""
        raise StorageError(f"the result can't be written to stdout: {error.strerror}{too}") from error


def tell(line: str) -> None:
    """Print a line on stderr, where anybody reads it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
