"""What an environment must hold beside what the model states, and which combinations there can't be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from batchscore.environments.lines import Lines, Requirement, normal
from batchscore.environments.reading import Stated
from batchscore.errors import ModelLoadError
from batchscore.versions import admits

MLFLOW = "mlflow-skinny"
LOWEST = {MLFLOW: "3.0", "pandas": "1.5", "numpy": "1.23", "pyarrow": "19.0.1"}
"""The code beside the model works with these versions and later ones, as pyproject.toml says."""
LOWEST_PYTHON = "3.10"

ARROW_FOR_NUMPY_1 = "<26"
"""pyarrow 26 doesn't import with numpy below 2, and its metadata don't say so."""
_BUILT_FOR_NUMPY_1 = {"pandas": "2.2.2", "scikit-learn": "1.4.2"}
"""Before these versions the wheels don't import with numpy 2, and their metadata don't say so."""
_PLUMBING = {"typing-extensions": "4.6.1"}
"""What MLflow's dependencies need of packages that a model has only by way of others: later versions do for it, too."""
_SETUPTOOLS = Requirement("setuptools", "<81")
"""The last ones with pkg_resources, which older packages import."""


def completed(stated: Stated, *, is_model: bool) -> Lines:
    """All lines of the environment: what is stated, with mlflow-skinny for mlflow, and what batchscore needs.

    A script's mlflow keeps its bounds; a model's give way where batchscore can't work with them: later versions of
    MLflow load earlier versions' models. Raises ModelLoadError where the model's pins leave no version that
    batchscore works with.
    """
    notes: list[str] = []
    lines = replace(
        stated.lines,
        requirements=tuple(_bounded(each, notes, is_model=is_model) for each in stated.lines.requirements),
        constraints=tuple(_bounded(each, notes, is_model=is_model) for each in stated.lines.constraints),
    )
    everything = lines.requirements + lines.constraints
    needed = {name: lowest for name, lowest in LOWEST.items() if is_model or name != MLFLOW}
    _refuse_impossible(everything, needed, stated.source)
    added = [Requirement(name, f">={lowest}") for name, lowest in needed.items()]
    if stated.is_setuptools_wanted and not _of(lines.requirements, "setuptools"):
        added.append(_SETUPTOOLS)
    if _is_for_numpy_1(everything):
        added += [Requirement("numpy", "<2"), Requirement("pyarrow", ARROW_FOR_NUMPY_1)]
    return lines + Lines(tuple(added), notes=tuple(notes))


def _bounded(line: Requirement, notes: list[str], *, is_model: bool) -> Requirement:
    """The line, of versions that batchscore works with where it is one that gives way."""
    lowest = _PLUMBING.get(line.name)
    if not is_model or lowest is None or line.address or admits(line.specifier, lowest):
        return _skinny(line, notes, is_model=is_model)
    notes.append(f"the model states {line.name}{line.specifier}; MLflow needs {lowest} or later, which is installed")
    return replace(line, specifier=f">={lowest}", hashes=())


def _skinny(line: Requirement, notes: list[str], *, is_model: bool) -> Requirement:
    """mlflow-skinny for mlflow, of a version that batchscore works with."""
    if line.name not in {"mlflow", MLFLOW} or line.address:
        return line
    hashes = line.hashes if line.name == MLFLOW else ()
    specifier = line.specifier
    if is_model and not admits(specifier, LOWEST[MLFLOW]):
        notes.append(
            f"the model states {line.name}{specifier}; it is loaded with {MLFLOW} {LOWEST[MLFLOW]} or later, "
            "which batchscore needs and which loads earlier versions' models"
        )
        specifier, hashes = "", ()
    return replace(line, name=MLFLOW, specifier=specifier, hashes=hashes)


def _of(lines: Iterable[Requirement], name: str) -> list[Requirement]:
    """The lines about a package that hold whatever the platform."""
    return [line for line in lines if line.name == normal(name) and not line.marker]


def _refuse_impossible(lines: tuple[Requirement, ...], needed: dict[str, str], source: str) -> None:
    for name, lowest in needed.items():
        for line in _of(lines, name):
            if not admits(line.specifier, lowest):
                raise ModelLoadError(
                    f"{source} wants {name}{line.specifier}, but batchscore needs {name} {lowest} or later beside the "
                    "model, so there is no environment for both. Save the model again with a later version, or try "
                    "it with what is installed here: --env-manager local"
                )


def _is_for_numpy_1(lines: tuple[Requirement, ...]) -> bool:
    if any(not admits(line.specifier, "2") for line in _of(lines, "numpy")):
        return True
    return any(
        not admits(line.specifier, version) for name, version in _BUILT_FOR_NUMPY_1.items() for line in _of(lines, name)
    )
