"""The model's own environment: what it needs, built with uv and kept in a cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchscore.environments.building import Environment, build, environments_folder
from batchscore.environments.interpreters import is_too_old, too_old
from batchscore.environments.lines import Lines, Requirement
from batchscore.environments.needs import completed
from batchscore.environments.reading import Stated, of_conda, of_model
from batchscore.modelfolder import read_yaml

__all__ = ["Environment", "build", "environment_of", "environment_of_script", "environments_folder", "with_packages"]


def environment_of(model: str) -> Environment:
    """What the model in a folder needs, with what batchscore needs beside it.

    Raises UsageError where its files can't be read or state nothing, ModelLoadError where the two don't go together.
    """
    return _environment(of_model(Path(model).resolve()), is_model=True)


def environment_of_script(conda_file: str | Mapping[str, Any], folder: str = ".") -> Environment:
    """What a scoring script needs: a conda file, or its content where the deployment holds it inline.

    Paths are relative to the conda file, of inline content to the folder. Raises UsageError, ModelLoadError.
    """
    if isinstance(conda_file, str):
        path = Path(folder, conda_file).resolve()
        return _environment(of_conda(read_yaml(path), path.parent, str(path)), is_model=False)
    stated = of_conda(conda_file, Path(folder).resolve(), "the deployment's conda_file")
    return _environment(stated, is_model=False)


def with_packages(environment: Environment, names: Iterable[str]) -> Environment:
    """The environment with further packages, of any version that goes with the rest."""
    return replace(environment, lines=environment.lines + Lines(tuple(map(Requirement, names))))


def _environment(stated: Stated, *, is_model: bool) -> Environment:
    lines = completed(stated, is_model=is_model)
    if is_too_old(stated.python):
        lines += Lines(notes=(too_old(stated.python, stated.source),))
    return Environment(stated.source, stated.python, lines)
