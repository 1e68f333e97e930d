"""The folder of the work on an OUTPUT: where it lies, where it may not, and how it goes."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from pathlib import Path

from batchscore.errors import UsageError
from batchscore.locking import LOCK, is_at, lock
from batchscore.settings import SUFFIXES

FOLDER = ".batchscore"
GONE = "gone-"
"""How the names of folders begin that were set aside to be removed."""


def work_folder(root: str, work_dir: str | None) -> str:
    """Where the work on an OUTPUT lies; hidden, so that no INPUT above it takes parts for files to score."""
    if work_dir is None:
        return str(Path(root, FOLDER))
    return str(Path(work_dir, f"{FOLDER}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"))


def refuse_file(output: str, root: str) -> None:
    """Raise UsageError where OUTPUT is a file, or is named like one that is to be."""
    if os.path.isdir(root):  # noqa: PTH112  # False for a name that is too long, too
        return
    if os.path.exists(root):  # noqa: PTH110
        raise UsageError(f"OUTPUT {output} is a file; give a folder")
    name = Path(root).name.removesuffix(".gz").removesuffix(".zst")
    if Path(name).suffix.lower() in SUFFIXES:
        parent = os.path.dirname(output.rstrip("/")) or "."  # noqa: PTH120 (as the user wrote it)
        raise UsageError(
            f"OUTPUT is a folder, found {output}; did you mean: "
            f"-o {shlex.quote(parent)} --output-file-name {shlex.quote(name)}"
        )


def refuse_work_dir(work_dir: str, root: str) -> None:
    """Raise UsageError for a work directory that is none, or lies in OUTPUT, or comes too late for its job."""
    there = next(path for path in (Path(work_dir), *Path(work_dir).parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"--work-dir {work_dir}: {there} is a file; give a folder")
    if Path(work_dir).is_relative_to(root):
        raise UsageError(f"--work-dir {work_dir} lies in OUTPUT {root}; give a folder elsewhere, on a local disk")
    if Path(root, FOLDER).is_dir():
        raise UsageError(
            f"OUTPUT {root} holds the work of a run without --work-dir; go on without it, "
            f"or remove {Path(root, FOLDER)} to start anew"
        )


def remove(folder: str) -> None:
    """Remove a workspace's folder, the lock last: from then on the next run may make its own."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != LOCK:
            Path(entry.path).unlink()
    Path(folder, LOCK).unlink()
    Path(folder).rmdir()


def remove_unlocked(folder: str) -> None:
    """Remove a workspace's folder, unless a run holds its lock. Raises OSError.

    A run that begins meanwhile makes its own at once, instead of waiting for gigabytes to go.
    """
    aside = Path(folder).with_name(f"{GONE}{Path(folder).name}")
    handle = os.open(Path(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if lock(handle) and is_at(Path(folder, LOCK), handle):
            shutil.rmtree(aside, ignore_errors=True)  # of a removal that was cut short
            Path(folder).rename(aside)
            shutil.rmtree(aside)
    finally:
        os.close(handle)
