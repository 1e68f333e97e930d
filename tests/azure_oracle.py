"""Azure's client as an oracle: runs in an environment that has azure-ai-ml, and answers JSON lines.

A question is {"style": "settings" | "root", "file": path of a deployment's YAML}. The answer has `accepted`; `values`
by the names of batchscore's settings, or the `keys` that are refused and the `error`; and `connections`, all that
this process ever tried to reach: each attempt is stopped.

The styles "component" and "pipeline" ask of a component and of a pipeline job: the answer has `unknown`, the keys that
the client drops without a word, and `read`, what it has read of the file.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SETTINGS = (
    "max_concurrency_per_instance", "mini_batch_size", "output_action", "output_file_name", "error_threshold",
    "logging_level", "environment_variables",
)  # fmt: skip
COMBINATIONS = {
    "the output_file_name need not to be specified": "settings.output_file_name",
    "Can't set instance_count when resources is provided": "settings.instance_count",
}
"""Parts of the messages that name no key -> the key."""
connections: list[str] = []


def guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Stop and note whatever reaches for a network."""
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        connections.append(f"{event} {arguments[-1 if event == 'socket.connect' else 0]}")
        raise OSError("no network in this test")


def answer(question: dict[str, str]) -> dict[str, Any]:
    from azure.ai.ml.entities import _load_functions
    from marshmallow import ValidationError

    names = {"settings": "load_model_batch_deployment", "root": "load_batch_deployment"}
    try:
        deployment = getattr(_load_functions, names[question["style"]])(question["file"])
        deployment._validate()
    except ValidationError as error:
        messages = (error.__context__ or error).messages
        return {"accepted": False, "keys": list(keys_of(messages)), "error": str(messages)[:500]}
    except Exception as error:  # noqa: BLE001 (refused combinations, and Azure's own mistakes)
        keys = [key for words, key in COMBINATIONS.items() if words in str(error)]
        keys = [key if question["style"] == "settings" else key.partition(".")[2] for key in keys]
        return {"accepted": False, "keys": keys, "error": f"{type(error).__name__}: {error}"[:500]}
    return {"accepted": True, "values": values_of(deployment)}


def weigh(style: str, file: str) -> dict[str, Any]:
    """What the client makes of a component's or a pipeline job's YAML."""
    import yaml
    from azure.ai.ml import load_component, load_job
    from azure.ai.ml._schema.component.command_component import CommandComponentSchema
    from azure.ai.ml._schema.pipeline.component_job import CommandSchema
    from azure.ai.ml._schema.pipeline.pipeline_job import PipelineJobSchema

    document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    context = {"base_path": Path(file).parent}
    try:
        loaded = (load_component if style == "component" else load_job)(file)
        found = loaded._validate()
    except Exception as error:  # noqa: BLE001 (whatever the client raises)
        return {"accepted": False, "error": f"{type(error).__name__}: {error}"}
    schema = CommandComponentSchema if style == "component" else PipelineJobSchema
    unknown = set(document) - set(schema(context=context).fields)
    for name, node in document.get("jobs", {}).items():
        unknown |= {f"jobs.{name}.{key}" for key in set(node) - set(CommandSchema(context=context).fields)}
    return {
        "accepted": found.passed, "error": str(found.error_messages), "unknown": sorted(unknown - {"$schema"}),
        "read": loaded._to_dict(),
    }  # fmt: skip


def keys_of(messages: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of marshmallow's nested messages."""
    if not isinstance(messages, dict):
        yield prefix
        return
    for key, below in messages.items():
        is_word_of_marshmallow = isinstance(below, list) and key in {"_schema", "key"}
        yield from keys_of(below, prefix if is_word_of_marshmallow else f"{prefix}.{key}".removeprefix("."))


def values_of(deployment: Any) -> dict[str, Any]:
    source = deployment.settings if getattr(deployment, "settings", None) else deployment
    values = {name: getattr(source, name, None) for name in SETTINGS}
    retries = getattr(source, "retry_settings", None)
    values |= {f"retry_settings.{name}": getattr(retries, name, None) for name in ("max_retries", "timeout")}
    values["instance_count"] = deployment.resources.instance_count if deployment.resources else None
    values |= {"name": deployment.name, "endpoint_name": deployment.endpoint_name}
    code = deployment.code_configuration
    values["scoring_script"] = code.scoring_script if code else None
    model = deployment.model
    inline = model is not None and not isinstance(model, str)
    values["model"] = {"path": str(model.path), "type": model.type} if inline else model
    environment = deployment.environment
    values["environment"] = environment if isinstance(environment, str) else None
    values["image"] = getattr(environment, "image", None)
    return {name: value for name, value in values.items() if value is not None}


if __name__ == "__main__":
    sys.addaudithook(guard)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        question = json.loads(line)
        is_deployment = question["style"] in {"settings", "root"}
        given = answer(question) if is_deployment else weigh(question["style"], question["file"])
        print(json.dumps({**given, "connections": connections}, default=str), flush=True)
