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
    """The deployment beside the endpoint's YAML that `deployment_name` or the endpoint's default names.

    Raises UsageError where neither names one, and where not exactly one such deployment lies there.
    """
    stated = ENDPOINT(endpoint)
    file = endpoint.place.file
    name = deployment_name or stated.get("defaults", {}).get("deployment_name")
    siblings = _deployments(Path(file).parent, stated["name"])
    if not name:
        raise UsageError(
            f"{file}: the endpoint has no defaults.deployment_name; "
            f"name a deployment with --deployment-name{_among(siblings)}{_below(file, siblings)}"
        )
    found = [each for each in siblings if str(each.content["name"].content).lower() == name.lower()]
    if len(found) == 1:
        return found[0]
    default = endpoint.find("defaults.deployment_name")
    asked = f"--deployment-name {deployment_name}" if deployment_name or not default else str(default.place)
    if found:
        files = ", ".join(each.place.file for each in found)
        raise UsageError(f"{asked}: more than one file is the deployment {name}: {files}; give one of them with -f")
    raise UsageError(
        f"{asked}: no deployment {name} of the endpoint {stated['name']} lies beside {file}"
        f"{_among(siblings)}{_below(file, siblings)}"
    )


def _deployments(folder: Path, endpoint_name: str) -> list[Value]:
    """The deployments of an endpoint that lie in a folder; files that aren't such are passed over."""
    found = []
    for file in sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")]):
        try:
            document = read_document(str(file))
        except UsageError:
            continue
        endpoint = document.find("endpoint_name")
        if document.find("name") and endpoint and str(endpoint.content).lower() == endpoint_name.lower():
            found.append(document)
    return found


def _among(siblings: list[Value]) -> str:
    names = [f"{each.content['name'].content} ({Path(each.place.file).name})" for each in siblings]
    return f"; beside it lie {', '.join(names)}" if names else "; no deployment of it lies beside it"


def _below(file: str, siblings: list[Value]) -> str:
    """Where deployments lie that only -f reaches."""
    if siblings:
        return ""
    folder = Path(file).parent
    found = [str(each) for each in sorted([*folder.glob("*/*deploy*.yml"), *folder.glob("*/*deploy*.yaml")])][:5]
    return f"; give one with -f: {', '.join(found)}" if found else ""
