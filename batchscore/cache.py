"""The user's cache: what is kept between runs, and may go whenever none is at work."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path


def cache_folder(name: str) -> Path | None:
    """The folder of that name below $BATCHSCORE_CACHE, $XDG_CACHE_HOME/batchscore or ~/.cache/batchscore.

    None where there is no home folder either.
    """
    if own := os.environ.get("BATCHSCORE_CACHE"):
        return Path(own).absolute() / name
    common = os.environ.get("XDG_CACHE_HOME", "")
    if Path(common).is_absolute():
        return Path(common) / "batchscore" / name
    home = os.environ.get("HOME", "")
    if not home:
        with contextlib.suppress(KeyError):  # a user without an entry, as in containers
            home = pwd.getpwuid(os.getuid()).pw_dir
    return Path(home) / ".cache" / "batchscore" / name if Path(home).is_absolute() else None
