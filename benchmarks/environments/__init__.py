"""Environments of other tools: each from the pins beside this module, made by uv and kept with the data sets."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Unavailable(Exception):
    """An environment that can't be had here."""


def python_of(name: str, folder: Path, say: Callable[[str], None]) -> str:
    """The interpreter of the environment; empty for the name of none. Raises Unavailable."""
    if not name:
        return ""
    pins = HERE / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:10]
    environment = folder / "environments" / f"{name}-{digest}"
    python = environment / "bin" / "python"
    if name == "spark" and not shutil.which("java"):
        raise Unavailable("Spark needs Java")
    if not (environment / "done").exists():
        say(f"making an environment for {name}")
        _uv("venv", "--clear", "--python", sys.executable, str(environment))
        _uv("pip", "install", "--python", str(python), "--requirement", str(pins))
        (environment / "done").touch()
    return str(python)


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv")
    command = [uv] if uv else [sys.executable, "-m", "uv"]
    done = subprocess.run(
        [*command, "--quiet", *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or ["uv failed"])[-1])
