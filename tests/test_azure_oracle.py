"""Deployments' YAML against Azure's own client: the same verdicts and values, but for the differences listed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, AskAzure
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.azure import read_deployment
from batchscore.azure.keys import dotted_keys
from batchscore.deployment import Deployment, LocalModel
from batchscore.errors import UsageError

pytestmark = pytest.mark.slow

Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Document = dict[str, Any]
Ask = Callable[[str, Document | Path], dict[str, Any]]

LEAST = {
    "max_concurrency_per_instance": 1,
    "mini_batch_size": 1,
    "retry_settings.max_retries": 0,
    "retry_settings.timeout": 1,
    "error_threshold": -1,
}
"""The lower bounds that Azure documents and its client doesn't check, by the setting's name."""
RESOURCES = {"resources.instance_count": 1, "resources.max_instance_count": 1, "settings.instance_count": 1}
SETTINGS = (*LEAST, "output_action", "output_file_name", "logging_level", "environment_variables")
INT_MAX = 2**31 - 1

integers = st.one_of(
    st.integers(1, 50),
    st.integers(-3, 3),
    st.sampled_from(["7", " 7 ", "-1", "1_0", "0x10", "ten", "10kb", "PT30S", "", "1.5", "٣"]),
    st.sampled_from([INT_MAX, INT_MAX + 1, 10**30, 1.0, 10.0, 1.5, -0.5, 1e300, float("inf"), float("nan")]),
    st.sampled_from([True, False, None, [], {}, [1], {"a": 1}]),
)
oddities = st.sampled_from([None, 3, 1.5, True, [], ["a"], {}, {"a": 1}, ""])
variables = st.dictionaries(
    st.sampled_from(["A", "B_C", "path", "", "A=B", 1, True]),
    st.sampled_from(["x", "", "0", 5, None, ["a"]]),
    max_size=3,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["heart", "Heart-1", "a_b", "1"]) | oddities,
    "endpoint_name": st.sampled_from(["e", "Endpoint"]) | oddities,
    "compute": st.sampled_from(["azureml:cpu", "cpu", "LOCAL"]) | oddities,
    "description": st.just("text") | oddities,
    "tags": st.just({"a": "b"}) | oddities,
    "properties": st.just({1: "b"}) | oddities,
    "id": st.just("i") | oddities,
    "$schema": st.just("https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json"),
    "model": st.sampled_from(
        ["azureml:m:1", "azureml:m@latest", "azureml:m", "azureml:a:b:c", "azureml://registries/r/models/m/versions/2"]
    )
    | st.sampled_from(["m:1", "./model", "azureml:", "runs:/a/b", "azureml:a/b:1", "azureml://jobs/j/outputs/o"])
    | st.fixed_dictionaries(
        {},
        optional={
            "path": st.sampled_from(["model", "./model", "nowhere"]) | oddities,
            "type": st.sampled_from(["mlflow_model", "MLFLOW_MODEL", "custom_model", "triton_model", "mlflow", 3]),
            "name": st.just("m") | oddities,
            "version": st.sampled_from(["1", 1, 1.5]),
            "flavors": st.just({"a": {}}),
            "pth": st.just("model"),
        },
    )
    | oddities,
    "code_configuration": st.fixed_dictionaries(
        {},
        optional={
            "code": st.sampled_from(["src", "./src/", "nowhere", "azureml:code:1"]) | oddities,
            "scoring_script": st.sampled_from(["score.py", "nothing.py"]) | oddities,
            "script": st.just("score.py"),
        },
    )
    | oddities,
    "environment": st.sampled_from(["azureml:e:1", "azureml:e@latest", "azureml://registries/r/environments/e/versions/1"])
    | st.sampled_from(["e", "e:1", "", "azureml:a/b:1"])
    | st.fixed_dictionaries(
        {},
        optional={
            "conda_file": st.sampled_from(["conda.yml", "nowhere.yml", {"dependencies": ["pip"]}]),
            "image": st.just("continuumio/miniconda3") | oddities,
            "name": st.just("e"),
            "build": st.sampled_from([{"path": "src"}, {"path": "nowhere"}, {"path": "src", "file": "x"}]),
            "os_type": st.sampled_from(["linux", "LINUX", "windows", "mac"]),
            "dependencies": st.just(["pip"]),
            "docker": st.just("x"),
        },
    ),
    "resources": st.fixed_dictionaries(
        {},
        optional={
            "instance_count": integers,
            "max_instance_count": integers,
            "instance_type": st.just("x") | oddities,
            "docker_args": st.sampled_from(["-x", ["-x"], [1]]) | oddities,
            "locations": st.sampled_from([["a"], "a", [1]]),
            "properties": st.sampled_from([{"a": {"b": 1}}, {1: 2}, "a"]),
            "shm_size": st.sampled_from(["2g", 2]),
            "instances": st.just(2),
        },
    ),
    "output_action": st.sampled_from(["append_row", "APPEND_ROW", "Summary_Only", "AppendRow"]) | oddities,
    "output_file_name": st.sampled_from(["predictions.csv", "a.txt", "a/b.csv", "..", "job.json"]) | oddities,
    "logging_level": st.sampled_from(["info", "DEBUG", "Warning", "verbose"]) | oddities,
    "environment_variables": variables | oddities,
    "retry_settings": st.fixed_dictionaries(
        {}, optional={"max_retries": integers, "timeout": integers, "max_retry": st.just(1)}
    )
    | oddities,
    **dict.fromkeys(("max_concurrency_per_instance", "mini_batch_size", "error_threshold"), integers),
}  # fmt: skip
PLAIN: Document = {
    "name": "heart", "endpoint_name": "e", "compute": "azureml:cpu", "model": {"path": "model", "type": "mlflow_model"},
    "code_configuration": {"code": "src", "scoring_script": "score.py"}, "environment": {"conda_file": "conda.yml"},
    "resources": {"instance_count": 2}, "mini_batch_size": 5, "max_concurrency_per_instance": 2,
    "output_action": "append_row", "output_file_name": "p.csv", "retry_settings": {"max_retries": 1, "timeout": 9},
    "error_threshold": 3, "logging_level": "debug", "environment_variables": {"A": "b"},
}  # fmt: skip
TYPED = tuple(name.partition(".")[0] for name in SETTINGS)


@st.composite
def documents(draw: st.DrawFn, style: str) -> Document:
    """A deployment with some plain keys, mostly one odd one, and some missing or in the wrong place."""
    document = {key: value for key, value in PLAIN.items() if key in {"name", "endpoint_name"} or draw(st.booleans())}
    if style == "settings":
        document["compute"] = "azureml:cpu"
    for key in draw(
        st.lists(st.sampled_from(list(VALUES)), max_size=draw(st.sampled_from([0, 1, 1, 1, 3])), unique=True)
    ):
        document[key] = draw(VALUES[key])
    if draw(st.integers(0, 9)) == 0:
        document.pop(draw(st.sampled_from(["name", "endpoint_name", "compute"])), None)
    if style == "root":
        return document
    below = {key: document.pop(key) for key in TYPED if key in document}
    strays = draw(st.sampled_from([*[()] * 8, ("error_threshold",), ("environment_variables",), ("mini_batch_size",)]))
    document |= {key: PLAIN[key] for key in strays}
    if draw(st.integers(0, 9)) == 0:
        below["instance_count"] = draw(integers)
    if draw(st.integers(0, 9)) == 0:
        return document | {"type": "Model"}
    return document | {"type": "model", "settings": below}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the deployments lie: a model, a script and a conda file are beside them."""
    folder = tmp_path_factory.mktemp("deployments")
    for name in ("model/MLmodel", "src/score.py", "conda.yml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("a: b" if name == "conda.yml" else "")
    return folder


@pytest.fixture(scope="module")
def ask(folder: Path, ask_azure: AskAzure) -> Ask:
    """Asks Azure's client of a deployment."""

    def ask(style: str, document: Document | Path) -> dict[str, Any]:
        if isinstance(document, Path):
            return ask_azure(style, document)
        return ask_azure(style, written(folder / "asked.yml", document))

    return ask


def written(path: Path, document: Document) -> Path:
    with path.open("w") as file:
        yaml.dump(document, file, Dumper=Dumper, sort_keys=False)
    return path


def verdict(folder: Path, document: Document) -> Deployment | str:
    """What batchscore makes of a document: a Deployment, or its message."""
    try:
        return read_deployment(str(written(folder / "deployment.yml", document)))
    except UsageError as error:
        return str(error)


def at(document: Document, dotted: str) -> Any:
    for part in dotted.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def differences(document: Document, style: str) -> set[str]:
    """The keys that Azure's client takes and batchscore refuses, by the rules of the documentation."""
    prefix = "settings." if style == "settings" else ""
    bounds = {prefix + name: least for name, least in LEAST.items()} | RESOURCES
    found = {key for key, least in bounds.items() if is_fraction_or_out_of_range(at(document, key), least)}
    found |= {key for key in ("name", "endpoint_name", "compute") if document.get(key) == ""}
    if str(at(document, f"{prefix}logging_level")).lower() not in {"warning", "info", "debug", "none"}:
        found.add(f"{prefix}logging_level")
    if at(document, f"{prefix}output_file_name") in ["", "a/b.csv", "..", "job.json"]:
        found.add(f"{prefix}output_file_name")
    if style == "settings":  # silently dropped
        found |= {"error_threshold", "environment_variables"} & document.keys()
    if not are_variables(at(document, f"{prefix}environment_variables")):
        found.add(f"{prefix}environment_variables")
    return found | local_paths(document) | dropped_from_environment(document.get("environment"))


def dropped_from_environment(value: Any) -> set[str]:
    """What Azure's client lets pass unread in an environment that stands in the deployment itself."""
    if not isinstance(value, Mapping):
        return set()
    found = {"environment.name"} if "name" in value and not isinstance(value["name"], str) else set()
    found |= (
        {"environment.version"} if "version" in value and isinstance(value["version"], list | dict | None) else set()
    )
    found |= {"environment.conda_file"} if value.get("conda_file", 1) in (0, "", []) else set()
    return found | ({"environment.build.path"} if at(dict(value), "build.path") == "" else set())


def is_fraction_or_out_of_range(value: Any, least: int) -> bool:
    try:
        return (isinstance(value, float) and value != int(value)) or not least <= int(value) <= INT_MAX
    except (TypeError, ValueError, OverflowError):
        return False


def are_variables(value: Any) -> bool:
    """Whether the names can be environment variables' and the values are text or numbers."""
    names = value if isinstance(value, Mapping) else {}
    return all(isinstance(n, str) and n and "=" not in n and isinstance(v, str | int) for n, v in names.items())


def local_paths(document: Document) -> set[str]:
    """What Azure's client finds out when it uploads, or not at all."""
    model, code = document.get("model"), document.get("code_configuration")
    found = {"model.path"} if isinstance(model, Mapping) and not model.get("path") else set()
    found |= {"model"} if model == "azureml:" else set()  # a name out of range
    if isinstance(code, Mapping):
        right = str(code.get("code", "")).strip("./") == "src", code.get("scoring_script") == "score.py"
        found |= {"code_configuration"} if not all(right) else set()
    return found


def check(folder: Path, ask: Ask, style: str, document: Document) -> None:
    answer = ask(style, document)
    if "missing 1 required keyword-only argument: 'mini_batch_size'" in answer.get("error", ""):
        # Azure's client stumbles over settings: without a mini_batch_size, whose default its documentation gives.
        settled = {**document, "settings": {**document["settings"], "mini_batch_size": 10}}
        answer = ask(style, settled)
        answer.get("values", {}).pop("mini_batch_size", None)
    found = verdict(folder, document)
    listed = differences(document, style)
    if not answer["accepted"] or listed:
        if isinstance(found, Deployment):
            assert answer.get("keys") == ["model"], answer
            path = at(document, "model.path")  # is looked for later: -m may name another model
            assert isinstance(path, str), (found, answer)
            assert not (folder / path).exists(), (found, answer)
            return
        keys = {*answer.get("keys", ()), *listed}
        assert found.startswith(f"{folder}/deployment.yml:")
        stumbles = answer.get("error", "").startswith(
            ("TypeError", "AttributeError", "MlException")
        )  # and names no key
        assert stumbles or any(f": {key}" in found for key in keys), (found, answer)
        return
    assert isinstance(found, Deployment), (found, answer)
    assert values_of(found) == settled_values(answer["values"], document)


def values_of(deployment: Deployment) -> dict[str, Any]:
    """By the oracle's names; settings only where they are stated."""
    values: dict[str, Any] = {}
    for name in deployment.stated:
        owner = deployment.retry_settings if name.startswith("retry_settings.") else deployment
        values[name] = getattr(owner, name.rpartition(".")[2])
    values["environment_variables"] = dict(deployment.environment_variables)
    values |= {"name": deployment.name, "endpoint_name": deployment.endpoint_name}
    if deployment.code_configuration:
        values["scoring_script"] = deployment.code_configuration.scoring_script
    if isinstance(deployment.model, LocalModel):
        values["model"] = {"path": deployment.model.path, "type": deployment.model.type}
    elif deployment.model:
        values["model"] = deployment.model.reference.removeprefix("azureml:").removeprefix("//registries/")
    environment = deployment.environment
    if environment and environment.reference:
        values["environment"] = environment.reference.removeprefix("azureml:").removeprefix("//registries/")
    if environment and environment.image is not None:
        values["image"] = environment.image
    return values


def settled_values(values: dict[str, Any], document: Document) -> dict[str, Any]:
    """The oracle's values with what it leaves to the service: text in environment variables, letters' case."""
    values = {"environment_variables": {}, **values}
    values["environment_variables"] = {
        name: yaml.safe_dump(value).splitlines()[0] if not isinstance(value, str) else value
        for name, value in values["environment_variables"].items()
    }
    for name in {"model", "environment"} & values.keys():
        if isinstance(values[name], str):
            values[name] = values[name].removeprefix("azureml://registries/")
    return {key: value.lower() if key == "logging_level" else value for key, value in values.items()}


@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.parametrize("style", ["settings", "root"])
def test_verdicts_and_values_are_those_of_azures_client(
    folder: Path, ask: Ask, style: str, data: st.DataObject
) -> None:
    check(folder, ask, style, data.draw(documents(style)))


ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, -2, 5, INT_MAX, INT_MAX + 1, 1.5, 10.0, float("inf"), "", " 7 ", "7", "1.5", "ten", "text",
    [], ["a"], [1], {}, {"a": 1}, {"a": "b"}, {1: 2}, {"unknown": "x"}, "append_row", "SUMMARY_ONLY", "Info", "Model",
    "src", "conda.yml", "azureml:m:1", "m:1", "Linux", "MLflow_model",
)  # fmt: skip


