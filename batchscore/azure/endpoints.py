"""From a batch endpoint's YAML to the deployment that it leads to."""

from __future__ import annotations

from pathlib import Path

from batchscore.azure.document import Value, read_document
from batchscore.azure.foreign import schema_name
from batchscore.azure.keys import ENDPOINT
from batchscore.errors import UsageError

ENDPOINT_ONLY = ("defaults", "auth_mode", "scoring_uri", "openapi_uri", "identity")


def is_endpoint(document: Value) -> bool:
    """Whether a document is a batch endpoint's YAML rather than a deployment's."""
    says_so = schema_name(document) == "batchendpoint" or any(key in document.content for key in ENDPOINT_ONLY)
    return says_so and "endpoint_name" not in document.content


def find_deployment(endpoint: Value, deployment_name: str | None) -> Value:
    """The deployment that `deployment_name` or the endpoint's default names: beside the YAML, else one folder below.

    Raises UsageError where neither names one, and where not exactly one such deployment lies there.
    """
    stated = ENDPOINT(endpoint)
    file = endpoint.place.file
    name = deployment_name or stated.get("defaults", {}).get("deployment_name")
    beside, below = (_deployments(Path(file).parent, place, stated["name"]) for place in ("", "*/"))
    if not name:
        raise UsageError(
            f"{file}: the endpoint has no defaults.deployment_name; "
            f"name a deployment with --deployment-name{_listed(beside + below)}"
        )
    found = _named(beside, name) or _named(below, name)
    if len(found) == 1:
        return found[0]
    default = endpoint.find("defaults.deployment_name")
    asked = f"--deployment-name {deployment_name}" if deployment_name or not default else str(default.place)
    if found:
        files = ", ".join(each.place.file for each in found)
        raise UsageError(f"{asked}: more than one file is the deployment {name}: {files}; give one of them with -f")
    raise UsageError(
        f"{asked}: no deployment {name} of the endpoint {stated['name']} lies beside {file} or one folder below"
        f"{_listed(beside + below)}"
    )


def _named(deployments: list[Value], name: str) -> list[Value]:
    return [each for each in deployments if str(each.content["name"].content).lower() == name.lower()]


def _deployments(folder: Path, place: str, endpoint_name: str) -> list[Value]:
    """An endpoint's deployments in a folder, or (`*/`) in its folders; files that aren't such are passed over."""
    found = []
    for file in sorted([*folder.glob(f"{place}*.yml"), *folder.glob(f"{place}*.yaml")]):
        try:
            document = read_document(str(file))
        except UsageError:
            continue
        endpoint = document.find("endpoint_name")
        if document.find("name") and endpoint and str(endpoint.content).lower() == endpoint_name.lower():
            found.append(document)
    return found


def _listed(deployments: list[Value]) -> str:
    names = [f"{each.content['name'].content} ({each.place.file})" for each in deployments]
    return f"; there are {', '.join(names)}" if names else "; there is none of it; give a deployment's YAML with -f"
