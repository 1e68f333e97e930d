"""resolve_model(): a deployment's model as what -m takes, without Azure."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from batchscore.azure.kinds import is_uri
from batchscore.deployment import CloudModel, Deployment, LocalModel, RegisteredModel
from batchscore.errors import UsageError
from batchscore.redaction import redact

Resolved = tuple[str | None, tuple[str, ...]]


def resolve_model(deployment: Deployment, *, model_store: str | None, tracking_uri_is_set: bool) -> Resolved:
    """The MODEL for -m (a path, or models:/name/version), and notes for the user.

    A registered model is looked for in `model_store`, a folder of models (name/version), or else, where a tracking
    URI is set, in MLflow's registry. None for a scoring script without a model.
    Raises UsageError, saying what was tried and what to do, where the model can't be had.
    """
    model = deployment.model
    match model:
        case None:
            if deployment.code_configuration:
                return None, ()
            raise UsageError(f"{deployment.file} names no model; name one under model, or with -m{_offer(deployment)}")
        case LocalModel():
            return _local(model, deployment, tracking_uri_is_set=tracking_uri_is_set)
        case RegisteredModel() if model_store:
            return str(_stored(model, Path(model_store), deployment)), ()
        case RegisteredModel() if tracking_uri_is_set:
            return f"models:/{model.name}/{model.version or 'latest'}", ()
        case RegisteredModel():
            raise UsageError(
                f"{deployment.file}: model: {model.reference} is registered in Azure, and nothing says where it is "
                "here: no folder of models (name/version) was given (--model-store), and MLFLOW_TRACKING_URI isn't set"
                f"; give the model's folder with -m{_offer(deployment)}"
            )
        case CloudModel():
            raise UsageError(
                f"{deployment.file}: model: {redact(model.reference)} lies in Azure, which batchscore doesn't reach; "
                f"download it and give its folder with -m{_offer(deployment)}"
            )


def _local(model: LocalModel, deployment: Deployment, *, tracking_uri_is_set: bool) -> Resolved:
    where = f"{deployment.file}: model.path: {redact(model.path)}"
    if model.type == "triton_model":
        raise UsageError(f"{where} is a triton_model, which batchscore doesn't run; save it with an MLflow flavour")
    if is_uri(model.path):
        if model.path.startswith("runs:/") and tracking_uri_is_set:
            return model.path, ()
        todo = "set MLFLOW_TRACKING_URI" if model.path.startswith("runs:/") else "download it and give its folder"
        raise UsageError(f"{where} isn't on this machine; {todo}, or another model with -m{_offer(deployment)}")
    path = Path(model.path)
    if not os.path.exists(path):  # noqa: PTH110  # False for a name that is too long, too
        raise UsageError(f"{where} isn't there{_offer(deployment)}")
    if deployment.code_configuration and model.type == "custom_model":
        return model.path, ()
    if not (path / "MLmodel").is_file():
        found = sorted(path.glob("*/MLmodel")) if path.is_dir() else []
        hint = f"; did you mean {found[0].parent}?" if found else _offer(deployment)
        raise UsageError(f"{where} has no MLmodel file; expected an MLflow model's folder, or a scoring script{hint}")
    if model.type == "mlflow_model":
        return model.path, ()
    stated = "model.type is custom_model" if model.is_type_stated else "model.type is missing, which means custom_model"
    return model.path, (
        f"{deployment.file}: {stated}; it has an MLmodel and is used as mlflow_model, which Azure wants to be said",
    )


def _stored(model: RegisteredModel, store: Path, deployment: Deployment) -> Path:
    """The model's folder (for a script also its only file) in a folder of models."""
    where = f"{deployment.file}: model: {model.reference}"
    if not store.is_dir():
        raise UsageError(f"{where}: the folder of models {store} isn't there{_offer(deployment)}")
    folder = store / model.name
    if not _is_name(model.name) or not folder.is_dir():
        raise UsageError(f"{where}: {store} has no folder {model.name}{_listed(store)}{_offer(deployment)}")
    version = folder / (model.version or _highest(folder, where))
    if not _is_name(version.name) or not version.is_dir():
        raise UsageError(f"{where}: {folder} has no version {model.version}{_listed(folder)}{_offer(deployment)}")
    if (version / "MLmodel").is_file():
        return version
    below = sorted(version.glob("*/MLmodel"))
    if len(below) == 1:
        return below[0].parent
    if deployment.code_configuration:
        entries = list(version.iterdir())
        return entries[0] if len(entries) == 1 else version
    found = f"{len(below)} folders with one" if below else "no MLmodel file"
    raise UsageError(f"{where}: {version} has {found}; expected an MLflow model there or one level below")


def _highest(folder: Path, where: str) -> str:
    numbers = [each.name for each in folder.iterdir() if each.name.isdecimal() and each.is_dir()]
    if not numbers:
        raise UsageError(f"{where}: the latest is the highest number, and {folder} has no version that is one")
    return max(numbers, key=int)


def _is_name(text: str) -> bool:
    return text not in {"", ".", ".."} and "/" not in text and "\0" not in text


def _listed(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir() if each.is_dir())
    return f", only {', '.join(names[:10])}" if names else ", nor any other"


def _offer(deployment: Deployment) -> str:
    """The command with -m, where a model lies beside the YAML or one folder above.

    That is an MLflow model's folder; for a scoring script, also a folder `model`, as Azure's examples call it.
    """
    file = Path(deployment.file)
    beside, above = file.parent, Path(os.path.normpath(file.parent / os.pardir))
    found = []
    for folder in (beside, above):
        patterns = ("*/MLmodel", "*/*/MLmodel") if folder == beside else ("*/MLmodel",)
        found += [entry.parent for pattern in patterns for entry in sorted(folder.glob(pattern))]
        if deployment.code_configuration and (folder / "model").is_dir():
            found.append(folder / "model")
    if not found:
        return ""
    command = shlex.join(["batchscore", "run", "-f", deployment.file, "-m", str(found[0])])
    return f". A model lies near the YAML; to use it:\n  {command} -i INPUT -o OUTPUT"