@pytest.mark.parametrize("style", ["settings", "root"])
def test_every_key_takes_what_azures_client_takes(folder: Path, ask: Ask, style: str) -> None:
    """Every key and an unknown one beside it, with every odd value, in a deployment that is plain otherwise."""
    keys = dotted_keys(style)
    unknown = {f"{key.rpartition('.')[0]}.unknown".removeprefix(".") for key in keys}
    for dotted in [*keys, *sorted(unknown)]:
        for value in ODD:
            document: Document = {"name": "d", "endpoint_name": "e", "compute": "c"}
            if style == "settings":
                document |= {"type": "model", "settings": {"mini_batch_size": 5}}
            for part in ("model", "code_configuration", "environment"):
                document |= {part: PLAIN[part]} if dotted.startswith(part) else {}
            check(folder, ask, style, with_value(document, dotted, value))


@pytest.mark.parametrize("style", ["settings", "root"])
def test_combinations_are_refused_as_azures_client_refuses_them(folder: Path, ask: Ask, style: str) -> None:
    plain = {"name": "d", "endpoint_name": "e", "compute": "c"}
    below = {"mini_batch_size": 5, "output_action": "summary_only"}
    below |= {"instance_count": 2} if style == "settings" else {}
    for names in (below, ["mini_batch_size", "output_action"], ["mini_batch_size", "instance_count"]):
        for more in ({}, {"output_file_name": "a.csv"}):
            for resources in ({}, {"resources": {}}, {"resources": {"instance_count": 3}}):
                found = {name: below[name] for name in names if name in below} | more
                inside = {"type": "model", "settings": found} if style == "settings" else found
                check(folder, ask, style, {**plain, **inside, **resources})


