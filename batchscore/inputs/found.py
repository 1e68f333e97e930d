"""What is found under an INPUT, and what narrows it."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection
from dataclasses import dataclass

from batchscore.errors import UsageError
from batchscore.storage import is_remote

TABLE_ROOTS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}


@dataclass(frozen=True, slots=True)
class Found:
    """A file under an INPUT."""

    name: str
    """Relative to the INPUT."""
    path: str
    """Absolute, or an address without secrets."""
    size: int
    version: str
    is_named: bool = False
    """The user named the file itself."""
    is_no_file: str = ""
    """What it is instead."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What narrows the inputs: globs on the relative path or the base name, and the folder to leave out."""

    output: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_empty: bool = False
    """Whether a glob may match nothing."""
    takes_unsupported: bool = False
    """Files of unsupported types are inputs, too: to fail, or for a scoring script."""

    def is_output(self, folder: str) -> bool:
        """Whether a folder is OUTPUT or lies in it."""
        return not is_remote(self.output) and f"{os.path.realpath(folder)}/".startswith(f"{self.output}/")

    def takes(self, name: str) -> bool:
        if self.include and not any(_matches(name, pattern) for pattern in self.include):
            return False
        return not any(_matches(name, pattern) for pattern in self.exclude)


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition("/")[2], pattern)


def table_refusal(folder: str, names: Collection[str], *, has_iceberg_metadata: bool) -> UsageError | None:
    """Why a folder with subfolders of these names can't be scored: a table's files include deleted rows."""
    kind = next((kind for name, kind in TABLE_ROOTS.items() if name in names), None)
    if kind is None and has_iceberg_metadata:
        kind = "an Iceberg table"
    if kind is None:
        return None
    return UsageError(
        f"{folder} is {kind}: its Parquet files include deleted and replaced rows. "
        "Export the rows to score to plain Parquet files first"
    )