def with_value(document: Document, dotted: str, value: Any) -> Document:
    first, _, rest = dotted.partition(".")
    below = document.get(first)
    return {**document, first: with_value(below if isinstance(below, dict) else {}, rest, value) if rest else value}


@pytest.mark.parametrize("style", ["settings", "root"])
def test_every_key_that_is_known_here_is_known_to_azures_client(folder: Path, ask: Ask, style: str) -> None:
    """A key with a list of lists for a value is never called unknown by it."""
    for dotted in dotted_keys(style):
        document: Any = [["x"]]
        for part in reversed(dotted.split(".")):
            document = {part: document}
        answer = ask(style, {**({"type": "model"} if style == "settings" else {}), **document})
        assert f"'{dotted.rpartition('.')[2]}': ['Unknown field.']" not in answer["error"], dotted


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*/deployment*.yml")), ids=lambda file: file.parent.name
)
def test_azures_client_takes_the_example_deployments_with_the_same_values(ask: Ask, file: Path) -> None:
    found = read_deployment(str(file))
    answer = ask(found.style, file)
    assert answer["accepted"], answer
    expected = settled_values(answer["values"], {})
    model = Path(file.parent, expected["model"]["path"]).resolve()
    assert Path(found.model.path).resolve() == model
    assert {**values_of(found), "model": None} == {**expected, "model": None}
